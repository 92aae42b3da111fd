"""Collators and the preview on literal tensors."""

import pytest
import torch

from selfimprove.chat import load_tokenizer
from selfimprove.errors import TrainError
from selfimprove.training.preview import preview


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(str(tiny_model))


def test_example_collator_pads_and_carries_weights():
    from selfimprove.training.collate import ExampleCollator

    batch = ExampleCollator(pad_token_id=0)(
        [
            {"input_ids": [5, 6, 7], "labels": [-100, 6, 7], "weight": 1.0},
            {"input_ids": [8, 9], "labels": [-100, 9], "weight": 0.5},
        ]
    )
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 0]]
    assert batch["labels"].tolist() == [[-100, 6, 7], [-100, 9, -100]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["weight"].tolist() == [1.0, 0.5] and batch["weight"].dtype == torch.float32


def test_pair_collator_puts_chosen_first_and_carries_weights():
    from selfimprove.training.collate import PairCollator

    batch = PairCollator(pad_token_id=0)(
        [
            {"prompt_ids": [1, 2], "chosen_ids": [3], "rejected_ids": [4, 5], "weight": 0.25},
            {"prompt_ids": [6], "chosen_ids": [7, 8], "rejected_ids": [9], "weight": 2.0},
        ]
    )
    # rows 0 and 1 are prompt + chosen, rows 2 and 3 prompt + rejected, padded to the longest (4)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 0], [6, 7, 8, 0], [1, 2, 4, 5], [6, 9, 0, 0]]
    assert batch["completion_mask"].tolist() == [[0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1, 1], [0, 1, 0, 0]]
    assert batch["weight"].tolist() == [0.25, 2.0]


def test_log_probs_of_trained_positions_agree_with_plain_logits(tiny_model):
    from transformers import AutoModelForCausalLM

    from selfimprove.training.forward import token_log_probs
    from selfimprove.training.losses import sequence_log_probs

    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    ids = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 13, 0]])
    attention = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    labels = torch.tensor([[-100, -100, 7, 8, 9], [-100, -100, -100, 13, -100]])
    log_probs, trained, first = token_log_probs(model, {"input_ids": ids, "attention_mask": attention}, labels, False)
    expected = sequence_log_probs(model(input_ids=ids, attention_mask=attention).logits, labels)
    assert torch.allclose(log_probs.sum(-1), expected, atol=1e-5)
    assert trained.sum(-1).tolist() == [3, 1] and log_probs[1].count_nonzero() == 1
    assert first.shape == trained.shape


def batch_of(tokenizer, text: str, trained: str) -> dict:
    ids = tokenizer.encode(text + trained, add_special_tokens=False)
    start = len(tokenizer.encode(text, add_special_tokens=False))
    labels = [-100] * start + ids[start:]
    return {
        "input_ids": torch.tensor([[*ids, 0]]),
        "labels": torch.tensor([[*labels, -100]]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0]]),
    }


def test_preview_shows_tokens_mask_and_counts(tokenizer):
    text = preview(batch_of(tokenizer, "<|im_start|>user\nhi<|im_end|>\n", "ok<|im_end|>"), tokenizer)
    assert "<|im_start|>user\nhi<|im_end|>\n[[ok<|im_end|>]]" in text
    # 1 + 5 + 2 + 1 + 1 tokens of prompt, 2 letters and the end of turn are trained, padding is not counted
    assert "13 tokens, 3 trained, weight 1, 1 beginning of text, 2 end of turn, ends its turn" in text
    assert "CUT" in preview(batch_of(tokenizer, "hi", "ok"), tokenizer)


def test_preview_refuses_doubled_special_tokens(tokenizer):
    with pytest.raises(TrainError, match="row 1: the special token"):
        preview(batch_of(tokenizer, "hi", "ok<|im_end|><|im_end|>"), tokenizer)
    with pytest.raises(TrainError, match="row 1: the special token"):
        preview(batch_of(tokenizer, "<|im_start|><|im_start|>hi", "ok"), tokenizer)


def test_preview_refuses_a_row_that_trains_nothing(tokenizer):
    with pytest.raises(TrainError, match="row 1: no token of it is trained"):
        preview(batch_of(tokenizer, "hi", ""), tokenizer)


def test_preview_of_a_pair_names_both_sides_and_wants_a_difference(tokenizer):
    batch = {
        "input_ids": torch.tensor([[10, 11, 2], [10, 12, 2]]),
        "completion_mask": torch.tensor([[0, 1, 1], [0, 1, 1]]),
        "attention_mask": torch.ones(2, 3, dtype=torch.long),
        "weight": torch.tensor([0.5]),
    }
    text = preview(batch, tokenizer)
    assert "row 1 (chosen): 3 tokens, 2 trained, weight 0.5" in text and "row 1 (rejected)" in text
    batch["input_ids"][1] = batch["input_ids"][0]
    with pytest.raises(TrainError, match=r"row 1 \(chosen\): chosen and rejected are the same tokens"):
        preview(batch, tokenizer)
