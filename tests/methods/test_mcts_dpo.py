"""MCTS-DPO: `collect` on good and odd prompts, killed searches, and what its rounds train on."""

import asyncio
import json
import math
import sqlite3
from collections import defaultdict

import pytest

from selfimprove.config import make_recipe
from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy
from selfimprove.errors import ConfigError, EngineError
from selfimprove.judges.prefix import prefix_worth
from selfimprove.ledger import Ledger
from selfimprove.methods import mcts_dpo
from selfimprove.methods.mcts_dpo import Config
from selfimprove.records import Example, Pair, Prompt, Skip, as_messages
from selfimprove.run import EngineOnDemand, Run
from selfimprove.runtime import drive
from selfimprove.search.extract import visit_smoothing
from selfimprove.search.selection import length_prior
from selfimprove.search.tree import DEAD, Tree
from selfimprove.store import Rows, RowWriter
from selfimprove.verify import Verifiers
from selfimprove.worlds.tree_moves import side

BASE, SFT, NEW = (Policy("scripted", *rest) for rest in ((None, "base"), ("sft", "sft"), ("new", "new")))
SCRIPT = """
def answer(request, seed):
    question = request.messages[0]["content"]
    last = request.messages[-1]
    begun = last["content"] if last["role"] == "assistant" else ""
    if "same" in question:
        return "one step\\n" if not begun else "The answer is 4."
    if "nothing" in question:
        return ""
    if "prose" in question:
        return f"Well, {'abcde'[seed % 5]}, well.\\nwho knows\\n" * 9
    level = begun.count("\\n")
    if level < 2:
        return f"step {level} by way {seed % 3}\\nThe answer is {3 + seed % 3}."
    return f"The answer is {3 + seed % 3}."
"""


def near(value):
    return pytest.approx(value, abs=5e-5)


@pytest.fixture
def scene(tmp_path):
    """Return a function that collects prompts in a round, and gives the outcomes."""
    script = tmp_path / "answers.py"
    script.write_text(SCRIPT)

    def scene(cfg, prompts, *, round=1, policy=BASE, policies=None, ledger="ledger", seed=0, work=None, **engine):
        recipe = make_recipe({"method": "mcts_dpo", "prompts": "none", "seed": seed}, "test")
        outcomes, collect = [], work or mcts_dpo.collect

        async def everything():
            kept = Ledger(tmp_path / f"{ledger}.sqlite")
            on_demand = EngineOnDemand(open_engine({"name": "scripted", "script": str(script), **engine}))
            run = Run(recipe, round, policy, BASE, BASE, on_demand, kept, Verifiers(), policies=policies or {})
            try:
                await drive(prompts, lambda each: collect(cfg, run, each), outcomes.append, window=3)
            finally:
                await on_demand.close()
                run.verifiers.close()
                served.append(on_demand.usage.requests)
                kept.close()

        served = []
        try:
            asyncio.run(everything())
        finally:
            scene.served = served[0]
        return outcomes

    return scene


def prompt(name="sum", gold="4", solution=None, **meta) -> Prompt:
    return Prompt(name, as_messages(f"{name}: what is 2 + 2?"), gold=gold, solution=solution, meta=meta)


SEARCH = Config(start="none", iterations=3, root_actions=3, actions=3)


def measured(outcomes) -> dict[str, float]:
    values = defaultdict(list)
    for outcome in outcomes:
        for name, value in outcome.measured:
            values[name].append(value)
    return {name: sum(each) / len(each) for name, each in values.items()}


def trees(outcomes) -> list[Tree]:
    return [Tree.from_row({key: row[key] for key in row if key != "path"}) for o in outcomes for _, row in o.kept]


