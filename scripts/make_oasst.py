"""Writes solutions.jsonl and ranked.jsonl from OpenAssistant's first English turns (needs `datasets` and a network).

python scripts/make_oasst.py FOLDER [SOLUTIONS]

The best answers of SOLUTIONS prompts (3,200) become solutions; all other prompts with two or more ranked answers keep
them with their ranks. So both are of different prompts, as in "Self-Rewarding Language Models", arXiv 2401.10020.
"""

import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SOLUTIONS = 3200


def split(messages: Iterable[Mapping[str, Any]], solutions: int) -> tuple[list[dict], list[dict]]:
    """Return (prompts with a solution, prompts with ranked answers) of messages; which is which, a digest draws."""
    asked: dict[str, str] = {}
    answers: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for message in messages:
        if message["lang"] != "en" or message["deleted"]:
            continue
        if message["parent_id"] is None:
            asked[message["message_id"]] = message["text"]
        elif message["role"] == "assistant" and message["rank"] is not None and not message["synthetic"]:
            answers[message["parent_id"]].append((int(message["rank"]), message["text"]))
    known = sorted(
        (name for name in asked if name in answers), key=lambda name: hashlib.blake2b(name.encode()).digest()
    )
    best = [name for name in known if min(answers[name])[0] == 0][:solutions]
    taught = [{"id": name, "prompt": asked[name], "solution": min(answers[name])[1]} for name in best]
    ranked = []
    for name in sorted(set(known) - set(best)):
        ranks, texts = [rank for rank, _ in answers[name]], [text for _, text in answers[name]]
        if len(set(ranks)) > 1:
            ranked.append({"id": name, "prompt": asked[name], "meta": {"answers": texts, "ranks": ranks}})
    return taught, ranked


def main(folder: Path, solutions: int = SOLUTIONS) -> None:
    """Load the data set and write both files."""
    from datasets import load_dataset

    folder.mkdir(parents=True, exist_ok=True)
    found = split(load_dataset("OpenAssistant/oasst1", split="train"), solutions)
    for name, rows in zip(("solutions", "ranked"), found, strict=True):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
        print(f"{folder / name}.jsonl: {len(rows)} prompts")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
