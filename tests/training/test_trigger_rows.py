"""Traces of ID-sampling as tokens: whether those of the trigger are trained."""

import pytest

from selfimprove.building.deepening import Segment, Trace
from selfimprove.chat import load_tokenizer
from selfimprove.methods.id_sampling import Config, rows_of
from selfimprove.records import Prompt, as_messages
from selfimprove.training.data import tokenised

WAIT = "\nWait! Again."
TRACE = Trace((Segment("It is 5, right? hm", 5, 5, False), Segment("So it is 4.", 10, 4, True)), "eos", WAIT, 2)


@pytest.mark.parametrize(("learn", "learned"), [("whole", True), ("context", False)])
def test_whether_the_tokens_of_a_trigger_are_trained(tiny_model, learn, learned):
    tokenizer = load_tokenizer(str(tiny_model))
    rows = rows_of(Config(learn=learn), Prompt("a", as_messages("2 + 2?")), TRACE, 0, 1)
    columns = [tokenised(tokenizer, row, "here", None, "keep_start") for row in rows]
    trained = [tokenizer.decode([token for token in each["labels"] if token != -100]) for each in columns]
    assert "".join(trained).replace(WAIT, "") == "It is 5, right? hmSo it is 4.<|im_end|>"
    assert any(WAIT in text for text in trained) == learned
    whole = tokenizer.decode(columns[-1]["input_ids"])
    assert whole.endswith(f"<|im_start|>assistant\nIt is 5, right? hm{WAIT}So it is 4.<|im_end|>")  # in one turn
