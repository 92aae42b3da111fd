"""Words, and runs of them as numbers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.sources.overlap import WORD, words
from selfimprove.sources.runs import WordNumbers, hash_runs

texts_of_words = st.lists(st.lists(st.sampled_from(["a", "b", "c"]), max_size=7), max_size=6)


def test_what_a_word_is():
    assert words("What's 4.5 - 6?\n(x_1 = 2)") == ["what", "s", "4.5", "-", "6", "x", "1", "=", "2"]
    assert words("HELLO,\tWorld!") == words("hello world")
    assert words("4 - 2") != words("4 + 2")
    assert words("ﬁne ＡＢＣ") == ["fine", "abc"]
    assert words("今日は12時 ok") == ["今", "日", "は", "12", "時", "ok"]
    assert words("?!") == []


@given(st.text(st.characters(codec="ascii")))
def test_the_short_way_for_ascii_finds_the_same(text):
    assert words(text) == WORD.findall(text.casefold())


@given(texts_of_words, st.integers(1, 4))
def test_equal_runs_and_only_those_have_equal_numbers(texts, n):
    hashes, counts = hash_runs(texts, n, WordNumbers())
    expected = [
        run
        for text in texts
        for run in ([tuple(text)] if len(text) < n else [tuple(text[i : i + n]) for i in range(len(text) - n + 1)])
    ]
    assert len(hashes) == counts.sum() == len(expected)
    assert counts.tolist() == [max(1, len(text) - n + 1) for text in texts]
    by_number: dict[int, set] = {}
    for number, run in zip(hashes.tolist(), expected, strict=True):
        by_number.setdefault(number, set()).add(run)
    assert all(len(runs) == 1 for runs in by_number.values())
    assert len(by_number) == len(set(expected))


def test_numbers_are_the_same_in_every_process_and_after_forgetting():
    numbers = WordNumbers()
    first = numbers.of(["alpha", "beta"])
    assert first.tolist() == [11099342189553124947, 12551039221781777427]
    numbers.of([str(i) for i in range(100_001)])  # more than it remembers
    assert np.array_equal(numbers.of(["alpha", "beta"]), first)
