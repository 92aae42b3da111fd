"""Exact and near duplicates."""

import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.building import near
from selfimprove.building.dedup import find_duplicates
from selfimprove.building.near import SIDE, Signatures, band_width, meeting_probability, minhash
from selfimprove.building.texts import Texts, texts_of
from selfimprove.errors import ConfigError, DataError
from selfimprove.sources.overlap import words

small = st.sampled_from(["yes", "no", "Yes", " yes\n", "y es", "caf\u00e9", "cafe\u0301"])
examples = st.builds(lambda p, c: {"prompt": p, "completion": c}, small, small)


def plain(text: str) -> str:
    import unicodedata

    return unicodedata.normalize("NFC", " ".join(text.split()))


@given(st.lists(examples, max_size=30))
def test_a_row_goes_exactly_when_an_earlier_one_says_the_same(rows):
    found = find_duplicates(rows)
    first: dict[tuple, int] = {}
    for number, row in enumerate(rows):
        key = (plain(row["prompt"]), plain(row["completion"]))
        assert found.twin[number] == first.get(key, -1)
        first.setdefault(key, number)
    assert not found.near.any()


def test_what_makes_rows_the_same_and_what_does_not():
    base = {"prompt": "What is 2*(3+4)?", "chosen": "14", "rejected": "12"}
    same = [{**base, "prompt": "What  is 2*(3+4)?\n"}, {**base, "id": "other", "weight": 3.0}]
    same.append({**base, "prompt": [{"role": "user", "content": "What is 2*(3+4)?"}]})
    same.append({**base, "chosen": [{"role": "assistant", "content": "14"}]})
    other = [
        {**base, "prompt": "What is 2*3+4?"},
        {**base, "prompt": "what is 2*(3+4)?"},
        {**base, "chosen": "12", "rejected": "14"},
        {**base, "rejected": "13"},
        {**base, "prompt": [{"role": "system", "content": "Think."}, {"role": "user", "content": base["prompt"]}]},
        {"prompt": base["prompt"], "completion": "14"},
        {"prompt": "What is 2*(3+4)? 14", "completion": "12"},
    ]
    assert find_duplicates([base, *same, *other]).twin.tolist() == [-1, 0, 0, 0, 0] + [-1] * 7


def test_no_row_without_text():
    with pytest.raises(DataError, match="has no text: one of prompt.*it has id, answer"):
        find_duplicates([{"id": "a", "answer": "b"}])
    with pytest.raises(DataError, match="a message of prompt must be"):
        find_duplicates([{"prompt": [{"role": "user"}], "completion": "x"}])


def sentence(rng: random.Random, length: int) -> str:
    return " ".join(f"w{rng.randrange(3000)}" for _ in range(length))


def changed(rng: random.Random, text: str, count: int) -> str:
    said = text.split()
    for place in rng.sample(range(len(said)), count):
        said[place] = f"new{rng.randrange(3000)}"
    return " ".join(said)


