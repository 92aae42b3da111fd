"""Lists in loops: several lines, or an idea beyond one built-in function."""

# ruff: noqa: B905, RUF007 - written the way most people write it


def remove_duplicates(items):
    """removes repeated items from a list and keeps the first of each, in order.

    remove_duplicates([1, 2, 1, 3]) == [1, 2, 3]
    remove_duplicates([]) == []
    remove_duplicates(["b", "a", "b"]) == ["b", "a"]
    remove_duplicates([5, 5, 5]) == [5]
    """
    kept = []
    for item in items:
        if item not in kept:
            kept.append(item)
    return kept


def second_largest(numbers):
    """returns the second largest of the distinct numbers in a list.

    second_largest([1, 2, 3]) == 2
    second_largest([5, 5, 4]) == 4
    second_largest([-1, -2]) == -2
    second_largest([10, 30, 20, 30]) == 20
    """
    return sorted(set(numbers))[-2]


def flatten(lists):
    """turns a list of lists into one flat list.

    flatten([[1, 2], [3]]) == [1, 2, 3]
    flatten([]) == []
    flatten([[], [1], []]) == [1]
    flatten([["a"], ["b", "c"]]) == ["a", "b", "c"]
    """
    return [item for items in lists for item in items]


def is_sorted(numbers):
    """checks if a list of numbers never goes down from one item to the next.

    is_sorted([1, 2, 2, 3]) is True
    is_sorted([2, 1]) is False
    is_sorted([]) is True
    is_sorted([1, 3, 2]) is False
    """
    return all(a <= b for a, b in zip(numbers, numbers[1:]))


def pairwise_sums(first, second):
    """adds two lists of equal length item by item.

    pairwise_sums([1, 2], [10, 20]) == [11, 22]
    pairwise_sums([], []) == []
    pairwise_sums([5], [-5]) == [0]
    pairwise_sums([1, 1, 1], [0, 1, 2]) == [1, 2, 3]
    """
    return [a + b for a, b in zip(first, second)]


def dot_product(u, v):
    """returns the scalar product of two vectors given as lists.

    dot_product([1, 2], [3, 4]) == 11
    dot_product([], []) == 0
    dot_product([1, 0], [0, 1]) == 0
    dot_product([2], [-3]) == -6
    """
    return sum(a * b for a, b in zip(u, v))


def chunks(items, size):
    """cuts a list into pieces of the given size; the final piece may be shorter.

    chunks([1, 2, 3, 4], 2) == [[1, 2], [3, 4]]
    chunks([1, 2, 3], 2) == [[1, 2], [3]]
    chunks([], 3) == []
    chunks([1, 2], 5) == [[1, 2]]
    """
    return [items[start : start + size] for start in range(0, len(items), size)]


def rotate_left(items, steps):
    """moves the first steps items of a list to its end; steps is at most the length of the list.

    rotate_left([1, 2, 3], 1) == [2, 3, 1]
    rotate_left([1, 2, 3], 0) == [1, 2, 3]
    rotate_left([1, 2], 2) == [1, 2]
    rotate_left(["a", "b", "c", "d"], 3) == ["d", "a", "b", "c"]
    """
    return items[steps:] + items[:steps]


def index_of_largest(numbers):
    """finds the place of the biggest number in a list, counting from 0; the first place if there are several.

    index_of_largest([1, 9, 3]) == 1
    index_of_largest([4]) == 0
    index_of_largest([2, 7, 7]) == 1
    index_of_largest([-5, -1, -3]) == 1
    """
    return numbers.index(max(numbers))


def median(numbers):
    """returns the median of a list with an odd number of items.

    median([3, 1, 2]) == 2
    median([5]) == 5
    median([9, 1, 5, 7, 3]) == 5
    median([-1, 0, -5]) == -1
    """
    return sorted(numbers)[len(numbers) // 2]


def differences(numbers):
    """returns the differences between neighbouring items, each item minus the one before it.

    differences([1, 4, 9]) == [3, 5]
    differences([5]) == []
    differences([]) == []
    differences([3, 1]) == [-2]
    """
    return [b - a for a, b in zip(numbers, numbers[1:])]


def longest_word(words):
    """returns the longest string of a non-empty list; of equally long ones the first.

    longest_word(["a", "abc", "ab"]) == "abc"
    longest_word(["x"]) == "x"
    longest_word(["one", "two"]) == "one"
    longest_word(["", "z"]) == "z"
    """
    return max(words, key=len)


def zeros_to_end(numbers):
    """moves all zeros of a list to the end and keeps the order of the rest.

    zeros_to_end([0, 1, 0, 3]) == [1, 3, 0, 0]
    zeros_to_end([]) == []
    zeros_to_end([0, 0]) == [0, 0]
    zeros_to_end([2, 1]) == [2, 1]
    """
    rest = [number for number in numbers if number != 0]
    return rest + [0] * (len(numbers) - len(rest))


def column(rows, number):
    """returns one column of a table that is given as a list of rows.

    column([[1, 2], [3, 4]], 0) == [1, 3]
    column([[1, 2], [3, 4]], 1) == [2, 4]
    column([], 0) == []
    column([["a"]], 0) == ["a"]
    """
    return [row[number] for row in rows]


def interleave(first, second):
    """mixes two lists of equal length by taking items from them in turn.

    interleave([1, 2], ["a", "b"]) == [1, "a", 2, "b"]
    interleave([], []) == []
    interleave([0], [9]) == [0, 9]
    interleave([1, 3, 5], [2, 4, 6]) == [1, 2, 3, 4, 5, 6]
    """
    mixed = []
    for a, b in zip(first, second):
        mixed.extend([a, b])
    return mixed


def has_duplicates(items):
    """tells whether any value occurs more than once in a list.

    has_duplicates([1, 2, 1]) is True
    has_duplicates([1, 2, 3]) is False
    has_duplicates([]) is False
    has_duplicates(["a", "a"]) is True
    """
    return len(set(items)) < len(items)


def identity_matrix(n):
    """builds the n by n identity matrix as a list of rows.

    identity_matrix(1) == [[1]]
    identity_matrix(2) == [[1, 0], [0, 1]]
    identity_matrix(3) == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    identity_matrix(0) == []
    """
    return [[1 if row == place else 0 for place in range(n)] for row in range(n)]
