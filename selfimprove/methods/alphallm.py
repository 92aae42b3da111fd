"""AlphaLLM: search over pieces of an answer, judged by three critics, finds what the policy learns to write at once.

Paper: "Toward Self-Improvement of LLMs via Imagination, Searching, and Criticizing", Tian et al. 2024,
arXiv 2404.12253.
Input: prompts; worked solutions for the start, gold answers for the critics; searching needs neither. Output: SFT rows
(the best answer of every tree), or pairs of sibling pieces, and a value model; trees go to trees.jsonl.

Round 1 trains the policy on worked solutions (`start`), the next one the critics (`critics_round`) on answers of that
policy. Every later round grows a tree a prompt: one child a visit, more children where more is at stake, options
that are too near to a sibling drawn again, R = lambda_v v + lambda_f f + lambda_p p for every new node, means on the
way up. The best answer is learned where the outcome critic gives it at least `threshold`. `imagine` makes the round's
prompts out of the recipe's. Held-out items are answered by search, too (`evaluate.with_method`).

What differs from the paper:
1. Start and critics are rounds of the run, since critics must know the mistakes of the policy that they judge.
2. The value model reads the conversation as the policy does, and the text so far as it stands, spaces and line breaks
   included (paper: an instruction of its own, the line break cut off). `critics.value: verdict` asks by instruction.
3. `critics.outcome` may be a trained critic (`train_outcome`), the policy itself, the truth (verifier: the trees then
   need gold; held-out items never see it), or the value at the end, (1 + v) / 2. The process critic is the policy.
4. Widths follow the children's means (the code) or the value critic (`search.importance: values`, the paper, where
   R stands in for v without a value critic); they never fall, as in the code.
5. A finished draw is taken at once only if no sibling is the same text; a node whose draws were all such is closed.
   Whether the answer ended is that draw's own (the code takes it of the last draw).
6. An answer that reached `lines` or `depth` without an end gets roll-outs, is no finished one, does not vote, and is
   learned only if it ends when written on. `least_ends` counts answers that ended.
7. A node of which a critic could say nothing is dead (paper: nothing said); failed roll-outs do not count.
8. New prompts are written after examples, or get other numbers (paper: MetaMath-like rewriting, not released). Numbers
   may make a question that has no answer; the threshold decides.
9. Training goes on from the round's policy, on the rows of all rounds (paper: the earlier data too).
10. Before there is a value model (in round 0), and while a price is estimated, v is a verdict of the policy.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from selfimprove.building.imagining import renumbered, written
from selfimprove.building.instruct import Instruct
from selfimprove.building.worked import worked_example
from selfimprove.errors import ConfigError
from selfimprove.evaluation.with_method import SCORE
from selfimprove.records import Example, Pair, Prompt, Sample, Skip, Steps, kind_of
from selfimprove.search.extract import cached_pairs, figures
from selfimprove.search.tree import Tree
from selfimprove.worlds.critic_rows import grade_ends, labelled_answers, labelled_ends
from selfimprove.worlds.critics import Critics, outcome_of, without_truth
from selfimprove.worlds.options import OptionWorld, Search, grown
from selfimprove.worlds.readout import Reading, check_way, read
from selfimprove.worlds.steps import StepsFailed, Writing, going_on

if TYPE_CHECKING:
    from selfimprove.engines.base import Policy
    from selfimprove.run import Run
    from selfimprove.store import Rows

NEEDS, MAKES = {"messages"}, ("sft", "pairs", "steps")
TRIAL_ROUND = 3  # the first two may be the start and the critics' round

LOSSES = {"sft": None, "pairs": "sigmoid"}
"""What is learned of trees: the loss that trains it."""


@dataclass(frozen=True)
class Config:
    """Options of AlphaLLM."""

    start: str = "sft"  # sft: round 1 trains on the prompts' solutions; none: the model can answer already
    critics_round: bool = True  # the round before the first search trains the critics; false: the recipe names them
    samples: int = 4  # answers a prompt that critics learn from, beside its solution
    prefixes: int = 2  # beginnings of each of them with a label; 0: all
    sample_temperature: float = 1.0  # of those answers
    train_outcome: bool = False  # train an outcome critic of its own, too, from the policy on
    writing: Writing = field(default_factory=lambda: Writing(temperature=0.8, max_tokens=1024))  # of options
    search: Search = field(default_factory=Search)  # how trees grow
    critics: Critics = field(default_factory=Critics)  # what nodes are worth
    learn: str = "sft"  # what is learned of a tree: sft (its best answer) or pairs (sibling options)
    keep: str = "global"  # which answer of a tree is learned: greedy, global (best leaf), rerank or vote
    threshold: float = 0.98  # an answer is learned from this outcome on
    right_only: bool = False  # learn only what the verifier calls right (needs gold answers)
    margin: float = 0.001  # pairs: rewards must differ by more
    update_value: bool = False  # train the value model on the ends of trees, too (needs gold answers)
    answer: str = "vote"  # how a measured answer is read: greedy, global, rerank or vote
    imagine: str = "none"  # prompts of a search: none (the recipe's), write (new ones), numbers (other numbers)
    new_prompts: int = 3000  # prompts that are imagined for a round
    instruct: Instruct = field(default_factory=Instruct)  # how prompts are written

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        check_way("keep", self.keep)
        check_way("answer", self.answer)
        check_way("start", self.start, ("sft", "none"))
        check_way("learn", self.learn, tuple(LOSSES))
        check_way("imagine", self.imagine, ("none", "write", "numbers"))
        if self.samples < 1 or self.prefixes < 0 or self.new_prompts < 1:
            raise ConfigError(
                f"alphallm: samples ({self.samples}) and new_prompts ({self.new_prompts}) must be at least 1, "
                f"prefixes ({self.prefixes}) 0 or more"
            )
        gold = self.right_only or self.update_value or self.critics.outcome == "verifier"
        if gold and self.imagine != "none":
            raise ConfigError(
                f"alphallm: imagine is '{self.imagine}', and the right answers to such prompts are not known: leave "
                "right_only and update_value out, and take another critics.outcome than verifier"
            )

    @property
    def trains_critics(self) -> bool:
        """Whether there is a round for the critics."""
        return self.critics_round and (self.critics.ask_model or self.train_outcome)


def makes(cfg: Config) -> tuple[str, str | None]:
    """Return the kind of rows that a search gives, and its loss."""
    return cfg.learn, LOSSES[cfg.learn]


def stage_of(cfg: Config, run: "Run") -> str:
    """Return what a round is for: start, critics or search."""
    first = ["start"] * (cfg.start == "sft") + ["critics"] * cfg.trains_critics
    return first[run.round - 1] if 0 < run.round <= len(first) else "search"


async def propose(cfg: Config, run: "Run", prompts: Iterable[Prompt]) -> list[Prompt | Skip]:
    """Return the round's prompts: the recipe's, or in a search round those that are imagined after them."""
    given = list(prompts)
    if cfg.imagine == "none" or stage_of(cfg, run) != "search" or not given:
        return [*given]
    count = min(cfg.new_prompts, run.enough or cfg.new_prompts)
    if cfg.imagine == "numbers":
        return renumbered(run, given, count)
    return await written(cfg.instruct, run, given, count)


async def collect(cfg: Config, run: "Run", prompt: Prompt) -> list[Example | Pair | Steps | Skip]:
    """Return what a prompt gives to its round: a solution, labelled answers, or what the search found."""
    stage = stage_of(cfg, run)
    if stage == "start":
        return [worked_example(prompt)]
    if stage == "critics":
        return await labelled_answers(
            run, prompt, cfg.samples, cfg.writing.stop, temperature=cfg.sample_temperature,
            max_tokens=cfg.search.answer_tokens, prefixes=cfg.prefixes, value=cfg.critics.ask_model,
            outcome=cfg.train_outcome,
        )  # fmt: skip
    critics = without_truth(cfg.critics, run) if run.enough is not None else cfg.critics
    world = OptionWorld(run, prompt, cfg.writing, cfg.search, critics)
    try:
        tree = await grown(world, prompt.id)
    except StepsFailed as error:
        return [Skip(prompt.id, "engine_error", str(error))]
    reading = await read(world, tree, cfg.keep)
    await grade_ends(run, prompt, tree)  # only measured, and learned by the value model where that is wanted
    for name, value in figures(tree).items():
        run.measure(f"tree_{name}", value)
    run.keep("trees", tree.to_row())
    rows = labelled_ends(run, prompt, tree, cfg.prefixes) if cfg.update_value else []
    learned = pairs_of(cfg, run, prompt, tree) if cfg.learn == "pairs" else await row_of(cfg, run, prompt, reading)
    return [*learned, *rows]


async def row_of(cfg: Config, run: "Run", prompt: Prompt, reading: Reading | None) -> list[Example | Skip]:
    """Return the row of a tree's best answer, or why it is not learned."""
    if reading is None:
        return [Skip(prompt.id, "no_tree", "no option could be drawn or judged")]
    if not reading.ended:
        return [Skip(prompt.id, "unfinished", reading.text[-60:])]
    if reading.score is None:
        return [Skip(prompt.id, "unscored")]
    run.measure("score", reading.score)
    right = (await run.check(prompt, reading.text)).score if prompt.gold is not None else None
    if right is not None:
        run.measure("right", right)
    if reading.score < cfg.threshold:
        return [Skip(prompt.id, "low_score", f"{reading.score:.3f}")]
    if cfg.right_only and right != 1:
        return [Skip(prompt.id, "ungraded" if right is None else "wrong")]
    tag = f"round-{run.round}"
    return [Example.of(prompt, reading.text.strip(), tag=tag, reward=reading.score, round=run.round)]


