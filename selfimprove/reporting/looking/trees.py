"""The search trees of a run: where they lie, what each came to, and which nodes of one are worth a look.

A method keeps them with `run.keep("trees", tree.to_row())`. The way that it chose is marked where the row has `path`
(ids of nodes), or where a node's `extra` has `chosen`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import islice
from pathlib import Path
from typing import Any

from selfimprove.errors import DataError, SelfImproveError, did_you_mean
from selfimprove.reporting.growing import read_growing
from selfimprove.reporting.looking.browse import rounds_there
from selfimprove.reporting.looking.filters import Filters, Record, select
from selfimprove.reporting.looking.grades import PromptFinder
from selfimprove.search.extract import figures, judged
from selfimprove.search.tree import DEAD, TERMINAL, Node, Tree
from selfimprove.sources import read_definition
from selfimprove.store import Store, saved_recipe

REASONS = {
    "growing": "was not finished",
    "rounds": "stopped after all its rounds",
    "nodes": "stopped at its largest number of nodes",
    "tokens": "stopped when its tokens were spent",
    "ends": "stopped with enough ends",
    "gate": "stopped at a step that passed the gate",
    "exhausted": "stopped where nothing was left to go down to",
}
"""What the reasons of `search.grow` mean."""
COMPARED = 10_000
"""Ids that are looked at for one like an unknown one."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A tree of a round, and the ids of the nodes on the way that the method chose, none where it noted none."""

    round: int
    tree: Tree
    chosen: frozenset[int]


@dataclass(frozen=True, slots=True)
class Folded:
    """What is not shown below a node: nodes, the visits that went into them, and right ends among them."""

    nodes: int
    visits: int
    right: int

    def __str__(self) -> str:
        """Return it in words: `4 more, unvisited`, `17 more, 9 visits, 1 right end`."""
        words = [f"{self.nodes} more", counted(self.visits, "visit") if self.visits else "unvisited"]
        return ", ".join([*words, counted(self.right, "right end")] if self.right else words)


def trees_file(store: Store, number: int) -> Path:
    """Return where the trees of a round lie, if it has any."""
    return store.stage_folder(number, "collect") / "trees.jsonl"


def rounds_with_trees(store: Store) -> list[int]:
    """Return the rounds that have kept at least one tree so far."""
    return [number for number in rounds_there(store) if next(_rows(store, number), None) is not None]


def kept_trees(store: Store, number: int, name: str | None = None) -> Iterator[Kept]:
    """Yield the trees of a round, all or those of one prompt, as far as they are written.

    Raises DataError, naming the file, for a damaged line.
    """
    for row in _rows(store, number, name):
        yield read_kept(row, number, trees_file(store, number))


def _rows(store: Store, number: int, name: str | None = None) -> Iterator[dict[str, Any]]:
    spelled = json.dumps(name, ensure_ascii=False)[1:-1].encode() if name is not None else b""
    finished = store.marker(number, "collect") is not None
    for row in read_growing(trees_file(store, number), holding=spelled, whole=finished):
        id = str(row.get("id"))
        if name is None or id == name or id.startswith(f"{name}/"):
            yield row


def read_kept(row: Mapping[str, Any], number: int, path: Path) -> Kept:
    """Return the tree of a row of a file; raises DataError where the row describes none."""
    try:
        tree = Tree.from_row(row)
        ids = [int(id) for id in row.get("path") or ()]
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}"
        again = f"--from {number}/collect writes it again, the ledger still holds its answers"
        raise DataError(f"{path}: tree {row.get('id')!r} is damaged ({problem}); {again}") from None
    chosen = {id for id in ids if 0 <= id < len(tree.nodes)}
    chosen |= {node.id for node in tree.nodes if node.extra.get("chosen")}
    return Kept(number, tree, frozenset(chosen))


def the_round(store: Store, number: int | None) -> int:
    """Return a round that has trees, by default the last one; raises DataError where there is none."""
    there = rounds_with_trees(store)
    if number is None and there:
        return there[-1]
    if number in there:
        return number
    if there:
        told = f"round {there[0]} has" if len(there) == 1 else f"rounds {', '.join(map(str, there))} have"
        raise DataError(f"{store.folder}: round {number} has kept no search trees; {told}")
    so_far = " so far" if _under_way(store) else ""
    raise DataError(
        f"{store.folder}: this run has kept no search trees{so_far}; only methods that search do (mcts_dpo, for one), "
        "from the first round in which they search"
    )


def _under_way(store: Store) -> bool:
    return any(store.marker(number, "collect") is None for number in rounds_there(store) if number)


