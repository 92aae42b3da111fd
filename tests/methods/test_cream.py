"""CREAM: the paper's ranking examples, the weights they give, and collect on two policies' log-probs."""

import asyncio
import json
import math
from dataclasses import replace
from itertools import combinations
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.config import make_recipe
from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy, Score
from selfimprove.errors import ConfigError, TrainError
from selfimprove.judges.implicit import likelihood_gain
from selfimprove.ledger import LedgerReader
from selfimprove.loop import run_recipe
from selfimprove.methods import cream, self_rewarding
from selfimprove.plan import plan
from selfimprove.price import costs
from selfimprove.records import Example, Pair, Prompt, Scored, as_messages
from selfimprove.reporting.dataset import export_dataset
from selfimprove.store import Rows, RowWriter, Store
from selfimprove.trial import try_scripted

BASE = Policy("scripted", None, "base")
NOW, BEFORE = Policy("scripted", "adapter", "round-2"), Policy("scripted", "adapter", "round-1")
TEXTS = ["It is 4.", "The answer is 5.", "Four, I think.", "2 + 2 = 4", "Nobody knows that."]
MEASURES = ("kendall", "spearman", "top_order")

# the worked examples: scores of M_t and of M_t-1 for the same answers
FIVE = [0.8, -0.2, 1.5, 0.1, -0.9], [0.3, 0.4, 0.9, -0.6, -0.7]
TURNED = [3, 2, 1, 0], [0, 1, 2, 3]
TIED = [1, 1, 0, 0.5], [0.2, 0.7, 0.1, 0.4]
EQUAL = [0.5, 0.5, 0.5], [0.1, 0.2, 0.3]
UNTIED = st.tuples(st.floats(-9, 9), st.floats(-9, 9))

ROUNDS = '''
"""A method for tests: says which policies a round sees, and makes a new adapter in every round."""
import json
import math
from dataclasses import dataclass
from pathlib import Path
from selfimprove.models import policy_of
from selfimprove.records import Pair

NEEDS, MAKES = {"messages"}, "pairs"

@dataclass(frozen=True)
class Config:
    """No options."""

async def collect(cfg, run, prompt):
    seen = {name: getattr(run, name).digest for name in ("policy", "previous", "base")}
    known = [(await run.logprobs(prompt, "4", policy=getattr(run, name))).total for name in seen]
    loadable = [name for name in seen if not (path := getattr(run, name).adapter) or Path(path).is_dir()]
    return [Pair.of(prompt, "4", "5", round=run.round, meta={**seen, "scores": known, "loadable": loadable})]

async def learn(cfg, run, rows):
    folder = Path(rows.files[0]).parent.parent / "learn" / "adapter"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": 4, "number": run.round}))
    (folder / "adapter_model.safetensors").write_bytes(bytes([run.round]))
    return policy_of(run.policy.base, str(folder))
'''


def prompt(name: str = "sum", solution: str | None = None) -> Prompt:
    return Prompt(name, as_messages(f"{name}: what is 2 + 2?"), gold="4", solution=solution)


def pair(name: str, consistency: float | None, **values) -> Pair:
    meta = {"consistency": consistency, "answers": 5}
    return Pair.of(prompt(name), "good", "bad", tag="round-2", margin=1.0, round=2, meta=meta, **values)


def by_place(now, before) -> float:
    """The share of pairs of answers that both lists order alike, counted one by one."""
    return fmean((now[i] > now[j]) == (before[i] > before[j]) for i, j in combinations(range(len(now)), 2))


def written(folder, rows) -> Rows:
    writer = RowWriter(folder, shard_rows=2)
    for row in rows:
        writer.write(row)
    return Rows(tuple(file for file in writer.close() if file.name.startswith("rows-")))


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (FIVE, (0.8, 0.85, 1.0)),  # 2 of 10 pairs discordant: tau 1 - 4 * 2 / 20 = 0.6; both have best 2 and worst 4
        (TURNED, (0.0, 0.0, 0.0)),
        (TIED, (0.833333, 0.9, 0.0)),  # ranks [3, 4, 1, 2] and [2, 4, 1, 3]; best 0 (the first one) against best 1
        (EQUAL, (1.0, 1.0, 0.0)),
    ],
)
def test_consistency_of_the_worked_examples(scores, expected):
    assert [cream.consistency(name, *scores) for name in MEASURES] == pytest.approx(expected, abs=1e-6)


