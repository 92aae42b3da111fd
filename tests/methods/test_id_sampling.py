"""ID-sampling: `collect` and `answer` with a scripted model that thinks again, and what goes to the engine."""

import asyncio
from collections import defaultdict
from typing import Any

import pytest

from selfimprove.building.deepening import Segment, Trace
from selfimprove.building.rethinking import read
from selfimprove.chat import TEXT
from selfimprove.config import make_recipe
from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy
from selfimprove.errors import ConfigError
from selfimprove.evaluation.with_method import SCORE, heldout_run
from selfimprove.ledger import Ledger
from selfimprove.methods import id_sampling
from selfimprove.methods.id_sampling import Config, going_on, own_reward
from selfimprove.records import Example, Prompt, Skip, as_messages
from selfimprove.run import EngineOnDemand, Run
from selfimprove.runtime import drive
from selfimprove.verify import Verifiers

BASE = Policy("scripted", None, "base")
WAIT = "\nWait! Again."
RETHINKS = '''
"""Says 5 and goes on without end until it is asked to think again; then it says 4."""
def answer(request, seed):
    last = request.messages[-1]["content"]
    if last.endswith("Again."):
        return "So it is 4." if "right" in last else "Or it is 6."
    if "short" in last:
        return "It is 4."
    return ("It is 5, right? " if "plain" in last else "It is 4, wrong? ") + "hm " * 100
'''
SHORT: dict[str, Any] = {"samples": 3, "budget_start": 6, "cap": 60, "trigger": WAIT, "must_match": "[0-9]"}


def prompt(text="plain", gold="4"):
    return Prompt(text, as_messages(text), gold=gold)


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "rethinks.py"
    path.write_text(RETHINKS)
    return str(path)


@pytest.fixture
def scene(tmp_path):
    """Return a function that answers prompts by the method: (samples, means measured, requests made)."""

    def scene(cfg, prompts, judge=None, **engine):
        recipe = make_recipe({"method": "id_sampling", "prompts": "none", "judge": judge or {}}, "test")
        measured, results, asked = defaultdict(list), [], []

        async def kept(run, prompt):
            results.append(await id_sampling.answer(cfg, run, prompt))
            return []

        def emit(outcome):
            for name, value in outcome.measured:
                measured[name].append(value)

        async def everything():
            ledger = Ledger(tmp_path / f"scene-{len(list(tmp_path.iterdir()))}.sqlite")
            on_demand, verifiers = EngineOnDemand(open_engine({"name": "scripted", **engine})), Verifiers()
            run = heldout_run(Run(recipe, 0, BASE, BASE, BASE, on_demand, ledger, verifiers))
            try:
                await drive(prompts, lambda each: kept(run, each), emit)
                asked.extend(entry for each in prompts for entry in ledger.entries(each.id))
            finally:
                await on_demand.close()
                verifiers.close()
                ledger.close()

        asyncio.run(everything())
        return results, {name: sum(values) / len(values) for name, values in measured.items()}, asked

    return scene


def test_right_traces_become_rows_with_their_record(collect, script):
    [rows], means = collect(id_sampling, Config(**SHORT), [prompt()], None, script=script)
    text = "It is 5, right? hm hm" + WAIT + "So it is 4."  # six words a budget, then the trigger
    [row] = rows  # the same text three times is one row
    assert isinstance(row, Example) and row.completion == text and row.reward == 1.0 and row.end
    assert row.prompt == prompt().messages
    assert row.meta == {
        "sample": 0,
        "segments": [{"budget": 6, "n_tokens": 6}, {"budget": 12, "n_tokens": 4}],
        "n_triggers": 1,
        "total_tokens": 6 + 2 + 4,
        "finish_reason": "eos",
    }
    assert means["repaired"] == 1 and means["broken"] == 0 and means["right_one"] == 1
    assert means["triggers"] == 1 and means["untriggered"] == 0 and means["response_tokens"] == 12
    assert means["drawn_tokens"] == 11  # 6 + 4 words and an end; the trigger's two were given


def test_a_right_answer_that_is_broken_gives_no_row(collect, script):
    [rows], means = collect(id_sampling, Config(**SHORT), [prompt("other")], None, script=script)
    assert rows == [Skip("other", "none_right")]
    assert means["broken"] == 1 and means["repaired"] == 0 and means["right_one"] == 0


