"""Self-sampled solutions: learn from every right and partly right program found for a problem, not only the given one.

Paper: "Learning Math Reasoning from Self-Sampled Correct and Partially-Correct Solutions", Ni et al., ICLR 2023,
arXiv 2205.14318, and its code, microsoft/TraceCodegen.
Input: problems with a numeric gold answer and, where there is one, a straight-line program (`solution`) that assigns
`answer`; verifier `program`. Output: SFT rows, one a known program, grouped by problem: the buffer as it stands.

Every problem has a buffer of programs. A sampled program whose `answer` is right goes in (fully correct, FCS). One
that is not goes in up to its last statement after which its variables have values that a right program has passed
through as well: that beginning is partly correct (PCS), and later samples go on from it. Training learns all
programs of a problem together (`objective`): MLE-Aug adds up their likelihood losses, MML raises the likelihood
that any of them is written, beta-MML lies between.

What differs from the paper:
1. A round samples for every problem with the policy of its start, then trains on all buffers (paper: one sample and
   one step at a time). Samples of a round are offered in order, but all go on from the buffer of the round before.
2. Between rounds the buffer is put together again from the rows, right programs first, as the paper does at every
   epoch's end. All processes share it.
3. Programs are learned as they were written, without comments and gaps between statements; what follows a right
   `answer` is cut off. Statements are counted and programs compared by syntax tree in every variant (the original
   code counts lines and compares text without partly right programs).
4. `prefix_test: statements`: the original code compares strings, so that `t1 = 1` begins `t1 = 15`.
5. `refuse_constants`: a program that states the answer without computing it is refused; with a tolerance of 0 one such
   program would bar every longer one.
6. MLE-Aug is not scaled by beta (the original code does), and the loss covers the program only: see train.objective's
   `exclude_context_loss`. PCS rows have no end token, as in the paper.
7. `warm_up` rounds before the first samples (paper: none; its models can nearly write programs from the start).
8. A problem without a given program starts with an empty buffer, and any length is right for its first program.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from selfimprove.building.solutions import STATUSES, Buffer, Solution
from selfimprove.errors import ConfigError
from selfimprove.records import Example, Prompt, Sample, Skip
from selfimprove.training.objective import read_objective
from selfimprove.verify.straight_line import Unit, code_in, gold_number, same_answer, trace

if TYPE_CHECKING:
    from selfimprove.engines.base import Policy
    from selfimprove.run import Run
    from selfimprove.store import Rows

NEEDS, MAKES = {"messages", "gold"}, "sft"


@dataclass(frozen=True)
class Config:
    """Options of self-sampled solutions."""

    samples: int = 1  # programs sampled per problem and round; 0: the given programs alone
    warm_up: int = 0  # first rounds that train on the given programs alone, for a policy that cannot write any yet
    temperature: float = 0.8  # of sampling
    top_p: float = 1.0  # of sampling
    max_tokens: int = 100  # longest continuation
    prefix: str = "programs"  # go on from a partly right program, from one by its state (states), or never (empty)
    partial: bool = True  # keep partly right programs; false: right ones only, sampled from the beginning
    tolerance: int = 0  # statements that a program may have more than the shortest known one to the same state
    max_programs: int = 100  # programs of a problem that are learned
    max_buffer: int = 100  # with right programs only: a problem with so many is sampled no more
    prioritize_right: bool = True  # right programs are learned first; false: drawn evenly from both kinds
    objective: str | dict[str, Any] = "mle_aug"  # mle (the first program), mle_aug, mml, beta_mml, or a mapping
    load_gold_programs: bool = True  # start from the given programs; false: only the answers are known
    refuse_constants: bool = True  # refuse programs that state the answer without computing it
    prefix_test: str = "statements"  # what makes a program the beginning of another: its statements, or strings
    state_names: bool = False  # two states are equal only where the names are; false: values alone, as published
    merge_numbers: bool = False  # 12 and 12.0 are one value in a state; false: two, as published

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        own = "self-sampled-solutions"
        allowed = {"prefix": ("programs", "states", "empty"), "prefix_test": ("statements", "strings")}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ConfigError(f"{own}: {name} is '{getattr(self, name)}'; it is one of {', '.join(values)}")
        if self.samples < 0 or self.tolerance < 0 or self.max_programs < 1:
            raise ConfigError(
                f"{own}: samples ({self.samples}) and tolerance ({self.tolerance}) cannot be negative, and "
                f"max_programs ({self.max_programs}) must be at least 1"
            )
        if self.objective != "mle":
            read_objective(self.objective, f"{own}: objective")


async def collect(cfg: Config, run: "Run", prompt: Prompt) -> list[Example | Skip]:
    """Fill the problem's buffer with new samples and return it, one row a program."""
    gold = gold_number(prompt)
    if gold is None:
        return [Skip(prompt.id, "no_gold", f"the gold answer {prompt.gold!r:.60} is no number")]
    buffer = Buffer(
        gold, cfg.tolerance, cfg.partial, cfg.prefix_test, cfg.state_names, cfg.merge_numbers, cfg.refuse_constants
    )
    problem = await restore(cfg, run, prompt, buffer)
    if problem:
        return [Skip(prompt.id, "gold_program_fails", problem)]
    if run.round > cfg.warm_up and (cfg.partial or len(buffer.right) < cfg.max_buffer):
        samples = await explore(cfg, run, prompt, buffer)
        if any(sample.error for sample in samples):
            return [Skip(prompt.id, "engine_error", next(sample.error for sample in samples if sample.error))]
    run.measure("right_programs", len(buffer.right))
    run.measure("partly_right_programs", len(buffer.partly) - 1)
    return rows_of(cfg, run, prompt, buffer) or [Skip(prompt.id, "no_program")]


