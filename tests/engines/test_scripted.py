"""The scripted engine: the shared conformance checks, its script, its knobs and its speed."""

import asyncio
import json
import math
import re
import time
from dataclasses import replace

import pytest
from conformance import CHECKS, name_of, running
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.engines import _script, engine_names, open_engine
from selfimprove.engines.base import Generate, Policy, Score
from selfimprove.errors import ConfigError, EngineError
from selfimprove.records import Sample, as_messages

BASE = Policy("base", None, "digest-a")
TRAINED = Policy("base", "adapter", "digest-b")
SUM = as_messages("What is 17 + 25?")


@pytest.fixture(scope="module")
def subject():
    with running(open_engine({"name": "scripted"}), BASE, other=TRAINED, lacks={"language"}) as subject:
        yield subject


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_conformance(check, subject):
    subject.conduct(check)


def ask(request: Generate, **options) -> list[Sample]:
    async def go() -> list[Sample]:
        engine = open_engine({"name": "scripted", **options})
        await engine.start(request.policy)
        return await engine.generate(request)

    return asyncio.run(go())


def share_right(policy: Policy, **options) -> float:
    return sum("42" in s.text for s in ask(Generate(policy, SUM, n=2000), **options)) / 2000


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("What is 17 + 25?", 42),
        ("12 - 30 =", -18),
        ("4 * -3 + 2", -10),
        ("-5 - -7", 2),
        ("Tom has 7 apples and buys 5 more.", 12),
        ("Tom has 7 apples and eats 5. How many are left?", 2),
        ("3 boxes hold 8 pens each.", 24),
        ("Tell me a story.", None),
    ],
)
def test_default_script_solves_arithmetic(text, result):
    assert _script.solve(text) == result


@given(st.integers(-99, 99), st.sampled_from("+-*"), st.integers(0, 99), st.sampled_from("+-*"), st.integers(0, 99))
@settings(derandomize=True, max_examples=60, deadline=None)
def test_expressions_are_evaluated_as_python_does(a, first, b, second, c):
    expression = f"{a} {first} {b} {second} {c}"
    assert _script.solve(f"Compute {expression}") == eval(expression)


def test_skill_is_the_share_of_right_answers_and_an_adapter_raises_it():
    assert abs(share_right(BASE) - 0.35) < 0.04
    assert share_right(BASE, skill=1.0) == 1.0
    assert 0.5 < share_right(TRAINED) < 0.8  # 0.35 + 0.4 * (0.5 to 1)


def test_answers_of_a_table_rotate_with_the_seed(tmp_path):
    request = Generate(BASE, SUM, n=4, seed=4)
    texts = [s.text for s in ask(request, answers={"What is 17 + 25?": ["42", "43", "44"]})]
    assert texts == ["43", "44", "42", "43"]  # seeds 4, 5, 6, 7 modulo 3
    missing = ask(request, answers={"another": ["1"]})
    assert all(s.finish == "error" and "17 + 25" in s.error for s in missing)
    table = tmp_path / "answers.jsonl"
    table.write_text(json.dumps({"prompt": "*", "answers": ["any"]}) + "\n")
    assert ask(request, answers=str(table))[0].text == "any"


