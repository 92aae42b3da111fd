"""Held-out evaluation of one policy: a greedy answer per item, and sampled ones where the recipe asks.

Where the recipe also asks for the method's own answers (`evaluate.with_method`), they are measured on the same items.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfimprove.errors import EngineError
from selfimprove.evaluation.metrics import majority_at_k, pass_at_k
from selfimprove.evaluation.report import Accuracy
from selfimprove.evaluation.selective import selective_figures
from selfimprove.evaluation.with_method import SCORE, Answer, heldout_run, set_name, spent
from selfimprove.files import read_jsonl
from selfimprove.progress import Progress
from selfimprove.records import ABSTAINED, Prompt, Row
from selfimprove.runtime import Outcome, drive
from selfimprove.store import RowWriter, Store

if TYPE_CHECKING:
    from selfimprove.run import Run


@dataclass(frozen=True, slots=True)
class Item(Row):
    """What one held-out item gave: `correct` of the greedy answer, None where it could not be had or graded.

    `sampled` holds the verdicts of the sampled answers that could be graded, `answers` what they said. `score` is what
    a method says its own answer is worth. Where it kept its answer to itself, `finish` is "abstained" and `withheld`
    says whether that answer was right: it is no answer, so `correct` is None, and it is in no denominator.
    """

    id: str
    correct: bool | None
    answer: str | None = None
    text: str = ""
    finish: str = "stop"
    tokens: int = 0
    sampled: tuple[bool, ...] = ()
    answers: tuple[str | None, ...] = ()
    reason: str = ""
    score: float | None = None
    withheld: bool | None = None


async def measure_policy(
    run: "Run",
    heldout: dict[str, list[Prompt]],
    store: Store,
    check: Callable[[], None] = lambda: None,
    answer: Answer | None = None,
) -> dict[str, Any]:
    """Answer and grade every held-out item under the round's policy; write the items and the stage marker.

    `answer` is the method's own way to answer, measured after all plain sets. `check` is called after every item, and
    may raise to stop.
    """
    files: list[Path] = []
    sets: dict[str, Any] = {}
    with_method: dict[str, Any] = {}

    async def measure(
        name: str, prompts: list[Prompt], ask: Callable[[Prompt], Awaitable[list[Row]]]
    ) -> list[Outcome]:
        outcomes, written = await measure_set(run, name, prompts, store, check, ask)
        files.extend(written)
        sets[name] = summary([item for outcome in outcomes for item in outcome.rows if isinstance(item, Item)])
        return outcomes

    for name, prompts in heldout.items():
        await measure(name, prompts, lambda prompt: measure_item(run, prompt))
    if answer is not None:
        answering, way = heldout_run(run), answer
        for name, prompts in heldout.items():
            own = set_name(name, run.recipe)
            outcomes = await measure(own, prompts, lambda prompt: measure_answer(way, answering, prompt))
            with_method[own] = {"plain": name, **spent(outcomes)}
    told = {"with_method": with_method} if with_method else {}
    return store.finish(run.round, "evaluate", files, sets=sets, policy=run.policy.digest, **told)


async def measure_set(
    run: "Run",
    name: str,
    prompts: list[Prompt],
    store: Store,
    check: Callable[[], None],
    ask: Callable[[Prompt], Awaitable[list[Row]]],
) -> tuple[list[Outcome], list[Path]]:
    """Return what `ask` gave for every item, in order, and the files it was written to.

    Raises EngineError where not one item was answered.
    """
    writer = RowWriter(store.stage_folder(run.round, "evaluate") / name, shard_rows=1_000_000)
    outcomes: list[Outcome] = []
    with Progress(f"round {run.round} evaluate {name}", len(prompts), lambda: run.engine.usage.tokens) as progress:

        def emit(outcome: Outcome) -> None:
            [item] = outcome.rows
            score = dict(outcome.measured).get(SCORE)
            if score is not None and isinstance(item, Item):
                item = replace(item, score=score)
                outcome.rows = [item]
            writer.write(item)
            outcomes.append(outcome)
            progress.advance(1, 0)
            check()

        await drive(prompts, ask, emit, window=run.recipe.collect.window)
    files = writer.close()
    items = [item for outcome in outcomes for item in outcome.rows if isinstance(item, Item)]
    if items and all(item.finish == "error" for item in items):  # a finished stage would not be asked again
        raise EngineError(
            f"held-out set '{name}': none of its {len(items)} items was answered (for example {items[0].id}: "
            f"{items[0].reason}); nothing was finished: mend the engine or the items, and run the same command"
        )
    return outcomes, files


async def measure_item(run: "Run", prompt: Prompt) -> list[Row]:
    """Return the Item of one prompt: greedy, then `evaluate.samples` sampled answers."""
    cfg = run.recipe.evaluate
    [greedy] = await run.sample(prompt, 1, temperature=0.0, max_tokens=cfg.max_tokens, purpose="evaluate")
    if greedy.error:
        return [Item(prompt.id, None, finish="error", reason=greedy.error)]
    verdict = await run.check(prompt, greedy.text)
    answers: list[str | None] = []
    sampled: list[bool] = []
    if cfg.samples:
        drawn = await run.sample(
            prompt, cfg.samples, temperature=cfg.temperature, max_tokens=cfg.max_tokens, purpose="evaluate"
        )
        for sample in drawn:
            judged = await run.check(prompt, sample.text)
            if sample.error is None and judged.score is not None:
                sampled.append(judged.score >= 1)
                answers.append(run.answer(prompt, sample.text))
    return [
        Item(
            prompt.id,
            None if verdict.score is None else verdict.score >= 1,
            run.answer(prompt, greedy.text),
            greedy.text,
            greedy.finish,
            greedy.tokens,
            tuple(sampled),
            tuple(answers),
            verdict.reason,
        )
    ]


async def measure_answer(answer: Answer, run: "Run", prompt: Prompt) -> list[Row]:
    """Return the Item of one prompt as the method answers it."""
    sample = await answer(run, prompt)
    if sample.error:
        return [Item(prompt.id, None, finish="error", reason=sample.error)]
    verdict = await run.check(prompt, sample.text)
    right = None if verdict.score is None else verdict.score >= 1
    given = sample.finish != ABSTAINED
    return [
        Item(
            prompt.id,
            right if given else None,
            run.answer(prompt, sample.text),
            sample.text,
            sample.finish,
            sample.tokens,
            reason=verdict.reason if given else ABSTAINED,
            withheld=None if given else right,
        )
    ]


def scores(items: Iterable[Item]) -> dict[str, float | None]:
    """Return {item id: 1 right, 0 wrong, None where the greedy answer could not be had or graded}."""
    return {item.id: None if item.correct is None else float(item.correct) for item in items}


def summary(items: Sequence[Item]) -> dict[str, Any]:
    """Return the figures of a set: greedy accuracy with its interval, lengths, and pass@k, majority@k if sampled.

    Where a method scores its answers, also those of the score over all items; where it keeps some to itself, how many
    (`failed` counts them too), and the share of them that were right.
    """
    found: dict[str, Any] = {
        **Accuracy.of(scores(items)).to_row(),
        "mean_tokens": sum(item.tokens for item in items) / max(len(items), 1),
        "truncated": sum(item.finish == "length" for item in items),
    }
    most = min((len(item.sampled) for item in items if item.sampled), default=0)
    drawn = [item for item in items if item.sampled]
    for k in (k for k in (1, 2, 4, 8, 16, 32, 64) if k <= most):
        found[f"pass@{k}"] = sum(pass_at_k(len(item.sampled), sum(item.sampled), k) for item in drawn) / len(drawn)
    if most:
        votes = [majority_at_k(item.answers, [float(right) for right in item.sampled], most) for item in drawn]
        found[f"majority@{most}"] = sum(votes) / len(votes)
    return found | own_figures(items)


def own_figures(items: Sequence[Item]) -> dict[str, float]:
    """Return what a method's own scores and abstentions are worth; nothing where it has none of either."""
    found: dict[str, float] = {}
    kept = [item for item in items if item.finish == ABSTAINED]
    if kept:
        known = [item.withheld for item in kept if item.withheld is not None]
        found = {"abstained": len(kept), "answered": 1 - len(kept) / len(items)}
        found |= {"right_withheld": sum(known) / len(known)} if known else {}
    own, losses = scores_and_losses(items)
    if own:
        figures = selective_figures(own, losses)
        found |= {name: figures[name] for name in ("aurc", "e_aurc", "auroc") if figures[name] is not None}
    return found


def scores_and_losses(items: Iterable[Item]) -> tuple[list[float | None], list[float]]:
    """Return a method's scores of its own answers, given or kept back, and whether each is wrong (1) or right (0).

    Items that could not be graded are left out; both lists are empty where the method scores nothing.
    """
    whole = [(item.score, item.correct if item.withheld is None else item.withheld) for item in items]
    graded = [(score, 1.0 - right) for score, right in whole if right is not None]
    if all(score is None for score, _ in graded):
        return [], []
    return [score for score, _ in graded], [loss for _, loss in graded]


def read_items(store: Store, round: int, name: str) -> list[Item]:
    """Return the items of a measured set of a round, in order."""
    files = [file for file in store.files(round, "evaluate") if file.parent.name == name]
    return [Item.from_row(row) for file in files for row in read_jsonl(file)]


def no_longer_rises(store: Store, round: int, patience: int | None) -> bool:
    """Return whether the first set's accuracy has not risen above its best for `patience` rounds."""
    if patience is None or round < patience:
        return False
    markers = [store.marker(number, "evaluate") for number in range(round + 1)]
    history = [next(iter(marker["sets"].values()))["share"] for marker in markers if marker]
    return max(history[-patience:]) <= max(history[:-patience], default=-1.0)
