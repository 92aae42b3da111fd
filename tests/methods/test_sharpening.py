"""Sharpening: `collect` by every objective on good and degenerate prompts, `learn` over rounds, and best-of-N."""

import asyncio
import math
from collections import defaultdict

import pytest

from selfimprove.config import make_recipe
from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy
from selfimprove.errors import ConfigError
from selfimprove.evaluation.with_method import heldout_run
from selfimprove.judges.picking import pick
from selfimprove.ledger import Ledger
from selfimprove.methods import sharpening
from selfimprove.methods.sharpening import Config
from selfimprove.plan import plan
from selfimprove.records import Example, Pair, Prompt, Skip, as_messages
from selfimprove.run import EngineOnDemand, Run
from selfimprove.runtime import drive
from selfimprove.store import Rows, RowWriter
from selfimprove.verify import Verifiers

BASE, TUNED = Policy("scripted", None, "base"), Policy("scripted", "adapter", "tuned")
FOUR = ["The answer is 4.", "It is 5.", "4", "We add, and get 4 at last.", "The answer is 5.", "Four it is: 4."]
PROSE = "Well, it is a question that one may ask and that nobody who was asked has ever been able to answer so far."
SCRIPT = """
def answer(request, seed):
    if request.policy.digest == "tuned":
        return f"I say {3 + seed % 2}."
    return f"It is {seed % 3 + 3}."
"""


@pytest.fixture
def scene(tmp_path):
    """Return a function that awaits `work(run, prompt)` on prompts, and gives the results and the means measured."""

    def scene(work, *, prompts=None, round=1, rounds=3, policy=None, stored=None, trainer=None, policies=None,
              train=None, heldout=False, **engine):  # fmt: skip
        sections = {"method": "sharpening", "prompts": "none", "rounds": rounds, "train": train or {}}
        recipe = make_recipe({**sections, "evaluate": {"max_tokens": 256}}, "test")
        measured, results = defaultdict(list), []

        async def kept(run, prompt):
            results.append(await work(run, prompt))
            return []

        async def everything():
            ledger = Ledger(tmp_path / f"ledger-{len(list(tmp_path.iterdir()))}.sqlite")
            on_demand, verifiers = EngineOnDemand(open_engine({"name": "scripted", **engine})), Verifiers()
            drawn_by = policy or (TUNED if round > 1 else BASE)
            run = Run(recipe, round, drawn_by, BASE, BASE, on_demand, ledger, verifiers, trainer=trainer,
                      stored=lambda number, stage=None: (stored or {})[number], policies=policies or {})  # fmt: skip
            run = heldout_run(run) if heldout else run

            def emit(outcome):
                for name, value in outcome.measured:
                    measured[name].append(value)

            try:
                await drive(prompts or [prompt("any")], lambda each: kept(run, each), emit)
            finally:
                await on_demand.close()
                verifiers.close()
                ledger.close()

        asyncio.run(everything())
        return results, {name: sum(values) / len(values) for name, values in measured.items()}

    return scene


def prompt(name: str, gold: str | None = "4") -> Prompt:
    return Prompt(name, as_messages(f"{name}: what is 2 + 2?"), gold=gold)


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "answers.py"
    path.write_text(SCRIPT)
    return str(path)


