"""Remote: programs on another machine, where `selfimprove sandbox serve` runs them in a sandbox of its own.

    POST {url}/execute    Authorization: Bearer $SELFIMPROVE_SANDBOX_TOKEN
    {"source": ..., "calls": [...], "stdin": ..., "files": {...}, "trace": ..., "limits": {...}}

The answer is the outcome as JSON. What is no outcome is an error, never a passed program. Over a network that others
share, put the service behind HTTPS: programs, results and the token travel as they are.
"""

import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from selfimprove.config import Sandbox as Options
from selfimprove.errors import DataError, SandboxError
from selfimprove.verify.sandbox.base import STATUSES, Outcome, Program
from selfimprove.verify.sandbox.harness import decode
from selfimprove.verify.sandbox.slots import Slots

TOKEN = "SELFIMPROVE_SANDBOX_TOKEN"
"""Environment variable of the token that the service asks for."""

TRIES = 5
BACKOFF = 0.5
"""Seconds before the second try; doubled before every further one, or what the service asks for (Retry-After)."""

LONGEST_PAUSE = 30.0

MARGIN = 30.0
"""Seconds beyond a program's own limit that an answer may take: the way there and back, and waiting for a slot."""

LARGEST_ANSWER = 64 << 20


class _Unanswered(Exception):
    """This try failed in a way that another may not; `pause` is what the service asked for, in seconds."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class Remote:
    """Programs on a sandbox service."""

    name = "remote"

    def __init__(self, options: Options) -> None:
        self.url = (options.url or "").rstrip("/")
        self._slots = Slots(options.slots)
        self._closing = threading.Event()

    @staticmethod
    def missing(options: Options) -> str | None:
        """Return in one sentence why it cannot run here and what to do; None where it can."""
        if not options.url:
            return "it needs the address of a service: sandbox.url=http://host:8400 (selfimprove sandbox serve)"
        parts = urlsplit(options.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return f"sandbox.url is no http or https address: {options.url}"
        try:
            _ask(f"{options.url.rstrip('/')}/health", None, MARGIN)
        except (_Unanswered, SandboxError) as error:
            return f"the service at {options.url} does not answer ({error}); start `selfimprove sandbox serve` there"
        return None

    async def execute(self, program: Program) -> Outcome:
        """Run a program there; raises SandboxError where no outcome can be had."""
        self._closing.clear()
        return await self._slots.run(lambda slot: self._execute(program))

    def _execute(self, program: Program) -> Outcome:
        body = json.dumps(program.to_row()).encode()
        began = time.monotonic()
        for attempt in range(TRIES):
            try:
                outcome = _outcome(_ask(f"{self.url}/execute", body, program.limits.seconds + MARGIN), program)
                return replace(outcome, sandbox=f"{self.name}:{outcome.sandbox}")
            except _Unanswered as error:
                reason = str(error)
                pause = BACKOFF * 2**attempt if error.pause is None else error.pause
            if attempt + 1 < TRIES and self._closing.wait(min(pause, LONGEST_PAUSE)):
                raise SandboxError("the sandbox 'remote' was closed while a program waited for it")
        waited = time.monotonic() - began
        raise SandboxError(
            f"the sandbox service at {self.url} gave no outcome in {TRIES} tries and {waited:.0f} s: {reason}"
        )

    def close(self) -> None:
        """Give up what waits; safe to call twice."""
        self._closing.set()
        self._slots.close()


def _ask(url: str, body: bytes | None, seconds: float) -> bytes:
    """Return the body of an answer; raises _Unanswered where another try may help, SandboxError where none will."""
    headers = {"Content-Type": "application/json"}
    token = os.environ.get(TOKEN)
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, data=body, headers=headers, method="GET" if body is None else "POST")
    try:
        with _opener(url).open(request, timeout=seconds) as answer:
            told = answer.read(LARGEST_ANSWER + 1)
    except urllib.error.HTTPError as error:
        with error:
            reason = f"it answers {error.code}: {_sentence(error.read(4096))}"
            if error.code == 401:
                raise SandboxError(
                    f"the sandbox service at {url} wants a token: set {TOKEN} to the one it has"
                ) from None
            if error.code in (408, 425, 429) or error.code >= 500:
                raise _Unanswered(reason, _pause(error.headers.get("Retry-After"))) from None
            raise SandboxError(f"the sandbox service at {url} refuses a program: {reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Unanswered(str(getattr(error, "reason", error)) or type(error).__name__) from None
    if len(told) > LARGEST_ANSWER:
        raise _Unanswered("its answer is too long")
    return told


class _Stay(urllib.request.HTTPRedirectHandler):
    """Refuses to be sent elsewhere: the token is for this service only."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow no redirection."""


def _opener(url: str) -> urllib.request.OpenerDirector:
    local = urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
    return urllib.request.build_opener(_Stay, *([urllib.request.ProxyHandler({})] if local else []))


def _outcome(told: bytes, program: Program) -> Outcome:
    """Return the outcome in an answer; raises _Unanswered where it is none."""
    try:
        row = json.loads(told)
        outcome = Outcome.from_row({**row, "results": tuple(row["results"]), "trace": tuple(row["trace"])})
        if outcome.status not in STATUSES or not outcome.sandbox:
            raise ValueError(f"status {outcome.status!r}, sandbox {outcome.sandbox!r}")
        if not all(isinstance(text, str) for text in (outcome.error, outcome.stdout, outcome.stderr)):
            raise ValueError("a text that is none")
        if outcome.passed and len(outcome.results) != len(program.calls):
            raise ValueError(f"{len(outcome.results)} results of {len(program.calls)} calls")
        for result in row["results"]:
            if result.keys() == {"value"}:
                decode(result["value"])
            elif result.keys() != {"error"} or not isinstance(result["error"], str):
                raise ValueError("a result that is none")
        for state in row["trace"]:
            for value in state.values():
                decode(value)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, DataError) as error:
        raise _Unanswered(f"its answer is no outcome ({type(error).__name__}: {str(error)[:200]})") from None
    return outcome


def _pause(header: str | None) -> float | None:
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None


def _sentence(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])[:300]
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace").strip()[:300] or "nothing more"
