"""The funnel: every number adds up with the one before it, and none is made up."""

from itertools import pairwise

import made_runs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.files import write_json
from selfimprove.records import Pair, Skip
from selfimprove.reporting.funnel import Stage, funnel, funnel_lines, skip_examples
from selfimprove.store import RowWriter


def adds_up(stages: list[Stage]) -> bool:
    """Whether each stage has what the one before of its unit had, plus what was added, minus what was lost."""
    for unit in {stage.unit for stage in stages}:
        first, *rest = [stage for stage in stages if stage.unit == unit]
        assert not first.lost and not first.added
        for before, after in pairwise([first, *rest]):
            if before.count + sum(after.added.values()) != after.count + sum(after.lost.values()):
                return False
    return all(stage.count >= 0 for stage in stages)


def test_a_round_with_losses_everywhere_is_told_stage_by_stage(tmp_path):
    stages = funnel(made_runs.finished_run(tmp_path), 1)
    told = [(stage.label, stage.count, stage.lost) for stage in stages]
    assert told == [
        ("prompts", 10, {}),
        ("answers sampled", 20, {}),
        ("answers that came", 18, {"error of the engine": 2}),
        ("prompts with rows", 6, {"identical": 3, "empty": 1}),
        ("rows collected", 12, {}),
        ("rows assembled", 10, {"duplicate": 2}),
        ("rows trained on", 9, {"longer than max_length": 1}),
        ("optimiser steps", 20, {}),
    ]
    assert adds_up(stages)
    assert stages[1].note == "10 requests, 20 checked"
    assert stages[-2].note == "4 of them cut to max_length" and stages[-1].note == "2 epochs"


def test_rows_of_an_earlier_round_are_added_and_named(tmp_path):
    stages = funnel(made_runs.finished_run(tmp_path), 2)
    assert adds_up(stages)
    given_rows = next(stage for stage in stages if stage.label == "rows given to the training")
    assert given_rows.count == 19 and given_rows.added == {"rows of round 1": 10}
    assert not any(stage.unit == "answers" for stage in stages)  # this collection did not count them


def test_a_prompt_counts_once_whatever_it_left(tmp_path):
    store = made_runs.begin(tmp_path)
    writer = RowWriter(store.stage_folder(1, "collect"))
    for row in (
        Skip("set/0", "close_vote"),
        Skip("set/0", "truncated"),  # a second reason for the same prompt
        Pair.of(made_runs.prompt(1), "a", "b", tag="x/y"),
        Skip("set/1", "close_vote"),  # this prompt has a row as well
        Pair.of(made_runs.prompt(2), "a", "b"),
    ):
        writer.write(row)
    store.finish(1, "collect", writer.close(), prompts=3, rows=writer.rows, skips=writer.skips, metrics={}, policy="p")
    stages = funnel(store, 1)
    assert adds_up(stages)
    assert (stages[1].label, stages[1].count, stages[1].lost) == ("prompts with rows", 2, {"close_vote": 1})
    assert stages[1].note == "2 further skips concern prompts counted already"


def test_skips_that_are_no_prompts_are_not_forced_into_a_sum(tmp_path):
    store = made_runs.begin(tmp_path)
    made_runs.collect(store, 1, 1, {"wrong": 5}, prompts=2)  # five skips of two prompts under other names
    assert [stage.label for stage in funnel(store, 1)] == ["prompts", "rows collected"]


def test_what_an_assembly_drops_or_adds_without_a_word_is_told(tmp_path):
    store = made_runs.begin(tmp_path)
    made_runs.collect(store, 1, 6)
    store.finish(1, "assemble", [], rows=7, skips={"duplicate": 2})
    stages = funnel(store, 1)
    assert stages[-1].lost == {"duplicate": 2, "no reason given": 3} and adds_up(stages)
    store.finish(1, "assemble", [], rows=15, skips={"duplicate": 2})
    stages = funnel(store, 1)
    assert stages[-1].added == {"by the method": 5} and adds_up(stages)


