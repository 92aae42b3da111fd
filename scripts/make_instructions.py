"""Writes data/instructions/: open-ended prompts to train on, and prompts with checkable constraints held out.

python scripts/make_instructions.py            # the same bytes every time
python scripts/make_instructions.py FOLDER     # elsewhere
"""

import json
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "data" / "instructions"

THINGS = ["a bicycle", "the moon", "bread", "a library", "rain", "a garden", "a train station", "the sea"]
QUESTIONS = ["why leaves turn yellow", "how a lock works", "what a budget is", "why we sleep",
             "how bees make honey", "why ships float",
             "what a map is for"]  # fmt: skip
SKILLS = ["learning to swim", "keeping a diary", "planting tomatoes", "moving to a new town", "cooking for ten guests"]
CHOICES = [
    ("a cat", "a dog"), ("a paper book", "a screen"), ("a bus", "a bicycle"), ("the city", "the country"),
    ("working in the morning", "working at night"), ("a hot meal", "a cold meal"),
]  # fmt: skip
PEOPLE = ["a neighbour who lent you a ladder", "a teacher who is retiring", "a friend who passed an exam",
          "a colleague who is ill", "a cousin whom you have not seen for years"]  # fmt: skip
PLACES = [
    "a small bakery",
    "a bicycle workshop",
    "a public swimming pool",
    "a weekend market",
    "a language school",
]

OPEN = [
    ("describe", "Describe {} to someone who has never seen it.", THINGS),
    ("story", "Write a very short story in which {} plays a part.", THINGS),
    ("ask", "Write three questions that a curious child could ask about {}.", THINGS),
    ("name", "Find a friendly name for a picture book about {} and say why it fits.", THINGS),
    ("child", "Explain to a ten-year-old {}.", QUESTIONS),
    ("brief", "In two or three sentences, say {}.", QUESTIONS),
    ("mistake", "What do many people get wrong when they say {}?", QUESTIONS),
    ("compare", "Give a comparison from daily life that shows {}.", QUESTIONS),
    ("advice", "Give your best advice on {}.", SKILLS),
    ("plan", "Make a plan for one week of {}.", SKILLS),
    ("fear", "What could somebody be afraid of about {}, and what would you answer?", SKILLS),
    ("first", "What is the first thing to do about {}, and why that?", SKILLS),
    ("letter", "Write a short letter to {}.", PEOPLE),
    ("gift", "Suggest a small gift for {} and explain the choice.", PEOPLE),
    ("speech", "Write two sentences to say out loud to {}.", PEOPLE),
    ("advert", "Write a short advertisement for {}.", PLACES),
    ("rules", "Write simple house rules for {}.", PLACES),
    ("complaint", "A customer of {} waited for an hour. Write a polite reply to the complaint.", PLACES),
    ("better", "Name three things that would make {} better, the most important first.", PLACES),
]
"""Kind, wording, what goes into it: every combination is a training prompt, with those of CHOICES and PAIRS."""

CHOOSE = [
    ("choose", "Which is better, {} or {}? Decide, and give one good reason."),
    ("both", "Name one advantage of {} and one of {}."),
    ("argue", "Somebody prefers {}. Argue for {} without being rude."),
]
PAIRS = [
    ("dialogue", "Write a dialogue of four lines between {} and {}.",
     ["a baker", "a pilot", "a gardener", "a detective"], ["a child", "a robot", "a tired traveller", "a king"]),
    ("odd", "How could {} be useful to {}?",
     ["an umbrella", "a mirror", "a rope", "an old newspaper"], ["a hiker", "a teacher", "a cook", "a painter"]),
]  # fmt: skip

TOPICS = {
    "a lake": "The lake is calm", "winter": "Winter is quiet", "a market": "The market is loud",
    "breakfast": "Breakfast is warm", "a bridge": "The bridge is old", "a museum": "The museum is large",
    "music": "Music is everywhere", "a farm": "The farm is green", "a holiday": "A holiday is short",
    "a snowstorm": "The snowstorm is near",
}  # fmt: skip
"""Topic of a held-out prompt, and a start for the answer that shows that its checks can be met."""

FORMS = [
    ("short", "Write one sentence about {}. Use at most 12 words.",
     [{"check": "words", "at_most": 12}, {"check": "sentences", "at_least": 1, "at_most": 1}], "{start} today."),
    ("long", "Write about {} in at least 40 words.", [{"check": "words", "at_least": 40}],
     "{start}, and there is always something to see. " + "People come by, look around for a while and go on. " * 4),
    ("word", "Write two sentences about {}. The word \"morning\" must appear.",
     [{"check": "has_word", "word": "morning"}, {"check": "sentences", "at_least": 2, "at_most": 2}],
     "{start} in the morning. I like that."),
    ("without", "Describe {} without using the word \"the\".", [{"check": "lacks_word", "word": "the"}],
     "It is nice and calm here."),
    ("list", "List exactly three facts about {}. Start every line with \"- \".",
     [{"check": "bullets", "at_least": 3, "at_most": 3}], "- It is old.\n- It is liked.\n- {start}."),
    ("numbered", "Give four tips about {} as a numbered list (1. 2. 3. 4.).",
     [{"check": "numbered", "at_least": 4, "at_most": 4}], "1. Look.\n2. Listen.\n3. Wait.\n4. Enjoy it."),
    ("small", "Write one sentence about {} in lower case letters only.", [{"check": "lower_case"}],
     "it is calm here."),
    ("capitals", "Write one sentence about {} in capital letters only.", [{"check": "upper_case"}],
     "IT IS CALM HERE."),
    ("commas", "Write two sentences about {} without a single comma.",
     [{"check": "no_commas"}, {"check": "sentences", "at_least": 2, "at_most": 2}], "{start}. I like that."),
    ("start", "Write a short note about {} that begins with the words \"Good news\".",
     [{"check": "starts_with", "start": "Good news"}], "Good news: it is open again."),
    ("end", "Write a short text about {} that ends with the words \"That is all.\"",
     [{"check": "ends_with", "end": "That is all."}], "{start}. That is all."),
    ("paragraphs", "Write two paragraphs about {}, with an empty line between them.",
     [{"check": "paragraphs", "at_least": 2, "at_most": 2}], "{start}.\n\nI like that."),
]  # fmt: skip
"""Kind, wording, checks, and an answer that meets them."""


def training() -> Iterator[dict]:
    """Yield the open-ended prompts."""
    asked = [(kind, wording.format(topic)) for kind, wording, topics in OPEN for topic in topics]
    asked += [(kind, wording.format(*pair)) for kind, wording in CHOOSE for pair in CHOICES]
    asked += [(kind, wording.format(*pair)) for kind, wording, *sides in PAIRS for pair in product(*sides)]
    for number, (kind, text) in enumerate(asked, start=1):
        yield {"id": f"train-{number:03d}", "prompt": text, "meta": {"kind": kind}}


def heldout() -> Iterator[dict]:
    """Yield the prompts with checks."""
    number = 0
    for kind, wording, checks, gold in FORMS:
        for topic, start in TOPICS.items():
            number += 1
            answer = gold.format(start=start).strip()
            yield {
                "id": f"heldout-{number:03d}", "prompt": wording.format(topic), "gold": answer, "verifier": "formats",
                "meta": {"kind": kind, "checks": checks},
            }  # fmt: skip


def write(folder: Path) -> None:
    """Write both files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", training()), ("heldout", heldout())):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
