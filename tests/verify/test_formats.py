"""Checks of an answer's form: each holds for what it names, and fails for what is just beside it."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.errors import DataError
from selfimprove.records import Prompt, as_messages
from selfimprove.verify.formats import CHECKS, Formats, holds, sentences_of, words_of

GOOD_AND_BAD = [
    ({"check": "words", "at_least": 3, "at_most": 4}, "One two three, four.", "One two."),
    ({"check": "words", "at_most": 2}, "it's fine", "it is not fine"),
    ({"check": "sentences", "at_least": 2, "at_most": 2}, 'It is. "Is it?"', "It is 3.5 km."),
    ({"check": "paragraphs", "at_least": 2}, "One.\n\nTwo.", "One.\nTwo."),
    ({"check": "lines", "at_least": 3, "at_most": 3}, "a\n\nb\nc", "a\nb"),
    ({"check": "bullets", "at_least": 2, "at_most": 2}, "Here:\n- one\n* two", "- one\n-two"),
    ({"check": "numbered", "at_least": 2}, "1. one\n2) two", "1 one\n2 two"),
    ({"check": "has_word", "word": "sea"}, "The Sea is deep.", "The season is long."),
    ({"check": "has_word", "word": "sea", "at_least": 2}, "sea, SEA", "sea"),
    ({"check": "lacks_word", "word": "very"}, "every day", "very long"),
    ({"check": "starts_with", "start": "Dear"}, "dear Ann", "My dear"),
    ({"check": "ends_with", "end": "The end."}, 'So it went. "the end."', "The end. Or not."),
    ({"check": "lower_case"}, "all small, 3 of them", "Not small"),
    ({"check": "upper_case"}, "ALL LARGE", "NOT LARGe"),
    ({"check": "lacks_letter", "letter": "e"}, "A story of a dog.", "Every one"),
    ({"check": "no_commas"}, "one and two", "one, two"),
    ({"check": "no_digits"}, "three", "3 of them"),
    ({"check": "in_quotes"}, '"Quoted."', '"Half'),
    ({"check": "has_title"}, "<<A title>>\ntext", "<A title>"),
    ({"check": "json"}, '{"a": 1}', "{'a': 1}"),
    ({"check": "json", "keys": ["a", "b"]}, '```json\n{"a": 1, "b": 2, "c": 3}\n```', '{"a": 1}'),
]


@pytest.mark.parametrize(("check", "good", "bad"), GOOD_AND_BAD, ids=[str(case[0]) for case in GOOD_AND_BAD])
def test_a_check_holds_for_one_text_and_fails_for_another(check, good, bad):
    assert holds(check, good) is True
    assert holds(check, bad) is False


def test_every_check_is_tried_above():
    assert {case[0]["check"] for case in GOOD_AND_BAD} == set(CHECKS)


@given(st.sampled_from([case[0] for case in GOOD_AND_BAD]), st.text(alphabet=" \n\t"))
def test_an_empty_answer_follows_no_instruction(check, blank):
    assert holds(check, blank) is False


@given(st.text())
def test_any_text_can_be_checked(text):
    for check, _, _ in GOOD_AND_BAD:
        assert holds(check, text) in (True, False)
    assert len(sentences_of(text)) <= max(len(words_of(text)), 0)


def grade(text, *checks, gold=None):
    prompt = Prompt("p", as_messages("Write."), gold=gold, verifier="formats", meta={"checks": checks})
    verifier = Formats()
    return asyncio.run(verifier.grade_gold(prompt) if text is None else verifier.grade(prompt, text))


def test_all_checks_must_hold_and_those_that_do_not_are_named():
    short, sea = {"check": "words", "at_most": 3}, {"check": "has_word", "word": "sea"}
    assert grade("The blue sea", short, sea).score == 1.0
    verdict = grade("The sea is blue", short, sea)
    assert verdict.score == 0.0 and verdict.reason == "words at_most=3"
    assert grade("none of it at all", short, sea).reason == "words at_most=3; has_word word=sea"
    assert grade(None, short, sea, gold="The blue sea").score == 1.0
    assert grade("anything").score is None


@pytest.mark.parametrize("wrong", [{"check": "rhyme"}, {"check": "has_word"}, {"check": "words", "about": 3}, {}])
def test_a_check_that_there_is_not_is_an_error(wrong):
    with pytest.raises(DataError, match="prompt p"):
        grade("text", wrong)
