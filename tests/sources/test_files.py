"""Files of prompts: what is read, and what is refused with file, line and remedy."""

import csv
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.errors import ConfigError, DataError
from selfimprove.records import Prompt
from selfimprove.sources import load_prompts, source_id
from selfimprove.sources.schema import bounds

ROW = {"id": "a", "prompt": "1 + 1?", "gold": "2"}


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_own_format_in_full(tmp_path):
    path = lines(
        tmp_path / "p.jsonl",
        {"id": 7, "messages": [{"role": "system", "content": ""}, {"role": "user", "content": "2 + 2?"}], "gold": 4.0,
         "solution": "2 + 2 = 4", "verifier": "exact", "meta": {"kind": "sum"}},
        "\n",
        {"prompt": [{"role": "user", "content": "hi"}]},
        {"prompt": "héllo ½"},
    )  # fmt: skip
    first, second, third = load_prompts(str(path))
    assert first == Prompt(
        "7", ({"role": "system", "content": ""}, {"role": "user", "content": "2 + 2?"}), "4", "2 + 2 = 4", "exact",
        {"kind": "sum"},
    )  # fmt: skip
    assert (second.text, second.gold, second.verifier, second.meta) == ("hi", None, "answer", {})
    assert third.text == "héllo ½"
    assert len({first.id, second.id, third.id}) == 3


BAD_ROWS = [
    (["{\n"], ["line 1: not valid JSON", "each line is one JSON object"]),
    ([ROW, '{"id": "b", "prompt": "x",}\n'], ["line 2: not valid JSON", "character"]),
    ([ROW, "[1, 2]\n"], ["line 2: expected a JSON object with fields, found '[1, 2]'"]),
    ([ROW, "\n", {"id": "b", "gold": "2"}], ["line 3: no field 'prompt' or 'messages'; the row has id, gold"]),
    ([{"prompt": "x", "golden": "2"}], ["line 1: unknown field 'golden'; did you mean 'gold'?", "columns"]),
    ([{"prompt": 5}], ["line 1: prompt must be text or a list of messages, not 5"]),
    ([{"prompt": "  "}], ["line 1: 'prompt' holds no user message with text in it"]),
    ([{"messages": []}], ["line 1: 'messages' holds no user message with text in it"]),
    ([{"messages": [{"role": "user"}]}], ["line 1: messages: the content of a message must be text, not None"]),
    ([{"prompt": "x", "messages": []}], ["line 1: both 'prompt' and 'messages' are given"]),
    ([{"prompt": "x", "gold": ["2"]}], ["line 1: gold must be text or a number, not ['2']"]),
    ([{"prompt": "x", "gold": True}], ["line 1: gold must be text or a number, not True"]),
    (['{"prompt": "x", "gold": NaN}\n'], ["line 1: not valid JSON: NaN is no JSON value"]),
    ([{"prompt": "x", "solution": {}}], ["line 1: solution must be text or a number, not {}"]),
    ([{"prompt": "x", "meta": "m"}], ["line 1: meta must be an object, not 'm'"]),
    ([{"prompt": "x", "verifier": "answr"}], ["line 1: there is no verifier 'answr'; did you mean 'answer'?"]),
    ([ROW, {**ROW, "prompt": "other"}], ["the id 'a' of prompt 2 was already used", "ids must differ"]),
    (["\n\n"], ["there are no prompts"]),
    ([""], ["the file is empty"]),
    (["[" * 100_000 + "\n"], ["line 1: not valid JSON"]),
]


@pytest.mark.parametrize(("rows", "parts"), BAD_ROWS)
def test_bad_rows_name_file_line_and_remedy(tmp_path, rows, parts):
    path = lines(tmp_path / "bad.jsonl", *rows)
    with pytest.raises(DataError) as error:
        list(load_prompts(str(path)))
    for part in (str(path), *parts):
        assert part in str(error.value)


def test_text_that_is_not_utf8(tmp_path):
    path = tmp_path / "latin.jsonl"
    path.write_bytes(b'{"prompt": "one"}\n{"prompt": "caf\xe9"}\n')
    with pytest.raises(
        DataError, match=r"latin.jsonl line 2: not UTF-8 text \(byte 16 of the line\); save the file as"
    ):
        list(load_prompts(str(path)))
    bom = tmp_path / "bom.jsonl"
    bom.write_bytes(b'\xef\xbb\xbf{"prompt": "one"}\n')
    assert [prompt.text for prompt in load_prompts(str(bom))] == ["one"]


