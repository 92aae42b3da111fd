"""What a method of the user's own must be called with and give back: told where it is not so, before rows are lost.

A shipped method is held to this by its tests; a file of one's own is new, and its first mistake is most often a
forgotten `return`, `await` or list.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial, wraps
from types import ModuleType
from typing import Any

from selfimprove.engines.base import Policy
from selfimprove.errors import ConfigError, MethodError
from selfimprove.records import KINDS, Prompt, Row, Sample, Skip

CALLS = {"propose": 3, "collect": 3, "collect_all": 3, "answer": 3, "judge": 4, "learn": 3}
"""The functions of a method with the number of their arguments; all but those of PLAIN are coroutines."""

PLAIN = {"assemble": 2, "makes": 1}
"""Functions that ask for nothing; `makes` counts only where MAKES names several kinds."""

SIDES = ("completion", "chosen", "rejected")
"""What a row may teach or unteach; none of them may be empty."""


def kinds_of(module: ModuleType) -> tuple[str, ...]:
    """Return what a method can make: the one kind that its MAKES names, or several."""
    return (module.MAKES,) if isinstance(module.MAKES, str) else tuple(module.MAKES)


def check_calls(module: ModuleType, name: str, where: str) -> None:
    """Raise ConfigError where a function of a method does not take what it is given, or is no coroutine."""
    for function, count in {**CALLS, **PLAIN}.items():
        found = getattr(module, function, None)
        if found is None or (function == "makes" and isinstance(module.MAKES, str)):
            continue
        try:
            inspect.signature(found).bind(*range(count))
        except TypeError:
            raise ConfigError(
                f"{where}: {function} of method '{name}' takes {inspect.signature(found)}, but is given {count}; "
                "see docs/adding-a-method.md"
            ) from None
        if function in CALLS and not inspect.iscoroutinefunction(found):
            raise ConfigError(f"{where}: {function} of method '{name}' is no coroutine; write `async def {function}`")


def check_results(module: ModuleType, name: str) -> None:
    """Let every function of a method check what it returns, and raise MethodError where nothing can be made of it."""
    kinds = tuple(KINDS[kind] for kind in kinds_of(module))
    checks = {
        "propose": partial(_checking, (Prompt,)),
        "collect": partial(_checking, kinds),
        "collect_all": partial(_checking, kinds),
        "answer": _checking_sample,
        "learn": _checking_policy,
        "assemble": _checking_rows,
    }
    for function, checking in checks.items():
        found = getattr(module, function, None)
        if found is not None:
            setattr(module, function, checking(f"{function} of {name}", found))


def _checking(kinds: tuple[type[Row], ...], what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    names = " or ".join(kind.__name__ for kind in kinds)

    @wraps(function)
    async def checked(*values: Any) -> list[Row]:
        rows = await function(*values)
        if not isinstance(rows, list | tuple):
            raise MethodError(f"{what} returned {rows!r:.80}; it must return a list of {names} and Skip")
        odd = [row for row in rows if not isinstance(row, (*kinds, Skip))]
        if odd:
            raise MethodError(f"{what} returned {odd[0]!r:.80} among its rows; a row is {names} or Skip")
        for row in rows:
            empty = next((side for side in SIDES if _is_empty(getattr(row, side, "-"))), None)
            if empty is not None:
                raise MethodError(
                    f"{what} returned a row whose {empty} is {getattr(row, empty)!r:.60}; there is nothing to learn "
                    "from it: return Skip(prompt.id, 'empty') instead"
                )
        return list(rows)

    return checked


def _is_empty(text: Any) -> bool:
    return not isinstance(text, str) or not text.strip()


def _checking_sample(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    async def checked(*values: Any) -> Sample:
        sample = await function(*values)
        if not isinstance(sample, Sample):
            raise MethodError(f"{what} returned {sample!r:.80}; it must return a Sample, such as run.sample gives")
        return sample

    return checked


def _checking_policy(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    async def checked(*values: Any) -> Policy | Mapping[str, Policy]:
        learned = await function(*values)
        several = isinstance(learned, Mapping)
        for name, policy in learned.items() if several else [("policy", learned)]:
            if not isinstance(policy, Policy) or not isinstance(name, str):
                raise MethodError(
                    f"{what} returned {learned!r:.80}; it must return the policy that run.train gave, or run.policy, "
                    "or several of them by name: {'policy': ..., 'value': ...}"
                )
            if several and not name.replace("_", "a").isalnum():  # it names a folder
                raise MethodError(f"{what} named a model {name!r}; a name has letters, digits and '_' only")
        return learned

    return checked


def _checking_rows(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def checked(cfg: Any, rows: Any) -> Any:
        result = function(cfg, rows)
        if result is rows:
            return rows
        if not isinstance(result, Iterable) or isinstance(result, str | Mapping):
            raise MethodError(f"{what} returned {result!r:.80}; it must return rows: those it was given, or others")
        return each(result)

    def each(result: Iterable[Any]) -> Iterator[Any]:
        for row in result:
            if not isinstance(row, Row | Mapping):
                raise MethodError(f"{what} gave {row!r:.80}; a row is a mapping or a record")
            yield row

    return checked