def test_set_consistency_is_the_mean_of_the_pairs_that_are_trained():
    known = [cream.consistency("kendall", *scores) or 0.0 for scores in (FIVE, TURNED, TIED)]
    assert fmean(known) == pytest.approx(0.544444, abs=1e-6)  # (0.8 + 0 + 0.833333) / 3
    assert fmean([*known, cream.consistency("kendall", *EQUAL)]) == pytest.approx(0.658333, abs=1e-6)  # (d) gives none


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(UNTIED, min_size=2, max_size=7, unique_by=(lambda each: each[0], lambda each: each[1])))
def test_consistency_is_the_share_of_pairs_ordered_alike(scores):
    now, before = zip(*scores, strict=True)
    assert cream.consistency("kendall", now, before) == pytest.approx(by_place(now, before))
    turned = [-value for value in before]
    assert cream.consistency("kendall", now, turned) == pytest.approx(1 - by_place(now, before))


def test_a_missing_score_makes_the_consistency_unknown():
    assert cream.consistency("kendall", [1.0, 2.0, 3.0], [1.0, None, 3.0]) is None
    assert cream.consistency("kendall", [1.0, None, 3.0], [1.0, 2.0, 3.0]) is None


def test_every_pair_gets_the_mean_or_its_own(tmp_path):
    rows = written(tmp_path, [pair("a", 0.8), pair("b", 0.0), pair("c", 0.833333), pair("d", None)])
    of_all = list(cream.assemble(cream.Config(), rows))
    assert [row["smoothing"] for row in of_all] == pytest.approx([1 - 0.544444] * 4, abs=1e-6)
    own = [row["smoothing"] for row in cream.assemble(cream.Config(weight="sample"), rows)]
    assert own == pytest.approx([0.2, 1.0, 0.166667, 1 - 0.544444], abs=1e-6)  # unknown: the mean of the others
    for row, before in zip(of_all, rows, strict=True):  # nothing else changes, and the row is read back
        assert {**row, "smoothing": None} == before and Pair.from_row(row).smoothing == row["smoothing"]


def test_rows_without_a_consistency_stay_as_they_are(tmp_path):
    start = written(tmp_path / "start", [Example.of(prompt(), "2 + 2 = 4", round=1)])
    alone = written(tmp_path / "alone", [pair("a", None)])
    assert cream.assemble(cream.Config(), start) is start and cream.assemble(cream.Config(), alone) is alone


def scores_of(policy: Policy, case: Prompt, texts) -> list[Scored]:
    """The scripted engine's own log-probs of every text."""

    async def ask():
        engine = open_engine({"name": "scripted", "answers": {"*": TEXTS}})
        await engine.start(policy)
        return [await engine.score(Score(policy, case.messages, text)) for text in texts]

    return asyncio.run(ask())


def gains(policy: Policy, case: Prompt, texts, reference: Policy = BASE) -> list[float]:
    own, start = scores_of(policy, case, texts), scores_of(reference, case, texts)
    return [sum(a.token_logprobs) - sum(b.token_logprobs) for a, b in zip(own, start, strict=True)]


def test_the_policys_best_and_worst_are_paired_and_both_policies_weigh_them(collect):
    # samples of the scripted engine are texts[(seed + i) % 5]: five samples are all five texts, in some turn
    [[row]], measured = collect(cream, cream.Config(), [prompt()], {"*": TEXTS}, round=3, previous=BEFORE)
    now, before = gains(NOW, prompt(), TEXTS), gains(BEFORE, prompt(), TEXTS)
    assert row.chosen == TEXTS[now.index(max(now))] and row.rejected == TEXTS[now.index(min(now))]
    assert row.margin == pytest.approx(max(now) - min(now)) and (row.id, row.round) == ("sum/round-3", 3)
    assert row.meta["consistency"] == pytest.approx(by_place(now, before))
    assert measured["consistency"] == row.meta["consistency"] and row.smoothing is None
    assert max(before) != before[now.index(max(now))]  # here M_t-1 would have picked another: it never picks