def test_missing_files_name_both_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "recipes"
    folder.mkdir()
    with pytest.raises(DataError) as error:
        list(load_prompts("p.jsonl", "r.yaml: prompts", folder))
    assert str(error.value) == (
        f"r.yaml: prompts: no such file: p.jsonl; tried {tmp_path / 'p.jsonl'} and {folder / 'p.jsonl'}"
    )
    lines(folder / "p.jsonl", ROW)
    assert [prompt.id for prompt in load_prompts("p.jsonl", folder=folder)] == ["a"]  # beside the recipe
    lines(tmp_path / "p.jsonl", {**ROW, "id": "b"})
    assert [prompt.id for prompt in load_prompts("p.jsonl", folder=folder)] == ["b"]  # the working directory first


def test_folders_and_unknown_endings(tmp_path):
    with pytest.raises(DataError, match="this is a folder, but not one that datasets' save_to_disk wrote"):
        list(load_prompts({"path": str(tmp_path)}))
    with pytest.raises(DataError, match=r"cannot read files that end in '.txt'; known: .jsonl, .json"):
        list(load_prompts(str(lines(tmp_path / "p.txt", "x"))))


BAD_DEFINITIONS = [
    ({"path": "p.jsonl", "colums": {}}, "a source of prompts has no option 'colums'; did you mean 'columns'"),
    ({"path": "p.jsonl", "columns": {"promt": "q"}}, "columns has no option 'promt'; did you mean 'prompt'"),
    ({"path": "p.jsonl", "slice": "5"}, "slice is '5'; write \"from:to\""),
    ({"path": "p.jsonl", "slice": "9:3"}, "slice '9:3' holds no rows"),
    ({"path": "p.jsonl", "verifier": "anser"}, "there is no verifier 'anser'; did you mean 'answer'"),
    ({"path": "p.jsonl", "instruction": "Be short."}, "it must hold {prompt} once"),
    ({"path": "p.jsonl", "hub": "a/b"}, "either a path or a hub id"),
    ({"columns": {}}, "either a path or a hub id"),
    ({"path": "p.jsonl", "columns": {"prompt": "q", "messages": "m"}}, "columns names both prompt and messages"),
    ({"name": "gsm8"}, "there is no data set by the name 'gsm8'; did you mean 'gsm8k'"),
    ({"name": "gsm8k", "path": "a.jsonl", "hub": "a/b"}, "both path and hub are given"),
    ({"name": "gsm8k", "columns": {}}, "a named data set has no option 'columns'"),
    (["p.jsonl"], "a source of prompts is a path, a hub id or a mapping"),
]


@pytest.mark.parametrize(("source", "part"), BAD_DEFINITIONS)
def test_bad_definitions_are_refused_before_a_row_is_read(source, part):
    with pytest.raises(ConfigError) as error:
        load_prompts(source, "r.yaml: prompts")
    assert str(error.value).startswith("r.yaml: prompts: ")
    assert part in str(error.value)


def test_columns_instruction_system_and_slice(tmp_path):
    rows = [{"q": f"{n} + 1?", "a": n + 1, "more": None} for n in range(10)]
    source = {
        "path": str(lines(tmp_path / "p.jsonl", *rows)),
        "columns": {"prompt": "q", "gold": "a"},
        "slice": "2:5",
        "verifier": "exact",
        "instruction": "Question: {prompt}\nAnswer with {braces}.",
        "system": "You add.",
    }
    prompts = list(load_prompts(source))
    assert [prompt.gold for prompt in prompts] == ["3", "4", "5"]
    assert prompts[0].messages == (
        {"role": "system", "content": "You add."},
        {"role": "user", "content": "Question: 2 + 1?\nAnswer with {braces}."},
    )
    assert (prompts[0].verifier, prompts[0].meta) == ("exact", {"question": "2 + 1?"})
    whole = list(load_prompts({**source, "slice": None}))
    assert [prompt.id for prompt in whole][2:5] == [prompt.id for prompt in prompts]
    with pytest.raises(
        DataError, match=r"line 1: no field 'question' \(named by columns.prompt\); the row has q, a, more"
    ):
        list(load_prompts({**source, "columns": {"prompt": "question"}, "slice": None}))
    with pytest.raises(DataError, match="there are no prompts in slice '50:60'"):
        list(load_prompts({**source, "slice": "50:60"}))


