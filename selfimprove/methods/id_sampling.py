"""ID-sampling: answer under budgets that grow, and ask the model to think again wherever a budget is used up.

Paper: "Iterative Deepening Sampling for Large Language Models", Chen, Koenig and Dilkina 2025, arXiv 2502.05449.
Input: prompts; gold answers only measure, and choose what is learned. Output: SFT rows, right answers with the
corrections in them. Without training, held-out items are answered so by N samples (`evaluate.with_method`).

A sample is written up to a token budget; then a trigger sentence is put behind it, inside the assistant's turn, and it
goes on under a budget `growth` times as large, until it ends by itself or at `cap`. The N final answers are combined
by votes, weighted votes, or best-of-N. With `budget_start` at `cap` it is plain sampling, which is the baseline: at
the same `samples`, and at round(samples * drawn_tokens / drawn_tokens of plain sampling), which costs the same.

A round and a measured answer report, means over samples: response_tokens (with triggers), drawn_tokens (what the model
wrote), triggers, untriggered (1 without any: where `budget_start` is too large that is all), cut, failed; where there
is ground truth right_one, repaired and broken (the answer before the first trigger was wrong and the last is right, or
the other way round, each over all samples). An unfinished text is read as the verifier reads it: `must_match` keeps
its last number from passing for an answer. A measured answer reports right_any and each way to combine, too.

What differs from the paper:
1. The authors' pseudo-code could not be read. A budget is that of a segment (`mode: cumulative`: of the whole
   response, triggers included), and an early end is the end (`on_eos: continue` puts a trigger behind it too).
2. Growth, trigger and first budget are guesses to be tuned; the trigger is the sentence known from Marco-o1.
3. A response goes on as text, not as token ids: what was written is tokenised again. Where a budget cuts a word, or
   the model wrote one in unusual pieces, it may read other pieces than it wrote (SmolLM2's tokenizer: 1 of 6,000
   worked answers that were cut at random). A chat template that trims messages drops white space at the answer's
   beginning; one that rewrites the assistant's last message (Qwen3's puts a closed thinking block in front) does not
   fit, and needs a copy that leaves it alone. Lengths count tokens as written.
4. What a chat template opens an answer with (`<think>`) is not repeated by it for an answer that goes on: name it in
   `opening`. No trigger follows `think_end`; a segment that its budget ends behind it is drawn again with the same
   seed and all that `cap` leaves (counted in drawn_tokens), so that no final answer is cut for the sake of a trigger.
5. A cumulative budget that is used up already gives way to the next without a second trigger.
6. The answer is read in the text behind the last trigger, else in the segment before it, and so on; that segment alone
   is what a measured answer gives to the verifier.
7. `reward` is the recipe's judge, its value model, or the policy's own log-prob, by sequence or by token (paper: a
   reward model). By log-prob, answers that are cut or cannot be read are not picked, and a vote weighs e^reward, up
   to a common factor; a judge's negative scores would weigh against their answer.
8. Nothing is trained in the paper. `learn` trains right traces that ended by themselves; `context` makes a row of
   every segment, in which all before it, triggers too, is context: no trigger is learned, all else is.
"""

import asyncio
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from selfimprove.building.deepening import MODES, Budgets, Trace, deepen
from selfimprove.building.rethinking import Reading, grade, measure_traces, read
from selfimprove.chat import TEXT
from selfimprove.errors import ConfigError
from selfimprove.evaluation.with_method import SCORE
from selfimprove.judges.picking import r_norm
from selfimprove.judges.voting import SELECT, choose, likelihood_weights
from selfimprove.records import Example, Messages, Prompt, Sample, Skip, as_messages

if TYPE_CHECKING:
    from selfimprove.run import Run

NEEDS, MAKES = {"messages"}, "sft"


