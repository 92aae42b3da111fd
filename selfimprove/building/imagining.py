"""New prompts out of given ones: written by a model after examples, or the same questions with other numbers."""

import re
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from selfimprove.building.instruct import Instruct, write_instructions
from selfimprove.records import Prompt, Skip

if TYPE_CHECKING:
    from selfimprove.run import Run

NUMBER = re.compile(r"\d+")


def other_numbers(text: str, rng: Random) -> str:
    """Return a text in which every whole number of one digit or more is another of as many digits, 0 and 1 excepted.

    Equal numbers stay equal, so that what is said twice stays the same.
    """
    drawn: dict[str, str] = {}

    def other(found: re.Match[str]) -> str:
        said = found.group()
        if said not in drawn:
            low = max(2, 10 ** (len(said) - 1))
            drawn[said] = said if said in ("0", "1") else str(rng.randrange(low, 10 ** len(said)))
        return drawn[said]

    return NUMBER.sub(other, text)


def renumbered(run: "Run", given: Sequence[Prompt], count: int) -> list[Prompt | Skip]:
    """Return `count` prompts with other numbers, going round the given ones; a Skip where nothing new came of one."""
    known = {prompt.text for prompt in given}
    found: list[Prompt | Skip] = []
    for number in range(count):
        source = given[number % len(given)]
        name = f"made-{run.round}-{number:05d}"
        text = other_numbers(source.text, run.rng(source, "numbers", name))
        if text in known:
            found.append(Skip(name, "not_new", text[:60]))
            continue
        known.add(text)
        found.append(like(source, name, text, run.round))
    return found


async def written(cfg: Instruct, run: "Run", given: Sequence[Prompt], count: int) -> list[Prompt | Skip]:
    """Return up to `count` prompts that the policy writes after the given ones, and a Skip for each not kept."""
    made = await write_instructions(cfg, run, [prompt.text for prompt in given], count)
    return [item if isinstance(item, Skip) else like(given[0], item.id, item.text, run.round) for item in made]


def like(source: Prompt, name: str, text: str, round: int) -> Prompt:
    """Return a prompt that asks for something else in the same conversation; its right answer is not known."""
    last = max(at for at, message in enumerate(source.messages) if message["role"] == "user")
    messages = tuple(
        {"role": message["role"], "content": text} if at == last else message
        for at, message in enumerate(source.messages)
    )
    return replace(source, id=name, messages=messages, gold=None, solution=None, meta={"written": round})
