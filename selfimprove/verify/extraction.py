"""Finding the final answer in a text: pure functions, linear in the length of what they read.

Order: the last \\boxed{...}; the last '#### x'; the last 'the answer is x'; what stands behind the last '='
of the last line; the last formula between dollar signs where no number follows it; the last number; a short
text as a whole. Only the end of a long text is read (`TAIL` characters), since answers stand at the end.
"""

import re

from selfimprove.verify.numbers import Number, find_numbers, number_words, plain_text, whole_number

TAIL = 4000
"""Characters at the end of a text in which the final answer is looked for."""

SHORT = 80
"""Longest text that is taken as an answer as a whole."""

_PHRASE = re.compile(
    r"\banswer\b(?: is| was| will be| would be| equals)?\s{0,3}(?:[:=]|(?<=is)|(?<=was)|(?<=be)|(?<=equals))"
)
_SENTENCE = re.compile(r"[.!?;](?:\s|$)|\n")
_WRAPPER = re.compile(r"^\\(?:text|mathrm|mathbf|textbf|mbox)\s*\{([^{}]*)\}\.?$")
_OPERATION = re.compile(r"[\d)]\s*(?:\s[-+]|[+*×÷·]|\\times|\\cdot|\\div|-)\s*[\d(]")


def boxed(text: str) -> str | None:
    """Return the content of the last complete \\boxed{...} or \\fbox{...}, braces matched; None without one."""
    for start in reversed([m.end() for m in re.finditer(r"\\(?:boxed|fbox)\s*\{", text)][-20:]):
        depth = 1
        for place in range(start, len(text)):
            if text[place] == "\\":
                continue
            depth += {"{": 1, "}": -1}.get(text[place], 0) if text[place - 1] != "\\" else 0
            if depth == 0:
                return text[start:place].strip()
    return None


def find_answer(text: str) -> str | None:
    """Return the final answer as it stands in the text, None where there is none.

    The result may be a number with its unit, a formula or a few words: see `canonical` for one spelling.
    """
    text = text[-TAIL:].strip()
    if not text:
        return None
    inside = boxed(text)
    if inside:
        return inside
    for piece in (_after_hashes(text), _after_phrase(text)):
        if piece:
            return piece
    if len(text) <= SHORT and not re.search(r"\s", text) and "=" not in text:  # 6i, 1,2,3, (3,4]
        return strip_marks(text) or None
    return _after_equals(text) or _last_formula(text) or _last_number(text) or _as_a_whole(text)


def canonical(answer: str) -> str:
    """Return one spelling for equal answers: '12.0 apples', '$12' and 'twelve' are '12', 'x=5' is 'x=5'."""
    number = read_number(answer)
    return str(number) if number is not None else plain_words(answer)


def read_number(answer: str) -> Number | None:
    """Return the number that an answer states, its unit aside; None where it is a formula, a list or words."""
    answer = strip_marks(answer)
    whole = whole_number(answer)
    if whole is not None:
        return whole
    if "\\" in re.sub(r"\\text\s?\{[^{}]*\}|\\(?:circ|degree|[dt]?frac|[$%!,])|\\ ", "", answer):
        return None
    text = plain_text(re.sub(r"\^?\s?\{?\\(?:circ|degree)\}?|°", " ", answer))
    text = re.sub(r"\\text\s?\{([^{}]*)\}", r" \1", text)
    if is_operation(text):
        return None
    numbers = find_numbers(text)
    if not numbers:
        return number_words(text)
    if len(numbers) > 1:
        return None
    number = numbers[0]
    before, after = text[: number.start], text[number.end :]
    return number if _only_unit(after) and _only_words(before) else None


def is_operation(text: str) -> bool:
    """Whether numbers are still joined by + - * or ÷ in an answer: work that was not done."""
    return _OPERATION.search(plain_text(text[:TAIL])) is not None


def strip_marks(text: str) -> str:
    """Return an answer without the marks around it: $...$, \\(...\\), **...**, \\text{...}, quotes, final points."""
    text = text.strip()
    for _ in range(4):
        before = text
        text = text.strip("*_`\"' \n\t").rstrip(".,;:!").removeprefix("\\(").removesuffix("\\)")
        text = text.removeprefix("\\[").removesuffix("\\]").removeprefix("\\displaystyle").strip()
        if text.startswith("$") and text.endswith("$") and len(text) > 1:
            text = text.strip("$")
        elif text.endswith("$") and text.count("$") == 1:
            text = text[:-1]
        match = _WRAPPER.match(text)
        text = match[1] if match else text
        if text == before:
            break
    return text


