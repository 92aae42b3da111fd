"""Self-rewarding: worked examples, every early exit a Skip, the rows of the start, nothing learned from failures.

How a verdict is read and verdicts are averaged: tests/judges/test_llm.py. Ranking figures of several prompts:
tests/judges/test_ranking.py. ROUGE-L: tests/building/test_instruct.py.
"""

import json
from itertools import count
from types import SimpleNamespace

import pytest

from selfimprove.config import fill
from selfimprove.errors import ConfigError, DataError
from selfimprove.ledger import LedgerReader
from selfimprove.methods import self_rewarding
from selfimprove.methods.self_rewarding import Config, assemble
from selfimprove.records import Example, Pair, Prompt, Skip, as_messages
from selfimprove.run import derive_seed
from selfimprove.store import Rows

ANSWERS = ("zero", "one", "two", "three")
READY = Config(start="none")


def name_with_first(choices: int, at: int = 0) -> str:
    """Return a prompt id whose seed lets the scripted answers begin with the one at a place."""
    return next(name for name in map(str, count()) if derive_seed(0, name, "", "sample", 0) % choices == at)


P = Prompt(name_with_first(4), as_messages("Why is grass green?"))


@pytest.fixture
def graded(collect, tmp_path):
    """Return a function that collects one prompt whose answers get the given verdicts, and the rows and figures."""

    def graded(verdicts, config=READY, prompt=P, answers=ANSWERS, **options):
        source = f"VERDICTS = {dict(verdicts)!r}\nANSWERS = {tuple(answers)!r}\n\n\ndef answer(request, seed):\n"
        source += "    text = request.messages[-1]['content']\n"
        source += "    for said, verdicts in VERDICTS.items():\n"
        source += "        if f'<answer>\\n{said}\\n</answer>' in text:\n"
        source += "            return verdicts[seed % len(verdicts)]\n"
        source += "    return ANSWERS[seed % len(ANSWERS)]\n"
        script = tmp_path / f"script-{len(list(tmp_path.iterdir()))}.py"
        script.write_text(source)
        [rows], measured = collect(self_rewarding, config, [prompt], None, script=str(script), **options)
        return rows, measured

    return graded


def said(*grades):
    return [
        f"It adds a point, so a 5-point answer? Score: {grade}" if grade is not None else "I like it"
        for grade in grades
    ]


def verdicts_of(*grades):
    return dict(zip(ANSWERS, (said(*each) for each in grades), strict=True))


def test_the_best_mean_is_chosen_and_the_worst_rejected(graded):
    # means 3.6667, 4.6667, 2.5 (one text has no verdict), 4.3333
    [pair], measured = graded(verdicts_of([3, 4, 4], [5, 5, 4], [2, None, 3], [4, 4, 5]))
    assert isinstance(pair, Pair)
    assert (pair.chosen, pair.rejected) == ("one", "two")
    assert [round(grade, 4) for grade in pair.meta["grades"]] == [3.6667, 4.6667, 2.5, 4.3333]
    assert (pair.meta["chosen"], pair.meta["rejected"]) == (1, 2)
    assert pair.margin == pytest.approx(4.6667 - 2.5, abs=1e-4)
    assert pair.prompt == P.messages and pair.round == 1
    assert measured["judge_unparsed"] == pytest.approx(1 / 12)
    assert (measured["chosen_grade"], measured["rejected_grade"]) == (pytest.approx(4.6667, abs=1e-4), 2.5)
    assert measured["answers_graded"] == 1.0


def test_equal_means_give_no_pair(graded):
    [skip], measured = graded(verdicts_of(*[[4, 4, 4]] * 4))
    assert (skip.id, skip.reason) == (P.id, "tie") and "chosen_grade" not in measured
    [skip], _ = graded(verdicts_of([3, 5, 4], [4, 4, 4], [5, 4, 3], [4, 3, 5]))
    assert skip.reason == "tie"


