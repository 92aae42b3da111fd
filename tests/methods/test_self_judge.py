"""Self-Judge with the scripted engine: two views of every judgement, labels, the best of N, and answers kept back."""

import asyncio
import math

import pytest

from selfimprove.config import fill, make_recipe
from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy
from selfimprove.errors import ConfigError
from selfimprove.evaluation.heldout import measure_answer
from selfimprove.evaluation.with_method import SCORE
from selfimprove.judges.reference import digit_of, reference_of, render
from selfimprove.ledger import Ledger
from selfimprove.methods import self_judge
from selfimprove.methods.self_judge import Config, gives
from selfimprove.records import ABSTAINED, Example, Prompt, Skip, as_messages
from selfimprove.run import EngineOnDemand, Run
from selfimprove.runtime import drive
from selfimprove.verify import Verifiers

QUESTION = Prompt("q1", as_messages("What is 2 + 2?"), gold="4", solution="2 + 2 = 4")
TABLE = {"What is 2 + 2?": ["2 + 2 = 4", "It is five.", "Maybe 4, maybe not."]}
TRAINED, BASE = Policy("scripted", "adapter", "round-1"), Policy("scripted", None, "base")


@pytest.fixture
def scene(tmp_path):
    """Return a function that runs a function of the method on one prompt: (result, ledger's entries, measured)."""

    def scene(function, cfg, prompt=QUESTION, *values, table=TABLE, round=2, **engine):
        recipe = make_recipe({"method": "self_judge", "prompts": "none"}, "test")

        async def play():
            ledger = Ledger(tmp_path / f"{len(list(tmp_path.iterdir()))}.sqlite")
            on_demand = EngineOnDemand(open_engine({"name": "scripted", "answers": table, **engine}))
            run = Run(recipe, round, TRAINED, BASE, BASE, on_demand, ledger, Verifiers())
            found, outcomes = [], []

            async def ask(each):
                found.append(await function(cfg, run, each, *values))
                return [Skip(each.id, "played")]

            await drive([prompt], ask, outcomes.append)
            entries = list(ledger.entries(prompt.id))
            await on_demand.close()
            run.verifiers.close()
            ledger.close()
            return found[0], entries, outcomes[0].measured

        return asyncio.run(play())

    return scene


def judged(entries):
    return [entry for entry in entries if entry.purpose == "judge"]


def test_every_answer_becomes_two_views_of_one_digit_the_teachers_first(scene):
    rows, _, measured = scene(self_judge.collect, Config(samples=2))
    assert [row.meta["view"] for row in rows] == ["teacher", "student"] * 2
    assert [row.group for row in rows] == ["q1/round-2/0"] * 2 + ["q1/round-2/1"] * 2
    assert len({row.id for row in rows}) == 4
    for teacher, student in (rows[:2], rows[2:]):
        assert isinstance(teacher, Example) and teacher.completion == student.completion in set("0123456789")
        assert "### Reference:\n2 + 2 = 4" in teacher.prompt[0]["content"]
        assert "Reference" not in student.prompt[0]["content"]
        assert student.prompt[0]["content"].startswith("You are a strict and precise judge.")
    texts = [row.prompt[0]["content"] for row in rows[1::2]]
    assert len(set(texts)) == 2  # two different answers were judged
    assert dict(measured)["label"] in range(10)


def test_the_label_is_made_of_both_grades_by_the_base_alone(scene):
    rows, entries, _ = scene(self_judge.collect, Config())
    meta = rows[0].meta
    z = 0.5 * meta["self_eval"] / 9 + 0.5 * max(meta["cosine"], 0.0)
    assert rows[0].reward == pytest.approx(z) and rows[0].completion == str(digit_of(z))
    assert {entry.request["policy"] for entry in entries if entry.kind == "generate"} == {"base"}
    [asked] = judged(entries)
    expected = sum(int(digit) * math.exp(value) for digit, value in asked.answer[0]["choices"].items())
    assert meta["self_eval"] == pytest.approx(expected)
    assert asked.request["messages"] == [dict(message) for message in rows[0].prompt]  # asked as it is trained


def test_the_reference_itself_gets_the_likeness_of_one(scene):
    rows, _, _ = scene(self_judge.collect, Config(weight=0), table={"*": ["2 + 2 = 4"]})
    assert rows[0].meta["cosine"] == 1.0 and rows[0].completion == rows[1].completion == "9"
    rows, _, _ = scene(self_judge.collect, Config(weight=0), table={"*": ["no idea"]})
    assert rows[0].completion in set("012")


def test_without_the_likeness_no_encoder_is_asked(scene):
    rows, _, _ = scene(self_judge.collect, Config(weight=1))
    assert rows[0].meta["cosine"] is None
    assert rows[0].completion == str(digit_of(rows[0].meta["self_eval"] / 9))


