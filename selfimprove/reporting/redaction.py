"""What may not leave the machine: secrets, and paths that only mean something here."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

REMOVED, LOCAL = "<removed>", "<local>"

_ALWAYS = {"secret", "secrets", "password", "passwords", "passwd", "passphrase", "credential", "credentials"}
_ALWAYS |= {"authorization", "bearer", "apikey"}
_OFTEN = {"token", "tokens", "key", "keys"}
_SPECIAL_TOKEN = re.compile(r"(?:bos|eos|pad|unk|sep|cls|mask|image|stop|end|start|special)_tokens?")
_LOOKS_SECRET = re.compile(
    r"hf_[A-Za-z0-9]{16,}|\bsk-[A-Za-z0-9_-]{16,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bAKIA[0-9A-Z]{16}\b"
    r"|(?<=\bBearer )[A-Za-z0-9._~+/=-]{8,}"
)
_USER_IN_URL = re.compile(r"(?<=://)[^/\s]*@")
_SECRET_IN_URL = re.compile(r"(?<=[?&])([\w-]*(?:token|key|secret|password|signature)[\w-]*=)[^&\s]+", re.IGNORECASE)
_ABSOLUTE = re.compile(r"(?:/|~[\w-]*/|[A-Za-z]:[\\/]|file:/)")
_SECRET_VARIABLE = re.compile(r".*(?:TOKEN|API_?KEY|SECRET|PASSWORD)", re.IGNORECASE)
_SHORTEST = 8  # characters of a secret that is looked for; shorter ones would be found everywhere


def names_secret(key: str, value: Any) -> bool:
    """Whether an option of this name holds a secret: api_key, hf_token; but neither max_tokens nor eos_token."""
    words = re.split(r"[_\W]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower().rstrip("_0123456789"))
    if value is None or isinstance(value, bool) or value == "":
        return False
    if _ALWAYS & set(words):
        return True
    if words[-1] not in _OFTEN or _SPECIAL_TOKEN.fullmatch(key.lower()):
        return False
    return words[-1] in ("token", "key") or not isinstance(value, int | float)


def without_secrets(value: Any) -> Any:
    """Return a plain value with every secret in it replaced by `<removed>`, whether named or recognised."""
    if isinstance(value, Mapping):
        return {key: REMOVED if names_secret(str(key), item) else without_secrets(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]
    if isinstance(value, str):
        value = _SECRET_IN_URL.sub(rf"\1{REMOVED}", _USER_IN_URL.sub("", value))
        return _LOOKS_SECRET.sub(REMOVED, value)
    return value


def secrets_in(value: Any) -> set[str]:
    """Return the secrets of a plain value that are long enough to be looked for in what is published."""
    found: set[str] = set()
    if isinstance(value, Mapping):
        for key, item in value.items():
            if names_secret(str(key), item):
                found |= {str(text) for text in _leaves(item)}
            found |= secrets_in(item)
    elif isinstance(value, list | tuple):
        found = found.union(*map(secrets_in, value))
    elif isinstance(value, str):
        found = set(_LOOKS_SECRET.findall(value)) | {text[:-1] for text in _USER_IN_URL.findall(value)}
    return {text for text in found if len(text) >= _SHORTEST}


def secrets_of_environment() -> set[str]:
    """Return the values of environment variables that are named like secrets (HF_TOKEN, OPENAI_API_KEY, ...)."""
    found = {value for name, value in os.environ.items() if _SECRET_VARIABLE.fullmatch(name)}
    return {value for value in found if len(value) >= _SHORTEST and not value.startswith("/")}


def is_local_path(text: str) -> bool:
    """Whether a text is a path from the root of this machine, or from somebody's home."""
    if not _ABSOLUTE.match(text) or "\n" in text or "{" in text:
        return False
    return len(re.findall(r"[\\/]", text)) > 1 or Path(text).expanduser().exists()


def without_paths(value: Any) -> Any:
    """Return a plain value in which `/home/me/data/train.jsonl` reads `<local>/train.jsonl`; relative paths stay."""
    if isinstance(value, Mapping):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(item) for item in value]
    if isinstance(value, str) and is_local_path(value):
        return f"{LOCAL}/{last_part(value)}"
    return value


def last_part(path: str) -> str:
    """Return the last part of a path, whichever system it was written on."""
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1]


def conceal(text: str, folders: Iterable[Path | str]) -> str:
    """Return a text in which each of these folders of this machine reads `<local>`."""
    spelt = {str(Path(folder).absolute()) for folder in folders} | {str(Path(folder).resolve()) for folder in folders}
    for name in sorted(spelt, key=len, reverse=True):
        if len(Path(name).parts) > 1:
            text = re.sub(rf"{re.escape(name)}(?![\w.-])", LOCAL, text)
    return text


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list | tuple) else [value]
