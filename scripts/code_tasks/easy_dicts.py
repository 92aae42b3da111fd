"""Functions of a dictionary or a set, one line each."""

# ruff: noqa: B905 - written the way most people write it


def get_value(table, key):
    """returns the value stored in a dictionary under a key, or None if the key is missing.

    get_value({"a": 1}, "a") == 1
    get_value({"a": 1}, "b") is None
    get_value({}, "a") is None
    get_value({1: "x"}, 1) == "x"
    """
    return table.get(key)


def has_key(table, key):
    """tells whether a dictionary has a key.

    has_key({"a": 1}, "a") is True
    has_key({"a": 1}, "b") is False
    has_key({}, "a") is False
    has_key({"a": None}, "a") is True
    """
    return key in table


def sorted_keys(table):
    """returns the keys of a dictionary as a sorted list.

    sorted_keys({"b": 1, "a": 2}) == ["a", "b"]
    sorted_keys({}) == []
    sorted_keys({3: "x", 1: "y", 2: "z"}) == [1, 2, 3]
    sorted_keys({"x": 0}) == ["x"]
    """
    return sorted(table)


def total_of_values(table):
    """adds up all values of a dictionary.

    total_of_values({"a": 1, "b": 2}) == 3
    total_of_values({}) == 0
    total_of_values({"x": -5}) == -5
    total_of_values({1: 10, 2: 20, 3: 30}) == 60
    """
    return sum(table.values())


def number_of_keys(table):
    """returns the number of entries in a dictionary.

    number_of_keys({"a": 1, "b": 2}) == 2
    number_of_keys({}) == 0
    number_of_keys({"x": []}) == 1
    number_of_keys({1: 1, 2: 1, 3: 1}) == 3
    """
    return len(table)


def merge(first, second):
    """merges two dictionaries; where both have a key, the value of the second one wins.

    merge({"a": 1}, {"b": 2}) == {"a": 1, "b": 2}
    merge({"a": 1}, {"a": 9}) == {"a": 9}
    merge({}, {}) == {}
    merge({"x": 0}, {}) == {"x": 0}
    """
    return {**first, **second}


def common_items(first, second):
    """returns the set of items that two lists have in common.

    common_items([1, 2, 3], [2, 3, 4]) == {2, 3}
    common_items([1], [2]) == set([])
    common_items([], []) == set([])
    common_items(["a", "a"], ["a"]) == {"a"}
    """
    return set(first) & set(second)


def make_dict(keys, values):
    """builds a dictionary from a list of keys and a list of values.

    make_dict(["a", "b"], [1, 2]) == {"a": 1, "b": 2}
    make_dict([], []) == {}
    make_dict(["x"], [None]) == {"x": None}
    make_dict([1, 2], ["one", "two"]) == {1: "one", 2: "two"}
    """
    return dict(zip(keys, values))


def name_lengths(names):
    """returns a dictionary that maps each name in a list to its length.

    name_lengths(["Ada", "Li"]) == {"Ada": 3, "Li": 2}
    name_lengths([]) == {}
    name_lengths([""]) == {"": 0}
    name_lengths(["Bob"]) == {"Bob": 3}
    """
    return {name: len(name) for name in names}
