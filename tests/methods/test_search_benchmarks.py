"""What the search benchmarks count: every way's tokens and answers, paired tests, and the AUC of steps."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from searching import RIGHT, SUM, WALK, asking

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import bench_search
import bench_trees

VALUES = {"1 + 2 = 3\n": 0.5, "1 + 2 = 4\n": 0.4, "1 + 2 = 3\n3 + 3 = 6\n": 0.7, RIGHT: 0.95}


@pytest.fixture
def ask(tmp_path):
    """Return what runs something for every prompt, see searching.py."""
    return asking(tmp_path)


@pytest.mark.parametrize(
    "way", [name for name in bench_search.ways_of(0.7) if name not in ("greedy", "self-consistency")]
)
def test_every_way_answers_within_its_budget_but_for_its_last_visit(ask, way):
    seen = []

    async def work(run, prompt):
        seen.extend(await bench_search.ways_of(0.7)[way](run, prompt, [40, 80, 400]))
        return []

    table = {**WALK, "*": ["\nThe answer is 6"]}
    ask(work, [replace(SUM, meta={"values": VALUES})], table)
    assert len(seen) == 3 and all(text.strip() for text, _ in seen)
    used = [tokens for _, tokens in seen]
    last_visit = 8 * 4 * 12  # every level of a way down may still be drawn: at most 4 steps of some 12 tokens
    assert used[0] > 0 and all(
        tokens <= budget + last_visit for tokens, budget in zip(used, (40, 80, 400), strict=True)
    )


def test_combining_takes_answers_as_long_as_they_fit(ask):
    seen = []

    async def work(run, prompt):
        seen.extend(await bench_search.ways_of(0.7)["self-consistency"](run, prompt, [1, 9, 20]))
        return []

    _, _, _, (_, requests) = ask(work, [SUM], {"*": ["The answer is 6", "The answer is 6", "The answer is 7"]})
    one = seen[0][1]
    assert seen[0][0].startswith("The answer is") and requests >= 1
    assert seen[1][1] == 9 // one * one and seen[2][1] == 20 // one * one


def test_paired_tests_and_intervals():
    right, wrong, unknown = [(1.0, 10)], [(0.0, 20)], [(None, 30)]
    assert bench_search.told([right, wrong, unknown], 0) == ("20", "50.0 % [9.5, 90.5]")
    assert bench_search.versus([right, right, wrong], [wrong, right, unknown], 0) == "+50.0 (p = 1.000)"
    assert bench_search.versus([right] * 6, [wrong] * 6, 0) == "+100.0 (p = 0.031)"


def test_the_auc_of_steps_and_of_ends():
    good = bench_trees.Judged([(1, 1.0, 0.9), (0, 1.0, 0.8)])
    bad = bench_trees.Judged([(1, 0.0, 0.95), (0, 0.0, 0.1)])
    assert bench_trees.area([good, bad], last=True) == 1.0
    assert bench_trees.area([good, bad], last=False) == 0.5
    assert bench_trees.interval([good, bad], last=True) == "1.000 [1.000, 1.000]"
    assert bench_trees.interval([good], last=True) == "-"
    assert bench_trees.scored([good, bad]) == "0.025"
    assert bench_trees.scored([bench_trees.Judged([(0, 1.0, None)])]) == "-"


def test_beginnings_are_right_where_any_right_answer_begins_so(ask):
    found = []

    async def work(run, prompt):
        bench = bench_search.Bench(run, [prompt], None, {})
        found.append(
            await bench_trees.judged(bench, prompt, {RIGHT: 1.0, "1 + 2 = 3\n3 + 3 = 7\nThe answer is 7": 0.0})
        )
        return []

    ask(work, [replace(SUM, meta={"values": VALUES})], {})
    assert [(place, right) for place, right, _ in found[0].steps] == [(2, 1.0), (1, 1.0), (0, 1.0), (1, 0.0), (0, 0.0)]
