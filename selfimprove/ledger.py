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
from contextlib import closing
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
            self._refuse_foreign()
            self._read = self._connect()
            if self._read.execute("PRAGMA user_version").fetchone()[0] != FORMAT:
                self._read.executescript(_SCHEMA)
                self._read.execute(f"PRAGMA user_version = {FORMAT}")
                self._read.commit()
            self._write = self._connect()
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _refuse_foreign(self) -> None:
        """Raise DataError where the file is of a newer format or another program's, before anything is written."""
        if not self.path.is_file() or not self.path.stat().st_size:
            return
        with closing(sqlite3.connect(self.path, timeout=30)) as reader:
            [(version,)] = reader.execute("PRAGMA user_version").fetchall()
            tables = [name for (name,) in reader.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            columns = {row[1] for row in reader.execute("PRAGMA table_info(answers)")}
        if version > FORMAT:
            raise DataError(
                f"{self.path}: written by a newer version (format {version}, this one knows {FORMAT}); "
                "upgrade selfimprove"
            )
        if tables and not {"key", "prompt", "request", "answer"} <= columns:
            raise DataError(f"{self.path}: a database of something else, not a ledger; name another file")

    def _unusable(self, error: Exception) -> DataError:
        """Return what to say of a file that SQLite cannot use, with what to do."""
        if "unable to open" in str(error):
            advice = "name a file in a folder that exists and can be written (the recipe's ledger, or its output)"
        elif "locked" in str(error):
            advice = "another process is writing to it; wait until it is done"
        elif "full" in str(error) or "disk I/O" in str(error):
            advice = "free some space, then run the same command: what is finished stays"
        else:
            advice = (
                "move it away, with the -wal and -shm files beside it, and run the same command: finished stages "
                "stay, the rest is asked again"
            )
        return DataError(f"{self.path}: cannot be used as a ledger: {error}; {advice}")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, check_same_thread=False, timeout=30)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # an answer counts as written when it survives a power cut
        return connection

    def get(self, key: str) -> Any | None:
        """Return the answer of a key (plain JSON types), or None."""
        try:
            row = self._read.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
            return json.loads(row[0]) if row else None
        except (sqlite3.Error, ValueError) as error:
            raise self._unusable(error) from None

    def __len__(self) -> int:
        """Return the number of answers held."""
        return int(self._read.execute("SELECT count(*) FROM answers").fetchone()[0])

    def entries(self, prompt: str | None = None) -> Iterator[Entry]:
        """Yield what is kept, oldest first, of one prompt id or of all."""
        where, values = ("WHERE prompt = ?", (prompt,)) if prompt is not None else ("", ())
        columns = "key, kind, prompt, purpose, path, request, answer, time"
        try:
            for row in self._read.execute(f"SELECT {columns} FROM answers {where} ORDER BY rowid", values):
                yield Entry(*row[:5], json.loads(row[5]), json.loads(row[6]), row[7])
        except (sqlite3.Error, ValueError) as error:
            raise self._unusable(error) from None

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
                    error = self._unusable(problem)
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


class LedgerReader:
    """A ledger for looking only: takes no lock that a running process could meet, and never holds one for long.

    Every page of entries is read through a connection of its own. Where no process has the file open it is read as
    it lies, so that nothing appears beside it. Raises DataError where the file is no ledger or of a newer version.
    """

    PAGE = 200
    """Entries that are in memory at once."""

    def __init__(self, path: str | Path) -> None:
        """Check that there is a ledger of a format that is known."""
        self.path = Path(path)
        if not self.path.is_file():
            raise DataError(f"{self.path}: the run has no ledger yet")
        [(version,)] = self._rows("PRAGMA user_version")
        if version > FORMAT:
            raise DataError(f"{self.path}: written by a newer version (format {version}); upgrade selfimprove")

    def get(self, key: str) -> Any | None:
        """Return the answer of a key (plain JSON types), or None."""
        found = self._rows("SELECT answer FROM answers WHERE key = ?", key)
        return self._plain(found[0][0], key) if found else None

    def entries(self, prompt: str | None = None, *, kind: str | None = None) -> Iterator[Entry]:
        """Yield what is kept, oldest first; of one prompt id, of those that match a pattern (`train-00*`), or of all.

        A pattern is tried only where no prompt has this very id, and gives prompt after prompt.
        """
        exact = prompt is None or self._rows("SELECT 1 FROM answers WHERE prompt = ? LIMIT 1", prompt)
        order = "rowid" if exact else "prompt, rowid"  # both are orders in which an index lies: nothing is sorted
        tests = {"prompt = ?" if exact else "prompt GLOB ?": prompt, "kind = ?": kind}
        where = [test for test, value in tests.items() if value is not None]
        values = [value for value in tests.values() if value is not None]
        columns = "rowid, key, kind, prompt, purpose, path, request, answer, time"
        last: tuple[Any, ...] = (-1,) if exact else ("", -1)
        where.append(f"({order}) > ({', '.join('?' * len(last))})")
        query = f"SELECT {columns} FROM answers WHERE {' AND '.join(where)} ORDER BY {order} LIMIT {self.PAGE}"
        page: list[tuple[Any, ...]] = [()] * self.PAGE
        while len(page) == self.PAGE:
            page = self._rows(query, *values, *last)
            for row in page:
                yield Entry(*row[1:6], self._plain(row[6], row[1]), self._plain(row[7], row[1]), row[8])
                last = row[:1] if exact else (row[3], row[0])

    def prompts(self, limit: int) -> list[str]:
        """Return at most `limit` different prompt ids."""
        return [row[0] for row in self._rows("SELECT DISTINCT prompt FROM answers LIMIT ?", limit)]

    def _plain(self, text: str, key: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise DataError(f"{self.path}: entry {key} is damaged: {error}") from None

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        log = self.path.with_name(f"{self.path.name}-wal")
        mode = "mode=ro" if log.is_file() and log.stat().st_size else "mode=ro&immutable=1"
        try:
            with closing(sqlite3.connect(f"{self.path.absolute().as_uri()}?{mode}", uri=True, timeout=30)) as reader:
                return reader.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise DataError(f"{self.path}: cannot be read as a ledger: {error}") from None


def _as_seen_by_twins(error: BaseException) -> BaseException:
    """A cancelled asker must not cancel its twins' tasks: they see an error that says what happened."""
    if isinstance(error, asyncio.CancelledError):
        return DataError("the request was cancelled while another coroutine waited for the same answer")
    return error