def test_an_answer_without_a_readable_verdict_is_no_candidate(graded):
    # c0: 9 is out of range, x has no verdict: mean 4. All others have none: one survivor is no pair.
    c0, none = ["Score: 4", "Score: 9", "x"], ["n/a", "", "Score: 7"]
    [skip], measured = graded(dict(zip(ANSWERS, [c0, none, none, none], strict=True)))
    assert skip.reason == "unjudged" and "1 of 4" in skip.detail
    assert measured["answers_graded"] == 0.25
    # With a second survivor there is one, and those that failed are not its rejected side.
    [pair], _ = graded(dict(zip(ANSWERS, [c0, none, none, said(5, 5, 5)], strict=True)))
    assert (pair.chosen, pair.rejected) == ("three", "zero") and pair.meta["grades"] == [4.0, None, None, 5.0]


def test_of_equal_best_answers_the_first_is_chosen(graded):
    texts = ["I would add a point. Score: 2 ... Final Score: 4/5", "**Score:** 3", "Score: 3.5", "score : 4"]
    [pair], _ = graded({answer: [text] for answer, text in zip(ANSWERS, texts, strict=True)})
    assert pair.meta["grades"] == [4.0, 3.0, 3.5, 4.0]
    assert (pair.chosen, pair.rejected) == ("zero", "one")
    turned = Prompt(name_with_first(4, 3), P.messages)  # the same answers, the last one first
    [pair], _ = graded({answer: [text] for answer, text in zip(ANSWERS, texts, strict=True)}, prompt=turned)
    assert pair.chosen == "three"


def test_the_loss_of_a_pair_is_dpos():
    torch = pytest.importorskip("torch")
    from selfimprove.training.losses import logistic, pair_margin

    values = [torch.tensor([float(value)]) for value in (-30, -34, -31, -33)]
    margin = pair_margin(*values, 0.1)  # 0.1 * ((-30 + 31) - (-34 + 33))
    assert margin.item() == pytest.approx(0.2) and logistic(margin).item() == pytest.approx(0.598139, abs=1e-6)
    assert logistic(torch.zeros(1)).item() == pytest.approx(0.693147, abs=1e-6)
    margin = pair_margin(*(torch.tensor([float(value)]) for value in (-50, -20, -45, -26)), 0.1)
    assert margin.item() == pytest.approx(-1.1) and logistic(margin).item() == pytest.approx(1.387335, abs=1e-6)


def test_the_schedule_of_the_paper_recipe_is_the_papers_cosine():
    torch = pytest.importorskip("torch")
    from transformers import get_scheduler

    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=5.5e-6)
    options = {"scheduler_specific_kwargs": {"min_lr": 1.1e-6}}
    schedule = get_scheduler("cosine_with_min_lr", optimizer, num_warmup_steps=0, num_training_steps=200, **options)
    rates = []
    for _ in range(201):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert [rates[at] for at in (0, 50, 100, 200)] == pytest.approx([5.5e-6, 4.855635e-6, 3.3e-6, 1.1e-6], rel=1e-6)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"failure_rate": 1.0}, "engine_error"),
        ({"answers": ["  ", "\n"]}, "empty"),
        ({"answers": ["a b c d e f"], "config": Config(start="none", max_tokens=3)}, "truncated"),
    ],
)
def test_every_early_exit_is_a_skip(graded, options, reason):
    [skip], _ = graded(verdicts_of(*[[1], [2], [3], [4]]), **options)
    assert isinstance(skip, Skip) and (skip.id, skip.reason) == (P.id, reason)


def test_cut_answers_are_no_candidates_unless_asked_for(graded):
    answers, verdicts = (
        ("short", "a rather long one", "brief"),
        {"short": said(2), "brief": said(3), "a rather": said(5)},
    )
    prompt = Prompt(name_with_first(3), P.messages)
    for kept in (False, True):
        config = Config(samples=3, start="none", max_tokens=2, drop_truncated=not kept)
        [pair], _ = graded(verdicts, config, prompt, answers)
        assert (pair.chosen, pair.rejected) == ("a rather" if kept else "brief", "short")