def test_pairs_of_steps_follow_the_path_and_agree_with_the_tree(scene):
    outcomes = scene(SEARCH, [prompt(f"p{i}") for i in range(8)])
    rows = [row for outcome in outcomes for row in outcome.rows]
    pairs = [row for row in rows if isinstance(row, Pair)]
    assert len(pairs) > 6 and {row.reason for row in rows if isinstance(row, Skip)} <= {"wrong_path", "equal_steps"}
    for outcome, tree in zip(outcomes, trees(outcomes), strict=True):
        path = outcome.kept[0][1]["path"]
        for row in (row for row in outcome.rows if isinstance(row, Pair)):
            before = row.prompt[1]["content"] if len(row.prompt) == 2 else ""
            assert row.prompt[0]["content"] == outcome.prompt.messages[0]["content"]
            parent = tree.nodes[([0, *path])[row.meta["depth"]]]
            assert tree.text(parent) == before and parent.depth == row.meta["depth"]
            sides = {}
            for node in tree.children(parent):
                sides[side(tree, node)] = node
            best = sides[row.chosen, row.chosen_end]
            worst = sides[row.rejected, row.rejected_end]
            assert best.quality == max(node.quality for node in sides.values())
            assert worst.quality == min(node.quality for node in sides.values())
            assert row.margin == pytest.approx(best.quality - worst.quality) and row.margin > 0
            assert row.smoothing == visit_smoothing(best.visits, worst.visits)
            assert row.chosen_end == ("answer" in row.chosen) and row.rejected_end == ("answer" in row.rejected)
        if any(isinstance(row, Pair) for row in outcome.rows):
            last = tree.nodes[path[-1]]
            assert tree.text(last).endswith("The answer is 4.") and last.outcome == 1
    told = measured(outcomes)
    assert told["right_path"] == sum(isinstance(o.rows[0], Pair) for o in outcomes) / 8
    assert 0 < told["sure"] < 1 and told["alpha"] <= 0.5 and told["nodes"] > 6


def test_values_and_rewards_of_a_grown_tree(scene):
    [outcome] = scene(SEARCH, [prompt("p3")])
    [tree] = trees([outcome])
    for node in tree.nodes[1:]:
        parent = tree.nodes[node.parent]
        right = tree.text(node).endswith("4.")
        outcome_part = (1.0 if right else -1.0) if node.ended else 0.0
        assert node.guess == pytest.approx(node.extra["sure"] + outcome_part)  # depth below 5: no penalty
        assert node.reward == pytest.approx(node.guess - (parent.guess or 0.0))
        assert node.ended == (node.depth == 3) and node.prior == length_prior(node.logprob, node.tokens)
    assert tree.root.visits == 4 * SEARCH.iterations  # the later roots' visits do not reach the first


def test_the_letter_b_is_the_confidence(scene):
    async def work(cfg, run, each):
        [asked] = await run.sample(
            each, messages=render_of(each), purpose="other", temperature=0.0, max_tokens=2, choices=("A", "B")
        )
        found.append((await prefix_worth(run, each, "2 + 2 = 4"), math.exp(asked.choices["B"])))
        return []

    from selfimprove.judges.prefix import render

    def render_of(each):
        return render(each, "2 + 2 = 4", "confidence", True)

    found = []
    scene(SEARCH, [prompt(f"p{i}") for i in range(3)], work=work)
    assert all(worth == pytest.approx(share) for worth, share in found) and len({worth for worth, _ in found}) == 3
    text = render_of(prompt("gold", gold="77"))[-1]["content"]
    assert text.index("(A) It is incorrect") < text.index("(B) It is correct") and "77" in text
    assert "77" not in render(prompt("gold", gold="77"), "2 + 2 = 4", "confidence", False)[-1]["content"]


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("same", {"only_right": True}, "equal_steps"),  # every candidate is the same: no level has two children
        ("nothing", {}, "no_steps"),
        ("prose", {}, "wrong_path"),  # no answer can be read in it
        ("prose", {"max_tokens": 4}, "unfinished_path"),
    ],
)
def test_odd_prompts_are_skipped_with_their_reason(scene, name, options, reason):
    [outcome] = scene(Config(start="none", iterations=2, **options), [prompt(name)])
    [skip] = outcome.rows
    assert isinstance(skip, Skip) and skip.reason == reason
    assert [name for name, _ in outcome.kept] == ["trees"]


