"""Search trees with known numbers, and run folders that hold them."""

import random
from pathlib import Path

import made_runs

from selfimprove.records import Pair
from selfimprove.search.tree import DEAD, EXPANDED, TERMINAL, Candidate, Node, Tree
from selfimprove.store import RowWriter, Store


def put(tree: Tree, parent: Node, text: str, visits: int = 0, quality: float = 0.0, guess: float | None = 0.5, **more):
    """Add a node with its numbers; `outcome` makes it an end, anything else in `more` is set as it is."""
    node = tree.add(parent, Candidate(text, 8, ended="outcome" in more))
    parent.state = EXPANDED
    node.visits, node.quality, node.value, node.guess = visits, quality, quality, guess
    for name, value in more.items():
        setattr(node, name, value)
    return node


def small(id: str = "set/1", status: str = "rounds", right: bool = True) -> Tree:
    """Return a tree of six nodes: an end of each kind, a dead node and one that no visit came to."""
    tree = Tree(id)
    first = put(tree, tree.root, "10 - 4 = 6 (left: 6 4)\n", 3, 2 / 3, 0.6)
    second = put(tree, tree.root, "10 + 4 = 14 (left: 14 4)\n", 1, 0.1, 0.3)
    put(tree, tree.root, "no idea", guess=None, state=DEAD)
    put(tree, first, "6 * 4 = 24\n#### (10 - 4) * 4", 2, float(right), 0.9, outcome=float(right))
    put(tree, first, f"6 + 4 = 10 {made_runs.NASTY}", 1, 0.0, 0.4, outcome=0.0)
    put(tree, second, "14 * 4 = 56", 0, 0.2, 0.2)
    tree.root.visits, tree.root.value, tree.rounds, tree.status = 4, 0.5, 4, status
    tree.count("tokens", 42)
    return tree


def large(id: str = "set/9", nodes: int = 300, seed: int = 1) -> Tree:
    """Return a tree of so many nodes with visits that add up, its ends wrong but for one."""
    tree, random_ = Tree(id), random.Random(seed)
    while len(tree.nodes) <= nodes:
        node = tree.root
        while node.state == EXPANDED:
            node.visits += 1
            node = max(tree.children(node), key=lambda child: random_.random() + child.quality)
        node.visits += 1
        if node.state == TERMINAL:
            continue
        for place in range(3):
            step = (
                f"{node.depth + 2} * {place + 3} = {(node.depth + 2) * (place + 3)}, so that many are left of them\n"
            )
            put(tree, node, step, 0, round(random_.random(), 3), round(random_.random(), 3))
            if node.depth > 1 and random_.random() < 0.25:
                end = tree.nodes[-1]
                end.state, end.ended, end.outcome = TERMINAL, True, 0.0
    tree.ends()[-1].outcome = 1.0
    tree.rounds, tree.status = tree.root.visits, "nodes"
    tree.count("tokens", 9 * nodes)
    return tree


def begun(folder: Path, round: int, rows: list[dict], store: Store | None = None) -> tuple[Store, RowWriter]:
    """Return a run folder whose round has kept these rows of trees, and the writer of the stage that is under way."""
    store = store or made_runs.begin(folder)
    writer = RowWriter(store.stage_folder(round, "collect"))
    for row in rows:
        writer.keep("trees", row)
    return store, writer


def searched(folder: Path, rounds: dict[int, list[dict]]) -> Store:
    """Return a run folder whose rounds were collected: one pair for every tree, and the trees."""
    store = made_runs.begin(folder)
    for number, rows in rounds.items():
        _, writer = begun(folder, number, rows, store)
        for place, _ in enumerate(rows):
            writer.write(Pair.of(made_runs.prompt(place), "yes", "no", tag="p", round=number, margin=0.5))
        found = {"prompts": len(rows), "rows": writer.rows, "skips": {}, "metrics": {}}
        store.finish(number, "collect", writer.close(), policy=f"p{number - 1}", **found)
    return store