def plain_words(text: str) -> str:
    """Return a text in lower case with single spaces, without marks, LaTeX spacing and a leading article."""
    text = plain_text(strip_marks(text)).replace("\\left", "").replace("\\right", "").replace("\\text", "")
    text = " ".join(text.split()).lower()
    text = re.sub(r" ?([(){}\[\],:=+*/^]) ?", r"\1", text)
    return re.sub(r"^(?:the|a|an) (?=\w)", "", text)


def _after_hashes(text: str) -> str | None:
    pieces = [line.rpartition("####")[2].strip() for line in text.splitlines() if "####" in line]
    return next((_shorten(piece) for piece in reversed(pieces) if piece), None)


def _after_phrase(text: str) -> str | None:
    places = [match.end() for match in _PHRASE.finditer(text.lower())]
    for place in reversed(places if len(text.lower()) == len(text) else []):
        sentence = text[place:].lstrip(" :=*\n")
        piece = _SENTENCE.split(sentence[: 4 * SHORT], maxsplit=1)[0].strip()
        if strip_marks(piece):
            return _shorten(piece)
    return None


def _after_equals(text: str) -> str | None:
    line = text.splitlines()[-1]
    before, equals, piece = line.rpartition("=")
    if not equals or before.endswith(("<", ">", "!", "\\")):
        return None
    piece = strip_marks(_SENTENCE.split(piece, maxsplit=1)[0])
    piece = re.sub(r"^([-\u2212]) (?=[\d.$\\(])", r"\1", piece)  # = - 4
    if read_number(piece) is None:
        return piece if 0 < len(piece) <= SHORT and ("\\" in piece or " " not in piece) else None
    left_over = plain_text(line.rpartition("=")[2])
    return None if len(find_numbers(left_over)) > len(find_numbers(plain_text(piece))) else piece


def _last_formula(text: str) -> str | None:
    pieces = text.replace("$$", "$").split("$")
    if len(pieces) < 3 or len(pieces) % 2 == 0 or not pieces[-2].strip() or len(pieces[-2]) > 4 * SHORT:
        return None
    formula = pieces[-2].strip()
    if find_numbers(plain_text(pieces[-1])) or not re.search(r"[\\^_=a-zA-Z({\[]", formula):
        return None
    return formula.rpartition("=")[2].strip() or None


def _last_number(text: str) -> str | None:
    text = plain_text(text)
    numbers = find_numbers(text)
    if not numbers:
        words = number_words(text) if len(text) <= 2 * SHORT else None
        return None if words is None else str(words)
    last = numbers[-1]
    ratio = re.search(r"(?<![\d:])\d{1,4}(?::\d{1,4}){1,2}$", text[: last.end])
    if ratio:
        return ratio.group()
    if re.search(r"[\d)]\s*[-+*×÷·]\s*$", text[: last.start]):  # 12 - 4: the work is not done
        start = last.start
        while start and text[start - 1] in "0123456789 .,()+-*×÷·/":
            start -= 1
        return text[start : last.end].strip()
    return str(last)


def _as_a_whole(text: str) -> str | None:
    line = text.splitlines()[-1].strip()
    return strip_marks(line) or None if len(line) <= SHORT else None


def _shorten(piece: str) -> str:
    """Return a piece reduced to its answer: what follows '=', or its only number where words surround it."""
    in_front = re.match(r"([^()]+) \([^()]*\)$", strip_marks(piece))  # 8 (12 - 4)
    if in_front and read_number(in_front[1]) is not None:
        return in_front[1]
    if not is_operation(piece.rpartition("=")[2]) and read_number(piece.rpartition("=")[2]) is not None:
        return piece.rpartition("=")[2].strip()
    if read_number(piece) is None and "\\" not in piece and len(piece.split()) > 3 and not is_operation(piece):
        numbers = find_numbers(plain_text(piece))
        if numbers:
            return str(numbers[-1])
    return strip_marks(piece)


def _only_unit(after: str) -> bool:
    """Whether what follows a number is a unit in words (and not an exponent, a variable or an operator)."""
    if after[:1].isalpha() and not re.match(r"[a-zA-Z]{2,}|[a-zA-Z]\b(?![\^_(])", after):
        return False
    if re.match(r"[a-zA-Z](?![a-zA-Z])", after) and after[0] not in "mgkslhdLc":
        return False  # 3x, 6i, 2k + 2: a formula
    return not re.search(r"[\\^_={}+*/\[\]:,<>]|\d\s*-", re.sub(r"\^?[23²³]\b|/[a-z]+|\([^()]*\)", "", after))


def _only_words(before: str) -> bool:
    return not re.search(r"[\\^_{}+*/\[:,<>\d=]|[a-zA-Z][(]", before.strip(" $€£¥*(")) and not re.fullmatch(
        r"\s*-?\s*[a-zA-Z]", before
    )