def test_what_the_engine_refuses_is_a_skip_and_a_failed_evaluation_is_no_zero(scene):
    [outcome] = scene(SEARCH, [prompt()], max_model_len=2)
    assert [(row.reason, row.detail[:7]) for row in outcome.rows] == [("engine_error", "a step ")]
    [outcome] = scene(SEARCH, [prompt()], max_model_len=30, ledger="other")  # the evaluator's question is longer
    assert [row.reason for row in outcome.rows] == ["unscored"]
    [tree] = trees([outcome])
    assert {node.state for node in tree.nodes[1:]} == {DEAD} and tree.counts["unscored"] >= 3


def test_only_right_paths_unless_all_are_wanted(scene):
    asked = [prompt(f"p{i}", gold="77") for i in range(4)]
    assert {o.rows[0].reason for o in scene(SEARCH, asked)} == {"wrong_path"}
    every = scene(Config(start="none", iterations=3, only_right=False), asked)
    assert sum(isinstance(row, Pair) for o in every for row in o.rows) >= 4


def test_the_gold_step_stands_first_where_the_path_follows_it(scene):
    gold = "we add\ntwo and two\nThe answer is 4."
    [guided] = trees(scene(SEARCH, [prompt(solution=gold)]))
    [plain] = trees(scene(Config(**{**vars(SEARCH), "guide": False}), [prompt(solution=gold)], ledger="plain"))
    first = guided.children(guided.root)
    assert first[0].text == "we add\n" and first[0].extra["gold"] and len(first) == 4  # three and the gold step
    assert guided.children(first[0])[0].text == "two and two\n" if guided.children(first[0]) else True
    assert not any("gold" in node.extra for node in plain.nodes)
    for node in guided.nodes:
        if node.ended and node.outcome:
            own_way = guided.text(node) != gold
            assert node.guess == pytest.approx(node.extra["sure"] + (1.25 if own_way else 1.0))


def test_some_candidates_are_hotter_and_which_ones_depends_on_the_prompt_alone(scene):
    cfg = Config(**{**vars(SEARCH), "temperature": 0.5, "hot": 1.0, "root_temperature": 0.7})

    async def work(cfg, run, each):
        await mcts_dpo.search(cfg, run, each)
        for entry in run.ledger.entries(each.id):
            if entry.kind == "generate" and entry.purpose.startswith("expand"):
                drawn[entry.request["temperature"]] += entry.request["n"]
        return []

    totals = []
    for ledger in ("one", "two"):
        drawn = defaultdict(int)
        scene(cfg, [prompt(f"p{i}") for i in range(8)], work=work, ledger=ledger)
        totals.append(dict(drawn))
    assert totals[0] == totals[1] and totals[0].keys() == {0.5, 0.7, 1.0}
    assert totals[0][1.0] / (totals[0][1.0] + totals[0][0.5]) == pytest.approx(0.25, abs=0.1)


def requests(ledger) -> set[str]:
    connection = sqlite3.connect(ledger)
    found = {key for (key,) in connection.execute("SELECT key FROM answers WHERE kind IN ('generate', 'score')")}
    connection.close()
    return found


