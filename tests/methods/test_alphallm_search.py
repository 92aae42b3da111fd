"""The search of AlphaLLM by numbers: its trace, widths, options that differ, critics, and how trees are read."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from option_scene import OPTIONS, PLAIN, SMALL, VALUES, Written, at_work, named, prompt, traced

from selfimprove.building.imagining import other_numbers
from selfimprove.errors import ConfigError
from selfimprove.records import Sample
from selfimprove.search.distance import edit_distance
from selfimprove.search.extract import cached_pairs, greedy_line, weighted_vote
from selfimprove.search.tree import Candidate, Tree
from selfimprove.worlds.critic_rows import prefix_labels
from selfimprove.worlds.critics import OPENING, Critics, aggregate, outcome_messages, read_verdict, verdict_score
from selfimprove.worlds.options import Merge, OptionWorld, Search, draw_apart, grown
from selfimprove.worlds.readout import read
from selfimprove.worlds.steps import Writing


def near(value):
    return pytest.approx(value, abs=5e-5)


def test_the_search_of_the_worked_example_round_by_round():
    after = {rounds: named(traced(rounds)) for rounds in range(3, 7)}
    assert (after[3][""].visits, after[3][""].value) == (3, near(0.1333))
    assert (after[4]["A"].visits, after[4]["A"].value, after[4][""].value) == (2, near(0.7), near(0.325))
    assert after[5]["A"].value == near(0.3) and "Ab#" in after[5]
    assert (after[6]["C"].visits, after[6]["C"].value) == (2, near(0.15))
    assert (after[6][""].visits, after[6][""].value) == (6, near(0.1667))
    assert "".join(node.text for node in greedy_line(traced(6))) == "Aa#"


def test_siblings_are_paired_by_what_they_brought_at_first():
    # A (.5) leads to a# and b#, C (.1) to e#: both differ most from B (-.2, by .7) and A (.5, by .4)
    pairs = [(pair.chosen.text, pair.rejected.text, pair.gap) for pair in cached_pairs(traced(6))]
    assert pairs == [("A", "B", near(0.7)), ("A", "C", near(0.4))]
    assert not cached_pairs(traced(6), margin=0.7)


def test_a_revisited_end_brings_its_cached_value_again():
    tree = traced(40)
    best = named(tree)["Aa#"]
    assert best.visits > 5 and best.total == near(0.9 * best.visits)
    assert len(tree.nodes) - 1 == sum(map(len, OPTIONS.values()))  # all that there is, and no more


def world_of(search: Search) -> OptionWorld:
    return OptionWorld(None, prompt(), Writing(), search, PLAIN)


@pytest.mark.parametrize(
    ("means", "factor", "expected"),
    [([0.2, 0.9, 0.4], 6, 2), ([0, 1, 0.5], 8, 4), ([-1, 1], 20, 10), ([0.5, 0.5], 10, 2)],
)
def test_width_of_the_worked_examples(means, factor, expected):
    tree = Tree("t")
    node = tree.add(tree.root, Candidate("x"))
    for mean in means:
        child = tree.add(node, Candidate("y"))
        child.value, child.visits = mean, 1
    world = world_of(Search(children=2, factor=factor))
    assert world.width(tree, node) == expected
    for child in tree.children(node):  # nothing is at stake any more, but the width never falls
        child.value = 0.0
    assert world.width(tree, node) == expected


def test_width_by_the_value_critic_and_by_depth():
    tree = Tree("t")
    tree.root.extra["value"] = 0.5
    for value in (0.4, 0.1):
        child = tree.add(tree.root, Candidate("y"))
        child.value, child.visits, child.extra["value"] = 9.0, 1, value
    # the paper's importance: max(|.4 - .5|, |.1 - .5|) = .4, floor(10 * .4) = 4; by the equal means it would be 0
    assert world_of(Search(root_children=1, factor=10)).width(tree, tree.root) == 1
    assert world_of(Search(root_children=1, factor=10, importance="values")).width(tree, tree.root) == 4
    deep = tree.add(tree.nodes[1], Candidate("z"))
    assert world_of(Search(split_depth=1)).width(tree, deep) == 1
    assert world_of(Search(split_depth=2)).width(tree, deep) == 3


def drawn(texts, siblings, merge, likeness=None, ended=()):
    async def draw(number):
        text = texts[number % len(texts)]
        return Candidate(text, 1, ended=text in ended)

    step, draws = asyncio.run(draw_apart(draw, siblings, merge, likeness))
    return step and step.text, draws


SIBLING = "add 3 and 4 to get 7"


def test_merging_takes_the_draw_that_differs_most_where_none_differs_enough():
    draws = ["add 3 and 4 to get 7.", "multiply 12 by 5 to get 60"]
    assert edit_distance(SIBLING, draws[1]) < 20
    assert drawn(draws, [SIBLING], Merge(threshold=20, draws=5)) == (draws[1], 5)
    assert drawn(draws, [SIBLING], Merge(threshold=10, draws=5)) == (draws[1], 2)
    assert drawn(draws, [], Merge()) == (draws[0], 1)
    assert drawn(["", "\n", "x"], [], Merge()) == ("x", 3)  # an empty option is drawn again
    assert drawn([""], [], Merge()) == (None, 5)


def test_a_finished_draw_is_taken_at_once_unless_it_is_there_already():
    ended = ["Answer: 4", "Answer: 5"]
    assert drawn(ended, ["Answer: 4\n"], Merge(), ended=ended) == ("Answer: 5", 2)
    assert drawn(ended, ["Answer: 3\n"], Merge(), ended=ended) == ("Answer: 4", 1)
    assert drawn(["Answer: 5", "Answer: 6"], ["Answer: 4"], Merge(), ended=["Answer: 6"]) == ("Answer: 6", 2)


def test_merging_by_meaning_keeps_the_last_draw():
    same = {"first": 0.9, "second": 0.5, "third": 0.1}

    async def likeness(text):
        return same[text]

    by = Merge("verdict", similarity=0.2, draws=3)
    assert drawn([*same], [SIBLING], by, likeness) == ("third", 3)
    assert drawn(["first", "second"], [SIBLING], by, likeness) == ("first", 3)
    assert drawn(["first", "second"], [SIBLING], replace(by, similarity=0.5), likeness) == ("second", 2)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.text("abcé\n", max_size=12), st.text("abcé\n", max_size=12))
def test_edit_distance_is_that_of_the_table(first, second):
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first, 1):
        before, row = row, [i]
        for j, other in enumerate(second, 1):
            row.append(min(row[-1] + 1, before[j] + 1, before[j - 1] + (letter != other)))
    assert edit_distance(first, second) == edit_distance(second, first) == row[-1]


def test_verdicts():
    assert [verdict_score(*each) for each in ((0.7, 0.2), (0.7, None), (None, 0.2), (None, None))] == [
        near(0.7778), 1, 0, 0,
    ]  # fmt: skip
    labels = ("True", "False")
    said = Sample("False", logprob=-0.6931472, choices={"True": -1.6094379, "False": -0.2231436})
    assert read_verdict(said, labels) == near(0.2)
    assert read_verdict(said, labels, calibrated=True) == near(0.5)  # 1 - p_F among all tokens
    assert read_verdict(replace(said, text="True"), labels, calibrated=True) == near(0.5)
    assert read_verdict(replace(said, choices={"True": -0.3}), labels) == 1
    assert read_verdict(Sample("", error="gone"), labels) is None
    assert [aggregate([0.2, 0.9, 0.4], how) for how in ("latest", "avg", "max", "min")] == [0.4, 0.5, 0.9, 0.2]


def test_the_outcome_critic_goes_on_from_its_opening_without_a_space():
    messages = outcome_messages(prompt(), "2 + 2\nAnswer: 4\n")
    assert messages[-1] == {"role": "assistant", "content": OPENING} and OPENING[-1] != " "
    assert "Answer: 4" in messages[0]["content"]


def test_weighted_votes():
    assert weighted_vote(["7", "8", "8", "9"], [0.9, 0.4, 0.6, 0.2]) == "8"
    assert weighted_vote(["7", "8"], [0.5, 0.5]) == "7"


def test_reward_adds_the_critics_and_open_nodes_are_rolled_out():
    critics = Critics(value_weight=1, outcome_weight=2, process_weight=0.5, process="min", simulations=3)
    tree = traced(4, critics)
    nodes = named(tree)
    for text in ("A", "Aa#"):
        extra = nodes[text].extra
        expected = VALUES[text] + 2 * extra["outcome"] + 0.5 * min(
            node.extra["step"] for node in tree.line(nodes[text])[1:]
        )  # fmt: skip
        assert nodes[text].result == near(expected)
    assert len(nodes["A"].extra["outcomes"]) == 3
    assert nodes["A"].extra["outcome"] == near(sum(nodes["A"].extra["outcomes"]) / 3)
    assert "outcomes" not in nodes["Aa#"].extra  # a finished answer is judged itself


def test_a_failed_critic_kills_a_node_and_not_the_tree():
    tree = traced(6, values={**VALUES, "A": None})
    nodes = named(tree)
    assert nodes["A"].state == "dead" and nodes["A"].result is None
    assert (tree.root.state, tree.root.visits) == ("expanded", 5)
    assert tree.counts["unscored"] == 1
    assert "".join(node.text for node in greedy_line(tree))[0] in "BC"


def test_a_node_is_closed_by_repeats_and_by_roll_outs_that_agree():
    steady = traced(20, Critics(outcome="verifier"), replace(SMALL, least_variance=0.1))
    nodes = named(steady)  # the roll-outs are wrong throughout, so that every open node has one child
    assert [len(steady.children(nodes[text])) for text in ("", "A", "B", "C")] == [3, 1, 1, 1]
    once = traced(20, search=replace(SMALL, stop_repeats=1))
    assert len(once.children(once.root)) == 1


def ways_of(tree_critics: Critics, values, way: str):
    found = []

    async def collect(run, each):
        world = Written(run, each, Writing(), replace(SMALL, rounds=6), tree_critics)
        tree = await grown(world, each.id)
        found.append(await read(world, tree, way))
        return []

    at_work(collect, prompts=[prompt(values=values)])
    return found[0]


def test_ways_to_read_a_tree():
    # values at the end as outcomes, (1 + v) / 2: Aa# .95, Ab# .25, Ce# .6
    assert ways_of(PLAIN, VALUES, "greedy").text == "Aa#"
    assert ways_of(PLAIN, VALUES, "global").text == "Aa#"
    best = ways_of(PLAIN, VALUES, "rerank")
    assert (best.text, best.ended, best.score) == ("Aa#", True, near(0.95))
    assert ways_of(PLAIN, VALUES, "vote").text == "Aa#"


@given(st.integers(1, 9), st.booleans(), st.integers(0, 9), st.randoms())
def test_labels_of_beginnings(count, right, chosen, random):
    labels = prefix_labels(count, right, chosen, random)
    known = [label for label in labels if label is not None]
    assert len(labels) == count and set(known) == {1.0 if right else -1.0}
    assert len(known) == (count if not 0 < chosen < count else chosen)


@given(st.from_regex(r"[a-z ]{0,5}([0-9]{1,3}[a-z ]{1,3}){1,4}", fullmatch=True), st.randoms())
def test_other_numbers_keep_their_length(text, random):
    changed = other_numbers(text, random)
    assert len(changed) == len(text)
    assert [each.isdigit() for each in changed] == [each.isdigit() for each in text]


def test_parts_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="need roll-outs"):
        Critics(simulations=0)
    with pytest.raises(ConfigError, match="one must be above 0"):
        Critics(value_weight=0, outcome_weight=0)
    with pytest.raises(ConfigError, match="importance is 'sums'"):
        Search(importance="sums")
    with pytest.raises(ConfigError, match="by is 'edit_dist'"):
        Merge("edit_dist")