def test_answers_are_asked_for_as_any_other_method_would(graded, tmp_path):
    graded(verdicts_of([1], [2], [3], [4]), ledger=tmp_path / "asked.sqlite")
    first, *others = LedgerReader(tmp_path / "asked.sqlite").entries(P.id)
    assert (first.purpose, first.path) == ("sample", "")  # so that the ledger shares them
    assert first.request["messages"] == [*P.messages] and first.request["seed"] == derive_seed(
        0, P.id, "", "sample", 0
    )
    asked = [tuple(entry.request[name] for name in ("n", "temperature", "top_p")) for entry in (first, *others)]
    assert asked == [(4, 0.7, 0.9)] + [(3, 0.7, 0.9)] * 4
    assert {entry.purpose for entry in others} == {"judge"}
    assert {entry.request["policy"] for entry in (first, *others)} == {"base"}  # the policy judges itself


def test_in_a_later_round_the_policy_of_that_round_answers_and_judges(graded, tmp_path):
    graded(verdicts_of([1], [2], [3], [4]), round=3, ledger=tmp_path / "asked.sqlite")
    entries = list(LedgerReader(tmp_path / "asked.sqlite").entries())
    assert len(entries) == 5 and {entry.request["policy"] for entry in entries} == {"round-2"}


RANKED = {"answers": ["good", "poor", "fair"], "ranks": [0, 2, 1]}
TAUGHT = Prompt("r", as_messages("Why do we sleep?"), meta={**RANKED, "held_out": False})
HELD = Prompt("h", as_messages("Why do we sleep?"), meta={**RANKED, "held_out": True})


def test_the_start_learns_verdicts_that_agree_with_the_known_order(graded):
    rows, measured = graded({"good": ["Score: 5"], "poor": ["Score: 1"], "fair": ["Score: 3"]}, Config(), TAUGHT)
    assert all(isinstance(row, Example) for row in rows)
    assert [(row.id, row.completion) for row in rows] == [
        ("r/solution", "good"), ("r/verdict-0", "Score: 5"), ("r/verdict-1", "Score: 1"), ("r/verdict-2", "Score: 3"),
    ]  # fmt: skip
    assert [row.meta.get("grade") for row in rows] == [None, 5.0, 1.0, 3.0]
    [message] = rows[2].prompt
    assert "<answer>\npoor\n</answer>" in message["content"] and "Why do we sleep?" in message["content"]
    assert rows[0].prompt == TAUGHT.messages
    assert (measured["verdicts_agree"], measured["verdicts_unread"]) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("good", "poor", "fair", "reason"),
    [
        ("Score: 5", "Score: 3", "Score: 1", "verdicts_disagree"),
        ("Score: 5", "Score: 3", "Score: 3", "verdicts_disagree"),  # a tie is a disagreement
        ("Score: 5", "no idea", "Score: 3", "verdicts_unread"),
        ("Score: 5", "Score: 9", "Score: 3", "verdicts_unread"),
    ],
)
def test_the_start_learns_no_other_verdict(graded, good, poor, fair, reason):
    rows, measured = graded({"good": [good], "poor": [poor], "fair": [fair]}, Config(), TAUGHT)
    assert [type(row) for row in rows] == [Example, Skip] and rows[1].reason == reason
    assert measured["verdicts_agree"] == 0.0
    [skip], _ = graded({"good": [good], "poor": [poor], "fair": [fair]}, Config(learn_best=False), TAUGHT)
    assert skip.reason == reason


def test_several_tries_find_verdicts_that_agree(graded):
    # Of two verdicts on every answer, the first or the second of each are taken together, never mixed.
    verdicts = {"good": ["Score: 2", "Score: 5"], "poor": ["Score: 4", "Score: 1"], "fair": ["Score: 3"]}
    for name in ("r0", "r1", "r2", "r3"):
        rows, _ = graded(verdicts, Config(tries=2, learn_best=False), Prompt(name, TAUGHT.messages, meta=TAUGHT.meta))
        assert [row.meta["grade"] for row in rows] == [5.0, 1.0, 3.0]


def test_a_cut_verdict_is_not_learned(graded):
    verdicts = {"good": ["Score: 5"], "poor": ["Score: 1 or so I think"], "fair": ["Score: 3"]}
    rows, _ = graded(verdicts, Config(learn_best=False), TAUGHT)
    assert len(rows) == 3
    [skip], _ = graded(verdicts, Config(learn_best=False), TAUGHT, judge={"name": "llm", "max_tokens": 3})
    assert skip.reason == "verdicts_unread"


