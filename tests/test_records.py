"""Records: what is written is read back equal, and what cannot be right is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.errors import DataError
from selfimprove.records import Example, Pair, Prompt, Sample, Scored, Skip, Steps, as_messages

texts = st.text(max_size=20)
prompts = st.builds(
    Prompt, id=texts, messages=texts.map(as_messages), gold=st.none() | texts, solution=st.none() | texts,
    meta=st.dictionaries(texts, st.integers() | st.lists(st.integers(), max_size=2), max_size=2),
)  # fmt: skip


@given(prompts, texts, texts)
def test_rows_survive_json(prompt, left, right):
    records = [prompt, Example.of(prompt, left, reward=0.5, round=2), Skip(prompt.id, "close_vote", left),
               Sample(left, 3, -1.5, token_logprobs=(-1.0, -0.5)), Scored((-1.0, -2.0)),
               Steps.of(prompt, [left, right], [1, 0.0])]  # fmt: skip
    if left != right:
        records.append(Pair.of(prompt, left, right, tag="t", margin=0.25))
    for record in records:
        assert type(record).from_row(json.loads(json.dumps(record.to_row()))) == record


def test_messages_are_normalised_or_refused():
    assert as_messages("hi") == ({"role": "user", "content": "hi"},)
    assert as_messages([{"role": "user", "content": "hi", "name": "x"}]) == ({"role": "user", "content": "hi"},)
    with pytest.raises(DataError, match="a message must be"):
        as_messages([{"content": "hi"}])
    with pytest.raises(DataError, match="must be text, not None"):
        as_messages([{"role": "user", "content": None}])


def test_rows_with_unknown_or_missing_fields_are_refused():
    with pytest.raises(DataError, match="Skip has no field 'why'"):
        Skip.from_row({"id": "a", "reason": "b", "why": "c"})
    with pytest.raises(DataError, match="a Skip cannot be made of this row"):
        Skip.from_row({"id": "a"})


def test_a_pair_needs_two_texts_and_steps_their_labels():
    prompt = Prompt("p", as_messages("q"))
    with pytest.raises(DataError, match="prompt p: chosen and rejected are the same text"):
        Pair.of(prompt, "x", "x")
    with pytest.raises(DataError, match="2 steps but 1 labels"):
        Steps.of(prompt, ["a", "b"], [1])


def test_failed_values_are_none_not_zero():
    assert Scored(error="too long").total is None and Scored(error="too long").mean is None
    assert Scored((-1.0, -3.0)).total == -4.0 and Scored((-1.0, -3.0)).mean == -2.0
    assert not Sample("", finish="error", error="busy").ok and not Sample(" \n").ok and Sample("x").ok


def test_an_example_of_an_older_run_stands_alone_and_ends():
    row = Example.of(Prompt("p", as_messages("q")), "4").to_row()
    older = {name: value for name, value in row.items() if name not in ("group", "end")}
    assert Example.from_row(older) == Example.from_row(row)
    assert (Example.from_row(older).group, Example.from_row(older).end) == ("", True)
