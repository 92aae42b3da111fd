"""Tests whose right answer nobody can guess, in every form that a code verifier takes, for answers that cheat."""

import asyncio
import hashlib
import secrets
from dataclasses import dataclass, field

from attacks_forged import FORGERIES

from selfimprove.records import Prompt, Verdict
from selfimprove.verify import Verifiers

TOGETHER = "together"
"""The form whose tests run in the program's own process, because they need its classes."""

NOT_HELD_TOGETHER = {
    name: "what it returns says that it equals everything, and nothing else decides in one process"
    for name in (
        "equal_object", "equal_int", "equal_float", "equal_text", "equal_list", "equal_tuple", "equal_dict",
        "equal_mock", "equal_class",
    )
}  # fmt: skip
"""Forgeries that succeed in the form `together`, and why: code written to cheat can do so there."""


@dataclass
class Exam:
    """The tests, with an honest answer for each form."""

    first: int = field(default_factory=lambda: 10**11 + secrets.randbelow(9 * 10**11))
    second: int = field(default_factory=lambda: 10**11 + secrets.randbelow(9 * 10**11))

    @property
    def honest(self) -> str:
        """Return an answer that is right in every form."""
        return (
            f"TABLE = {{7: {self.first}, 8: {self.second}}}\n"
            "def f(n): return TABLE[n]\n"
            "class Thing:\n    def __init__(self, n): self.n = n\n    def value(self): return TABLE[self.n]\n"
            "try: print(TABLE[int(input())])\nexcept EOFError: pass\n"
        )

    def forms(self) -> dict[str, Prompt]:
        """Return a prompt for each form of tests."""
        a, b = self.first, self.second
        check = f"def check(candidate):\n    assert candidate(7) == {a}\n    assert candidate(8) == {b}\n"
        forms: dict[str, list[object]] = {
            "calls": [
                {"call": "f", "arguments": [n], "named": {}, "expected": value} for n, value in ((7, a), (8, b))
            ],
            "assertions": [f"assert f(7) == {a}", f"assert f(8) == {b}"],
            "loop": [f"for n, expected in ((7, {a}), (8, {b})):\n    got = f(n)\n    assert got == expected"],
            "check": [check + "\ncheck(f)"],
            "output": [{"stdin": "7\n", "stdout": f"{a}\n"}, {"stdin": "8\n", "stdout": f"{b}\n"}],
            TOGETHER: [f"assert Thing(7).value() == {a}\nassert Thing(8).value() == {b}"],
        }
        return {
            name: Prompt(
                id=name, messages=({"role": "user", "content": "Write f."},), gold=self.honest, verifier="tests",
                meta={"tests": tests, **({} if name in ("output", TOGETHER) else {"entry_point": "f"})},
            )
            for name, tests in forms.items()
        }  # fmt: skip

    def forged(self, name: str) -> str:
        """Return an answer that cheats."""
        return FORGERIES[name].replace("{digest}", hashlib.sha256(str(self.first).encode()).hexdigest())

    def grade(self, verifiers: Verifiers, form: str, program: str) -> Verdict:
        """Return the verdict on a program as an answer."""
        prompt = self.forms()[form]
        return asyncio.run(verifiers.of(prompt).grade(prompt, f"```python\n{program}\n```"))
