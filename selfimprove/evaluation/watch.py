"""The drift watch: what becomes of a policy's answers besides their accuracy, and when that is too much.

After every round, and once before the first, the same few prompts are answered at temperature 1. Lengths, variety,
refusals, the distance from the start model and the method's own judge are taken from these answers; held-out
accuracy is put beside them. Limits of the recipe are held against the figures, and so is the one pattern that
always means trouble: the judge's score rises while the truth falls.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from selfimprove.config import Limit, Watch
from selfimprove.evaluation.heldout import read_items, scores
from selfimprove.evaluation.metrics import paired_bootstrap
from selfimprove.evaluation.report import compare
from selfimprove.files import read_jsonl
from selfimprove.progress import Progress
from selfimprove.records import Prompt, Row, Skip
from selfimprove.runtime import Outcome, drive
from selfimprove.store import RowWriter, Store

if TYPE_CHECKING:
    from selfimprove.run import Run

FIGURES = {
    "tokens": "mean length of an answer in tokens",
    "truncated": "share of answers cut at the length limit",
    "distinct_1": "different words over all words of the answers (Li et al. 2016, arXiv 1510.03055)",
    "distinct_2": "different pairs of neighbouring words over all such pairs",
    "entropy": "mean -log p of a token drawn at temperature 1, in nats: an estimate of the policy's entropy",
    "refusals": "share of answers that open like a refusal",
    "kl": "mean log p_t - log p_0 of an answer drawn from p_t, in nats: an estimate of KL(p_t || p_0)",
    "kl_per_token": "the same per token",
    "verified": "share of these answers that the verifier calls right, of those it could grade",
    "judge": "mean score that the method's judge gives these answers",
    "accuracy": "held-out accuracy of the first set",
}
"""What is watched, and what each figure is."""

REFUSAL = re.compile(
    r"\s*(?:i(?:'|’)?m sorry|i am sorry|sorry,|i apologi[sz]e|i can(?:'|’)?t\b|i cannot\b|i am (?:not able|unable)\b"
    r"|i(?:'|’)m (?:not able|unable)\b|i won(?:'|’)?t\b|as an ai\b|as a language model\b|unfortunately, i can)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Probe(Row):
    """One watched answer: `logprob` and `base_logprob` are sequence sums in nats, None where they could not be had."""

    id: str
    text: str
    tokens: int = 0
    finish: str = "stop"
    logprob: float | None = None
    base_logprob: float | None = None
    correct: bool | None = None
    judge: float | None = None


Judge = Callable[["Run", Prompt, str], Any]
"""A method's `judge(run, prompt, text)`, a coroutine that returns a score or None."""


async def watch_policy(run: "Run", prompts: Iterable[Prompt], judge: Judge | None, store: Store) -> dict[str, Any]:
    """Answer the watched prompts under the round's policy, and write answers, figures and the stage marker."""
    cfg = run.recipe.watch
    chosen = list(islice(prompts, cfg.prompts))
    writer = RowWriter(store.stage_folder(run.round, "watch"), shard_rows=1_000_000)
    probes: list[Probe] = []
    with Progress(f"round {run.round} watch", len(chosen), lambda: run.engine.usage.tokens) as progress:

        def emit(outcome: Outcome) -> None:
            for row in outcome.rows:
                writer.write(row)
                if isinstance(row, Probe):
                    probes.append(row)
            skips = sum(isinstance(row, Skip) for row in outcome.rows)
            progress.advance(len(outcome.rows) - skips, skips)

        await drive(chosen, lambda prompt: probe(run, prompt, judge), emit, window=run.recipe.collect.window)
    figures = summary(probes)
    evaluated = store.marker(run.round, "evaluate")
    if evaluated and evaluated["sets"]:
        figures["accuracy"] = next(iter(evaluated["sets"].values()))["share"]
    return store.finish(
        run.round, "watch", writer.close(), figures=figures, breaches=[], skips=writer.skips, policy=run.policy.digest
    )


