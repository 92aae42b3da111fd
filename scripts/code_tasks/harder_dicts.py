"""Dictionaries in loops: several lines, or an idea beyond one built-in function."""


def count_items(items):
    """returns a dictionary with the number of times each item of a list occurs.

    count_items(["a", "b", "a"]) == {"a": 2, "b": 1}
    count_items([]) == {}
    count_items([1, 1, 1]) == {1: 3}
    count_items(["x"]) == {"x": 1}
    """
    counts = {}
    for item in items:
        counts[item] = counts.get(item, 0) + 1
    return counts


def invert(table):
    """swaps the keys and the values of a dictionary.

    invert({"a": 1, "b": 2}) == {1: "a", 2: "b"}
    invert({}) == {}
    invert({1: "x"}) == {"x": 1}
    invert({"k": "v"}) == {"v": "k"}
    """
    return {value: key for key, value in table.items()}


def key_of_largest(table):
    """returns the key that has the largest value in a non-empty dictionary.

    key_of_largest({"a": 1, "b": 5}) == "b"
    key_of_largest({"x": 0}) == "x"
    key_of_largest({"a": -1, "b": -3}) == "a"
    key_of_largest({1: 10, 2: 30, 3: 20}) == 2
    """
    return max(table, key=table.get)


def group_by_length(words):
    """groups words by their length in a dictionary from length to list of words.

    group_by_length(["a", "bb", "c"]) == {1: ["a", "c"], 2: ["bb"]}
    group_by_length([]) == {}
    group_by_length(["abc"]) == {3: ["abc"]}
    group_by_length(["", "x"]) == {0: [""], 1: ["x"]}
    """
    groups = {}
    for word in words:
        groups.setdefault(len(word), []).append(word)
    return groups


def most_common(items):
    """returns the item that occurs most often in a list; there is only one such item.

    most_common([1, 2, 1]) == 1
    most_common(["x"]) == "x"
    most_common(["a", "b", "b"]) == "b"
    most_common([3, 3, 2, 2, 3]) == 3
    """
    return max(set(items), key=items.count)


def affordable(prices, budget):
    """returns the sorted names of all products in a price dictionary that cost at most budget.

    affordable({"pen": 2, "bag": 30}, 10) == ["pen"]
    affordable({"pen": 2, "bag": 30}, 30) == ["bag", "pen"]
    affordable({}, 5) == []
    affordable({"car": 9000}, 1) == []
    """
    return sorted(name for name, price in prices.items() if price <= budget)


def add_tables(first, second):
    """adds up the numbers of two dictionaries key by key; a missing key counts as 0.

    add_tables({"a": 1}, {"a": 2}) == {"a": 3}
    add_tables({"a": 1}, {"b": 2}) == {"a": 1, "b": 2}
    add_tables({}, {}) == {}
    add_tables({"x": 5, "y": 1}, {"y": -1}) == {"x": 5, "y": 0}
    """
    return {key: first.get(key, 0) + second.get(key, 0) for key in {**first, **second}}


def without_none(table):
    """removes the entries whose value is None from a dictionary and returns the rest.

    without_none({"a": 1, "b": None}) == {"a": 1}
    without_none({}) == {}
    without_none({"x": None}) == {}
    without_none({"z": 0, "e": ""}) == {"z": 0, "e": ""}
    """
    return {key: value for key, value in table.items() if value is not None}


def oldest(people):
    """returns the name of the oldest person, given a list of tuples of a name and an age.

    oldest([("Ada", 36), ("Bob", 41)]) == "Bob"
    oldest([("Eve", 5)]) == "Eve"
    oldest([("A", 1), ("B", 0), ("C", 1.5)]) == "C"
    oldest([("Zed", 90), ("Amy", 20)]) == "Zed"
    """
    return max(people, key=lambda person: person[1])[0]


def letter_positions(word):
    """maps each letter of a word to the list of positions at which it stands.

    letter_positions("noon") == {"n": [0, 3], "o": [1, 2]}
    letter_positions("") == {}
    letter_positions("a") == {"a": [0]}
    letter_positions("aba") == {"a": [0, 2], "b": [1]}
    """
    places = {}
    for place, letter in enumerate(word):
        places.setdefault(letter, []).append(place)
    return places
