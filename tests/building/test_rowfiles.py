"""Row files: every format, whole or not at all."""

import json

import pytest

from selfimprove.building import rowfiles
from selfimprove.building.rowfiles import RowFile, RowSink
from selfimprove.building.texts import texts_of
from selfimprove.errors import ConfigError, DataError

ROWS = [
    {"id": "a", "prompt": [{"role": "user", "content": "é?"}], "completion": "x", "reward": None, "meta": {}},
    {"id": "b", "prompt": [{"role": "user", "content": "q"}], "completion": "y", "reward": 1, "meta": {}},
    {"id": "c", "prompt": [{"role": "user", "content": "q"}], "completion": "z", "reward": 0.5, "meta": {}},
]


def write(path, rows, **options):
    with RowSink(path, **options) as sink:
        for row in rows:
            sink.write(row)
    return path


@pytest.mark.parametrize("ending", [".jsonl", ".parquet", ".arrow"])
def test_what_is_written_is_read_again(tmp_path, ending, monkeypatch):
    monkeypatch.setattr(rowfiles, "BATCH", 2)
    file = RowFile(write(tmp_path / f"rows{ending}", ROWS))
    expected = ROWS if ending == ".jsonl" else [{k: v for k, v in row.items() if k != "meta"} for row in ROWS]
    assert list(file) == list(file) == expected
    again = RowFile(write(tmp_path / f"again{ending}", file, schema=file.schema()))
    assert list(again) == expected and (again.schema() is None) == (ending == ".jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"again{ending}", f"rows{ending}"]


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_fields_that_come_late_or_change_from_whole_numbers_fit(tmp_path, ending, monkeypatch):
    monkeypatch.setattr(rowfiles, "BATCH", 1)
    rows = [{"a": None}, {"a": 1}, {"a": 2.5, "b": {"c": 1}}, {"b": {"d": "x", "e": {}}}]
    assert list(RowFile(write(tmp_path / f"rows{ending}", rows))) == [
        {"a": None, "b": None},
        {"a": 1.0, "b": None},
        {"a": 2.5, "b": {"c": 1, "d": None}},
        {"a": None, "b": {"c": None, "d": "x"}},
    ]
    assert list(RowFile(write(tmp_path / f"none{ending}", []))) == []


def test_rows_that_fit_no_table_and_unknown_endings(tmp_path):
    with pytest.raises(DataError, match=r"x.parquet: the rows do not fit one table .*write .jsonl"):
        write(tmp_path / "x.parquet", [{"a": "text"}, {"a": 1}])
    with pytest.raises(DataError, match="not finite"):
        write(tmp_path / "x.jsonl", [{"id": "a", "score": float("nan")}])
    with pytest.raises(ConfigError, match="end in '.txt'; known: .jsonl, .parquet, .arrow"):
        write(tmp_path / "x.txt", [])
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="x.jsonl: cannot be written"):
        write(tmp_path / "file" / "x.jsonl", [])


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path):
    path = write(tmp_path / "rows.jsonl", ROWS)
    with pytest.raises(ConfigError, match="is there already; choose another name, or --force"):
        RowSink(path)
    with pytest.raises(ZeroDivisionError), RowSink(path, force=True) as sink:
        sink.write(ROWS[0])
        1 / 0  # noqa: B018
    assert list(RowFile(path)) == ROWS and [item.name for item in tmp_path.iterdir()] == ["rows.jsonl"]
    write(path, ROWS[:1], force=True)
    assert list(RowFile(path)) == ROWS[:1]


def test_the_data_sets_library_reads_what_is_written_and_is_read(tmp_path):
    from datasets import Dataset

    assert (
        Dataset.from_parquet(str(write(tmp_path / "a.parquet", ROWS)), cache_dir=str(tmp_path / "c"))[1]["id"] == "b"
    )
    Dataset.from_list([{"id": "a", "text": "b"}]).save_to_disk(tmp_path / "folder")
    (shard,) = (tmp_path / "folder").glob("*.arrow")
    assert list(RowFile(shard)) == list(RowFile(tmp_path / "folder")) == [{"id": "a", "text": "b"}]


def test_a_bad_row_is_told_with_its_place(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n" + '{"id": "b"}\n')
    with pytest.raises(DataError, match=r"bad.jsonl line 2: the row has no text"):
        list(RowFile(path, texts_of))
    with pytest.raises(DataError, match=r"missing.jsonl: no such file"):
        RowFile(tmp_path / "missing.jsonl")
    (tmp_path / "bad.arrow").write_text("hello")
    with pytest.raises(DataError, match=r"bad.arrow: not an Arrow file"):
        list(RowFile(tmp_path / "bad.arrow"))
