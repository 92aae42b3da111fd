"""Mathematical answers: a fast exact comparison first, math-verify in killable workers for what is left.

The final answer is found in the text (see `extraction`), then compared with the gold answer. Numbers are
compared exactly and here; words are compared here; formulas, lists, intervals and matrices go to math-verify
in a worker process, where a hostile answer can at worst cost its time limit. An answer in which the work is
not done ('12 - 4' for 8) is wrong.
"""

import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from selfimprove.errors import missing_package
from selfimprove.records import Prompt, Verdict
from selfimprove.verify.extraction import canonical, find_answer, is_operation, plain_words, read_number
from selfimprove.verify.pool import WORKER, Pool, shared_pool

LONGEST = 1000
"""Longest final answer that is compared at all."""


class Answers:
    """Right where the final answer of a text equals the gold answer."""

    name = "answer"
    settings: Mapping[str, Any] = {}

    def __init__(self, pool: Callable[[], Pool] = shared_pool) -> None:
        """Take where the workers come from; they start when the first formula has to be compared."""
        self._pool = pool
        self._used: Pool | None = None

    def extract(self, text: str) -> str | None:
        """Return the final answer in its one spelling ('12.0 apples' and '$12' are both '12'), None without one."""
        found = find_answer(text)
        return None if found is None else canonical(found[:LONGEST]) or None

    async def grade(self, prompt: Prompt, text: str) -> Verdict:
        """Return the verdict on a text's final answer; None as its score where that could not be told.

        Reasons: no_gold, gold_unparsable, timeout, crashed (score None); no_answer, too_long, not_worked_out (0).
        """
        if prompt.gold is None or not prompt.gold.strip():
            return Verdict(None, reason="no_gold", source=self.name)
        found = find_answer(text)
        if found is None:
            return Verdict(0.0, reason="no_answer", source=self.name)
        if len(found) > LONGEST:
            return Verdict(0.0, reason="too_long", source=self.name)
        label = canonical(found)
        right = compare(prompt.gold, found)
        if right is not None:
            reason = "not_worked_out" if not right and is_operation(found) else ""
            return Verdict(float(right), label, reason, self.name)
        return await self._by_formula(prompt.gold, found)

    async def grade_gold(self, prompt: Prompt) -> Verdict:
        """Return the verdict on the gold answer, put into a box; a formula must be one that math-verify can read."""
        gold = prompt.gold or ""
        plain = plain_words(gold)
        known = read_number(gold) is not None or _is_words(plain) or _is_ratio(plain) or _is_prose(plain)
        if known or not gold.strip():
            return await self.grade(prompt, f"\\boxed{{{gold}}}")
        return await self._by_formula(gold, gold)

    async def _by_formula(self, gold: str, found: str) -> Verdict:
        if find_spec("math_verify") is None:
            raise missing_package("verify/answers.py", "math-verify", "math")
        label = canonical(found)
        self._used = self._pool()
        reply = await self._used.call("math", gold, found)
        if reply.failure:
            return Verdict(None, label, reply.failure, self.name + WORKER)
        if reply.value == "gold_unparsable":
            return Verdict(None, label, "gold_unparsable", self.name + WORKER)
        return Verdict(float(reply.value == "right"), label, "", self.name + WORKER)

    def close(self) -> None:
        """Stop the workers that were used."""
        if self._used is not None:
            self._used.close()
            self._used = None


def compare(gold: str, answer: str) -> bool | None:
    """Return whether an answer is the gold answer, None where only a symbolic comparison can tell."""
    gold_number, number = read_number(gold), read_number(answer)
    if gold_number is not None and number is not None:
        return gold_number.same(number)
    gold_words, words = plain_words(gold), plain_words(answer)
    if gold_words and gold_words == words:
        return True
    if _is_words(gold_words) and words.endswith(f" {gold_words}"):  # 'it is on tuesday'
        return True
    if gold_number is not None and (is_operation(answer) or _is_words(words)):
        return False
    if number is not None and _is_words(gold_words):
        return False
    if _is_words(gold_words) and _is_words(words):
        return False
    if _is_prose(gold_words) or re.fullmatch(r"[\da-z]+_\d+", gold_words.replace("{", "").replace("}", "")):
        return gold_words.replace("{", "").replace("}", "") == words.replace("{", "").replace("}", "")  # dates, 52_8
    if _is_ratio(gold_words) and (_is_ratio(words) or number is not None or _is_words(words)):
        return False
    return None


def _is_words(text: str) -> bool:
    """Whether a text is words alone: no digit, no symbol, and longer than a variable or a product of two."""
    return re.fullmatch(r"[a-z' .,!-]{3,}", text) is not None and not re.fullmatch(r"(?:[a-z] ?[-.,] ?)*[a-z]?", text)


def _is_prose(text: str) -> bool:
    """Whether words stand in a text that is no formula: '11:55 p.m. on 24 december', which has no value."""
    words = set(re.findall(r"(?<![\\a-z])[a-z]{3,}", text)) - {
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "log",
        "exp",
        "mod",
    }
    return bool(words) and "\\" not in text


def _is_ratio(text: str) -> bool:
    return re.fullmatch(r"\d+(?::\d+){1,2}", text) is not None


def make(*_: object) -> Answers:
    """Return the verifier."""
    return Answers()