def test_the_start_model_is_scored_by_its_mean_log_prob_a_token(collect):
    [[row]], _ = collect(cream, cream.Config(), [prompt()], {"*": TEXTS}, round=2, previous=BASE)
    now = gains(Policy("scripted", "adapter", "round-1"), prompt(), TEXTS)
    means = [sum(s.token_logprobs) / len(s.token_logprobs) for s in scores_of(BASE, prompt(), TEXTS)]
    sums = [sum(s.token_logprobs) for s in scores_of(BASE, prompt(), TEXTS)]
    assert row.chosen == TEXTS[now.index(max(now))]
    assert row.meta["consistency"] == pytest.approx(by_place(now, means))
    assert by_place(now, means) != by_place(now, sums)  # so that the test would tell


def test_the_reference_can_be_the_model_before(collect):
    [[row]], _ = collect(cream, cream.Config(reference="before"), [prompt()], {"*": TEXTS}, round=3, previous=BEFORE)
    now, before = (
        gains(NOW, prompt(), TEXTS, BEFORE),
        gains(BEFORE, prompt(), TEXTS),
    )  # M_t-1 came from the start model
    assert row.margin == pytest.approx(max(now) - min(now)) and row.chosen == TEXTS[now.index(max(now))]
    assert row.meta["consistency"] == pytest.approx(by_place(now, before))
    assert row.margin != pytest.approx(max(gains(NOW, prompt(), TEXTS)) - min(gains(NOW, prompt(), TEXTS)))


def test_likelihood_gain_is_a_difference_of_sums_and_none_where_a_side_failed():
    own, start = Scored((-1.0, -2.0, -3.0)), Scored((-2.0, -2.0, -4.0))
    assert likelihood_gain(own, start) == 2.0 and likelihood_gain(own) == -6.0
    assert likelihood_gain(own, normalise=True) == -2.0
    assert likelihood_gain(own, Scored(error="too long")) is None and likelihood_gain(Scored(), normalise=True) is None


def test_without_an_earlier_model_nothing_is_known_of_the_consistency(collect):
    [[row]], measured = collect(cream, cream.Config(start="none"), [prompt()], {"*": TEXTS})
    means = [sum(s.token_logprobs) / len(s.token_logprobs) for s in scores_of(BASE, prompt(), TEXTS)]
    assert isinstance(row, Pair) and row.meta["consistency"] is None and "consistency" not in measured
    assert (row.chosen, row.rejected) == (TEXTS[means.index(max(means))], TEXTS[means.index(min(means))])


def test_the_first_round_learns_the_solutions(collect):
    solved, unsolved = prompt("solved", " 2 + 2 = 4 "), prompt("unsolved", "  ")
    [[row], [skip]], _ = collect(cream, cream.Config(), [solved, unsolved], {"*": TEXTS})
    assert isinstance(row, Example) and (row.completion, row.round) == ("2 + 2 = 4", 1)
    assert (skip.id, skip.reason) == ("unsolved", "no_solution")


@pytest.mark.parametrize(
    ("answers", "options", "reason"),
    [
        (["5"], {"failure_rate": 1.0}, "engine_error"),
        (["  ", "\n"], {}, "too_few_answers"),
        (["", "one answer"], {"samples": 2}, "too_few_answers"),
        (["one two three four five six"], {"cut": 1.0}, "too_few_answers"),
        (["the same"], {}, "equal_scores"),
    ],
)
def test_every_early_exit_is_a_skip_with_its_reason(collect, answers, options, reason):
    config = cream.Config(samples=options.pop("samples", 5))
    [[skip]], measured = collect(cream, config, [prompt()], {"*": answers}, round=2, **options)
    assert (skip.id, skip.reason) == ("sum", reason) and not measured


