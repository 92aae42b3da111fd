"""Pairs from scored answers."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.building.pairs import best_against_worst, gathered
from selfimprove.errors import DataError
from selfimprove.records import Pair, Skip


def candidates(prompt: str, *scores: object, texts: str = "abcdefgh") -> list[dict]:
    return [
        {"id": f"{prompt}/{number}", "prompt": f"What is {prompt}?", "completion": text, "score": score}
        for number, (score, text) in enumerate(zip(scores, texts, strict=False))
    ]


def test_the_best_is_chosen_and_the_worst_rejected():
    (pair,) = best_against_worst(candidates("p", 0.5, 0.9, -1.0, 0.1))
    assert pair == Pair(
        "p", ({"role": "user", "content": "What is p?"},), "b", "c", 1.9,
        meta={"chosen_score": 0.9, "rejected_score": -1.0, "candidates": 4},
    )  # fmt: skip


def test_of_equal_scores_the_first_counts():
    (pair,) = best_against_worst(candidates("p", 1, 0, 1, 0))
    assert (pair.chosen, pair.rejected) == ("a", "b")


def test_skips_say_why():
    found = list(
        best_against_worst(
            [
                *candidates("one", 3),
                *candidates("tied", 2, 2, 2),
                *candidates("close", 0.5, 0.4),
                *candidates("same", 1, 0, texts="aa"),
                *candidates("failed", None, math.nan),
                *candidates("part", None, 1, math.inf, 0),
            ],
            min_margin=0.2,
        )
    )
    assert [(row.id, row.reason) for row in found if isinstance(row, Skip)] == [
        ("one/0", "single"), ("tied", "tie"), ("close", "small_margin"), ("same", "same_text"),
        ("failed/0", "unscored"), ("failed/1", "unscored"), ("part/0", "unscored"), ("part/2", "unscored"),
    ]  # fmt: skip
    (pair,) = [row for row in found if isinstance(row, Pair)]
    assert (pair.id, pair.chosen, pair.rejected) == ("part", "b", "d")


def test_a_lower_score_of_the_same_text_is_no_rival():
    (pair,) = best_against_worst(candidates("p", 5, 0, 1, texts="aab"))
    assert (pair.chosen, pair.rejected, pair.margin) == ("a", "b", 4)


def test_names_of_pairs():
    rows = candidates("p", 1, 0)
    assert next(best_against_worst([{**row, "id": "gsm8k/7"} for row in rows])).id == "gsm8k/7"
    assert next(best_against_worst([{**row, "id": f"c{n}"} for n, row in enumerate(rows)])).id == "c0"
    assert len(next(best_against_worst([{**row, "id": None} for row in rows])).id) == 16


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([None, 0.0, 0.5, 1.0])), max_size=40), st.randoms())
def test_gathering_makes_any_order_usable(found, rng: random.Random):
    rows = [{"id": f"p{p}/{n}", "prompt": f"q{p}", "completion": f"t{n}", "score": s}
            for n, (p, s) in enumerate(found)]  # fmt: skip
    sorted_rows = sorted(rows, key=lambda row: row["prompt"])
    expected = {str(outcome) for outcome in best_against_worst(sorted_rows)}
    assert {str(outcome) for outcome in best_against_worst(gathered(rows, buckets=3))} == expected
    shuffled = rng.sample(rows, len(rows))
    assert sorted(map(str, gathered(shuffled, buckets=3))) == sorted(map(str, rows))


def test_candidates_that_stand_apart_are_refused_and_a_prompt_under_another_id_is_not():
    rows = [*candidates("p", 1, 0), *candidates("q", 1, 0), *candidates("p", 3, 2)]
    with pytest.raises(DataError, match="candidates of 1 prompt does not stand one after the other.*--unsorted"):
        list(best_against_worst(rows))
    other = [{**row, "id": f"again/{n}"} for n, row in enumerate(candidates("p", 3, 2))]
    assert [pair.id for pair in best_against_worst([*rows[:4], *other])] == ["p", "q", "again"]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "a", "completion": "b"}, "has no 'score'; it has prompt, completion"),
        ({"prompt": "a", "completion": "b", "score": "high"}, "score must be a number or null, not 'high'"),
        ({"prompt": "a", "score": 1}, "the row has prompt, score"),
        ({"completion": "a", "score": 1}, "a candidate has prompt"),
    ],
)
def test_rows_that_are_no_candidates(row, problem):
    with pytest.raises(DataError, match=problem):
        list(best_against_worst([row]))
