"""The ledger: every request with its answer, durable before the asker sees it.

One SQLite file (WAL). Writes of many coroutines are committed together by one writer thread: a request
waits for the commit that holds its answer, and the next commit gathers whatever has come in meanwhile.
After a crash the same requests are answered from here, so nothing finished is asked twice. Failed answers
are never written: they are asked again.
"""

import asyncio
import json
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfimprove.errors import DataError

FORMAT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, prompt TEXT NOT NULL, purpose TEXT NOT NULL, path TEXT NOT NULL,
    request TEXT NOT NULL, answer TEXT NOT NULL, time REAL NOT NULL);
CREATE INDEX IF NOT EXISTS answers_of_prompt ON answers (prompt);
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept of one request: its key, kind (generate, score, check, ...), origin, request and answer."""

    key: str
    kind: str
    prompt: str
    purpose: str
    path: str
    request: Any
    answer: Any
    time: float = 0.0


class Ledger:
    """Answers by key, shared by all coroutines of one asyncio loop.

    Raises DataError where the file is no ledger, is of a newer version, or cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        """Open or make the ledger file; the folder must exist."""
        self.path = Path(path)
        self.hits = 0  # answered from the file
        self.asked = 0  # answered by asking, and written
        self._in_flight: dict[str, asyncio.Future[Any]] = {}
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[None]]] = []
        self._flush: asyncio.Task[None] | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        try:
            self._read = self._connect()
            version = self._read.execute("PRAGMA user_version").fetchone()[0]
            if version > FORMAT:
                raise DataError(
                    f"{self.path}: written by a newer version (format {version}, this one knows {FORMAT}); "
                    "upgrade selfimprove"
                )
            self._read.executescript(_SCHEMA)
            self._read.execute(f"PRAGMA user_version = {FORMAT}")
            self._read.commit()
            self._write = self._connect()
        except sqlite3.Error as error:
            raise DataError(f"{self.path}: cannot be used as a ledger: {error}") from None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, check_same_thread=False, timeout=30)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # an answer counts as written when it survives a power cut
        return connection

    def get(self, key: str) -> Any | None:
        """Return the answer of a key (plain JSON types), or None."""
        row = self._read.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def __len__(self) -> int:
        """Return the number of answers held."""
        return int(self._read.execute("SELECT count(*) FROM answers").fetchone()[0])

    def entries(self, prompt: str | None = None) -> Iterator[Entry]:
        """Yield what is kept, oldest first, of one prompt id or of all."""
        where, values = ("WHERE prompt = ?", (prompt,)) if prompt is not None else ("", ())
        columns = "key, kind, prompt, purpose, path, request, answer, time"
        for row in self._read.execute(f"SELECT {columns} FROM answers {where} ORDER BY rowid", values):
            yield Entry(*row[:5], json.loads(row[5]), json.loads(row[6]), row[7])

    async def answer(
        self,
        key: str,
        ask: Callable[[], Awaitable[tuple[Any, bool]]],
        *,
        kind: str,
        prompt: str = "",
        purpose: str = "",
        path: str = "",
        request: Any = None,
    ) -> Any:
        """Return the answer of `key`: from the file, from a twin request in flight, or by `ask()`.

        `ask` returns (answer in plain JSON types, whether it is good); only a good answer is written, and it
        is on disk before this returns.
        """
        known = self.get(key)
        if known is not None:
            self.hits += 1
            return known
        twin = self._in_flight.get(key)
        if twin is not None:
            return await asyncio.shield(twin)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._in_flight[key] = future
        try:
            answer, good = await ask()
            if good:
                text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
                asked = json.dumps(request, ensure_ascii=False, separators=(",", ":"))
                await self._commit((key, kind, prompt, purpose, path, asked, text, time.time()))
                self.asked += 1
        except BaseException as error:
            future.set_exception(_as_seen_by_twins(error))
            future.exception()  # a twin may not exist; do not warn about an exception nobody fetched
            raise
        else:
            future.set_result(answer)
            return answer
        finally:
            del self._in_flight[key]

    async def _commit(self, row: tuple[Any, ...]) -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((row, done))
        if self._flush is None:
            self._flush = loop.create_task(self._flush_all())
        await done

    async def _flush_all(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                await asyncio.sleep(0)  # let what is ready now join this commit
                batch, self._waiting = self._waiting, []
                error: BaseException | None = None
                try:
                    await loop.run_in_executor(self._writer, self._insert, [row for row, _ in batch])
                except sqlite3.Error as problem:
                    error = DataError(
                        f"{self.path}: the ledger cannot be written: {problem}; free some space, then resume"
                    )
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error) if error else done.set_result(None)
        finally:
            self._flush = None

    def _insert(self, rows: list[tuple[Any, ...]]) -> None:
        with self._write:
            self._write.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def close(self) -> None:
        """Finish the commit under way and close the file; safe to call twice."""
        self._writer.shutdown(wait=True)
        self._read.close()
        self._write.close()


def _as_seen_by_twins(error: BaseException) -> BaseException:
    """A cancelled asker must not cancel its twins' tasks: they see an error that says what happened."""
    if isinstance(error, asyncio.CancelledError):
        return DataError("the request was cancelled while another coroutine waited for the same answer")
    return error
