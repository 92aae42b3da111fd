"""Test code looked at from outside: which form of running it shows whether the program is right.

Called: every assertion compares a call on literal arguments with a literal, so that the calls are made in the
program's process and compared here. Apart: the tests need only functions of the program, so they run in a process
of their own. Together: they need the program's classes or variables, or packages, and run in its process.
"""

import ast
import builtins
import symtable
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from selfimprove.verify.code import FUNCTIONS, class_names, parse, top_level_names
from selfimprove.verify.sandbox import Call
from selfimprove.verify.sandbox.harness import decode

CALLED, APART, TOGETHER = "called", "apart", "together"


@dataclass(frozen=True, slots=True)
class Expectation:
    """A call of the program and what is expected of its value: equal, differs, is, true, false or near."""

    call: Call
    how: str = "equal"
    expected: Any = None
    tolerance: float | None = None

    def met(self, value: Any) -> bool:
        """Return whether a value is as expected."""
        try:
            if self.how in ("equal", "differs"):
                return equal(value, self.expected, self.tolerance) == (self.how == "equal")
            if self.how == "near":
                return abs(value - self.expected) < (self.tolerance or 0)
            return value is self.expected if self.how == "is" else bool(value) == (self.how == "true")
        except (TypeError, OverflowError, RecursionError):
            return False

    def wanted(self) -> str:
        """Return what was expected, in words."""
        near = f" within {self.tolerance:g}" if self.tolerance is not None else ""
        word = {"differs": "something other than ", "true": "a true value", "false": "a false value"}.get(self.how, "")
        return word + ("" if self.how in ("true", "false") else shown(self.expected) + near)


@dataclass(frozen=True, slots=True)
class Form:
    """How test code is run: `expectations` where it is called, `functions` that stand apart."""

    name: str
    expectations: tuple[Expectation, ...] = ()
    functions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What a prompt tells of the program: its entry point, and what its reference and its prefix define."""

    entry_point: str = ""
    functions: frozenset[str] = frozenset()
    others: frozenset[str] = field(default=frozenset())

    @classmethod
    def of(cls, entry_point: str, *codes: str) -> "Known":
        """Return what the given pieces of code define; those that are no Python tell nothing."""
        functions, others = set(), set()
        for code in codes:
            try:
                tree = parse(code)
            except SyntaxError:
                continue
            functions |= {node.name for node in tree.body if isinstance(node, FUNCTIONS)}
            others |= top_level_names(tree)
            if entry_point not in class_names(code):
                functions.add(entry_point)
        return cls(entry_point, frozenset(functions), frozenset(others - functions))


def form_of(code: str, known: Known) -> Form:
    """Return how test code is run. The answer has no say in it; raises SyntaxError where the code is no Python."""
    tree = parse(code)
    needed = _free_names(code, {known.entry_point, *known.functions})
    functions = {name for name in needed if _is_function(name, known)}
    try:
        expectations = tuple(_read(tree.body, dict.fromkeys(functions | {known.entry_point}), {}))
    except _NotPlainError:
        expectations = ()
    if expectations:
        return Form(CALLED, expectations)
    if needed - functions or any(map(_needs_the_program, ast.walk(tree))) or _looks_inside(tree, functions):
        return Form(TOGETHER)
    return Form(APART, functions=tuple(sorted(functions)))


def equal(left: Any, right: Any, tolerance: float | None = None) -> bool:
    """Return whether two plain values are equal as Python has it, but NaN to NaN; numbers within a tolerance."""
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        same = isinstance(left, list) == isinstance(right, list) and len(left) == len(right)
        return same and all(equal(a, b, tolerance) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key], tolerance) for key in left)
    if isinstance(left, int | float) and isinstance(right, int | float):
        if left == right or (left != left and right != right):
            return True
        return tolerance is not None and abs(left - right) <= tolerance
    return left == right


def shown(value: Any, length: int = 80) -> str:
    """Return a value in words, shortened in the middle."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer too long to be spelled, lists too deep
        return f"a very large {type(value).__name__}"
    return text if len(text) <= length else f"{text[: length - 23]}...{text[-20:]}"


def told_call(call: Call) -> str:
    """Return a call as it would be written."""
    arguments = [shown(decode(value), 60) for value in call.arguments]
    arguments += [f"{name}={shown(decode(value), 60)}" for name, value in call.named.items()]
    return f"{call.function}({', '.join(arguments)})"


class _NotPlainError(Exception):
    """A statement is not one that can be turned into a call with what is expected of it."""


