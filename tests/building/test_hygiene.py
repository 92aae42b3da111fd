"""The whole `hygiene` section of a recipe."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.building.hygiene import REASONS, clean
from selfimprove.config import Hygiene
from selfimprove.errors import ConfigError, DataError
from selfimprove.records import Example, Pair, Prompt, Skip
from selfimprove.store import RowWriter

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen " * 3


def example(name: str, prompt: str, completion: str) -> dict:
    return Example(name, ({"role": "user", "content": prompt},), completion).to_row()


def pair(name: str, chosen: int, rejected: int) -> dict:
    prompt = Prompt(name, ({"role": "user", "content": f"Question {name}?"},))
    return Pair.of(prompt, "c" * chosen, "r" * rejected).to_row()


def test_nothing_asked_is_nothing_done():
    rows = [{"anything": 1}, {"anything": 1}]
    assert list(clean(iter(rows), Hygiene(), {})) == rows


def test_each_row_taken_out_says_why_and_all_others_stay_in_order():
    rows = [
        example("a", "Tell me.", LONG + "x"),
        example("b", "What is 4 + 5?", "9"),
        example("c", "Tell me.", LONG + "x"),
        example("d", "Tell me.", "No."),
        example("e", "Tell me.", LONG + "y"),
        example("f", "What is 4 + 5?", "9"),
        example("g", "What is 4 + 6?", "10"),
    ]
    found = list(clean(rows, Hygiene(dedup="near", decontaminate=True), {"sums": ["what is 4 + 5"]}))
    assert found == [
        rows[0],
        Skip("b", "contaminated", "sums: 'what is 4 + 5'"),
        Skip("c", "duplicate", "same as a"),
        rows[3],
        Skip("e", "near_duplicate", "near a"),
        Skip("f", "contaminated", "sums: 'what is 4 + 5'"),
        rows[6],
    ]
    exact = list(clean(rows, Hygiene(dedup="exact"), {"sums": ["what is 4 + 5"]}))
    assert [row.detail for row in exact if isinstance(row, Skip)] == ["same as a", "same as b"]


def test_balance_comes_last_and_says_both_lengths():
    rows = [pair("a", 900, 10), pair("b", 20, 20), pair("a", 900, 10), pair("c", 21, 20)]
    found = list(clean(rows, Hygiene(dedup="exact", balance_length=0.1), {}))
    assert found == [
        Skip("a", "length_balance", "chosen 900 characters, rejected 10"),
        rows[1],
        Skip("a", "duplicate", "same as a"),
        rows[3],
    ]


def test_balance_is_for_pairs():
    with pytest.raises(ConfigError, match="balance_length needs pairs of chosen and rejected answers, and b is none"):
        list(clean([pair("a", 3, 3), example("b", "q", "x")], Hygiene(balance_length=0.1), {}))


@pytest.mark.parametrize(
    ("hygiene", "problem"),
    [
        (Hygiene(dedup="near", near_threshold=0.1), "threshold of near-duplicates is 0.1"),
        (Hygiene(decontaminate=True, ngram=0), "ngram is 0"),
        (Hygiene(balance_length=-1.0), "balance_length is -1.0"),
    ],
)
def test_options_that_cannot_be(hygiene, problem):
    with pytest.raises(ConfigError, match=problem):
        list(clean([], hygiene, {}))


def test_rows_of_a_store_are_read_twice_and_damage_is_told(tmp_path):
    writer = RowWriter(tmp_path, shard_rows=2)
    for row in (example("a", "q", "x"), example("b", "q", "x"), example("c", "q", "y")):
        writer.write(row)
    from selfimprove.store import Rows

    rows = Rows(tuple(writer.close()))
    found = clean(rows, Hygiene(dedup="exact"), {})
    assert [row["id"] if isinstance(row, dict) else row.reason for row in found] == ["a", "duplicate", "c"]
    with pytest.raises(DataError, match="row 1: the row has no text"):
        list(clean([{"number": 3}], Hygiene(dedup="exact"), {}))
    with pytest.raises(TypeError, match="read twice"):
        list(clean(iter([]), Hygiene(dedup="exact"), {}))
    changing = Changing([example("a", "q", "x")], [])
    with pytest.raises(DataError, match="1 rows when they were checked and 0"):
        list(clean(changing, Hygiene(dedup="exact"), {}))


class Changing:
    """Rows that are others each time they are read."""

    def __init__(self, *versions: list[dict]) -> None:
        self.versions = [[], *versions]  # the first is asked for an iterator only

    def __iter__(self):
        return iter(self.versions.pop(0))


words = st.sampled_from(["red", "green", "blue", "7"])
rows = st.lists(st.builds(lambda p, c: (" ".join(p), " ".join(c)), st.lists(words, min_size=1, max_size=3),
                          st.lists(words, min_size=1, max_size=8)), max_size=25)  # fmt: skip


@given(rows, st.sampled_from([None, "exact", "near"]), st.booleans())
def test_cleaning_twice_takes_out_nothing_more_and_twins_stay(found, dedup, decontaminate):
    data = [example(f"r{number}", *texts) for number, texts in enumerate(found)]
    hygiene = Hygiene(dedup=dedup, decontaminate=decontaminate, ngram=3)
    against = {"held": ["red green blue green", "blue 7"]}
    outcome = list(clean(data, hygiene, against))
    assert [row.id if isinstance(row, Skip) else row["id"] for row in outcome] == [row["id"] for row in data]
    kept = [row for row in outcome if not isinstance(row, Skip)]
    assert kept == [row for row in data if row in kept]
    for row in outcome:
        if isinstance(row, Skip):
            assert row.reason in REASONS
            if row.reason != "contaminated":
                assert row.detail.split()[-1] in [other["id"] for other in kept]
    assert list(clean(kept, hygiene, against)) == kept
