"""Search over options, the pieces of an answer up to a stop string, with a width that follows what is at stake.

The search of AlphaLLM (arXiv 2404.12253) as a world for `search/grow.py`: one child a visit, drawn apart from its
siblings, and judged by three critics when it is made.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, pvariance
from typing import TYPE_CHECKING

from selfimprove.errors import ConfigError
from selfimprove.records import Prompt
from selfimprove.search.backup import Backup
from selfimprove.search.distance import edit_distance
from selfimprove.search.grow import Budget, Rules, grow
from selfimprove.search.selection import Select, importance, importance_width
from selfimprove.search.tree import DEAD, TERMINAL, Candidate, Node, Tree
from selfimprove.worlds.critics import Critics, aggregate, outcome_of, same_meaning, step_of, value_of
from selfimprove.worlds.steps import Writing, next_steps, none_failed, rest_of_answer

if TYPE_CHECKING:
    from selfimprove.run import Run


@dataclass(frozen=True)
class Merge:
    """What makes an option another one than its siblings."""

    by: str = "distance"  # distance: in characters; verdict: the policy says whether they mean the same; none
    threshold: int = 20  # distance from which an option is another one
    similarity: float = 0.2  # verdict: largest mean probability of the same meaning
    draws: int = 5  # options drawn at most for one child

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if self.by not in ("distance", "verdict", "none"):
            raise ConfigError(f"merge: by is '{self.by}'; it is one of distance, verdict, none")
        if self.draws < 1:
            raise ConfigError(f"merge: draws is {self.draws}; it must be at least 1")


@dataclass(frozen=True)
class Search:
    """How a tree of options grows."""

    rounds: int = 40  # visits of a tree (search_time)
    least_ends: int = 40  # finished answers before `rounds` counts (min_terminals); ten times the rounds at most
    tokens: int | None = None  # tokens of a tree, drawn options and roll-outs counted; null: no limit
    root_children: int = 40  # width of the root at first
    children: int = 3  # width of other nodes at first
    exploration: float = 1.0  # c of UCT
    factor: float = 2.0  # of the importance, by which a node becomes wider
    widest: int = 10  # width that importance leads to at most
    importance: str = "means"  # of children: means (of what they brought, the code) or values (v, the paper)
    split_depth: int = 10  # deeper nodes have one child
    depth: int = 10  # options of an answer; the last one is written to the end
    lines: int = 64  # an answer of so many lines that has not ended is given up
    greedy_first: bool = True  # the first child of a node is drawn at temperature 0
    stop_repeats: int | None = None  # a node whose last child took so many draws gets no more; null: never for that
    least_variance: float | None = None  # a node whose roll-outs vary less gets one child; null: never for that
    answer_tokens: int = 512  # longest roll-out or rest of an answer
    merge: Merge = field(default_factory=Merge)  # what makes options different

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        for name in ("rounds", "root_children", "children", "widest", "depth", "lines", "answer_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"search: {name} is {getattr(self, name)}; it must be at least 1")
        if self.importance not in ("means", "values"):
            raise ConfigError(f"search: importance is '{self.importance}'; it is means or values")
        if min(self.exploration, self.factor, self.least_ends) < 0:
            raise ConfigError("search: exploration, factor and least_ends cannot be negative")

    @property
    def rules(self) -> Rules:
        """How the tree core is set: one child a visit, means, and a cached reward that every visit adds again."""
        return Rules(
            Select("uct", self.exploration), Backup("mean"), self.children, self.root_children, widening=True,
            max_depth=self.depth, attempts=1, childless=TERMINAL, repeat=True,
        )  # fmt: skip

    @property
    def budget(self) -> Budget:
        """When a tree is done."""
        return Budget(rounds=self.rounds, tokens=self.tokens, least_ends=self.least_ends)


async def draw_apart(
    draw: Callable[[int], Awaitable[Candidate]],
    siblings: Sequence[str],
    merge: Merge,
    likeness: Callable[[str], Awaitable[float]] | None = None,
) -> tuple[Candidate | None, int]:
    """Return the first draw that differs enough from all siblings, and how many draws it took.

    Without one, by distance the draw that differs most, by verdict (`likeness` gives the probability of the same
    meaning) the last one. An empty draw is drawn again; None where all were. An answer that ended is taken at once,
    unless a sibling is the same text.
    """
    known = [text.strip() for text in siblings]
    best, widest = None, -1
    for number in range(merge.draws):
        step = await draw(number)
        text = step.text.strip()
        if not text:
            continue
        distance = min((edit_distance(other, text) for other in known), default=merge.threshold)
        if not known or merge.by == "none" or (step.ended and distance):
            return step, number + 1
        if likeness is not None:
            best = step
            if distance and await likeness(step.text) <= merge.similarity:
                return step, number + 1
            continue
        if distance >= max(merge.threshold, 1):
            return step, number + 1
        if distance > widest:
            best, widest = step, distance
    return best, merge.draws


class OptionWorld:
    """What a search over options asks of a run, for one prompt."""

    def __init__(self, run: "Run", prompt: Prompt, writing: Writing, search: Search, critics: Critics) -> None:
        """Keep what all requests need."""
        self.run, self.prompt, self.writing, self.search, self.critics = run, prompt, writing, search, critics

    async def propose(self, tree: Tree, node: Node, count: int, attempt: int) -> Sequence[Candidate]:
        """Return one option that differs from the node's children, [] where none came."""
        merge, children = self.search.merge, tree.children(node)
        before = tree.text(node)
        drawn: list[Candidate] = []

        async def draw(number: int) -> Candidate:
            greedy = self.search.greedy_first and not (children or attempt or number)
            step = await self.option(tree, node, before, attempt * merge.draws + number, greedy)
            drawn.append(step)
            return step

        siblings = [child.text for child in children]
        likeness = None
        if merge.by == "verdict":
            likeness = lambda text: same_meaning(self.run, self.prompt, before, text, siblings)  # noqa: E731
        found, draws = await draw_apart(draw, siblings, merge, likeness)
        tree.count("draws", draws)
        tree.count("tokens", sum(step.tokens for step in drawn if step is not found))
        if self.search.stop_repeats is not None and draws >= self.search.stop_repeats:
            node.extra["closed"] = True
        if found is None and not children and node.depth and any(nothing_more(step, self.writing) for step in drawn):
            node.ended = True  # the answer ended where an option was asked for
        return [found] if found else []

    async def option(self, tree: Tree, node: Node, before: str, attempt: int, greedy: bool) -> Candidate:
        """Return one option after a node; the last one that depth allows goes to the end of the answer."""
        path, temperature = tree.path(node), 0.0 if greedy else None
        if node.depth + 1 < self.search.depth:
            found = await next_steps(
                self.run, self.prompt, before, 1, self.writing, path=path, attempt=attempt, temperature=temperature
            )
            return found[0]
        [sample] = await rest_of_answer(
            self.run, self.prompt, before, 1, self.writing, max_tokens=self.search.answer_tokens, path=path,
            attempt=attempt, purpose="expand", temperature=temperature,
        )  # fmt: skip
        none_failed(self.prompt, [sample])
        ended = sample.finish == "stop" and bool(sample.text.strip())
        return Candidate(sample.text, sample.tokens, sample.logprob, ended)

    async def guess(self, tree: Tree, nodes: Sequence[Node]) -> Sequence[float | None]:
        """Return 0 for every node, since each is judged in the visit that makes it; end lines that are long enough."""
        for node in nodes:
            lines = tree.text(node).strip().count("\n") + 1
            if not node.ended and (node.depth >= self.search.depth or lines >= self.search.lines):
                node.state = TERMINAL  # no end of an answer: it stays without `ended`
        return [0.0] * len(nodes)

    async def evaluate(self, tree: Tree, node: Node) -> float | None:
        """Return R = lambda_v v + lambda_f f + lambda_p p of a node, None where one of them failed."""
        cfg, text = self.critics, tree.text(node)
        parts = {
            "value": (cfg.value_weight, lambda: value_of(cfg, self.run, self.prompt, text)),
            "outcome": (cfg.outcome_weight, lambda: self.outcome(tree, node, text)),
            "process": (cfg.process_weight, lambda: self.process(tree, node, text)),
        }
        asked = {name: ask for name, (weight, ask) in parts.items() if weight}
        found = await asyncio.gather(*(ask() for ask in asked.values()))
        total = 0.0
        for name, part in zip(asked, found, strict=True):
            if part is None:
                return None
            node.extra[name] = part
            total += parts[name][0] * part
        return total

    async def outcome(self, tree: Tree, node: Node, text: str) -> float | None:
        """Return f: the outcome of an answer that ended, else the mean over roll-outs; None where all failed."""
        cfg = self.critics
        if node.ended:
            return await outcome_of(cfg, self.run, self.prompt, text)
        samples = await rest_of_answer(
            self.run, self.prompt, text, cfg.simulations, self.writing, max_tokens=self.search.answer_tokens,
            path=tree.path(node), policy=self.run.base if cfg.fast == "base" else None,
            temperature=cfg.rollout_temperature,
        )  # fmt: skip
        tree.count("tokens", sum(sample.tokens for sample in samples))
        whole = [text + sample.text for sample in samples if not sample.error]
        found = await asyncio.gather(*(outcome_of(cfg, self.run, self.prompt, each) for each in whole))
        scores = [score for score in found if score is not None]
        tree.count("failed_rollouts", len(samples) - len(scores))
        node.extra["outcomes"] = scores
        least = self.search.least_variance
        if least is not None and len(scores) > 1 and pvariance(scores) < least:
            node.extra["closed"] = True
        return fmean(scores) if scores else None

    async def process(self, tree: Tree, node: Node, text: str) -> float | None:
        """Return p: the steps' scores along the line as one; those that failed do not count, unless it is the last."""
        step = await step_of(self.run, self.prompt, text[: len(text) - len(node.text)], node.text)
        if step is None:
            return None
        node.extra["step"] = step
        scores = [item.extra["step"] for item in tree.line(node) if "step" in item.extra]
        return aggregate(scores, self.critics.process)

    def width(self, tree: Tree, node: Node) -> int:
        """Return how many children a node may have now; it never falls."""
        cfg = self.search
        least = cfg.children if node.depth <= cfg.split_depth else 1
        least = cfg.root_children if not node.depth else least
        known = [child for child in tree.children(node) if child.visits and child.state != DEAD]
        if cfg.importance == "means":
            stake = importance([child.value for child in known])
        else:
            own = alone(node)
            stake = max((abs(alone(child) - own) for child in known), default=0.0)
        width = importance_width(stake, cfg.factor, max(least, node.extra.get("width", 0)), cfg.widest)
        node.extra["width"] = width
        return width


def alone(node: Node) -> float:
    """Return what a node is worth by its value critic alone, else by all of them; 0 where nothing is known."""
    return float(node.extra.get("value", node.result or 0.0))


def nothing_more(step: Candidate, writing: Writing) -> bool:
    """Return whether an empty draw was the end of the turn, and not an empty line or one that was cut."""
    return not step.text.strip() and not step.text.endswith(writing.stop) and not step.extra.get("cut")


async def grown(world: OptionWorld, tree_id: str) -> Tree:
    """Return the grown tree of a prompt."""
    tree = Tree(tree_id)
    if world.search.importance == "values" and world.critics.value_weight:
        value = await value_of(world.critics, world.run, world.prompt, "")
        if value is not None:
            tree.root.extra["value"] = value
    await grow(tree, world, world.search.rules, world.search.budget, seed=world.run.recipe.seed)
    return tree