@pytest.mark.parametrize("reward", ["logp", "norm", "majority"])
@pytest.mark.parametrize("round", [1, 2])
def test_sft_keeps_the_bases_favourite_of_its_own_answers(scene, reward, round):
    cfg = Config(reward=reward, samples=12)

    async def work(run, asked):
        [row] = await sharpening.collect(cfg, run, asked)
        drawn = await run.sample(asked, 12, policy=run.base, attempt=round - 1, temperature=1.0, max_tokens=512)
        scored = await run.logprobs(asked, row.completion, policy=run.base)
        return row, drawn, [run.answer(asked, sample.text) for sample in drawn], scored

    [(row, drawn, answers, scored)], measured = scene(work, round=round, answers={"*": FOUR})
    found = pick(reward, [s.logprob for s in drawn], [s.tokens for s in drawn], answers)
    assert isinstance(row, Example) and row.completion == drawn[found].text
    assert row.meta == {"samples": 12, "pick_index": found, "base_logp": pytest.approx(scored.total)}
    expected = {"logp": scored.total, "norm": scored.mean, "majority": answers.count(answers[found]) / 12}[reward]
    assert row.reward == pytest.approx(expected) and row.round == round
    if reward == "logp":
        assert row.reward == max(sample.logprob for sample in drawn)
        assert measured["log_coverage"] == pytest.approx(-row.reward)
    most = max(answers.count(answer) for answer in answers)
    assert measured["answer_coverage"] == pytest.approx(12 / most) and measured["usable"] == 1.0


@pytest.mark.parametrize(
    ("answers", "options", "engine", "reason"),
    [
        (["The answer is 4."], {}, {"cut": 1.0}, "truncated"),
        (["", " \n"], {}, {}, "empty"),
        (["4"], {"min_tokens": 3}, {}, "too_short"),
        ([PROSE], {}, {}, "no_answer"),
        (["Sure!"], {"must_match": "[0-9]"}, {}, "no_match"),
        (["4"], {}, {"failure_rate": 1.0}, "engine_error"),
        (["", PROSE], {}, {}, "none_usable"),
    ],
)
@pytest.mark.parametrize("objective", ["sft", "regression"])
def test_answers_that_would_win_by_being_short_or_cut_are_skipped_with_their_reason(
    collect, answers, options, engine, reason, objective
):
    cfg = Config(objective=objective, samples=8, tries=4, **options)
    [[skip]], measured = collect(sharpening, cfg, [prompt("odd")], {"*": answers}, **engine)
    assert isinstance(skip, Skip) and (skip.id, skip.reason) == ("odd", reason)
    assert measured["usable"] == 0 and "right_pick" not in measured
    if reason == "none_usable":
        assert skip.detail in {f"empty {n}, no_answer {8 - n}" for n in range(1, 8)}


def test_one_usable_answer_makes_no_pair(collect):
    asked = [prompt(f"p{i}") for i in range(12)]
    outcomes, _ = collect(sharpening, Config(objective="dpo"), asked, {"*": ["", "The answer is 4.", "It is 5."]})
    skips = [row for [row] in outcomes if isinstance(row, Skip)]
    assert {"one_usable"} <= {row.reason for row in skips} <= {"one_usable", "identical"}
    assert "empty 1, usable 1" in {row.detail for row in skips}


def test_an_empty_answer_is_likelier_than_all_others_and_is_not_picked(collect):
    [[row]], measured = collect(sharpening, Config(samples=8), [prompt("any")], {"*": ["", "The answer is 4."]})
    assert row.completion == "The answer is 4." and measured["usable"] == 0.5


def test_lifts_are_measured_against_the_bases_greedy_answer_and_gold_only_measures(collect):
    _, measured = collect(sharpening, Config(samples=12), [prompt(f"p{i}") for i in range(8)], {"*": FOUR})
    assert measured["logprob_lift"] > 0 and 0 <= measured["right_pick"] <= 1 and "right_greedy" in measured
    rows, unknown = collect(sharpening, Config(samples=12), [prompt("p0", None)], {"*": FOUR})
    assert "right_pick" not in unknown and isinstance(rows[0][0], Example)
    _, plain = collect(sharpening, Config(samples=12, diagnose=False), [prompt("p0")], {"*": FOUR})
    assert not {"logprob_lift", "right_greedy"} & plain.keys()


