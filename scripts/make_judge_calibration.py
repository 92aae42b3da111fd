"""Writes data/judge_calibration/pairs.jsonl: pairs of answers whose order is known, to measure judges with.

python scripts/make_judge_calibration.py            # the same bytes every time
python scripts/make_judge_calibration.py FOLDER     # elsewhere
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "data" / "judge_calibration"

FACTS = Path(__file__).with_name("judge_facts.txt")
"""Question | right answer | wrong answer of about the same length | something true to add: a fact a line."""

PADDING = (
    "Thank you for this very interesting question, which many people have asked in the past and will ask again. ",
    " I hope that this answer helps you, and I would be happy to say more about it, because there is always more that "
    "could be said about such things, as is so often the case.",
)
"""What adds words and nothing else."""


def facts() -> list[list[str]]:
    """Return question, right answer, wrong answer and addition of every fact."""
    return [[part.strip() for part in line.split("|")] for line in FACTS.read_text(encoding="utf-8").splitlines()]


def pairs() -> Iterator[dict]:
    """Yield the pairs: the better answer is `chosen`, the worse one `rejected`."""
    known = facts()
    for number, (question, right, wrong, more) in enumerate(known, start=1):
        full = f"{right} {more}"
        other = known[(number + 16) % len(known)][1]
        for kind, chosen, rejected in (
            ("correct", right, wrong),
            ("complete", full, full[: len(right) + len(more) // 2].rsplit(" ", 1)[0]),
            ("on_topic", right, other),
            ("padding", full, PADDING[0] + full + PADDING[1]),
            ("instruction", right, full),
        ):
            asked = f"{question} Answer in one sentence." if kind == "instruction" else question
            yield {
                "id": f"{kind}-{number:02d}", "prompt": [{"role": "user", "content": asked}], "chosen": chosen,
                "rejected": rejected, "meta": {"kind": kind},
            }  # fmt: skip


def write(folder: Path) -> None:
    """Write the file."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in pairs())
    (folder / "pairs.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