def test_truncated_answers_can_be_kept(collect):
    answers = {"*": [" ".join(TEXTS[i:]) for i in range(4)]}
    [[row]], _ = collect(cream, cream.Config(drop_truncated=False), [prompt()], answers, round=2, cut=1.0)
    assert isinstance(row, Pair)


def test_its_answers_are_those_of_self_rewarding(collect, tmp_path):
    ledger, prompts = tmp_path / "shared.sqlite", [prompt(f"p{i}") for i in range(3)]
    options = {"samples": 4, "temperature": 0.7, "top_p": 0.9, "max_tokens": 64, "start": "none"}

    def generated():
        reader = LedgerReader(ledger)
        return [entry for entry in reader.entries(kind="generate") if entry.purpose == "sample"]

    collect(self_rewarding, self_rewarding.Config(**options), prompts, {"*": TEXTS}, round=2, ledger=ledger)
    asked = generated()
    assert len(asked) == len(prompts)
    rows, _ = collect(cream, cream.Config(**options), prompts, {"*": TEXTS}, round=2, ledger=ledger)
    assert len(generated()) == len(asked) and all(isinstance(row, Pair) for [row] in rows)
    given = {entry.prompt: [sample["text"] for sample in entry.answer] for entry in asked}
    assert all(row.chosen in given[row.id.partition("/")[0]] for [row] in rows)


def test_every_round_sees_the_model_of_the_round_before(tmp_path, tiny_model):
    (tmp_path / "rounds.py").write_text(ROUNDS)
    (tmp_path / "prompts.jsonl").write_text('{"id": "a", "prompt": "What is 2 + 2?"}\n')

    def go(rounds):
        section = {
            "method": {"name": str(tmp_path / "rounds.py")}, "model": str(tiny_model), "rounds": rounds,
            "prompts": str(tmp_path / "prompts.jsonl"), "engine": {"name": "scripted"},
            "output": str(tmp_path / "run"), "export": "adapter",
        }  # fmt: skip
        return run_recipe(make_recipe(section, "test.yaml"), "test.yaml", say=lambda line: None)

    go(2)
    folder = go(4)  # the second run goes on where the first one ended
    rows = [next(iter(Rows((folder / f"round-{i}" / "collect" / "rows-00000.jsonl",))))["meta"] for i in (1, 2, 3, 4)]
    start = rows[0]["base"]
    made = [row["policy"] for row in rows]
    assert made[0] == start and len(set(made)) == 4
    assert [row["previous"] for row in rows] == [start, start, made[1], made[2]]
    assert all(row["base"] == start and row["loadable"] == ["policy", "previous", "base"] for row in rows)
    assert len(set(rows[3]["scores"])) == 3 and None not in rows[3]["scores"]  # three models, one engine


