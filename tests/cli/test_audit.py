"""`selfimprove audit`, and runs whose judge has to be good enough: over the scripted engine, no model."""

import json

import pytest


def test_judges_side_by_side(tmp_path, told):
    judges = ("pairwise", "{name: llm, read: digits}", "length")
    options = [word for judge in judges for word in ("--judge", judge)]
    text = told("audit", "--engine", "scripted", *options, "--limit", 50, "-o", tmp_path / "audit")
    assert "llm read=digits" in text and "orders disagree" in text and "padding" in text
    saved = json.loads((tmp_path / "audit" / "audit.json").read_text())["judges"]
    assert saved["length"]["length_preference"] == 1.0, "it sees nothing but length"
    assert saved["length"]["kinds"]["complete"] == 1.0 and saved["length"]["kinds"]["padding"] == 0.0
    assert saved["pairwise"]["swap_rate"] is not None and saved["length"]["swap_rate"] is None
    assert sum(saved["llm read=digits"]["grades"].values()) == 100
    lines = (tmp_path / "audit" / "verdicts.jsonl").read_text().splitlines()
    assert len(lines) == 150 and {json.loads(line)["judge"] for line in lines} == set(saved)
    page = (tmp_path / "audit" / "audit.html").read_text()
    assert page.count("<svg") >= 1 and "llm read=digits" in page and "http" not in page.replace("http-equiv", "")


def test_a_judge_that_pays_for_words_breaks_the_limits(tmp_path, told):
    words = ["--engine", "scripted", "judge={name: length, max_length_preference: 0.3}", "-o", tmp_path / "audit"]
    text = told("audit", *words, "--limit", 50, code=1)
    assert "limit broken: length: length_preference is 1.000, above 0.3" in text


def test_a_run_is_refused_before_anything_is_sampled(tmp_path, told):
    recipe = ["recipes/quick/raft.yaml", "engine=scripted", "method.reward=judge", f"output={tmp_path / 'run'}"]
    text = told("run", *recipe, "judge={name: length, max_length_preference: 0.3}", code=2)
    assert "length_preference is 1.000, above 0.3. Nothing was sampled" in text
    assert not list((tmp_path / "run").glob("round-*")), "no stage was begun"


def test_a_judge_within_its_limits_grades_the_rows(tmp_path, told):
    recipe = ["recipes/quick/raft.yaml", "engine=scripted", "method.reward=judge", "prompts_per_round=4"]
    text = told("build", *recipe, "judge={name: length, max_length_preference: 1}", "-o", tmp_path / "rows")
    assert "judge: right on 39.6% of 250 pairs of known order; within its limits" in text
    rows = [json.loads(line) for line in (tmp_path / "rows" / "rows.jsonl").read_text().splitlines()]
    assert rows and all(row["reward"] == len(row["completion"].split()) for row in rows)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--judge", "lm"], "did you mean 'llm'?"),
        (["--judge", "{name: llm, rubrik: scale}"], "has no option 'rubrik'; did you mean 'rubric'?"),
        (["--judge", "llm", "--judge", "llm"], "the same judge is named twice"),
        (["--pairs", "nowhere.jsonl"], "nowhere.jsonl: there is no such file of pairs"),
        (["judge={name: llm, max_swap_rate: often}"], "limit of swap_rate: max is 'often'"),
    ],
)
def test_what_cannot_be_audited_is_told(words, said, tmp_path, told):
    assert said in told("audit", "--engine", "scripted", *words, "-o", tmp_path, code=2)
