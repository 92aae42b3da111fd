"""Cards of the methods, read from their source without importing them: docstring, needs, makes, options."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from selfimprove.errors import DataError

METHODS = Path(__file__).resolve().parent.parent / "methods"


@dataclass(frozen=True, slots=True)
class Option:
    """One field of a method's Config, as its source spells it."""

    name: str
    type: str
    default: str
    help: str


@dataclass(frozen=True, slots=True)
class Card:
    """What a method file says of itself."""

    name: str
    text: str
    needs: tuple[str, ...]
    makes: str
    options: tuple[Option, ...]

    @property
    def title(self) -> str:
        """The name as people write it: what stands before the colon of the first line."""
        return self.text.splitlines()[0].partition(":")[0]

    @property
    def summary(self) -> str:
        """What the method does, in one line: what stands behind that colon."""
        return self.text.splitlines()[0].partition(":")[2].strip()

    @property
    def paper(self) -> str:
        """The arXiv number, empty where the docstring names none."""
        found = re.search(r"arXiv[: ]\s*(\d{4}\.\d{4,5})", self.text)
        return found[1] if found else ""


def method_cards(folder: Path = METHODS) -> list[Card]:
    """Return the cards of all method files of a folder, by name."""
    return [read_card(path) for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")]


def read_card(path: Path) -> Card:
    """Return the card of one method file; raises DataError where it lacks a part that a method must have."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source, str(path))
    text = ast.get_docstring(tree) or ""
    values = _assigned(tree)
    config = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Config"), None)
    for part, there in (
        ("docstring", text),
        ("NEEDS", "NEEDS" in values),
        ("MAKES", "MAKES" in values),
        ("Config", config),
    ):
        if not there:
            raise DataError(f"{path}: a method file needs a {part}; see docs/adding-a-method.md")
    needs = tuple(sorted(ast.literal_eval(values["NEEDS"])))
    makes = ast.literal_eval(values["MAKES"])
    makes = makes if isinstance(makes, str) else " or ".join(makes)
    return Card(path.stem, text, needs, makes, tuple(_options(config, source)))


def _assigned(tree: ast.Module) -> dict[str, ast.expr]:
    """Return {name: value} of the module's plain assignments; `A, B = x, y` counts as two."""
    found: dict[str, ast.expr] = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = zip(target.elts, node.value.elts, strict=True)
                found |= {name.id: value for name, value in pairs if isinstance(name, ast.Name)}
            elif isinstance(target, ast.Name):
                found[target.id] = node.value
    return found


def _options(config: ast.ClassDef | None, source: str) -> list[Option]:
    lines = source.splitlines()
    options = []
    for node in config.body if config else []:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            default = ast.unparse(node.value) if node.value else "required"
            comment = lines[(node.end_lineno or node.lineno) - 1].partition("  # ")[2].strip()
            options.append(Option(node.target.id, ast.unparse(node.annotation), default, comment))
    return options