def pairs_of(cfg: Config, run: "Run", prompt: Prompt, tree: Tree) -> list[Pair | Skip]:
    """Return the pairs of a tree's siblings by their cached rewards, each behind what both begin with."""
    rows: list[Pair | Skip] = []
    for number, pair in enumerate(cached_pairs(tree, cfg.margin)):
        row = Pair.of(
            prompt, pair.chosen.text, pair.rejected.text, tag=f"round-{run.round}-{number}", margin=pair.gap,
            chosen_end=pair.chosen.ended, rejected_end=pair.rejected.ended, round=run.round,
            meta={"rewards": [pair.chosen.result, pair.rejected.result], "depth": pair.chosen.depth},
        )  # fmt: skip
        rows.append(replace(row, prompt=going_on(prompt, tree.text(pair.parent))))
    return rows or [Skip(prompt.id, "no_pairs", "no siblings on the way to a finished answer differ enough")]


async def learn(cfg: Config, run: "Run", rows: "Rows") -> "Mapping[str, Policy]":
    """Train what the round is for: the policy on solutions, the critics, or the policy on what searches found."""
    learned: dict[str, Policy] = {}
    stage = stage_of(cfg, run)
    if stage == "start":
        return {"policy": await run.train("sft", rows)}
    if len(rows.of("steps")):
        learned["value"] = await run.train("steps", rows.of("steps"))
    if stage == "critics":
        if cfg.train_outcome and len(rows.of("sft")):
            learned["outcome"] = await run.train("sft", rows.of("sft"), name="outcome", start=run.policy)
    elif cfg.learn == "pairs" and len(rows.of("pairs")):
        learned["policy"] = await run.train("pairs", rows.of("pairs"))
    elif len(rows.of("sft")):
        learned["policy"] = await run.train("sft", answers_so_far(run, rows))
    return learned


