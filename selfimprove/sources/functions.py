"""Functions of Python code as prompts: a folder of files, rows of a data set, or a hub id such as The Stack's.

Every `def` at column 0 whose first statement is a docstring in triple double quotes is a function of its own, with
the imports that it needs. What speaks against a function as a seed of new tasks is written into its `meta.unfit`:

    near_repeat       nearly the same as an earlier one (MinHash of word 5-grams)
    no_return_value   no `return` carries a value, so there is nothing to test
    type_error        the type checker finds an error, for example a name that is defined nowhere
    bad_word          it holds todo, fixme or bug
    bad_import        it uses files, processes or plots
    too_long          more than 150 lines
    no_argument       a function that takes nothing
    benchmark         it holds a text of a benchmark
    not_python        a file that Python cannot read
"""

import ast
import builtins
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from selfimprove.errors import DataError
from selfimprove.records import Prompt, as_messages
from selfimprove.sources.benchmarks import Substrings
from selfimprove.sources.files import find, read_hub, read_rows
from selfimprove.sources.minhash import Earlier
from selfimprove.sources.schema import FunctionSeeds, is_hub_id
from selfimprove.sources.typecheck import choose, without_errors
from selfimprove.verify.code import FUNCTIONS, parse

BATCH = 250
LONGEST = 150
BAD_WORDS = ("todo", "fixme", "bug")
BAD_IMPORTS = ("argparse", "os", "subprocess", "sys", "setuptools", "distutils", "matplotlib", "seaborn")
DEFINING = (*FUNCTIONS, ast.ClassDef, ast.ExceptHandler)
_BAD_IMPORT = re.compile(rf"\b(?:import|from) (?:{'|'.join(BAD_IMPORTS)})\b")
_NO_ARGUMENT = re.compile(r"^def [^\n]*\(\):", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Function:
    """A function with the imports it needs; `unfit` says why it cannot be a seed ("" where it can)."""

    id: str
    code: str
    unfit: str = ""


def function_prompts(
    definition: FunctionSeeds, where: str, folder: Path | None, benchmarks: Mapping[str, Iterable[str]]
) -> Iterator[Prompt]:
    """Yield the functions of a source in order, each as a prompt whose text is its code.

    Raises ConfigError for a type checker that is not there, DataError for rows that hold no code.
    """
    checker = choose(definition.type_check, where)
    if checker is None and definition.type_check == "auto":
        warnings.warn(
            f"{where}: functions are not type-checked, because neither pyright nor ty nor mypy is installed; "
            "pip install ty, or write type_check: none",
            stacklevel=2,
        )
    earlier = None if definition.near_threshold is None else Earlier(definition.near_threshold)
    held = Substrings(benchmarks)
    found = functions_of(_files(definition, where, folder))
    while batch := list(islice(found, BATCH)):
        for function in _judged(batch, earlier, checker, held):
            if not function.unfit or definition.unfit == "mark":
                meta = {"type_check": checker or "none", **({"unfit": function.unfit} if function.unfit else {})}
                yield Prompt(function.id, as_messages(function.code), meta=meta)


def local_path(definition: FunctionSeeds, where: str, folder: Path | None) -> Path | None:
    """Return the folder or file that a source names, None for a hub id; raises DataError where there is no such."""
    if is_hub_id(definition.functions, folder):
        return None
    return find(definition.functions, folder, where)


def functions_of(files: Iterable[tuple[str, str]]) -> Iterator[Function]:
    """Yield the documented functions of (name, text) files in order; ids are `name:function`, a repeat with a number.

    Syntax trees stand in for the tree-sitter of the paper: files that this Python cannot read give one function
    without code that is unfit.
    """
    for name, text in files:
        try:
            tree = parse(text)
        except SyntaxError as error:
            yield Function(name, f"line {error.lineno or 0}: {error.msg}", "not_python")
            continue
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        imports = imported_names(tree)
        counts: dict[str, int] = {}
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and _documented(node, lines):
                counts[node.name] = counts.get(node.name, 0) + 1
                repeat = f"-{counts[node.name]}" if counts[node.name] > 1 else ""
                code = "\n".join(lines[node.lineno - 1 : node.end_lineno]).rstrip()
                needed = needed_imports(node, imports)
                yield Function(f"{name}:{node.name}{repeat}", "\n".join([*needed, "", "", code] if needed else [code]))


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Return {name: the statement that imports it} of a file's top-level imports."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                if isinstance(node, ast.Import):
                    one: ast.stmt = ast.Import([alias])
                else:
                    one = ast.ImportFrom(node.module, [alias], node.level)
                found[alias.asname or alias.name.partition(".")[0]] = ast.unparse(one)
    return found


def needed_imports(function: ast.FunctionDef, imports: dict[str, str]) -> list[str]:
    """Return the import statements that a function needs: of its file, or of a standard module used as `name.x`."""
    nodes = list(ast.walk(function))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    used = {name.id for name in names if isinstance(name.ctx, ast.Load)}
    bound = {*dir(builtins), *(name.id for name in names if not isinstance(name.ctx, ast.Load))}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {node.asname or node.name.partition(".")[0] for node in nodes if isinstance(node, ast.alias)}
    bound |= {node.name for node in nodes if isinstance(node, DEFINING) and node.name}
    bases = {node.value.id for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)}
    known = {name: f"import {name}" for name in bases & set(sys.stdlib_module_names)} | imports
    return sorted({known[name] for name in used - bound if name in known})


