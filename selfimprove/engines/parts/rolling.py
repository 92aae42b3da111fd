"""A batch that never stops: rows join after their prompt is read, leave when they are finished, the rest goes on.

This is continuous batching over the library's ordinary cache. The library's own batching manager draws all tokens
from one generator and knows neither stop strings nor min_p, so that an answer would depend on its batch mates.
Models whose cache is more than keys and values (linear attention) are served in batches that start together.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from selfimprove.engines.base import Generate
from selfimprove.engines.parts.picking import pick

PREFILL_TOKENS = 8192
"""How many prompt tokens, padding included, go through the model at once."""

TRIM = 64
"""Padding columns shared by all rows are cut off once there are so many."""


@dataclass(slots=True, eq=False)
class Row:
    """One answer in the making."""

    request: Generate
    index: int
    limit: int
    owner: Any = None
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: str = ""
    text: str = ""
    _random: Random | None = None

    def draw(self) -> float:
        """Return the next number in [0, 1) of this answer's own sequence."""
        if self._random is None:
            self._random = Random(self.request.seed + self.index)
        return self._random.random()


class Rolling:
    """The rows being answered by one model.

    `ends` are the tokens that end an answer, `decode` makes text of token ids. The cache holds keys and values of
    shape (rows, heads, columns, size); `mask` of shape (rows, columns) says which columns are padding.
    """

    def __init__(self, model: Any, ends: Iterable[int], decode: Callable[[Sequence[int]], str]) -> None:
        self.model, self.ends, self.decode = model, frozenset(ends), decode
        self.rows: list[Row] = []
        self.joins = has_plain_cache(model)
        self._cache: Any = None
        self._mask = torch.empty(0)
        self._last = torch.empty(0)

    @torch.inference_mode()
    def admit(self, groups: Sequence[tuple[list[int], list[Row]]]) -> list[Row]:
        """Read prompts, each given with the rows that answer it; return the rows that are finished already."""
        finished: list[Row] = []
        # A cache that is more than keys and values cannot be repeated for the rows of one prompt.
        groups = merge_equal(groups) if self.joins else [(prompt, [row]) for prompt, rows in groups for row in rows]
        groups = sorted(groups, key=lambda group: len(group[0]))
        batch: list[tuple[list[int], list[Row]]] = []
        for group in groups:
            if self.joins and batch and len(group[0]) * (len(batch) + 1) > PREFILL_TOKENS:
                finished += self._prefill(batch)
                batch = []
            batch.append(group)
        return finished + (self._prefill(batch) if batch else [])

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """Give every row one more token; return the rows that are finished, which have left."""
        width = self._mask.new_ones((len(self.rows), 1))
        self._mask = torch.cat([self._mask, width], dim=1)
        logits = self.model(
            input_ids=self._last[:, None],
            attention_mask=self._mask,
            position_ids=self._mask.sum(dim=1, keepdim=True) - 1,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        return self._take(logits)

    def drop(self, rows: Iterable[Row]) -> None:
        """Take rows out that nobody waits for any more."""
        for row in rows:
            row.finish = row.finish or "dropped"
        self._leave()

    def _prefill(self, groups: Sequence[tuple[list[int], list[Row]]]) -> list[Row]:
        prompts = [prompt for prompt, _ in groups]
        longest = max(map(len, prompts))
        device = self.model.device
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts], device=device)
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
        cache = DynamicCache() if self.joins else DynamicCache(config=self.model.config)
        logits = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        rows = [row for _, group in groups for row in group]
        source = torch.tensor([at for at, (_, group) in enumerate(groups) for _ in group], device=device)
        if len(rows) > len(groups):
            cache.batch_select_indices(source)
        self._join(cache, mask[source], rows)
        first = len(self.rows) - len(rows)
        return self._take(logits[source], first)

    def _join(self, cache: Any, mask: Tensor, rows: list[Row]) -> None:
        """Put new rows under the old ones, after padding both on the left to the same number of columns."""
        if not self.rows:
            self._cache, self._mask, self.rows = cache, mask, list(rows)
            self._last = mask.new_zeros(len(rows))
            return
        old, new = self._mask.shape[1], mask.shape[1]
        more_old, more_new = max(new - old, 0), max(old - new, 0)
        for mine, theirs in zip(self._cache.layers, cache.layers, strict=True):
            mine.keys = torch.cat([pad(mine.keys, (0, 0, more_old, 0)), pad(theirs.keys, (0, 0, more_new, 0))])
            mine.values = torch.cat([pad(mine.values, (0, 0, more_old, 0)), pad(theirs.values, (0, 0, more_new, 0))])
        self._mask = torch.cat([pad(self._mask, (more_old, 0)), pad(mask, (more_new, 0))])
        self._last = torch.cat([self._last, mask.new_zeros(len(rows))])
        self.rows += rows

    def _take(self, logits: Tensor, first: int = 0) -> list[Row]:
        """Choose a token for each row from `first` on; return the rows that it finishes, which leave."""
        rows = self.rows[first:]
        draws = [row.draw() if row.request.temperature > 0 else 0.0 for row in rows]
        tokens, logprobs = pick(logits, [row.request for row in rows], draws)
        self._last[first:] = tokens
        for row, token, logprob in zip(rows, tokens.tolist(), logprobs.tolist(), strict=True):
            if not row.finish:
                row.ids.append(token)
                row.logprobs.append(logprob)
                self._judge(row)
        done = [row for row in rows if row.finish and row.owner is not None]
        self._leave()
        return done

    def _judge(self, row: Row) -> None:
        """Finish a row at its end token, at a stop string or at its limit."""
        if row.ids[-1] in self.ends:
            row.finish, row.text = "stop", self.decode(row.ids[:-1])
            return
        if row.request.stop:
            text = self.decode(row.ids)
            places = [(text.find(stop), stop) for stop in row.request.stop if stop in text]
            if places:
                at, stop = min(places)
                row.finish, row.text = "stop", text[: at + len(stop) if row.request.keep_stop else at]
                return
        if len(row.ids) >= row.limit:
            row.finish, row.text = "length", self.decode(row.ids)

    def _leave(self) -> None:
        """Remove finished rows, and padding that no row needs any more."""
        stay = [at for at, row in enumerate(self.rows) if not row.finish]
        if len(stay) == len(self.rows):
            return
        if not stay:
            self.rows, self._cache = [], None
            return
        if not self.joins:  # finished rows stay until the last one is through; they are not answered twice
            for row in self.rows:
                row.owner = None if row.finish else row.owner
            return
        chosen = torch.tensor(stay, device=self._mask.device)
        self.rows = [self.rows[at] for at in stay]
        self._mask, self._last = self._mask[chosen], self._last[chosen]
        spare = int(self._mask.argmax(dim=1).min())
        spare = spare if spare >= TRIM else 0
        self._mask = self._mask[:, spare:]
        for layer in self._cache.layers:
            layer.keys, layer.values = layer.keys[chosen, :, spare:], layer.values[chosen, :, spare:]


def merge_equal(groups: Sequence[tuple[list[int], list[Row]]]) -> list[tuple[list[int], list[Row]]]:
    """Return the groups with those of the same prompt made one, so that a prompt is read once however often asked."""
    merged: dict[tuple[int, ...], list[Row]] = {}
    for prompt, rows in groups:
        merged.setdefault(tuple(prompt), []).extend(rows)
    return [(list(prompt), rows) for prompt, rows in merged.items()]


def has_plain_cache(model: Any) -> bool:
    """Whether a model remembers keys and values only, so that rows can join and leave a running batch."""
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    layers = DynamicCache(config=model.config).layers
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