def _read(body: list[ast.stmt], names: dict[str, str | None], checks: dict[str, ast.FunctionDef]) -> Iterator[Any]:
    """Yield the expectations of statements; `names` are the program's functions, with what they stand for."""
    for node in body:
        if isinstance(node, ast.Assert):
            if not (isinstance(node.test, ast.Constant) and node.test.value is True):
                yield _expectation(node.test, names)
        elif isinstance(node, ast.FunctionDef) and len(node.args.args) == 1 and not node.decorator_list:
            checks[node.name] = node
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield from _read_check(node.value, names, checks)
        elif isinstance(node, ast.Assign):
            _literal(node.value)  # METADATA = {...}; an assertion that used it would hold a name, and not be plain
            if any(name in names for target in node.targets for name in _names_in(target)):
                raise _NotPlainError
        elif not _is_import(node) and not isinstance(node, ast.Pass) and not _is_text(node):
            raise _NotPlainError


def _read_check(
    call: ast.Call, names: dict[str, str | None], checks: dict[str, ast.FunctionDef]
) -> Iterator[Expectation]:
    """Yield the expectations of `check(function)`, where `def check(candidate)` holds assertions alone."""
    given = call.args[0] if len(call.args) == 1 and not call.keywords else None
    check = checks.get(call.func.id) if isinstance(call.func, ast.Name) else None
    if check is None or not isinstance(given, ast.Name) or given.id not in names:
        raise _NotPlainError
    parameter = check.args.args[0].arg
    yield from _read(check.body, {**names, parameter: names[given.id] or given.id}, {})


def _expectation(test: ast.expr, names: dict[str, str | None]) -> Expectation:
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return Expectation(_call(test.operand, names), "false")
    if not isinstance(test, ast.Compare):
        return Expectation(_call(test, names), "true")
    if len(test.ops) != 1:
        raise _NotPlainError
    left, right, operator = test.left, test.comparators[0], test.ops[0]
    if isinstance(operator, ast.Eq | ast.NotEq):
        how = "equal" if isinstance(operator, ast.Eq) else "differs"
        if not _is_call(left, names):
            left, right = right, left
        return Expectation(_call(left, names), how, _literal(right))
    if isinstance(operator, ast.Is) and isinstance(right, ast.Constant) and right.value in (True, False, None):
        return Expectation(_call(left, names), "is", right.value)
    if isinstance(operator, ast.Lt) and isinstance(left, ast.Call) and isinstance(left.func, ast.Name):
        inner = left.args[0] if left.func.id == "abs" and len(left.args) == 1 else None
        if isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Sub):
            expected, tolerance = _literal(inner.right), _literal(right)
            if isinstance(expected, int | float) and isinstance(tolerance, int | float):
                return Expectation(_call(inner.left, names), "near", expected, tolerance)
    raise _NotPlainError


def _is_call(node: ast.expr, names: dict[str, str | None]) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


def _call(node: ast.expr, names: dict[str, str | None]) -> Call:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in names:
        raise _NotPlainError
    named = {each.arg: _literal(each.value) for each in node.keywords if each.arg is not None}
    if len(named) < len(node.keywords):
        raise _NotPlainError
    try:
        return Call.of(names[node.func.id] or node.func.id, *map(_literal, node.args), **named)
    except ValueError:  # ... is a literal too, but nothing that can be told
        raise _NotPlainError from None


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise _NotPlainError from None


def _is_function(name: str, known: Known) -> bool:
    """Whether a name that tests take from the program is a function; where nothing tells, classes are Capitalised."""
    if name in known.others:
        return False
    return name == known.entry_point or name in known.functions or not name[:1].isupper()


def _needs_the_program(node: ast.AST) -> bool:
    """Whether a part of the tests means something else, or nothing, where the program's values are only copies."""
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] not in sys.stdlib_module_names for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").partition(".")[0] not in sys.stdlib_module_names
    if isinstance(node, ast.Compare):
        operands = zip(node.ops, node.comparators, strict=True)
        return any(
            isinstance(op, ast.Is | ast.IsNot) and not isinstance(right, ast.Constant) for op, right in operands
        )
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Call)


def _looks_inside(tree: ast.Module, functions: set[str]) -> bool:
    """Whether tests ask for an attribute of a function of the program (f.__doc__, f.cache_clear)."""
    attributes = (node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return any(isinstance(value, ast.Name) and value.id in functions for value in attributes)


def _free_names(code: str, known: set[str]) -> set[str]:
    """Return the names that code uses and nobody but the program defines; a `known` one may be that of a built-in."""
    top = symtable.symtable(code, "tests.py", "exec")
    bound = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    used = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_referenced()}
    waiting = [*top.get_children()]
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_global():
                (bound if symbol.is_assigned() else used).add(symbol.get_name())
    return used - bound - (vars(builtins).keys() - known) - {"__name__", "__file__"}


def _names_in(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
