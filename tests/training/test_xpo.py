"""The losses of sharpening by pairs: worked numbers, the tilted optimum, and the trainer on the tiny model."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.chat import completion_ids, load_tokenizer
from selfimprove.errors import ConfigError, DataError, TrainError
from selfimprove.records import Pair, as_messages
from selfimprove.training.args import check_options
from selfimprove.training.losses import pair_margin, reward_regression, sequence_log_probs, xpo

BASE = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def column(*values):
    return torch.tensor(values, dtype=torch.float64)


def regression(p, b, l2, b2, beta=0.1, gap=None):
    """L_reg per row, with r = log B where no gap is given."""
    p, b, l2, b2 = (column(*each) for each in (p, b, l2, b2))
    return reward_regression(pair_margin(p, l2, b, b2, beta), b - b2 if gap is None else column(*gap))


def test_regression_loss_on_worked_numbers():
    # (0.1 * (-10 + 12) - 0.1 * (-14 + 13) - (-12 + 13))^2 = (0.2 + 0.1 - 1)^2
    assert regression([-10], [-12], [-14], [-13]).item() == pytest.approx(0.49)
    assert regression([-12], [-12], [-13], [-13]).item() == pytest.approx(
        1.0
    )  # pi = B: the gap of the rewards, squared
    assert regression([-7], [-7], [-7], [-7]).item() == 0.0


def test_order_of_a_pair_does_not_matter_to_the_regression_but_to_the_exploration():
    there, back = regression([-10], [-12], [-14], [-13]), regression([-14], [-13], [-10], [-12])
    assert there.item() == pytest.approx(back.item())
    margin, gap = column(0.3), column(1.0)
    assert xpo(margin, gap, column(-14), 0.01).item() != xpo(-margin, -gap, column(-10), 0.01).item()


def test_exploration_adds_the_log_prob_of_the_bases_sample_with_a_plus():
    p, b, l2, b2 = column(-10, -6), column(-12, -6.5), column(-14, -9), column(-13, -8)
    losses = xpo(pair_margin(p, l2, b, b2, 0.1), b - b2, l2, alpha=0.01, scale=1.0)
    # 0.49 + (0.05 + 0.1 - 1.5)^2 = 0.49 + 1.8225, and 0.01 * (-14 - 9) = -0.23
    assert losses.sum().item() == pytest.approx(2.0825)
    pushed = xpo(pair_margin(p, l2, b, b2, 0.1), b - b2, l2 - 1, alpha=0.01).sum()
    assert pushed < losses.sum()  # less mass on y2 lowers the loss


@settings(max_examples=60, deadline=None, derandomize=True)
@given(*(st.floats(-30, 0) for _ in range(4)), st.floats(0.01, 2))
def test_with_the_bases_own_log_prob_every_log_ratio_is_widened(p, b, l2, b2, beta):
    found = regression([p], [b], [l2], [b2], beta).item()
    assert found == pytest.approx((beta * (p - l2) - (1 + beta) * (b - b2)) ** 2, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("beta", "optimum"), [(1.0, [0.657895, 0.236842, 0.105263]), (0.1, [0.996344, 0.003615, 0.000042])]
)
def test_minimising_the_regression_reaches_the_tilted_optimum(beta, optimum):
    logits = BASE.log().clone().requires_grad_()
    first, second = torch.combinations(torch.arange(3)).T
    optimiser = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-12)
    log_base = BASE.log()

    def closure():
        optimiser.zero_grad()
        log_policy = logits.log_softmax(0)
        margin = pair_margin(log_policy[first], log_policy[second], log_base[first], log_base[second], beta)
        loss = reward_regression(margin, log_base[first] - log_base[second]).mean()
        loss.backward()
        return loss

    assert closure().item() > 0.1
    optimiser.step(closure)
    assert logits.softmax(0).tolist() == pytest.approx(optimum, abs=1e-6)
    tilted = BASE ** (1 + 1 / beta)
    assert logits.softmax(0).tolist() == pytest.approx((tilted / tilted.sum()).tolist(), abs=1e-6)


def test_another_reward_tilts_the_base_by_it():
    reward, beta = column(0.0, 1.0, 2.0), 0.5
    tilted = (BASE.log() + reward / beta).log_softmax(0)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        margin = pair_margin(tilted[i], tilted[j], BASE.log()[i], BASE.log()[j], beta)
        assert reward_regression(margin, reward[i] - reward[j]).item() == pytest.approx(0.0, abs=1e-12)


def test_options_of_the_losses_are_checked_before_the_run():
    check_options("pairs", {"loss_type": "xpo", "loss_options": {"alpha": 0.01}}, "test")
    check_options("pairs", {"loss_type": "reward_regression"}, "test")
    with pytest.raises(ConfigError, match="trains on 'pairs' rows"):
        check_options("sft", {"loss_type": "xpo"}, "test")
    with pytest.raises(ConfigError, match="alpha is -1"):
        check_options("pairs", {"loss_type": "xpo", "loss_options": {"alpha": -1.0}}, "test")
    with pytest.raises(ConfigError, match="no option 'alpha'"):
        check_options("pairs", {"loss_type": "reward_regression", "loss_options": {"alpha": 0.1}}, "test")


def log_prob(model, tokenizer, row, side):
    prompt, answer = completion_ids(tokenizer, as_messages(row["prompt"]), row[side])
    with torch.no_grad():
        logits = model(torch.tensor([prompt + answer])).logits
    return sequence_log_probs(logits, torch.tensor([[-100] * len(prompt) + answer])).item()


@pytest.fixture
def base_rows(tiny_model, tmp_path):
    """Return a function that writes pairs with the tiny model's log-probs, each moved by `off` nats."""
    from transformers import AutoModelForCausalLM

    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model).eval(), load_tokenizer(str(tiny_model))

    def write(count: int = 8, off: float = 0.0) -> Path:
        path = tmp_path / f"pairs{off:g}.jsonl"
        with path.open("w") as file:
            for i in range(count):
                row = {
                    "prompt": [{"role": "user", "content": f"{i} + {i}?"}],
                    "chosen": f"{i + i}",
                    "rejected": f"no {i}",
                }
                base = [log_prob(model, tokenizer, row, side) + off for side in ("chosen", "rejected")]
                meta = dict(zip(("base_logp_y", "base_logp_y2"), base, strict=True))
                file.write(json.dumps({"id": f"p{i}", **row, "margin": 2.0, "meta": meta}) + "\n")
        return path

    return write


