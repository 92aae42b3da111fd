"""The losses against the numbers of SPIN's official function, and the weights by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.training.losses import (
    PAIR_LOSSES,
    START_VALUE,
    hinge,
    logistic,
    pair_margin,
    sequence_log_probs,
    weighted_mean,
    weighted_nll,
)

CHOSEN, REJECTED = torch.tensor([-40.0, -55.5]).double(), torch.tensor([-38.0, -61.0]).double()
REF_CHOSEN, REF_REJECTED = torch.tensor([-42.0, -55.0]).double(), torch.tensor([-37.0, -60.0]).double()


def margin(beta: float) -> torch.Tensor:
    return pair_margin(CHOSEN, REJECTED, REF_CHOSEN, REF_REJECTED, beta)


@pytest.mark.parametrize(
    ("beta", "losses", "mean"),
    [(0.1, [0.554355, 0.668460], 0.611407), (5.0, [3.0590e-07, 0.0788897], 0.0394450)],
)
def test_logistic_loss_gives_the_official_numbers(beta, losses, mean):
    # beta 0.1: s = 0.1 * [(-40 + 42) - (-38 + 37)] = 0.3 and 0.1 * [(-55.5 + 55) - (-61 + 60)] = 0.05
    found = logistic(margin(beta))
    assert found.tolist() == pytest.approx(losses, rel=1e-5)
    assert weighted_mean(found, torch.ones(2)).item() == pytest.approx(mean, rel=1e-5)


def test_hinge_loss_gives_the_official_numbers():
    assert hinge(margin(0.1)).tolist() == pytest.approx([0.7, 0.95])  # 1 - 0.3, 1 - 0.05


def test_same_model_gives_the_start_value_whatever_the_smoothing():
    zero = pair_margin(CHOSEN, REJECTED, CHOSEN, REJECTED, 0.1)
    for name, loss in PAIR_LOSSES.items():
        for smoothing in (0.0, 0.1, 0.5):
            assert loss(zero, smoothing).tolist() == pytest.approx([START_VALUE[name]] * 2)
    assert START_VALUE["sigmoid"] == pytest.approx(0.693147, abs=1e-6)


def test_swapping_chosen_and_rejected_turns_the_margin():
    swapped = pair_margin(REJECTED, CHOSEN, REF_REJECTED, REF_CHOSEN, 0.1)
    assert swapped.tolist() == pytest.approx([-0.3, -0.05])
    assert (logistic(swapped) > logistic(margin(0.1))).all()


def test_smoothing_mixes_both_labels():
    # s = 0.3: 0.9 * log(1 + e^-0.3) + 0.1 * log(1 + e^0.3) = 0.9 * 0.554355 + 0.1 * 0.854355 = 0.584355
    assert logistic(margin(0.1), 0.1)[0].item() == pytest.approx(0.584355, abs=1e-6)
    # 0.9 * (1 - 0.3) + 0.1 * (1 + 0.3) = 0.76
    assert hinge(margin(0.1), 0.1)[0].item() == pytest.approx(0.76)


def test_sequence_log_prob_is_the_masked_sum_shifted_by_one():
    logits = torch.tensor([[[1.0, 0, 0], [0, 2.0, 0], [0, 0, 3.0], [1.0, 1, 1]]])
    labels = torch.tensor([[-100, -100, 1, 2]])
    # position 1 predicts label 1: 2 - log(2 + e^2) = -0.239520; position 2 predicts 2: 3 - log(2 + e^3) = -0.094948
    assert sequence_log_probs(logits, labels).item() == pytest.approx(-0.334468, abs=1e-6)


def test_row_weights_count_against_the_number_of_rows():
    assert weighted_mean(torch.tensor([2.0, 4.0]), torch.tensor([0.5, 1.0])).item() == 2.5  # (1 + 4) / 2


def test_weighted_nll_divides_by_all_trained_tokens():
    log_probs = torch.tensor([[-1.0, -2.0, 0.0], [-3.0, 0.0, 0.0]])  # 2 and 1 trained tokens
    assert weighted_nll(log_probs, torch.tensor([1.0, 0.5]), 3).item() == pytest.approx((3 + 1.5) / 3)
    assert weighted_nll(log_probs * 0, torch.ones(2), 0).item() == 0.0


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.floats(-50, 50), st.floats(0, 0.49))
def test_losses_fall_with_the_margin_and_stay_finite(s, smoothing):
    here = torch.tensor([s, s + 0.5], dtype=torch.float64)
    low, high = logistic(here, 0.0).tolist()
    assert math.isfinite(low) and high < low
    assert hinge(here, smoothing).min() >= 0
