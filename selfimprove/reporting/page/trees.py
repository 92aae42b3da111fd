"""The search trees of a run on its page: figures by round, and a few trees as lists that fold."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from selfimprove.reporting.looking.trees import (
    REASONS,
    Folded,
    Kept,
    folded,
    kept_trees,
    main_line,
    mark,
    question_of,
    tree_record,
    trees_file,
    worth_showing,
)
from selfimprove.reporting.page.wording import clip
from selfimprove.search.tree import Node
from selfimprove.store import Store


@dataclass(slots=True)
class RoundFigures:
    """What the trees of one round came to, all of them together; `file` is where they lie."""

    round: int
    file: Path
    trees: int = 0
    nodes: int = 0
    ends: int = 0
    right: int = 0
    wrong: int = 0
    depth: int = 0
    tokens: int = 0
    none_right: int = 0
    stopped: dict[str, int] = field(default_factory=dict)

    @property
    def share(self) -> float | None:
        """The share of right ones among the graded ends of all trees, None where none was graded."""
        graded = self.right + self.wrong
        return self.right / graded if graded else None

    def add(self, kept: Kept) -> None:
        """Count one more tree."""
        record = tree_record(kept)
        self.trees += 1
        for name in ("nodes", "ends", "right", "wrong", "depth", "tokens"):
            setattr(self, name, getattr(self, name) + record[name])
        self.none_right += not record["right"]
        self.stopped[kept.tree.status] = self.stopped.get(kept.tree.status, 0) + 1

    def mean(self, name: str) -> float:
        """Return the mean of a count over the trees."""
        return getattr(self, name) / self.trees


@dataclass(frozen=True, slots=True)
class Line:
    """One node of a shown tree: its step, its numbers, what became of it, and what is below."""

    text: str
    node: Node
    mark: str
    chosen: bool
    open: bool
    below: list["Line"]
    rest: Folded | None


@dataclass(frozen=True, slots=True)
class Shown:
    """One tree: why it is shown, which it is, and its lines from the root down."""

    why: str
    id: str
    question: str
    told: str
    shown: int
    nodes: int
    root: Line


@dataclass(frozen=True, slots=True)
class Trees:
    """All that the page tells of trees; `round` is that of the ones shown."""

    rounds: list[RoundFigures]
    round: int
    shown: list[Shown]


def read_trees(store: Store, rounds: list[int], nodes: int, characters: int) -> Trees | None:
    """Return the figures of the given rounds and a few trees of the last one that has any; None without trees.

    Shown are the first tree with a right end, the first graded one without, and the largest: of each at most about
    `nodes` nodes, with at most `characters` characters of a step. Raises DataError for a damaged file.
    """
    found: list[RoundFigures] = []
    picked: dict[str, Kept] = {}
    for number in rounds:
        figures = RoundFigures(number, trees_file(store, number))
        here: dict[str, Kept] = {}
        for kept in kept_trees(store, number):
            figures.add(kept)
            _pick(here, kept)
        if figures.trees:
            found.append(figures)
            picked = here
    if not found:
        return None
    return Trees(found, found[-1].round, [_shown(store, each, nodes, characters) for each in _named(picked)])


def _pick(picked: dict[str, Kept], kept: Kept) -> None:
    """Remember a tree where it is the first or the largest of its kind."""
    score = tree_record(kept)["score"]
    if score is not None:
        picked.setdefault("the first with a right end" if score else "the first with wrong ends only", kept)
    largest = picked.get("the largest")
    if largest is None or len(kept.tree.nodes) > len(largest.tree.nodes):
        picked["the largest"] = kept


def _named(picked: dict[str, Kept]) -> Iterator[tuple[str, Kept]]:
    """Yield every tree once, with all that it was picked for."""
    order = sorted(picked, key=["the first with a right end", "the first with wrong ends only", "the largest"].index)
    for place, name in enumerate(order):
        same = [other for other in order if picked[other] is picked[name]]
        if order.index(same[0]) == place:
            yield " and ".join(same), picked[name]


def _shown(store: Store, named: tuple[str, Kept], nodes: int, characters: int) -> Shown:
    why, kept = named
    tree, shown = kept.tree, worth_showing(kept, nodes)
    main = {node.id for node in main_line(kept)} | kept.chosen
    root = _lines(kept, shown, main, characters)
    told = REASONS.get(tree.status, f"stopped: {tree.status}")
    question = clip(question_of(store, tree.id), characters)
    return Shown(f"{why[0].upper()}{why[1:]}", tree.id, question, told, len(shown) - 1, len(tree.nodes) - 1, root)


def _lines(kept: Kept, shown: set[int], main: set[int], characters: int) -> Line:
    """Return the root's line with all below; children were made after their parents, so they are built first."""
    lines: dict[int, Line] = {}
    for node in reversed(kept.tree.nodes):
        if node.id in shown:
            below = [lines[child.id] for child in kept.tree.children(node) if child.id in shown]
            text = clip(node.text.strip(), characters)
            rest = folded(kept.tree, node, shown)
            lines[node.id] = Line(text, node, mark(node), node.id in kept.chosen, node.id in main, below, rest)
    return lines[0]
