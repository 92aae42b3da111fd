"""SelfCodeAlign's choice over all rows: one passing answer a task, no look-alikes, no benchmarks, asserts added."""

import json
import random

from selfimprove.building.programs import choose_rows
from selfimprove.methods.selfcodealign import Config, assemble, candidate
from selfimprove.records import Skip
from selfimprove.verify.code import code_blocks


def block(code, tag="python"):
    return f"```{tag}\n{code}\n```"


def row(name, instruction, code, tests="assert True", text=None):
    completion = block(code) if text is None else text
    meta = {"tests": block(tests)}
    return {"id": name, "prompt": [{"role": "user", "content": instruction}], "completion": completion, "meta": meta}


def test_greedy_choice():
    rows = [
        row("0", "add two numbers", "def add(a, b): return a + b"),
        row("1", "add  two numbers", "def plus(a, b): return a + b"),
        row("2", "sum pair", "def A_dd(a, b): return a + b"),
        row("3", "no function", "x = 1"),
        row("4", "no function 2", "y = 2"),
        row("5", "bad", "def f(:"),
        row("6", "word " * 201, "def long(a): return a"),
        row("7", "class task", "class Add: pass"),
    ]
    lost = choose_rows([candidate(each, 200) for each in rows], range(8))
    assert [number for number in range(8) if number not in lost] == [0, 3, 4]
    assert lost == {
        1: "same_instruction", 2: "same_names", 5: "syntax_error", 6: "long_instruction", 7: "same_names",
    }  # fmt: skip
    assert candidate(row("8", "word " * 200, "x = 1"), 200)[0] == ""
    two = "\n\n".join([block("x = 1"), block("def f(:")])
    assert candidate(row("9", "two blocks", "", text=two), 200)[0] == ""  # only the first block is parsed


def test_one_passing_answer_a_task_is_left():
    task = "Write a function that adds two numbers and gives back the sum of both"
    answers = [row(f"seed/{i}", task, f"def add_{'x' * i}(a, b):\n    return a + b + {i} - {i}") for i in range(5)]
    outcomes = list(assemble(Config(), answers))
    kept = [each for each in outcomes if not isinstance(each, Skip)]
    assert len(kept) == 1 and kept[0] in answers
    assert {each.reason for each in outcomes if isinstance(each, Skip)} == {"same_instruction"}
    assert list(assemble(Config(), answers)) == outcomes
    chosen = {next(each["id"] for each in assemble(Config(shuffle_seed=seed), answers) if isinstance(each, dict))
              for seed in range(40)}  # fmt: skip
    assert chosen == {f"seed/{i}" for i in range(5)}  # any of them, by the shuffle


def assorted(count=3):
    random.seed(7)
    names = [f"name{random.randrange(10**6)}" for _ in range(count)]
    return [
        row(
            name,
            f"Write for {name} " + " ".join(f"{name}{word}" for word in range(20)),
            f"def {name}(a):\n    return [{', '.join(f'{name}_{place}' for place in range(20))}]",
        )
        for name in names
    ]


def losses(rows, **options):
    found = list(assemble(Config(**options), rows))
    return {each.id: (each.reason, each.detail) for each in found if isinstance(each, Skip)}


def test_look_alikes_go_in_three_passes():
    first, second, third = assorted()
    assert losses([first, second, third]) == {}
    other = "".join(reversed(second["prompt"][0]["content"].split()[-1]))
    near = row("near", first["prompt"][0]["content"] + f" {other}", "def unlike(b):\n    return b")
    assert losses([first, near]) == {"near": ("near_instruction", f"near {first['id']}")}
    same_text = {**third, "id": "text", "prompt": second["prompt"], "completion": third["completion"] + "\n\nMore."}
    renamed = same_text["completion"].replace(f"def {third['id']}", "def renamed")
    assert losses([third, {**same_text, "completion": renamed}]) == {"text": ("near_response", f"near {third['id']}")}
    prose = " ".join(f"other{word}" for word in range(80))
    told = {**third, "id": "code", "prompt": second["prompt"], "completion": f"{prose}\n\n{renamed}"}
    assert losses([third, told]) == {"code": ("near_code", f"near {third['id']}")}


def test_short_texts_go_but_not_rows_without_functions():
    first, second, third = assorted()
    first["prompt"] = [{"role": "user", "content": "Only four words here"}]
    second["completion"] = "def f"
    third["completion"] = f"No function, but enough words to be compared with others. {block('x = 1')}"
    assert losses([first, second, third]) == {
        first["id"]: ("short_instruction", "fewer than 5 words"),
        second["id"]: ("short_response", "fewer than 5 words"),
    }


def test_benchmarks_are_found_by_substring(tmp_path):
    rows = assorted()
    held = tmp_path / "bench.jsonl"
    held.write_text(json.dumps({"prompt": rows[1]["prompt"][0]["content"][4:60].upper()}) + "\n")
    assert losses(rows, benchmarks=[str(held)])[rows[1]["id"]][0] == "contaminated"
    across = f"{rows[2]['prompt'][0]['content'][-20:]}\n\n```python\ndef"  # question and answer are one text
    held.write_text(json.dumps({"prompt": across}) + "\n")
    assert list(losses(rows, benchmarks=[str(held)])) == [rows[2]["id"]]


def test_asserts_are_added_to_tasks_that_speak_of_none():
    [plain] = assorted(1)
    tests = "assert f(1) == 2\nassert f(2) == 3\nx = 1"
    plain["meta"] = {"tests": block(tests)}

    def shown(each, share=1.0):
        [found] = assemble(Config(augment=share), [each])
        assert (
            each["prompt"][0]["content"] in found["prompt"][-1]["content"]
            and found["completion"] == each["completion"]
        )
        blocks = code_blocks(found["prompt"][-1]["content"])
        return blocks[0].code.splitlines() if blocks else []

    lines = shown(plain)
    assert 1 <= len(lines) <= 2 and set(lines) <= {"assert f(1) == 2", "assert f(2) == 3"}
    assert shown(plain, 0.0) == []
    assert shown({**plain, "meta": {"tests": block(tests + "\ny = 1\nz = 1\nw = 1")}}) == []  # more than 5 lines
    for said in ("For Example: 1", "it is tested", "asserts"):
        asked = [{"role": "user", "content": f"{plain['prompt'][0]['content']} {said}"}]
        assert shown({**plain, "prompt": asked}) == []
    share = sum(bool(shown({**plain, "id": str(number)}, 0.5)) for number in range(100))
    assert 30 <= share <= 70  # 50 and four standard deviations