def test_solutions_are_learned_in_the_start_alone(graded):
    prompt = Prompt("s", as_messages("Why?"), solution=" Because. ")
    [row], _ = graded({}, Config(), prompt)
    assert isinstance(row, Example) and (row.id, row.completion) == ("s/solution", "Because.")
    [skip], _ = graded({}, Config(), P)
    assert skip.reason == "no_solution"
    [row], _ = graded(verdicts_of([1], [2], [3], [4]), Config(), P, round=2)
    assert isinstance(row, Pair)


def test_the_judge_is_measured_on_held_out_answers_in_every_round(graded):
    verdicts = {"good": said(5, 5, 5), "poor": said(4, 3, 4), "fair": said(2, 3, 2)}
    for config, round in ((Config(), 1), (Config(), 2), (READY, 1)):
        [skip], measured = graded(verdicts, config, HELD, round=round)
        assert (skip.id, skip.reason) == ("h", "held_out")
        assert measured["ranked_pairwise"] == pytest.approx(2 / 3)  # fair and poor are the wrong way round
        assert (measured["ranked_exact"], measured["ranked_top_is_best"]) == (0.0, 1.0)
        assert (measured["ranked_spearman"], measured["ranked_graded"]) == (pytest.approx(0.5), 1.0)
    [skip], measured = graded({"good": ["?"], "poor": ["?"], "fair": said(2)}, READY, HELD)
    assert skip.reason == "held_out" and measured["ranked_graded"] == pytest.approx(1 / 3)
    assert "ranked_pairwise" not in measured


def test_a_judge_that_reads_digits_is_taught_digits(graded, tmp_path):
    judge, ledger = {"name": "llm", "read": "digits", "temperature": 1.0}, tmp_path / "asked.sqlite"
    found = {}
    for tries in (1, 16):
        for name in map(str, range(12)):
            prompt = Prompt(name, as_messages(f"{name}: why do we sleep?"), meta=TAUGHT.meta)
            config = Config(tries=tries, learn_best=False)
            rows, measured = graded({}, config, prompt, judge=judge, ledger=ledger)
            assert measured["verdicts_unread"] == 0.0  # a grade is drawn, so there always is one
            found[tries, name] = rows
    taught = [rows for rows in found.values() if isinstance(rows[0], Example)]
    assert {rows[0].reason for rows in found.values() if rows not in taught} <= {"verdicts_disagree"}
    few, many = (sum(isinstance(found[tries, str(at)][0], Example) for at in range(12)) for tries in (1, 16))
    assert few < many  # verdicts are the policy's own: more tries find the known order more often
    for rows in taught:
        good, poor, fair = (int(row.completion) for row in rows)
        assert 5 >= good > fair > poor >= 0 and [row.meta["grade"] for row in rows] == [good, poor, fair]
        assert "as one number from 0 to 5, and nothing else" in rows[0].prompt[0]["content"]
    asked = {entry.purpose: entry.request for entry in LedgerReader(ledger).entries()}
    assert asked["verdict"]["choices"] == list("012345") and asked["verdict"]["temperature"] == 1.0


def test_the_start_needs_a_judge_with_a_rubric(graded):
    with pytest.raises(ConfigError, match="judge must be"):
        graded({}, Config(), TAUGHT, judge={"name": "length"})
    [row], _ = graded({}, READY, P, judge={"name": "length"}, answers=("a", "b c", "d e f", "g h i j"))
    assert (row.chosen, row.rejected) == ("g h i j", "a")  # any judge grades answers


def rows_file(tmp_path, rows):
    path = tmp_path / "rows-00000.jsonl"
    path.write_text("".join(json.dumps(row.to_row() if not isinstance(row, dict) else row) + "\n" for row in rows))
    return Rows((path,))


def test_the_most_frequent_grade_is_cut_down(tmp_path):
    grades = [4, 4, 4, 4, 4, 2, 2, 1, None]
    rows = rows_file(tmp_path, [{"id": str(at), "meta": {"grade": g} if g else {}} for at, g in enumerate(grades)])
    left = list(assemble(Config(), rows))
    assert [row["meta"].get("grade") for row in left if not isinstance(row, Skip)] == [4, 4, 2, 2, 1, None]
    assert [skip.reason for skip in left if isinstance(skip, Skip)] == ["frequent_grade"] * 3
    assert left == list(assemble(Config(), rows))
    assert assemble(Config(balance=False), rows) is rows