def find_trees(store: Store, name: str, number: int | None = None) -> list[Kept]:
    """Return the trees of a prompt in a round, by default the last one that has any.

    Raises DataError, with an id that is like it, where no tree is the prompt's.
    """
    the_round(store, number)
    rounds = [number] if number is not None else rounds_with_trees(store)[::-1]
    for at in rounds:
        if found := list(kept_trees(store, at, name)):
            return found
    known = {str(row.get("id")) for at in rounds for row in islice(_rows(store, at), COMPARED)}
    where = f"round {number}" if number is not None else "any round"
    raise DataError(f"{store.folder}: no tree of {where} is prompt '{name}'s{did_you_mean(name, known)[:200]}")


def tree_records(store: Store, number: int, filters: Filters) -> Iterator[Record]:
    """Yield one record per tree of a round; `score` is 1 where an end is right, 0 where none of the graded ones is."""
    yield from select((tree_record(kept) for kept in kept_trees(store, number)), filters)


def tree_record(kept: Kept) -> Record:
    """Return what a tree came to."""
    tree, found = kept.tree, figures(kept.tree)
    right, wrong = len(judged(tree, right=True)), len(judged(tree, right=False))
    score = float(right > 0) if right or wrong else None
    counts = {name: int(found[name]) for name in ("nodes", "ends", "depth", "tokens")}
    return {
        "id": tree.id, "round": kept.round, **counts, "right": right, "wrong": wrong, "rounds": tree.rounds,
        "status": tree.status, "score": score,
    }  # fmt: skip


def node_records(kept: Kept) -> Iterator[Record]:
    """Yield every node of a tree, parents first."""
    for node in kept.tree.below(kept.tree.root):
        yield {
            "id": kept.tree.id, "round": kept.round, "node": node.id, "parent": node.parent, "depth": node.depth,
            "text": node.text, "tokens": node.tokens, "visits": node.visits, "quality": node.quality,
            "value": node.value, "guess": node.guess, "state": node.state, "ended": node.ended,
            "outcome": node.outcome, "chosen": node.id in kept.chosen, "extra": node.extra,
        }  # fmt: skip


def mark(node: Node) -> str:
    """Return what became of a node in a word: right, wrong, dead, end (not graded), cut (too deep), or nothing."""
    if node.outcome is not None:
        return "right" if node.outcome else "wrong"
    return "dead" if node.state == DEAD else "end" if node.ended else "cut" if node.state == TERMINAL else ""


def worth_showing(kept: Kept, most: int | None) -> set[int]:
    """Return the ids of the nodes to show: all of a tree of at most `most`, else so many, parents before children.

    First the chosen way and the way to the best right end, then the most visited nodes, of equal ones those of the
    highest Q.
    """
    tree = kept.tree
    if most is None or len(tree.nodes) <= most:
        return {node.id for node in tree.nodes}
    shown = {0, *(item.id for id in sorted(kept.chosen)[:most] for item in tree.line(tree.nodes[id]))}
    shown |= {node.id for node in main_line(kept)}
    waiting = [_rank(child) for id in shown for child in tree.children(tree.nodes[id]) if child.id not in shown]
    heapify(waiting)
    while waiting and len(shown) < most:
        id = heappop(waiting)[-1]
        shown.add(id)
        for child in tree.children(tree.nodes[id]):
            heappush(waiting, _rank(child))
    return shown


def _rank(node: Node) -> tuple[float, float, int]:
    return -node.visits, -node.quality, node.id


def main_line(kept: Kept) -> list[Node]:
    """Return the way that a reader looks for first: to the most valued right end, else along the most visits."""
    tree = kept.tree
    right = judged(tree, right=True)
    if right:
        return tree.line(max(right, key=lambda node: (node.id in kept.chosen, node.value, -node.id)))
    line = [tree.root]
    while visited := [child for child in tree.children(line[-1]) if child.visits]:
        line.append(min(visited, key=_rank))
    return line


def folded(tree: Tree, node: Node, shown: set[int]) -> Folded | None:
    """Return what is not shown of a node's children and all below them; None where all children are."""
    hidden = [child for child in tree.children(node) if child.id not in shown]
    if not hidden:
        return None
    below = [item for child in hidden for item in tree.below(child)]
    right = sum(bool(item.outcome) and not tree.children(item) for item in below)
    return Folded(len(below), sum(child.visits for child in hidden), right)


def question_of(store: Store, id: str) -> str:
    """Return the question that a tree is about, empty where the prompts' own file does not tell it."""
    recipe = saved_recipe(store.folder)
    try:
        definition = read_definition(recipe.prompts, "prompts")
        if getattr(definition, "path", None) is None:  # sets on a hub are not fetched
            return ""
        prompt = PromptFinder([recipe.prompts], str(store.folder / "recipe.yaml")).find(id)
    except SelfImproveError:  # moved, changed or not readable
        return ""
    return prompt.text if prompt else ""


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: `1 visit`, `2 visits`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
