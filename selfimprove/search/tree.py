"""The tree of one search: nodes in the order of their making, what is known of each, and the way to JSON and back.

It knows nothing of language models: a node is a step of text with counts and values. A node is named by its path, the
places of its ancestors among their siblings, which does not depend on when it was made.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

from selfimprove.errors import DataError

VERSION = 1
"""Of the form in which trees are written."""

OPEN, EXPANDED, TERMINAL, DEAD = "open", "expanded", "terminal", "dead"
"""What a node can be: a leaf to go on from, one with children, an end, and one that nothing can be made of."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A step that may become a node; `ended` says that the answer ends with it, `logprob` is its sum in nats."""

    text: str
    tokens: int = 0
    logprob: float | None = None
    ended: bool = False
    prior: float = 1.0
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Node:
    """One step of a tree, with what the search knows of the state it leads to.

    `guess` is what a critic said when the node was made (None: nothing was asked, or it failed), `reward` that of the
    edge into it. `visits` are finished ones, `pending` those under way, `total` and `best` the sum and the largest of
    what finished visits brought. `value` is V, the worth of the state; `quality` is Q, what selection compares: it
    differs from V only where rewards of edges count. `outcome` is 1 for a right end, 0 for a wrong one, None else.
    """

    id: int
    parent: int
    place: int
    depth: int
    text: str = ""
    tokens: int = 0
    logprob: float | None = None
    prior: float = 1.0
    guess: float | None = None
    reward: float = 0.0
    visits: int = 0
    pending: int = 0
    total: float = 0.0
    best: float | None = None
    value: float = 0.0
    quality: float = 0.0
    result: float | None = None
    state: str = OPEN
    ended: bool = False
    outcome: float | None = None
    draws: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


FIELDS = tuple(f.name for f in fields(Node) if f.name not in ("id", "place", "depth", "pending"))
"""What is written of a node; the rest follows from the parents, and no visit is under way in a written tree."""


class Tree:
    """A tree of steps under one prompt; `nodes[0]` is the root, whose text is empty."""

    def __init__(self, id: str) -> None:
        """Start with the root alone."""
        self.id = id
        self.nodes = [Node(0, -1, 0, 0)]
        self._children: list[list[Node]] = [[]]
        self.rounds = 0
        self.status = "growing"
        self.counts: dict[str, int] = {}

    @property
    def root(self) -> Node:
        """The node that every path starts from."""
        return self.nodes[0]

    def add(self, parent: Node, step: Candidate) -> Node:
        """Return a new child of a node, the last of its siblings."""
        siblings = self._children[parent.id]
        node = Node(
            len(self.nodes), parent.id, len(siblings), parent.depth + 1, step.text, step.tokens, step.logprob,
            step.prior, ended=step.ended, extra=dict(step.extra),
        )  # fmt: skip
        if step.ended:
            node.state = TERMINAL
        siblings.append(node)
        self.nodes.append(node)
        self._children.append([])
        return node

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a count that is written with the tree (`tokens`, `repeats`, `unscored`, ...)."""
        self.counts[name] = self.counts.get(name, 0) + amount

    def children(self, node: Node) -> list[Node]:
        """Return a node's children in the order of their making."""
        return self._children[node.id]

    def parent(self, node: Node) -> Node | None:
        """Return the node that another was made from, None for the root."""
        return self.nodes[node.parent] if node.parent >= 0 else None

    def line(self, node: Node) -> list[Node]:
        """Return the nodes from the root to a node, both included."""
        found = [node]
        while found[-1].parent >= 0:
            found.append(self.nodes[found[-1].parent])
        return found[::-1]

    def path(self, node: Node) -> tuple[int, ...]:
        """Return the places of a node and its ancestors among their siblings; () for the root."""
        return tuple(item.place for item in self.line(node)[1:])

    def steps(self, node: Node) -> list[str]:
        """Return the texts from the root's first child to a node."""
        return [item.text for item in self.line(node)[1:]]

    def text(self, node: Node) -> str:
        """Return all steps up to a node as one text."""
        return "".join(self.steps(node))

    def ends(self) -> list[Node]:
        """Return the nodes at which an answer ended, in the order of their making."""
        return [node for node in self.nodes if node.ended]

    def below(self, node: Node) -> Iterator[Node]:
        """Yield a node and all below it, parents first."""
        waiting = [node]
        while waiting:
            found = waiting.pop()
            yield found
            waiting.extend(reversed(self._children[found.id]))

    def to_row(self) -> dict[str, Any]:
        """Return the tree as plain JSON types: a header, and one list per field over the nodes."""
        columns = {name: [getattr(node, name) for node in self.nodes] for name in FIELDS}
        return {
            "version": VERSION, "id": self.id, "status": self.status, "rounds": self.rounds, "counts": self.counts,
            "nodes": columns,
        }  # fmt: skip

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return the tree of a row; raises DataError where it is none, or of another version."""
        if row.get("version") != VERSION:
            raise DataError(f"a tree of version {row.get('version')!r} cannot be read; this is version {VERSION}")
        columns = row["nodes"]
        lengths = {len(columns[name]) for name in FIELDS}
        parents = columns["parent"]
        if len(lengths) != 1 or any(not -1 <= parent < at for at, parent in enumerate(parents)) or parents[0] != -1:
            raise DataError(f"tree {row.get('id')!r}: its columns do not describe one tree")
        tree = cls(row["id"])
        tree.rounds, tree.status, tree.counts = row["rounds"], row["status"], dict(row["counts"])
        for at in range(len(parents)):
            if at:
                tree.add(tree.nodes[parents[at]], Candidate(""))
            for name in FIELDS:
                value = columns[name][at]
                setattr(tree.nodes[at], name, dict(value) if name == "extra" else value)
        return tree


def finite(value: float, what: str) -> float:
    """Return a number; raises DataError where it is none, because it would spread through the whole tree."""
    if not math.isfinite(value):
        raise DataError(f"{what} is {value}; a search needs numbers")
    return value


def decision_seed(run: str | int, tree: str, path: Sequence[int], purpose: str, attempt: int = 0) -> int:
    """Return the seed in [0, 2**31) of one decision of a search, which depends on these values alone."""
    text = f"{run}|{tree}|{'.'.join(map(str, path))}|{purpose}|{attempt}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") & 0x7FFFFFFF