def test_adaptive_drawing_stops_when_the_best_answer_is_likely_enough(collect):
    cfg = Config(samples=40, adaptive=True, delta=0.5)
    outcomes, measured = collect(sharpening, cfg, [prompt(f"p{i}") for i in range(6)], {"*": ["4", "5"]})
    assert measured["stopped_before_cap"] > 0 and measured["draws"] < 40
    for [row] in outcomes:
        drawn, best = row.meta["samples"], row.meta["base_logp"]
        assert drawn == 40 or -best <= math.log(drawn / 1.386294) + 1e-6  # mu = ln(2 / 0.5)
        assert drawn == 1 or -best > math.log((drawn - 1) / 1.386294) or row.meta["pick_index"] == drawn - 1
    long = {"*": ["We add two and two, which by the rules of addition gives us nothing else than 4."]}
    [[row]], measured = collect(sharpening, cfg, [prompt("long")], long)
    assert (measured["stopped_before_cap"], measured["draws"], row.meta["samples"]) == (0, 40, 40)


@pytest.mark.parametrize("objective", ["dpo", "regression"])
def test_pairs_of_the_base_put_the_likelier_answer_first(scene, objective):
    cfg = Config(objective=objective)

    async def work(run, asked):
        [row] = await sharpening.collect(cfg, run, asked)
        if isinstance(row, Skip):
            return row, None
        return row, [(await run.logprobs(asked, text, policy=run.base)).total for text in (row.chosen, row.rejected)]

    found, measured = scene(work, prompts=[prompt(f"p{i}") for i in range(12)], answers={"*": FOUR})
    pairs = [(row, base) for row, base in found if isinstance(row, Pair)]
    assert len(pairs) > 4 and all(row.reason == "identical" for row, base in found if base is None)
    for row, base in pairs:
        assert base[0] > base[1] and row.margin == pytest.approx(base[0] - base[1])
        assert [row.meta[name] for name in ("base_logp_y", "base_logp_y2")] == pytest.approx(base)
        assert [row.meta[name] for name in ("r_y", "r_y2")] == pytest.approx(base)
    assert measured["gap"] == pytest.approx(sum(row.margin for row, _ in pairs) / len(pairs))


def test_equal_rewards_make_no_preference_but_a_target_of_nothing(collect):
    same = {"*": ["The answer is 4.", "It is 4."]}
    asked, cfg = [prompt(f"p{i}") for i in range(6)], {"reward": "majority", "samples": 6}
    preferred, _ = collect(sharpening, Config(objective="dpo", **cfg), asked, same)
    regressed, _ = collect(sharpening, Config(objective="regression", **cfg), asked, same)
    reasons = {row.reason for [row] in preferred}
    assert "equal_reward" in reasons <= {"equal_reward", "identical"}
    kept = [row for [row] in regressed if isinstance(row, Pair)]
    assert kept and all(row.margin == 0.0 and row.meta["r_y"] == 1.0 for row in kept)


def test_gaps_are_clipped_where_asked(collect):
    asked = [prompt(f"p{i}") for i in range(8)]
    outcomes, measured = collect(sharpening, Config(objective="regression", max_gap=0.5), asked, {"*": FOUR})
    rows = [row for [row] in outcomes if isinstance(row, Pair)]
    assert max(row.margin for row in rows) == 0.5 and measured["clipped"] > 0
    clipped = next(row for row in rows if row.margin == 0.5)
    assert clipped.meta["r_y"] - clipped.meta["r_y2"] > 0.5  # the row keeps the rewards as they are


def test_the_length_normalised_reward_of_a_pair_is_a_token_s(scene):
    async def work(run, asked):
        [row] = await sharpening.collect(Config(objective="regression", reward="norm"), run, asked)
        return row, await run.logprobs(asked, row.chosen, policy=run.base)

    [(row, scored)], _ = scene(work, prompts=[prompt("p1")], answers={"*": FOUR[:2]})
    assert row.meta["r_y"] == pytest.approx(scored.mean) and row.meta["base_logp_y"] == pytest.approx(scored.total)


