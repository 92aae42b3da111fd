"""`show` with filters: every view narrows as it says, streams, and leaves a running run alone."""

import json
import shutil
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.errors import ConfigError, DataError
from selfimprove.files import read_jsonl
from selfimprove.records import Skip
from selfimprove.reporting.looking import grades
from selfimprove.reporting.looking.filters import Condition, Filters, matches, select
from selfimprove.store import RowWriter, Store, saved_recipe


@pytest.fixture
def records(told):
    """Return a function that gives the JSON objects of a `show`."""
    return lambda *words: [json.loads(line) for line in told("show", *words, "--json").splitlines()]


@pytest.fixture
def run(finished_run, tmp_path):
    """Return a copy of the finished run whose second round was assembled: its first two rows were taken out."""
    folder = tmp_path / "run"
    shutil.copytree(finished_run.run, folder)
    store = Store(folder)
    rows = list(store.rows(2))
    writer = RowWriter(store.stage_folder(2, "assemble"))
    for row in rows[:2]:
        writer.write(Skip(row["id"], "near_duplicate", f"of {rows[2]['id']}"))
    for row in rows[2:]:
        writer.write(row)
    store.finish(2, "assemble", writer.close(), rows=writer.rows, skips=writer.skips)
    return folder


def test_rows_by_condition_id_and_text(run, records):
    rows = list(Store(run).rows(1))
    assert records(run, "--rows", "--round", 1) == rows
    assert records(run, "--rows", "--round", 1, "--where", "reward>=1", "--where", "weight<2") == rows
    assert records(run, "--rows", "--round", 1, "--where", "reward<1") == []
    some = [row for row in rows if row["id"].startswith("q2-")]
    assert some and records(run, "--rows", "--round", 1, "--id", "q2-*") == some
    text = rows[3]["prompt"][0]["content"]
    assert records(run, "--rows", "--round", 1, "--contains", text.upper()) == [rows[3]]
    assert len(records(run, "--rows", "--round", 1, "--limit", 2)) == 2


def test_rows_can_be_graded_anew(run, records):
    assert {row["score"] for row in records(run, "--rows", "--correct")} == {1.0}  # the method keeps right answers
    assert records(run, "--rows", "--wrong") == []


def test_skips_tell_prompts_and_rows_apart(run, records, told):
    found = records(run, "--skips")
    assert [skip["stage"] for skip in found[-2:]] == ["assemble", "assemble"]
    assert {skip["stage"] for skip in found[:-2]} == {"collect"}
    assert len(records(run, "--skips", "--reason", "near_duplicate")) == 2
    assert records(run, "--reason", "near_duplicate") == found[-2:]  # the reason alone asks for skips
    message = told("show", run, "--skips", "--reason", "near_dupplicate", code=2)
    assert "nothing of round 2 was left out for 'near_dupplicate'; did you mean 'near_duplicate'?" in message


def test_why_lists_what_was_taken_out_before_training(run, told, records):
    rows, taken = len(list(read_jsonl(run / "round-2" / "collect" / "rows-00000.jsonl"))), 2
    lines = told("show", run, "--why", "--limit", 1).splitlines()
    at = lines.index(f"{rows - taken} rows are left after these were taken out:")
    assert lines[at + 1].split("  ")[-1] == f"near_duplicate ({100 * taken / rows:.1f} % of the rows)"
    assert not lines[at + 3]  # one example, then the funnel
    assert any(line.split()[:2] == ["-2", "near_duplicate"] for line in lines[at + 3 :])
    assert any("none_right" in line for line in lines[1:at])
    found = {each["reason"]: each for each in records(run, "--why")}
    assert found["near_duplicate"]["count"] == taken and len(found["near_duplicate"]["examples"]) == taken


def test_verdicts_are_those_of_the_held_out_items_and_of_the_samples(run, records):
    items = [json.loads(line) for line in (run / "round-1/evaluate/sums/rows-00000.jsonl").read_text().splitlines()]
    found = records(run, "--verdicts", "--round", 1)
    held, sampled = [v for v in found if v["of"] == "sums"], [v for v in found if v["of"] == "sample"]
    assert [v["score"] == 1 for v in held] == [item["correct"] for item in items]
    assert len(sampled) == 2 * 20  # two samples of twenty prompts
    right = [v for v in sampled if v["score"] == 1]
    assert {v["id"] for v in right} == {row["id"] for row in Store(run).rows(1)}
    correct, wrong = (records(run, "--round", 1, word) for word in ("--correct", "--wrong"))
    assert len(correct) + len(wrong) == len(found)
    assert [v for v in wrong if v["of"] == "sums"] == [v for v in held if v["score"] == 0]