def test_triggers_as_context_alone(collect, script):
    [rows], _ = collect(id_sampling, Config(**SHORT, learn="context"), [prompt()], None, script=script)
    first, second = rows
    assert (first.id, first.completion, first.end) == ("plain/0-0", "It is 5, right? hm hm", False)
    assert first.prompt == prompt().messages
    assert (second.id, second.completion, second.end) == ("plain/0-1", "So it is 4.", True)
    assert second.prompt[-1] == {"role": "assistant", "content": "It is 5, right? hm hm" + WAIT}


def test_only_traces_without_triggers_or_only_those_with(collect, script):
    both = [prompt(), prompt("short")]
    rows, means = collect(id_sampling, Config(**SHORT, learn="drop"), both, None, script=script)
    assert rows[0] == [Skip("plain", "other_triggers")] and rows[1][0].completion == "It is 4."
    assert means["untriggered"] == 0.5
    rows, _ = collect(id_sampling, Config(**SHORT, min_triggers=1), both, None, script=script)
    assert rows[0][0].meta["n_triggers"] == 1 and rows[1] == [Skip("short", "other_triggers")]


@pytest.mark.parametrize(
    ("options", "answers", "gold", "engine", "reason"),
    [
        ({}, ["It is 4."], None, {}, "ungraded"),
        ({}, ["It is 5."], "4", {}, "none_right"),
        ({}, [""], "4", {}, "none_right"),
        ({}, ["no number"], "4", {}, "none_right"),
        ({"budget_start": 60}, ["It is 4, " + "of course " * 60], "4", {}, "truncated"),
        ({"trigger_tokens": 2}, ["4"], "4", {"failure_rate": 1.0}, "engine_error"),
        ({}, ["4"], "4", {"max_model_len": 1}, "engine_error"),
    ],
)
def test_skips(collect, options, answers, gold, engine, reason):
    config = Config(**{**SHORT, **options})
    [rows], _ = collect(id_sampling, config, [prompt("any question", gold)], {"*": answers}, **engine)
    assert [row.reason for row in rows] == [reason]


def test_an_uncounted_trigger_says_what_to_set(collect):
    [[skip]], _ = collect(id_sampling, Config(**SHORT), [prompt()], {"*": ["4"]}, max_model_len=1)
    assert "set method.trigger_tokens" in skip.detail


def test_every_sample_and_budget_has_its_own_seed_and_the_turn_stays_open(scene, script):
    _, _, asked = scene(Config(**SHORT), [prompt()], script=script)
    made = [entry.request for entry in asked if entry.kind == "generate"]
    assert len(made) == 6 and len({request["seed"] for request in made}) == 6
    assert sorted(request["max_tokens"] for request in made) == [6, 6, 6, 12, 12, 12]
    later = [request["messages"] for request in made if request["max_tokens"] == 12]
    opened = {"role": "assistant", "content": "It is 5, right? hm hm" + WAIT}
    assert all(messages == [*prompt().messages, opened] for messages in later)
    assert len([entry for entry in asked if entry.kind == "score"]) == 1  # the trigger is counted once


def test_plain_sampling_is_a_start_at_the_cap(scene, script):
    _, means, asked = scene(Config(**{**SHORT, "budget_start": 60}), [prompt()], script=script)
    assert means["untriggered"] == 1 and means["cut"] == 1
    assert [entry.request["max_tokens"] for entry in asked if entry.kind == "generate"] == [60] * 3


MANY = ["It is 7.", "It is 7!", "It is certainly and beyond all doubt 5."]
LONG = MANY[2]


@pytest.mark.parametrize("select", ["majority", "weighted_majority", "best_of_n"])
def test_answers_are_combined_as_asked(scene, select):
    config = Config(**{**SHORT, "samples": 9, "budget_start": 20, "select": select, "reward": "judge"})
    [sample], means, asked = scene(config, [prompt("q", "7")], judge={"name": "length"}, answers={"*": MANY})
    drawn = [entry.answer[0]["text"] for entry in asked if entry.kind == "generate"]
    fives = drawn.count(LONG)
    assert 2 <= fives <= 4  # a minority, whose 8 words a text outweigh the 3 of the others
    assert (sample.text == LONG) == (select != "majority")
    worth = {"majority": 1 - fives / 9, "weighted_majority": 8 * fives / (8 * fives + 3 * (9 - fives)), "best_of_n": 8}
    assert means[SCORE] == pytest.approx(worth[select])
    assert means["right_majority"] == 1 and means["right_any"] == 1 and means["unpicked"] == 0
    assert means["right_one"] == pytest.approx(1 - fives / 9)
    others = {"right_weighted_majority": 0.0, "right_best_of_n": 0.0} if select != "majority" else {}
    assert {name: means[name] for name in others} == others
    assert "tokens" not in means  # that name tells what an item cost