def test_xpo_pairs_this_rounds_policy_with_the_base_in_that_order(scene, script):
    async def work(run, asked):
        [row] = await sharpening.collect(Config(objective="xpo"), run, asked)
        both = [await run.logprobs(asked, row.chosen, policy=policy) for policy in (run.policy, run.base)]
        return (
            row,
            *(scored.total for scored in both),
            (await run.logprobs(asked, row.rejected, policy=run.base)).total,
        )

    asked = [prompt(f"p{i}") for i in range(12)]
    found, measured = scene(work, prompts=asked, round=2, script=script, train={"beta": 0.5})
    for row, policy, base, second in found:
        assert row.chosen.startswith("I say") and row.rejected.startswith("It is")
        assert row.margin == pytest.approx(base - second)  # of either sign: y2 must stay second
        assert row.meta["value"] == pytest.approx(base - 0.5 * (policy - base))
        assert row.id.endswith("/round-2")
    assert {row.margin > 0 for row, *_ in found} == {True, False}
    assert measured["value"] == pytest.approx(sum(row.meta["value"] for row, *_ in found) / 12)


def test_xpo_draws_anew_every_round_and_two_different_answers_in_the_first(scene, script):
    async def work(run, asked):
        return await sharpening.collect(Config(objective="xpo"), run, asked)

    asked = [prompt(f"p{i}") for i in range(20)]
    first, _ = scene(work, prompts=asked, round=1, script=script)
    later, _ = scene(work, prompts=asked, round=3, policy=BASE, script=script)
    pairs = [row for [row] in first if isinstance(row, Pair)]
    assert len(pairs) > 5  # with one seed for both sides all would be identical
    assert all(row.meta["value"] == row.meta["r_y"] for row in pairs)  # pi_1 is the base, so nothing is subtracted
    assert [str(rows) for rows in first] != [str(rows) for rows in later]


def test_xpo_needs_a_round_to_value_what_it_trained(scene, script):
    with pytest.raises(ConfigError, match="objective xpo needs rounds: 2 or more"):
        scene(lambda run, asked: sharpening.collect(Config(objective="xpo"), run, asked), rounds=1, script=script)


def test_the_best_iterate_is_the_one_of_the_highest_mean_value():
    assert sharpening.regularised_value(-5.0, -2.0, -4.0, 0.5) == -6.0  # -5 - 0.5 * (-2 + 4)
    assert sharpening.best_iterate({1: [-6.0], 2: [-5.0, -3.0], 3: [-4.5]}) == 2  # means -6, -4, -4.5
    assert sharpening.best_iterate({1: [-1.0], 2: [-1.0], 3: []}) == 1


@pytest.fixture
def three_rounds(tmp_path):
    """Return the rows of three rounds whose second policy was the best."""
    rounds = {}
    for number, values in {1: [-9.0, -7.0], 2: [-2.0], 3: [-3.0, -4.0]}.items():
        writer = RowWriter(tmp_path / f"round-{number}")
        for i, value in enumerate(values):
            writer.write(Pair(f"p{i}/round-{number}", as_messages("?"), "4", "5", margin=1.0, meta={"value": value}))
        rounds[number] = Rows(tuple(writer.close()))
    return rounds


def test_learn_trains_on_all_rounds_and_in_the_end_returns_the_best_policy(scene, three_rounds):
    asked = []

    async def trainer(kind, rows, **options):
        asked.append((kind, [row["id"] for row in rows], options))
        return TUNED

    policies = {0: BASE, 1: Policy("scripted", "one", "one"), 2: Policy("scripted", "two", "two")}

    def learn(cfg, number):
        async def work(run, _):
            return await sharpening.learn(cfg, run, three_rounds[number])

        common = {"stored": three_rounds, "trainer": trainer, "policies": policies}
        [result], _ = scene(work, round=number, **common)
        return result

    xpo = Config(objective="xpo")
    assert learn(xpo, 1) == learn(xpo, 2) == TUNED
    assert asked == [
        ("pairs", ["p0/round-1", "p1/round-1"], {}),
        ("pairs", ["p0/round-1", "p1/round-1", "p0/round-2"], {}),
    ]
    assert learn(xpo, 3) == policies[1] and len(asked) == 2  # nothing is trained; round 2 was drawn by policy 1
    assert learn(Config(), 3) == TUNED and asked[-1] == ("sft", ["p0/round-3", "p1/round-3"], {})


