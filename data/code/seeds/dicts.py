"""Seeds: dictionaries and records."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any


def deep_merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge two nested dictionaries into a new one.

    Where both have a dictionary under a key, these are merged in turn;
    otherwise the value from `changes` wins.

    >>> deep_merge({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}, "b": 4})
    {'a': {'x': 1, 'y': 3}, 'b': 4}
    """
    merged = dict(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = deep_merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def get_path(data: dict[str, Any], path: str, default: Any = None) -> Any:
    """Look up a dotted path such as "server.port" in nested dictionaries.

    >>> get_path({"server": {"port": 80}}, "server.port")
    80
    >>> get_path({}, "server.port", 8080)
    8080
    """
    value: Any = data
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return default
        value = value[key]
    return value


def flatten_keys(data: dict[str, Any], separator: str = ".") -> dict[str, Any]:
    """Turn nested dictionaries into one level with joined keys.

    >>> flatten_keys({"a": {"b": 1, "c": {"d": 2}}, "e": 3})
    {'a.b': 1, 'a.c.d': 2, 'e': 3}
    """
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            for inner, leaf in flatten_keys(value, separator).items():
                flat[f"{key}{separator}{inner}"] = leaf
        else:
            flat[key] = value
    return flat


def group_by(rows: Iterable[dict[str, Any]], field: str) -> dict[Any, list[dict[str, Any]]]:
    """Group records by the value of one of their fields.

    >>> group_by([{"k": 1, "v": "a"}, {"k": 2, "v": "b"}, {"k": 1, "v": "c"}], "k")[1]
    [{'k': 1, 'v': 'a'}, {'k': 1, 'v': 'c'}]
    """
    groups: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row[field]].append(row)
    return dict(groups)


def index_by(rows: Iterable[dict[str, Any]], field: str) -> dict[Any, dict[str, Any]]:
    """Build a lookup table from a field's value to its record.

    Raises:
        ValueError: If two records have the same value.
    """
    table: dict[Any, dict[str, Any]] = {}
    for row in rows:
        if row[field] in table:
            raise ValueError(f"{field} {row[field]!r} occurs twice")
        table[row[field]] = row
    return table


def pick(data: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Return only the given keys of a dictionary; missing keys are left out."""
    return {key: data[key] for key in keys if key in data}


def rename_keys(data: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Return a dictionary in which some keys have new names.

    >>> rename_keys({"a": 1, "b": 2}, {"a": "first"})
    {'first': 1, 'b': 2}
    """
    return {names.get(key, key): value for key, value in data.items()}


def map_values(data: dict[str, Any], function: Callable[[Any], Any]) -> dict[str, Any]:
    """Apply a function to every value of a dictionary.

    >>> map_values({"a": 1, "b": 2}, lambda n: n * 10)
    {'a': 10, 'b': 20}
    """
    return {key: function(value) for key, value in data.items()}


def changed_keys(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[str]]:
    """Compare two dictionaries and report which keys were added, removed or changed.

    >>> changed_keys({"a": 1, "b": 2}, {"b": 3, "c": 4})
    {'added': ['c'], 'removed': ['a'], 'changed': ['b']}
    """
    return {
        "added": sorted(after.keys() - before.keys()),
        "removed": sorted(before.keys() - after.keys()),
        "changed": sorted(key for key in before.keys() & after.keys() if before[key] != after[key]),
    }


def top_n(counts: dict[str, int], n: int) -> list[tuple[str, int]]:
    """Return the n entries with the largest counts; ties are in alphabetical order.

    >>> top_n({"b": 2, "a": 2, "c": 5}, 2)
    [('c', 5), ('a', 2)]
    """
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:n]


def invert_to_lists(data: dict[str, str]) -> dict[str, list[str]]:
    """Turn a mapping around; keys with the same value are collected in a list.

    >>> invert_to_lists({"ada": "maths", "bob": "music", "eve": "maths"})
    {'maths': ['ada', 'eve'], 'music': ['bob']}
    """
    inverted: dict[str, list[str]] = {}
    for key, value in data.items():
        inverted.setdefault(value, []).append(key)
    return inverted


def pivot(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Turn a list of records into a dictionary of columns.

    All records are expected to have the fields of the first one.

    >>> pivot([{"x": 1, "y": 2}, {"x": 3, "y": 4}])
    {'x': [1, 3], 'y': [2, 4]}
    """
    if not rows:
        return {}
    return {name: [row[name] for row in rows] for name in rows[0]}


def missing_fields(row: dict[str, Any], required: Iterable[str]) -> list[str]:
    """List the required fields that a record does not have or that are None."""
    return [name for name in required if row.get(name) is None]
