"""The errors a user can fix: each says what was wrong, where it came from and what to do, in one sentence.

The command line prints such an error as one paragraph and exits with code 2; anything else is a defect
of ours and keeps its traceback.
"""

import errno
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


class MethodError(SelfImproveError):
    """The user's own code (a method, an engine, a script) failed, or gave what nothing can be made of."""


class JudgeError(SelfImproveError):
    """A judge or verifier cannot work at all (a verdict that merely failed is a value, not an error)."""


class SandboxError(SelfImproveError):
    """Generated code cannot be run safely here."""


class TrainError(SelfImproveError):
    """A training run refused its data, failed its checks or died."""


SHOWN = 24
"""How many known names an error lists."""

ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or ask for more",
    errno.EFBIG: "free some space, or raise the limit of file sizes",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "choose a folder that can be written, or change its permissions",
    errno.EPERM: "choose a folder that can be written, or change its permissions",
    errno.ENOTDIR: "a file is in the way; choose another path, or move it",
    errno.EEXIST: "a file is in the way; choose another path, or move it",
    errno.EISDIR: "a folder is in the way; choose another path, or move it",
    errno.ENOENT: "choose a path that exists, or make its folder",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EIO: "check the disk",
}
"""What to do where the system refuses a file; other refusals are not the user's to mend."""


def file_problem(error: OSError) -> str | None:
    """Return what the system refused, where, and what to do, in one sentence; None where a user cannot mend it."""
    if error.errno not in ADVICE:
        return None
    name = error.filename.decode(errors="replace") if isinstance(error.filename, bytes) else error.filename
    problem = (error.strerror or "").lower() or type(error).__name__
    return f"{name or 'the disk'}: {problem}; {ADVICE[error.errno]}, then run the same command again"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or the list of what is known where nothing is close."""
    known = sorted(known)
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return f"; known: {', '.join(known[:SHOWN])}{more}" if known else ""


def missing_package(feature: str, package: str, extra: str) -> ConfigError:
    """Return the error for an optional package that is not installed."""
    return ConfigError(f'{feature} needs {package}: pip install "selfimprove[{extra}]"')
