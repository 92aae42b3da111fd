"""Instructions whose following can be checked by code: lengths, words, letters, structure.

A prompt carries its checks in `meta["checks"]`: a list of `{"check": name, ...its arguments}`. An answer is right
where all of them hold; the verdict's reason lists those that do not. What it says is not judged.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from selfimprove.errors import DataError, did_you_mean
from selfimprove.records import Prompt, Verdict


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text.lower())


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text: what ends with . ! or ? before white space or the end."""
    return [part for part in re.split(r"(?<=[.!?])[\"')\]]*\s+", text.strip()) if words_of(part)]


def paragraphs_of(text: str) -> list[str]:
    """Return the paragraphs of a text: what empty lines stand between."""
    return [part for part in re.split(r"\n\s*\n", text.strip()) if part.strip()]


def lines_of(text: str) -> list[str]:
    """Return the lines of a text that are not empty."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def count_between(count: int, at_least: int = 0, at_most: int | None = None) -> bool:
    """Return whether a count lies within its bounds, both included."""
    return at_least <= count and (at_most is None or count <= at_most)


def has_word(text: str, word: str, at_least: int = 1, at_most: int | None = None) -> bool:
    """Return whether a word or phrase stands in a text that often, upper and lower case alike."""
    found = re.findall(rf"(?<!\w){re.escape(word.lower())}(?!\w)", text.lower())
    return count_between(len(found), at_least, at_most)


def is_json(text: str, keys: list[str] | tuple[str, ...] = ()) -> bool:
    """Return whether a text is one JSON value, in a fence or bare, an object with these keys where any are named."""
    fenced = re.fullmatch(r"```(?:json)?\s*\n(.*?)\n?```", text.strip(), re.DOTALL)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return False
    return not keys or (isinstance(value, dict) and set(keys) <= set(value))


CHECKS: dict[str, Callable[..., bool]] = {
    "words": lambda text, **bounds: count_between(len(words_of(text)), **bounds),
    "sentences": lambda text, **bounds: count_between(len(sentences_of(text)), **bounds),
    "paragraphs": lambda text, **bounds: count_between(len(paragraphs_of(text)), **bounds),
    "lines": lambda text, **bounds: count_between(len(lines_of(text)), **bounds),
    "bullets": lambda text, **bounds: count_between(
        sum(bool(re.match(r"[-*•] \S", line)) for line in lines_of(text)), **bounds
    ),
    "numbered": lambda text, **bounds: count_between(
        sum(bool(re.match(r"\d+[.)] \S", line)) for line in lines_of(text)), **bounds
    ),
    "has_word": has_word,
    "lacks_word": lambda text, word: not has_word(text, word),
    "starts_with": lambda text, start: text.strip().lower().startswith(start.lower()),
    "ends_with": lambda text, end: text.strip().rstrip("\"'").lower().endswith(end.lower()),
    "lower_case": lambda text: text == text.lower() and bool(words_of(text)),
    "upper_case": lambda text: text == text.upper() and bool(words_of(text)),
    "lacks_letter": lambda text, letter: letter.lower() not in text.lower() and bool(words_of(text)),
    "no_commas": lambda text: "," not in text and bool(words_of(text)),
    "no_digits": lambda text: not re.search(r"\d", text) and bool(words_of(text)),
    "in_quotes": lambda text: len(text.strip()) > 2 and text.strip()[0] == text.strip()[-1] == '"',
    "has_title": lambda text: bool(re.search(r"<<[^<>\n]*\w[^<>\n]*>>", text)),
    "json": is_json,
}
"""Name of a check: whether it holds for an answer."""


class Formats:
    """Right where every check of the prompt holds."""

    name = "formats"
    settings: Mapping[str, Any] = {}

    def extract(self, text: str) -> str | None:
        """Return the text without outer white space, None where nothing is left."""
        return text.strip() or None

    async def grade(self, prompt: Prompt, text: str) -> Verdict:
        """Return 1.0 where all checks hold, 0.0 with those that do not; raises DataError for a check there is not."""
        checks = prompt.meta.get("checks") or ()
        if not checks:
            return Verdict(None, reason="no_checks", source=self.name)
        broken = [described(check) for check in checks if not holds(check, text, prompt.id)]
        return Verdict(float(not broken), label=text.strip()[:80], reason="; ".join(broken), source=self.name)

    async def grade_gold(self, prompt: Prompt) -> Verdict:
        """Return the verdict on the prompt's own answer."""
        return await self.grade(prompt, prompt.gold or "")

    def close(self) -> None:
        """Do nothing: there is nothing to stop."""


def holds(check: Mapping[str, Any], text: str, where: str = "") -> bool:
    """Return whether one check holds for a text; raises DataError where it is none, or lacks an argument."""
    name = check.get("check")
    if name not in CHECKS:
        raise DataError(f"prompt {where}: there is no check '{name}'{did_you_mean(str(name), CHECKS)}")
    arguments = {key: value for key, value in check.items() if key != "check"}
    try:
        return bool(text.strip()) and CHECKS[name](text, **arguments)
    except TypeError as error:
        raise DataError(f"prompt {where}: check '{name}' with {arguments}: {error}") from None


def described(check: Mapping[str, Any]) -> str:
    """Return a check in a few words: `words at_most=20`."""
    return " ".join([str(check.get("check")), *(f"{key}={value}" for key, value in check.items() if key != "check")])


def make(*_: object) -> Formats:
    """Return the verifier."""
    return Formats()
