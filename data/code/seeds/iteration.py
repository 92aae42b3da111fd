"""Seeds: iterators, and functions that take functions."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any


def batched_lists(items: Iterable[Any], size: int) -> list[list[Any]]:
    """Collect items into lists of a given size; the last one may be shorter.

    Works for iterators too, as each item is read once.

    >>> batched_lists(iter(range(5)), 2)
    [[0, 1], [2, 3], [4]]
    """
    iterator = iter(items)
    batches = []
    while batch := list(itertools.islice(iterator, size)):
        batches.append(batch)
    return batches


def sliding_window(items: Iterable[Any], size: int) -> list[tuple[Any, ...]]:
    """Return all runs of `size` neighbouring items.

    >>> sliding_window("abcd", 3)
    [('a', 'b', 'c'), ('b', 'c', 'd')]
    """
    window: deque[Any] = deque(maxlen=size)
    runs = []
    for item in items:
        window.append(item)
        if len(window) == size:
            runs.append(tuple(window))
    return runs


def take_while_sum(numbers: Iterable[float], limit: float) -> list[float]:
    """Take numbers from the front as long as their sum does not exceed a limit.

    >>> take_while_sum([3, 4, 5, 1], 8)
    [3, 4]
    """
    taken: list[float] = []
    total = 0.0
    for number in numbers:
        total += number
        if total > limit:
            break
        taken.append(number)
    return taken


def compose(*functions: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Combine functions of one argument into one, applied from left to right.

    >>> compose(str.strip, str.upper)("  hi ")
    'HI'
    """
    return lambda value: reduce(lambda result, function: function(result), functions, value)


def round_robin(*groups: Iterable[Any]) -> list[Any]:
    """Take one item of each group in turn until all groups are used up.

    >>> round_robin("ABC", "D", "EF")
    ['A', 'D', 'E', 'B', 'F', 'C']
    """
    waiting = [iter(group) for group in groups]
    taken = []
    while waiting:
        for iterator in list(waiting):
            try:
                taken.append(next(iterator))
            except StopIteration:
                waiting.remove(iterator)
    return taken


def first_match(items: Iterable[Any], condition: Callable[[Any], bool], default: Any = None) -> Any:
    """Return the first item that meets a condition, or a default.

    >>> first_match([1, 4, 9], lambda n: n > 3)
    4
    """
    return next((item for item in items if condition(item)), default)


def run_length_groups(items: Iterable[Any]) -> list[tuple[Any, int]]:
    """Group equal neighbours and count them.

    >>> run_length_groups([1, 1, 2, 1])
    [(1, 2), (2, 1), (1, 1)]
    """
    return [(value, len(list(group))) for value, group in itertools.groupby(items)]


def memoize(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function so that it remembers its results.

    Only positional arguments are supported, and they must be hashable.
    """
    results: dict[tuple[Any, ...], Any] = {}

    def remembered(*arguments: Any) -> Any:
        if arguments not in results:
            results[arguments] = function(*arguments)
        return results[arguments]

    return remembered


def powerset(items: list[Any]) -> list[tuple[Any, ...]]:
    """List all subsets of a list, from the empty one to the whole.

    >>> powerset([1, 2])
    [(), (1,), (2,), (1, 2)]
    """
    sizes = range(len(items) + 1)
    return [subset for size in sizes for subset in itertools.combinations(items, size)]


def permutations_of(items: list[Any]) -> list[list[Any]]:
    """List all orders of a list by putting each item first in turn.

    >>> permutations_of([1, 2, 3])[:3]
    [[1, 2, 3], [1, 3, 2], [2, 1, 3]]
    """
    if not items:
        return [[]]
    orders = []
    for place, item in enumerate(items):
        for rest in permutations_of(items[:place] + items[place + 1 :]):
            orders.append([item, *rest])
    return orders


def fixed_point(function: Callable[[float], float], start: float, tolerance: float = 1e-9) -> float:
    """Apply a function again and again until its value hardly changes any more.

    >>> round(fixed_point(lambda x: (x + 2 / x) / 2, 1.0), 6)
    1.414214
    """
    value = start
    for _ in range(10_000):
        following = function(value)
        if abs(following - value) < tolerance:
            return following
        value = following
    raise ArithmeticError("no fixed point found")


def nth_item(items: Iterable[Any], n: int, default: Any = None) -> Any:
    """Return the item at place n of an iterable, counting from 0, or a default where it is too short.

    >>> nth_item(itertools.count(10, 5), 3)
    25
    """
    return next(itertools.islice(items, n, None), default)


def count_calls(function: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[[], int]]:
    """Return a wrapped function, and a function that tells how often it was called."""
    calls = 0

    def wrapped(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        return function(*arguments, **named)

    return wrapped, lambda: calls
