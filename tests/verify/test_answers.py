"""Final answers: what is found in a text, and when it is right."""

import asyncio
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.errors import ConfigError
from selfimprove.records import Prompt
from selfimprove.verify import Verifiers, validate_gold
from selfimprove.verify.answers import Answers, compare
from selfimprove.verify.extraction import TAIL, boxed, canonical, find_answer
from selfimprove.verify.numbers import find_numbers, number_words, spell, whole_number
from selfimprove.verify.pool import Pool

ANSWERS = Answers()


def task(gold: str | None, verifier: str = "answer") -> Prompt:
    return Prompt("p", ({"role": "user", "content": "?"},), gold=gold, verifier=verifier)


def grade(gold: str | None, text: str):
    return asyncio.run(ANSWERS.grade(task(gold), text))


@pytest.fixture(scope="module", autouse=True)
def stop_workers():
    yield
    ANSWERS.close()


EXTRACTED = [
    # boxed, with nested braces; the last one counts
    ("so \\boxed{12}", "12"),
    ("\\boxed{1} or rather \\boxed{\\frac{1}{2}}", "0.5"),
    ("\\fbox{7}", "7"),
    ("\\boxed{\\text{ 15 cm}^2}", "15"),
    ("\\boxed{ {3, 4} }", "{3,4}"),
    ("\\boxed{12 never closed but 13", "13"),
    # behind marks and phrases
    ("9 + 8 = 17\n#### 17", "17"),
    ("10 + 13 = 22\n#### \nThe answer is 22.", "22"),
    ("#### $1,234.50", "1234.5"),
    ("The answer is 20 pencils.", "20"),
    ("The answer is: **42**", "42"),
    ("**Answer:** 7", "7"),
    ("Final answer = 3/4", "0.75"),
    ("The answer is 8 (12 - 4).", "8"),
    ("The answer is 5 * 4 = 20.", "20"),
    ("The answer is twenty-one apples. There were 30 before.", "21"),
    ("The answer is 5. Wait, no. The answer is 6.", "6"),
    ("The answer is that Tom has 20 apples.", "20"),
    # behind the last equals sign
    ("Tom has 9 + 8 = 17 pencils now.", "17"),
    ("10 + 13 = 23", "23"),
    ("x = -4", "-4"),
    ("x = - 4", "-4"),
    ("4 + 9 - 6 = 13 - 6 = 7", "7"),
    ("\\[ x = 5 \\]", "5"),
    ("Thus $x=3$.", "3"),
    # last number
    ("20 - 13 is 17.", "17"),
    ("There are 3 cats and 4 dogs, so 7", "7"),
    ("He pays 20 dollars and 50 cents: $20.50", "20.5"),
    ("- 7 apples", "7"),
    ("He arrives at 3:45", "3:45"),
    ("The ratio is 7:4.", "7:4"),
    # one spelling
    ("1,200", "1200"),
    ("10,\\!080", "10080"),
    ("12.0", "12"),
    ("012", "12"),
    (".5", "0.5"),
    ("1 3/4 cups", "1.75"),
    ("1 and 3/4 cups", "1.75"),
    ("1½", "1.5"),
    ("\\frac43", "4/3"),
    ("-\\dfrac{1}{3}", "-1/3"),
    ("-(1/3)", "-1/3"),
    ("\u22127", "-7"),
    ("-$5", "-5"),
    ("$-5", "-5"),
    ("€12", "12"),
    ("50%", "50%"),
    ("about 50 percent", "50%"),
    ("90^\\circ", "90"),
    ("1e3", "1000"),
    ("1.5 × 10^3", "1500"),
    ("5kg", "5"),
    ("twelve", "12"),
    ("one hundred and five", "105"),
    # what is no number stays what it is
    ("6i", "6i"),
    ("3x", "3x"),
    ("(3,4]", "(3,4]"),
    ("1,2,3", "1,2,3"),
    ("12 - 4", "12 - 4"),
    ("he took 20 - 13", "20 - 13"),
    ("Tuesday", "tuesday"),
    ("", None),
    ("   \n ", None),
]


@pytest.mark.parametrize(("text", "answer"), EXTRACTED)
def test_extract(text, answer):
    assert ANSWERS.extract(text) == answer


