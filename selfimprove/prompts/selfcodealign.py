"""The words of SelfCodeAlign: four plain-text prompts, each a sentence, numbered examples, and one left open."""

from collections.abc import Mapping, Sequence
from typing import Any

NEXT = "## Example"
"""What an example opens with; a continuation that gets there is through."""
SEPARATOR = "</response>\n\n<tests>"
"""What stands between the answer and its tests, byte for byte."""

JUDGE = """Say for each function whether its docstring alone tells enough to write the function anew, and whether it \
agrees with what the code does. Answer Yes or No."""
CONCEPTS = "List the programming concepts that each piece of code shows, in a few words each, separated by commas."
INSTRUCTION = """Write a programming task for each set of properties: something of that category, in that language \
and of that difficulty, whose solution makes use of the concepts naturally. The task stands on its own, says what \
goes in and what comes out, and does not name the concepts."""
RESPONSE = """Solve each programming task: explain the solution, give the code, then test it with assert statements \
that stand on their own."""


def few_shot_prompt(system: str, items: Sequence[str], last: str) -> str:
    """Return a plain text of numbered examples whose last one is open; without white space at its end."""
    numbered = (f"{NEXT} {number}\n{item}" for number, item in enumerate([*items, last], 1))
    return "\n\n".join([system, *numbered]).rstrip()


def judge_item(code: str, verdict: str = "") -> str:
    """Return an example of the judge; its verdict stands on the same line as the question."""
    return f"### Function\n{code}\n\n### Verdict\nGood: {verdict}".rstrip()


def concept_item(code: str, concepts: Sequence[str] = ()) -> str:
    """Return an example of S -> C."""
    return f"### Code\n{code}\n\n### Concepts\n{', '.join(concepts)}"


def instruction_item(properties: Mapping[str, Any], instruction: str = "") -> str:
    """Return an example of C -> I."""
    lines = [f"{name}: {properties[name]}" for name in ("category", "language", "difficulty")]
    lines.append(f"concepts: {', '.join(properties['concepts'])}")
    return "\n".join(["### Properties", *lines, "", "### Task", instruction])


def response_item(instruction: str, response: str = "", tests: str = "") -> str:
    """Return an example of I -> R, open after the response tag where there is no response."""
    asked = f"<instruction>\n{instruction}\n</instruction>\n\n<response>\n"
    return f"{asked}{response}\n{SEPARATOR}\n{tests}\n</tests>" if response else asked
