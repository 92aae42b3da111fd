"""Reading numbers as people and models write them: exact values, never floats.

Covered: signs and the Unicode minus, thousands commas (also LaTeX's), decimals, fractions, mixed numbers,
vulgar fraction characters, percent, currency signs, small scientific notation, number words. Not covered:
decimal commas and thousands points or spaces, which cannot be told from lists and from each other.
Every regular expression here is linear in its input, and nothing longer than `LONGEST` digits is read.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

LONGEST = 200
"""Longest text that is read as one number; longer ones stay texts."""

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
_VULGAR = dict(
    zip(
        "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞",
        ["1/2", "1/3", "2/3", "1/4", "3/4", "1/5", "2/5", "3/5", "4/5", "1/6", "5/6", "1/8", "3/8", "5/8", "7/8"],
        strict=True,
    )
)
NUMBER = re.compile(
    rf"(?P<whole>\d+)\s+(?:and\s+)?(?P<above>\d+)\s?/\s?(?P<below>\d+)"  # 1 3/4
    rf"|(?P<top>{_DIGITS})\s?/\s?(?P<bottom>{_DIGITS})(?!\s?/)"  # 3/4
    rf"|(?P<mantissa>{_DIGITS})(?:[eE](?P<power>[-+]?\d{{1,2}})(?![\w.])"  # 1.5e3
    rf"|\s?[×*]\s?10\^\{{?(?P<ten>[-+]?\d{{1,2}})\}}?)"  # 1.5 * 10^3
    rf"|(?P<plain>{_DIGITS})"
)
_FRAC = re.compile(r"\\[dt]?frac\s*(?:\{\s*(-?\d+)\s*\}|(\d))\s*(?:\{\s*(-?\d+)\s*\}|(\d))")
_PERCENT = re.compile(r"\s*(?:%|percent\b|per cent\b)", re.IGNORECASE)
_BEFORE = "$€£¥ \t*_(["


@dataclass(frozen=True)
class Number:
    """An exact value, whether a percent sign stood behind it, and where it stood in the text."""

    value: Fraction
    percent: bool = False
    start: int = 0
    end: int = 0
    rounded: bool = False  # written as a decimal, so possibly the rounding of another number

    def __str__(self) -> str:
        """Return the one spelling of this value: '12', '-0.5', '1/3', '50%'."""
        return spell(self.value) + ("%" if self.percent else "")

    def same(self, other: "Number") -> bool:
        """Whether two numbers are the same answer: '50%' matches '50%', '50' and '0.5'.

        A decimal also matches what it is the rounding of at six places (0.333333 is 1/3).
        """
        if self.percent != other.percent:
            share, plain = (self, other) if self.percent else (other, self)
            return share.value in (plain.value, plain.value * 100)
        if self.value == other.value:
            return True
        return (self.rounded or other.rounded) and abs(self.value - other.value) * 2 <= Fraction(1, 10**6)


def spell(value: Fraction) -> str:
    """Return a fraction as an integer, as a decimal where that ends within 12 places, otherwise as 'a/b'."""
    if value.denominator == 1:
        return str(value.numerator)
    below, places = value.denominator, 0
    while places < 12 and 10**places % below:
        places += 1
    if 10**places % below:
        return f"{value.numerator}/{below}"
    digits = str(abs(value.numerator) * (10**places // below)).rjust(places + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def plain_text(text: str) -> str:
    """Return a text with the many spellings of signs, fractions and thousands commas brought to one."""
    if "\\!" in text:  # 11,\! 111: LaTeX's thousands
        text = re.sub(r",\s?\\!\s?", ",", text)
    for old, new in (("\u2212", "-"), ("\u2013", "-"), ("\\!", ""), ("{,}", ","), ("\\,", " "), ("\\ ", " ")):
        text = text.replace(old, new)
    text = text.replace("\\$", "$").replace("\\%", "%").replace("\u00a0", " ").replace("\u202f", " ").replace("⁄", "/")
    text = _FRAC.sub(
        lambda m: f"{' ' * text[m.start() - 1 : m.start()].isdigit()}{m[1] or m[2]}/{m[3] or m[4]} ", text
    )
    return "".join(f" {_VULGAR[c]}" if c in _VULGAR else c for c in text)


def find_numbers(text: str) -> list[Number]:
    """Return all numbers of a text in order; the text must have gone through `plain_text`.

    A minus is a sign only where no operand stands before it: '12 - 4' holds 12 and 4, '= -4' holds -4.
    """
    found = []
    for match in NUMBER.finditer(text):
        if match.end() - match.start() > LONGEST or _inside_word(text, match):
            continue
        value = _value(match)
        if value is None:
            continue
        start, negative = _sign(text, match.start())
        percent = _PERCENT.match(text, match.end())
        end = percent.end() if percent else match.end()
        rounded = "." in match.group() and value.denominator != 1
        found.append(Number(-value if negative else value, percent is not None, start, end, rounded))
    return found


def whole_number(text: str) -> Number | None:
    """Return the number that a text is, with at most a currency sign before it; None where it is anything else."""
    text = plain_text(text).strip().strip("$").strip()
    if not text or len(text) > LONGEST:
        return None
    text = text.replace("-(", "(-") if text.startswith("-(") else text
    numbers = find_numbers(text)
    if len(numbers) != 1:
        return None
    number = numbers[0]
    outside = text[: number.start] + text[number.end :]
    return number if not outside.strip(_BEFORE + ")]}.{+") and outside.count("(") == outside.count(")") else None


def _value(match: re.Match[str]) -> Fraction | None:
    get = match.groupdict().get
    if get("whole") is not None:
        below = int(get("below") or 0)
        return Fraction(int(get("whole") or 0)) + Fraction(int(get("above") or 0), below) if below else None
    if get("top") is not None:
        bottom = Fraction((get("bottom") or "").replace(",", ""))
        return Fraction((get("top") or "").replace(",", "")) / bottom if bottom else None
    mantissa = Fraction((get("plain") or get("mantissa") or "").replace(",", ""))
    power = get("power") or get("ten")
    return mantissa * Fraction(10) ** int(power) if power else mantissa


def _inside_word(text: str, match: re.Match[str]) -> bool:
    before = text[match.start() - 1] if match.start() else " "
    after = text[match.end()] if match.end() < len(text) else " "
    if before.isalnum() or before in "_\\^":  # x2, 2^10: no number of its own
        return True
    return after == "_" or (after == "." and text[match.end() + 1 : match.end() + 2].isdigit())


def _sign(text: str, start: int) -> tuple[int, bool]:
    """Return where a number begins with its sign and currency, and whether it is negative."""
    place = start
    while place and text[place - 1] in "$€£¥":
        place -= 1
    if text[max(0, place - 4) : place].replace(" ", "") == "=-":
        return place - 1, True
    if not place or text[place - 1] not in "-+":
        return place, False
    operand = text[: place - 1].rstrip(" \t")[-1:]
    if operand and (operand.isalnum() or operand in ")]}%$"):
        return place, False
    return place - 1, text[place - 1] == "-"


_UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SMALL = {w: i for i, w in enumerate(_UNITS)} | {w: 10 * i for i, w in enumerate(_TENS, 2)}
_LARGE = {"hundred": 100, "thousand": 1000, "million": 10**6}


def number_words(text: str) -> Number | None:
    """Return the number of a text that spells exactly one ('twenty-one apples'), None where none or several.

    A lone 'one' is no number ('one of them'), and nor are ordinals and 'a hundred'.
    """
    runs: list[list[str]] = [[]]
    for word in re.findall(r"[a-z]+", text.lower()[:LONGEST]):
        if word in _SMALL or (word in _LARGE and runs[-1]):
            runs[-1].append(word)
        elif not (word == "and" and runs[-1] and runs[-1][-1] in _LARGE):
            runs.append([])
    runs = [run for run in runs if run]
    if len(runs) != 1 or (runs[0] == ["one"] and text.strip(" .!").lower() != "one"):
        return None
    value = _spelled(runs[0])
    return None if value is None else Number(Fraction(value))


def _spelled(words: list[str]) -> int | None:
    total, part, last = 0, 0, 10**9
    for word in words:
        if word in _LARGE:
            if word == "hundred":
                part *= 100
            else:
                total, part = total + part * _LARGE[word], 0
            last = _LARGE[word]
        else:
            value = _SMALL[word]
            fits = (value < 10 and last in range(20, 100, 10)) or last >= 100
            if not fits:  # 'two three' is a list, not a number
                return None
            part, last = part + value, value
    return total + part
