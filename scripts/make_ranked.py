"""Writes data/instructions/ranked.jsonl: questions with answers of known order, to teach and to measure a judge.

python scripts/make_ranked.py            # the same bytes every time
python scripts/make_ranked.py FOLDER     # elsewhere
"""

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "data" / "instructions"

FACTS = Path(__file__).with_name("ranked_facts.txt")
"""Question | right answer | wrong answer of about the same length | something true to add: a fact a line."""

PADDING = (
    "What a nice thing to ask, and what a pleasure it is for me to say something about such a nice thing. ",
    " There is surely a lot more that could be said, and perhaps somebody will say it on another day, or on the day "
    "after that one, if there is time.",
)
"""What adds words and nothing else."""


def rows() -> Iterator[dict]:
    """Yield the questions, each with its answers in a drawn order and their ranks, 0 the best."""
    facts = [[part.strip() for part in line.split("|")] for line in FACTS.read_text(encoding="utf-8").splitlines()]
    for number, (question, right, wrong, more) in enumerate(facts):
        full, false = f"{right} {more}", f"{wrong} {more}"
        broken = full[: len(right) // 2].rsplit(" ", 1)[0]
        other = "{1} {3}".format(*facts[(number + 17) % len(facts)])
        kind, answers = [
            ("wrong", [full, false]),
            ("broken", [full, broken, other]),
            ("padded", [full, PADDING[0] + full + PADDING[1], false]),
            ("other", [full, other]),
        ][number % 4]
        ranks = random.Random(number).sample(range(len(answers)), len(answers))
        meta = {"kind": kind, "answers": [answers[rank] for rank in ranks], "ranks": ranks}
        yield {"id": f"ranked-{number + 1:02d}", "prompt": question, "meta": meta}


def write(folder: Path) -> None:
    """Write the file."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows())
    (folder / "ranked.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
