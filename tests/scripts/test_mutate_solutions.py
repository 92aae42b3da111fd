"""One change a program: never in a text, always the same, and noticed by tests that look at it."""

import ast
import json
import runpy
from pathlib import Path

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[2] / "scripts" / "mutate_solutions.py"))
ROW = {
    "task_id": "HumanEval/900",
    "prompt": 'def twice(x: int) -> int:\n    """ 1 + 1 < 3 """\n',
    "entry_point": "twice",
    "canonical_solution": "    return x + x\n",
    "test": "def check(candidate):\n    assert candidate({value}) == {twice}\n",
}


def rows(tmp_path, *values):
    made = [ROW | {"task_id": f"t/{v}", "test": ROW["test"].format(value=v, twice=2 * v)} for v in values]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, made)) + "\n")
    return str(path)


def test_one_place_changes_and_never_a_text():
    code = 'def f(x, y=0):\n    """1 + 1 and not 0"""\n    return not x and x < 2 or x in [True]\n'
    seen = {SCRIPT["mutant"](code, str(number)) for number in range(60)}
    changes = {change for _, change in seen}
    assert len(seen) == len(changes) == 8
    assert {"0  ->  1", "x < 2  ->  x <= 2", "x in [True]  ->  x not in [True]"} <= changes
    for mutant, _ in seen:
        assert '"""1 + 1 and not 0"""' in mutant
        assert ast.dump(ast.parse(mutant)) != ast.dump(ast.parse(code))
    assert SCRIPT["mutant"](code, "a") == SCRIPT["mutant"](code, "a")
    assert SCRIPT["mutant"]("def f(x):\n    'a + b'\n    return x\n", "a") is None


def test_counts_and_survivors(tmp_path, capsys):
    assert SCRIPT["main"]([rows(tmp_path, 0, 5), "--sandbox", "rlimits"]) == 0
    lines = capsys.readouterr().out
    assert "2 of 2 programs pass" in lines and "2 made, 1 noticed, 0 not graded, 1 survive" in lines
    assert "survivor   t/0: x + x  ->  x - x    (1 of 1 tests passed (called))" in lines and "t/5" not in lines


def test_a_wrong_reference_program_is_named(tmp_path, capsys):
    path = Path(rows(tmp_path, 3))
    path.write_text(path.read_text().replace("return x + x", "return x + 1"))
    assert SCRIPT["main"]([str(path), "--sandbox", "rlimits"]) == 1
    assert (
        "not right  t/3: 0 of 1 tests passed (called); first failure: twice(3) gave 4, expected 6"
        in capsys.readouterr().out
    )