@pytest.mark.parametrize(
    "wrong",
    [{"samples": 1}, {"start": "dpo"}, {"writer": "me"}, {"tries": 0}, {"ranked_heldout": 1.5}, {"new_prompts": -1},
     {"instruct": {"given": -1}}],
)  # fmt: skip
def test_options_that_cannot_work_are_refused(wrong):
    with pytest.raises(ConfigError):
        fill(Config, wrong, "recipe: method")


@pytest.fixture
def proposed(collect):
    """Return a function that gives the prompts that a round would see."""

    def proposed(config, prompts, texts=("Tell a joke about bread",), **options):
        async def propose(cfg, run, _):
            return await self_rewarding.propose(cfg, run, iter(prompts))

        module = SimpleNamespace(__name__="self_rewarding", collect=propose)
        [rows], _ = collect(module, config, [Prompt("all", ())], {"*": list(texts)}, **options)
        return rows

    return proposed


GIVEN = [Prompt(f"g{at}", as_messages(f"Name a use of {what}")) for at, what in enumerate(("salt", "wool", "clay"))]


def test_the_start_sees_all_ranked_prompts_and_later_rounds_the_held_out(proposed):
    config = Config(ranked="data/instructions/ranked.jsonl")
    start = proposed(config, GIVEN)
    assert start[:3] == GIVEN and len(start) == 63
    held = [prompt for prompt in start[3:] if prompt.meta["held_out"]]
    assert len(held) == 15
    assert proposed(config, GIVEN, round=2) == [*GIVEN, *held]
    assert proposed(Config(start="none", ranked=config.ranked), GIVEN) == [*GIVEN, *held]
    other = {prompt.id for prompt in proposed(config, GIVEN, round=2, seed=1)}
    assert other != {prompt.id for prompt in [*GIVEN, *held]}


def test_a_round_without_prompts_has_none(proposed):
    [skip] = proposed(Config(ranked="data/instructions/ranked.jsonl"), [], round=3)  # the driver's own
    assert (skip.id, skip.reason) == ("all", "no_rows")


def test_a_start_without_anything_to_learn_is_refused(proposed):
    with pytest.raises(DataError, match=r"nothing to learn.*method\.start=none"):
        proposed(Config(), GIVEN)
    assert proposed(Config(start="none"), GIVEN) == GIVEN


def test_new_prompts_stand_in_for_the_given_ones(proposed, tmp_path):
    config = Config(start="none", new_prompts=2)
    texts = ("Tell a joke about bread", "What may a ship carry?", "Draw a map")
    made = proposed(config, GIVEN, texts)
    prompts = [row for row in made if isinstance(row, Prompt)]
    assert {prompt.text for prompt in prompts} == set(texts[:2])
    assert all(prompt.id.startswith("made-1-") for prompt in prompts)
    # What earlier rounds made and learned from is known: it is not made again.
    earlier = Pair.of(prompts[0], "a", "b", meta={"written": 1})
    rows = {1: rows_file(tmp_path, [earlier, Pair.of(GIVEN[0], "a", "b")])}
    again = proposed(config, GIVEN, texts, round=2, earlier=rows)
    found = [row.text for row in again if isinstance(row, Prompt)]
    assert found == [prompts[1].text]


def test_ranked_prompts_whose_ranks_do_not_fit_are_refused(proposed, tmp_path):
    path = tmp_path / "ranked.jsonl"
    for meta in (
        {},
        {"answers": ["a", "b"]},
        {"answers": ["a", "b"], "ranks": [0]},
        {"answers": ["a", "b"], "ranks": [1, 1]},
    ):
        path.write_text(json.dumps({"id": "x", "prompt": "Why?", "meta": meta}))
        with pytest.raises(DataError, match=r"method\.ranked: prompt x needs meta\.answers"):
            proposed(Config(ranked=str(path)), GIVEN)
