"""CyclePrompt: answer, guess the task back from the answer alone, and ask again with a hint of what got lost.

Paper: "Learning How To Ask: Cycle-Consistency Refines Prompts in Multimodal Foundation Models", Diesendruck et al.
2024, arXiv 2402.08756.
Input: prompts; no gold answers, no tests. Output: pairs of the refined answer over the first one, and, at inference,
the refined answer itself (`selfimprove evaluate RECIPE --with-method`).

The forward model f answers the task x. The backward model g sees the answer y alone and describes it as a task x'.
The critic h compares x with x' and gives a hint, or NONE. Then f is asked again with x and the hint.

What differs from the paper:
1. The paper improves single answers and trains nothing; the pairs are an extension. `train: {loss_type: sft}`
   learns the refined answers alone, as (x, y*) rows would. No side of a pair is cut off.
2. f is the policy, g and h the model that the run began with (paper: GPT-4 everywhere).
3. A(x, x'), the F1 of their words, is noted for every cycle. It can end the cycles (`stop_at`), pick the answer
   (`select: best`) and decides which pairs are kept: the refined answer must have the larger A.
4. No official code is public. How hints add up, their length, temperatures and prompts are ours.
5. Code is described without docstrings and comments, its functions and classes under neutral names; parameters
   and methods keep theirs. A is taken, and the critic is asked, without the examples in the task and without code
   in the description.
6. Pictures are not covered: `domain` is code or text.
An answer that is empty or (domain code) holds no Python ends the cycles, and the one before stays.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from selfimprove.errors import ConfigError
from selfimprove.prompts import fill_prompt
from selfimprove.records import Messages, Pair, Prompt, Sample, Skip, as_messages
from selfimprove.verify.blind import neutral, prose, without_blocks
from selfimprove.verify.code import code_blocks, function_names, parses
from selfimprove.verify.programs import program_of

if TYPE_CHECKING:
    from selfimprove.engines.base import Policy
    from selfimprove.run import Run

NEEDS, MAKES = {"messages"}, "pairs"

OPEN, CLOSE = "<hint>", "</hint>"


@dataclass(frozen=True)
class Config:
    """Options of CyclePrompt."""

    domain: str = "code"  # code: answers are Python programs; text: anything else
    cycles: int = 3  # T, answers asked for at most; 1 is the plain answer, without critic
    forward_temperature: float = 0.0  # of f, which answers
    backward_temperature: float = 0.0  # of g, which describes the answer
    critic_temperature: float = 0.0  # of h, which compares
    max_tokens: int = 512  # longest answer
    backward_tokens: int = 256  # longest description
    critic_tokens: int = 256  # longest reply of the critic
    forward: str = "policy"  # the model that answers: policy, previous, or base (the one the run began with)
    backward: str = "base"  # the model that describes
    critic: str = "base"  # the model that compares
    hint_mode: str = "replace"  # replace: the task and the newest hint are asked; append: the task and all hints
    hint_words: int = 100  # a longer hint is cut
    open_hint: bool = False  # begin the critic's reply with <hint>, for small models that leave the tag out
    stop_at: float | None = 0.95  # A from which answer and task count as consistent, unasked; None: the critic says
    agree: int = 1  # descriptions of an answer that must all be found consistent; A is the least of theirs
    select: str = "last"  # last: the last answer; best: the one with the largest A, the earliest of equals

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        models = ("policy", "previous", "base")
        for name, allowed in (
            ("domain", ("code", "text")),
            ("hint_mode", ("replace", "append")),
            ("select", ("last", "best")),
            *((name, models) for name in ("forward", "backward", "critic")),
        ):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"cycleprompt: {name} is '{getattr(self, name)}'; it is one of {', '.join(allowed)}")
        for name in ("cycles", "agree", "hint_words"):
            if getattr(self, name) < 1:
                raise ConfigError(f"cycleprompt: {name} is {getattr(self, name)}; it must be at least 1")
        if self.agree > 1 and self.backward_temperature <= 0:
            raise ConfigError(
                f"cycleprompt: agree is {self.agree}, but at backward_temperature {self.backward_temperature} all "
                "descriptions are the same; raise the temperature"
            )


@dataclass(frozen=True, slots=True)
class Cycle:
    """One cycle: what was asked (p), the answer (y), its description (x'), the hint, and A(x, x')."""

    prompt: str
    answer: Sample
    description: str = ""
    hint: str | None = None
    consistency: float | None = None

    def to_row(self, number: int) -> dict[str, Any]:
        """Return the cycle as plain JSON types."""
        row = {"cycle": number, "prompt": self.prompt, "y": self.answer.text, "x_rec": self.description}
        return {**row, "hint": self.hint, "consistency": self.consistency}


@dataclass(frozen=True, slots=True)
class Trace:
    """All cycles of a prompt, and why they ended."""

    cycles: tuple[Cycle, ...]
    stopped: str

    def picked(self, select: str) -> int:
        """Return which cycle's answer is given."""
        return choose(select, [cycle.consistency for cycle in self.cycles])