def test_a_killed_search_goes_on_to_the_same_trees_and_asks_nothing_twice(scene, tmp_path):
    asked = [prompt(f"p{i}") for i in range(6)]
    cfg = Config(start="none", iterations=3, root_actions=3, actions=3, move_temperature=1.0, rejected="random")
    whole = scene(cfg, asked, ledger="whole")
    shown = lambda outcomes: [(o.kept, [row.to_row() for row in o.rows]) for o in outcomes]  # noqa: E731
    for dies_after in (scene.served // 3, scene.served // 4):
        with pytest.raises(EngineError, match="died"):
            scene(cfg, asked, ledger="killed", dies_after=dies_after)
    before = requests(tmp_path / "killed.sqlite")
    resumed = scene(cfg, asked, ledger="killed")
    assert json.dumps(shown(resumed)) == json.dumps(shown(whole))
    assert requests(tmp_path / "killed.sqlite") == requests(tmp_path / "whole.sqlite")
    assert scene.served == len(requests(tmp_path / "whole.sqlite") - before) < len(before)  # only what was not there
    assert json.dumps(shown(scene(cfg, asked, ledger="seed", seed=1))) != json.dumps(shown(whole))


# ---- rounds ----


def test_round_one_is_sft_on_the_solutions(scene):
    outcomes = scene(Config(), [prompt(solution="It is 4."), prompt("bare")])
    [first], [second] = (o.rows for o in outcomes)
    assert isinstance(first, Example) and first.completion == "It is 4." and second.reason == "no_solution"


POLICIES = {0: BASE, 1: SFT, 2: NEW}


@pytest.mark.parametrize(
    ("round", "policy", "reference", "carried"),
    [(2, SFT, "start", False), (3, NEW, "start", True), (3, NEW, "round", False)],
)
def test_rows_carry_the_sft_models_log_probs_once_training_starts_elsewhere(scene, round, policy, reference, carried):
    cfg = Config(iterations=3, root_actions=3, actions=3, reference=reference)
    found, asked = [], [prompt(f"p{i}") for i in range(6)]

    async def work(cfg, run, each):
        for row in await mcts_dpo.collect(cfg, run, each):
            if isinstance(row, Pair):
                scores = [
                    await run.logprobs(each, text, messages=row.prompt, policy=SFT, end=end)
                    for text, end in ((row.chosen, row.chosen_end), (row.rejected, row.rejected_end))
                ]
                found.append((row, [scored.total for scored in scores]))
        return []

    scene(cfg, asked, round=round, policy=policy, policies=POLICIES, work=work)
    assert found
    for row, scores in found:
        own = [row.meta.get(name) for name in ("ref_chosen", "ref_rejected")]
        assert own == (pytest.approx(scores) if carried else [None, None])
        assert row.id.split("/")[1] == f"round-{round}"


def test_learn_takes_the_reference_that_fits():
    asked = []

    async def trainer(kind, rows, **options):
        asked.append((kind, options))
        return NEW

    def learn(cfg, round, policy):
        recipe = make_recipe({"method": "mcts_dpo", "prompts": "none"}, "test")
        run = Run(recipe, round, policy, BASE, BASE, None, None, Verifiers(), trainer=trainer, policies=POLICIES)
        return asyncio.run(mcts_dpo.learn(cfg, run, Rows()))

    assert learn(Config(), 1, BASE) == learn(Config(), 2, SFT) == learn(Config(), 3, NEW) == NEW
    learn(Config(reference="round"), 3, NEW)
    learn(Config(start="none"), 1, BASE)
    learn(Config(start="none"), 2, NEW)
    carried = ("pairs", {"loss_type": "carried_reference"})
    assert asked == [("sft", {}), ("pairs", {}), carried, ("pairs", {}), ("pairs", {}), carried]


def test_pairs_of_a_tree_weigh_as_one_row(tmp_path):
    writer = RowWriter(tmp_path)
    for i, name in enumerate(["a", "a", "a", "b"]):
        writer.write(Pair(f"p{i}", as_messages("?"), "4", "5", meta={"tree": name}))
    rows = Rows(tuple(writer.close()))
    weights = [row["weight"] for row in mcts_dpo.assemble(Config(), rows)]
    assert weights == near([2 / 3, 2 / 3, 2 / 3, 2.0]) and sum(weights) == pytest.approx(4)
    assert mcts_dpo.assemble(Config(per_tree=False), rows) is rows
    solutions = RowWriter(tmp_path / "sft")
    solutions.write(Example("p", as_messages("?"), "4"))
    first = Rows(tuple(solutions.close()))
    assert mcts_dpo.assemble(Config(), first) is first


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"start": "dpo"}, "start is 'dpo'; it is one of sft, none"),
        ({"rejected": "best"}, "rejected is 'best'"),
        ({"evaluator": "judge"}, "evaluator is 'judge'"),
        ({"depth": 0}, "depth is 0"),
        ({"breadth": 1}, "breadth is 1"),
        ({"outcome": False}, "only_right needs graded answers"),
        ({"answer": "["}, "no regular expression"),
    ],
)
def test_options_that_cannot_work_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        Config(**options)
