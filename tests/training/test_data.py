"""From rows to tokens: what is trained, what is cut, what is refused."""

import json

import pytest

from selfimprove.chat import load_tokenizer
from selfimprove.errors import DataError, TrainError
from selfimprove.records import Example, Pair
from selfimprove.training.data import cut, doubled_special, load_rows, read_rows, tokenised

QUESTION = ({"role": "user", "content": "2+2?"},)


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(str(tiny_model))


def test_only_the_completion_and_its_end_of_turn_are_trained(tokenizer):
    row = tokenised(tokenizer, Example("a", QUESTION, "It is 4.", weight=0.5), "here", None, "keep_start")
    trained = [token for token in row["labels"] if token != -100]
    assert tokenizer.decode(trained) == "It is 4.<|im_end|>"  # not the newline that the template writes after it
    assert tokenizer.decode(row["input_ids"]) == (
        "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\nIt is 4.<|im_end|>"
    )
    assert row["labels"][: -len(trained)] == [-100] * (len(row["input_ids"]) - len(trained))
    assert (row["weight"], row["cut"]) == (0.5, False)


def test_a_pair_shares_its_prompt(tokenizer):
    row = tokenised(tokenizer, Pair("a", QUESTION, "4", "It is 5"), "here", None, "keep_start")
    assert tokenizer.decode(row["prompt_ids"]).endswith("<|im_start|>assistant\n")
    assert tokenizer.decode(row["chosen_ids"]) == "4<|im_end|>"
    assert tokenizer.decode(row["rejected_ids"]) == "It is 5<|im_end|>"


def test_cut_from_either_end():
    prompt, sides = [1, 2, 3, 4], [[5, 6, 7], [8]]
    assert cut(prompt, sides, 7, "keep_start") == (prompt, sides)
    assert cut(prompt, sides, 5, "keep_start") == (prompt, [[5], [8]])
    assert cut(prompt, sides, 5, "keep_end") == ([3, 4], sides)  # the same prompt for both sides
    assert cut(prompt, sides, 3, "keep_end") == ([4], [[5, 6], [8]])
    assert cut(prompt, sides, 4, "keep_start") == (prompt, [[], []])


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"id": "a", "prompt": [{"role": "user", "content": "q"}], "completion": "  "}', "its completion is empty"),
        (
            '{"id": "a", "prompt": [{"role": "user", "content": "q"}], "completion": "x", "weight": -1}',
            "its weight is -1",
        ),
        (
            '{"id": "a", "prompt": [{"role": "user", "content": "q"}], "completion": "x", "wieght": 1}',
            "no field 'wieght'",
        ),
        ('{"id": "a", "prompt": [{"role": "user", "content": "q"}]}', "completion"),
        ("[1]", "rows.jsonl line 2"),
        ("{oops", "not JSON"),
    ],
)
def test_bad_rows_are_named_with_file_and_line(tmp_path, line, sentence):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "a", "prompt": [{"role": "user", "content": "q"}], "completion": "fine"}\n' + line + "\n")
    with pytest.raises(DataError) as error:
        list(read_rows("sft", [str(path)]))
    assert sentence in str(error.value) and "rows.jsonl line 2" in str(error.value)


def test_empty_rejected_side_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        json.dumps({"id": "a", "prompt": [{"role": "user", "content": "q"}], "chosen": "x", "rejected": ""}) + "\n"
    )
    with pytest.raises(DataError, match="its rejected is empty"):
        list(read_rows("pairs", [str(path)]))


def test_doubled_special_tokens_are_refused(tokenizer):
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert doubled_special(tokenizer, [5, end, end]) == end
    assert doubled_special(tokenizer, [end, 5, 5, end]) is None  # ordinary tokens may stand twice
    with pytest.raises(TrainError, match=r"f line 3: the special token '<\|im_end\|>' stands twice"):
        tokenised(tokenizer, Example("a", QUESTION, "4<|im_end|>"), "f line 3", None, "keep_start")


def test_both_sides_the_same_are_refused(tokenizer):
    with pytest.raises(DataError, match="the same tokens"):
        tokenised(tokenizer, Pair("a", QUESTION, "4", "4"), "f line 1", None, "keep_start")


def test_rows_stream_to_disk_and_long_ones_are_counted(make_job, tokenizer, tmp_path):
    path = tmp_path / "long.jsonl"
    rows = [
        Example(f"r{i}", ({"role": "user", "content": "?" * length},), "It is 4.")
        for i, length in enumerate((1, 80, 96, 99))
    ]
    path.write_text("".join(json.dumps(row.to_row()) + "\n" for row in rows))
    job = make_job("sft", file=path)
    # 1 + 4+1 + len + 1 + 1 + 1 + 9+1 = 19 + len tokens of prompt, then 8 letters and the end of turn
    data, counts = load_rows(job, tokenizer, 108, "keep_start", tmp_path / "cache")
    lengths = [len(ids) for ids in data["input_ids"]]
    prompts = [row.count(-100) for row in data["labels"]]
    assert counts == {"trained": len(lengths), "cut": sum(p + 9 > 108 for p in prompts), "left_out": 4 - len(lengths)}
    assert max(lengths) <= 108 and all(p < 108 for p in prompts)
    again, _ = load_rows(job, tokenizer, 108, "keep_start", tmp_path / "cache")
    assert again["input_ids"] == data["input_ids"]
    with pytest.raises(TrainError, match="all 4 rows are longer than max_length = 5"):
        load_rows(job, tokenizer, 5, "keep_start", tmp_path / "cache")


def test_changed_rows_are_read_anew(make_job, tokenizer, tmp_path, rows):
    job = make_job("sft")
    first, _ = load_rows(job, tokenizer, None, "keep_start", tmp_path / "cache")
    rows("sft", "sft.jsonl", weight=0.25)
    second, _ = load_rows(job, tokenizer, None, "keep_start", tmp_path / "cache")
    assert set(first["weight"]) == {1.0} and set(second["weight"]) == {0.25}


def test_no_rows_is_an_error(make_job, tokenizer, tmp_path):
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(DataError, match="there are no rows"):
        load_rows(make_job("sft", file=tmp_path / "none.jsonl"), tokenizer, None, "keep_start", tmp_path / "cache")


def test_a_bad_row_is_named_through_the_stream(make_job, tokenizer, tmp_path):
    (tmp_path / "bad.jsonl").write_text(
        '{"id": "a", "prompt": [{"role": "user", "content": "q"}], "completion": ""}\n'
    )
    with pytest.raises(DataError, match=r"bad.jsonl line 1: its completion is empty"):
        load_rows(make_job("sft", file=tmp_path / "bad.jsonl"), tokenizer, None, "keep_start", tmp_path / "cache")