def answers_so_far(run: "Run", rows: "Rows") -> Iterator[dict[str, Any]]:
    """Yield the answers of all rounds so far for the policy, oldest first, without what critics learn."""
    for number in range(1, run.round + 1):
        for row in rows if number == run.round else run.rows(number):
            if kind_of(row) == "sft" and not row["meta"].get("critic"):
                yield row


async def answer(cfg: Config, run: "Run", prompt: Prompt) -> Sample:
    """Return the answer that a search of the round's policy finds, read as `answer` says; no gold answer is seen."""
    world = OptionWorld(run, prompt, cfg.writing, cfg.search, without_truth(cfg.critics, run))
    try:
        tree = await grown(world, prompt.id)
    except StepsFailed as error:
        return Sample("", finish="error", error=str(error))
    reading = await read(world, tree, cfg.answer)
    for name, value in figures(tree).items():
        run.measure(f"tree_{name}", value)
    if reading is None:
        return Sample("", finish="error", error="the search found no answer: no option could be drawn or judged")
    if reading.score is not None:
        run.measure(SCORE, reading.score)
    tokens = sum(node.tokens for node in tree.line(reading.node))
    return Sample(reading.text, tokens, finish="stop" if reading.ended else "length")


async def judge(cfg: Config, run: "Run", prompt: Prompt, text: str) -> float | None:
    """Return what the outcome critic says of an answer, never the truth."""
    return await outcome_of(without_truth(cfg.critics, run), run, prompt, text)