class Failed(Exception):
    """One of the three models could not be asked; says why."""


async def collect(cfg: Config, run: "Run", prompt: Prompt) -> list[Pair | Skip]:
    """Refine the answer of one prompt and pair the result with the first answer, where A says it is better."""
    try:
        trace = await refine(cfg, run, prompt, score_last=True)
    except Failed as failure:
        return [Skip(prompt.id, "engine_error", str(failure))]
    run.measure("cycles", len(trace.cycles))
    first, final = trace.cycles[0], trace.cycles[trace.picked(cfg.select)]
    if len(trace.cycles) == 1:
        return [Skip(prompt.id, trace.stopped, "the answer to the first hint" if first.hint else "")]
    if "length" in (first.answer.finish, final.answer.finish):
        return [Skip(prompt.id, "truncated", "cut off answers would teach to tell the sides apart by their ends")]
    if first is not final and first.answer.text == final.answer.text:
        return [Skip(prompt.id, "unchanged")]
    before, after = first.consistency or 0.0, final.consistency or 0.0
    if before >= after:
        return [Skip(prompt.id, "no_gain", f"A {before:.3f}, then {after:.3f}")]
    meta = {"stopped": trace.stopped, "trace": [cycle.to_row(at) for at, cycle in enumerate(trace.cycles)]}
    values = {"tag": f"round-{run.round}", "margin": after - before, "round": run.round, "meta": meta}
    return [Pair.of(prompt, chosen=final.answer.text, rejected=first.answer.text, **values)]


async def answer(cfg: Config, run: "Run", prompt: Prompt) -> Sample:
    """Return the refined answer of one prompt; a Sample with `error` where one of the models failed."""
    try:
        trace = await refine(cfg, run, prompt, score_last=cfg.select == "best")
    except Failed as failure:
        return Sample("", finish="error", error=str(failure))
    run.measure("cycles", len(trace.cycles))
    return trace.cycles[trace.picked(cfg.select)].answer


async def judge(cfg: Config, run: "Run", prompt: Prompt, text: str) -> float | None:
    """Return A(x, g(y)) of one answer, None where it cannot be described."""
    shown = what_is_shown(cfg.domain, prompt, text)
    try:
        described = await describe(cfg, run, prompt, shown, "judge") if shown else []
    except Failed:
        return None
    original = task_of(cfg.domain, prompt)
    return min((consistency(original, text) for text in described), default=None)


async def refine(cfg: Config, run: "Run", prompt: Prompt, *, score_last: bool) -> Trace:
    """Return the cycles of one prompt; `score_last` describes the last answer too, though no hint can follow it.

    Raises Failed where a model cannot be asked.
    """
    cycles: list[Cycle] = []
    for number in range(cfg.cycles):
        hints = [cycle.hint for cycle in cycles if cycle.hint]
        asked = forward_text(specification(prompt), hints if cfg.hint_mode == "append" else hints[-1:])
        [sample] = await ask(
            run,
            prompt,
            messages=with_task(prompt.messages, asked),
            policy=model(run, cfg.forward),
            path=f"cycle-{number}" if number else "",
            temperature=cfg.forward_temperature,
            max_tokens=cfg.max_tokens,
        )
        cycle = Cycle(asked, sample)
        shown = what_is_shown(cfg.domain, prompt, sample.text)
        if not sample.ok or shown is None:
            return Trace(tuple(cycles) or (cycle,), "no_code" if sample.ok else "empty")
        last = number == cfg.cycles - 1
        if not last or (score_last and number):
            cycle, stopped = await look_back(cfg, run, prompt, cycle, shown, number, ask_critic=not last)
            if stopped:
                return Trace((*cycles, cycle), stopped)
        cycles.append(cycle)
    return Trace(tuple(cycles), "out_of_cycles")


