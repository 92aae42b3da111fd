"""The errors a user can fix: each says what was wrong, where it came from and what to do, in one sentence.

The command line prints such an error as one paragraph and exits with code 2; anything else is a defect
of ours and keeps its traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class SelfImproveError(Exception):
    """Something the user can fix."""


class ConfigError(SelfImproveError):
    """A recipe, an option or an installation is not usable."""


class DataError(SelfImproveError):
    """A row, a file or a data set is not usable."""


class EngineError(SelfImproveError):
    """An engine cannot start, has died, or cannot do what it was asked for."""


class JudgeError(SelfImproveError):
    """A judge or verifier cannot work at all (a verdict that merely failed is a value, not an error)."""


class SandboxError(SelfImproveError):
    """Generated code cannot be run safely here."""


class TrainError(SelfImproveError):
    """A training run refused its data, failed its checks or died."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or the list of what is known where nothing is close."""
    known = sorted(known)
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(known)}" if known else ""


def missing_package(feature: str, package: str, extra: str) -> ConfigError:
    """Return the error for an optional package that is not installed."""
    return ConfigError(f'{feature} needs {package}: pip install "selfimprove[{extra}]"')