async def probe(run: "Run", prompt: Prompt, judge: Judge | None) -> list[Row]:
    """Return the watched answers of one prompt, and a Skip where the engine gave none."""
    cfg = run.recipe.watch
    limit = cfg.max_tokens or run.recipe.evaluate.max_tokens
    samples = await run.sample(prompt, cfg.samples, temperature=1.0, max_tokens=limit, purpose="watch")
    rows: list[Row] = []
    for sample in samples:
        if sample.error is not None:
            rows.append(Skip(f"{prompt.id}#{sample.index}", "engine_error", sample.error))
            continue
        base = sample.logprob
        if run.policy.digest != run.base.digest:
            ended = sample.finish != "length"
            base = (await run.logprobs(prompt, sample.text, policy=run.base, end=ended)).total
        verdict = await run.check(prompt, sample.text) if prompt.gold is not None else None
        rows.append(
            Probe(
                f"{prompt.id}#{sample.index}",
                sample.text,
                sample.tokens,
                sample.finish,
                sample.logprob,
                base,
                None if verdict is None or verdict.score is None else verdict.score >= 1,
                None if judge is None else await judge(run, prompt, sample.text),
            )
        )
    return rows


def summary(probes: Sequence[Probe]) -> dict[str, float | None]:
    """Return the figures of watched answers by the names of FIGURES; None where nothing could be measured."""
    known = [p for p in probes if p.logprob is not None and p.tokens]
    moved = [
        (p.logprob - p.base_logprob, p.tokens) for p in known if p.logprob is not None and p.base_logprob is not None
    ]
    tokens = sum(p.tokens for p in known)
    return {
        "tokens": mean([p.tokens for p in probes]),
        "truncated": mean([p.finish == "length" for p in probes]),
        "distinct_1": distinct([p.text for p in probes], 1),
        "distinct_2": distinct([p.text for p in probes], 2),
        "entropy": -sum(p.logprob or 0.0 for p in known) / tokens if tokens else None,
        "refusals": mean([is_refusal(p.text) for p in probes]),
        "kl": mean([gap for gap, _ in moved]),
        "kl_per_token": sum(gap for gap, _ in moved) / sum(count for _, count in moved) if moved else None,
        "verified": mean([p.correct for p in probes if p.correct is not None]),
        "judge": mean([p.judge for p in probes if p.judge is not None]),
    }


def mean(values: Sequence[float]) -> float | None:
    """Return the mean, None of nothing."""
    return sum(values) / len(values) if values else None


def distinct(texts: Iterable[str], n: int) -> float | None:
    """Return distinct-n: different word n-grams over all word n-grams of all texts, None where there are none.

    Words are split at white space and lowered in case (Li et al. 2016).
    """
    seen: set[tuple[str, ...]] = set()
    count = 0
    for text in texts:
        words = text.lower().split()
        for at in range(len(words) - n + 1):
            seen.add(tuple(words[at : at + n]))
            count += 1
    return len(seen) / count if count else None


def is_refusal(text: str) -> bool:
    """Whether an answer opens as refusals do; a cue, not a judgement."""
    return REFUSAL.match(text) is not None


def breaches(history: Sequence[Mapping[str, float | None]], limits: Mapping[str, Limit]) -> list[str]:
    """Return a sentence for every limit that the last of the rounds' figures breaks; [] where all hold.

    `history` holds the figures of every watched round in order; a ratio is taken against the first round that has
    the figure. A figure that could not be measured breaks nothing.
    """
    found = []
    for name, limit in limits.items():
        value = history[-1].get(name) if history else None
        if value is None:
            continue
        start = next(figures[name] for figures in history if figures.get(name) is not None) or 0.0
        ratio = value / start if start else None
        for bound, measured, broken, what in (
            (limit.min, value, lambda m, b: m < b, "below the limit"),
            (limit.max, value, lambda m, b: m > b, "above the limit"),
            (limit.min_ratio, ratio, lambda m, b: m < b, f"the start's {start:.4g}, below the limit"),
            (limit.max_ratio, ratio, lambda m, b: m > b, f"the start's {start:.4g}, above the limit"),
        ):
            if bound is not None and measured is not None and broken(measured, bound):
                times = f" is {measured:.3g} times" if "start" in what else " is"
                found.append(f"{name} {value:.4g}{times} {what} {bound:g}")
    return found


