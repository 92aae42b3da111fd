"""What must stay true of the tree: import direction, names, lengths, and nothing forgotten beside a method."""

import ast
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from selfimprove.config import read_recipe
from selfimprove.reporting.methods import method_cards

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "selfimprove"
MODULES = sorted(PACKAGE.rglob("*.py"))

LEVELS = [
    {"records", "errors"},
    {"config", "files", "ledger", "store", "spending", "resources", "progress", "threads"},
    {"models", "chat", "embedded", "prompts", "sources", "engines", "verify", "search", "judges"},
    {"run", "runtime", "contract"},
    {"methods", "worlds", "building", "training", "evaluation"},
    {"plan", "stages", "learned", "loop", "trial", "price", "estimate", "reporting"}
    | {"train_sft", "train_dpo", "train_reward"},
    {"cli"},
]
"""docs/architecture.md: a part imports from its own level and those before it."""


def level(part: str) -> int:
    found = [number for number, parts in enumerate(LEVELS) if part in parts]
    assert found, f"selfimprove/{part} has no place in LEVELS of tests/test_structure.py"
    return found[0]


def imported_parts(source: str, package: tuple[str, ...]) -> set[str]:
    """The parts of selfimprove that a module imports, at its top, inside functions, and relatively."""
    parts = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (start, node.module)))
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "selfimprove" else [module]
        else:
            continue
        parts |= {name.split(".")[1] for name in names if name.startswith("selfimprove.")}
    return parts - {"__version__"}


def wrong_imports(path: Path, source: str) -> list[str]:
    inside = path.relative_to(PACKAGE).with_suffix("").parts
    if inside == ("__init__",):
        return []
    own = level(inside[0])
    return [part for part in imported_parts(source, ("selfimprove", *inside[:-1])) if level(part) > own]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    wrong = wrong_imports(path, path.read_text(encoding="utf-8"))
    assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}, which come after it (docs/architecture.md)"


def test_the_import_walk_sees_every_form():
    source = """
import selfimprove.cli.main
from selfimprove import loop
from selfimprove.reporting.table import table
def late():
    from ..training import job
    from . import base
"""
    assert imported_parts(source, ("selfimprove", "engines")) == {"cli", "loop", "reporting", "training", "engines"}
    wrong = wrong_imports(PACKAGE / "engines" / "new.py", source)
    assert sorted(wrong) == ["cli", "loop", "reporting", "training"]


def test_no_module_shadows_the_standard_library_or_a_dependency():
    # `accelerate launch selfimprove/train_dpo.py` makes this folder sys.path[0].
    names = {path.stem for path in PACKAGE.glob("*.py")} | {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    ours = {name for name, owners in packages_distributions().items() if owners == ["selfimprove"]}
    taken = (set(sys.stdlib_module_names) | set(packages_distributions())) - ours
    assert {"types", "datasets", "torch"} <= taken
    assert not (names - {"__init__", "__pycache__"}) & taken


@pytest.mark.parametrize("folder", ["selfimprove", "tests", "scripts"])
def test_no_file_is_longer_than_400_lines(folder):
    files = [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.sh")]
    lengths = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n") for path in files}
    assert lengths
    assert not {name: length for name, length in lengths.items() if length > 400}


def test_no_function_is_longer_than_60_lines():
    too_long = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > 60:
                    too_long.append(f"{path.relative_to(ROOT)}: {node.name} has {lines} lines")
    assert not too_long


def test_launchers_stay_thin():
    launchers = sorted(PACKAGE.glob("train_*.py"))
    assert {path.name for path in launchers} >= {"train_sft.py", "train_dpo.py", "train_reward.py"}
    for path in launchers:
        assert path.read_text(encoding="utf-8").count("\n") <= 25, path.name


def test_no_code_of_a_model_is_run_and_nothing_is_unpickled():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(ROOT)} line {getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, where
            if isinstance(node, ast.Dict):
                keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
                values = dict(zip(keys, node.values, strict=False)) if len(keys) == len(node.values) else {}
                value = values.get("trust_remote_code")
                assert not (isinstance(value, ast.Constant) and value.value is True), where
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not {"pickle", "cloudpickle", "dill"} & set(names), where


@pytest.mark.parametrize("card", method_cards(), ids=lambda card: card.name)
def test_every_method_has_its_recipe_test_results_and_description(card):
    recipes = [read_recipe(path).method_name for path in (ROOT / "recipes").rglob("*.yaml")]
    assert card.name in recipes, f"no recipe runs {card.name}"
    assert (ROOT / "tests" / "methods" / f"test_{card.name}.py").is_file()
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith(f"| {card.name} |") for line in results), f"docs/results.md has no row for {card.name}"
    for part in ("Paper:", "Input:", "Output:", "differs from the paper"):
        assert part in card.text, f"the docstring of methods/{card.name}.py does not say '{part}'"
    assert card.paper, f"the docstring of methods/{card.name}.py names no arXiv number"
    assert card.summary.endswith("."), "the first line of a method's docstring is 'Name: what it does.'"
    lacking = [option.name for option in card.options if not option.help]
    assert not lacking, f"options without a comment behind them: {lacking}"
