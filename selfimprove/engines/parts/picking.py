"""From logits to the next token: temperature, truncation and one draw per row that owes nothing to its batch mates."""

from collections.abc import Sequence

import torch
from torch import Tensor

from selfimprove.engines.base import Generate


def pick(logits: Tensor, requests: Sequence[Generate], draws: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return (tokens, log-probs), both of shape (rows,), for logits of shape (rows, vocabulary).

    The log-probs are those at temperature 1 without truncation, in nats and float32. A row at temperature 0 takes
    its likeliest token; any other takes the token at which the cumulative distribution passes its draw, a number
    in [0, 1), so that a row's answer depends on its own logits and draws alone.
    """
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    tokens = logprobs.argmax(dim=-1)
    hot = [row for row, request in enumerate(requests) if request.temperature > 0]
    if hot:
        rows = torch.tensor(hot, device=logits.device)
        asked = [requests[row] for row in hot]
        temperatures = torch.tensor([request.temperature for request in asked], device=logits.device)
        scores = truncate(logprobs[rows] / temperatures[:, None].clamp(min=1e-5), asked)
        cumulative = scores.softmax(dim=-1).double().cumsum(dim=-1)
        drawn = torch.tensor([draws[row] for row in hot], dtype=torch.float64, device=logits.device)
        places = torch.searchsorted(cumulative, (drawn * cumulative[:, -1])[:, None], right=True)
        tokens[rows] = places[:, 0].clamp(max=logits.shape[-1] - 1)
    return tokens, logprobs.gather(1, tokens[:, None])[:, 0]


def truncate(scores: Tensor, requests: Sequence[Generate]) -> Tensor:
    """Return scores with minus infinity where min_p, top_k or top_p cut, applied in this order as vLLM does.

    The likeliest token always stays.
    """
    cut = [row for row, r in enumerate(requests) if r.top_k > 0 or r.top_p < 1 or r.min_p > 0]
    if not cut:
        return scores
    rows = torch.tensor(cut, device=scores.device)
    asked = [requests[row] for row in cut]
    vocabulary = scores.shape[-1]
    device = scores.device
    top_k = torch.tensor([[r.top_k or vocabulary] for r in asked], device=device)
    top_p = torch.tensor([[r.top_p] for r in asked], device=device)
    min_p = torch.tensor([[r.min_p] for r in asked], device=device)
    values, order = scores[rows].sort(dim=-1, descending=True, stable=True)  # bf16 logits tie: as argmax, the first
    chances = values.softmax(dim=-1)
    keep = (chances >= min_p * chances[:, :1]) & (torch.arange(vocabulary, device=device) < top_k)
    left = chances * keep
    left = left / left.sum(dim=-1, keepdim=True)
    keep &= left.cumsum(dim=-1) - left < top_p  # the token that passes top_p is the last to stay
    keep[:, 0] = True
    scores = scores.clone()
    scores[rows] = torch.full_like(values, -torch.inf).scatter(1, order, values.masked_fill(~keep, -torch.inf))
    return scores
