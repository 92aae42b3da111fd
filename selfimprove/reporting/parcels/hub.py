"""The way to a hub: what fails for a moment is tried again, what a person must mend is told in one sentence."""

import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

from selfimprove.errors import ConfigError, DataError
from selfimprove.reporting.parcels.parcel import Parcel, Upload
from selfimprove.reporting.redaction import REMOVED, without_secrets

T = TypeVar("T")

WAITS = (1.0, 3.0, 9.0, 27.0)
"""Seconds before each further attempt, where the hub does not say how long to wait."""
LONGEST_WAIT = 600.0
"""A hub that asks for more seconds than this is not waited for."""
_PASSING = (408, 409, 412, 425, 429)  # 409 and 412: somebody else is writing to the same repository
_STATUS_TOLD = re.compile(r"HTTP status (?:client|server) error \((\d{3})")  # how hf_xet spells an answer
_WEIGHTS = re.compile(r"[^/]+\.safetensors(?:\.index\.json)?|adapter_config\.json")


@dataclass(frozen=True, slots=True)
class Pushed:
    """Where a push arrived: the repository's page, the commit, and whether only the owner can see it."""

    url: str
    commit: str
    private: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """What went wrong in words, and whether another attempt may help; `wait` is what the hub asks for, in seconds."""

    said: str
    passing: bool = False
    wait: float | None = None