def test_prompts_tell_what_became_of_each(run, records, told):
    found = records(run, "--prompts", "--round", 1)
    made = {row["id"] for row in Store(run).rows(1)}
    assert len(found) == 20
    assert {prompt["id"] for prompt in found if prompt["rows"]} == made
    assert {prompt["id"] for prompt in found if prompt["right"]} == made
    assert {prompt["reason"] for prompt in found if not prompt["rows"]} == {"none_right"}
    assert {prompt["id"] for prompt in records(run, "--prompts", "--round", 1, "--correct")} == made
    taken_out = records(run, "--prompts", "--round", 2, "--reason", "near_duplicate")
    assert len(taken_out) == 2 and all(prompt["right"] and not prompt["rows"] for prompt in taken_out)
    assert len(records(run, "--prompts", "--where", "rows>0", "--where", "gold=4")) == sum(
        prompt["gold"] == "4" and prompt["rows"] > 0 for prompt in records(run, "--prompts")
    )
    assert "there are more: --limit 0 shows all" in told("show", run, "--prompts", "--limit", 3)
    assert "there are more" not in told("show", run, "--prompts", "--limit", 0)


def test_samples_take_a_pattern_a_round_and_grades(run, records):
    everything = records(run, "--samples", "q1-*")
    assert {answer["id"] for answer in everything} >= {f"q1-{j}" for j in range(5)}
    assert {answer["made_by"] for answer in everything if answer["kind"] == "generate"} == {"the start model"}
    right = records(run, "--samples", "q1-*", "--correct")
    assert right and {answer["score"] for answer in right} == {1.0}
    assert all(answer["purpose"] in ("evaluate", "watch") for answer in records(run, "--samples", "*", "--round", 0))


def test_watch_and_rounds_and_events_and_overview(run, records, told):
    table = told("show", run, "--watch").splitlines()
    assert table[0].split() == ["figure", "round", "0", "round", "1", "round", "2"]
    assert any(line.startswith("tokens") for line in table)
    figures = json.loads((run / "round-1" / "watch.json").read_text())["figures"]
    assert records(run, "--watch")[1]["tokens"] == figures["tokens"]
    measured = records(run, "--rounds")
    assert [(each["round"], each["before"]) for each in measured] == [(0, None), (1, 0), (2, 1)]
    assert measured[1]["against"]["gained"] == 0
    finished = records(run, "--events", "--where", "event=stage_finished", "--round", 1)
    assert [event["stage"] for event in finished] == ["collect", "learn", "evaluate", "watch"]
    assert [each["round"] for each in records(run)] == [0, 1, 2]


def test_filters_that_do_not_fit_are_refused(run, told):
    assert "--correct/--wrong does not go with --rounds" in told("show", run, "--rounds", "--wrong", code=2)
    assert "nothing here has a field 'rewrad'; did you mean 'reward'?" in told(
        "show", run, "--where", "rewrad>0", code=2
    )
    assert "write a field" in told("show", run, "--where", "reward", code=2)


def test_a_run_that_is_under_way_is_shown_and_left_alone(run, records, told):
    folder = run / "round-3" / "collect"
    folder.mkdir(parents=True)
    whole = (run / "round-1" / "collect" / "rows-00000.jsonl").read_text().splitlines(keepends=True)
    (folder / "rows-00000.jsonl").write_text(whole[0] + whole[1][:30])  # a line that is still being written
    with (run / "events.jsonl").open("a") as file:
        file.write('{"time": "2026')
    files = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with Store(run).open(saved_recipe(run)):  # another process holds the folder
        files = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
        assert records(run, "--rows", "--round", 3) == [json.loads(whole[0])]
        assert "finished" in told("show", run)
        records(run, "--samples", "q1-1")
        assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == files


def test_a_torn_file_of_a_finished_stage_is_damage(run, told):
    path = run / "round-1" / "collect" / "skips.jsonl"
    path.write_text(path.read_text()[:-20])
    lines = path.read_text().count("\n") + 1
    assert f"skips.jsonl line {lines}: not valid JSON" in told("show", run, "--skips", "--round", 1, "--json", code=2)


def test_a_shared_ledger_is_found(run, tmp_path, records):
    before = records(run, "--samples", "q1-2")
    (run / "ledger.sqlite").rename(tmp_path / "shared.sqlite")
    recipe = (run / "recipe.yaml").read_text().replace("ledger: null", f"ledger: {tmp_path / 'shared.sqlite'}")
    (run / "recipe.yaml").write_text(recipe)
    assert before and records(run, "--samples", "q1-2") == before