RIGHT = [
    ("12", "12.0 apples"),
    ("0.5", "\\boxed{\\frac{1}{2}}"),
    ("1/2", "0.50"),
    ("25/3", "8 1/3"),
    ("0.3333333333", "1/3"),
    ("1080", "#### 1,080"),
    ("1,080", "1080"),
    ("50", "50%"),
    ("0.5", "50%"),
    ("50%", "50 percent"),
    ("$32,348", "\\$32,\\!348"),
    ("21", "twenty-one"),
    ("-7", "\u22127"),
    ("7:4", "The ratio is 7:4."),
    ("90^\\circ", "90 degrees"),
    ("\\text{Evelyn}", "The answer is Evelyn."),
    ("Tuesday", "It is on Tuesday."),
    ("They are equal", "they are equal"),
    ("4210_{5}", "\\boxed{4210_5}"),
]

WRONG = [
    ("12", "13"),
    ("12", "I do not know"),
    ("12", ""),
    ("8", "12 - 4"),  # the work is not done
    ("4", "12 - 4"),
    ("0.33", "1/3"),  # not the rounding at six places
    ("7:4", "7:5"),
    ("7:4", "7"),
    ("Tuesday", "Wednesday"),
    ("3", "Tuesday"),
    ("11:55 p.m. on 24 December 2014", "2014"),
    ("52_8", "52"),
    ("5", "50%"),
    ("2", "1" * 1_000_000),
]


@pytest.mark.parametrize(("gold", "text"), RIGHT)
def test_right(gold, text):
    assert grade(gold, text).score == 1.0


@pytest.mark.parametrize(("gold", "text"), WRONG)
def test_wrong(gold, text):
    assert grade(gold, text).score == 0.0


def test_undone_work_is_named():
    assert grade("8", "12 - 4").reason == "not_worked_out"


FORMULAS = [
    ("\\frac{\\sqrt{3}}{3}", "\\boxed{\\frac{1}{\\sqrt{3}}}", 1.0),
    ("6 - 5i", "-5i+6", 1.0),
    ("6 - 5i", "-5i+7", 0.0),
    ("x=5", "\\boxed{5}", 1.0),
    ("(3,4]", "(3,4)", 0.0),
    ("x^2+2x+1", "\\boxed{(x+1)^2}", 1.0),
    ("1 \\pm \\sqrt{19}", "\\boxed{1-\\sqrt{19}, 1+\\sqrt{19}}", 1.0),
    (
        "\\begin{pmatrix} -1 & 0 \\\\ 0 & 2 \\end{pmatrix}",
        "$$\\begin{pmatrix} -1 & 0 \\\\ 0 & 2 \\end{pmatrix}$$",
        1.0,
    ),
    ("2\\pi", "2 * 3", 0.0),
]


@pytest.mark.slow
def test_formulas_and_hostile_answers():
    """One pool for all, so that its start is paid once; a hostile answer costs at most its time limit."""
    pool = Pool(workers=2, timeout=2.0)
    answers = Answers(lambda: pool)
    nested = "\\frac{1}{" * 80 + "2" + "}" * 80
    hostile = [
        "\\boxed{9^{9^{9^{9}}}}",
        "9**9**9**9",
        "\\boxed{" + nested + "}",
        "\\boxed{" + "{" * 300 + "1" + "}" * 300 + "}",
        "\\boxed{10^{10^{10}}!}",
        "\\boxed{" * 100_000,
        "{" * 1_000_000,
        "(" * 1_000_000 + "1" + ")" * 1_000_000,
        "9," * 500_000,
        "= " * 500_000,
        "\\boxed{\\sum_{i=1}^{10^{10}} \\frac{1}{i^i}}",
        "\x00\ud7ff\U0010ffff" * 1000,
    ]

    async def run():
        await pool.call("prepare", "math")
        for gold, text, score in FORMULAS:
            assert (await answers.grade(task(gold), text)).score == score, (gold, text)
        started = time.monotonic()
        verdicts = await asyncio.gather(
            *[answers.grade(task(gold), text) for text in hostile for gold in ("7", "x+7")]
        )
        seconds = time.monotonic() - started
        assert all(v.score == 0.0 or (v.score is None and v.reason) for v in verdicts), verdicts
        assert any(v.reason == "timeout" for v in verdicts)
        # two workers, 2 s each, and some seconds to start again after a kill
        assert seconds < len(verdicts) / 2 * (2.0 + 10.0)
        assert (await answers.grade(task("x+1"), "\\boxed{1+x}")).score == 1.0  # still in service

    try:
        asyncio.run(run())
    finally:
        answers.close()


