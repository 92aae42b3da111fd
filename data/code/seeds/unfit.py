"""Seeds that a filter should drop, each for the reason in the comment above it: README.md lists them.

Most of them work; what is wrong with them is what makes a poor seed.
"""

from collections.abc import Iterator
from typing import Any


# Text that says the code is unfinished.
def title_case(text: str) -> str:
    """Write every word of a text with a capital first letter.

    TODO: leave short words such as "of" as they are.
    """
    return " ".join(word[:1].upper() + word[1:] for word in text.split(" "))


def count_lines(text: str) -> int:
    """Count the lines of a text that are not blank."""
    # TODO handle other line breaks than \n
    return sum(1 for line in text.split("\n") if line.strip())


def average_speed(kilometres: float, hours: float) -> float:
    """Return the average speed of a trip in kilometres per hour."""
    # FIXME: fails for trips that take no time
    return kilometres / hours


def remove_every_third(items: list[Any]) -> list[Any]:
    """Return a list without its third, sixth, ninth ... item.

    An earlier version had a bug for lists with fewer than three items.
    """
    return [item for place, item in enumerate(items, 1) if place % 3]


def parse_flag(text: str) -> bool:
    """Read "yes", "on", "true" or "1" as True and everything else as False."""
    debug = text.strip().lower()
    return debug in {"yes", "on", "true", "1"}


# Imports of what reaches outside the program.
def files_with_ending(folder: str, ending: str) -> list[str]:
    """List the names of the files in a folder that have a given ending."""
    import os

    return sorted(name for name in os.listdir(folder) if name.endswith(ending))


def run_and_read(command: list[str]) -> str:
    """Run a command and return what it printed."""
    import subprocess

    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def memory_of(value: Any) -> int:
    """Return how many bytes a Python object takes, without what it refers to."""
    import sys

    return sys.getsizeof(value)


def read_arguments(arguments: list[str]) -> dict[str, Any]:
    """Read the command line options --name and --count."""
    import argparse

    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="world")
    parser.add_argument("--count", type=int, default=1)
    return vars(parser.parse_args(arguments))


def parent_folder(path: str) -> str:
    """Return the folder in which a file lies."""
    from os.path import dirname

    return dirname(path)


# Nothing comes back.
def print_table(rows: list[list[str]]) -> None:
    """Print rows of text as columns that are as wide as their longest entry."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))


def shuffle_in_place(items: list[Any], seed: int) -> None:
    """Shuffle a list in place with a given seed."""
    import random

    random.Random(seed).shuffle(items)


def increase_all(counts: dict[str, int], by: int = 1) -> None:
    """Add a number to every value of a dictionary, changing it."""
    for key in counts:
        counts[key] += by


def pairs_of(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield all pairs of items of a list, each pair once."""
    for place, first in enumerate(items):
        for second in items[place + 1 :]:
            yield first, second


def check_positive(number: float) -> None:
    """Complain about a number that is not positive."""
    if number > 0:
        return
    raise ValueError(f"{number} is not positive")


# No parameters: every call does the same.
def alphabet():
    """Return the letters of the English alphabet in lower case."""
    return "".join(chr(code) for code in range(ord("a"), ord("z") + 1))


def weekday_names():
    """Return the names of the days of the week, beginning with Monday."""
    return ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def unit_vectors():
    """Return the two unit vectors of the plane."""
    return [(1, 0), (0, 1)]


# Types that do not fit: a type checker refuses these.
def celsius_label(degrees: float) -> str:
    """Return a temperature as a label such as "21 C"."""
    return round(degrees) + " C"


def first_word_length(sentence: str) -> int:
    """Return the length of the first word of a sentence."""
    return sentence.split()[0]


def longest_line(text: str) -> str:
    """Return the longest line of a text."""
    lines = text.splitlines()
    return max(lines, key=lambda line: line.length())


def total_weight(weights: list[float]) -> float:
    """Add up the weights in a list."""
    total: float = "0"
    for weight in weights:
        total += weight
    return total


# The text of a held-out task of this data set.
def evens_of(numbers: list[int]) -> list[int]:
    """Write a Python function `evens(numbers)` that returns the even numbers of a list, in their order."""
    return [number for number in numbers if number % 2 == 0]


def end_with_period(sentence: str) -> str:
    """Do the following.

    Write a Python function `with_period(sentence)` that returns the sentence with a full stop added at its end.
    """
    return sentence if sentence.endswith(".") else sentence + "."


# Nearly the same as another seed.
def slug_of(title: str) -> str:
    """Turn a title into a lower-case slug for a web address.

    Accents are removed, and every run of other characters becomes one hyphen.

    >>> slug_of("Crème Brûlée: a recipe!")
    'creme-brulee-a-recipe'
    """
    import re
    import unicodedata

    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


def collatz_length(n: int) -> int:
    """Count the steps of the Collatz sequence from a positive integer down to 1.

    An even number is halved, an odd one is tripled and increased by one.

    >>> collatz_length(6)
    8
    """
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps


def kadane(numbers: list[float]) -> float:
    """Return the largest sum of a non-empty contiguous part of a list (Kadane's algorithm).

    >>> kadane([-2, 1, -3, 4, -1, 2, 1, -5, 4])
    6
    """
    best = ending_here = numbers[0]
    for number in numbers[1:]:
        ending_here = max(number, ending_here + number)
        best = max(best, ending_here)
    return best
