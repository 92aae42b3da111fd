"""From labelled steps, and from pairs for a reward model, to token ids with a target at the tokens that are read.

A value model reads the prompt by the chat template, then the text so far, and gives its value at the last token.
That is what it is served with (`engines/value.py`), so it is what it is trained on: the ids of step k are those of the
joined text up to its end. Where they are the beginning of the whole answer's ids, as almost always, one sequence
carries all the targets of a row, because a causal model sees no later token. Where a token spans the border of two
steps ("\\n" + "\\n" may be one), that step gets a sequence of its own.
"""

import math
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from selfimprove.chat import completion_ids
from selfimprove.errors import DataError
from selfimprove.records import Pair, Steps
from selfimprove.training.data import COUNTS, EMPTY, is_number, read_rows, refuse_doubled
from selfimprove.training.job import Job


def check_steps(row: Steps, where: str, loss: str = "mse") -> None:
    """Raise DataError where a row of steps cannot be trained on."""
    if len(row.steps) != len(row.labels):
        raise DataError(f"{where}: it has {len(row.steps)} steps but {len(row.labels)} labels")
    odd = next((step for step in row.steps if not isinstance(step, str)), None)
    if odd is not None:
        raise DataError(f"{where}: one of its steps is {odd!r:.60}; a step must be text")
    low = 0 if loss == "bce" else -1
    for label in row.labels:
        if label is not None and not (is_number(label) and low <= label <= 1):
            advice = "; value_loss bce learns probabilities" if loss == "bce" else ""
            raise DataError(f"{where}: a label is {label!r}; it must be a number from {low} to 1, or null{advice}")
    if all(label is None for label in row.labels):
        raise DataError(f"{where}: none of its {len(row.steps)} steps has a label, so there is nothing to learn")
    if not "".join(row.steps).strip():
        raise DataError(f"{where}: its steps are empty, so there is nothing to learn; leave the row out")


def sequences(tokenizer: Any, row: Steps, where: str, limit: int | None) -> list[dict[str, list[Any]]]:
    """Return {input_ids, targets} of a row, the whole answer first; targets are nan but at the end of labelled steps.

    Steps that end after `limit` tokens are left out; [] where none is left. Where several steps end at the same token
    (an empty step), the last one's label counts. Raises DataError where the chat template refuses the prompt.
    """
    texts = [*accumulate(row.steps)]
    try:
        prompt, whole = completion_ids(tokenizer, row.prompt, texts[-1], end=False)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    refuse_doubled(tokenizer, [*prompt, *whole], where)
    longest = math.inf if limit is None else limit - len(prompt)
    shared: dict[int, float] = {}
    alone: list[tuple[list[int], float]] = []
    for text, label in zip(texts, row.labels, strict=True):
        if label is None:
            continue
        ids = [int(token) for token in tokenizer.encode(text, add_special_tokens=False)]
        if not ids or len(ids) > longest:
            continue
        if ids == whole[: len(ids)]:
            shared[len(ids)] = float(label)
        else:
            alone.append((ids, float(label)))
    found = []
    if shared:
        last = max(shared)
        targets = [shared.get(place, math.nan) for place in range(1, last + 1)]
        found.append((whole[:last], targets))
    found += [(ids, [math.nan] * (len(ids) - 1) + [label]) for ids, label in alone]
    return [{"input_ids": prompt + ids, "targets": [math.nan] * len(prompt) + targets} for ids, targets in found]


def compared(tokenizer: Any, row: Pair, where: str, limit: int | None) -> dict[str, list[int]] | None:
    """Return {chosen_ids, rejected_ids} of a pair, prompt included; None where one is longer than `limit`.

    Without end-of-turn token: the reward is read at the last token of the text, as it is served.
    """
    sides = {}
    for name, text in (("chosen_ids", row.chosen), ("rejected_ids", row.rejected)):
        try:
            prompt, ids = completion_ids(tokenizer, row.prompt, text, end=False)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        sides[name] = prompt + ids
        refuse_doubled(tokenizer, sides[name], where)
    if sides["chosen_ids"] == sides["rejected_ids"]:
        raise DataError(f"{where}: chosen and rejected are the same tokens, so there is nothing to prefer")
    if row.weight != 1 or row.smoothing is not None:
        raise DataError(f"{where}: it has a weight or a smoothing, which a reward model does not take; leave it out")
    return None if limit is not None and max(map(len, sides.values())) > limit else sides


def head_items(job: Job, tokenizer: Any, limit: int | None) -> Iterator[dict[str, Any]]:
    """Yield the items of a job of kind steps or reward, with COUNTS of rows on the first item of each."""
    loss = job.options.get("value_loss", "mse")
    for where, row in read_rows(job.kind, job.rows):
        if isinstance(row, Steps):
            check_steps(row, where, loss)
            found = sequences(tokenizer, row, where, limit)
            wanted = sum(label is not None for label in row.labels)
            cut = sum(target == target for item in found for target in item["targets"]) < wanted
        else:
            assert isinstance(row, Pair)
            sides = compared(tokenizer, row, where, limit)
            found, cut = [sides] if sides else [], False
        if not found:
            yield {**EMPTY[job.kind], "trained": 0, "cut": 0, "left_out": 1}
        for place, item in enumerate(found):
            first = place == 0
            yield {**item, **dict.fromkeys(COUNTS, 0), "trained": int(first), "cut": int(first and cut)}
