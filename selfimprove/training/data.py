"""From JSONL rows to token ids on disk: streamed through Arrow, so that memory does not grow with the data.

Rows are tokenised as the engines do it (`selfimprove.chat`): the chat template renders the prompt, the completion
follows and closes with the end-of-turn token. What a template writes after that token (SmolLM2's newline) is not
trained: the model stops before it would write it, and scores do not count it either.
"""

import json
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from selfimprove.chat import completion_ids, end_of_turn
from selfimprove.config import digest
from selfimprove.errors import DataError, TrainError
from selfimprove.files import file_digest
from selfimprove.records import KINDS, Example, Pair, Steps, as_messages, kind_of
from selfimprove.training.args import HEADS
from selfimprove.training.job import Job
from selfimprove.training.objective import Objective
from selfimprove.training.trainers import own_loss, own_options

_SIDES = {"sft": {"completion"}, "pairs": {"chosen", "rejected"}, "steps": {"steps", "labels"}}
_WHAT = {"sft": "an example", "pairs": "a pair", "steps": "a row of steps"}
TRUNCATIONS = ("keep_start", "keep_end")
COUNTS = ("trained", "cut", "left_out")
"""What is counted of the rows: those trained on, those of them that were cut, those that were too long to be."""


def read_rows(kind: str, paths: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield ('file line N', Example or Pair) of JSONL files; raises DataError naming file and line."""
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        yield f"{path} line {number}", _row(kind, line, f"{path} line {number}")
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise DataError(f"{path}: not UTF-8 text, so no JSONL rows") from None


def _row(kind: str, line: str, where: str) -> Any:
    try:
        plain = json.loads(line)
        if "\\ud" in line.lower():  # JSON can name half a character, which no tokenizer takes
            json.dumps(plain, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise DataError(f"{where}: it holds half a character (a lone surrogate); remove it") from None
    except ValueError as error:
        raise DataError(f"{where}: not JSON: {error}") from None
    try:
        row = KINDS["pairs" if kind == "reward" else kind].from_row(plain)
        assert isinstance(row, Example | Pair | Steps)
        if not isinstance(row.prompt, tuple) or not as_messages(row.prompt):
            raise DataError(f"its prompt is {plain['prompt']!r:.60}; it must be a list of messages")
    except DataError as error:
        raise DataError(f"{where}: {_other_kind(kind, plain) or error}") from None
    if isinstance(row, Steps):
        return row  # its labels are checked in steps.py, where the loss is known
    for name in ("reward", "margin"):
        value = getattr(row, name, None)
        if value is not None and not is_number(value):
            raise DataError(f"{where}: its {name} is {value!r}; it must be a number or null")
    sides = (
        {"completion": row.completion}
        if isinstance(row, Example)
        else {"chosen": row.chosen, "rejected": row.rejected}
    )
    for name, text in sides.items():
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"{where}: its {name} is empty, so there is nothing to learn; leave the row out")
    if len(set(sides.values())) < len(sides):
        raise DataError(f"{where}: chosen and rejected are the same text, so there is nothing to prefer; leave it out")
    if isinstance(row, Example) and not (isinstance(row.end, bool) and isinstance(row.group, str)):
        raise DataError(f"{where}: end is {row.end!r} and group {row.group!r}; they must be true or false, and a text")
    if not is_number(row.weight) or row.weight < 0:
        raise DataError(f"{where}: its weight is {row.weight!r}; it must be a number of 0 or more")
    smoothing = row.smoothing if isinstance(row, Pair) else None
    if smoothing is not None and not (is_number(smoothing) and 0 <= smoothing <= 1):
        raise DataError(f"{where}: its smoothing is {smoothing!r}; it must be a number from 0 to 1, or null")
    return row


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number, true and false not among them."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _other_kind(kind: str, row: Any) -> str:
    """Return what to say of a row that is of the other kind, empty where it is not."""
    found, own = kind_of(row) if isinstance(row, dict) else None, "pairs" if kind == "reward" else kind
    if found is None or found == own or {*row} & _SIDES[own]:
        return ""
    return (
        f"this is {_WHAT[found]}, but this training trains on '{kind}'; name other rows or another recipe "
        f"(in a method's learn: rows.of('{own}'))"
    )


def cut(
    prompt: list[int], sides: Sequence[list[int]], limit: int | None, mode: str
) -> tuple[list[int], list[list[int]]]:
    """Return prompt and sides cut so that prompt + longest side has at most `limit` tokens.

    keep_start cuts the ends of the sides. keep_end first drops the beginning of the prompt, for all sides alike,
    and only then cuts the sides.
    """
    if limit is None or len(prompt) + max(map(len, sides)) <= limit:
        return prompt, list(sides)
    if mode == "keep_end":
        room = max(limit - max(map(len, sides)), 1)
        prompt = prompt[-room:]
    return prompt, [side[: max(limit - len(prompt), 0)] for side in sides]


def tokenised(tokenizer: Any, row: Example | Pair, where: str, limit: int | None, mode: str) -> dict[str, Any] | None:
    """Return the training columns of one row, None where cutting it to `limit` tokens leaves nothing to learn.

    Example: input_ids, labels (-100 on the prompt). Pair: prompt_ids, chosen_ids, rejected_ids, and smoothing, nan
    where it has none of its own. Both: weight, and `cut`, whether the row was too long. Raises TrainError for
    doubled special tokens, DataError where both sides of a pair are the same tokens.
    """
    if isinstance(row, Example):
        sides = [(row.completion, row.end)]
    else:
        sides = [(row.chosen, row.chosen_end), (row.rejected, row.rejected_end)]
    try:
        answers = [completion_ids(tokenizer, row.prompt, text, end) for text, end in sides]
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    prompt, whole = answers[0][0], [ids for _, ids in answers]
    for ids in whole:
        refuse_doubled(tokenizer, [*prompt, *ids], where)
    if len(whole) == 2 and whole[0] == whole[1]:
        raise DataError(f"{where}: chosen and rejected are the same tokens, so there is nothing to prefer")
    prompt, kept = cut(prompt, whole, limit, mode)
    if not all(kept) or (len(kept) == 2 and kept[0] == kept[1]):
        return None
    extra = {"weight": float(row.weight), "cut": kept != whole or prompt != answers[0][0]}
    if isinstance(row, Example):
        return {"input_ids": prompt + kept[0], "labels": [-100] * len(prompt) + kept[0], **extra}
    extra["smoothing"] = math.nan if row.smoothing is None else float(row.smoothing)
    return {"prompt_ids": prompt, "chosen_ids": kept[0], "rejected_ids": kept[1], **extra}


def doubled_special(tokenizer: Any, ids: Sequence[int]) -> int | None:
    """Return the first beginning-of-text, end-of-text or end-of-turn token that directly follows itself."""
    watched = {tokenizer.bos_token_id, tokenizer.eos_token_id, end_of_turn(tokenizer)} - {None}
    return next((a for a, b in pairwise(ids) if a == b and a in watched), None)


def refuse_doubled(tokenizer: Any, ids: Sequence[int], where: str) -> None:
    """Raise TrainError where a special token is doubled: by the template, the tokenizer or the text itself."""
    token = doubled_special(tokenizer, ids)
    if token is not None:
        raise TrainError(
            f"{where}: the special token {tokenizer.decode([token])!r} stands twice in a row; "
            "the text holds it already, or the chat template and the tokenizer both write it: remove one"
        )


def _stream(
    job: Job, tokenizer: Any, limit: int | None, mode: str, objective: Objective | None, empty: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield one item a row, or one a group of rows (its columns are lists then), with its COUNTS."""
    if job.kind in HEADS:
        from selfimprove.training.steps import head_items

        yield from head_items(job, tokenizer, limit)
        return
    own = own_loss(job.kind, job.options, job.loss)
    grouped = objective is not None or (own is not None and own.grouped)
    more = own.load().columns if own and (own.ids or own.numbers) else None
    options = own_options(own, job.options) if own else None
    read = read_rows(job.kind, job.rows)
    for rows in _grouped(read) if grouped else ([each] for each in read):
        found = []
        for where, row in rows:
            columns = tokenised(tokenizer, row, where, limit, mode)
            extra = more(row, tokenizer, options, limit) if more and columns else {}
            found.append(None if columns is None or extra is None else columns | extra)
        kept = [columns for columns in found if columns]
        counts = {"trained": len(kept), "cut": sum(columns.pop("cut") for columns in kept)}
        counts["left_out"] = len(found) - len(kept)
        if not grouped:
            yield {**(kept[0] if kept else empty), **counts}
            continue
        for columns in kept if objective and not objective.exclude_context_loss else ():
            columns["labels"] = columns["input_ids"]
        yield {**{name: [columns[name] for columns in kept] for name in empty}, **counts}


def _grouped(rows: Iterator[tuple[str, Example]]) -> Iterator[list[tuple[str, Example]]]:
    """Yield the rows of one group after the other; a row without a group is one of its own.

    Raises DataError where a group's rows do not stand together, TrainError where a row has a weight.
    """
    seen: set[int] = set()
    group: list[tuple[str, Example]] = []
    for where, row in rows:
        if row.weight != 1:
            raise TrainError(
                f"{where}: its weight is {row.weight:g}, but train.objective and losses of groups take only weight 1"
            )
        if group and row.group and row.group == group[-1][1].group:
            group.append((where, row))
            continue
        if group:
            yield group
        if row.group and hash(row.group) in seen:
            raise DataError(f"{where}: the rows of group {row.group!r} do not stand together; sort the rows by group")
        seen.add(hash(row.group))
        group = [(where, row)]
    if group:
        yield group


EMPTY: dict[str, dict[str, Any]] = {
    "sft": {"input_ids": [], "labels": [], "weight": 0.0},
    "pairs": {"prompt_ids": [], "chosen_ids": [], "rejected_ids": [], "weight": 0.0, "smoothing": 0.0},
    "steps": {"input_ids": [], "targets": []},
    "reward": {"chosen_ids": [], "rejected_ids": []},
}
"""Columns of a row that trains nothing; `targets` has one number a token, nan where nothing is learned."""


def load_rows(
    job: Job, tokenizer: Any, limit: int | None, mode: str, cache: Path, objective: Objective | None = None
) -> tuple[Any, dict[str, int]]:
    """Return (datasets.Dataset of tokenised rows, counts of rows `trained`, `cut` and `left_out` as too long).

    With an objective an item is a group: every column holds a list with one entry a row. The Arrow files go to
    `cache`; a second call, also from another process, reads them again. Raises DataError where there are no rows,
    TrainError where all are too long.
    """
    from datasets import Dataset, Features, List, Value
    from datasets.exceptions import DatasetGenerationError

    if mode not in TRUNCATIONS:
        raise TrainError(f"train.truncation_mode is {mode!r}; allowed: {', '.join(TRUNCATIONS)}")
    if next(read_rows(job.kind, job.rows), None) is None:
        raise DataError(f"{', '.join(job.rows) or 'no file'}: there are no rows to train on")
    own = own_loss(job.kind, job.options, job.loss)
    empty: dict[str, Any] = dict(EMPTY[job.kind])
    empty |= {name: [] for name in own.ids} | {name: 0.0 for name in own.numbers} if own else {}
    columns: dict[str, Any] = {
        name: List(Value("int32")) if isinstance(value, list) else Value("float32") for name, value in empty.items()
    }
    if "targets" in columns:
        columns["targets"] = List(Value("float32"))
    if objective is not None or (own and own.grouped):
        columns = {name: List(kind) for name, kind in columns.items()}
    features = Features({**columns, **{name: Value("int32") for name in COUNTS}})
    contents = [file_digest(Path(path)) for path in job.rows]
    stream = {"tokenizer": tokenizer, "limit": limit, "mode": mode, "objective": objective, "empty": empty}
    asked = (own.module, job.options.get("loss_options")) if own else job.options.get("value_loss")
    key = digest([job.kind, contents, limit, mode, job.policy_base, objective, asked])
    try:
        rows = Dataset.from_generator(
            _stream, features=features, cache_dir=str(cache), gen_kwargs={"job": job, **stream}, fingerprint=key
        )
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, DataError | TrainError):
            raise error.__cause__ from None
        raise
    counts = {name: sum(rows.with_format("numpy", columns=[name])[:][name].tolist()) for name in COUNTS}
    if not counts["trained"]:
        raise TrainError(
            f"all {counts['left_out']} rows are longer than max_length = {limit} tokens before the answer begins"
        )
    if counts["left_out"]:
        kept = lambda trained, left: [bool(a or not b) for a, b in zip(trained, left, strict=True)]  # noqa: E731
        rows = rows.filter(kept, input_columns=["trained", "left_out"], batched=True)
    return rows.remove_columns(list(COUNTS)), counts