async def look_back(
    cfg: Config, run: "Run", prompt: Prompt, cycle: Cycle, shown: str, number: int, *, ask_critic: bool
) -> tuple[Cycle, str]:
    """Return the cycle with description, A and hint, and why the cycles end here ("": they go on)."""
    original = task_of(cfg.domain, prompt)
    texts = await describe(cfg, run, prompt, shown, f"cycle-{number}")
    values = [consistency(original, text) for text in texts]
    order = sorted(range(len(texts)), key=values.__getitem__)  # the least consistent first
    cycle = replace(cycle, description=texts[order[0]], consistency=values[order[0]])
    if not all(texts):
        return cycle, "no_description"
    if cfg.stop_at is not None and values[order[0]] >= cfg.stop_at:
        return cycle, "consistent"
    readable = True
    for at in order if ask_critic else ():
        told = {"original": original, "reconstruction": texts[at], "domain": cfg.domain}
        messages = as_messages(fill_prompt("cycleprompt_compare", **told))
        [reply] = await ask(
            run,
            prompt,
            messages=(*messages, {"role": "assistant", "content": OPEN}) if cfg.open_hint else messages,
            policy=model(run, cfg.critic),
            purpose="compare",
            path=f"cycle-{number}/{at}",
            temperature=cfg.critic_temperature,
            max_tokens=cfg.critic_tokens,
            stop=(CLOSE,) if cfg.open_hint else (),
        )
        hint = read_hint(f"{OPEN}{reply.text}{CLOSE}" if cfg.open_hint else reply.text, cfg.hint_words)
        if hint:
            return replace(cycle, hint=hint), ""
        readable = readable and hint is not None
    return cycle, "" if not ask_critic else "no_difference" if readable else "unreadable_critic"


async def describe(cfg: Config, run: "Run", prompt: Prompt, shown: str, path: str) -> list[str]:
    """Return what the backward model g takes the task of an answer to be; it sees nothing of the prompt."""
    told = {"program": shown} if cfg.domain == "code" else {"answer": shown}
    samples = await ask(
        run,
        prompt,
        cfg.agree,
        messages=as_messages(fill_prompt(f"cycleprompt_describe_{cfg.domain}", **told)),
        policy=model(run, cfg.backward),
        purpose="describe",
        path=path,
        temperature=cfg.backward_temperature,
        max_tokens=cfg.backward_tokens,
    )
    return [without_blocks(sample.text) if cfg.domain == "code" else sample.text.strip() for sample in samples]


async def ask(run: "Run", prompt: Prompt, n: int = 1, **options: Any) -> list[Sample]:
    """Return n answers; raises Failed where one of them could not be had."""
    samples = await run.sample(prompt, n, **options)
    error = next((sample.error for sample in samples if sample.error), None)
    if error is not None:
        raise Failed(error)
    return samples


def consistency(x: str, x_rec: str) -> float:
    """Return A(x, x') = 2 |x ∩ x'| / (|x| + |x'|) over multisets of lower-cased words; 0 where both are empty."""
    left, right = Counter(x.lower().split()), Counter(x_rec.lower().split())
    total = left.total() + right.total()
    return 2 * (left & right).total() / total if total else 0.0


def choose(select: str, values: Sequence[float | None]) -> int:
    """Return which answer is given: the last, or the one with the largest A, the earliest of equals."""
    if select == "last":
        return len(values) - 1
    return max(range(len(values)), key=lambda at: (-1.0 if values[at] is None else values[at], -at))


def read_hint(reply: str, words: int) -> str | None:
    """Return the advice in a critic's first <hint> of at most so many words; "" for NONE, None without the tag."""
    found = re.search(r"<hint>(.*?)</hint>", reply, flags=re.DOTALL | re.IGNORECASE)
    if found is None:
        return None
    hint = " ".join(found[1].split()[:words])
    return "" if hint.upper() == "NONE" else hint


def forward_text(task: str, hints: Sequence[str]) -> str:
    """Return p = x + hints: the task, always word for word, and a line for each hint."""
    return "\n".join([task, *(f"Hint: {hint}" for hint in hints)])


def specification(prompt: Prompt) -> str:
    """Return x: the last user message, or the text that is continued."""
    return prompt.text or prompt.messages[-1]["content"]


def with_task(messages: Messages, task: str) -> Messages:
    """Return a conversation whose last user message, or else last message, says `task`."""
    users = [at for at, message in enumerate(messages) if message["role"] == "user"]
    place = users[-1] if users else len(messages) - 1
    return tuple(
        {"role": message["role"], "content": task if at == place else message["content"]}
        for at, message in enumerate(messages)
    )


def task_of(domain: str, prompt: Prompt) -> str:
    """Return what a description is compared with: x, in the domain code without code and examples."""
    return prose(specification(prompt)) if domain == "code" else specification(prompt)


def what_is_shown(domain: str, prompt: Prompt, text: str) -> str | None:
    """Return what the backward model sees of an answer: its text, or its program under neutral names, else None."""
    if domain == "text":
        return text.strip() or None
    entry = str(prompt.meta.get("entry_point", ""))
    program = program_of(text, entry, str(prompt.meta.get("prefix", "")))
    if program is None or not parses(program):
        return None
    if not code_blocks(text) and not function_names(program):  # a word of plain prose is Python too
        return None
    return neutral(program, entry)


def model(run: "Run", name: str) -> "Policy":
    """Return the run's policy of that name."""
    return {"policy": run.policy, "previous": run.previous, "base": run.base}[name]
