"""MCTS-DPO: a tree search by the newest policy finds pairs of better and worse steps, and DPO trains on them.

Paper: "Monte Carlo Tree Search Boosts Reasoning via Iterative Preference Learning", Xie et al. 2024, arXiv 2405.00451.
Input: prompts with gold answers; worked solutions, where there are any, guide the search and are shown to the
evaluator, and round 1 trains on them. Output: pairs of steps.

A step's value is the policy's own confidence that it heads the right way, and what the finished answer brings. PUCT
goes down to the end of an answer, differences of values are its rewards. The search moves to the child of most visits
and goes on there, in the same tree; along this path the sibling of the highest Q is preferred to that of the lowest.
The label is doubted as far as the visits disagree (alpha). Trees are kept in trees.jsonl of a round's collect.

A round reports, as means: right_path (the path's answer is right), pairs, gap (of Q), alpha, sure, and of trees nodes,
ends, depth, tokens, repeats, right_ends.

What differs from the paper:
1. The SFT start is round 1 of the run, on the prompts' worked solutions; `start: none` for a model that is ready. The
   reference stays that model: from the second search on, rows carry its log-probs, which the engine gives (in bfloat16
   some tenths of a nat from the trainer's). `reference: round` takes the policy of each round instead.
2. The rejected step is the one of the lowest Q, as in the paper; the released code takes a random one that is not the
   best (`rejected: random`). Equal Q make no pair. Of equal values in the order, prior, reward, V and visits decide.
3. The average of the children's Q counts a child without visits as one visit, as the code does (paper: not at all).
   `double_root` counts visits of the search's root twice, as the code does.
4. A step is a line that ends in `stop`; of 3 characters or fewer it is joined with the next. The code draws up to 128
   tokens and cuts them into sentences, and shortens them for short solutions.
5. Equal candidates are one; `near` also drops those whose sentence vectors are nearer than that (paper: BERTScore of
   hidden states above 0.99).
6. The confidence is p(B) over p(A) + p(B) of a reply of one letter (code: tokens that mean B, at the first of a few
   tokens that says A or B, else 0). An evaluator or verifier that failed makes its step unusable, never worth 0.
7. Both sides of a pair follow the steps before them as their common prompt. The code sums from the first token in
   which both differ: tokens before it cancel in the margin, so nothing is lost. Texts are tokenised again.
8. Steps without an end that the method knows (`answer`, end of turn) end where nothing follows (code: an EOS step).
9. Pairs of a tree weigh as one row, whatever their number (code: the mean over a tree in one batch of 64 trees);
   weights are kept only from round to round (code: from step to step). Rows are cut or left out at train.max_length.
10. Where `temperature` of the moves is above 0, children are drawn by exp(Q)^(1/T), T times 0.75 a level; the code
   also favours children with more children, and never draws one whose Q is exactly 0.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from selfimprove.building.worked import worked_example
from selfimprove.errors import ConfigError
from selfimprove.judges.prefix import WORTH
from selfimprove.records import Example, Pair, Prompt, Skip
from selfimprove.search.backup import Backup
from selfimprove.search.extract import StepPair, figures
from selfimprove.search.grow import Budget, Rules, grow
from selfimprove.search.selection import Select
from selfimprove.search.tree import TERMINAL, Node, Tree
from selfimprove.worlds.step_world import StepWorld
from selfimprove.worlds.steps import StepsFailed, Writing, going_on
from selfimprove.worlds.tree_moves import look_further, next_root, pairs_along, side

if TYPE_CHECKING:
    from selfimprove.engines.base import Policy
    from selfimprove.run import Run
    from selfimprove.store import Rows

NEEDS, MAKES = {"messages"}, "pairs"
TRIAL_ROUND = 2  # the first round may be SFT, which asks for nothing

FIRST = 4
"""The first root gets so many times the iterations of a later one."""

DECAY = 0.75
"""By which the temperature of moves falls a level."""


@dataclass(frozen=True)
class Config:
    """Options of MCTS-DPO."""

    start: str = "sft"  # sft: round 1 trains on the prompts' solutions; none: the model is ready
    iterations: int = 5  # n, visits of the tree after every move; four times as many before the first
    root_actions: int = 2  # candidates drawn at the root, the gold step not counted
    actions: int = 2  # candidates drawn elsewhere
    breadth: int = 4  # most children of a node
    depth: int = 3  # levels of a tree where `force_end`, else how far a visit looks ahead
    force_end: bool = True  # the last level writes the answer to its end
    max_steps: int = 16  # most steps of an answer where `force_end` is off
    stop: str = "\n"  # what ends a step
    answer: str = ""  # a regular expression; a step that holds it ends the answer, beside the end of turn
    max_tokens: int = 128  # longest step, and longest forced end
    root_temperature: float = 1.0  # of candidates at the root
    temperature: float = 1.0  # of candidates elsewhere
    hot: float = 1.0  # of some candidates elsewhere
    hot_share: float = 0.25  # chance of a candidate to be one of these
    top_p: float = 1.0  # of sampling
    guide: bool = True  # the next step of the worked solution is a candidate where the path follows it so far
    near: float | None = None  # drop candidates whose sentence vectors have a cosine above this; null: only equal ones
    evaluator: str = "confidence"  # confidence (A or B), scale (four grades, without gold), value (the value model)
    show_gold: bool = True  # the evaluator sees the worked solution or the gold answer
    outcome: bool = True  # finished answers are graded, and their grade counts
    own_way: float = 1.25  # what a right answer brings that is not the worked solution word for word; 1: no more
    multiple_choice: bool = False  # grades and holds back outcomes as for options by letter (gold), two forced ends
    exploration: float = 1.0  # w_exp of PUCT
    length_penalty: float = 1.25  # of the prior exp(sum of log-probs / L^penalty)
    discount: float = 1.0  # gamma
    double_root: bool = False  # count visits of the search's root twice, as the released code does
    diversity: bool = False  # moves favour children whose own children were visited unequally
    move_temperature: float = 0.0  # 0: move to the child of most visits; above: draw by exp(Q)^(1/T)
    rejected: str = "worst"  # worst (lowest Q) or random (any but the best, as in the released code)
    min_gap: float = 0.0  # smallest difference of Q of a pair; it must be above 0 in any case
    pairs: int = 8  # most pairs of a tree, the first ones of its path
    only_right: bool = True  # only trees whose path ends in a right answer
    per_tree: bool = True  # pairs of one tree weigh as one row
    reference: str = "start"  # start: the model that the search began with; round: the policy of each round

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        allowed = {
            "start": ("sft", "none"),
            "evaluator": (*WORTH, "value"),
            "rejected": ("worst", "random"),
            "reference": ("start", "round"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ConfigError(f"mcts_dpo: {name} is '{getattr(self, name)}'; it is one of {', '.join(values)}")
        for name in ("iterations", "root_actions", "actions", "depth", "max_steps", "pairs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"mcts_dpo: {name} is {getattr(self, name)}; it must be at least 1")
        if self.breadth < 2:
            raise ConfigError(f"mcts_dpo: breadth is {self.breadth}; a pair needs at least 2 children")
        if self.only_right and not self.outcome:
            raise ConfigError("mcts_dpo: only_right needs graded answers; set outcome: true, or only_right: false")
        Writing(self.stop, max_tokens=self.max_tokens, answer=self.answer)


async def collect(cfg: Config, run: "Run", prompt: Prompt) -> list[Pair | Example | Skip]:
    """Search, and return the pairs of steps along the path; round 1 may be SFT."""
    if cfg.start == "sft" and run.round == 1:
        return [worked_example(prompt)]
    try:
        tree, path = await search(cfg, run, prompt)
    except StepsFailed as error:  # too long for the engine, say: a tree without these steps would be another tree
        return [Skip(prompt.id, "engine_error", str(error))]
    run.keep("trees", {**tree.to_row(), "path": [node.id for node in path]})
    measure_tree(run, tree)
    if not path:
        return [Skip(prompt.id, "no_steps" if len(tree.nodes) == 1 else "unscored")]
    if path[-1].outcome is not None:
        run.measure("right_path", path[-1].outcome)
    if cfg.only_right and not (path[-1].ended and path[-1].outcome):
        return [Skip(prompt.id, "wrong_path" if path[-1].ended else "unfinished_path", tree.text(path[-1])[-80:])]
    found = pairs_along(tree, path, cfg.rejected, cfg.min_gap, run.rng(prompt, "rejected"))[: cfg.pairs]
    run.measure("pairs", len(found))
    if not found:
        return [Skip(prompt.id, "equal_steps", "no level of the path has steps of different worth")]
    return list(await asyncio.gather(*(as_row(cfg, run, prompt, tree, pair) for pair in found)))


async def search(cfg: Config, run: "Run", prompt: Prompt) -> tuple[Tree, list[Node]]:
    """Return the grown tree, and the nodes that the search moved to."""
    tree, world, root = Tree(prompt.id), StepWorld(cfg, run, prompt), None
    path: list[Node] = []
    while root is None or not (root.ended or root.depth >= (cfg.depth if cfg.force_end else cfg.max_steps)):
        root = root or tree.root
        rules = rules_of(cfg, root.depth)
        look_further(tree, root, rules.max_depth)
        budget = Budget(rounds=cfg.iterations * (1 if path else FIRST))
        await grow(tree, world, rules, budget, root=root, seed=run.recipe.seed)
        temperature = cfg.move_temperature * DECAY**root.depth
        root = next_root(tree, root, cfg.diversity, temperature, run.rng(prompt, "move", str(root.depth)))
        if root is None:
            break
        path.append(root)
    return tree, path


def rules_of(cfg: Config, depth: int = 0) -> Rules:
    """Return how a tree grows from a root at a depth."""
    limit = cfg.depth if cfg.force_end else min(depth + cfg.depth, cfg.max_steps)
    return Rules(
        Select("puct", cfg.exploration), Backup("q_reward", discount=cfg.discount), children=cfg.actions,
        root_children=cfg.root_actions, ends_at="end", max_depth=limit, childless=TERMINAL,
        double_root=cfg.double_root,
    )  # fmt: skip


async def as_row(cfg: Config, run: "Run", prompt: Prompt, tree: Tree, pair: StepPair) -> Pair | Skip:
    """Return the row of a pair; with the reference's log-probs where training starts from another policy."""
    (chosen, chosen_end), (rejected, rejected_end) = side(tree, pair.chosen), side(tree, pair.rejected)
    tag = f"round-{run.round}/{pair.parent.depth}"
    if chosen == rejected:  # cut at other places
        return Skip(f"{prompt.id}/{tag}", "same_text")
    run.measure("gap", pair.gap)
    run.measure("alpha", pair.smoothing)
    messages = going_on(prompt, tree.text(pair.parent))
    meta: dict[str, Any] = {"tree": prompt.id, "depth": pair.parent.depth}
    meta |= {"q_w": pair.chosen.quality, "q_l": pair.rejected.quality}
    meta |= {"n_w": pair.chosen.visits, "n_l": pair.rejected.visits}
    if far_reference(cfg, run):
        asked = ((chosen, chosen_end), (rejected, rejected_end))
        scored = await asyncio.gather(
            *(
                run.logprobs(prompt, text, messages=messages, policy=reference_of(cfg, run), end=end)
                for text, end in asked
            )
        )
        failed = next((each.error for each in scored if each.error), None)
        if failed:
            return Skip(f"{prompt.id}/{tag}", "no_reference", failed)
        meta |= {"ref_chosen": scored[0].total, "ref_rejected": scored[1].total}
    row = Pair.of(
        prompt, chosen, rejected, tag=tag, margin=pair.gap, smoothing=pair.smoothing, chosen_end=chosen_end,
        rejected_end=rejected_end, round=run.round, meta=meta,
    )  # fmt: skip
    return replace(row, prompt=messages)


