"""The LLM judge without a model: what it is asked, how its verdicts are read, how several become one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.config import fill
from selfimprove.errors import ConfigError
from selfimprove.judges.llm import Config, combine, expected_grade, parse, render
from selfimprove.records import Prompt, as_messages

PROMPT = Prompt("p", as_messages("Why is the sky {{ blue }}?"))


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("I would add a point. Score: 2 ... Final Score: 4/5", 4.0),
        ("**Score:** 3", 3.0),
        ("Score: 3.5", 3.5),
        ("score : 4", 4.0),
        ("Score: 9", None),
        ("Score: 7", None),
        ("n/a", None),
        ("", None),
        ("4 of 5 points, a 5-point answer", None),
    ],
)
def test_the_last_score_counts(text, grade):
    assert parse(text, 0, 5) == grade


def test_means_are_over_the_verdicts_that_could_be_read():
    graded = [[3, 4, 4], [5, 5, 4], [2, None, 3], [4, 4, 5]]
    assert [round(combine(grades).score, 4) for grades in graded] == [3.6667, 4.6667, 2.5, 4.3333]
    assert combine([2, None, 3]).reason == "1 of 3 unparsed"
    assert combine([None, None]).score is None


def test_the_expected_grade_is_over_the_grades_that_are_known():
    assert expected_grade({"7": math.log(0.5), "8": math.log(0.3), "6": math.log(0.1)}) == pytest.approx(
        7.2222, abs=1e-4
    )
    assert expected_grade({"0": math.log(0.25), "9": math.log(0.75)}) == pytest.approx(6.75)
    assert expected_grade({}) is None


def test_a_question_is_never_read_as_a_template():
    for cfg in (Config(), Config(rubric="scale"), Config(rubric="criteria", criteria=["It is {{ short }}."])):
        [message] = render(cfg, PROMPT, "Because {% raw %} light scatters")
        assert "{{ blue }}" in message["content"] and "{% raw %}" in message["content"]
        assert "Score:" in message["content"].splitlines()[-1]


def test_reading_digits_asks_for_nothing_but_the_grade():
    [message] = render(Config(read="digits"), PROMPT, "x")
    assert "Score:" not in message["content"] and "0 to 5" in message["content"]


@pytest.mark.parametrize(
    "wrong", [{"rubric": "stars"}, {"rubric": "criteria"}, {"criteria": ["x"]}, {"read": "tea"}, {"samples": 0}]
)
def test_options_that_cannot_work_are_refused(wrong):
    with pytest.raises(ConfigError):
        fill(Config, wrong, "recipe: judge")


@given(st.text(), st.integers(0, 5))
def test_whatever_stands_before_the_verdict_does_not_matter(before, grade):
    assert parse(f"{before}\nScore: {grade}", 0, 5) == grade
