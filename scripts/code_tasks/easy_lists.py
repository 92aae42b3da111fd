"""Functions of a list, one line each."""


def list_length(items):
    """returns the number of items in a list.

    list_length([1, 2, 3]) == 3
    list_length([]) == 0
    list_length(["a"]) == 1
    list_length([[], []]) == 2
    """
    return len(items)


def first_item(items):
    """returns the first item of a non-empty list.

    first_item([1, 2, 3]) == 1
    first_item(["x"]) == "x"
    first_item([0, 5]) == 0
    first_item([[1], 2]) == [1]
    """
    return items[0]


def last_item(items):
    """returns the item at the end of a list that is not empty.

    last_item([1, 2, 3]) == 3
    last_item(["x"]) == "x"
    last_item([5, 0]) == 0
    last_item(["a", "b"]) == "b"
    """
    return items[-1]


def sum_of_list(numbers):
    """returns the sum of the numbers in a list.

    sum_of_list([1, 2, 3]) == 6
    sum_of_list([]) == 0
    sum_of_list([-1, 1]) == 0
    sum_of_list([2.5, 2.5]) == 5.0
    """
    return sum(numbers)


def largest(numbers):
    """returns the largest number in a non-empty list.

    largest([1, 5, 3]) == 5
    largest([-2, -7]) == -2
    largest([4]) == 4
    largest([3, 3, 1]) == 3
    """
    return max(numbers)


def smallest(numbers):
    """returns the least value of a list that has at least one number.

    smallest([4, 1, 3]) == 1
    smallest([-2, -7]) == -7
    smallest([4]) == 4
    smallest([0, 9, 0]) == 0
    """
    return min(numbers)


def average(numbers):
    """returns the average of a non-empty list of numbers.

    average([1, 2, 3]) == 2.0
    average([4]) == 4.0
    average([1, 2]) == 1.5
    average([-2, 2]) == 0.0
    """
    return sum(numbers) / len(numbers)


def double_all(numbers):
    """returns a list with every number doubled.

    double_all([1, 2, 3]) == [2, 4, 6]
    double_all([]) == []
    double_all([-1, 0]) == [-2, 0]
    double_all([10]) == [20]
    """
    return [2 * number for number in numbers]


def squares(numbers):
    """returns the list of the squares of the given numbers.

    squares([1, 2, 3]) == [1, 4, 9]
    squares([]) == []
    squares([-2, 0]) == [4, 0]
    squares([10]) == [100]
    """
    return [number * number for number in numbers]


def add_to_all(numbers, amount):
    """adds an amount to each number of a list and returns the new list.

    add_to_all([1, 2], 10) == [11, 12]
    add_to_all([], 3) == []
    add_to_all([5], -5) == [0]
    add_to_all([1, 1], 0) == [1, 1]
    """
    return [number + amount for number in numbers]


def evens(numbers):
    """returns the even numbers of a list, in their order.

    evens([1, 2, 3, 4]) == [2, 4]
    evens([]) == []
    evens([1, 3]) == []
    evens([0, -2, 5]) == [0, -2]
    """
    return [number for number in numbers if number % 2 == 0]


def odds(numbers):
    """keeps only the odd numbers of a list.

    odds([1, 2, 3, 4]) == [1, 3]
    odds([]) == []
    odds([2, 4]) == []
    odds([7, 0, 9]) == [7, 9]
    """
    return [n for n in numbers if n % 2 != 0]


def positives(numbers):
    """returns those numbers of a list that are greater than zero.

    positives([1, -2, 3]) == [1, 3]
    positives([]) == []
    positives([0, -1]) == []
    positives([5]) == [5]
    """
    return [number for number in numbers if number > 0]


def sort_ascending(numbers):
    """returns the numbers sorted from small to large.

    sort_ascending([3, 1, 2]) == [1, 2, 3]
    sort_ascending([]) == []
    sort_ascending([2, 2, 1]) == [1, 2, 2]
    sort_ascending([-1, 5, -9]) == [-9, -1, 5]
    """
    return sorted(numbers)


def sort_descending(numbers):
    """sorts a list so that the largest number comes first.

    sort_descending([3, 1, 2]) == [3, 2, 1]
    sort_descending([]) == []
    sort_descending([2, 2, 9]) == [9, 2, 2]
    sort_descending([-1, -5]) == [-1, -5]
    """
    return sorted(numbers, reverse=True)


def reverse_list(items):
    """returns the items of a list in reverse order.

    reverse_list([1, 2, 3]) == [3, 2, 1]
    reverse_list([]) == []
    reverse_list(["a"]) == ["a"]
    reverse_list([2, 1, 1]) == [1, 1, 2]
    """
    return items[::-1]


