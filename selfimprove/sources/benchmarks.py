"""Benchmarks by substring: a text is contaminated where it holds a benchmark's question or solution word for word.

The comparison is of lower-case characters, white space included, as the pipelines around The Stack do it;
`building.decontaminate` compares runs of words instead. Texts shorter than 24 characters (`return n ** 2`) stand
everywhere and are left out.
"""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from selfimprove.records import Prompt
from selfimprove.verify.code import parse

SHORTEST = 24


class Substrings:
    """The texts of benchmarks, found in other texts by their first 24 characters."""

    def __init__(self, sets: Mapping[str, Iterable[str]]) -> None:
        """Read {name of a benchmark: its texts} once."""
        self._by_head: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for name, texts in sets.items():
            for text in {text.strip().lower() for text in texts}:
                if len(text) >= SHORTEST:
                    self._by_head[text[:SHORTEST]].append((text, name))

    def find(self, text: str) -> tuple[str, str] | None:
        """Return (name of the benchmark, its text) where a text holds one, else None."""
        text = text.lower()
        for place in range(len(text) - SHORTEST + 1) if self._by_head else ():
            for known, name in self._by_head.get(text[place : place + SHORTEST], ()):
                if text.startswith(known, place):
                    return name, known
        return None


def benchmark_texts(prompts: Iterable[Prompt]) -> Iterator[str]:
    """Yield the texts of items that no training text may hold: questions, solutions, docstrings of their code."""
    for prompt in prompts:
        bare = prompt.meta.get("question")
        yield bare if isinstance(bare, str) else prompt.text
        prefix = prompt.meta.get("prefix")
        code = prompt.gold if prompt.verifier == "tests" else None
        for text in (prompt.solution, code):
            if text:
                yield text
        for text in (code, f"{prefix}\n    pass" if isinstance(prefix, str) else None):
            yield from _docstrings(text or "")


def _docstrings(code: str) -> Iterator[str]:
    try:
        tree = parse(code)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield ast.get_docstring(node) or ""