async def restore(cfg: Config, run: "Run", prompt: Prompt, buffer: Buffer) -> str:
    """Fill a buffer with what earlier rounds know, or with the given program; return why that one fails, else ''."""
    earlier = run.earlier(prompt)
    for row in earlier:
        units = await traced(run, prompt, row["completion"])
        if units is not None:
            buffer.save(Solution(tuple(units), row["meta"]["found"]), right=row["end"])
    if not earlier and cfg.load_gold_programs and prompt.solution:
        units = await traced(run, prompt, code_in(prompt.solution))
        if units is None:
            return "it does not run to its end"
        answer = units[-1].state.get("answer")
        if not same_answer(answer, buffer.gold):
            return f"its answer is {answer!r:.60}, not {prompt.gold}"
        buffer.save(Solution(tuple(units)), right=True)
    return ""


async def explore(cfg: Config, run: "Run", prompt: Prompt, buffer: Buffer) -> list[Sample]:
    """Sample programs, each going on from a partly right one, offer them to the buffer, and return the samples."""
    rng = run.rng(prompt, "prefix", str(run.round))
    how = cfg.prefix if cfg.partial else "empty"
    prefixes = Counter(buffer.choose_prefix(how, rng).code for _ in range(cfg.samples))
    drawn = await asyncio.gather(*(go_on(cfg, run, prompt, prefix, n) for prefix, n in prefixes.items()))
    samples = [sample for each in drawn for sample in each]
    programs = [
        joined(prefix, sample.text)
        for prefix, each in zip(prefixes, drawn, strict=True)
        for sample in each
        if sample.ok
    ]
    for units in await asyncio.gather(*(traced(run, prompt, program) for program in programs)):
        status = buffer.offer(units, run.round)
        for name in STATUSES:
            run.measure(f"share_{name}", float(name == status))
    return samples


async def go_on(cfg: Config, run: "Run", prompt: Prompt, prefix: str, n: int) -> list[Sample]:
    """Return n continuations of a program, of nothing where `prefix` is empty."""
    begun = ({"role": "assistant", "content": f"{prefix}\n"},) if prefix else ()
    return await run.sample(
        prompt,
        n,
        messages=(*prompt.messages, *begun),
        path=prefix,
        attempt=run.round,
        temperature=cfg.temperature,
        top_p=cfg.top_p,
        max_tokens=cfg.max_tokens,
    )


def joined(prefix: str, text: str) -> str:
    """Return the program of a prefix and its continuation; alone, an answer's first fenced block counts."""
    return f"{prefix}\n{text.rstrip()}" if prefix else code_in(text)


async def traced(run: "Run", prompt: Prompt, program: str) -> list[Unit] | None:
    """Return a program statement by statement, None where it does not run to its end; the ledger keeps outcomes."""
    return await trace(program, lambda request: run.execute(prompt, request, purpose="trace"), run.limits)


def rows_of(cfg: Config, run: "Run", prompt: Prompt, buffer: Buffer) -> list[Example | Skip]:
    """Return the buffer as rows, right programs first; those beyond what is learned are marked `left_out`."""
    limit = 1 if cfg.objective == "mle" else cfg.max_programs
    learned = buffer.training_set(limit, cfg.prioritize_right, run.rng(prompt, "learned", str(run.round)))
    rows: list[Example | Skip] = []
    for right, programs in ((True, buffer.right), (False, [each for each in buffer.partly if each.units])):
        for number, program in enumerate(programs):
            meta = {"found": program.found} | ({} if program in learned else {"left_out": True})
            tag = f"{'right' if right else 'partly'}-{number}"
            values = {"reward": 1.0 if right else None, "round": run.round, "group": prompt.id, "end": right}
            rows.append(Example.of(prompt, program.code, tag=tag, **values, meta=meta))
    return rows


def assemble(cfg: Config, rows: "Rows") -> "Rows | Iterator[dict[str, Any] | Skip]":
    """Take out the programs beyond `max_programs`; they stay in the buffer."""
    if not any(row["meta"].get("left_out") for row in rows):
        return rows
    return (Skip(row["id"], "over_max_programs") if row["meta"].get("left_out") else row for row in rows)


async def learn(cfg: Config, run: "Run", rows: "Rows") -> "Policy":
    """Train on the buffers with the objective over all programs of a problem."""
    return await run.train(MAKES, rows, objective="mle_aug" if cfg.objective == "mle" else cfg.objective)
