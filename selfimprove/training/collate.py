"""From tokenised rows to padded tensors: TRL's collators, with the columns that travel along with a row."""

from dataclasses import dataclass
from typing import Any

import torch
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from selfimprove.training.trainers import TRAINERS

ROW_COLUMNS = ("weight", "smoothing")
"""Numbers of a row that reach the loss, as float32 tensors of shape (B,); those of losses of their own come on top."""


def row_columns(examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Return the row columns of a batch, float32 of shape (B,) each."""
    known = {*ROW_COLUMNS, *(name for own in TRAINERS.values() for name in own.numbers)}
    names = [name for name in examples[0] if name in known]
    return {name: torch.tensor([example[name] for example in examples], dtype=torch.float32) for name in names}


@dataclass
class ExampleCollator(DataCollatorForLanguageModeling):
    """SFT rows {input_ids, labels, weight} -> input_ids, labels, attention_mask (B, T) and weight (B,)."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the padded batch."""
        return {**super().torch_call(examples), **row_columns(examples)}


@dataclass
class GroupCollator(ExampleCollator):
    """Groups of SFT rows, a list in every column -> the batch of all their rows, and `group` (N,) numbers them.

    N is the number of rows in all groups of the batch; the groups are numbered 0, 1, ... in their order.
    """

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the padded batch."""
        rows = [dict(zip(group, row, strict=True)) for group in examples for row in zip(*group.values(), strict=True)]
        numbers = [number for number, group in enumerate(examples) for _ in group["input_ids"]]
        return {**super().torch_call(rows), "group": torch.tensor(numbers)}


@dataclass
class PairCollator(DataCollatorForPreference):
    """Pair rows {prompt_ids, chosen_ids, rejected_ids, weight, smoothing} -> (2B, T) tensors, chosen first.

    weight and smoothing are (B,); smoothing is nan where the row has none of its own.
    """

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the padded batch."""
        return {**super().torch_call(examples), **row_columns(examples)}
