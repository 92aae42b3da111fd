"""The run folder: markers, checksums, one process at a time, and a resume that refuses another recipe."""

import pytest

from selfimprove.config import make_recipe
from selfimprove.errors import ConfigError, DataError
from selfimprove.files import read_json, read_jsonl, write_json
from selfimprove.records import Example, Prompt, Skip, as_messages
from selfimprove.store import Lookup, Rows, RowWriter, Store


def recipe(**changes):
    return make_recipe({"method": {"name": "raft"}, "prompts": "data.jsonl", **changes}, "r.yaml")


def example(i):
    return Example.of(Prompt(f"p{i}", as_messages(f"q{i}")), f"answer é {i}", reward=1.0)


def begin(folder):
    """A run with two rounds collected and the first one learned and evaluated."""
    store = Store(folder).open(recipe())
    store.finish(0, "evaluate", sets={})
    for number in (1, 2):
        writer = RowWriter(store.stage_folder(number, "collect"))
        for i in range(3):
            writer.write(example(i))
        store.finish(number, "collect", writer.close(), rows=writer.rows)
    store.finish(1, "learn", adapter=None)
    store.finish(1, "evaluate", sets={})
    return store


def test_rows_are_sharded_in_order_and_skips_counted(tmp_path):
    writer = RowWriter(tmp_path, shard_rows=2)
    for i in range(5):
        writer.write(example(i))
        writer.write(Skip(f"s{i}", "empty" if i % 2 else "close_vote"))
    files = writer.close()
    assert [file.name for file in files] == ["rows-00000.jsonl", "rows-00001.jsonl", "rows-00002.jsonl", "skips.jsonl"]
    rows = Rows(tuple(files[:3]))
    assert len(rows) == 5 and [Example.from_row(row) for row in rows] == [example(i) for i in range(5)]
    assert writer.skips == {"close_vote": 3, "empty": 2}
    assert len(rows + rows) == 10


def test_a_new_writer_removes_what_an_unfinished_stage_left(tmp_path):
    first = RowWriter(tmp_path, shard_rows=1)
    for i in range(3):
        first.write(example(i))
    first.close()
    second = RowWriter(tmp_path, shard_rows=1)
    second.write(example(9))
    assert [file.name for file in second.close()] == ["rows-00000.jsonl"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows-00000.jsonl"]


def test_a_number_that_is_not_finite_never_reaches_a_file(tmp_path):
    with pytest.raises(DataError, match="not finite"):
        RowWriter(tmp_path).write(Example.of(Prompt("p", as_messages("q")), "a", reward=float("nan")))


def test_a_torn_line_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "a"}\n{"id": "b')
    with pytest.raises(DataError, match="rows.jsonl line 2: not valid JSON"):
        list(read_jsonl(path))


def test_a_flipped_byte_is_found_and_named(tmp_path):
    with begin(tmp_path) as store:
        file = store.stage_folder(2, "collect") / "rows-00000.jsonl"
        assert len(store.rows(2)) == 3
        data = bytearray(file.read_bytes())
        data[20] ^= 1
        file.write_bytes(data)
        with pytest.raises(DataError, match=r"rows-00000.jsonl: changed or damaged.*--from 2/collect"):
            store.rows(2)
        assert len(store.rows(1)) == 3


def test_another_recipe_is_refused_naming_the_fields(tmp_path):
    begin(tmp_path).close()
    with pytest.raises(ConfigError, match=r"another recipe \(method.samples: None -> 4; seed: 0 -> 3\)"):
        Store(tmp_path).open(recipe(method={"name": "raft", "samples": 4}, seed=3))
    with Store(tmp_path).open(recipe(rounds=5, export="adapter")) as store:  # may grow
        assert store.marker(1, "learn") is not None


@pytest.mark.parametrize(
    ("stage", "left"),
    [
        ("collect", {(0, "evaluate")}),
        ("1/learn", {(0, "evaluate"), (1, "collect")}),
        ("2/collect", {(0, "evaluate"), (1, "collect"), (1, "learn"), (1, "evaluate")}),
        ("evaluate", set()),
    ],
)
def test_redoing_from_a_stage_keeps_the_earlier_ones_and_loses_nothing(tmp_path, stage, left):
    begin(tmp_path).close()
    with Store(tmp_path).open(recipe(seed=7), redo=stage) as store:
        found = {(n, s) for n in range(3) for s in ("collect", "learn", "evaluate") if store.marker(n, s)}
        assert found == left
        assert len(list((tmp_path / "replaced").rglob("*.json"))) == 5 - len(left)
    with Store(tmp_path).open(recipe(seed=7)) as store:  # the new recipe is the run's recipe now
        assert store.marker(0, "evaluate") is None or stage != "evaluate"


def test_an_unknown_stage_is_refused(tmp_path):
    begin(tmp_path).close()
    with pytest.raises(ConfigError, match="--from train: a stage is one of collect, assemble, learn, evaluate"):
        Store(tmp_path).open(recipe(), redo="train")


def test_two_processes_cannot_hold_one_run(tmp_path):
    with Store(tmp_path).open(recipe()), pytest.raises(ConfigError, match="process .* is working on this run"):
        Store(tmp_path).open(recipe())
    with Store(tmp_path).open(recipe()) as store:
        assert read_json(store.folder / "run.json")["format"] == 1


def test_a_newer_run_and_a_file_in_the_way_are_refused(tmp_path):
    write_json(tmp_path / "new" / "run.json", {"format": 99, "version": "9.9"})
    with pytest.raises(ConfigError, match="written by version 9.9 .format 99., which is newer"):
        Store(tmp_path / "new").open(recipe())
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot be written"):
        Store(tmp_path / "file").open(recipe())


def test_a_lookup_finds_the_rows_of_a_value_in_order_over_all_shards(tmp_path):
    writer = RowWriter(tmp_path, shard_rows=2)
    for number, group in enumerate(["a", "b", "ä\n", "a", "b"]):
        writer.write({"id": number, "group": group})
    lookup = Lookup(Rows(tuple(writer.close())), "group")
    assert [row["id"] for row in lookup.find("a")] == [0, 3]
    assert lookup.find("ä\n") == [{"id": 2, "group": "ä\n"}] and lookup.find("c") == []
