"""How a conversation becomes tokens: one definition for all engines, trainers and tests.

A prompt is what the chat template renders; a completion is tokenised on its own and ends with the end-of-turn
token. The boundary between the two is therefore always a token boundary, as it is when the model answers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from selfimprove.errors import ConfigError, DataError
from selfimprove.records import Message

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
"""One of these holds a tokenizer's vocabulary."""

TEXT = "text"
"""The role of a message that is no turn of a conversation but plain text."""

_SENTINEL = "\u2316answer\u2316"
_END_TOKENS: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


def load_tokenizer(folder: str) -> Any:
    """Return the tokenizer of a local model folder; raises ConfigError where it has none, or no chat template."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if not any((Path(folder) / name).is_file() for name in TOKENIZER_FILES):
            reason = f"there is none ({', '.join(TOKENIZER_FILES)})"
        raise ConfigError(
            f"{folder}: its tokenizer cannot be loaded: {reason}; copy or download the model again"
        ) from None
    require_chat_template(tokenizer, folder)
    return tokenizer


def require_chat_template(tokenizer: Any, where: str) -> None:
    """Raise ConfigError where a tokenizer has no readable chat template; nobody trains on an invented one."""
    from jinja2.exceptions import TemplateError, TemplateSyntaxError

    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError(
            f"{where}: this model has no chat template; take its instruct version, "
            "or put a chat_template.jinja into its folder"
        )
    try:
        tokenizer.apply_chat_template([{"role": "user", "content": "?"}], tokenize=False)
    except TemplateSyntaxError as error:
        raise ConfigError(
            f"{where}: its chat template cannot be read: {error.message} (line {error.lineno}); mend the template"
        ) from None
    except TemplateError:  # it refuses this conversation, but may take those it is made for
        return


def render_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Return the token ids of a conversation, ready for the model to go on.

    A conversation that ends with the assistant's message is continued: its turn stays open. One message of role
    `text` is plain text, continued as it stands (few-shot prompts, base models). Raises DataError where the chat
    template refuses the conversation (for example two user turns in a row).
    """
    from jinja2.exceptions import TemplateError

    if not messages:
        raise DataError("a conversation needs at least one message")
    if is_plain_text(messages):
        return [int(token) for token in tokenizer.encode(messages[0]["content"])]
    going_on = messages[-1]["role"] == "assistant"
    try:
        ids = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            add_generation_prompt=not going_on,
            continue_final_message=going_on,
            tokenize=True,
            return_dict=False,
        )
    except (TemplateError, ValueError) as error:
        raise DataError(f"the chat template refuses this conversation: {error}") from None
    return [int(token) for token in ids]


def is_plain_text(messages: Sequence[Message]) -> bool:
    """Return whether a conversation is one message of role `text`: a text to be continued, without a chat template."""
    return len(messages) == 1 and messages[0]["role"] == TEXT


def completion_ids(
    tokenizer: Any, messages: Sequence[Message], completion: str, end: bool = True
) -> tuple[list[int], list[int]]:
    """Return (prompt ids, completion ids); with `end` the completion closes with the end-of-turn token."""
    ids = [int(token) for token in tokenizer.encode(completion, add_special_tokens=False)]
    return render_ids(tokenizer, messages), [*ids, end_of_turn(tokenizer)] if end else ids


def end_of_turn(tokenizer: Any) -> int:
    """Return the token that closes an assistant's turn: what the chat template writes right after the answer.

    Where the template writes no special token there, it is the tokenizer's end-of-text token.
    """
    if tokenizer in _END_TOKENS:
        return _END_TOKENS[tokenizer]
    conversation = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _SENTINEL}]
    text = str(tokenizer.apply_chat_template(conversation, tokenize=False))
    after = tokenizer.encode(text.rpartition(_SENTINEL)[2], add_special_tokens=False)
    special = {*tokenizer.all_special_ids, *getattr(tokenizer, "added_tokens_decoder", {})}
    token = next((int(token) for token in after if token in special), tokenizer.eos_token_id)
    if token is None:
        raise ConfigError("neither the chat template nor the tokenizer says which token ends a turn")
    _END_TOKENS[tokenizer] = token
    return token
