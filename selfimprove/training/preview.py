"""What the model really sees: the tokens of the first batch with their loss mask, written before the first step."""

from pathlib import Path
from typing import Any

from selfimprove.chat import end_of_turn
from selfimprove.errors import TrainError
from selfimprove.training.data import refuse_doubled

SHOWN = 8
"""Rows of the first batch that are written out; all of them are checked."""


def preview(batch: dict[str, Any], tokenizer: Any, step: str = "the first batch") -> str:
    """Return the text of a batch: per sequence the tokens, what is trained in [[ ]], and counts.

    The batch holds input_ids and attention_mask (N, T) with either labels or completion_mask (N, T); of a pair
    batch the first half is chosen, the second rejected. Raises TrainError where a sequence trains no token, a
    special token is doubled, or chosen and rejected do not differ.
    """
    pairs = "completion_mask" in batch
    ids, attention = batch["input_ids"].tolist(), batch["attention_mask"].tolist()
    marks = (
        batch["completion_mask"].tolist() if pairs else [[i != -100 for i in row] for row in batch["labels"].tolist()]
    )
    weights = batch["weight"].tolist() if "weight" in batch else [1.0] * len(ids)
    half = len(ids) // 2 if pairs else len(ids)
    sequences = []
    for i, row in enumerate(ids):
        seen = [(token, bool(mark)) for token, mark, there in zip(row, marks[i], attention[i], strict=True) if there]
        name = f"row {i % half + 1} ({'chosen' if i < half else 'rejected'})" if pairs else f"row {i + 1}"
        if not any(mark for _, mark in seen):
            raise TrainError(
                f"{step}, {name}: no token of it is trained; its answer was cut off (raise max_length) or is empty"
            )
        refuse_doubled(tokenizer, [token for token, _ in seen], f"{step}, {name}")
        sequences.append((name, seen, weights[i % half]))
    for chosen, rejected in zip(sequences[:half], sequences[half:], strict=True) if pairs else ():
        if chosen[1] == rejected[1]:
            raise TrainError(f"{step}, {chosen[0]}: chosen and rejected are the same tokens")
    order = (
        [i for pair in zip(range(half), range(half, len(ids)), strict=True) for i in pair] if pairs else range(half)
    )
    shown = [_sequence(*sequences[i], tokenizer) for i in list(order)[: SHOWN * (2 if pairs else 1)]]
    head = f"{step}: {len(ids)} sequences of at most {len(ids[0])} tokens; what is trained stands in [[ ]].\n"
    return head + "\n" + "\n".join(shown)


def _sequence(name: str, seen: list[tuple[int, bool]], weight: float, tokenizer: Any) -> str:
    ids = [token for token, _ in seen]
    bos, end = tokenizer.bos_token_id, end_of_turn(tokenizer)
    text, inside = "", False
    start = 0
    for position, (_, mark) in enumerate([*seen, (0, False)]):
        if mark != inside or position == len(seen):
            text += tokenizer.decode(ids[start:position]) + ("]]" if inside else "") + ("[[" if mark else "")
            start, inside = position, mark
    trained = [token for token, mark in seen if mark]
    counts = [f"{len(ids)} tokens", f"{len(trained)} trained", f"weight {weight:g}"]
    if bos is not None and bos != end:
        counts.append(f"{ids.count(bos)} beginning of text")
    counts.append(f"{ids.count(end)} end of turn")
    counts.append("ends its turn" if trained[-1] == end else "CUT, or a beginning only: does not end its turn")
    pieces = " ".join(f"[{token}]" if mark else str(token) for token, mark in seen)
    return f"--- {name}: {', '.join(counts)}\n{text}\nids: {pieces}\n"


def write_preview(batch: dict[str, Any], tokenizer: Any, path: Path | None) -> None:
    """Check a batch and, where a path is given, write its preview."""
    text = preview(batch, tokenizer)
    if path is not None:
        path.write_text(text, encoding="utf-8")
