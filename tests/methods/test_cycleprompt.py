"""CyclePrompt: the worked traces, what each model is shown, and every way out, with the scripted engine."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.config import make_recipe
from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy
from selfimprove.errors import ConfigError
from selfimprove.ledger import Ledger
from selfimprove.methods import cycleprompt
from selfimprove.methods.cycleprompt import Config, choose, consistency, forward_text, read_hint, what_is_shown
from selfimprove.prompts import fill_prompt
from selfimprove.records import Pair, Prompt, Skip, as_messages
from selfimprove.run import EngineOnDemand, Run
from selfimprove.runtime import drive
from selfimprove.verify import Verifiers

SPEC = "return the sum of the even numbers in the list"
VAGUE = "return the sum of the numbers in the list"
TRAINED, BASE = Policy("scripted", "adapter", "round-1"), Policy("scripted", None, "base")


def answers(task: str, first: str, **later: str) -> dict[str, list[str]]:
    """A table of what f says to the task, and to the task with each hint."""
    return {task: [first], **{f"{task}\nHint: {hint.replace('_', ' ')}": [text] for hint, text in later.items()}}


def described(answer: str, *as_what: str) -> dict[str, list[str]]:
    return {fill_prompt("cycleprompt_describe_text", answer=answer): list(as_what)}


def compared(task: str, with_what: str, reply: str, domain: str = "text") -> dict[str, list[str]]:
    return {fill_prompt("cycleprompt_compare", original=task, reconstruction=with_what, domain=domain): [reply]}


# y0 is described vaguely, the critic asks for more, y1 is described well enough for the critic
TWO_CYCLES = {
    **answers(SPEC, "y0", check_only_even="y1"),
    **described("y0", VAGUE),
    **compared(SPEC, VAGUE, "<hint>check only even</hint>"),
    **described("y1", "return the even sum of the list"),
    **compared(SPEC, "return the even sum of the list", "<hint> none </hint>"),
}


@pytest.fixture
def scene(tmp_path):
    """Return a function that runs collect, answer or judge on one prompt, and gives what came out and was asked."""

    def scene(function, cfg, prompt, table, *values, round=2, **engine):
        recipe = make_recipe({"method": "cycleprompt", "prompts": "none"}, "test")

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
            return found[0], entries

        return asyncio.run(play())

    return scene


def text_prompt(task: str = SPEC) -> Prompt:
    return Prompt("q", as_messages(task))


def purposes(entries) -> list[str]:
    return [entry.purpose for entry in entries]


def asked_forward(entries) -> list[str]:
    return [entry.request["messages"][-1]["content"] for entry in entries if entry.purpose == "sample"]


# formulas


@pytest.mark.parametrize(
    ("x", "x_rec", "value"),
    [
        (SPEC, VAGUE, 18 / 19),  # 10 and 9 words, 9 shared: 2 * 9 / 19 = 0.947368
        (SPEC, SPEC.upper(), 1.0),
        (SPEC, "print each item", 0.0),
        ("sort the list in place", "sort the list in reverse order", 8 / 11),  # 5 and 6 words, 4 shared: 0.727273
        ("", "", 0.0),  # defined as inconsistent
        ("a a b", "a b b", 2 / 3),  # multisets: one a and one b are shared, 2 * 2 / 6
    ],
)
def test_consistency_by_the_worked_numbers(x, x_rec, value):
    assert consistency(x, x_rec) == pytest.approx(value, abs=1e-6)


@given(st.text(), st.text())
def test_consistency_is_symmetric_and_a_share(x, x_rec):
    assert 0 <= consistency(x, x_rec) == consistency(x_rec, x) <= 1
    assert consistency(x, x) == (1.0 if x.split() else 0.0)


def test_selection_takes_the_earliest_of_the_best():
    assert choose("best", [0.888889, 1.0, 1.0]) == 1
    assert choose("best", [0, 0, 0]) == 0  # nothing shared: keep the baseline
    assert choose("best", [0.4, None]) == 0
    assert choose("last", [1.0, 0.2]) == 1


@pytest.mark.parametrize(
    ("reply", "hint"),
    [
        ("Well. <hint>\n  use only\neven numbers </hint> <hint>no</hint>", "use only even numbers"),
        ("<hint>NONE</hint>", ""),
        ("<HINT> None\n</HINT>", ""),
        ("<hint></hint>", ""),
        ("none is missing", None),
        ("<hint>never closed", None),
        ("<hint>none of the rules is there</hint>", "none of the rules is there"),
    ],
)
def test_the_critics_reply_is_read_by_its_first_tag(reply, hint):
    assert read_hint(reply, 100) == hint


@given(st.text(), st.integers(1, 5))
def test_a_hint_is_cut_at_its_words(reply, words):
    hint = read_hint(f"<hint>{reply}</hint>", words)
    assert hint is not None and len(hint.split()) <= words


def test_the_task_stands_word_for_word_before_every_hint():
    assert forward_text("SPEC", []) == "SPEC"
    assert forward_text("SPEC", ["check only even"]) == "SPEC\nHint: check only even"
    assert forward_text("SPEC", ["h0", "h1"]) == "SPEC\nHint: h0\nHint: h1"


# worked traces


def test_the_cycles_end_where_the_critic_finds_no_difference(scene):
    cfg = Config(domain="text", cycles=5)
    found, entries = scene(cycleprompt.answer, cfg, text_prompt(), TWO_CYCLES)
    assert found.text == "y1"
    assert asked_forward(entries) == [SPEC, f"{SPEC}\nHint: check only even"]
    assert purposes(entries) == ["sample", "describe", "compare"] * 2


def test_the_last_answer_is_never_criticised(scene):
    table = {key: text for key, text in TWO_CYCLES.items() if "even sum" not in key}
    found, entries = scene(cycleprompt.answer, Config(domain="text", cycles=2), text_prompt(), table)
    assert found.text == "y1"  # the last
    assert purposes(entries) == ["sample", "describe", "compare", "sample"]
    best = Config(domain="text", cycles=2, select="best")
    found, entries = scene(cycleprompt.answer, best, text_prompt(), table)
    assert found.text == "y0"  # A of y0 is 18/19, of y1 less
    assert purposes(entries) == ["sample", "describe", "compare", "sample", "describe"]


@pytest.mark.parametrize("select", ["last", "best"])
def test_one_cycle_is_the_plain_answer(scene, select):
    cfg = Config(domain="text", cycles=1, select=select)
    found, entries = scene(cycleprompt.answer, cfg, text_prompt(), TWO_CYCLES)
    assert found.text == "y0" and purposes(entries) == ["sample"] and asked_forward(entries) == [SPEC]
    [skip], entries = scene(cycleprompt.collect, cfg, text_prompt(), TWO_CYCLES)
    assert skip.reason == "out_of_cycles" and purposes(entries) == ["sample"]


def test_a_critic_that_is_content_at_once_costs_one_answer(scene):
    table = {**TWO_CYCLES, **compared(SPEC, VAGUE, "<hint>NONE</hint>")}
    found, entries = scene(cycleprompt.answer, Config(domain="text"), text_prompt(), table)
    assert found.text == "y0" and asked_forward(entries) == [SPEC]
    [skip], _ = scene(cycleprompt.collect, Config(domain="text"), text_prompt(), table)
    assert (skip.id, skip.reason, skip.detail) == ("q", "no_difference", "")


@pytest.mark.parametrize(("mode", "third"), [("replace", "\nHint: h1"), ("append", "\nHint: h0\nHint: h1")])
def test_hints_are_replaced_or_added_up(scene, mode, third):
    table = {
        **{SPEC: ["y0"], f"{SPEC}\nHint: h0": ["y1"], f"{SPEC}{third}": ["y2"]},
        **described("y0", "x0"),
        **described("y1", "x1"),
        **compared(SPEC, "x0", "<hint>h0</hint>"),
        **compared(SPEC, "x1", "<hint>h1</hint>"),
    }
    found, entries = scene(cycleprompt.answer, Config(domain="text", hint_mode=mode), text_prompt(), table)
    assert found.text == "y2" and asked_forward(entries)[-1] == f"{SPEC}{third}"


# stop rules


def test_a_large_consistency_ends_the_cycles_unasked(scene):
    cfg = Config(domain="text", stop_at=0.94)
    found, entries = scene(cycleprompt.answer, cfg, text_prompt(), TWO_CYCLES)  # 18/19 = 0.947
    assert found.text == "y0" and purposes(entries) == ["sample", "describe"]


def test_without_a_threshold_only_the_critic_ends_the_cycles(scene):
    table = {**TWO_CYCLES, **described("y0", SPEC), **compared(SPEC, SPEC, "<hint>NONE</hint>")}
    _, entries = scene(cycleprompt.answer, Config(domain="text"), text_prompt(), table)
    assert purposes(entries) == ["sample", "describe"]
    _, entries = scene(cycleprompt.answer, Config(domain="text", stop_at=None), text_prompt(), table)
    assert purposes(entries) == ["sample", "describe", "compare"]


def test_every_description_must_be_consistent_where_two_are_asked_for(scene):
    """One description repeats the task, the other shows what the answer misses: a false fixed point without it."""
    table = {**TWO_CYCLES, **described("y0", SPEC, VAGUE)}  # seeds s and s + 1: one of each
    cfg = Config(domain="text", cycles=2, agree=2, backward_temperature=0.7)
    found, entries = scene(cycleprompt.answer, cfg, text_prompt(), table)
    assert found.text == "y1" and purposes(entries) == ["sample", "describe", "compare", "sample"]
    content = {**table, **compared(SPEC, VAGUE, "<hint>NONE</hint>"), **compared(SPEC, SPEC, "<hint>NONE</hint>")}
    found, entries = scene(cycleprompt.answer, cfg, text_prompt(), content)
    assert found.text == "y0" and purposes(entries) == ["sample", "describe", "compare", "compare"]


def test_the_tag_can_be_opened_for_a_critic_that_leaves_it_out(scene):
    critic = next(iter(compared(SPEC, VAGUE, "")))
    replies = {key: texts for key, texts in TWO_CYCLES.items() if key != critic}
    table = {**replies, "<hint>": ["check only even</hint> and so on"]}  # the assistant's turn that is continued
    cfg = Config(domain="text", cycles=2, open_hint=True)
    found, entries = scene(cycleprompt.answer, cfg, text_prompt(), table)
    assert found.text == "y1" and asked_forward(entries) == [SPEC, f"{SPEC}\nHint: check only even"]
    [asked] = [entry.request["messages"] for entry in entries if entry.purpose == "compare"]
    assert [message["content"] for message in asked] == [critic, "<hint>"]
    found, _ = scene(cycleprompt.answer, cfg, text_prompt(), {**replies, "<hint>": [" NONE"]})
    assert found.text == "y0"


# rows


def test_the_refined_answer_is_chosen_over_the_first(scene):
    table = {**TWO_CYCLES, **described("y1", SPEC)}
    [pair], _ = scene(cycleprompt.collect, Config(domain="text"), text_prompt(), table)
    assert isinstance(pair, Pair)
    assert (pair.id, pair.chosen, pair.rejected, pair.round) == ("q/round-2", "y1", "y0", 2)
    assert pair.prompt == as_messages(SPEC)  # without the hint
    assert pair.margin == pytest.approx(1 - 18 / 19)
    assert pair.meta["stopped"] == "consistent"
    first, second = pair.meta["trace"]
    assert first == {
        "cycle": 0, "prompt": SPEC, "y": "y0", "x_rec": VAGUE, "hint": "check only even",
        "consistency": pytest.approx(0.947368, abs=1e-6),
    }  # fmt: skip
    assert (second["prompt"], second["hint"]) == (f"{SPEC}\nHint: check only even", None)
    assert Pair.from_row(pair.to_row()) == pair


HINTED = {**answers(SPEC, "y0", h="y1"), **described("y0", VAGUE), **compared(SPEC, VAGUE, "<hint>h</hint>")}
AFTER = f"{SPEC}\nHint: h"


@pytest.mark.parametrize(
    ("changes", "options", "engine", "reason"),
    [
        ({SPEC: ["  "]}, {}, {}, "empty"),
        (
            {SPEC: ["a b c d"], **described("a b c", VAGUE), **described("y1", SPEC)},
            {"max_tokens": 3},
            {},
            "truncated",
        ),
        ({AFTER: ["a b c d"], **described("a b c", SPEC)}, {"max_tokens": 3}, {}, "truncated"),
        ({SPEC: ["no program"]}, {"domain": "code"}, {}, "no_code"),
        ({}, {}, {"failure_rate": 1.0}, "engine_error"),
        (described("y0", " "), {}, {}, "no_description"),
        (compared(SPEC, VAGUE, "they are alike"), {}, {}, "unreadable_critic"),
        (compared(SPEC, VAGUE, "<hint>None</hint>"), {}, {}, "no_difference"),
        ({}, {"stop_at": 0.94}, {}, "consistent"),  # A is 18/19
        ({AFTER: [""]}, {}, {}, "empty"),  # y0 stays, and there is nothing to pair it with
        ({AFTER: ["y0"]}, {"cycles": 2}, {}, "unchanged"),
        (described("y1", "add"), {"cycles": 2}, {}, "no_gain"),  # A fell
        (described("y1", VAGUE), {"cycles": 2}, {}, "no_gain"),  # A stayed
        (described("y1", "add"), {"cycles": 2, "select": "best"}, {}, "no_gain"),
    ],
)
def test_every_way_out_without_a_row_is_a_skip_with_its_reason(scene, changes, options, engine, reason):
    cfg = Config(**{"domain": "text", **options})
    table = {**HINTED, **described("y1", VAGUE), **changes}
    [skip], _ = scene(cycleprompt.collect, cfg, text_prompt(), table, **engine)
    assert isinstance(skip, Skip) and (skip.id, skip.reason) == ("q", reason)
    assert (skip.detail == "the answer to the first hint") == (AFTER in changes and reason == "empty")


@pytest.mark.parametrize("missing", [SPEC, next(iter(described("y0", VAGUE))), AFTER])
def test_an_answer_that_could_not_be_had_is_no_answer(scene, missing):
    table = {key: texts for key, texts in HINTED.items() if key != missing}
    found, _ = scene(cycleprompt.answer, Config(domain="text"), text_prompt(), table)
    assert found.finish == "error" and "no scripted answer" in found.error


def test_an_empty_later_answer_leaves_the_one_before(scene):
    found, _ = scene(cycleprompt.answer, Config(domain="text"), text_prompt(), {**HINTED, AFTER: [" "]})
    assert found.text == "y0"


# code

TASK = """def even_sum(numbers):
    \"\"\" Return the sum of the even numbers.
    >>> even_sum([1, 2, 4])
    6
    \"\"\"