def reference_of(cfg: Config, run: "Run") -> "Policy":
    """Return the model that the first search began with: that of round 1, or the base where there is no SFT start."""
    return run.policies.get(1, run.base) if cfg.start == "sft" else run.base


def far_reference(cfg: Config, run: "Run") -> bool:
    """Return whether the reference is another model than the policy that this round's training starts from."""
    return cfg.reference == "start" and reference_of(cfg, run).digest != run.policy.digest


def assemble(cfg: Config, rows: "Rows") -> "Rows | Iterator[dict[str, Any]]":
    """Let the pairs of a tree weigh as one row; their mean weight is 1."""
    counts: dict[str, int] = {}
    for row in rows:
        name = row.get("meta", {}).get("tree")
        if name is not None:
            counts[name] = counts.get(name, 0) + 1
    if not cfg.per_tree or not counts:
        return rows
    mean = sum(counts.values()) / len(counts)
    return ({**row, "weight": mean / counts[row["meta"]["tree"]]} for row in rows)


async def learn(cfg: Config, run: "Run", rows: "Rows") -> "Policy":
    """Train on the solutions in the first round where it starts from SFT, else on the pairs, against the reference."""
    if cfg.start == "sft" and run.round == 1:
        return await run.train("sft", rows)
    if far_reference(cfg, run):
        return await run.train(MAKES, rows, loss_type="carried_reference")
    return await run.train(MAKES, rows)


def measure_tree(run: "Run", tree: Tree) -> None:
    """Measure a tree, and how sure the evaluator was of its steps."""
    for name, value in figures(tree).items():
        run.measure(name, value)
    sure = [node.extra["sure"] for node in tree.nodes if "sure" in node.extra]
    if sure:
        run.measure("sure", sum(sure) / len(sure))