@pytest.mark.parametrize(
    ("table", "prompt", "engine", "reason"),
    [
        ({"*": ["  "]}, QUESTION, {}, "empty"),
        (TABLE, QUESTION, {"failure_rate": 1.0}, "engine_error"),
        (TABLE, Prompt("q1", QUESTION.messages), {}, "no_reference"),
    ],
)
def test_every_way_out_has_its_reason(scene, table, prompt, engine, reason):
    [skip], _, _ = scene(self_judge.collect, Config(), prompt, table=table, **engine)
    assert (type(skip), skip.reason) == (Skip, reason)


def test_an_answer_without_a_grade_is_skipped_not_graded_zero(scene):
    asked = render(Config().labeller.config, QUESTION, "long " * 40, reference_of(QUESTION))
    longest = len(asked[0]["content"].split()) - 1  # the answer fits the engine, the judge's prompt does not
    [skip], _, _ = scene(self_judge.collect, Config(), table={"*": ["long " * 40]}, max_model_len=longest)
    assert skip.reason == "no_grade" and "too long" in skip.detail


def test_the_best_of_n_has_the_highest_grade_and_is_judged_without_reference_by_the_trained_judge(scene):
    sample, entries, measured = scene(self_judge.answer, Config(best_of=3))
    grades = {}
    for entry in judged(entries):
        [message] = entry.request["messages"]
        assert "2 + 2 = 4" not in message["content"].partition("### Answer")[0]
        expected = sum(int(digit) * math.exp(value) for digit, value in entry.answer[0]["choices"].items())
        grades[message["content"].partition("### Answer:\n")[2].partition("\n\n")[0]] = expected
    assert len(grades) == 3 and sample.text == max(grades, key=grades.get) and sample.finish == "stop"
    assert dict(measured)[SCORE] == pytest.approx(max(grades.values()))
    assert {entry.request["policy"] for entry in judged(entries)} == {"round-1"}
    [drawn] = [entry for entry in entries if entry.purpose == "sample"]
    assert drawn.request["policy"] == "base" and drawn.request["n"] == 3


def test_below_the_threshold_the_answer_is_kept_back_and_counts_neither_way(scene):
    given, _, measured = scene(self_judge.answer, Config())
    score = dict(measured)[SCORE]
    assert scene(self_judge.answer, Config(threshold=score))[0] == given  # at the threshold it is given
    kept, _, _ = scene(self_judge.answer, Config(threshold=min(score + 0.01, 9)))
    assert (kept.finish, kept.text, kept.error) == (ABSTAINED, given.text, None)

    async def item(cfg, run, prompt):
        return (await measure_answer(lambda run, prompt: self_judge.answer(cfg, run, prompt), run, prompt))[0]

    table = {"*": ["2 + 2 = 4"]}
    shown, _, _ = scene(item, Config(), table=table)
    hidden, _, _ = scene(item, Config(threshold=9), table=table)
    assert (shown.correct, shown.withheld) == (True, None)
    assert (hidden.correct, hidden.withheld, hidden.finish) == (None, True, ABSTAINED)


def test_an_ungraded_answer_never_wins_and_is_given_only_without_a_threshold(scene):
    long, short = "long " * 60, "2 + 2 = 4"
    asked = render(Config().judge.config, QUESTION, short, None)
    engine = {"table": {"*": [long, short]}, "max_model_len": len(asked[0]["content"].split()) + 5}
    sample, _, measured = scene(self_judge.answer, Config(best_of=2), **engine)
    assert sample.text == short and dict(measured)["ungraded_answers"] == 0.5
    engine["table"] = {"*": [long]}
    alone, _, measured = scene(self_judge.answer, Config(), **engine)
    assert alone.text.strip() == long.strip() and alone.finish == "stop" and SCORE not in dict(measured)
    kept, _, _ = scene(self_judge.answer, Config(threshold=0), **engine)
    assert kept.finish == ABSTAINED
    failed, _, _ = scene(self_judge.answer, Config(threshold=0), failure_rate=1.0)
    assert failed.error and failed.finish == "error"


def test_giving():
    assert gives(None, None) and gives(0.0, None) and gives(5.0, 5.0)
    assert not gives(4.9, 5.0) and not gives(None, 0.0)


def test_the_judges_grade_for_the_watch(scene):
    grade, [entry], _ = scene(self_judge.judge, Config(), QUESTION, "2 + 2 = 4")
    assert 0 < grade < 9 and entry.request["policy"] == "round-1"
    assert scene(self_judge.judge, Config(), QUESTION, " ")[0] is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"samples": 0}, {"best_of": 0}, {"best_of": 4, "temperature": 0}, {"threshold": 10}, {"alpha": -1},
        {"kappa": -1}, {"weight": 2}, {"wrapper": "tea"}, {"characters": 0},
    ],
)  # fmt: skip
def test_options_that_cannot_work_are_refused(wrong):
    with pytest.raises(ConfigError):
        fill(Config, wrong, "recipe: method")
