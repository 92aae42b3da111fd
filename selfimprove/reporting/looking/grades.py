"""Verdicts on a run's answers as the run had them: from its ledger where that kept them, else graded again."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Self

from selfimprove.config import Recipe, digest
from selfimprove.errors import SelfImproveError
from selfimprove.ledger import LedgerReader
from selfimprove.records import Prompt, Verdict
from selfimprove.sources import load_prompts
from selfimprove.verify import Verifiers

REMEMBERED = 10_000
"""Prompts that are kept in memory; a source is read again where an earlier one is asked for."""


class PromptFinder:
    """Finds prompts of a recipe by id, reading the sources forward; rows in the sources' order need one pass."""

    def __init__(self, sources: list[Any], where: str, folder: Path | None = None) -> None:
        """Take the sources, nothing is read yet."""
        self._sources, self._where, self._folder = sources, where, folder
        self._passed: OrderedDict[str, Prompt] = OrderedDict()
        self._all_passed = False  # and all are still in memory
        self._ahead = self._all()

    def find(self, id: str) -> Prompt | None:
        """Return the prompt of this id, or the one whose row it names (`q7/2` is a row of `q7`).

        Raises ConfigError or DataError where the sources cannot be read.
        """
        names = [id, *(id[:at] for at in range(len(id) - 1, 0, -1) if id[at] == "/")]
        for name in names:
            if name in self._passed:
                return self._passed[name]
        for _ in range(0 if self._all_passed else 2):  # from here to the end, then once from the start
            for prompt in self._ahead:
                self._passed[prompt.id] = prompt
                if len(self._passed) > REMEMBERED:
                    self._passed.popitem(last=False)
                if prompt.id in names:
                    return prompt
            self._ahead = self._all()
            self._all_passed = len(self._passed) < REMEMBERED
            if self._all_passed:
                break
        return None

    def _all(self) -> Iterator[Prompt]:
        return chain.from_iterable(load_prompts(source, self._where, self._folder) for source in self._sources)


class Grades:
    """The verdicts on answers of one run; use as a context manager."""

    def __init__(self, recipe: Recipe, reader: LedgerReader | None, where: str = "recipe") -> None:
        """Prepare; prompts are read and verifiers started when the first verdict is wanted."""
        self.reader = reader
        self.trained = PromptFinder([recipe.prompts], where)
        self.held = PromptFinder([*recipe.heldout.values()], where)
        self._verifiers = Verifiers(recipe.sandbox)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        """Return the grades."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop the verifiers."""
        self._verifiers.close()
        self._runner.close()

    def prompt(self, id: str, held: bool = False) -> Prompt | None:
        """Return a training prompt, or (`held`) a held-out item, by its id or the id of one of its rows."""
        return (self.held if held else self.trained).find(id)

    def verdict(self, prompt: Prompt | None, text: str) -> Verdict:
        """Return the verdict on an answer; its score is None, with the reason, where there can be none."""
        if prompt is None:
            return Verdict(None, reason="no_prompt")
        key = digest(["check", self._verifiers.request(prompt, text)])
        known = self.reader.get(key) if self.reader else None
        if known is not None:
            return Verdict.from_row(known)
        if prompt.gold is None and prompt.verifier == "answer":
            return Verdict(None, reason="no_gold", source=prompt.verifier)
        return self._runner.run(self._verifiers.of(prompt).grade(prompt, text))

    def quietly(self, id: str, text: str, held: bool = False) -> Verdict:
        """Return the verdict on an answer to the prompt of an id, or one that says why there is none."""
        try:
            return self.verdict(self.prompt(id, held) or self.prompt(id, not held), text)
        except SelfImproveError as error:
            return Verdict(None, reason=str(error))
