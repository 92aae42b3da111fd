"""Word by word, what differs between two texts: the pieces of each side, marked where they changed."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

WORDS = re.compile(r"\s+|\w+|[^\w\s]")
ALIKE = 0.3
"""Texts that share a smaller part of their words than this are shown unmarked: marks all over would say nothing."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text, and whether the other side lacks it."""

    text: str
    changed: bool


def word_diff(before: str, after: str) -> tuple[list[Piece], list[Piece]]:
    """Return the pieces of both texts; joined again they are the texts, and the unchanged ones are the same in both.

    Texts that are hardly alike come back as one unmarked piece each.
    """
    old, new = WORDS.findall(before), WORDS.findall(after)
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    shared = sum(len(word) for match in matcher.get_matching_blocks() for word in _words(old, match.a, match.size))
    longest = max(sum(not word.isspace() and len(word) for word in side) for side in (old, new))
    if before != after and shared < ALIKE * longest:
        return _whole(before), _whole(after)
    left: list[Piece] = []
    right: list[Piece] = []
    steps = matcher.get_opcodes()
    for place, (what, a, b, c, d) in enumerate(steps):
        gap = 0 < place < len(steps) - 1 and not "".join(old[a:b]).strip()  # white space between two changes
        _append(left, "".join(old[a:b]), what != "equal" or gap)
        _append(right, "".join(new[c:d]), what != "equal" or gap)
    return left, right


def _words(words: list[str], start: int, size: int) -> list[str]:
    return [word for word in words[start : start + size] if not word.isspace()]


def _whole(text: str) -> list[Piece]:
    return [Piece(text, False)] if text else []


def _append(pieces: list[Piece], text: str, changed: bool) -> None:
    """Add a stretch, joined to the one before where both are marked alike."""
    if not text:
        return
    if pieces and pieces[-1].changed == changed:
        text = pieces.pop().text + text
    pieces.append(Piece(text, changed))