def test_a_script_of_the_user_answers(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text("def answer(request, seed):\n    return f'{request.messages[-1][\"content\"]} {seed}'\n")
    assert [s.text for s in ask(Generate(BASE, SUM, n=2, seed=5), script=str(script))] == [
        "What is 17 + 25? 5",
        "What is 17 + 25? 6",
    ]


def test_identity_follows_the_script_and_nothing_else():
    def identity(**options):
        return open_engine({"name": "scripted", **options}).identity

    assert identity() == identity(delay=0.5, failure_rate=0.1)
    assert len({identity(), identity(skill=0.5), identity(answers={"a": ["b"]}), identity(answers={"a": ["c"]})}) == 4


def test_failures_are_values_and_repeatable():
    requests = [Generate(BASE, SUM, seed=seed) for seed in range(300)]
    failed = [ask(request, failure_rate=0.2)[0].error is not None for request in requests[:300]]
    assert 30 < sum(failed) < 90
    assert failed == [ask(request, failure_rate=0.2)[0].error is not None for request in requests]


def test_cut_answers_end_by_length():
    samples = ask(Generate(BASE, as_messages("Tell me a story."), n=400), cut=0.25)
    assert 60 < sum(s.finish == "length" for s in samples) < 140


def test_it_dies_when_told_to():
    async def go():
        engine = open_engine({"name": "scripted", "dies_after": 3})
        await engine.start(BASE)
        five = [engine.generate(Generate(BASE, SUM)) for _ in range(5)]
        outcomes = await asyncio.gather(*five, return_exceptions=True)
        with pytest.raises(EngineError, match="died after 3"):
            await engine.generate(Generate(BASE, SUM))
        return outcomes

    outcomes = asyncio.run(go())
    assert [isinstance(outcome, EngineError) for outcome in outcomes] == [False, False, False, True, True]


@pytest.mark.parametrize("pattern", [r"Score: [1-5]", r"(yes|no){1,2}", r"\d{3}-\w+", r"[^a-c]x?", r"(a|b)\1", "^ok$"])
def test_regex_answers_match(pattern):
    for seed in range(30):
        sample = ask(Generate(BASE, SUM, regex=pattern, seed=seed))[0]
        assert re.fullmatch(pattern, sample.text), sample.text


def test_json_answers_fit_the_schema():
    schema = {
        "type": "object",
        "properties": {
            "why": {"type": "string", "maxLength": 20},
            "score": {"type": "integer", "minimum": 1, "maximum": 5},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 3},
            "sure": {"type": "boolean"},
        },
    }
    values = [json.loads(s.text) for s in ask(Generate(BASE, SUM, n=50, json_schema=schema))]
    assert {value["score"] for value in values} == {1, 2, 3, 4, 5}
    assert all(len(value["why"]) <= 20 and set(value["tags"]) <= {"a", "b"} for value in values)


def test_scores_of_two_policies_differ_and_of_one_do_not():
    async def go():
        engine = open_engine({"name": "scripted"})
        await engine.start(BASE)
        request = Score(BASE, SUM, "The answer is 42.")
        return [(await engine.score(r)).total for r in (request, replace(request, policy=TRAINED), request)]

    first, second, again = asyncio.run(go())
    assert first == again != second and math.isfinite(second)


def test_it_is_fast():
    async def go():
        engine = open_engine({"name": "scripted"})
        await engine.start(BASE)
        requests = [Generate(BASE, as_messages(f"What is {i} + 25?"), n=8, seed=i) for i in range(1000)]
        best = 0.0
        for _ in range(3):
            begun = time.process_time()
            await asyncio.gather(*map(engine.generate, requests))
            best = max(best, 8000 / (time.process_time() - begun))
        return best

    assert asyncio.run(go()) > 15_000  # samples a second; about 60,000 on an idle core


def test_engines_are_found_by_name_and_by_path(tmp_path):
    assert {"scripted", "vllm"} <= set(engine_names())
    with pytest.raises(ConfigError, match="did you mean 'scripted'"):
        open_engine({"name": "scriptd"})
    with pytest.raises(ConfigError, match="'scripted' has no option 'skil'; did you mean 'skill'"):
        open_engine({"name": "scripted", "skil": 1})
    with pytest.raises(ConfigError, match="there is no file"):
        open_engine({"name": str(tmp_path / "none.py")})
    own = tmp_path / "own.py"
    own.write_text(
        "from dataclasses import dataclass\n"
        "from selfimprove.engines.scripted import Config as Parent, ScriptedEngine\n"
        "@dataclass(frozen=True)\nclass Config(Parent):\n    louder: bool = True  # shout\n"
        "def make(config):\n    return ScriptedEngine(config, name='own')\n"
    )
    assert open_engine({"name": str(own), "louder": False}).config.louder is False