def first_n(items, n):
    """returns the first n items of a list.

    first_n([1, 2, 3], 2) == [1, 2]
    first_n([1, 2, 3], 0) == []
    first_n([], 4) == []
    first_n([1, 2], 5) == [1, 2]
    """
    return items[:n]


def without_first(items):
    """returns a list of everything but the first element.

    without_first([1, 2, 3]) == [2, 3]
    without_first(["a"]) == []
    without_first([]) == []
    without_first([0, 0]) == [0]
    """
    return items[1:]


def every_second(items):
    """returns every second item of a list, starting with the first.

    every_second([1, 2, 3, 4]) == [1, 3]
    every_second([]) == []
    every_second([5]) == [5]
    every_second(["a", "b", "c"]) == ["a", "c"]
    """
    return items[::2]


def contains(items, item):
    """tells whether an item is in a list.

    contains([1, 2, 3], 2) is True
    contains([1, 2, 3], 4) is False
    contains([], 1) is False
    contains(["a"], "a") is True
    """
    return item in items


def count_item(items, item):
    """returns how many times an item appears in a list.

    count_item([1, 2, 1], 1) == 2
    count_item([1, 2, 1], 3) == 0
    count_item([], 1) == 0
    count_item(["a", "a"], "a") == 2
    """
    return items.count(item)


def join_lists(first, second):
    """returns one list with the items of both lists.

    join_lists([1], [2, 3]) == [1, 2, 3]
    join_lists([], []) == []
    join_lists([1, 2], []) == [1, 2]
    join_lists([], ["a"]) == ["a"]
    """
    return first + second


def append_item(items, item):
    """returns a list with the item added at the end.

    append_item([1, 2], 3) == [1, 2, 3]
    append_item([], "a") == ["a"]
    append_item([0], 0) == [0, 0]
    append_item([[1]], []) == [[1], []]
    """
    return [*items, item]


def numbers_up_to(n):
    """returns the list of integers from 1 to n.

    numbers_up_to(3) == [1, 2, 3]
    numbers_up_to(1) == [1]
    numbers_up_to(0) == []
    numbers_up_to(5) == [1, 2, 3, 4, 5]
    """
    return list(range(1, n + 1))


def index_of(items, item):
    """returns the index of an item in a list that contains it.

    index_of([5, 6, 7], 6) == 1
    index_of(["a"], "a") == 0
    index_of([1, 2, 2], 2) == 1
    index_of([3, 4, 5], 5) == 2
    """
    return items.index(item)


def lengths(words):
    """returns the lengths of the words in a list.

    lengths(["a", "bcd"]) == [1, 3]
    lengths([]) == []
    lengths([""]) == [0]
    lengths(["hello", "you"]) == [5, 3]
    """
    return [len(word) for word in words]


def uppercase_all(words):
    """turns all the strings in a list into upper case.

    uppercase_all(["a", "Bc"]) == ["A", "BC"]
    uppercase_all([]) == []
    uppercase_all([""]) == [""]
    uppercase_all(["x1"]) == ["X1"]
    """
    return [word.upper() for word in words]


def unique_count(items):
    """returns how many different values a list holds.

    unique_count([1, 2, 1]) == 2
    unique_count([]) == 0
    unique_count(["a", "a"]) == 1
    unique_count([3, 4, 5]) == 3
    """
    return len(set(items))


def is_empty_list(items):
    """tells whether a list is empty.

    is_empty_list([]) is True
    is_empty_list([1]) is False
    is_empty_list([0]) is False
    is_empty_list([[]]) is False
    """
    return len(items) == 0


def all_positive(numbers):
    """returns True if every number of the list is above zero.

    all_positive([1, 2]) is True
    all_positive([1, 0]) is False
    all_positive([-1, 3]) is False
    all_positive([]) is True
    """
    return all(number > 0 for number in numbers)


def as_strings(numbers):
    """converts a list of numbers to a list of strings.

    as_strings([1, 2]) == ["1", "2"]
    as_strings([]) == []
    as_strings([-3]) == ["-3"]
    as_strings([0, 10]) == ["0", "10"]
    """
    return [str(number) for number in numbers]


def swap_pair(pair):
    """swaps the two values of a tuple.

    swap_pair((1, 2)) == (2, 1)
    swap_pair(("a", "b")) == ("b", "a")
    swap_pair((0, 0)) == (0, 0)
    swap_pair((None, 1)) == (1, None)
    """
    return (pair[1], pair[0])


def spread(numbers):
    """returns the difference between the largest and the smallest number in a list.

    spread([1, 5, 3]) == 4
    spread([4]) == 0
    spread([-2, 2]) == 4
    spread([7, 7]) == 0
    """
    return max(numbers) - min(numbers)