class Hub:
    """A hub as huggingface_hub's settings name it (HF_ENDPOINT, HF_TOKEN, `hf auth login`), read when it is made."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Find endpoint and token; raises ConfigError where there is no token or no usable address."""
        from huggingface_hub import HfApi, constants, get_token

        self.say = say
        endpoint = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
        address = urlsplit(endpoint)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ConfigError(f"HF_ENDPOINT is not the address of a hub; write it like {constants.ENDPOINT}")
        self.name = address.netloc.rpartition("@")[2]
        self._token = self._patiently("the log-in", "", get_token)
        if not self._token:
            raise ConfigError(
                f"there is no token for {self.name}: log in with `hf auth login`, or set HF_TOKEN to a token that may "
                "write"
            )
        self._api = HfApi(endpoint=endpoint, token=self._token, library_name="selfimprove")

    def deliver(self, parcel: Parcel, to: str, private: bool, revision: str | None, message: str) -> Pushed:
        """Put a parcel into the repository `to` in one commit, making the repository where there is none.

        Raises ConfigError where the hub refuses or cannot be reached, and DataError where a file is gone.
        """
        kind = parcel.repo_type
        with _signatures_kept_out_of_logs(), _bars_on_terminals_only():
            page = self._patiently(
                "making the repository",
                to,
                lambda: self._api.create_repo(to, repo_type=kind, private=private, exist_ok=True),
            )
            info = self._patiently("looking at it", to, lambda: self._api.repo_info(to, repo_type=kind))
            if private and info.private is False:
                raise ConfigError(
                    f"{to} is there already on {self.name}, and everybody can see it; push with --public (in a "
                    "recipe: push.private: false) if that is meant, or to another repository"
                )
            if revision:
                info = self._branch(to, kind, revision)
            self._refuse_mixture(parcel, to, [file.rfilename for file in getattr(info, "siblings", None) or ()])
            commit = self._patiently(
                "sending the files",
                to,
                # Operations are made anew for each attempt: they remember what the hub held before the last one.
                lambda: self._api.create_commit(
                    to,
                    [_operation(file) for file in parcel.files],
                    commit_message=message,
                    repo_type=kind,
                    revision=revision,
                ),
            )
        return Pushed(f"{page}/tree/{revision}" if revision else str(page), commit.oid, info.private is not False)

    def _branch(self, to: str, kind: str, revision: str) -> Any:
        self._patiently(
            "making the branch",
            to,
            lambda: self._api.create_branch(to, branch=revision, repo_type=kind, exist_ok=True),
        )
        look = lambda: self._api.repo_info(to, repo_type=kind, revision=revision)  # noqa: E731
        return self._patiently("looking at the branch", to, look)

    def _refuse_mixture(self, parcel: Parcel, to: str, there: list[str]) -> None:
        """Raise ConfigError where weights of an earlier push would be left beside these and be loaded instead."""
        ours = {file.name for file in parcel.files}
        left = sorted(name for name in there if _WEIGHTS.fullmatch(name) and name not in ours)
        if parcel.repo_type == "model" and left:
            raise ConfigError(
                f"{to} on {self.name} holds {left[0]}, which this push does not replace, so that it would be loaded "
                "in place of what is pushed; delete it there, push to another repository, or name a new --revision"
            )

    def _patiently(self, what: str, to: str, call: Callable[[], T]) -> T:
        """Return what a call to the hub returns, trying again after failures that pass.

        Raises ConfigError or DataError with what to do about one that does not.
        """
        from huggingface_hub.errors import HTTPError, OIDCError

        for wait in (*WAITS, None):
            try:
                return call()
            except (HTTPError, OIDCError, OSError, RuntimeError, ValueError) as error:
                trouble = self._judge(error, to)
            seconds = wait if trouble.wait is None or wait is None else max(trouble.wait, 0.0)
            if seconds is None or not trouble.passing or seconds > LONGEST_WAIT:
                attempts = f" ({len(WAITS) + 1} attempts)" if wait is None and trouble.passing else ""
                raise ConfigError(self._without_token(f"{what}: {trouble.said}{attempts}"))
            self.say(self._without_token(f"{what}: {trouble.said}; trying again in {seconds:g} s"))
            time.sleep(seconds)
        raise AssertionError("the last attempt returns or raises")

    def _judge(self, error: BaseException, to: str) -> Trouble:
        """Return what an error of the client means; raises DataError where a local file is the matter."""
        from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled

        chain = [error]
        while chain[-1].__cause__ is not None:
            chain.append(chain[-1].__cause__)
        answers = [(each, response) for each in chain if (response := getattr(each, "response", None)) is not None]
        first_line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if answers:
            each, response = answers[0]
            said = getattr(each, "server_message", None)
            text = str(said or "").splitlines()[0] if said else ""
            if response.status_code == 400 and not isinstance(error, HTTPError):  # of the card, which is read first
                text = " ".join(str(error).split())
            return self._answered(response.status_code, text, to, response.headers.get("Retry-After"))
        if any(isinstance(each, OfflineModeIsEnabled) for each in chain):
            return Trouble("HF_HUB_OFFLINE is set, so no hub is asked; unset it to push")
        told = next((found[1] for each in chain if (found := _STATUS_TOLD.search(str(each)))), None)
        if told == "404":
            return Trouble(f"{self.name} does not speak the client's newer storage protocol; set HF_HUB_DISABLE_XET=1")
        if told:
            return self._answered(int(told), "", to, None)
        if isinstance(error, json.JSONDecodeError):
            return Trouble(f"{self.name} answered with something that is not a hub's answer", passing=True)
        if any(isinstance(each, HTTPError | ConnectionError | TimeoutError) for each in chain):
            return Trouble(f"the connection to {self.name} failed ({_short(chain[-1])})", passing=True)
        if isinstance(error, PermissionError) and error.filename is None:  # storage that refuses the token
            return self._answered(403, first_line, to, None)
        if isinstance(error, OSError):
            raise DataError(f"{error.filename or 'a file'}: cannot be read: {error.strerror or first_line}") from None
        if isinstance(error, RuntimeError):  # how the client's storage layer reports a transfer that broke off
            return Trouble(f"the transfer to {self.name} broke off ({first_line:.200})", passing=True)
        return Trouble(f"{first_line:.300}")

    def _answered(self, status: int, text: str, to: str, retry_after: str | None) -> Trouble:
        said = f": {text.rstrip('.')}" if text else ""
        if status in _PASSING or status >= 500:
            busy = "asks for patience" if status == 429 else f"answers {status}"
            return Trouble(f"{self.name} {busy}{said}", passing=True, wait=seconds_of(retry_after))
        owner = to.partition("/")[0]
        sentences = {
            401: f"{self.name} does not accept the token (401); log in with `hf auth login`, or set HF_TOKEN to a "
            "token that may write",
            403: f"the token may not write to {to} on {self.name} (403{said}); use one with write access to "
            f"'{owner}', or name another repository",
            404: f"{self.name} knows no {to} (404{said}); check the name, and that the token may see it",
            402: f"{self.name} wants to be paid for this (402{said}); see the plan of '{owner}'",
            413: f"{self.name} finds a file too large (413{said})",
            400: f"{self.name} refuses it (400{said})",
        }
        return Trouble(sentences.get(status, f"{self.name} answers {status}{said}"))

    def _without_token(self, text: str) -> str:
        token = getattr(self, "_token", None)
        return without_secrets(text.replace(token, REMOVED) if token else text)


def _operation(file: Upload) -> Any:
    from huggingface_hub import CommitOperationAdd

    return CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file.content)


def seconds_of(retry_after: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for, given as a number or as a date; None of anything else."""
    if not retry_after:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", retry_after.strip()):
        return float(retry_after)
    try:
        return max(parsedate_to_datetime(retry_after).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return None


@contextmanager
def _signatures_kept_out_of_logs() -> Generator[None, None, None]:
    """Keep the client from logging addresses with their queries, since storage addresses are signed there."""
    logger = logging.getLogger("huggingface_hub.utils._http")

    def strip(record: logging.LogRecord) -> bool:
        record.msg, record.args = re.sub(r"(https?://[^\s?]+)\?\S+", r"\1", record.getMessage()), None
        return True

    logger.addFilter(strip)
    try:
        yield
    finally:
        logger.removeFilter(strip)


@contextmanager
def _bars_on_terminals_only() -> Generator[None, None, None]:
    """Keep the client's progress bars out of log files."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _short(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120] or type(error).__name__
