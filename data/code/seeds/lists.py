"""Seeds: working on lists."""

from bisect import bisect_right
from collections.abc import Callable, Hashable, Sequence
from typing import Any


def binary_search(items: Sequence[int], target: int) -> int:
    """Return the index of a number in a sorted sequence, or -1 if it is missing.

    >>> binary_search([1, 3, 5, 8], 5)
    2
    >>> binary_search([1, 3, 5, 8], 4)
    -1
    """
    low, high = 0, len(items) - 1
    while low <= high:
        middle = (low + high) // 2
        if items[middle] == target:
            return middle
        if items[middle] < target:
            low = middle + 1
        else:
            high = middle - 1
    return -1


def merge_sorted(left: list[int], right: list[int]) -> list[int]:
    """Merge two sorted lists into one sorted list in linear time.

    >>> merge_sorted([1, 4, 6], [2, 3, 9])
    [1, 2, 3, 4, 6, 9]
    """
    merged: list[int] = []
    i = j = 0
    while i < len(left) and j < len(right):
        if left[i] <= right[j]:
            merged.append(left[i])
            i += 1
        else:
            merged.append(right[j])
            j += 1
    return merged + left[i:] + right[j:]


def bubble_sort(items: list[int]) -> list[int]:
    """Return a sorted copy of a list, made by swapping neighbours that are out of order."""
    items = list(items)
    for end in range(len(items) - 1, 0, -1):
        for place in range(end):
            if items[place] > items[place + 1]:
                items[place], items[place + 1] = items[place + 1], items[place]
    return items


def quick_sort(items: list[int]) -> list[int]:
    """Sort a list by splitting it around its first item, again and again.

    >>> quick_sort([3, 6, 1, 3, 2])
    [1, 2, 3, 3, 6]
    """
    if len(items) < 2:
        return items
    pivot, *rest = items
    smaller = [item for item in rest if item < pivot]
    others = [item for item in rest if item >= pivot]
    return [*quick_sort(smaller), pivot, *quick_sort(others)]


def partition(items: list[Any], condition: Callable[[Any], bool]) -> tuple[list[Any], list[Any]]:
    """Split a list into the items that meet a condition and those that do not.

    >>> partition([1, 2, 3, 4], lambda n: n > 2)
    ([3, 4], [1, 2])
    """
    yes, no = [], []
    for item in items:
        (yes if condition(item) else no).append(item)
    return yes, no


def unique_by(items: list[Any], key: Callable[[Any], Hashable]) -> list[Any]:
    """Keep the first item for every distinct key, in order.

    >>> unique_by(["apple", "avocado", "banana"], key=lambda word: word[0])
    ['apple', 'banana']
    """
    seen: set[Hashable] = set()
    kept = []
    for item in items:
        if key(item) not in seen:
            seen.add(key(item))
            kept.append(item)
    return kept


def flatten_deep(nested: list[Any]) -> list[Any]:
    """Flatten lists inside lists to any depth.

    >>> flatten_deep([1, [2, [3, [4]]], []])
    [1, 2, 3, 4]
    """
    flat: list[Any] = []
    for item in nested:
        if isinstance(item, list):
            flat.extend(flatten_deep(item))
        else:
            flat.append(item)
    return flat


def max_subarray_sum(numbers: list[float]) -> float:
    """Return the largest sum of a non-empty contiguous part of a list (Kadane's algorithm).

    >>> max_subarray_sum([-2, 1, -3, 4, -1, 2, 1, -5, 4])
    6
    """
    best = ending_here = numbers[0]
    for number in numbers[1:]:
        ending_here = max(number, ending_here + number)
        best = max(best, ending_here)
    return best


def find_pair_with_sum(numbers: list[int], target: int) -> tuple[int, int] | None:
    """Find two numbers of a list that add up to a target.

    Returns the pair whose second number comes first in the list, or None.

    >>> find_pair_with_sum([8, 3, 5, 2], 7)
    (5, 2)
    """
    seen: set[int] = set()
    for number in numbers:
        if target - number in seen:
            return target - number, number
        seen.add(number)
    return None


def longest_increasing_run(numbers: list[int]) -> list[int]:
    """Return the longest stretch of neighbouring items in which each is larger than the one before.

    >>> longest_increasing_run([5, 1, 2, 4, 3, 6])
    [1, 2, 4]
    """
    best: list[int] = []
    run: list[int] = []
    for number in numbers:
        run = [*run, number] if run and number > run[-1] else [number]
        if len(run) > len(best):
            best = run
    return best


def rotate(items: list[Any], steps: int) -> list[Any]:
    """Rotate a list to the right; a negative number of steps rotates it to the left.

    >>> rotate([1, 2, 3, 4], 1)
    [4, 1, 2, 3]
    """
    if not items:
        return []
    steps %= len(items)
    return items[len(items) - steps :] + items[: len(items) - steps]


def remove_at(items: list[Any], places: set[int]) -> list[Any]:
    """Return a list without the items at the given places."""
    return [item for place, item in enumerate(items) if place not in places]


def count_inversions(items: list[int]) -> int:
    """Count the pairs of items that are in the wrong order.

    >>> count_inversions([2, 4, 1, 3])
    3
    """
    pairs = 0
    for place, item in enumerate(items):
        pairs += sum(item > other for other in items[place + 1 :])
    return pairs


def insert_sorted(items: list[int], item: int) -> list[int]:
    """Return a sorted list with one more item, put where it belongs.

    >>> insert_sorted([1, 3, 5], 4)
    [1, 3, 4, 5]
    """
    place = bisect_right(items, item)
    return [*items[:place], item, *items[place:]]


def majority_item(items: list[Any]) -> Any | None:
    """Return the item that makes up more than half of a list, or None if there is none.

    Uses the voting algorithm of Boyer and Moore, and checks its candidate.
    """
    candidate, votes = None, 0
    for item in items:
        if votes == 0:
            candidate = item
        votes += 1 if item == candidate else -1
    return candidate if items and items.count(candidate) * 2 > len(items) else None


def split_evenly(items: list[Any], parts: int) -> list[list[Any]]:
    """Split a list into parts whose lengths differ by one at most, the longer ones first.

    >>> split_evenly([1, 2, 3, 4, 5], 3)
    [[1, 2], [3, 4], [5]]
    """
    size, extra = divmod(len(items), parts)
    result, start = [], 0
    for number in range(parts):
        end = start + size + (number < extra)
        result.append(items[start:end])
        start = end
    return result
