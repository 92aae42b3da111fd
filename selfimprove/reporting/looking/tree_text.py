"""How search trees read as text: a table of them, and one drawn with a node a line."""

import json
from collections.abc import Iterator
from itertools import islice
from shutil import get_terminal_size

from selfimprove.reporting.looking import trees
from selfimprove.reporting.looking.filters import Filters
from selfimprove.reporting.looking.trees import Kept
from selfimprove.reporting.show import in_one_line
from selfimprove.reporting.table import table
from selfimprove.search.tree import Node
from selfimprove.store import Store

LINES = 40
"""Nodes of a large tree that are drawn where not all are asked for."""
NARROWEST = 24
"""Characters that a step has at least, however deep it stands and however narrow the terminal is."""
WIDE = 120
"""Columns where the output is no terminal."""
HEAD = ("n", "Q", "V", "guess", "end")
LEGEND = "n: visits; Q: what selection compares; V: worth of the state; guess: the critic's"


def table_lines(
    store: Store, number: int | None, filters: Filters, limit: int | None, as_json: bool = False
) -> Iterator[str]:
    """Yield a round's trees, one a line: what each came to and why it stopped, at most `limit` of them."""
    at = trees.the_round(store, number)
    found = trees.tree_records(store, at, filters)
    if as_json:
        yield from (json.dumps(record, ensure_ascii=False) for record in islice(found, limit))
        return
    names = {
        "id": "id", "nodes": "nodes", "ends": "ends", "right": "right", "wrong": "wrong", "depth": "depth",
        "tokens": "tokens", "rounds": "rounds", "status": "stopped by",
    }  # fmt: skip
    shown = list(islice(found, limit))
    more = next(found, None) is not None
    under_way = store.marker(at, "collect") is None
    yield f"round {at}{' is still being collected; so far' if under_way else ''}:"
    rows = [[visible(str(record[name])) for name in names] for record in shown]
    yield from table([*names.values()], rows) if rows else ["no tree is like that"]
    if more:
        yield "there are more: --limit 0 shows all"
    if shown:
        yield f"one of them drawn: selfimprove show {store.folder} --tree {shown[0]['id']}"


def drawing(
    store: Store, name: str, number: int | None, everything: bool = False, as_json: bool = False
) -> Iterator[str]:
    """Yield the trees of a prompt, drawn as wide as the terminal is, or (`as_json`) one node a line."""
    width = get_terminal_size((WIDE, 24)).columns
    for place, kept in enumerate(trees.find_trees(store, name, number)):
        if as_json:
            yield from (json.dumps(record, ensure_ascii=False) for record in trees.node_records(kept))
            continue
        yield from [""] if place else []
        yield title(kept)
        question = visible(trees.question_of(store, kept.tree.id))
        yield from [f"  {cut(question, 2 * width)}", ""] if question else [""]
        yield from draw(kept, width, None if everything else LINES)


def title(kept: Kept) -> str:
    """Return in one line what a tree came to and why it stopped."""
    record = trees.tree_record(kept)
    graded = f" ({record['right']} right, {record['wrong']} wrong)" if record["right"] or record["wrong"] else ""
    facts = [
        trees.counted(record["nodes"], "node"), trees.counted(record["ends"], "end") + graded,
        trees.counted(record["rounds"], "round"), trees.counted(record["tokens"], "token"),
    ]  # fmt: skip
    told = trees.REASONS.get(kept.tree.status, f"stopped: {kept.tree.status}")
    return f"{visible(kept.tree.id)}, round {kept.round}: {', '.join(facts)}; it {told}"


def draw(kept: Kept, width: int, most: int | None = LINES) -> Iterator[str]:
    """Yield a tree with a node a line, the numbers before and the steps as a tree; of a large one at most `most`."""
    shown = trees.worth_showing(kept, most)
    lines = list(_walk(kept, shown))
    cells = [list(HEAD), *(_cells(node) if node else [""] * len(HEAD) for node, _, _ in lines)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(HEAD))]
    prefixes = ["  ".join([*map(str.rjust, row[:-1], widths), row[-1].ljust(widths[-1])]) for row in cells]
    yield f"{prefixes[0]}  step"
    for prefix, (_, branch, text) in zip(prefixes[1:], lines, strict=True):
        start = f"{prefix}  {branch}"
        yield (start + cut(text, max(width - len(start), NARROWEST))).rstrip()
    yield ""
    yield LEGEND + ("; *: on the chosen way" if kept.chosen else "")
    if len(shown) < len(kept.tree.nodes):  # the root is in neither number
        yield f"{len(shown) - 1} of {len(kept.tree.nodes) - 1} nodes are drawn: --all draws every one"


def _walk(kept: Kept, shown: set[int]) -> Iterator[tuple[Node | None, str, str]]:
    """Yield (node, None where nodes are folded; the branches that lead to it; its text), from the root down."""
    tree = kept.tree
    waiting: list[tuple[Node | None, str, str, str]] = [(tree.root, "", "", "(the question)")]
    while waiting:
        node, before, branch, text = waiting.pop()
        yield node, before + branch, text
        if node is None:
            continue
        before += {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
        below: list[tuple[Node | None, str]] = [
            (child, ("* " if child.id in kept.chosen else "") + (visible(child.text) or "(empty)"))
            for child in tree.children(node)
            if child.id in shown
        ]
        rest = trees.folded(tree, node, shown)
        below += [(None, f"... {rest}")] if rest else []
        branches = ["├─ "] * (len(below) - 1) + ["└─ "]
        waiting += [(child, before, at, said) for (child, said), at in zip(below, branches, strict=False)][::-1]


def _cells(node: Node) -> list[str]:
    quality = "-" if node.parent < 0 else f"{node.quality:.3f}"
    guess = "-" if node.guess is None else f"{node.guess:.3f}"
    return [str(node.visits), quality, f"{node.value:.3f}", guess, trees.mark(node)]


def visible(text: str) -> str:
    """Return a text on one line, with a dot for what a terminal would not print but obey."""
    return "".join(letter if letter.isprintable() else "·" for letter in in_one_line(text))


def cut(text: str, width: int) -> str:
    """Return a text shortened to so many characters."""
    return text if len(text) <= width else f"{text[: width - 1]}…"