def test_columns_come_from_the_row_and_a_row_without_them_is_refused(tiny_model):
    from selfimprove.training import xpo as module

    tokenizer = load_tokenizer(str(tiny_model))
    row = Pair("a", as_messages("2 + 2?"), "4", "five", margin=-1.5, meta={"base_logp_y": -9.0, "base_logp_y2": -7.5})
    expected = {"gap": -1.5, "ref_chosen_logps": -9.0, "ref_rejected_logps": -7.5}
    assert module.columns(row, tokenizer, None, 256) == expected == module.columns(row, tokenizer, None, None)
    assert module.columns(row, tokenizer, None, 20) is None  # a cut answer has another log-prob than the row says
    for lacking in ({"margin": None}, {"meta": {"base_logp_y": -9.0}}):
        other = Pair.from_row({**row.to_row(), **lacking})
        with pytest.raises(DataError, match="row a: this loss needs margin and meta.base_logp_y"):
            module.columns(other, tokenizer, None, 256)


def test_log_probs_of_another_model_are_told():
    from selfimprove.training.xpo import refuse_other_base

    refuse_other_base([-10.0, -300.0], [-10.9, -312.0], [5, 250])  # 0.05 * 250 = 12.5 nats
    with pytest.raises(TrainError, match="an answer of 5 tokens a log-prob of -11.50, but the model .* -10.00"):
        refuse_other_base([-10.0], [-11.5], [5])
    with pytest.raises(TrainError):
        refuse_other_base([float("nan")], [-11.0], [5])


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "options"), [("reward_regression", {}), ("xpo", {"alpha": 0.01})])
def test_training_starts_at_the_squared_gap_and_lowers_it(make_job, train_here, base_rows, loss, options):
    from .conftest import losses

    path = base_rows()
    job = make_job("pairs", file=path, loss_type=loss, loss_options=options, beta=0.5, max_steps=6)
    train_here(job)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    mass = sum(row["meta"]["base_logp_y2"] for row in rows) / len(rows)
    found = losses(job.output)
    if not options:
        assert found[0] == pytest.approx(4.0, abs=1e-2)  # at pi = B the margin is 0, and the gap 2
    else:
        assert found[0] == pytest.approx(4.0 + 0.01 * mass, abs=0.2)  # a batch is half of the rows
    assert found[-1] < found[0] - 1


@pytest.mark.slow
def test_the_base_stays_the_reference_whatever_training_starts_from(make_job, train_here, base_rows):
    from .conftest import losses

    path = base_rows()
    common = {"file": path, "loss_type": "reward_regression", "beta": 0.5, "max_steps": 2}
    first = train_here(make_job("pairs", "first", **{**common, "max_steps": 6}))
    going_on = make_job("pairs", "second", adapter=first.adapter, **common)
    train_here(going_on)  # holds the rows against the model without its adapter
    assert losses(going_on.output)[0] < 3.0  # a reference of its own start would give 4 again
    full = make_job("pairs", "full", **{**common, "lora": None, "learning_rate": 1e-3})
    assert train_here(full).model and losses(full.output)[0] == pytest.approx(4.0, abs=1e-2)


@pytest.mark.slow
def test_rows_of_another_model_end_the_training(make_job, train_here, base_rows):
    job = make_job("pairs", file=base_rows(off=-3.0), loss_type="reward_regression", max_steps=1)
    with pytest.raises(TrainError, match="the rows were made with another model or chat template"):
        train_here(job)
