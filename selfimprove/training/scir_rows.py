"""What SCIR's trainer is fed: the judge prompts of a pair in both orders, and the tokens that are verdicts."""

from dataclasses import dataclass
from typing import Any

import torch
from trl.trainer.utils import pad

from selfimprove.chat import render_ids
from selfimprove.errors import TrainError
from selfimprove.judges.pairwise import LETTERS, render
from selfimprove.records import Pair, Prompt, as_messages
from selfimprove.training.collate import PairCollator
from selfimprove.training.data import refuse_doubled
from selfimprove.training.scir_options import ScirOptions


def columns(row: Pair, tokenizer: Any, options: ScirOptions, limit: int | None) -> dict[str, Any] | None:
    """Return {judge_12_ids, judge_21_ids} of a pair, None where the judge prompt has no room for the answers.

    Order 12 shows `chosen` as answer A, order 21 as answer B. Where a prompt is longer than judge_length (max_length)
    tokens, the answers in it are cut, so that the place of the verdict, behind them, stays.
    """
    limit = limit if options.judge_length is None else options.judge_length
    prompt = Prompt(row.id, row.prompt)

    def both(first: str, second: str) -> list[list[int]]:
        return [render_ids(tokenizer, render(prompt, *order)) for order in ((first, second), (second, first))]

    found, cut = both(row.chosen, row.rejected), False
    if limit is not None and longest(found) > limit:
        answers = [tokenizer.encode(text, add_special_tokens=False) for text in (row.chosen, row.rejected)]
        room = limit - longest(both("", ""))
        while not cut:
            if room < 2:
                return None
            kept = [ids[:share] for ids, share in zip(answers, shares(room, *map(len, answers)), strict=True)]
            found = both(*(tokenizer.decode(ids).rstrip("\ufffd") for ids in kept))  # no half characters
            cut, room = longest(found) <= limit, room - max(longest(found) - limit, 0)
    for ids in found:
        refuse_doubled(tokenizer, ids, f"the judge prompt of row {row.id}")
    return {"judge_12_ids": found[0], "judge_21_ids": found[1]} | ({"cut": True} if cut else {})


def longest(sequences: list[list[int]]) -> int:
    """Return the length of the longest sequence."""
    return max(map(len, sequences))


def shares(room: int, first: int, second: int) -> tuple[int, int]:
    """Return how many tokens of two answers of these lengths fit into `room`: both the same, or all of a short one."""
    if first + second <= room:
        return first, second
    least = min(first, second, room // 2)
    if least == first:
        return least, min(second, room - least)
    return min(first, room - least), least


def letter_tokens(tokenizer: Any) -> list[list[int]]:
    """Return the token ids of A and of B as first token of an answer to the judge prompt, one a spelling.

    A spelling is what the chat template's own text gives behind the prompt, and what the letter gives alone: with
    many tokenizers the two differ by a space. Raises TrainError where no spelling tells A from B.
    """
    judge = render(Prompt("judge", as_messages("?")), "first", "second")
    prefix = render_ids(tokenizer, judge)
    behind, alone = [], []
    for letter in LETTERS:
        turn = [*map(dict, judge), {"role": "assistant", "content": letter}]
        whole = tokenizer.apply_chat_template(turn, tokenize=True, return_dict=False)
        begins = whole[: len(prefix)] == prefix and len(whole) > len(prefix)
        behind.append(whole[len(prefix)] if begins else None)
        alone.append(tokenizer.encode(letter, add_special_tokens=False)[0])
    spellings = list(dict.fromkeys(pair for pair in (tuple(behind), tuple(alone)) if None not in pair))
    spellings = [(a, b) for a, b in spellings if a != b]
    if not spellings:
        raise TrainError(
            f"the verdicts {' and '.join(LETTERS)} begin with the same token in this tokenizer, so a judge prompt "
            "cannot be read at its first token; take another model"
        )
    return [list(ids) for ids in zip(*spellings, strict=True)]


@dataclass
class ScirCollator(PairCollator):
    """Pairs with judge prompts -> PairCollator's batch, judge_input_ids and judge_attention_mask (2B, T), row (B,).

    Of the judge prompts the first half are in order 12, the second in 21; they are padded on the right.
    """

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the padded batch."""
        ids = [torch.tensor(each[name]) for name in ("judge_12_ids", "judge_21_ids") for each in examples]
        masks = [torch.ones_like(each) for each in ids]
        return {
            **super().torch_call(examples),
            "judge_input_ids": pad(ids, padding_value=self.pad_token_id, padding_side="right"),
            "judge_attention_mask": pad(masks, padding_value=0, padding_side="right"),
            "row": torch.tensor([each["row"] for each in examples]),
        }