def test_own_log_probs_pick_among_whole_answers_that_can_be_read(scene):
    config = Config(**{**SHORT, "samples": 8, "budget_start": 60, "select": "best_of_n", "reward": "logp"})
    texts = ["4", "It is 4 after all that was said.", "nothing", "5 " * 100]
    [sample], means, asked = scene(config, [prompt()], answers={"*": texts})
    able = [entry.answer[0] for entry in asked if entry.kind == "generate" and entry.answer[0]["text"] in texts[:2]]
    assert sample.text in texts[:2] and sample.logprob == pytest.approx(max(each["logprob"] for each in able))
    assert means[SCORE] == pytest.approx(sample.logprob)


def test_where_nothing_can_be_picked_the_first_is_returned(scene):
    [sample], means, _ = scene(Config(**SHORT), [prompt()], answers={"*": ["no idea"]})
    assert sample.text == "no idea" and means["unpicked"] == 1 and means["right_any"] == 0 and SCORE not in means


def test_without_any_response_the_answer_is_an_error(scene):
    [sample], means, _ = scene(Config(**SHORT, trigger_tokens=2), [prompt()], answers={"*": ["4"]}, failure_rate=1.0)
    assert sample.error == "a scripted failure" and means["failed"] == 1


def test_a_measured_answer_is_the_last_segment_with_the_length_of_the_whole(scene, script):
    [sample], means, _ = scene(Config(**SHORT), [prompt()], script=script)
    assert sample.text == "So it is 4." and sample.tokens == 12 and sample.finish == "stop"
    assert means["repaired"] == 1 and means["right_majority"] == 1


def test_what_the_last_trigger_leaves_is_read_first():
    def number(text):
        return next((word.strip(".") for word in reversed(text.split()) if word.strip(".").isdigit()), None)

    def trace(*texts):
        return Trace(tuple(Segment(text, 9, len(text), True) for text in texts), "eos", WAIT, 2)

    found = read(number, trace("It is 5.", "No, 4."))
    assert (found.answer, found.stated, found.first) == ("4", "No, 4.", "5")
    found = read(number, trace("It is 5.", "It is 6.", "Hm."))
    assert (found.answer, found.stated) == ("6", "It is 6.")
    found = read(number, trace("Well.", "Hm."))
    assert (found.answer, found.stated, found.first) == (None, "Hm.", None)
    found = read(number, trace("boxed 5", "half of 8"), must_match="boxed")
    assert (found.answer, found.stated) == ("5", "boxed 5")


def test_a_conversation_that_goes_on():
    assert going_on(as_messages("q"), "<think>\n", "") == as_messages("q")
    assert going_on(as_messages("q"), "<think>\n", "a")[-1] == {"role": "assistant", "content": "<think>\na"}
    plain = as_messages("Q: 1 + 1?\nA:", TEXT)
    assert going_on(plain, "<think>\n", " 2") == as_messages("Q: 1 + 1?\nA: 2", TEXT)
    begun = (*as_messages("q"), {"role": "assistant", "content": "Well,"})
    assert going_on(begun, "", " 2") == (*as_messages("q"), {"role": "assistant", "content": "Well, 2"})


def test_own_rewards_are_of_whole_answers():
    whole = Trace((Segment("5", 4, 4, False, -2.0), Segment("4", 8, 3, True, -4.0)), "eos", WAIT, 2)
    assert own_reward("logp", whole, "4") == -6.0
    assert own_reward("norm", whole, "4") == -6.0 / 8  # 4 + 3 tokens and the end; the trigger was not drawn
    assert own_reward("norm", whole, None) is None
    assert own_reward("logp", Trace(whole.segments, "length", WAIT, 2), "4") is None
    assert own_reward("logp", Trace((Segment("4", 8, 3, True, None),), "eos", WAIT, 2), "4") is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"growth": 1.0}, "growth is 1.0; budgets must grow"),
        ({"growth": float("nan")}, "growth is nan"),
        ({"budget_start": 0}, "budget_start is 0; it must be at least 1"),
        ({"max_rounds": 0}, "max_rounds is 0"),
        ({"mode": "both"}, "mode is 'both'; it is one of segment, cumulative"),
        ({"select": "first"}, "select is 'first'"),
        ({"trigger": " "}, "trigger is empty"),
        ({"learn": "drop", "min_triggers": 1}, "nothing is left"),
        ({"must_match": "("}, "no regular expression"),
    ],
)
def test_what_cannot_work_is_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        Config(**options)
