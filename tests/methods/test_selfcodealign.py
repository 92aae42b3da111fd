"""SelfCodeAlign: each step by its worked example, each early exit a Skip, one passing answer a task in the end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.building.programs import code_representation
from selfimprove.config import fill
from selfimprove.errors import ConfigError
from selfimprove.ledger import LedgerReader
from selfimprove.methods import configure, selfcodealign
from selfimprove.methods.selfcodealign import (
    Config,
    executed_code,
    says_yes,
    shots_of,
    split_concepts,
    well_formed,
)
from selfimprove.prompts import few_shots
from selfimprove.prompts.selfcodealign import CONCEPTS, INSTRUCTION, JUDGE, NEXT, RESPONSE, SEPARATOR
from selfimprove.records import Example, Prompt, Skip, as_messages
from selfimprove.sources import load_prompts, normalized_text
from selfimprove.verify.code import code_blocks, function_names

F = "```"
SEED = 'def half(n):\n    """Return n divided by two."""\n    return n / 2'
TASK = "Write a function `add(a, b)` that returns the sum of two numbers."
RLIMITS = {"name": "rlimits", "trust_the_code": True}


def block(code, tag="python"):
    return f"{F}{tag}\n{code}\n{F}"


def sample(answer="def add(a, b):\n    return a + b", tests="assert add(1, 2) == 3", prose="It adds."):
    return f"\n{prose}\n\n{block(answer)}\n{SEPARATOR}\n{block(tests)}\n"


GOOD, WRONG = sample(), sample("def add(a, b):\n    return a - b")


@pytest.fixture
def model(tmp_path):
    """Return a function that writes the script of an engine which gives each step its answers."""

    def write(judge=("Yes",), concepts=("addition, numbers",), instruction=(TASK,), response=(GOOD,)):
        steps = {JUDGE: judge, CONCEPTS: concepts, INSTRUCTION: instruction, RESPONSE: response}
        source = f"STEPS = {steps!r}\n\n\ndef answer(request, seed):\n"
        source += '    text = request.messages[-1]["content"]\n'
        source += "    texts = next(texts for opening, texts in STEPS.items() if text.startswith(opening))\n"
        source += "    return texts[seed % len(texts)]\n"
        path = tmp_path / f"script-{len(list(tmp_path.iterdir()))}.py"
        path.write_text(source)
        return str(path)

    return write


@pytest.fixture
def rows_of(collect, model):
    """Return a function that collects one seed, with each step's answers given, and returns rows and figures."""

    def rows_of(seed=SEED, *, meta=None, config=None, engine=None, **answers):
        prompt = Prompt("seed", as_messages(seed), meta=meta or {})
        script = model(**answers)
        options = {"samples": max(1, len(answers.get("response", ("",)))), **(config or {})}
        sandbox = (engine or {}).pop("sandbox", RLIMITS)
        [found], measured = collect(
            selfcodealign, Config(**options), [prompt], None, script=script, sandbox=sandbox, **(engine or {})
        )
        return found, measured

    return rows_of


def test_the_answers_that_pass_their_own_tests_become_rows(rows_of):
    found, measured = rows_of(response=(GOOD, WRONG, sample(prose="Another way.")))
    assert all(isinstance(each, Example) for each in found)
    assert sorted(each.completion for each in found) == [
        f"Another way.\n\n{block('def add(a, b):' + chr(10) + '    return a + b')}",
        f"It adds.\n\n{block('def add(a, b):' + chr(10) + '    return a + b')}",
    ]
    first = found[0]
    assert first.prompt == ({"role": "user", "content": TASK},)
    assert first.meta["tests"] == block("assert add(1, 2) == 3")
    assert list(first.meta["concepts"]) == ["addition", "numbers"]
    assert first.meta["seed"] == SEED and first.meta["language"] == "Python"
    assert measured["passed"] == pytest.approx(2 / 3)
    assert (measured["response_uncut"], measured["well_formed"], measured["judged_good"], measured["concepts"]) == (
        1,
        1,
        1,
        2,
    )


def test_a_system_message_can_stand_before_each_task(rows_of):
    [found], _ = rows_of(config={"system": "You write Python."})
    assert found.prompt == ({"role": "system", "content": "You write Python."}, {"role": "user", "content": TASK})


def test_tests_of_one_sample_never_check_another(rows_of):
    # Each is right by its own tests only: run together, or against each other's, one of them would fail.
    other = sample("def add(a, b):\n    return a - b", "assert add(1, 2) == -1")
    found, _ = rows_of(response=(GOOD, other))
    assert len(found) == 2


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os\nos._exit(0)", "vanishes with exit code 0"),
        ("raise SystemExit(0)", "leaves with exit code 0"),
        ("import sys\nsys.exit()", "leaves with exit code 0"),
        ("def reached(): return 'reached'\nquit()", "leaves"),
        ("add(", "is no Python"),
        ("x = input()", "finds nothing to read"),
        ("1 / 0", "raises"),
    ],
)
def test_only_a_program_whose_tests_ran_to_their_end_passes(rows_of, code, why):
    [skip], measured = rows_of(response=(sample(f"{code}\n\ndef add(a, b):\n    return a + b"),))
    assert (skip.reason, measured["passed"]) == ("none_passed", 0.0), why