@pytest.mark.slow
def test_a_gold_answer_that_cannot_be_read_is_none_and_says_so():
    failed = asyncio.run(validate_gold([task("\\frac{"), task("12"), task(None), task("x^2 + 1"), task("(-2,1)")]))
    assert [(prompt.gold, verdict.score, verdict.reason) for prompt, verdict in failed] == [
        ("\\frac{", None, "gold_unparsable"),
        (None, None, "no_gold"),
    ]


def test_missing_gold_is_no_zero():
    assert grade(None, "12").score is None
    assert grade(None, "12").reason == "no_gold"


def test_unknown_verifier_names_the_nearest():
    with pytest.raises(ConfigError, match="no verifier 'answers'; did you mean 'answer'"):
        Verifiers().of(Prompt("p", (), verifier="answers"))


def test_math_verify_is_asked_for_only_where_it_is_needed(monkeypatch):
    monkeypatch.setattr("selfimprove.verify.answers.find_spec", lambda name: None)
    assert grade("12", "the answer is 12").score == 1.0
    with pytest.raises(ConfigError, match=r'needs math-verify: pip install "selfimprove\[math\]"'):
        grade("x+1", "\\boxed{1+x}")


def test_the_exact_verifier_compares_whole_texts():
    exact = Verifiers().of(Prompt("p", (), verifier="exact"))
    assert asyncio.run(exact.grade(task("Yes\n"), "  Yes ")).score == 1.0
    assert asyncio.run(exact.grade(task("Yes"), "yes")).score == 0.0
    assert asyncio.run(exact.grade(task("Yes"), " ")).reason == "no_answer"
    assert asyncio.run(exact.grade(task(None), "yes")).score is None


numbers = st.fractions(max_denominator=1000).filter(lambda value: abs(value) < 10**9)


@given(numbers)
@settings(derandomize=True)
def test_a_spelled_number_is_read_back(value):
    read = whole_number(spell(value))
    assert read is not None and read.value == value


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
@settings(derandomize=True)
def test_equal_integers_and_no_others_are_right(gold, answer):
    for text in (f"#### {answer:,}", f"The answer is {answer}.0 apples.", f"so \\boxed{{{answer}}}", f"x = {answer}"):
        assert compare(str(gold), find_answer(text)) is (gold == answer)


@given(numbers, numbers)
@settings(derandomize=True)
def test_comparing_is_symmetric(left, right):
    a, b = spell(left), spell(right)
    assert compare(a, b) == compare(b, a)


@given(st.integers(1, 999_999))
@settings(derandomize=True)
def test_number_words_are_read(value):
    words = spelled(value)
    found = number_words(words + " apples")
    if value == 1:  # 'one apples': a lone 'one' is no number
        assert found is None
    else:
        assert found is not None and found.value == value


def spelled(value: int) -> str:
    """English number words of 1 to 999,999, written independently of the reader."""
    small = ["", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
             "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]  # fmt: skip
    tens = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
    if value >= 1000:
        return f"{spelled(value // 1000)} thousand {spelled(value % 1000)}".strip()
    if value >= 100:
        rest = spelled(value % 100)
        return f"{small[value // 100]} hundred" + (f" and {rest}" if rest else "")
    if value < 20:
        return small[value]
    return tens[value // 10] + (f"-{small[value % 10]}" if value % 10 else "")


@given(st.text(max_size=300))
@settings(derandomize=True, max_examples=300)
def test_any_text_is_read_without_failing_and_the_answer_is_stable(text):
    found = find_answer(text)
    if found is not None:
        assert canonical(canonical(found)) == canonical(found) or not canonical(found).isascii()
    assert isinstance(find_numbers(text), list)


@given(
    st.recursive(
        st.text("ab+ ", max_size=5), lambda inner: st.lists(inner, max_size=3).map(lambda p: "{" + "".join(p) + "}")
    )
)
@settings(derandomize=True)
def test_a_box_gives_back_balanced_content(content):
    assert boxed(f"so \\boxed{{{content}}} is it") == content.strip()


def test_only_the_end_of_a_long_text_is_read_and_reading_is_linear():
    assert find_answer("The answer is 7. " + "x" * 2 * TAIL) is None
    for piece in ("1,", "\\boxed{", "answer is ", "= ", "$", "1/", "\\frac{1}{", "#### ", "one hundred ", "( "):
        started = time.monotonic()
        find_answer(piece * 200_000)
        assert time.monotonic() - started < 0.5, piece


def test_fractions_stay_exact():
    assert whole_number("0.1").value == Fraction(1, 10)
    assert compare("0.30000000000000004", "0.3") is True  # a float's rounding is below six places
    assert compare("0.300001", "0.3") is False