def test_a_large_ledger_is_not_held_in_memory(tmp_path):
    import sqlite3

    from selfimprove.ledger import Ledger, LedgerReader

    Ledger(tmp_path / "l.sqlite").close()
    connection = sqlite3.connect(tmp_path / "l.sqlite")
    text = json.dumps([{"text": "x" * 2000}])
    rows = ((f"k{n}", "generate", f"p{n}", "sample", "", "{}", text, 0.0) for n in range(4_000))
    connection.executemany("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    tracemalloc.start()
    try:
        assert sum(1 for _ in LedgerReader(tmp_path / "l.sqlite").entries()) == 4_000
        assert tracemalloc.get_traced_memory()[1] < 3_000_000  # the file holds 8 MB
    finally:
        tracemalloc.stop()


def test_a_ledger_that_is_being_written_is_read_without_a_lock(tmp_path):
    import asyncio
    import sqlite3

    from selfimprove.ledger import Ledger, LedgerReader

    path = tmp_path / "l.sqlite"
    ledger = Ledger(path)

    async def ask(number: int) -> None:
        async def answer():
            return {"n": number}, True

        await ledger.answer(f"k{number}", answer, kind="generate", prompt="p")

    async def scene() -> None:
        await asyncio.gather(*map(ask, range(300)))
        entries = LedgerReader(path).entries("p")
        assert next(entries).answer == {"n": 0}
        await asyncio.gather(*map(ask, range(300, 400)))  # while somebody reads
        busy, _, _ = ledger._read.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not busy  # it would be, if a reader held the file between two entries
        assert len(list(entries)) == 399

    asyncio.run(scene())
    ledger.close()
    assert [file.name for file in tmp_path.iterdir()] == ["l.sqlite"]
    assert len(list(LedgerReader(path).entries("p"))) == 400
    assert [file.name for file in tmp_path.iterdir()] == ["l.sqlite"]  # reading leaves nothing behind
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE answers SET answer = '{' WHERE key = 'k7'")
    connection.close()
    with pytest.raises(DataError, match="entry k7 is damaged"):
        list(LedgerReader(path).entries("p"))
    (tmp_path / "text.sqlite").write_text("no ledger" * 100)
    with pytest.raises(DataError, match="cannot be read as a ledger"):
        LedgerReader(tmp_path / "text.sqlite")


@pytest.mark.parametrize("remembered", [3, 100])
def test_prompts_are_found_in_any_order(tmp_path, sums, monkeypatch, remembered):
    monkeypatch.setattr(grades, "REMEMBERED", remembered)
    sums(tmp_path / "a.jsonl", [(0, j) for j in range(6)])
    sums(tmp_path / "b.jsonl", [(1, j) for j in range(6)])
    finder = grades.PromptFinder([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")], "test")
    for name in ("q0-1", "q1-5/tag", "q0-0", "q1-2/a/b", "q9-9", "q0-5", "q0-5/x", "q9-9/x", "q1-0"):
        found = finder.find(name)
        assert (found and found.id) == (None if name.startswith("q9") else name.partition("/")[0])


VALUES = st.integers(-3, 3) | st.sampled_from([0.5, -1.5]) | st.sampled_from(["a", "b c"]) | st.none()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(st.fixed_dictionaries({"x": VALUES, "meta": st.fixed_dictionaries({"y": VALUES})}), max_size=8),
    st.sampled_from(["x", "meta.y"]),
    st.sampled_from([">=", "<=", "!=", "==", ">", "<", "="]),
    st.integers(-3, 3) | st.sampled_from([0.5, -1.5]),
)
def test_a_condition_keeps_what_the_comparison_keeps(records, field, sign, value):
    condition = Condition.parse(f" {field} {sign} {value} ")
    assert (condition.field, condition.sign, condition.value) == (field, sign, value)
    compare = {
        ">=": lambda a: a >= value, "<=": lambda a: a <= value, "!=": lambda a: a != value, "==": lambda a: a == value,
        ">": lambda a: a > value, "<": lambda a: a < value, "=": lambda a: a == value,
    }[sign]  # fmt: skip

    def holds(record) -> bool:
        found = record["x"] if field == "x" else record["meta"]["y"]
        if found is None:
            return False
        return compare(found) if not isinstance(found, str) else sign == "!="  # no text here spells a number

    assert list(select(records, Filters(where=(condition,)))) == [record for record in records if holds(record)]


def test_conditions_on_texts_and_nothing():
    assert Condition.parse("finish=length").holds({"finish": "length"})
    assert not Condition.parse("finish=length").holds({"finish": "stop"})
    assert Condition.parse("reward=null").holds({"reward": None})
    assert not Condition.parse("reward=null").holds({"reward": 1})
    assert Condition.parse("ok=true").holds({"ok": True})
    assert Condition.parse("gold=4").holds({"gold": "4"}) and Condition.parse("gold=4").holds({"gold": 4})
    assert not Condition.parse("gold>3").holds({"gold": "4"})
    assert Condition.parse("id>=q2").holds({"id": "q3"})
    for text in ("", ">1", "reward>", "re ward>1"):
        with pytest.raises(ConfigError, match="write a field"):
            Condition.parse(text)


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("q1-*", "q1-2", True), ("q1", "q1/0", True), ("q1", "q1/0/1", False), ("q1/0", "q1/0/1", True),
        ("q1", "q12", False), ("*/1", "q1/1", True), ("q[12]", "q2/7", True),
    ],
)  # fmt: skip
def test_a_pattern_fits_the_id_or_its_prompts(pattern, name, fits):
    assert matches(pattern, name) is fits
