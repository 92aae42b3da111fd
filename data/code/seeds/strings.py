"""Seeds: changing and comparing text."""

import re
import string
import unicodedata


def slugify(title: str) -> str:
    """Turn a title into a lower-case slug for a web address.

    Accents are removed, and every run of other characters becomes one hyphen.

    >>> slugify("Crème Brûlée: a recipe!")
    'creme-brulee-a-recipe'
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


def snake_to_camel(name: str) -> str:
    """Convert a snake_case name to camelCase.

    >>> snake_to_camel("max_line_length")
    'maxLineLength'
    """
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def camel_to_snake(name: str) -> str:
    """Convert a camelCase or PascalCase name to snake_case.

    >>> camel_to_snake("maxLineLength")
    'max_line_length'
    >>> camel_to_snake("Point")
    'point'
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def truncate(text: str, width: int, ending: str = "...") -> str:
    """Shorten a text to at most `width` characters.

    A text that is cut ends in `ending`, which counts towards the width.

    >>> truncate("a long sentence", 10)
    'a long ...'
    >>> truncate("short", 10)
    'short'
    """
    if len(text) <= width:
        return text
    return text[: max(width - len(ending), 0)] + ending


def wrap_words(text: str, width: int) -> list[str]:
    """Break a text into lines of at most `width` characters, between words only.

    A word that is longer than the width gets a line of its own.

    >>> wrap_words("the quick brown fox", 10)
    ['the quick', 'brown fox']
    """
    lines: list[str] = []
    current = ""
    for word in text.split():
        candidate = f"{current} {word}" if current else word
        if len(candidate) <= width or not current:
            current = candidate
        else:
            lines.append(current)
            current = word
    if current:
        lines.append(current)
    return lines


def levenshtein(a: str, b: str) -> int:
    """Return the edit distance between two strings.

    The distance is the smallest number of insertions, deletions and
    replacements of single characters that turn `a` into `b`.

    >>> levenshtein("kitten", "sitting")
    3
    """
    previous = list(range(len(b) + 1))
    for row, left in enumerate(a, 1):
        current = [row]
        for column, right in enumerate(b, 1):
            cost = previous[column - 1] + (left != right)
            current.append(min(previous[column] + 1, current[-1] + 1, cost))
        previous = current
    return previous[-1]


def hamming_distance(a: str, b: str) -> int:
    """Count the positions at which two strings of the same length differ.

    Raises:
        ValueError: If the lengths differ.

    >>> hamming_distance("karolin", "kathrin")
    3
    """
    if len(a) != len(b):
        raise ValueError("both strings must have the same length")
    return sum(left != right for left, right in zip(a, b, strict=True))


def longest_common_substring(a: str, b: str) -> str:
    """Find the longest run of characters that occurs in both strings.

    Of several equally long runs the one that starts first in `a` is returned.

    >>> longest_common_substring("interview", "overview")
    'erview'
    """
    best = ""
    for start in range(len(a)):
        while start + len(best) < len(a) and a[start : start + len(best) + 1] in b:
            best = a[start : start + len(best) + 1]
    return best


def is_pangram(sentence: str) -> bool:
    """Tell whether a sentence uses every letter of the English alphabet.

    >>> is_pangram("The quick brown fox jumps over the lazy dog")
    True
    >>> is_pangram("Hello")
    False
    """
    return set(string.ascii_lowercase) <= set(sentence.lower())


def caesar_shift(text: str, steps: int) -> str:
    """Shift each letter of a text along the alphabet, wrapping around at its end.

    Case is kept, and all other characters stay as they are.

    >>> caesar_shift("Hello, Zoe", 3)
    'Khoor, Crh'
    """
    shifted = []
    for character in text:
        if character.isascii() and character.isalpha():
            first = ord("A") if character.isupper() else ord("a")
            character = chr((ord(character) - first + steps) % 26 + first)
        shifted.append(character)
    return "".join(shifted)


def center_in_box(text: str, width: int, border: str = "*") -> str:
    """Center a text between two border characters on a line of the given width.

    >>> center_in_box("hi", 8)
    '*  hi  *'
    """
    return border + text.center(width - 2) + border


def pluralize(count: int, singular: str, plural: str | None = None) -> str:
    """Return a count with its noun, such as "1 file" or "3 files".

    Args:
        count: How many there are.
        singular: The noun for exactly one.
        plural: The noun for any other count; an "s" is added where it is missing.

    Returns:
        The count and the right form, separated by a space.
    """
    noun = singular if count == 1 else plural or singular + "s"
    return f"{count} {noun}"


def remove_prefixes(text: str, prefixes: list[str]) -> str:
    """Remove the first matching prefix from a text, if any matches.

    >>> remove_prefixes("Dr. Watson", ["Mr. ", "Dr. "])
    'Watson'
    """
    for prefix in prefixes:
        if text.startswith(prefix):
            return text[len(prefix) :]
    return text


def collapse_whitespace(text: str) -> str:
    """Replace every run of white space by a single blank and strip both ends."""
    return " ".join(text.split())


def dedent_lines(lines: list[str]) -> list[str]:
    """Remove the indentation that all non-blank lines have in common.

    >>> dedent_lines(["    a", "      b", ""])
    ['a', '  b', '']
    """
    depths = [len(line) - len(line.lstrip(" ")) for line in lines if line.strip()]
    common = min(depths, default=0)
    return [line[common:] for line in lines]


def highlight(text: str, word: str, mark: str = "**") -> str:
    """Put marks around each occurrence of a word, whatever its case.

    >>> highlight("Cats like cats", "cats")
    '**Cats** like **cats**'
    """
    pattern = re.compile(rf"\b{re.escape(word)}\b", re.IGNORECASE)
    return pattern.sub(lambda match: f"{mark}{match[0]}{mark}", text)
