"""The log-probs of given text under a Hugging Face model: chat-templated, prompt masked, temperature 1, float32."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from selfimprove.chat import completion_ids
from selfimprove.engines.base import Score
from selfimprove.engines.parts.refusal import refusal
from selfimprove.errors import DataError
from selfimprove.records import Scored

LOGIT_BYTES = 512 * 2**20
"""How large the logits of one batch may get, reckoned in float32."""

BATCH_TOKENS = 16_384
"""How many tokens, padding included, go through the model at once."""


def score_batch(
    model: Any, tokenizer: Any, requests: Sequence[Score], max_model_len: int | None = None
) -> list[Scored]:
    """Return the log-probs of each request's completion under `model`, in order; a bad request is a value.

    `model` is a causal language model (with or without an active adapter) whose policy the requests mean; it
    is neither moved nor changed. Requests are batched by length, padded on the left.
    """
    return [scored for scored, _ in counted_scores(model, tokenizer, requests, max_model_len)]


def counted_scores(
    model: Any, tokenizer: Any, requests: Sequence[Score], max_model_len: int | None = None
) -> list[tuple[Scored, int]]:
    """Return what `score_batch` does, each with the number of tokens that the model read for it."""
    results: list[tuple[Scored, int]] = [(Scored(), 0)] * len(requests)
    ready: list[tuple[int, list[int], list[int]]] = []
    for place, request in enumerate(requests):
        ids = token_ids(tokenizer, request, max_model_len)
        if isinstance(ids, str):
            results[place] = Scored(error=ids), 0
        else:
            ready.append((place, *ids))
    vocabulary = model.config.get_text_config().vocab_size
    for batch in _batches(ready, vocabulary):
        scores = completion_logprobs(model, [(prompt, completion) for _, prompt, completion in batch])
        for (place, prompt, completion), values in zip(batch, scores, strict=True):
            results[place] = Scored(tuple(values)), len(prompt) + len(completion)
    return results


def token_ids(tokenizer: Any, request: Score, max_model_len: int | None) -> tuple[list[int], list[int]] | str:
    """Return (prompt ids, completion ids) of a request, or why it cannot be scored."""
    if reason := refusal(request):
        return reason
    try:
        prompt, completion = completion_ids(tokenizer, request.messages, request.completion, request.end)
    except DataError as error:
        return str(error)
    if not completion:
        return "there is no text to score"
    length = len(prompt) + len(completion)
    if max_model_len is not None and length > max_model_len:
        return f"prompt and completion are too long: {length} tokens, the model takes {max_model_len}"
    return prompt, completion


@torch.inference_mode()
def completion_logprobs(model: Any, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
    """Return the log-prob in nats of every completion token, for rows of (prompt ids, completion ids).

    One forward pass. Only the logits that predict a completion are computed: rows are padded on the left, so
    that these are the last ones.
    """
    ids = [[*prompt, *completion] for prompt, completion in rows]
    longest = max(map(len, ids))
    device = model.device
    inputs = torch.tensor([[0] * (longest - len(row)) + row for row in ids], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in ids], device=device)
    positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)
    kept = max(len(completion) for _, completion in rows) + 1
    logits = model(
        input_ids=inputs, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=kept
    ).logits[:, -kept:-1]
    scores = []
    for row, (_, completion) in zip(logits, rows, strict=True):  # row by row: all of them in float32 would be large
        values = row[-len(completion) :].float()
        chosen = values.gather(1, torch.tensor(completion, device=device)[:, None])[:, 0]
        scores.append(chosen - values.logsumexp(dim=-1))
    return [score.tolist() for score in scores]


def _batches(
    rows: Sequence[tuple[int, list[int], list[int]]], vocabulary: int
) -> Iterator[list[tuple[int, list[int], list[int]]]]:
    """Yield rows of similar length in batches that keep to BATCH_TOKENS and LOGIT_BYTES."""
    batch: list[tuple[int, list[int], list[int]]] = []
    longest = kept = 0
    for row in sorted(rows, key=lambda row: len(row[1]) + len(row[2]), reverse=True):
        wider, deeper = max(longest, len(row[1]) + len(row[2])), max(kept, len(row[2]) + 1)
        count = len(batch) + 1
        if batch and (wider * count > BATCH_TOKENS or deeper * count * vocabulary * 4 > LOGIT_BYTES):
            yield batch
            batch, wider, deeper = [], len(row[1]) + len(row[2]), len(row[2]) + 1
        batch.append(row)
        longest, kept = wider, deeper
    if batch:
        yield batch