def write_all(folder: Path, rows: list[dict[str, object]]) -> dict[str, str]:
    """The same rows in every file format."""
    from datasets import Dataset, DatasetDict

    lines(folder / "p.jsonl", *rows)
    (folder / "p.json").write_text(json.dumps(rows))
    with (folder / "p.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    data = Dataset.from_list(rows)
    data.to_parquet(str(folder / "p.parquet"))
    data.save_to_disk(str(folder / "disk"))
    DatasetDict({"train": data, "test": data.select([0])}).save_to_disk(str(folder / "splits"))
    return {name: str(folder / name) for name in ("p.jsonl", "p.json", "p.csv", "p.parquet", "disk", "splits")}


def test_all_formats_give_the_same_prompts(tmp_path):
    rows = [{"id": f"n{n}", "prompt": f'say "{n}",\nplease ½', "gold": str(n)} for n in range(3)]
    paths = write_all(tmp_path, rows)
    expected = list(load_prompts(paths.pop("p.jsonl")))
    for name, path in paths.items():
        assert list(load_prompts(path)) == expected, name
    assert [p.id for p in load_prompts({"path": paths["splits"], "split": "test"})] == ["n0"]
    with pytest.raises(DataError, match="there is no split 'dev'; splits here: train, test"):
        list(load_prompts({"path": paths["splits"], "split": "dev"}))


def test_broken_files_of_each_format(tmp_path):
    cases = {
        "a.json": ('[{"prompt": "x"}', "not valid JSON"),
        "b.json": ('{"prompt": "x"}\n{"prompt": "y"}', "one object a line is called .jsonl"),
        "c.json": ('{"prompt": "x"}', "a .json file of prompts is one list of objects"),
        "d.csv": ("prompt,gold\nx,1\ny,2,3\n", "line 3: the row does not have the 2 columns of the header"),
        "e.csv": ('prompt,gold\nx,"1\n', "not valid CSV"),
        "f.csv": ("prompt,gold\n", "there are no prompts"),
        "g.parquet": ("not parquet at all", "not a parquet file that can be read"),
    }
    for name, (text, part) in cases.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError) as error:
            list(load_prompts(str(tmp_path / name)))
        assert part in str(error.value) and name in str(error.value)


def test_equal_rows_without_id_get_ids_of_their_own_which_stay(tmp_path):
    path = lines(tmp_path / "p.jsonl", {"prompt": "x"}, {"prompt": "x"}, {"prompt": "y"}, {"prompt": "x"})
    ids = [prompt.id for prompt in load_prompts(str(path))]
    assert len(set(ids)) == 4
    assert ids[1] == f"{ids[0]}-2" and ids[3] == f"{ids[0]}-3"
    assert ids == [prompt.id for prompt in load_prompts(str(path))]


def test_long_files_are_streamed(tmp_path):
    path = tmp_path / "long.jsonl"
    with path.open("w") as file:
        for number in range(20_000):
            file.write(json.dumps({"id": str(number), "prompt": f"{number} " + "word " * 100}) + "\n")
    assert path.stat().st_size > 10_000_000
    tracemalloc.start()
    count = sum(1 for _ in load_prompts(str(path)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 5_000_000  # the ids' marks: 20,000 x ~41 bytes and the set around them


def test_source_id_follows_content_and_definition_but_not_place(tmp_path):
    one, two = lines(tmp_path / "a.jsonl", ROW), lines(tmp_path / "b.jsonl", ROW)
    same = source_id(str(one))
    assert same == source_id({"path": str(two)})
    assert same != source_id({"path": str(one), "slice": "0:1"})
    lines(two, {**ROW, "gold": "3"})
    assert same != source_id(str(two))
    assert source_id("someone/some-data") == source_id({"hub": "someone/some-data"})
    paths = write_all(tmp_path, [ROW])
    before = source_id({"path": paths["disk"]})
    (tmp_path / "disk" / "state.json").write_text("{}")
    assert source_id({"path": paths["disk"]}) != before


@given(st.integers(0, 50), st.integers(0, 50))
@settings(derandomize=True)
def test_slices_are_pythons(start, end):
    if end <= start:
        with pytest.raises(ConfigError, match="holds no rows"):
            bounds(f"{start}:{end}", "r")
    else:
        assert list(range(60))[slice(*bounds(f"{start}:{end}", "r"))] == list(range(start, end))
    assert bounds(f"{start}:", "r") == (start, None)
