"""Answers of known order: the shipped ones, OpenAssistant's, when verdicts agree, and figures that add up."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.building.ranked import ranked_prompts, ranking_figures, same_order, surplus_rows
from selfimprove.files import load_python
from selfimprove.judges.ranking import ranking_metrics
from selfimprove.sources import load_prompts, normalized_text

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "data" / "instructions" / "ranked.jsonl"
HELD_OUT = ("instructions/heldout.jsonl", "judge_calibration/pairs.jsonl", "instructions/train.jsonl")

ranked = st.lists(
    st.integers(2, 4).flatmap(
        lambda n: st.tuples(
            st.lists(st.integers(0, 3), min_size=n, max_size=n), st.lists(st.integers(0, 5), min_size=n, max_size=n)
        )
    ),
    min_size=1,
    max_size=5,
)


def test_the_script_makes_the_shipped_file_byte_for_byte(tmp_path):
    subprocess.run([sys.executable, str(ROOT / "scripts" / "make_ranked.py"), str(tmp_path)], check=True)
    assert (tmp_path / "ranked.jsonl").read_bytes() == SHIPPED.read_bytes()


def test_shipped_questions_are_ranked_and_stand_nowhere_else():
    prompts = ranked_prompts(str(SHIPPED), 0.25, 0, "here")
    assert len(prompts) == 60 and sum(prompt.meta["held_out"] for prompt in prompts) == 15
    for prompt in prompts:
        answers, ranks = prompt.meta["answers"], prompt.meta["ranks"]
        assert sorted(ranks) == list(range(len(answers))) and len(set(answers)) == len(answers)
    longest = [max(p.meta["answers"], key=len) == p.meta["answers"][p.meta["ranks"].index(0)] for p in prompts]
    assert 0.4 < fmean(longest) < 0.6  # length alone does not tell
    asked = {normalized_text(prompt) for prompt in prompts}
    pairs = [json.loads(line)["prompt"][0]["content"] for line in (ROOT / "data" / HELD_OUT[1]).open()]
    others = {normalized_text(prompt) for name in HELD_OUT[::2] for prompt in load_prompts(str(ROOT / "data" / name))}
    assert len(asked) == 60 and not asked & others
    assert not {prompt.text for prompt in prompts} & set(pairs)


def test_verdicts_agree_where_every_pair_of_ranks_is_ordered():
    assert same_order([0, 1, 2], [5, 3, 1]) and same_order([2, 0, 1], [0, 4.5, 4])
    assert not same_order([0, 1], [4, 4])
    assert not same_order([1, 0, 2], [5, 4, 2])
    assert not same_order([0, 1], [4, None]) and not same_order([0, 0], [4, None])
    assert same_order([0, 1, 1], [4, 2, 3]) and same_order([0, 1, 1], [4, 2, 2])  # the last two are equals


@settings(deadline=None)  # the first call imports scipy
@given(ranked)
def test_means_of_the_figures_of_each_prompt_are_the_metrics_of_all(prompts):
    values: dict[str, list[float]] = {}
    for ranks, grades in prompts:
        for name, value in ranking_figures(ranks, grades):
            values.setdefault(name, []).append(value)
    whole = ranking_metrics(prompts)
    assert set(values) == {name for name, value in whole.items() if value is not None}
    for name, found in values.items():
        assert fmean(found) == pytest.approx(whole[name])


def test_figures_of_the_worked_prompts():
    prompts = [([0, 1, 2], [5, 3, 1]), ([0, 1], [4, 4]), ([1, 0, 2], [5, 4, 2])]
    found = [figure for ranks, grades in prompts for figure in ranking_figures(ranks, grades)]
    mean = {name: fmean(value for known, value in found if known == name) for name, _ in found}
    assert mean["pairwise"] == pytest.approx(5 / 7) and mean["exact"] == pytest.approx(1 / 3)
    assert (mean["spearman"], mean["top_is_best"]) == (pytest.approx(0.75), 0.5)
    assert mean["kendall"] == pytest.approx(2 / 3)
    assert dict(ranking_figures([0, 1], [3, 3])) == {"pairwise": 0.0, "exact": 0.0}
    assert not list(ranking_figures([0], [3]))


@given(st.lists(st.sampled_from([None, 1, 2, 3, 4]), max_size=30))
def test_no_grade_is_more_frequent_than_the_next_one_was(grades):
    taken = surplus_rows(grades)
    before = sorted((grades.count(grade) for grade in {*grades} - {None}), reverse=True)
    left = [grade for at, grade in enumerate(grades) if at not in taken]
    after = sorted((left.count(grade) for grade in {*left} - {None}), reverse=True)
    assert left.count(None) == grades.count(None)
    assert after == ([before[1], *before[1:]] if len(before) > 1 else before)


def message(name, parent, text, rank=None, **changes):
    role = "prompter" if parent is None else "assistant"
    plain = {"message_id": name, "parent_id": parent, "text": text, "role": role, "rank": rank, "lang": "en"}
    return {**plain, "deleted": False, "synthetic": False, **changes}


def test_openassistant_is_split_into_solutions_and_ranked_answers():
    split = load_python(ROOT / "scripts" / "make_oasst.py", "scripts").split
    messages = []
    for name in "abcdef":
        messages += [message(name, None, f"Question {name}?"), message(f"{name}1", name, f"{name} poor", 1)]
        messages += [message(f"{name}0", name, f"{name} good", 0), message(f"{name}2", name, "unranked")]
    messages += [
        message("d3", "d", "later turn", 0, parent_id="d0"),
        message("x", None, "Frage?", lang="de"), message("x0", "x", "Antwort", 0, lang="de"),
        message("y", None, "alone?"), message("y0", "y", "one answer", 0),
    ]  # fmt: skip
    solutions, kept = split(messages, 3)
    assert len(solutions) == 3 and all(row["solution"].endswith("good") or row["id"] == "y" for row in solutions)
    assert not {row["id"] for row in solutions} & {row["id"] for row in kept}
    assert {row["id"] for row in solutions} | {row["id"] for row in kept} | {"y"} == set("abcdefy")
    for row in kept:
        name = row["id"]
        assert row["prompt"] == f"Question {name}?"
        assert dict(zip(row["meta"]["ranks"], row["meta"]["answers"], strict=True)) == {
            1: f"{name} poor",
            0: f"{name} good",
        }
    assert split(messages, 3) == (solutions, kept)