@dataclass(frozen=True)
class Config:
    """Options of ID-sampling."""

    samples: int = 16  # N, independent responses per prompt
    budget_start: int = 512  # B0, tokens of the first budget; about half the model's median response
    growth: float = 2.0  # gamma, by which a budget is larger than the one before
    cap: int = 4096  # B_max, most tokens of a response, triggers included
    mode: str = "segment"  # what a budget is spent on: the new segment, or the whole response (cumulative)
    trigger: str = "\nWait! Maybe I made some mistakes! I need to rethink from scratch."  # no white space at its end
    trigger_tokens: int | None = None  # its length; null: counted by the engine, which has to be able to score
    on_eos: str = "stop"  # a response that ends by itself: stop, or continue behind a trigger
    max_rounds: int | None = None  # most segments of a response; null: as many as the cap allows
    opening: str = ""  # what the chat template opens an answer with by itself, such as "<think>\n"
    think_end: str = "</think>"  # behind this no trigger is put; empty: no such mark
    temperature: float = 0.7  # of sampling
    top_p: float = 0.95  # of sampling
    must_match: str = ""  # regular expression that a segment must hold to be read for an answer, such as "boxed"
    select: str = "majority"  # how a measured answer is chosen: majority, weighted_majority, best_of_n
    reward: str = "norm"  # for the last two: norm (own log-prob a token), logp (own log-prob), judge, value (model)
    keep: int = 1  # different right traces of a prompt that are learned, in the order drawn
    min_triggers: int = 0  # traces with fewer triggers are not learned
    learn: str = "whole"  # whole (triggers too), context (all but the triggers), drop (only traces without triggers)

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        choices: dict[str, tuple[str, ...]] = {"mode": MODES, "on_eos": ("stop", "continue"), "select": SELECT}
        choices |= {"reward": ("norm", "logp", "judge", "value"), "learn": ("whole", "context", "drop")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(f"id_sampling: {name} is '{getattr(self, name)}'; it is one of {', '.join(allowed)}")
        for name in ("samples", "budget_start", "cap", "trigger_tokens", "max_rounds", "keep"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"id_sampling: {name} is {value}; it must be at least 1")
        if not 1 < self.growth < math.inf:
            raise ConfigError(f"id_sampling: growth is {self.growth}; budgets must grow, so it must be above 1")
        if not self.trigger.strip():
            raise ConfigError("id_sampling: trigger is empty; write what asks the model to think again")
        if self.learn == "drop" and self.min_triggers:
            raise ConfigError("id_sampling: learn is 'drop' and min_triggers above 0, so nothing is left; change one")
        try:
            re.compile(self.must_match)
        except re.error as error:
            raise ConfigError(
                f"id_sampling: must_match {self.must_match!r} is no regular expression: {error}"
            ) from None


async def collect(cfg: Config, run: "Run", prompt: Prompt) -> list[Example | Skip]:
    """Return the right traces of N samples as rows."""
    traces = await draw(cfg, run, prompt)
    live = [trace for trace in traces if trace.error is None]
    measure_traces(run, traces)
    if not live:
        return [Skip(prompt.id, "engine_error", traces[0].error or "")]
    readings = [read(lambda text: run.answer(prompt, text), trace, cfg.must_match) for trace in live]
    right = await grade(run, prompt, live, readings)
    if all(verdict is None for verdict in right):
        return [Skip(prompt.id, "ungraded")]
    found = [trace for trace, verdict in zip(live, right, strict=True) if verdict]
    whole = [trace for trace in found if trace.finish == "eos" and trace.segments[-1].text.strip()]
    wanted = [
        trace for trace in whole if trace.triggers >= cfg.min_triggers and not (cfg.learn == "drop" and trace.triggers)
    ]
    for kept, reason in ((found, "none_right"), (whole, "truncated"), (wanted, "other_triggers")):
        if not kept:
            return [Skip(prompt.id, reason)]
    different = list({trace.text: trace for trace in reversed(wanted)}.values())[::-1]
    return [
        row for trace in different[: cfg.keep] for row in rows_of(cfg, prompt, trace, traces.index(trace), run.round)
    ]


async def draw(cfg: Config, run: "Run", prompt: Prompt) -> list[Trace]:
    """Return N independent responses; the seed of a request comes from the sample and the number of the budget."""
    length, problem = await trigger_length(cfg, run, prompt)
    if problem is not None:
        return [Trace((), "error", cfg.trigger, length, error=problem)]
    budgets = Budgets(cfg.budget_start, cfg.growth, cfg.cap, length, cfg.mode)

    async def one(number: int) -> Trace:
        async def ask(text: str, limit: int, budget: int) -> Sample:
            [sample] = await run.sample(
                prompt,
                messages=going_on(prompt.messages, cfg.opening, text),
                path=f"sample-{number}",
                attempt=budget,
                temperature=cfg.temperature,
                top_p=cfg.top_p,
                max_tokens=limit,
            )
            return sample

        return await deepen(
            budgets, cfg.trigger, ask, on_eos=cfg.on_eos, max_rounds=cfg.max_rounds, closing=cfg.think_end
        )

    return list(await asyncio.gather(*map(one, range(cfg.samples))))


async def trigger_length(cfg: Config, run: "Run", prompt: Prompt) -> tuple[int, str | None]:
    """Return |s| in tokens, and why the engine could not count them, None where it could; one request a run."""
    if cfg.trigger_tokens is not None:
        return cfg.trigger_tokens, None
    scored = await run.logprobs(prompt, cfg.trigger, messages=as_messages("?"), end=False)
    problem = f"the trigger's tokens could not be counted ({scored.error}); set method.trigger_tokens"
    return len(scored.token_logprobs), problem if scored.error else None


def going_on(messages: Messages, opening: str, text: str) -> Messages:
    """Return a conversation whose answer has begun with `text`, in the same turn; as it is for an empty text."""
    if not text:
        return messages
    last = messages[-1]
    if last["role"] in ("assistant", TEXT):  # begun already: nothing opens it again
        return (*messages[:-1], {"role": last["role"], "content": last["content"] + text})
    return (*messages, {"role": "assistant", "content": opening + text})


def rows_of(cfg: Config, prompt: Prompt, trace: Trace, number: int, round: int) -> list[Example]:
    """Return the rows of one trace: the whole response, or every segment behind all that came before it."""
    values = {"reward": 1.0, "round": round, "meta": {"sample": number} | trace.record()}
    if cfg.learn != "context":
        return [Example.of(prompt, trace.text, tag=str(number), **values)]
    last = len(trace.segments) - 1
    rows = [
        Example.of(prompt, segment.text, tag=f"{number}-{place}", end=place == last, **values)
        for place, segment in enumerate(trace.segments)
    ]
    begun = [going_on(prompt.messages, cfg.opening, trace.before(place)) for place in range(last + 1)]
    return [replace(row, prompt=messages) for row, messages in zip(rows, begun, strict=True) if row.completion.strip()]


async def answer(cfg: Config, run: "Run", prompt: Prompt) -> Sample:
    """Return the answer that N samples combine to: the segment that states it. Where none may be picked, the first."""
    traces = await draw(cfg, run, prompt)
    measure_traces(run, traces)
    live = [trace for trace in traces if trace.error is None]
    if not live:
        return Sample("", finish="error", error=traces[0].error)
    readings = [read(lambda text: run.answer(prompt, text), trace, cfg.must_match) for trace in live]
    picks = await picked(cfg, run, prompt, live, readings)
    right = await grade(run, prompt, live, readings)
    if None not in right:
        run.measure("right_any", float(any(right)))
        for name, (found, _) in picks.items():
            run.measure(f"right_{name}", float(found is not None and bool(right[found])))
    found, worth = picks[cfg.select]
    run.measure("unpicked", float(found is None))
    if worth is not None:
        run.measure(SCORE, worth)
    trace, reading = live[found or 0], readings[found or 0]
    finish = "stop" if trace.finish == "eos" else "length"
    return Sample(reading.stated, trace.tokens, trace.logprob, finish, index=traces.index(trace))


async def picked(
    cfg: Config, run: "Run", prompt: Prompt, traces: Sequence[Trace], readings: Sequence[Reading]
) -> dict[str, tuple[int | None, float | None]]:
    """Return {way to combine: (place of the response, its worth)}; a judge is asked only where `select` needs it."""
    answers = [reading.answer for reading in readings]
    if cfg.reward in ("judge", "value"):
        if cfg.select == "majority":
            return {"majority": choose("majority", answers)}
        if cfg.reward == "judge":
            verdicts = await asyncio.gather(*(run.judge(prompt, trace.text) for trace in traces))
            scores = [verdict.score for verdict in verdicts]
        else:
            scores = await asyncio.gather(*(run.value(prompt, trace.text) for trace in traces))
        return {name: choose(name, answers, scores, scores) for name in SELECT}
    scores = [own_reward(cfg.reward, trace, answer) for trace, answer in zip(traces, answers, strict=True)]
    return {name: choose(name, answers, scores, likelihood_weights(scores)) for name in SELECT}


def own_reward(reward: str, trace: Trace, answer: str | None) -> float | None:
    """Return the log-prob of what the model wrote in nats, or that a token; None where it is cut or says no answer."""
    if trace.finish != "eos" or answer is None or trace.logprob is None:
        return None
    written = sum(segment.tokens + segment.ended for segment in trace.segments)
    return trace.logprob if reward == "logp" else r_norm(trace.logprob, written)
