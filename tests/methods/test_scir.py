"""SCIR: unlabelled pairs, ordinary pairs in warm-up and ablation, both predictions in numbers, what learn asks for."""

import asyncio
from typing import Any, cast

import pytest

from selfimprove.config import fill, make_recipe
from selfimprove.engines.base import Policy
from selfimprove.errors import ConfigError
from selfimprove.judges import pairwise
from selfimprove.methods import scir
from selfimprove.records import Example, Pair, Prompt, Scored, Skip, as_messages
from selfimprove.run import Run
from selfimprove.store import Rows

GOOD, BAD = "2 + 2 = 4.", "It is 5, I think."


def prompt(name: str = "sum") -> Prompt:
    return Prompt(name, as_messages(f"{name}: what is 2 + 2?"))


def two(name: str = "sum") -> dict[str, list[str]]:
    return {f"{name}: what is 2 + 2?": [GOOD, BAD]}


def test_two_samples_become_one_pair_without_a_label(collect):
    [[pair]], measured = collect(scir, scir.Config(), [prompt()], two())
    assert isinstance(pair, Pair) and pair.meta == {"unlabelled": True}
    assert {pair.chosen, pair.rejected} == {GOOD, BAD} and (pair.margin, pair.weight, pair.round) == (None, 1.0, 1)
    assert measured["policy_is_reference"] == 1.0  # round 1: M_0 is the policy, so p_imp is 0.5 for every pair
    assert measured["answer_words"] == 5.0  # five words each
    _, later = collect(scir, scir.Config(), [prompt()], two(), round=2)
    assert later["policy_is_reference"] == 0.0


def test_neither_place_of_a_pair_is_always_the_same_samples(collect):
    places = [
        row.chosen == GOOD
        for name in "abcdefghijkl"
        for [row] in collect(scir, scir.Config(), [prompt(name)], two(name))[0]
    ]
    assert len(set(places)) == 2


def test_more_samples_become_disjoint_pairs(collect):
    answers = {"*": [f"answer {number}" for number in range(5)]}
    [rows], _ = collect(scir, scir.Config(samples=5), [prompt()], answers)
    texts = [text for row in rows for text in (row.chosen, row.rejected)]
    assert len(rows) == 2 and len(set(texts)) == 4 and [row.id for row in rows] == ["sum/round-1-0", "sum/round-1-1"]


def test_the_judge_pairs_best_with_worst(collect):
    config, judge = scir.Config(samples=3, pairing="judge"), {"name": "length"}
    [[pair]], _ = collect(scir, config, [prompt()], {"*": ["one", "one two three", "one two"]}, judge=judge)
    assert {pair.chosen, pair.rejected} == {"one", "one two three"}
    [[skip]], _ = collect(scir, config, [prompt()], {"*": ["one", "two", "three"]}, judge=judge)
    assert (skip.reason, skip.detail) == ("ungraded", "the judge found no best and worst answer to pair")


@pytest.mark.parametrize(
    ("answers", "options", "reason"),
    [
        (["same", " same\n"], {}, "identical"),
        (["", "  "], {}, "empty"),
        (["one two three", "four five six"], {"cut": 1.0}, "truncated"),
        (["one", "two"], {"failure_rate": 1.0}, "engine_error"),
    ],
)
def test_every_early_exit_is_a_skip_with_its_reason(collect, answers, options, reason):
    [[skip]], _ = collect(scir, scir.Config(), [prompt()], {"*": answers}, **options)
    assert isinstance(skip, Skip) and (skip.id, skip.reason) == ("sum", reason)


def judged_alone(collect, name: str, **options):
    config = scir.Config(warm_up=1)
    [[row]], _ = collect(scir, config, [prompt(name)], two(name), **options)
    return row


def test_warm_up_labels_by_the_judge_where_both_orders_agree(collect):
    rows = [judged_alone(collect, f"q{number}") for number in range(24)]
    pairs, skips = [row for row in rows if isinstance(row, Pair)], [row for row in rows if isinstance(row, Skip)]
    assert pairs and skips and {skip.reason for skip in skips} == {"judge_tie"}
    for pair in pairs:  # the scripted judge has an opinion of every prompt; asked again, it must name the chosen side
        [[again]], _ = collect(Asked(pair.chosen, pair.rejected), None, [prompt(pair.id.partition("/")[0])], {})
        assert again.probability > 0.5 and again.agreed
        assert pair.meta["p_gen"] in (pytest.approx(again.probability), pytest.approx(1 - again.probability))