def test_the_objective_decides_what_is_made_and_how_it_is_learned():
    for objective, made in {
        "sft": ("sft", None), "dpo": ("pairs", "sigmoid"), "regression": ("pairs", "reward_regression"),
        "xpo": ("pairs", "xpo"),
    }.items():  # fmt: skip
        recipe = make_recipe({"method": {"name": "sharpening", "objective": objective}, "prompts": "none"}, "test")
        checked = plan(recipe, "test")
        assert (checked.kind, checked.loss) == made
    options = {"method": {"name": "sharpening", "objective": "sft"}, "prompts": "none", "train": {"beta": 0.1}}
    with pytest.raises(ConfigError, match="train has no option 'beta'"):  # rows of one kind, options of the other
        plan(make_recipe(options, "test"), "test")


@pytest.mark.parametrize("policy", [BASE, TUNED])
def test_the_answer_is_the_bases_favourite_of_n(scene, policy):
    async def work(run, asked):
        found = await sharpening.answer(Config(samples=8, reward="logp"), run, asked)
        drawn = await run.sample(asked, 8, temperature=1.0, max_tokens=512)
        totals = [(await run.logprobs(asked, sample.text, policy=run.base)).total for sample in drawn]
        return found, drawn[totals.index(max(totals))]

    [(found, best)], measured = scene(work, policy=policy, heldout=True, answers={"*": FOUR})
    assert found.text == best.text and "logprob_lift" in measured
    names = {f"right_{reward}@{n}" for reward in ("any", "logp", "norm", "majority") for n in (2, 4, 8)}
    assert names <= measured.keys()


def test_votes_are_right_more_often_with_more_answers(scene):
    async def work(run, asked):
        return await sharpening.answer(Config(samples=16, reward="majority"), run, asked)

    asked = [Prompt(f"q{i}", as_messages(f"What is {i} + 7?"), gold=str(i + 7)) for i in range(40)]
    found, measured = scene(work, prompts=asked, heldout=True, skill=0.45)
    assert measured["right_majority@16"] > measured["right_majority@2"] + 0.1
    assert measured["right_any@16"] >= measured["right_majority@16"] and len(found) == 40
    right = sum(each.text.rstrip(".").split()[-1] == prompt.gold for each, prompt in zip(found, asked, strict=True))
    assert right / 40 == measured["right_majority@16"]


def test_where_nothing_can_be_picked_the_first_answer_stands(scene):
    async def work(run, asked):
        return await sharpening.answer(Config(samples=4), run, asked)

    [found], measured = scene(work, heldout=True, answers={"*": [PROSE]})
    assert found.text == PROSE and not measured
    [failed], _ = scene(work, heldout=True, answers={"*": FOUR}, failure_rate=1.0)
    assert failed.error


def test_the_judge_of_the_watch_is_the_reward_of_one_answer(scene):
    async def work(run, asked):
        scored = await run.logprobs(asked, "It is 4.", policy=run.base)
        judged = [await sharpening.judge(Config(reward=name), run, asked, "It is 4.") for name in ("logp", "norm")]
        return [scored.total, scored.mean], judged, await sharpening.judge(Config(reward="majority"), run, asked, "4")

    [(expected, judged, votes)], _ = scene(work, policy=TUNED)
    assert judged == expected and votes is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"objective": "ppo"}, "objective is 'ppo'; it is one of sft, dpo, regression, xpo"),
        ({"reward": "judge"}, "reward is 'judge'"),
        ({"samples": 0}, "samples is 0"),
        ({"delta": 2.0}, "delta is 2.0"),
        ({"max_gap": 0.0}, "max_gap 0.0"),
        ({"must_match": "["}, "no regular expression"),
        ({"adaptive": True, "reward": "norm"}, "adaptive is for objective sft with reward logp"),
        ({"reward": "majority", "require_answer": False}, "set require_answer"),
    ],
)
def test_options_that_cannot_work_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        Config(**options)