@pytest.mark.parametrize(
    ("answers", "options", "reason"),
    [
        ({"judge": ("No",)}, {}, "judged_bad"),
        ({"judge": ("",)}, {}, "judged_bad"),
        ({"concepts": (" , \n,",)}, {}, "no_concepts"),
        ({"concepts": ("a b c d e f g h i j",)}, {"config": {"concept_tokens": 3}}, "concepts_cut"),
        ({"instruction": ("  \n ",)}, {}, "no_instruction"),
        ({"instruction": (TASK,)}, {"config": {"instruction_tokens": 3}}, "instruction_cut"),
        ({}, {"config": {"max_tokens": 4}}, "response_cut"),
        ({"response": ("I do not know.", block("x = 1"))}, {}, "malformed"),
        ({"response": (WRONG, WRONG)}, {}, "none_passed"),
        ({}, {"engine": {"failure_rate": 1.0}}, "engine_error"),
        ({}, {"engine": {"max_model_len": 20}}, "prompt_too_long"),
        ({}, {"meta": {"unfit": "bad_word"}}, "bad_word"),
    ],
)
def test_every_early_exit_is_a_skip_with_its_reason(rows_of, answers, options, reason):
    [skip], measured = rows_of(**answers, **options)
    assert isinstance(skip, Skip) and (skip.id, skip.reason) == ("seed", reason)
    cut = reason.removesuffix("_cut")
    assert reason == cut or measured[f"{cut}_uncut"] == 0.0


def test_without_the_judge_a_no_does_not_matter(rows_of):
    [found], measured = rows_of(judge=("No",), config={"judge": False})
    assert isinstance(found, Example) and "judged_good" not in measured


def test_a_stop_string_ends_each_step(rows_of):
    late = f"{NEXT} 9\n### Code\nx"
    responses = (f"{GOOD}</tests>\n\n{NEXT} 3",)
    [found], _ = rows_of(concepts=(f"a, b\n\n{late}",), instruction=(f"{TASK}\n\n{late}",), response=responses)
    assert list(found.meta["concepts"]) == ["a", "b"] and found.prompt[0]["content"] == TASK


def test_few_shots_and_properties_depend_on_the_seed_alone(collect, model, tmp_path):
    prompts = [Prompt(f"seed-{number}", as_messages(SEED)) for number in range(40)]

    def asked(order, seed=0):
        config = Config(samples=1, judge=False)
        collect(selfcodealign, config, order, None, script=model(response=("no code",)), seed=seed)
        ledger = max(tmp_path.glob("ledger-*.sqlite"), key=lambda path: int(path.stem.partition("-")[2]))
        entries = LedgerReader(ledger).entries(kind="generate")
        return {(entry.prompt, entry.purpose): entry.request for entry in entries}

    first = asked(prompts)
    assert first == asked(prompts[::-1])
    assert first != asked(prompts, seed=1)
    texts = [request["messages"][0]["content"] for (_, step), request in first.items() if step == "instruction"]
    assert len({text.rpartition(NEXT)[0] for text in texts}) > 30  # other examples, or in another order
    drawn = [dict(line.split(": ", 1) for line in text.rpartition(NEXT)[2].splitlines()[2:6]) for text in texts]
    categories = [each["category"] for each in drawn]
    # Half of 40 are functions, a quarter each classes and programs; four standard deviations are 13 and 11.
    assert 7 <= categories.count("function") <= 33 and set(categories) == set(Config().categories)
    assert {each["difficulty"] for each in drawn} == {"easy", "medium", "hard"}


def test_the_prompts_hold_as_many_examples_as_asked_for_and_end_open(rows_of, tmp_path):
    rows_of(engine={"sandbox": RLIMITS}, config={"concept_shots": 5, "samples": 3})
    [ledger] = tmp_path.glob("ledger-*.sqlite")
    asked = {entry.purpose: entry.request for entry in LedgerReader(ledger).entries(kind="generate")}
    assert list(asked) == ["judge", "concepts", "instruction", "response"]
    texts = {step: request["messages"][0]["content"] for step, request in asked.items()}
    assert all(request["messages"][0]["role"] == "text" for request in asked.values())
    assert {step: text.count(NEXT) for step, text in texts.items()} == {
        "judge": 8, "concepts": 6, "instruction": 9, "response": 2,
    }  # fmt: skip
    endings = {"judge": "Good:", "concepts": "### Concepts", "instruction": "### Task", "response": "<response>"}
    assert all(texts[step].endswith(ending) for step, ending in endings.items())
    assert SEED in texts["judge"] and SEED in texts["concepts"] and TASK in texts["response"]
    assert "concepts: addition, numbers" in texts["instruction"].rpartition(NEXT)[2]
    settings = {step: (request["temperature"], request["max_tokens"], request["n"]) for step, request in asked.items()}
    assert settings == {
        "judge": (0.0, 5, 1), "concepts": (0.7, 1536, 1), "instruction": (0.7, 1536, 1), "response": (0.7, 1536, 3),
    }  # fmt: skip
    assert asked["judge"]["stop"] == ["\n"] and asked["response"]["stop"] == [NEXT, "</tests>"]