def static_reason(code: str) -> str:
    """Return what speaks against a function on sight ("" where nothing does): bad_word, bad_import, ..."""
    lower = code.lower()
    if any(word in lower for word in BAD_WORDS):
        return "bad_word"
    if _BAD_IMPORT.search(lower):
        return "bad_import"
    if len(code.splitlines()) > LONGEST:
        return "too_long"
    return "no_argument" if _NO_ARGUMENT.search(lower) else ""


def returns_a_value(code: str) -> bool:
    """Return whether some `return` of a function, or of one inside it, carries a value."""
    return any(isinstance(node, ast.Return) and node.value is not None for node in ast.walk(parse(code)))


def _judged(batch: list[Function], earlier: Earlier | None, checker: str | None, held: Substrings) -> list[Function]:
    """Return a batch with the first reason that speaks against each function."""
    reasons = [function.unfit for function in batch]
    fit = [number for number, reason in enumerate(reasons) if not reason]
    if earlier is not None:
        for number, repeated in zip(fit, earlier.repeats(batch[number].code for number in fit), strict=True):
            reasons[number] = "near_repeat" if repeated else ""
    for number in fit:
        reasons[number] = reasons[number] or ("" if returns_a_value(batch[number].code) else "no_return_value")
    asked = [number for number in fit if not reasons[number]]
    if checker is not None and asked:
        for number, good in zip(asked, without_errors([batch[n].code for n in asked], checker), strict=True):
            reasons[number] = "" if good else "type_error"
    for number in fit:
        code = batch[number].code
        reasons[number] = reasons[number] or static_reason(code) or ("benchmark" if held.find(code) else "")
    return [Function(function.id, function.code, reason) for function, reason in zip(batch, reasons, strict=True)]


def _files(definition: FunctionSeeds, where: str, folder: Path | None) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of every file or row of a source."""
    path = local_path(definition, where, folder)
    if path is not None and (path.suffix == ".py" or (path.is_dir() and any(path.rglob("*.py")))):
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            name = str(file.relative_to(path)) if path.is_dir() else file.name
            yield name, file.read_bytes().decode("utf-8", errors="replace")
        return
    rows = read_rows(path, definition.split) if path else read_hub(definition.functions, None, definition.split)
    for number, (place, row) in enumerate(rows, 1):
        text = row.get(definition.column)
        if not isinstance(text, str):
            raise DataError(
                f"{place}: there is no code in column '{definition.column}'; set column (it has {list(row)})"
            )
        yield f"{number}", text


def _documented(node: ast.FunctionDef, lines: list[str]) -> bool:
    """Return whether a function opens with a docstring in triple double quotes."""
    first = node.body[0]
    if not (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    ):
        return False
    line = lines[first.lineno - 1].encode()[first.col_offset :]
    return line.startswith(b'"""')
