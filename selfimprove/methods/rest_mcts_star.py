"""ReST-MCTS*: search with a value model, learn the right answers found and the value of every step on the way.

Paper: "ReST-MCTS*: LLM Self-Training via Process Reward Guided Tree Search", Zhang et al., NeurIPS 2024,
arXiv 2406.03816.
Input: prompts with a gold answer; in the first round, where it starts from SFT, with a worked `solution`. Output: SFT
rows (right answers) for the policy and labelled steps for the value model; a round trains both.

One tree a prompt: UCT picks a leaf, the policy writes `branch` next steps, the value model V scores each, and a short
greedy roll-out from the best one is blended into its V; the parents' V is the mean of their children's by visits. The
gold answer then says which leaves are right, and the distance to the nearest right leaf gives every step its value, so
that nobody labels steps. Held-out items may be answered by the same search (`evaluate.with_method`), see `vote`.

A round reports, means over trees: right_leaves, trees_without_right_leaf (these teach V nothing, so that V sees the
easier prompts only), tree_answer_right (is the most valued leaf right?); of the trees of a `heldout_share` of all
prompts, on which no value model is ever trained: value_mse, value_near and value_auc of V as it stood in the search.

What differs from the paper:
1. The first V is made by a round of the run, from worked solutions (the prefix of k of K steps gets k / K) and,
   behind each prefix, `ways_on` steps of the policy with its greedy rest of the answer, by which they are judged and
   valued like a searched tree (paper: one wrong step, and not how it is known to be wrong). V must have seen whole
   wrong answers, or it calls every answer right (with `steps: asked` the first one sees wrong steps alone). A round
   before it fine-tunes the policy, whose own mistakes V must know; `start: value` has none (published).
   `start: none`, with a `value.model`, searches at once.
2. A step is a line that the policy writes on in its own answer; `steps: asked` asks for each by a prompt (published).
   The prompts' wording is ours. So is how long a step must at least be (`shortest`).
3. An answer ends at its end of turn, or where `final` matches; `ends` adds the policy's own word for it (published), a
   reflection that gives advice on each step, or what the verifier reads. An end without an answer is finished by the
   policy (`unfinished`; published: summary). Of a reflection children are told only when they are expanded.
4. V is read by a linear head on the hidden state, not on the logits (see the value model).
5. A roll-out that finds no step leaves V as it is (published: it counts as 0). Without a leaf that passes the gate the
   leaf of the highest V is the answer, the first of equal ones (published: any node, the last of equals).
6. No time limit, since a slower machine would grow another tree; `max_depth` bounds the steps of an answer.
7. `labels: hard` is the step classifier's variant: 1 where a right leaf lies below, else 0, no roll-out, no gate.
8. ORM votes read V at the end of an answer (published: a model that says True or False).

Baselines: `search: none` is ReST-EM (sampled answers, the right ones are learned); `vote` sc, orm and sc_orm are
self-consistency, the best by V, and both; Self-Rewarding is the method self_rewarding.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfimprove.building.worked import worked_example
from selfimprove.errors import ConfigError
from selfimprove.evaluation.with_method import SCORE
from selfimprove.records import Example, Prompt, Sample, Skip, Steps
from selfimprove.search.backup import Backup
from selfimprove.search.extract import judged, trajectories
from selfimprove.search.grow import Budget, Rules, grow
from selfimprove.search.selection import Select
from selfimprove.search.tree import Tree
from selfimprove.worlds.process_values import (
    labels_of,
    measure_tree,
    measure_values,
    value_rows,
    verify,
    worked_tree,
)
from selfimprove.worlds.steps import StepsFailed, Writing
from selfimprove.worlds.tree_answers import VOTES, searched, voted
from selfimprove.worlds.value_search import ENDS, UNFINISHED, Moves, ValueSearch

if TYPE_CHECKING:
    from selfimprove.engines.base import Policy
    from selfimprove.run import Run
    from selfimprove.store import Rows

NEEDS, MAKES = {"messages", "gold"}, ("sft", "steps")
TRIAL_ROUND = 3  # the first two may be the start

STARTS = {"sft": ("sft", "value"), "value": ("value",), "none": ()}
"""What the first rounds train on worked solutions; ReST-EM has no value model."""


@dataclass(frozen=True)
class Config:
    """Options of ReST-MCTS*."""

    start: str = "sft"  # sft: round 1 trains the policy on worked solutions, round 2 V; value: V in round 1; none
    ways_on: int = 1  # ways on of the policy behind each prefix of a solution, for the first V
    search: str = "tree"  # tree; none: right ones of `samples` answers are learned, and no value model (ReST-EM)
    branch: int = 3  # steps drawn where a node is expanded
    iterations: int = 50  # visits of a tree
    exploration: float = 0.5  # c of UCT
    bonus: float = 0.9  # of a child that was never visited; finite, so that a very good sibling can go first
    end_gate: float = 0.8  # V that ends an answer: searching for data marks such a leaf, answering stops there
    roll_forward: int = 1  # steps of a greedy roll-out; 0: none
    roll_branch: int = 1  # steps drawn for each step of a roll-out
    alpha: float = 0.5  # weight of the roll-out's highest V in the V of the node that it went out from
    max_depth: int = 16  # steps of the longest answer
    steps: str = "continued"  # the policy goes on with its own answer; asked: it is asked for each next step
    stop: str = "\n"  # what ends a continued step
    shortest: int = 2  # characters of the shortest step
    tries: int = 3  # draws of a step that is too short or in the answer already
    temperature: float = 0.7  # of sampling
    top_p: float = 1.0  # of sampling
    step_tokens: int = 256  # longest step
    max_tokens: int = 1024  # longest whole answer, and rest of one
    final: str = r"\\boxed|[Aa]nswer is|####"  # regular expression: a step that holds it ends the answer
    ends: str = "text"  # what else ends it: text (nothing), answer (the verifier's), ask, reflect (the policy's word)
    unfinished: str = "write"  # a leaf that ends without an answer: write (the rest), summary (a line), leave
    labels: str = "inferred"  # of steps: inferred values, or hard: 1 where a right leaf lies below, else 0
    min_score: float | None = None  # right answers of a lower V are not learned (released code: 0.2); null: all
    min_characters: int = 0  # shorter right answers are not learned (released code: 50)
    heldout_share: float = 0.1  # share of prompts that never train a value model, but measure it
    vote: str = "search"  # how held-out items are answered: search, tree (its leaves vote by V), sc, orm, sc_orm
    samples: int = 16  # whole answers of ReST-EM, and of the last three votes

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        allowed = {
            "start": tuple(STARTS), "search": ("tree", "none"), "steps": ("continued", "asked"),
            "ends": ENDS, "unfinished": UNFINISHED, "labels": ("inferred", "hard"),
            "vote": ("search", "tree", *VOTES),
        }  # fmt: skip
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ConfigError(f"rest-mcts-star: {name} is '{getattr(self, name)}'; one of {', '.join(values)}")
        for name in ("branch", "iterations", "roll_branch", "max_depth", "tries", "samples", "step_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"rest-mcts-star: {name} is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.alpha <= 1 or not 0 <= self.heldout_share < 1:
            raise ConfigError(
                f"rest-mcts-star: alpha is {self.alpha} and heldout_share {self.heldout_share}; both lie between 0 "
                "and 1, and some prompts must train the value model"
            )
        if self.ends == "reflect" and self.steps != "asked":
            raise ConfigError("rest-mcts-star: ends: reflect gives advice on the next step; set steps: asked")
        try:
            re.compile(self.final)
        except re.error as error:
            raise ConfigError(
                f"rest-mcts-star: final is {self.final!r}, which is no regular expression: {error}"
            ) from None


def makes(cfg: Config) -> tuple[str, str | None]:
    """Return the kind that `train` is about, and no loss of its own; steps are trained as `value` says."""
    return "sft", None


def stage_of(cfg: Config, round: int) -> str:
    """Return what a round is for: sft, value or search."""
    first = [stage for stage in STARTS[cfg.start] if stage == "sft" or cfg.search == "tree"]
    return first[round - 1] if 0 < round <= len(first) else "search"


async def collect(cfg: Config, run: "Run", prompt: Prompt) -> list[Example | Steps | Skip]:
    """Search one tree and return its right answers and the values of its steps; the first rounds may be the start."""
    stage = stage_of(cfg, run.round)
    if stage == "sft":
        return [worked_example(prompt)]
    if cfg.search == "none":
        return [*await sampled(cfg, run, prompt)]
    held = run.rng(prompt, "value-heldout").random() < cfg.heldout_share
    world = ValueSearch(run, prompt, moves_of(cfg))
    try:
        if stage == "value":
            return [*await first_values(cfg, run, prompt, world, held)]
        tree = Tree(prompt.id)
        await grow(tree, world, rules_of(cfg), Budget(rounds=cfg.iterations), seed=run.recipe.seed)
        wholes = await verify(world, tree, gate_of(cfg), cfg.unfinished)
    except StepsFailed as error:
        return [Skip(prompt.id, "engine_error", str(error))]
    run.keep("trees", tree.to_row())
    measure_tree(run, tree)
    run.measure("ungraded_leaves", len(wholes) - len(judged(tree)))
    labels = labels_of(tree, cfg.labels)
    if held:
        measure_values(run, tree, labels)
    learned = await right_rows(cfg, run, prompt, tree, wholes)
    valued = [] if held else value_rows(prompt, tree, labels, run.round)
    return [*learned, *valued] or [Skip(prompt.id, why_none(tree, wholes))]


async def first_values(
    cfg: Config, run: "Run", prompt: Prompt, world: ValueSearch, held: bool
) -> Sequence[Steps | Skip]:
    """Return the values of the prefixes of a prompt's worked solution, and of the policy's ways on behind them."""
    solution = (prompt.solution or "").strip()
    if held:
        return [Skip(prompt.id, "held_out", "no value model is trained on it")]
    if not solution:
        return [Skip(prompt.id, "no_solution", "the first values are those of worked solutions; start: none")]
    tree = await worked_tree(world, solution, cfg.ways_on)
    run.measure("wrong_ways", len(judged(tree, right=False)))
    run.measure("right_ways", len(judged(tree, right=True)) - 1)
    return value_rows(prompt, tree, labels_of(tree, cfg.labels), run.round)


async def right_rows(cfg: Config, run: "Run", prompt: Prompt, tree: Tree, wholes: dict[int, Sample]) -> list[Example]:
    """Return the right answers of a tree as rows, no text twice, without those that are cut, too short or of low V."""
    rows: dict[str, Example] = {}
    refused = 0
    for end in trajectories(tree):
        whole = wholes[end.id]
        text, value = whole.text.strip(), end.guess if whole.text == tree.text(end) else None
        if cfg.min_score is not None:
            value = await run.value(prompt, whole.text)
        low = cfg.min_score is not None and (value is None or value < cfg.min_score)
        if low or len(text) < cfg.min_characters or (whole.finish == "length" and cfg.unfinished == "write"):
            refused += 1
            continue
        tag = f"round-{run.round}-{len(rows)}"
        row = Example.of(prompt, text, tag=tag, reward=1.0, round=run.round, meta={"value": value})
        rows.setdefault(text, row)
    run.measure("right_refused", refused)
    return list(rows.values())


async def sampled(cfg: Config, run: "Run", prompt: Prompt) -> list[Example | Skip]:
    """Return the right ones of whole sampled answers, no text twice (ReST-EM)."""
    samples = await whole_answers(cfg, run, prompt)
    failed = next((sample.error for sample in samples if sample.error), None)
    if failed:
        return [Skip(prompt.id, "engine_error", failed)]
    texts = list(dict.fromkeys(sample.text.strip() for sample in samples if sample.ok and sample.finish == "stop"))
    scores = [(await run.check(prompt, text)).score for text in texts]
    right = [text for text, score in zip(texts, scores, strict=True) if score is not None and score >= 1]
    run.measure("right_answers", len(right))
    rows = [
        Example.of(prompt, text, tag=f"round-{run.round}-{place}", reward=1.0, round=run.round)
        for place, text in enumerate(right)
        if len(text) >= cfg.min_characters
    ]
    return [*rows] or [Skip(prompt.id, "ungraded" if texts and set(scores) == {None} else "none_right")]


async def whole_answers(cfg: Config, run: "Run", prompt: Prompt) -> list[Sample]:
    """Return answers that are sampled as a whole, without a search."""
    return await run.sample(
        prompt, cfg.samples, temperature=cfg.temperature, top_p=cfg.top_p, max_tokens=cfg.max_tokens
    )


async def learn(cfg: Config, run: "Run", rows: "Rows") -> "dict[str, Policy]":
    """Train the policy on the right answers and the value model on the labelled steps, each from its newest state."""
    found: dict[str, Policy] = {}
    for name, kind in (("policy", "sft"), ("value", "steps")):
        if len(rows.of(kind)):
            found[name] = await run.train(kind, rows.of(kind))
    return found


async def answer(cfg: Config, run: "Run", prompt: Prompt) -> Sample:
    """Return the answer of a search, or of a vote; the plain greedy one before there is a value model."""
    if "value" not in run.models and cfg.vote != "sc":
        run.measure("without_value_model", 1.0)
        [sample] = await run.sample(prompt, temperature=0.0, max_tokens=run.recipe.evaluate.max_tokens)
        return sample
    if cfg.vote in VOTES:
        sample, worth = await voted(run, prompt, await whole_answers(cfg, run, prompt), cfg.vote)
    else:
        world = ValueSearch(run, prompt, moves_of(cfg), every_child=cfg.vote == "tree")
        sample, worth = await searched(world, rules_of(cfg), cfg.iterations, cfg.vote == "tree", cfg.unfinished)
    if worth is not None:
        run.measure(SCORE, worth)
    return sample


async def judge(cfg: Config, run: "Run", prompt: Prompt, text: str) -> float | None:
    """Return V at the end of an answer; None before there is a value model."""
    return await run.value(prompt, text) if "value" in run.models else None


def moves_of(cfg: Config) -> Moves:
    """Return how steps are drawn."""
    writing = Writing(cfg.stop, cfg.temperature, cfg.top_p, cfg.step_tokens, cfg.final)
    forward = cfg.roll_forward if cfg.labels == "inferred" else 0
    return Moves(
        writing, cfg.steps == "asked", cfg.ends, cfg.tries, cfg.shortest, forward, cfg.roll_branch, cfg.alpha,
        cfg.max_depth, cfg.max_tokens,
    )  # fmt: skip


def gate_of(cfg: Config) -> float | None:
    """Return the V that ends an answer, None where V is a classifier's."""
    return cfg.end_gate if cfg.labels == "inferred" else None


def rules_of(cfg: Config) -> Rules:
    """Return how trees grow."""
    select = Select("uct", cfg.exploration, 2.0, "bonus", cfg.bonus, random_ties=True)
    return Rules(
        select, Backup("child_weighted"), cfg.branch, ends_at="child", max_depth=cfg.max_depth, attempts=1,
        childless="terminal", gate=gate_of(cfg),
    )  # fmt: skip


def why_none(tree: Tree, wholes: dict[int, Sample]) -> str:
    """Return why a tree gave no row, in one word."""
    if not wholes:
        return "no_end" if len(tree.nodes) > 1 else "no_step"
    if not judged(tree):
        return "ungraded"
    return "right_but_refused" if judged(tree, right=True) else "none_right"