def test_warm_up_may_label_by_the_mean_of_both_orders(collect):
    config = scir.Config(warm_up=1, warm_up_label="mean")
    asked = [f"q{number}" for number in range(24)]
    rows = {name: collect(scir, config, [prompt(name)], two(name))[0][0][0] for name in asked}
    assert all(isinstance(row, Pair) for row in rows.values())  # ties of the judge that names one letter are few
    for name, row in rows.items():
        [[again]], _ = collect(Asked(row.chosen, row.rejected), None, [prompt(name)], {})
        assert again.probability > 0.5
        alone = judged_alone(collect, name)  # where both orders agree, both labels are the same
        assert isinstance(alone, Skip) or (alone.chosen, alone.rejected) == (row.chosen, row.rejected)


def solved(name: str = "sum") -> Prompt:
    return Prompt(name, prompt(name).messages, solution=f" {GOOD} ")


def test_the_start_learns_solutions_and_to_prefer_them(collect):
    config, letters = scir.Config(start="sft", warm_up=1), set()
    for name in map(str, range(12)):
        asked = {f"{name}: what is 2 + 2?": [BAD]}
        [[solution, verdict]], measured = collect(scir, config, [solved(name)], asked)
        assert (solution.id, solution.completion, solution.prompt) == (f"{name}/solution", GOOD, solved(name).messages)
        order = (GOOD, BAD) if verdict.completion == "A" else (BAD, GOOD)
        assert verdict.prompt == pairwise.render(solved(name), *order) and verdict.completion in pairwise.LETTERS
        assert isinstance(verdict, Example) and measured == {"judge_taught": 1.0}
        letters.add(verdict.completion)
    assert letters == {"A", "B"}


@pytest.mark.parametrize(
    ("answer", "options"), [(GOOD, {}), ("", {}), (BAD, {"cut": 1.0}), (BAD, {"failure_rate": 1})]
)
def test_the_start_learns_no_verdict_without_another_answer(collect, answer, options):
    [rows], measured = collect(scir, scir.Config(start="sft"), [solved()], {"*": [answer]}, **options)
    assert [row.id for row in rows] == ["sum/solution"] and measured["judge_taught"] == 0.0


def test_the_start_needs_solutions(collect):
    [[skip]], _ = collect(scir, scir.Config(start="sft"), [prompt()], two())
    assert isinstance(skip, Skip) and skip.reason == "no_solution"


def test_warm_up_and_unlabelled_rounds_follow_the_start(collect):
    config = scir.Config(start="sft", warm_up=1, warm_up_label="mean")
    for round, labelled in ((2, True), (3, False)):
        [[pair]], _ = collect(scir, config, [solved()], two(), round=round)
        assert ("p_gen" in pair.meta) is labelled and ("unlabelled" in pair.meta) is not labelled


class Asked:
    """A method that only asks the pairwise judge about two given answers."""

    __name__ = "selfimprove.methods.scir"

    def __init__(self, first: str, second: str) -> None:
        self.texts = first, second

    async def collect(self, cfg, run, prompt):
        return [await pairwise.make(pairwise.Config()).prefer(run, prompt, *self.texts)]


def test_static_rows_are_those_on_which_both_predictions_agree(collect):
    config = scir.Config(warm_up=1, static=True)
    rows = [collect(scir, config, [prompt(f"q{n}")], two(f"q{n}"), round=2)[0][0][0] for n in range(24)]
    pairs = [row for row in rows if isinstance(row, Pair)]
    skips = [row for row in rows if isinstance(row, Skip)]
    assert pairs and {skip.reason for skip in skips} == {"inconsistent"}
    for pair in pairs:
        assert scir.consistent(pair.meta["p_gen"], pair.meta["p_imp"]) != 0
    for skip in skips:
        p_gen, p_imp = (float(part.split()[1]) for part in skip.detail.split(", "))
        assert (p_gen - 0.5) * (p_imp - 0.5) <= 0


def scored(total: float, tokens: int) -> Scored:
    return Scored((total / tokens,) * tokens)


@pytest.mark.parametrize(
    ("gains", "tokens", "alpha_len", "p_imp"),
    [
        ((4, -3), (10, 10), 0.0, 0.668188),  # sigmoid(0.1 * 7)
        ((-4, 3), (10, 10), 0.0, 0.331812),
        ((0, 0), (10, 20), 0.0, 0.5),
        ((1, 0), (10, 10), 0.0, 0.524979),
        ((12, 5), (220, 120), 0.0, 0.668188),
        ((12, 5), (220, 120), 0.01, 0.425557),  # sigmoid(0.7 - 0.01 * 100)
    ],
)
def test_the_implicit_prediction_in_numbers(gains, tokens, alpha_len, p_imp):
    start = [-50.0, -40.0]
    policy = [scored(base + gain, length) for base, gain, length in zip(start, gains, tokens, strict=True)]
    reference = [scored(base, length) for base, length in zip(start, tokens, strict=True)]
    assert scir.implicit_probability(policy, reference, 0.1, alpha_len) == pytest.approx(p_imp, abs=1e-6)
    assert scir.implicit_probability(reference, reference, 0.1, 0.0) == 0.5
    assert scir.implicit_probability([policy[0], Scored(error="no")], reference, 0.1, 0.0) is None