def broken_limits(store: Store, round: int, cfg: Watch) -> list[str]:
    """Return what a watched round breaks, a sentence each, and write it into the round's marker."""
    marker = store.marker(round, "watch")
    if marker is None:
        return []
    history = [found["figures"] for number in range(round + 1) if (found := store.marker(number, "watch"))]
    found = breaches(history, cfg.limits)
    if cfg.judge_against_truth and round > 0:
        sentence = judge_against_truth(store, round)
        found += [sentence] if sentence else []
    if found != marker["breaches"]:
        store.rewrite(round, "watch", {**marker, "breaches": found})
        for sentence in found:
            store.event("breach", round=round, reason=sentence)
    return found


def judge_against_truth(store: Store, round: int) -> str | None:
    """Return a sentence where the judge's score rose and the truth fell, both beyond chance; None otherwise.

    The judge is compared on the watched answers (paired by answer, 95 % bootstrap interval above 0), the truth on
    the first held-out set (exact McNemar, p < 0.05) or, without one, on the watched answers that the verifier
    graded. Both are compared with the start model.
    """
    start, now = (read_probes(store, number) for number in (0, round))
    judged = [(start[i].judge, now[i].judge) for i in sorted(start.keys() & now.keys())]
    pairs = [(old, new) for old, new in judged if old is not None and new is not None]
    if not pairs:
        return None
    rise, low, _ = paired_bootstrap([old for old, _ in pairs], [new for _, new in pairs])
    if low <= 0:
        return None
    evaluated = store.marker(round, "evaluate")
    if evaluated and evaluated["sets"] and store.marker(0, "evaluate"):
        name = next(iter(evaluated["sets"]))
        before, after = (scores(read_items(store, number, name)) for number in (0, round))
    else:
        name = "the watched answers"
        shared = [i for i in sorted(start.keys() & now.keys())]
        before, after = (
            {i: None if rows[i].correct is None else float(bool(rows[i].correct)) for i in shared}
            for rows in (start, now)
        )
        if not any(before[i] is not None and after[i] is not None for i in shared):
            return None
    truth = compare(before, after)
    if truth.difference >= 0 or truth.p >= 0.05:
        return None
    return (
        f"the judge's mean score rose by {rise:.3g} (95 % above {low:.3g}) while the truth fell: {name} {truth}; "
        "the judge pays for something else than being right"
    )


def read_probes(store: Store, round: int) -> dict[str, Probe]:
    """Return {answer id: probe} of a watched round; empty where the round was not watched."""
    folder = store.stage_folder(round, "watch")
    return {row["id"]: Probe.from_row(row) for file in sorted(folder.glob("rows-*.jsonl")) for row in read_jsonl(file)}


def best_round(store: Store, rounds: Iterable[int]) -> int:
    """Return the round to go back to: the one with the highest held-out accuracy among those without a breach.

    The earliest wins a tie; without held-out sets it is the last one without a breach, and 0 where there is none.
    """
    sound = [number for number in rounds if not (store.marker(number, "watch") or {"breaches": []})["breaches"]]
    evaluated = {number: store.marker(number, "evaluate") for number in sound}
    measured = {n: next(iter(m["sets"].values()))["share"] for n, m in evaluated.items() if m and m["sets"]}
    if measured:
        return max(measured, key=lambda number: (measured[number], -number))
    return sound[-1] if sound else 0


def check_watch(watch: Watch, where: str) -> None:
    """Raise ConfigError where a limit names a figure that is not watched, or has no bound."""
    from selfimprove.errors import ConfigError, did_you_mean

    for name, limit in watch.limits.items():
        if name not in FIGURES:
            raise ConfigError(f"{where}: watch.limits.{name}: no such figure{did_you_mean(name, FIGURES)}")
        if limit == Limit():
            raise ConfigError(f"{where}: watch.limits.{name} has no bound; give it min, max, min_ratio or max_ratio")
    if watch.prompts < 0 or watch.samples < 1:
        raise ConfigError(
            f"{where}: watch.prompts is {watch.prompts} and watch.samples {watch.samples}; "
            "prompts may be 0 (no watch), samples must be at least 1"
        )
