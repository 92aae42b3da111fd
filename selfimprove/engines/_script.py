"""What the scripted engine says: arithmetic answered right or wrong, verdicts, filler elsewhere, constrained answers.

Everything here is a pure function of its arguments, spread by hashes, and fast: tens of thousands of answers
a second on one core.
"""

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any
from zlib import crc32

sre: Any = import_module("re._constants")
sre_parser: Any = import_module("re._parser")

WORDS = re.findall(
    r"\w+",
    "river fox stone light morning water answer small green field walked found said under bright quiet "
    "number house road garden wind silver seven story paper window winter slowly again before after every "
    "friend letter music ocean people question remember shadow table village wonder yellow bird cloud door "
    "early fire glass hill island journey kind lamp moon night open path round sound tree valley",
)

_EXPRESSION = re.compile(r"(?<![\w.])-?\d+(?:\s*[-+*/×x]\s*-?\d+)+")
_NUMBER = re.compile(r"-?\d+")
_MINUS = re.compile(r"\b(left|remain\w*|fewer|less|gives?|gave|eats?|ate|loses?|lost|spends?|spent|away|sells?)\b")
_VERDICT = re.compile(r"Score: <[^<>]*?(\d+) to (\d+)>\s*$")
_TIMES = re.compile(r"\b(each|times|every|per|rows of|boxes of|bags of|packs of)\b")


def spread(*parts: str | int) -> bytes:
    """Return 64 bytes that depend on all parts."""
    return hashlib.blake2b("\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")).digest()


def share(data: bytes, at: int = 0) -> float:
    """Return a number in [0, 1) made of four bytes of `data`."""
    return int.from_bytes(data[at : at + 4], "big") / 2**32


@lru_cache(maxsize=100_000)
def solve(text: str) -> int | None:
    """Return the answer of an expression or of a simple word problem in a text, None where it has neither."""
    written = _EXPRESSION.findall(text)
    if written:
        return _evaluate(written[-1])
    numbers = [int(number) for number in _NUMBER.findall(text)]
    if len(numbers) < 2:
        return None
    first, second = numbers[-2:]
    if _TIMES.search(text):
        return first * second
    return first - second if _MINUS.search(text) else first + second


def _evaluate(expression: str) -> int:
    first = re.match(r"-?\d+", expression)
    terms = [int(first[0])] if first else []
    for sign, number in re.findall(r"([-+*/×x])\s*(-?\d+)", expression[first.end() :] if first else ""):
        value = int(number)
        if sign in "*×x":
            terms[-1] *= value
        elif sign == "/":
            terms[-1] = terms[-1] // value if value else 0
        else:
            terms.append(-value if sign == "-" else value)
    return sum(terms)


def default_answer(text: str, random: bytes, skill: float) -> str:
    """Return an answer to a user's text: right with probability `skill` where it is arithmetic, filler otherwise.

    A judge's prompt gets a verdict: any grade of those it allows.
    """
    asked = _VERDICT.search(text, max(len(text) - 80, 0))
    if asked:
        low, high = int(asked[1]), int(asked[2])
        return f"{WORDS[random[8] % len(WORDS)].capitalize()}.\nScore: {low + random[9] % (high - low + 1)}"
    result = solve(text)
    if result is None:
        return " ".join(WORDS[byte % len(WORDS)] for byte in random[8 : 34 + random[7] % 16]).capitalize() + "."
    if share(random) >= skill:
        result += (1, -1, 2, 10, -10, 3, 9, -2)[random[6] % 8]
    shapes = ("The answer is {}.", "{}", "Let us compute: it is {}.", "We get {}.\n\nThe answer is {}.")
    return shapes[random[5] % len(shapes)].replace("{}", str(result))


def token_logprobs(seed: bytes, tokens: list[str]) -> list[float]:
    """Return a log-prob in (-2.1, -0.1] for every token, from what came before it by `seed` and position."""
    start = crc32(seed)
    sums = (crc32(token.encode("utf-8", "surrogatepass"), start + i & 0xFFFFFFFF) for i, token in enumerate(tokens))
    return [-0.1 - value % 2000 / 1000 for value in sums]


def instance_of(schema: Mapping[str, Any], random: bytes, depth: int = 0) -> Any:
    """Return a value that a JSON schema of the usual shapes allows, chosen by `random`."""
    pick = random[depth % 64]
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][pick % len(schema["enum"])]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return instance_of(schema[key][pick % len(schema[key])], random, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: instance_of(inner, random, depth + 1 + i) for i, (name, inner) in enumerate(properties.items())}
    if kind == "array":
        count = max(schema.get("minItems", 1), min(schema.get("maxItems", 2), 1 + pick % 2))
        return [instance_of(schema.get("items", {}), random, depth + 7 * i + 1) for i in range(count)]
    if kind in ("integer", "number"):
        low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        high = schema.get("maximum", low + 10)
        return low + pick % max(1, int(high - low) + 1)
    if kind == "string":
        text = " ".join(WORDS[byte % len(WORDS)] for byte in random[depth % 32 : depth % 32 + 4])
        return text[: schema.get("maxLength", 80)].ljust(schema.get("minLength", 0), ".")
    return None if kind == "null" else bool(pick % 2)


def match_of(pattern: str, random: bytes) -> str:
    """Return a text that a regular expression matches in full, chosen by `random`."""
    return _Matcher(random).sequence(sre_parser.parse(pattern))


class _Matcher:
    """Walks a parsed pattern and writes the shortest repeats, with choices made by successive bytes."""

    def __init__(self, random: bytes) -> None:
        self.random, self.at, self.groups = random, 0, {}

    def pick(self, count: int) -> int:
        self.at += 1
        return self.random[self.at % len(self.random)] % count

    def sequence(self, items: Any) -> str:
        return "".join(self.one(op, value) for op, value in items)

    def one(self, op: Any, value: Any) -> str:
        if op is sre.LITERAL:
            return chr(value)
        if op in (sre.ANY, sre.NOT_LITERAL):
            return next(c for c in "abc" if op is sre.ANY or ord(c) != value)
        if op is sre.IN:
            allowed = [chr(c) for c in range(32, 127) if _in_class(chr(c), value)]
            return allowed[self.pick(len(allowed))] if allowed else ""
        if op is sre.BRANCH:
            return self.sequence(value[1][self.pick(len(value[1]))])
        if op is sre.SUBPATTERN:
            self.groups[value[0]] = text = self.sequence(value[-1])
            return text
        if op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            low, high, inner = value
            times = low + self.pick(min(int(high) - low, 2) + 1)
            return "".join(self.sequence(inner) for _ in range(times))
        if op is sre.GROUPREF:
            return self.groups.get(value, "")
        return ""  # anchors and look-arounds write nothing


def _in_class(character: str, items: Any) -> bool:
    shorthand = {sre.CATEGORY_DIGIT: r"\d", sre.CATEGORY_WORD: r"\w", sre.CATEGORY_SPACE: r"\s"}
    shorthand |= {sre.CATEGORY_NOT_DIGIT: r"\D", sre.CATEGORY_NOT_WORD: r"\W", sre.CATEGORY_NOT_SPACE: r"\S"}
    found = negated = False
    for op, value in items:
        if op is sre.NEGATE:
            negated = True
        elif op is sre.LITERAL:
            found |= ord(character) == value
        elif op is sre.RANGE:
            found |= value[0] <= ord(character) <= value[1]
        elif op is sre.CATEGORY:
            found |= re.match(shorthand[value], character) is not None
    return found != negated
