"""RAFT: the worked examples of the paper's code, and `collect` on good, degenerate and unparsable prompts."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.errors import ConfigError
from selfimprove.methods import raft
from selfimprove.records import Example, Prompt, Skip, as_messages
from selfimprove.store import Rows, RowWriter

LMFLOW = raft.Config(discard="#", min_characters=2)


def selection(texts, rewards, cfg=LMFLOW):
    """Clean, discard and pick as collect does; returns the picked text or None."""
    cleaned = [raft.clean(text, cfg.human_turn) for text in texts]
    usable = [None if raft.discarded(text, cfg) else value for text, value in zip(cleaned, rewards, strict=True)]
    picked = raft.best(cleaned, usable)
    return cleaned[picked[0]] if picked else None


def test_local_ranking_on_the_original_functions_example():
    prompts = [
        ([" good", " bad ###Human: x", " best"], [1.0, 2.5, 2.0]),  # cleaned: good, bad, best; 2.5 wins
        ([" a # b", " c d", " e f"], [3.0, 1.5, 1.5]),  # the first holds '#'; the tie goes to the first
        ([" #", "", "x"], [5.0, 0.0, 0.0]),  # all discarded: '', '' and one character
    ]
    assert [selection(*prompt) for prompt in prompts] == ["bad", "c d", None]
    policy_reward = sum(rewards[0] for _, rewards in prompts) / 3  # (1 + 3 + 5) / 3, unselected, undiscarded
    assert policy_reward == 3.0
    assert (2.5 + 1.5) / 2 == 2.0  # mean over the selected


def test_global_ranking_keeps_the_best_share():
    rewards = [0.3, 2.0, -1.0, 1.2, 0.9]
    assert raft.top_share(rewards, 0.4) == [1, 3]  # int(5 * 0.4) = 2
    assert sum(rewards) / 5 == pytest.approx(0.68)
    assert (rewards[1] + rewards[3]) / 2 == pytest.approx(1.6)
    assert raft.top_share([1.0, 2.0], 0.1) == [1]  # int(0.2) = 0 would select nothing: at least one
    assert raft.top_share([], 0.4) == []


@pytest.mark.parametrize(("fraction", "samples"), [(0.125, 8), (0.2, 5), (0.3, 3)])
def test_k_from_the_original_fraction(fraction, samples):
    assert raft.original_sizes(1024, 8, fraction)[0] == samples


def test_prompts_per_process_of_the_original_code():
    assert raft.original_sizes(1024, 8, 0.125)[1:] == (128, 1024)  # 1024 / 8, and 1024 * 8 / 8
    assert raft.original_sizes(1024, 8, 0.2)[1:] == (128, 640)  # 1024 * 5 / 8


def test_shaped_reward():
    # r = 1, log pi_t = -10, log pi_0 = -12: 1 - 0.1 * (-10 + 12) = 0.8
    assert raft.shaped_reward(1.0, -10.0, -12.0, 0.1) == pytest.approx(0.8)
    assert raft.shaped_reward(1.0, -10.0, -12.0, 0.0) == 1.0


def test_nothing_survives_when_all_are_discarded():
    assert raft.best(["a", "b"], [None, None]) == []
    assert raft.best([], []) == []


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.text(max_size=3), st.none() | st.floats(-5, 5)), max_size=12), st.integers(1, 4))
def test_best_is_a_set_of_different_texts_in_falling_order(drawn, keep):
    texts, rewards = [text for text, _ in drawn], [value for _, value in drawn]
    picked = raft.best(texts, rewards, keep)
    values = [rewards[i] for i in picked]
    assert len({texts[i] for i in picked}) == len(picked) <= keep
    assert None not in values and values == sorted(values, reverse=True)
    if picked:
        assert values[0] == max(value for value in rewards if value is not None)
        assert picked[0] == rewards.index(values[0])  # the first one wins a tie
    assert (
        raft.best(texts, [None if v is None else math.atan(v) for v in rewards], keep) == picked
    )  # only order counts


def prompt(name: str, gold: str = "4") -> Prompt:
    return Prompt(name, as_messages(f"{name}: what is 2 + 2?"), gold=gold)


def test_collect_keeps_right_answers_only(collect):
    answers = {"*": ["The answer is 4.", "The answer is 5.", "It is 4."]}
    [rows], measured = collect(raft, raft.Config(samples=12, keep=2, threshold=None), [prompt("good")], answers)
    assert all(isinstance(row, Example) and row.reward == 1.0 and "4" in row.completion for row in rows)
    assert {row.completion for row in rows} == {"The answer is 4.", "It is 4."}
    assert measured["selected_reward"] == 1.0 and "policy_reward" in measured
    assert len({row.id for row in rows}) == 2


@pytest.mark.parametrize(
    ("answers", "options", "engine", "reason"),
    [
        (["The answer is 5."], {}, {}, "below_threshold"),
        (["I cannot say."], {}, {}, "below_threshold"),
        (["", " # "], {}, {}, "discarded"),
        (["4 # 4"], {"discard": "#"}, {}, "discarded"),
        (["The answer is 4."], {}, {"cut": 1.0}, "truncated"),
        (["The answer is 4."], {}, {"failure_rate": 1.0}, "engine_error"),
    ],
)
def test_every_early_exit_is_a_skip_with_its_reason(collect, answers, options, engine, reason):
    cfg = raft.Config(samples=4, **options)
    [[skip]], _ = collect(raft, cfg, [prompt("odd")], {"*": answers}, **engine)
    assert isinstance(skip, Skip) and (skip.id, skip.reason) == ("odd", reason)


def test_a_gold_answer_that_cannot_be_graded_is_never_a_zero(collect):
    [[skip]], measured = collect(raft, raft.Config(samples=2), [prompt("odd", gold="")], {"*": ["4"]})
    assert skip.reason == "ungraded" and "policy_reward" not in measured


def test_likelihood_reward_and_kl_shaping_rank_by_log_probs(collect):
    answers = {"*": ["alpha", "beta gamma delta", "epsilon zeta"]}
    cfg = raft.Config(samples=8, reward="likelihood")
    [[row]], _ = collect(raft, cfg, [prompt("any")], answers)
    assert row.reward < 0  # a mean log-prob
    [[shaped]], _ = collect(
        raft, raft.Config(samples=8, reward="likelihood", kl=5.0), [prompt("any")], answers, round=2
    )
    assert shaped.completion in answers["*"] and shaped.reward < 0  # the row keeps the plain reward


def test_the_judge_reward_is_the_mean_of_its_verdicts_and_none_where_it_says_none(collect):
    asked = prompt("any")
    answers = {asked.text: ["Four.", "Five, perhaps."], "*": ["Good.\nScore: 4", "Fair.\nScore: 2", "I cannot tell."]}
    rows, measured = collect(raft, raft.Config(samples=2, reward="judge", keep=2), [asked], answers)
    assert rows[0] and all(isinstance(row, Example) and 2.0 <= row.reward <= 4.0 for row in rows[0])
    assert 0 < measured["judge_unparsed"] < 1
    mute = {asked.text: ["Four.", "Five."], "*": ["I cannot tell."]}
    [[skip]], _ = collect(raft, raft.Config(samples=2, reward="judge"), [asked], mute)
    assert skip.reason == "ungraded"


def test_global_ranking_takes_one_sample_a_prompt_and_the_best_share(collect, tmp_path):
    cfg = raft.Config(ranking="global", fraction=0.4)
    outcomes, _ = collect(raft, cfg, [prompt(f"p{i}") for i in range(5)], {"*": ["The answer is 4.", "It is 5."]})
    assert all(len(rows) == 1 for rows in outcomes)
    writer = RowWriter(tmp_path / "collect")
    for [row] in outcomes:
        writer.write(row)
    rows = Rows(tuple(writer.close()))
    sorted_out = list(raft.assemble(cfg, rows))
    kept = [row for row in sorted_out if not isinstance(row, Skip)]
    assert [row.reason for row in sorted_out if isinstance(row, Skip)] == ["below_best_share"] * 3
    assert len(kept) == 2 and all(row["reward"] == max(r["reward"] for r in rows) for row in kept)
    assert raft.assemble(raft.Config(), rows) is rows


def test_a_length_reward_pays_for_words(collect):
    answers = {"*": ["It is 4.", "Well, if I may say so, it is 5.", "Five."]}
    [[row]], _ = collect(raft, raft.Config(samples=8, reward="length"), [prompt("any")], answers)
    assert (row.completion, row.reward) == ("Well, if I may say so, it is 5.", 9.0)


def test_answer_lengths_are_drawn_per_prompt(collect):
    cfg = raft.Config(samples=1, min_tokens=2, max_tokens=9, drop_truncated=False, reward="likelihood")
    outcomes, _ = collect(raft, cfg, [prompt(f"p{i}") for i in range(30)], {"*": ["one " * 40]})
    lengths = {len(rows[0].completion.split()) for rows in outcomes}
    assert lengths <= set(range(2, 9)) and len(lengths) > 3


def test_options_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="ranking is 'best'; it is one of local, global"):
        raft.Config(ranking="best")
    with pytest.raises(ConfigError, match="samples .0. and keep"):
        raft.Config(samples=0)
    with pytest.raises(ConfigError, match="fraction is 0"):
        raft.Config(fraction=0)
