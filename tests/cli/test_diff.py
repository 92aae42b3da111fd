"""`diff`: what two runs have in common, what not, and where they first part."""

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_runs import make_run

from selfimprove.cli.main import main
from selfimprove.files import write_json
from selfimprove.reporting.diff import compare_rows, compare_runs
from selfimprove.store import Store


@pytest.fixture(scope="session")
def runs(tmp_path_factory, tiny_model):
    """Return three runs: two that are the same but for their place, and one whose first adapter is another."""
    folder = tmp_path_factory.mktemp("diff")
    first = make_run(folder, tiny_model, "first")
    twin = folder / "twin"
    shutil.copytree(first, twin)
    other = make_run(folder, tiny_model, "other", flavour=5)
    return first, twin, other


@pytest.fixture
def told(capsys):
    """Return a function that runs a command line and gives what it printed."""

    def told(*words) -> str:
        with pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        assert not stopped.value.code
        return capsys.readouterr().out

    return told


def test_the_same_run_twice(runs, told):
    output = told("diff", runs[0], runs[1])
    assert "recipe: the same" in output and "files with other content" not in output
    assert "+0.0 points [+0.0, +0.0], 0 gained, 0 lost" in output
    assert output.rstrip().endswith(
        "The recipes are the same, and as far as both runs have come, everything is the same."
    )


def test_runs_part_where_the_first_thing_differs(runs, told):
    found = json.loads(told("diff", runs[0], runs[2], "--json"))
    assert set(found["recipe"]) == {"method.flavour", "method.output"}
    assert found["recipe"]["method.flavour"] == [0, 5]
    digests = {each["round"]: each["digests"] for each in found["policies"]}
    assert digests[0][0] == digests[0][1] and digests[1][0] != digests[1][1]
    first, second = found["rows"]
    assert (first["changed"], first["only_first"], first["only_second"], first["skips"]) == (0, 0, 0, {})
    rows = [{row["id"]: row for row in Store(run).rows(2)} for run in (runs[0], runs[2])]
    assert second["only_first"] == len(set(rows[0]) - set(rows[1]))
    assert second["only_second"] == len(set(rows[1]) - set(rows[0]))
    assert second["common"] == sum(rows[0][id] == rows[1][id] for id in set(rows[0]) & set(rows[1]))
    assert second["changed"] == len(set(rows[0]) & set(rows[1])) - second["common"]
    assert {(file["round"], file["stage"]) for file in found["files"]} >= {(2, "collect")}
    assert [each["round"] for each in found["accuracy"]] == [0, 1, 2]
    assert found["accuracy"][0]["comparison"]["gained"] == 0
    assert found["part"] == (
        "The recipes differ in method.flavour, method.output; the two runs first part in round-1/learn: "
        "the trained policies differ though the rows are the same."
    )
    assert found["part"] in told("diff", runs[0], runs[2])


def test_rows_that_differ_come_before_the_policy(runs, tmp_path, tiny_model):
    more = make_run(tmp_path, tiny_model, "more", rounds=1, method={"name": str(tmp_path / "own_pairs.py"),
                    "output": str(tmp_path / "more"), "samples": 2})  # fmt: skip
    found = compare_runs(Store(runs[0]), Store(more))
    ours, theirs = (len(list(Store(run).rows(1))) for run in (runs[0], more))
    assert f"first part in round-1/collect: {ours} rows against {theirs}, " in found["part"]
    assert "method.samples" in found["recipe"]


def test_a_run_that_went_further_is_told(runs, tmp_path):
    shorter = tmp_path / "shorter"
    shutil.copytree(runs[0], shorter)
    shutil.rmtree(shorter / "round-2")
    found = compare_runs(Store(runs[0]), Store(shorter))
    assert found["part"].endswith(f"the two runs first part in round-2/collect, which only {runs[0]} has.")
    assert len(found["rows"]) == 1


def test_other_held_out_items_are_not_compared(runs, tmp_path, tiny_model):
    other = make_run(tmp_path, tiny_model, "limited", evaluate={"limit": 5})
    found = compare_runs(Store(runs[0]), Store(other))
    assert "the two evaluations hold different items" in found["accuracy"][0]["problem"]
    assert "first part in round-0/evaluate: its files differ" in found["part"]


def test_watch_and_spending_are_compared(runs, tmp_path, told):
    changed = tmp_path / "changed"
    shutil.copytree(runs[0], changed)
    path = changed / "round-1" / "watch.json"
    marker = json.loads(path.read_text())
    marker["figures"]["tokens"] += 2
    path.write_text(json.dumps(marker))
    write_json(changed / "spending.json", {"seconds": 12.0, "tokens": 345, "cost": None, "stages": {}})
    found = compare_runs(Store(runs[0]), Store(changed))
    [figure] = found["watch"]
    assert (figure["round"], figure["figure"]) == (1, "tokens")
    assert figure["values"][1] == figure["values"][0] + 2
    assert found["spending"]["tokens"][1] == 345
    assert "round 1 tokens" in told("diff", runs[0], changed)


ROWS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(ROWS, ROWS, st.randoms(use_true_random=False))
def test_rows_are_compared_by_id_in_any_order(first, second, random):
    sides = [[{"id": id, "value": value} for id, value in side.items()] for side in (first, second)]
    random.shuffle(sides[1])
    found = compare_rows(*sides)
    shared = set(first) & set(second)
    assert found["common"] == sum(first[id] == second[id] for id in shared)
    assert found["changed"] == len(shared) - found["common"]
    assert found["only_first"] == len(set(first) - shared) and found["only_second"] == len(set(second) - shared)
    assert set(found["examples"]["only_first"]) <= set(first) - shared


def test_rows_of_one_id_count_as_one():
    twice = [{"id": "a", "v": 1}, {"id": "a", "v": 2}]
    assert compare_rows(twice, twice)["common"] == 1
    assert compare_rows(twice, twice[:1])["changed"] == 1