def test_judge_counts_words():
    assert says_yes("Yes") and says_yes(" yes, YES no")
    assert not says_yes("No") and not says_yes("yes no") and not says_yes("perhaps") and not says_yes("")


def test_concepts_are_split_at_commas():
    assert split_concepts(" list comprehension,sorting ,, two words\n") == [
        "list comprehension",
        "sorting",
        "two words",
    ]


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (GOOD, True),
        (GOOD.replace("\n\n<tests>", "\n<tests>"), False),  # a single newline
        (sample(prose="TODO later."), False),
        (GOOD.replace(f"{F}python", F, 1), False),  # the answer untagged
        (GOOD.replace(f"{F}python", f"{F}Python"), True),  # upper case is fine
        (sample(tests="print(add(1, 2))"), False),
        (sample(tests="import unittest\ndef test_add():\n    assert add(1, 2) == 3"), False),
        (sample(tests="import unittest\ndef test_add():\n    assert add(1, 2) == 3\ntest_add()"), True),
        (GOOD + GOOD, False),  # the separator twice
        (sample(tests="default = f(); assert default == 1"), False),  # begins with def
        (block("def add(a, b): return a + b"), False),  # an answer alone would pass without a test
        (f"no code{SEPARATOR}{block('assert True')}", False),
        (sample(prose="raise NotImplementedError"), False),
    ],
)
def test_format_filter(text, good):
    assert well_formed(text) is good


def test_executed_code():
    good = f"{block('def add(a, b): return a + b')}\n{SEPARATOR}\n{block('assert add(1, 2) == 3')}"
    assert executed_code(good) == "def add(a, b): return a + b\n\nassert add(1, 2) == 3"
    for quote in "'\"":
        guard = f"if __name__ == {quote}__main__{quote}:\n    main()"
        assert executed_code(block(f"x = input()\n{guard}")) == "x = input()"
        assert executed_code(block(f"x = 1\n{guard}")) == f"x = 1\n{guard}"
    assert executed_code(f"{block('a = 1', '')}\n{block('b = 2', 'text')}") == "a = 1\n\nb = 2"  # any tag


@given(st.text("`\nab<>/responseptyh =", max_size=80))
def test_any_text_is_read(text):
    well_formed(text + SEPARATOR + text)
    executed_code(text)
    code_representation(text)


def test_examples_pass_the_whole_pipeline():
    shots = shots_of(Config())
    assert len(shots) == 21 and len(few_shots("selfcodealign-judge", ("code", "verdict"))) == 7
    for shot in shots:
        text = f"{shot['response']}\n{SEPARATOR}\n{shot['tests']}\n"
        assert well_formed(text), shot["instruction"]
        exec(compile(executed_code(text), "example", "exec"), {"__name__": "__main__"})
        exec(compile(shot["code"], "example", "exec"), {})
        assert shot["property"]["category"] in Config().categories
        assert shot["property"]["difficulty"] in Config().difficulties
    assert [shot["property"]["category"] for shot in shots_of(Config(shortest=8))] == ["function"] * 8


def test_examples_are_no_held_out_tasks():
    held = list(load_prompts("data/code/heldout.jsonl"))
    names = {prompt.meta["entry_point"] for prompt in held if prompt.meta.get("entry_point")}
    texts = {normalized_text(prompt) for prompt in held}
    for shot in shots_of(Config()):
        assert not names & {name for each in code_blocks(shot["response"]) for name in function_names(each.code)}
        assert normalized_text(Prompt("", as_messages(shot["instruction"]))) not in texts


def test_values_that_cannot_work_are_refused():
    for options, message in (
        ({"samples": 0}, "samples and the numbers of shots must be at least 1"),
        ({"categories": []}, "categories and difficulties need at least one entry each"),
        ({"concept_shots": 22}, "22 shots are asked for, but there are 21 examples"),
        ({"shortest": 4}, "8 shots are asked for, but there are 4 examples"),
        ({"augment": 1.5}, r"augment \(1.5\) and threshold \(0.7\) lie between 0 and 1"),
        ({"examples": "selfcodealing"}, "no few-shot examples 'selfcodealing'; did you mean 'selfcodealign'"),
        ({"temprature": 1}, "has no option 'temprature'; did you mean 'temperature'"),
    ):
        with pytest.raises(ConfigError, match=message):
            fill(Config, options, "r.yaml: method")
    assert configure({"name": "selfcodealign"})[1] == Config()
