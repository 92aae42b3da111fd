"""From GSM8K's calculator marks to a straight-line program: `<<48/2=24>>` becomes `t0 = n0 / n1`.

After preprocess_gsm8k.py of microsoft/TraceCodegen: numbers are named n0, n1, ... and stand first, results are t0, t1,
..., the last one `answer`. Unlike there, a line may hold several marks, and marks after the answer's are left out.
"""

import ast
import math
import operator
import re
from collections.abc import Callable

OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}

ROUNDED = 0.01
"""Share by which a mark's printed result may differ from its calculation: many are rounded (10/3=3.33)."""

_MARK = re.compile(r"<<([^<>]*)=([^<>=]*)>>")
_PERCENT = re.compile(r"(\d)\s*%(?!\s*[\d(])")


def program_of_marks(solution: str, gold: float) -> str | None:
    """Return the program that the marks of a solution spell, None where it would not give the gold answer.

    A number in a calculation that an earlier one gave becomes that one's variable, the latest where several fit.
    """
    names: dict[float, str] = {}
    results: dict[float, str] = {}
    values: dict[str, float] = {}
    lines: list[str] = []
    end = None
    for expression, printed in _MARK.findall(solution):
        shown = _number(printed)
        tree = _parsed(expression)
        if isinstance(tree, ast.Constant):  # <<12=12>> calculates nothing
            continue
        if shown is None or tree is None:
            return None
        try:
            text = _spelled(tree, names, results, values)
            value = _value(tree, values)
        except (ValueError, ArithmeticError):
            return None
        if not math.isclose(value, shown, rel_tol=ROUNDED, abs_tol=ROUNDED):
            return None
        name = f"t{len(lines)}"
        results[shown], values[name] = name, value
        lines.append(f"{name} = {text}")
        if math.isclose(value, gold, abs_tol=1e-4):
            end = len(lines)
    if end is None:
        return None
    lines = lines[:end]
    lines[-1] = f"answer = {lines[-1].partition(' = ')[2]}"
    used = [(value, name) for value, name in names.items() if re.search(rf"\b{name}\b", "\n".join(lines))]
    return "\n".join([*(f"{name} = {_plain(value)}" for value, name in used), *lines])


def _parsed(expression: str) -> ast.expr | None:
    """Return a calculation as a tree; `$`, thousands commas, percent signs and leading zeros are Python's then."""
    text = re.sub(r"(?<=\d),(?=\d{3})", "", expression.replace("$", "")).strip()
    text = re.sub(r"(?<![\d.])0+(?=\d)", "", _PERCENT.sub(r"\1/100", text))
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        return None


def _spelled(tree: ast.expr, names: dict[float, str], results: dict[float, str], values: dict[str, float]) -> str:
    """Return a calculation with variables for its numbers; new numbers get a name, put into `names` and `values`.

    The tree is changed alike. Raises ValueError for anything but numbers and OPERATORS.
    """

    class Named(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.Name:
            if isinstance(node.value, bool) or not isinstance(node.value, int | float):
                raise ValueError("not a number")
            name = results.get(node.value) or names.setdefault(node.value, f"n{len(names)}")
            values.setdefault(name, node.value)
            return ast.Name(name)

        def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
            if type(node.op) not in OPERATORS:
                raise ValueError("not a plain operation")
            return self.generic_visit(node)

        def generic_visit(self, node: ast.AST) -> ast.AST:
            if not isinstance(node, ast.BinOp | ast.operator | ast.UnaryOp | ast.UAdd | ast.USub):
                raise ValueError("not arithmetic")
            return super().generic_visit(node)

    return ast.unparse(Named().visit(tree))


def _value(tree: ast.expr, values: dict[str, float]) -> float:
    if isinstance(tree, ast.Name):
        return values[tree.id]
    if isinstance(tree, ast.UnaryOp):
        value = _value(tree.operand, values)
        return -value if isinstance(tree.op, ast.USub) else value
    if isinstance(tree, ast.BinOp):
        return OPERATORS[type(tree.op)](_value(tree.left, values), _value(tree.right, values))
    raise ValueError("not arithmetic")


def _number(text: str) -> float | None:
    text = re.sub(r"[$,\s]", "", text).removesuffix("%")
    try:
        return float(text)
    except ValueError:
        return None


def _plain(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)