@pytest.mark.parametrize("policy", [True, False])
def test_other_models_are_told_beside_the_policy(tmp_path, policy):
    store = made_runs.begin(tmp_path)
    made_runs.collect(store, 1, 10)
    folder = store.stage_folder(1, "learn")
    (folder / "value").mkdir(parents=True)
    counts = {"trained": 5, "left_out": 1, "cut": 0}
    write_json(folder / "value" / "result.json", {"steps": 7, "rows": counts})
    if policy:
        write_json(folder / "result.json", {"steps": 3, "rows": {"trained": 2, "left_out": 0, "cut": 0}})
    store.finish(1, "learn", [], adapter=None, model=None, policy="p", metrics={})
    stages = funnel(store, 1)
    assert adds_up(stages)
    *_, rows, steps = [(stage.label, stage.count, stage.note) for stage in stages]
    assert rows == ("rows the value model trained on", 5, "1 more are longer than max_length")
    assert steps == ("optimiser steps of the value model", 7, "")
    given = [stage.lost for stage in stages if stage.label == "rows given to the training"]
    assert given == ([{"for the value model": 6, "not given to the training by the method": 12}] if policy else [])


def test_the_funnel_ends_where_the_round_has_come_to(tmp_path):
    store = made_runs.begin(tmp_path)
    assert funnel(store, 1) == []
    assert funnel_lines(store, 1) == ["round 1 has not been collected"]
    made_runs.collect(store, 1, 3)
    made_runs.log(store, 1, 3, 20)  # a training that has begun
    assert [stage.label for stage in funnel(store, 1)] == ["prompts", "prompts with rows", "rows collected"]


def test_lines_hold_the_same_numbers(tmp_path):
    lines = funnel_lines(made_runs.finished_run(tmp_path), 1)
    assert any(line.split() == ["-3", "identical"] for line in lines)
    assert any(line.split()[:2] == ["9", "rows"] or line.split()[0] == "9" for line in lines)


def test_examples_are_few_and_by_reason(tmp_path):
    store = made_runs.finished_run(tmp_path)
    found = skip_examples(store.stage_folder(1, "collect") / "skips.jsonl", 2)
    assert {reason: len(rows) for reason, rows in found.items()} == {"identical": 2, "empty": 1}
    assert skip_examples(tmp_path / "no.jsonl", 2) == {}


@settings(max_examples=25, deadline=None)
@given(
    **dict.fromkeys(
        ("rows", "identical", "empty", "failed", "taken", "left_out", "earlier", "part"), st.integers(0, 12)
    )
)
def test_every_funnel_adds_up(tmp_path_factory, rows, identical, empty, failed, taken, left_out, earlier, part):
    store = made_runs.begin(tmp_path_factory.mktemp("run"))
    skips = {reason: n for reason, n in {"identical": identical, "empty": empty}.items() if n}
    made_runs.collect(store, 1, rows, skips, asked={"generate": 1, "samples": 12, "failed": failed})
    kept = 2 * rows
    if taken <= kept:
        made_runs.assemble(store, 1, {"duplicate": taken})
        kept -= taken
    given_rows = max(kept + earlier - part, left_out)
    made_runs.learn(store, 1, {"trained": given_rows - left_out, "left_out": left_out, "cut": 0})
    stages = funnel(store, 1)
    assert adds_up(stages)
    by_label = {stage.label: stage for stage in stages}
    assert by_label["prompts with rows"].count == rows
    assert by_label["prompts with rows"].lost == skips
    assert by_label["rows trained on"].count == given_rows - left_out


def test_a_wrong_sum_would_be_seen():
    wrong = [Stage("prompts", "prompts", 10), Stage("prompts with rows", "prompts", 6, {"empty": 3})]
    assert not adds_up(wrong)
    with pytest.raises(AssertionError):
        adds_up([Stage("prompts", "prompts", 10, {"empty": 1})])
