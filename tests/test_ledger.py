"""The ledger: nothing is asked twice, an answer is on disk before it is seen, failures are asked again."""

import asyncio
import sqlite3

import pytest

from selfimprove.errors import DataError
from selfimprove.ledger import Ledger


def ask_counting(calls: list[str], answer: object, good: bool = True):
    async def ask():
        calls.append("asked")
        await asyncio.sleep(0)
        return answer, good

    return ask


def test_an_answer_is_asked_once_and_survives_reopening(tmp_path):
    calls: list[str] = []

    async def twice() -> list:
        ledger = Ledger(tmp_path / "ledger.sqlite")
        found = [await ledger.answer("k", ask_counting(calls, {"text": "é 4"}), kind="generate") for _ in range(2)]
        ledger.close()
        return found

    assert asyncio.run(twice()) == [{"text": "é 4"}] * 2
    assert asyncio.run(twice()) == [{"text": "é 4"}] * 2
    assert calls == ["asked"]


def test_the_answer_is_durable_before_the_asker_sees_it(tmp_path):
    path = tmp_path / "ledger.sqlite"

    async def look_with_another_connection() -> int:
        ledger = Ledger(path)
        await ledger.answer("k", ask_counting([], 1), kind="generate")
        other = sqlite3.connect(path)
        found = other.execute("SELECT count(*) FROM answers WHERE key = 'k'").fetchone()[0]
        other.close()
        ledger.close()
        return found

    assert asyncio.run(look_with_another_connection()) == 1


def test_twins_in_flight_share_one_question(tmp_path):
    calls: list[str] = []

    async def together() -> list:
        ledger = Ledger(tmp_path / "ledger.sqlite")
        found = await asyncio.gather(
            *(ledger.answer("k", ask_counting(calls, 7), kind="score", prompt="p") for _ in range(5))
        )
        ledger.close()
        return found

    assert asyncio.run(together()) == [7] * 5
    assert calls == ["asked"]


def test_a_failed_answer_is_returned_but_asked_again(tmp_path):
    calls: list[str] = []

    async def twice() -> tuple[object, object, int]:
        ledger = Ledger(tmp_path / "ledger.sqlite")
        first = await ledger.answer("k", ask_counting(calls, {"error": "busy"}, good=False), kind="generate")
        second = await ledger.answer("k", ask_counting(calls, {"text": "ok"}), kind="generate")
        held = len(ledger)
        ledger.close()
        return first, second, held

    assert asyncio.run(twice()) == ({"error": "busy"}, {"text": "ok"}, 1)
    assert len(calls) == 2


def test_a_cancelled_asker_does_not_cancel_its_twin(tmp_path):
    async def scene() -> str:
        ledger = Ledger(tmp_path / "ledger.sqlite")

        async def slow():
            await asyncio.sleep(10)
            return 1, True

        asker = asyncio.create_task(ledger.answer("k", slow, kind="generate"))
        await asyncio.sleep(0.01)
        twin = asyncio.create_task(ledger.answer("k", slow, kind="generate"))
        await asyncio.sleep(0.01)
        asker.cancel()
        with pytest.raises(DataError, match="cancelled"):
            await twin
        ledger.close()
        return "done"

    assert asyncio.run(scene()) == "done"


def test_many_writers_share_commits_and_keep_their_origin(tmp_path):
    async def many() -> list:
        ledger = Ledger(tmp_path / "ledger.sqlite")
        await asyncio.gather(
            *(
                ledger.answer(f"k{i}", ask_counting([], i), kind="generate", prompt=f"p{i % 3}", request={"n": i})
                for i in range(500)
            )
        )
        entries = list(ledger.entries("p1"))
        ledger.close()
        return entries

    entries = asyncio.run(many())
    assert len(entries) == 167
    assert all(entry.answer % 3 == 1 and entry.request == {"n": entry.answer} for entry in entries)


def test_a_newer_or_foreign_file_is_refused_in_a_sentence(tmp_path):
    newer = sqlite3.connect(tmp_path / "newer.sqlite")
    newer.execute("PRAGMA user_version = 99")
    newer.commit()
    newer.close()
    with pytest.raises(DataError, match="newer version .format 99"):
        Ledger(tmp_path / "newer.sqlite")
    (tmp_path / "text.sqlite").write_text("this is no data base at all" * 50)
    with pytest.raises(DataError, match="cannot be used as a ledger"):
        Ledger(tmp_path / "text.sqlite")
