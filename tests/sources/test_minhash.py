"""Near-duplicates by MinHash and bands: the published numbers, and groups that depend on nothing but the texts."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.errors import ConfigError
from selfimprove.sources.minhash import SHINGLE, TOO_SHORT, Earlier, bands_of, roots, tokens


def words(seed, count=60):
    random.seed(seed)
    return [f"w{random.randrange(10**6)}" for _ in range(count)]


def test_bands_for_a_threshold():
    assert bands_of(0.7, 250) == (25, 10)
    with pytest.raises(ConfigError, match=r"the threshold of near-duplicates is 1.0; it must lie between 0 and 1"):
        bands_of(1.0)


def test_tokens_are_split_at_every_other_character():
    assert tokens("a_b, c") == ["a_b", "", "c"]  # between comma and space stands an empty token
    assert len(tokens("one two three four five six seven")) - SHINGLE + 1 == 3
    assert len(tokens("one two three four")) < SHINGLE


def test_the_first_of_a_group_is_its_root():
    one, other = words(1), words(2)
    close = [*one[:-1], "changed"]
    texts = [" ".join(text) for text in (one, other, close, one)] + ["one two three four", "", "a b c d e"]
    assert roots(texts, 0.7).tolist() == [0, 1, 0, 0, TOO_SHORT, TOO_SHORT, 6]
    assert roots([], 0.7).tolist() == []


def test_groups_are_joined_through_a_text_in_between():
    # 60 words have 56 runs of 5. A and B share 52 of 60 (0.87), B and C too, A and C 48 of 64 (0.75): all one group.
    a, new = words(3), words(4, 8)
    b, c = a[4:] + new[:4], a[8:] + new
    assert roots([" ".join(text) for text in (a, b, c)], 0.7).tolist() == [0, 0, 0]


def test_a_stream_knows_its_earlier_texts():
    one = " ".join(words(5))
    seen = Earlier(0.5)
    assert seen.repeats([one, " ".join(words(6)), one]) == [False, False, True]
    assert seen.repeats([one, "short", "short"]) == [True, False, False]


@given(st.lists(st.text("ab ", max_size=40), max_size=20))
def test_roots_are_earlier_texts_and_roots_themselves(texts):
    found = roots(texts, 0.7).tolist()
    for number, root in enumerate(found):
        assert root == TOO_SHORT if len(tokens(texts[number])) < SHINGLE else found[root] == root <= number
    for number, text in enumerate(texts):
        assert found[number] == found[texts.index(text)]
