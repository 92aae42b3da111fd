"""When two prompts ask the same: what a held-out item and a training prompt must not share."""

import re
import unicodedata

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