def test_the_price_is_that_of_a_round_with_pairs(tmp_path, tiny_model):
    rows = [{"id": f"q{i}", "prompt": f"What is {i} + 1?", "solution": f"{i} + 1 = {i + 1}"} for i in range(12)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    section = {
        "method": {"name": "cream", "max_tokens": 40}, "model": str(tiny_model), "rounds": 3, "prompts_per_round": 4,
        "prompts": str(tmp_path / "prompts.jsonl"), "train": {"beta": 0.2},
    }  # fmt: skip
    checked = plan(make_recipe(section, "test.yaml"), "test.yaml")
    trial = asyncio.run(try_scripted(checked))
    found = {cost.round: cost for cost in costs(checked, trial, 12, {}) if cost.stage == "collect"}
    assert (found[1].requests, found[1].rows) == (0, 4)  # solutions: nothing is asked
    # one request of 5 answers; each is scored by M_t, by M_t-1, and twice by the start model (once by the ledger)
    assert (found[2].requests, found[2].answers, found[2].tokens) == (4 * (1 + 4 * 5), 4 * 5, 4 * 5 * 40)
    assert found[3] == replace(found[2], round=3)


@pytest.mark.slow
def test_a_run_goes_from_solutions_to_pairs_of_two_models(tmp_path, tiny_model):
    rows = [{"id": f"q{i}", "prompt": f"What is {i} + 1?", "solution": f"{i} + 1 = {i + 1}"} for i in range(18)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    section = {
        "method": {"name": "cream", "max_tokens": 40}, "model": str(tiny_model), "rounds": 3, "prompts_per_round": 6,
        "prompts": str(tmp_path / "prompts.jsonl"), "engine": {"name": "scripted"}, "output": str(tmp_path / "run"),
        "train": {"beta": 0.3, "max_steps": 2, "per_device_train_batch_size": 2, "dtype": "float32",
                  "lora": {"r": 4, "alpha": 8}, "max_length": 256, "logging_steps": 1},
        "watch": {"prompts": 0},
    }  # fmt: skip
    folder = run_recipe(make_recipe(section, "test.yaml"), "test.yaml", say=lambda line: None)
    store = Store(folder)
    assert [row["completion"] for row in store.rows(1)] == [row["solution"] for row in rows[:6]]
    for number in (2, 3):
        known = [row["meta"]["consistency"] for row in store.rows(number)]
        assert None not in known
        assert [row["smoothing"] for row in store.rows(number)] == pytest.approx([1 - fmean(known)] * len(known))
        measured = store.marker(number, "collect")
        assert measured["metrics"]["consistency"] == pytest.approx(fmean(known))
        assert measured["spread"]["consistency"]["min"] == min(known)
        events = (store.stage_folder(number, "learn") / "events.jsonl").read_text().splitlines()
        assert json.loads(events[0])["loss"] == pytest.approx(math.log(2), abs=1e-3)  # the reference is M_t
    export_dataset(folder, tmp_path / "solutions", 1)
    export_dataset(folder, tmp_path / "pairs", 2)
    assert "- kind: sft" in (tmp_path / "solutions" / "README.md").read_text()
    card = (tmp_path / "pairs" / "README.md").read_text()
    assert "- kind: pairs" in card and "the two answers are the wrong way round" in card


class Taught:
    """What learn sees of a run: its round, and a train that says what it was given."""

    def __init__(self, round: int):
        self.round = round

    async def train(self, kind, rows, **options):
        return kind, len(rows), options


def test_learn_trains_solutions_first_and_pairs_afterwards(tmp_path):
    rows = written(tmp_path, [pair("a", 0.5, smoothing=0.5)])
    assert asyncio.run(cream.learn(cream.Config(), Taught(1), rows)) == ("sft", 1, {})
    assert asyncio.run(cream.learn(cream.Config(), Taught(2), rows)) == ("pairs", 1, {})
    assert asyncio.run(cream.learn(cream.Config(start="none"), Taught(1), rows)) == ("pairs", 1, {})


def test_a_mean_near_a_half_can_stop_the_run(tmp_path):
    near = written(tmp_path / "near", [pair("a", 0.9, smoothing=0.51), pair("b", 0.1, smoothing=0.51)])
    far = written(tmp_path / "far", [pair("a", 0.2, smoothing=0.8)])
    config = cream.Config(stop_near_half=0.02)
    with pytest.raises(TrainError, match=r"round 3: the mean consistency of its pairs is 0.490"):
        asyncio.run(cream.learn(config, Taught(3), near))
    assert asyncio.run(cream.learn(config, Taught(3), far))[0] == "pairs"  # 0.2 backs out, which is meant


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"measure": "pearson"}, "measure is 'pearson'; it is one of kendall, spearman, top_order"),
        ({"weight": "batch"}, "weight is 'batch'; it is one of set, sample"),
        ({"start": "dpo"}, "start is 'dpo'"),
        ({"samples": 1}, "a ranking needs at least 2"),
        ({"stop_near_half": 0.5}, "from 0 to below 0.5"),
    ],
)
def test_values_that_cannot_work_are_refused(options, sentence):
    with pytest.raises(ConfigError, match="cream: ") as error:
        cream.Config(**options)
    assert sentence in str(error.value)
