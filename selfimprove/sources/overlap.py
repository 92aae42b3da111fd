"""Held-out items must not be training prompts: the check, by normalised text."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable

from selfimprove.errors import DataError
from selfimprove.records import Prompt


def normalized_text(prompt: Prompt) -> str:
    """Return what two prompts must not share: the words, numbers and signs of what the user asks.

    Case, white space and punctuation do not count, nor do the system message and an instruction that the
    source put around the question.
    """
    text = prompt.meta.get("question")
    if not isinstance(text, str):
        text = "\n".join(m["content"] for m in prompt.messages if m["role"] == "user")
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\d+(?:\.\d+)?|[^\W\d_]+|[-+*/=<>^%$\\]", text))


def refuse_overlap(prompts: Iterable[Prompt], heldout: Iterable[Prompt]) -> int:
    """Return how many training prompts were looked at; raises DataError where held-out items are among them.

    Both sides stream; 16 bytes are kept of each held-out item.
    """
    held = {_mark(prompt) for prompt in heldout}
    count, shared, examples = 0, 0, []
    for prompt in prompts:
        count += 1
        if _mark(prompt) in held:
            shared += 1
            examples += [prompt.id] if len(examples) < 3 else []
    if shared:
        raise DataError(
            f"{shared} of {count} training prompts are held-out items too (first: {', '.join(examples)}); take them "
            "out of one side, or the accuracy measures memory"
        )
    return count


def _mark(prompt: Prompt) -> bytes:
    return hashlib.blake2b(normalized_text(prompt).encode(), digest_size=16).digest()