@pytest.mark.parametrize(
    ("p_gen", "p_imp", "winner"),
    [
        (0.753774, 0.668188, 1),  # (a)
        (0.753774, 0.331812, 0),  # (b)
        (0.753774, 0.5, 0),  # (c): undecided is not y2
        (0.246226, 0.5, 0),
        (0.5 + 1e-16, 0.524979, 0),  # (d): rounding is no opinion
        (0.731059, 0.425557, 0),  # (e)
        (0.246226, 0.331812, -1),
    ],
)
def test_consistent_pairs_and_their_winner(p_gen, p_imp, winner):
    assert scir.consistent(p_gen, p_imp) == winner


def test_formulas_with_and_without_torch_agree():
    import torch

    from selfimprove.training import scir_losses

    values = [0.1, 0.4999, 0.5, 0.5 + 5e-7, 0.50001, 0.9]
    for p_gen in values:
        for p_imp in values:
            odds = [torch.tensor([p], dtype=torch.float64).logit() for p in (p_gen, p_imp)]
            assert scir_losses.labels(*odds).item() == scir.consistent(p_gen, p_imp)


def learned(config: scir.Config, round: int, policies=None, **train) -> dict:
    """What learn asks the trainer for."""
    asked = {}

    async def trainer(kind, rows, **options):
        asked.update(kind=kind, rows=rows, **options)
        return Policy("m", "a", "new")

    recipe = make_recipe({"method": "scir", "prompts": "none", "train": train}, "test")
    base, nothing = Policy("start-model", None, "base"), cast("Any", None)  # learn asks no engine
    run = Run(recipe, round, base, base, base, nothing, nothing, nothing, policies=policies or {})
    run = run.training_with(trainer)
    asyncio.run(scir.learn(config, run, Rows()))
    return asked


def test_learn_names_loss_and_reference():
    found = learned(scir.Config(), 2, loss_options={"tau": 0.7})
    assert found["loss_type"] == "scir" and found["loss_options"] == {"reference": "start-model", "tau": 0.7}
    assert learned(scir.Config(), 2, loss_options={"reference": "start"})["loss_options"] == {"reference": "start"}
    for config, round in ((scir.Config(warm_up=1), 1), (scir.Config(warm_up=1, static=True), 2)):
        found = learned(config, round, loss_options={"tau": 0.7})
        assert (found["loss_type"], found["loss_options"]) == ("sigmoid", None)
    assert learned(scir.Config(warm_up=1), 2)["loss_type"] == "scir"
    assert learned(scir.Config(warm_up=1), 1, loss_type="hinge")["loss_type"] == "hinge"


def test_what_the_start_made_is_the_reference_of_later_rounds():
    config, first = scir.Config(start="sft", warm_up=1), Policy("start-model", "round-1/adapter", "one")
    assert learned(config, 1) == {"kind": "sft", "rows": Rows()}
    assert learned(config, 2, {1: first})["loss_type"] == "sigmoid"
    for round in (3, 4):
        found = learned(config, round, {1: first, 2: Policy("start-model", "round-2/adapter", "two")})
        assert (found["loss_type"], found["loss_options"]) == ("scir", {"reference": "round-1/adapter"})
    whole = Policy("round-1/model", None, "one")  # full weights
    assert learned(config, 3, {1: whole})["loss_options"] == {"reference": "round-1/model"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"samples": 1}, "a pair needs two samples"),
        ({"temperature": 0}, "a pair needs two samples"),
        ({"pairing": "best"}, "pairing is 'best'; it is one of random, judge"),
        ({"static": True}, "set warm_up: 1"),
        ({"warm_up": -1}, "warm_up is -1"),
        ({"start": "dpo"}, "start is 'dpo'; it is one of none, sft"),
        ({"warm_up_label": "best"}, "warm_up_label is 'best'; it is one of agreed, mean"),
    ],
)
def test_options_that_cannot_work_are_refused(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        fill(scir.Config, options, "r.yaml: method")
