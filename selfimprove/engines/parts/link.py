"""One HTTP server behind retries: what comes back is an answer, a reason why not, or EngineError where it is dead."""

import asyncio
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from selfimprove.engines.parts.pace import Pace
from selfimprove.errors import EngineError, missing_package

LONGEST_WAIT = 600.0
"""Seconds: no server's Retry-After holds a run longer than this before it is asked again."""

BUSY = (429, 503, 529)
DENIED = (401, 403)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one attempt gave: the parsed body, or what went wrong and whether to try again."""

    body: Any = None
    problem: str = ""
    status: int | None = None
    again: str = ""  # "", busy, broken or unreachable
    wait: float | None = None  # seconds the server asked for

    @property
    def ok(self) -> bool:
        """Whether there is a body."""
        return not self.problem


class Link:
    """POST and GET against one base URL.

    Busy and broken answers are tried again up to `retries` times, an unreachable server for `patience` seconds
    since it was last heard of. The API key is in no message: what a server says to a wrong key is not repeated.
    """

    def __init__(
        self, url: str, key: str | None, *, concurrency: int, timeout: float, retries: int, patience: float,
        backoff: float,
    ) -> None:  # fmt: skip
        try:
            import openai  # noqa: F401 (its absence is told at once)
        except ImportError:
            raise missing_package("engine 'server'", "openai", "api") from None
        self.url, self.retries, self.patience, self.backoff = url, retries, patience, backoff
        self.pace = Pace(concurrency)
        self.attempts = 0
        self._key = key
        self._heard: float | None = None
        self._lost_in_a_row = 0
        self._timeout = timeout
        self._opened: Any = None

    async def post(self, path: str, body: Mapping[str, Any], *, text: bool = False) -> Answer:
        """Return the answer to a POST of JSON; `path` is relative to the base URL, or a whole URL.

        With `text` the answer may be anything; its body is left as text.
        """
        return await self._ask("POST", path, body, text)

    async def get(self, path: str) -> Answer:
        """Return the answer to a GET."""
        return await self._ask("GET", path, None, False)

    async def close(self) -> None:
        """Close all connections; safe to call twice."""
        if self._opened is not None:
            await self._opened.close()

    @property
    def _client(self) -> Any:
        """The client, made when it is first needed: it reads all certificates, and a recipe is often only checked."""
        if self._opened is None:
            from openai import AsyncOpenAI

            self._opened = AsyncOpenAI(
                base_url=self.url, api_key=self._key or "none", timeout=self._timeout, max_retries=0
            )
        return self._opened

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, plain: bool) -> Answer:
        loop = asyncio.get_running_loop()
        begun, tries, failures = loop.time(), 0, 0
        while True:
            async with self.pace.slot() as started:
                answer = await self._once(method, path, body, plain)
                if answer.again == "busy":
                    self.pace.slow_down(started, answer.wait or 0.0)
            tries += 1
            if answer.again != "unreachable":
                self._heard = loop.time()
            if not answer.again:
                self._lost_in_a_row = 0
                if answer.ok:
                    self.pace.speed_up()
                return answer
            if answer.again == "unreachable":
                self._check_alive(max(begun, self._heard or begun), answer)
            else:
                failures += 1
                if failures > self.retries:
                    return self._lost(answer, failures)
            await asyncio.sleep(self._delay(tries, answer))

    def _delay(self, tries: int, answer: Answer) -> float:
        """Return the seconds before the next attempt: what the server said, else doubling with jitter."""
        if answer.wait is not None:
            return answer.wait
        longest = 5.0 if answer.again == "unreachable" else 60.0
        return min(longest, self.backoff * 2.0 ** min(tries - 1, 20)) * random.uniform(0.5, 1.0)

    def _check_alive(self, since: float, answer: Answer) -> None:
        silent = asyncio.get_running_loop().time() - since
        if silent >= self.patience:
            raise EngineError(
                f"the server at {self.url} has not been reachable for {silent:.0f} s ({answer.problem}); "
                "start it, or correct engine.url"
            )

    def _lost(self, answer: Answer, failures: int) -> Answer:
        """Return the final failure of one request; raises EngineError where request after request is lost."""
        self._lost_in_a_row += 1
        if self._lost_in_a_row >= 10:
            raise EngineError(
                f"the server at {self.url} failed {self._lost_in_a_row} requests in a row, each tried "
                f"{failures} times; the last answer was: {answer.problem}"
            )
        return Answer(problem=f"{answer.problem} ({failures} attempts)", status=answer.status)

    async def _once(self, method: str, path: str, body: Mapping[str, Any] | None, plain: bool) -> Answer:
        import openai

        self.attempts += 1
        try:
            if method == "GET":
                text = await self._client.get(path, cast_to=str)
            else:
                text = await self._client.post(path, cast_to=str, body=dict(body or {}))
        except openai.APIStatusError as error:
            return self._refused(error)
        except openai.APITimeoutError as error:
            if type(error.__cause__).__name__ == "ConnectTimeout":
                return Answer(problem="the connection timed out", again="unreachable")
            return Answer(problem="no answer within the time limit (engine.timeout)", again="broken")
        except openai.APIConnectionError as error:
            cause = type(error.__cause__).__name__
            if cause == "ConnectError":
                return Answer(problem=f"no connection: {error.__cause__}", again="unreachable")
            return Answer(problem=f"the connection broke: {cause}", again="broken")
        try:
            return Answer(body=text if plain else json.loads(text) if text else None)
        except ValueError:
            return Answer(problem=f"the answer is not JSON: {text[:80]!r}", again="broken")

    def _refused(self, error: Any) -> Answer:
        status = int(error.status_code)
        if status in DENIED:
            raise EngineError(
                f"the server at {self.url} refuses the API key (HTTP {status}); put a valid key into an "
                "environment variable and name that variable in engine.api_key_env"
            )
        if getattr(error, "code", None) == "insufficient_quota":
            raise EngineError(f"the account behind the API key of {self.url} has no quota left (HTTP {status})")
        problem = f"HTTP {status}: {_reason(error)}"
        if self._key:
            problem = problem.replace(self._key, "***")
        if status in BUSY:
            return Answer(problem=problem, status=status, again="busy", wait=retry_after(error.response.headers))
        again = "broken" if status >= 500 or status in (408, 409, 425) else ""
        return Answer(problem=problem, status=status, again=again, wait=retry_after(error.response.headers))


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Return the seconds a server asks to wait, from Retry-After in seconds or as an HTTP date; None without one.

    A date in the past is 0; nothing is longer than LONGEST_WAIT. `now` is the Unix time to count from.
    """
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return min(max(float(milliseconds) / 1000, 0.0), LONGEST_WAIT)
        value = headers.get("retry-after")
        if value is None:
            return None
        try:
            seconds = float(value)
        except ValueError:
            seconds = parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now)
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT) if seconds == seconds else None  # nan is no number of seconds


def _reason(error: Any) -> str:
    """Return what the server said, in one line of at most 300 characters."""
    body = error.body
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        body = inner.get("message", inner) if isinstance(inner, Mapping) else inner
        body = body.get("detail", body) if isinstance(body, Mapping) else body
    return " ".join(str(body if body else error.message).split())[:300]
