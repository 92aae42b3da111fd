"""When two prompts ask the same: what a held-out item and a training prompt must not share."""

import re
import unicodedata

from selfimprove.records import Prompt

WORD = re.compile(r"\d+(?:\.\d+)?|[\u3040-\u30ff\u3400-\u9fff]|[^\W\d_\u3040-\u30ff\u3400-\u9fff]+|[-+*/=<>^%$\\]")
"""A number, one Chinese or Japanese character, a word, or one sign of a calculation."""

ASCII_WORD = re.compile(r"[a-z]+|\d+(?:\.\d+)?|[-+*/=<>^%$\\]")
"""The same for lower-case ASCII, in half the time."""


def words(text: str) -> list[str]:
    """Return the words, numbers and signs of calculation of a text; case, punctuation and white space do not count.

    Signs count because 4 - 2 and 4 + 2 are different questions.
    """
    if text.isascii():
        return ASCII_WORD.findall(text.lower())
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def normalized_text(prompt: Prompt) -> str:
    """Return what two prompts must not share: the words, numbers and signs of what the user asks.

    Case, white space and punctuation do not count, nor do the system message and an instruction that the
    source put around the question.
    """
    text = prompt.meta.get("question")
    if not isinstance(text, str):
        text = "\n".join(m["content"] for m in prompt.messages if m["role"] == "user")
    return " ".join(words(text))