def jaccard(one: str, other: str) -> float:
    sets = []
    for said in (words(one), words(other)):
        sets.append({tuple(said[i : i + 5]) for i in range(len(said) - 4)} or {tuple(said)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_same_five_grams_are_always_caught_and_others_never(seed, rows, threshold):
    rng = random.Random(seed)
    data = []
    for number in range(rows):
        prompt, answer = sentence(rng, rng.randint(0, 30)), f"answer {number} " + sentence(rng, rng.randint(0, 30))
        data.append({"prompt": prompt, "completion": answer})
        data.append({"prompt": prompt.upper() + " ?", "completion": answer.replace(" ", ", ")})
    data = rng.sample(data, len(data))
    found = find_duplicates(data, near=threshold)
    seen: dict[str, int] = {}
    for number, row in enumerate(data):
        key = row["completion"].replace(",", "").split()[1]
        assert found.twin[number] == seen.get(key, -1)
        seen.setdefault(key, number)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_near_duplicates_keep_the_first_and_the_rest_has_none(seed):
    rng = random.Random(seed)
    data = []
    for _ in range(12):
        prompt, answer = sentence(rng, 40), sentence(rng, 60)
        data.append({"prompt": prompt, "completion": answer})
        for _ in range(4):
            data.append({"prompt": changed(rng, prompt, rng.randint(0, 2)),
                         "completion": changed(rng, answer, rng.randint(0, 3))})  # fmt: skip
    rng.shuffle(data)
    found = find_duplicates(data, near=0.8)
    for number in np.flatnonzero(found.twin >= 0):
        twin = found.twin[number]
        assert twin < number and found.twin[twin] < 0  # the twin comes before, and stays
        for side in ("prompt", "completion"):
            assert jaccard(data[number][side], data[twin][side]) > 0.8 - 4.5 * 0.036  # the estimate's error
    kept = [row for row, twin in zip(data, found.twin, strict=True) if twin < 0]
    assert (find_duplicates(kept, near=0.8).twin < 0).all()


def test_both_sides_must_be_near():
    rng = random.Random(0)
    prompt, other, answer = (sentence(rng, 80) for _ in range(3))
    pair = {"prompt": prompt, "chosen": answer, "rejected": other}
    rows = [
        {"prompt": prompt, "completion": answer},
        {"prompt": prompt, "completion": "no"},  # another answer to a long prompt
        {"prompt": "Say it.", "completion": answer},
        {"prompt": "Say it:", "completion": answer + " !"},
        pair,
        {**pair, "chosen": other, "rejected": answer},  # the sides swapped
        {**pair, "chosen": changed(rng, answer, 1)},
    ]
    assert find_duplicates(rows, near=0.8).twin.tolist() == [-1, -1, -1, 2, -1, -1, 4]
    assert find_duplicates(rows, near=0.8).near.tolist() == [False, False, False, True, False, False, True]
    assert (find_duplicates(rows).twin < 0).all()


def test_a_duplicate_of_a_near_duplicate_names_the_row_that_stays():
    rng = random.Random(1)
    text = sentence(rng, 100)
    near = {"prompt": "q", "completion": changed(rng, text, 1)}
    rows = [{"prompt": "q", "completion": text}, near, {**near}, {"prompt": "q", "completion": text}]
    found = find_duplicates(rows, near=0.8)
    assert found.twin.tolist() == [-1, 0, 0, 0]
    assert found.near.tolist() == [False, True, True, False]


def test_a_shared_system_message_makes_nothing_near():
    rng = random.Random(2)
    rules = {"role": "system", "content": sentence(rng, 500)}
    rows = [
        {"prompt": [rules, {"role": "user", "content": sentence(rng, 6)}], "completion": "sure"} for _ in range(20)
    ]
    assert (find_duplicates(rows, near=0.5).twin < 0).all()


def test_very_many_alike_are_bounded_and_all_but_one_go():
    rng = random.Random(3)
    text = sentence(rng, 60)
    rows = [{"prompt": f"go {n}. " + text, "completion": changed(rng, text, 1)} for n in range(500)]
    found = find_duplicates(rows, near=0.7)
    assert (found.twin < 0).sum() == 1


def test_the_same_five_grams_are_found_in_the_densest_crowd(monkeypatch):
    monkeypatch.setattr(near, "CROWD", 1)
    rng = random.Random(4)
    text = sentence(rng, 60)
    rows = [{"prompt": text, "completion": changed(rng, text, 20)} for _ in range(60)]
    again = [{**row, "completion": row["completion"].upper()} for row in rng.sample(rows, 60)]
    found = find_duplicates(rows + again, near=0.9)
    assert (found.twin[:60] < 0).all()
    assert all(again[n]["completion"] == rows[twin]["completion"].upper() for n, twin in enumerate(found.twin[60:]))


def test_datasketch_is_needed_for_near_duplicates_only(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketch", None)
    assert find_duplicates([{"text": "a"}, {"text": "a"}]).twin.tolist() == [-1, 0]
    with pytest.raises(ConfigError, match=r'needs datasketch: pip install "selfimprove\[dedup\]"'):
        find_duplicates([{"text": "a"}], near=0.8)


def test_signatures_are_those_of_datasketch():
    from datasketch import MinHash

    rng = np.random.default_rng(0)
    sets = [rng.integers(0, 2**32, size, dtype=np.uint32) for size in (1, 2, 50, 300)]
    empty = MinHash(num_perm=SIDE, scheme="affine32")
    found = minhash(np.concatenate(sets), np.array([len(members) for members in sets]), empty.permutations)
    for members, row in zip(sets, found, strict=True):
        reference = MinHash(num_perm=SIDE, scheme="affine32", hashfunc=int)
        reference.update_batch(members.tolist())
        assert np.array_equal(reference.hashvalues, row)


def test_signatures_do_not_depend_on_the_batch():
    rows = [Texts((f"what is {n} and so on and on",), ("one", "two")[: n % 3]) for n in range(20)]
    whole, parts = Signatures(), Signatures()
    whole.add(rows)
    for row in rows:
        parts.add([row])
    assert np.array_equal(whole.matrix(), parts.matrix()) and whole.matrix().shape == (20, 2 * SIDE)


def test_the_banding_keeps_what_its_docstring_says():
    assert [band_width(t) for t in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)] == [1, 2, 3, 4, 4, 4]
    assert round(meeting_probability(0.8, 4), 3) == 0.997
    assert round(meeting_probability(0.5, 4), 2) == 0.12
    assert meeting_probability(0.85, 4) > 0.9999
    with pytest.raises(ConfigError, match="between 0.5 and 1"):
        band_width(0.2)


def test_hash_seeds_change_nothing():
    code = (
        "import random; from selfimprove.building.dedup import find_duplicates; rng = random.Random(0)\n"
        "text = lambda: ' '.join(rng.choice('ab') for _ in range(6))\n"
        "rows = [{'prompt': text(), 'completion': text()} for _ in range(300)]\n"
        "found = find_duplicates(rows, near=0.5).twin.tolist()"
    )
    here: dict = {}
    exec(code, here)
    there = subprocess.run(
        [sys.executable, "-c", code + "; print(found)"], env={"PYTHONHASHSEED": "1"}, capture_output=True, text=True
    )
    assert there.stdout.strip() == str(here["found"])
    assert 0 < sum(twin >= 0 for twin in here["found"]) < 300


def test_texts_of_every_kind_of_row():
    asked = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    assert texts_of({"prompt": asked, "completion": "a"}) == Texts(("q",), ("a",), "s")
    assert texts_of({"prompt": "q", "steps": ["a", "b"], "labels": [1, 0]}) == Texts(("q",), ("a\nb",))
    assert texts_of({"messages": asked, "gold": "3"}) == Texts(("q",), (), "s")
    assert texts_of({"text": "a"}) == Texts((), ("a",))
    assert texts_of({"prompt": "q", "chosen": None, "rejected": None, "completion": "a"}).answers == ("a",)