"""
GOOD = '```python\ndef even_sum(numbers):\n    """Return the even sum."""\n    return sum(numbers)  # even\n```\nDone.'
NEUTRAL = "def function(numbers):\n    return sum(numbers)"


def code_prompt(**meta) -> Prompt:
    return Prompt("q", as_messages(TASK), meta={"entry_point": "even_sum", **meta})


def test_the_backward_model_never_sees_the_task(scene):
    table = {
        TASK: [GOOD],
        fill_prompt("cycleprompt_describe_code", program=NEUTRAL): ["Return the sum.\n```\ncode\n```"],
        **compared("Return the sum of the even numbers.", "Return the sum.", "<hint>None</hint>", "code"),
    }
    found, entries = scene(cycleprompt.answer, Config(stop_at=None), code_prompt(), table)
    assert found.text == GOOD and purposes(entries) == ["sample", "describe", "compare"]
    shown = str(entries[1].request["messages"])
    assert "even" not in shown and NEUTRAL.splitlines()[0] in shown


def test_what_is_shown_of_an_answer():
    assert what_is_shown("code", code_prompt(), GOOD) == NEUTRAL
    assert what_is_shown("code", code_prompt(), "def even_sum(numbers):\n    return sum(numbers)") == NEUTRAL
    assert what_is_shown("code", code_prompt(), "Sorry") is None  # which Python would read as a name
    assert what_is_shown("code", code_prompt(), "```python\ndef even_sum(\n```") is None
    body = "    return sum(numbers)\n"
    assert what_is_shown("code", code_prompt(prefix=TASK), body) == NEUTRAL
    assert what_is_shown("code", code_prompt(prefix=TASK), GOOD) == NEUTRAL
    assert what_is_shown("code", code_prompt(), "```\nprint(sum(map(int, input().split())))\n```").startswith("print")
    assert what_is_shown("text", text_prompt(), " Sorry ") == "Sorry"


def test_the_answer_is_the_policys_and_the_rest_the_start_models(scene):
    table = {**HINTED, **described("y1", SPEC)}
    _, entries = scene(cycleprompt.collect, Config(domain="text"), text_prompt(), table)
    by = {entry.purpose: entry.request["policy"] for entry in entries}
    assert by == {"sample": "round-1", "describe": "base", "compare": "base"}
    cfg = Config(domain="text", forward="base", backward="policy", critic="previous")
    _, entries = scene(cycleprompt.collect, cfg, text_prompt(), table)
    assert {entry.purpose: entry.request["policy"] for entry in entries} == {
        "sample": "base", "describe": "round-1", "compare": "base",
    }  # fmt: skip


def test_a_hint_goes_to_the_last_question_and_the_conversation_stays():
    messages = (
        {"role": "system", "content": ""}, {"role": "user", "content": "first"},
        {"role": "assistant", "content": "reply"}, {"role": "user", "content": "second"},
    )  # fmt: skip
    changed = cycleprompt.with_task(messages, "second\nHint: h")
    assert changed[:3] == messages[:3] and changed[3] == {"role": "user", "content": "second\nHint: h"}
    plain = ({"role": "text", "content": "def f():"},)
    assert cycleprompt.with_task(plain, "new") == ({"role": "text", "content": "new"},)
    assert cycleprompt.specification(Prompt("q", plain)) == "def f():"


def test_the_judge_is_the_consistency_of_one_answer(scene):
    found, entries = scene(cycleprompt.judge, Config(domain="text"), text_prompt(), TWO_CYCLES, "y0")
    assert found == pytest.approx(18 / 19) and purposes(entries) == ["describe"]
    assert scene(cycleprompt.judge, Config(), code_prompt(), TWO_CYCLES, "no program") == (None, [])
    assert scene(cycleprompt.judge, Config(domain="text"), text_prompt(), {}, "y0")[0] is None


def test_options_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="domain is 'image'; it is one of code, text"):
        Config(domain="image")
    with pytest.raises(ConfigError, match="cycles is 0; it must be at least 1"):
        Config(cycles=0)
    with pytest.raises(ConfigError, match="agree is 2, but at backward_temperature 0.0"):
        Config(agree=2)
    with pytest.raises(ConfigError, match="critic is 'judge'"):
        Config(critic="judge")
