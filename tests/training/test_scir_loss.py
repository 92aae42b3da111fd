"""The formulas of the loss scir: the worked numbers, what is a constant, what is a mean over what."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.errors import ConfigError
from selfimprove.judges.pairwise import combine
from selfimprove.training import scir_losses as formulas
from selfimprove.training.args import check_options

BETA, TAU, GAMMA = 0.1, 0.6, 1.0
ODDS = st.floats(-30, 30)


def tensor(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


def figures(order_12, order_21, gains, tokens=(0, 0), alpha_len=0.0, beta=BETA) -> dict[str, float]:
    """Everything the formulas say of one pair, from the logits (l_A, l_B) of both orders and d of both answers."""
    ahead = [tensor(a - b) for a, b in (order_12, order_21)]
    first, second = map(tensor, gains)
    z_gen = formulas.generative_log_odds(*ahead)
    z_imp = formulas.implicit_log_odds(first, second, *map(tensor, tokens), beta, alpha_len)
    label = formulas.labels(z_gen, z_imp)
    found = {
        "q1": ahead[0].sigmoid(),
        "q2": (-ahead[1]).sigmoid(),
        "p_gen": z_gen.sigmoid(),
        "p_imp": z_imp.sigmoid(),
        "D": formulas.disagreement(z_gen, z_imp),
        "Hbar": formulas.mean_entropy(z_gen, z_imp),
        "gate": formulas.gate(z_gen, z_imp, TAU),
        "penalty": formulas.penalty(z_gen, z_imp, TAU, GAMMA),
        "label": label,
        "dpo": formulas.dpo_losses(first, second, label, beta),
    }
    return {name: value.item() for name, value in found.items()}


JUDGE = ((2.0, 0.5), (0.2, 1.0))  # sigmoid(1.5) and sigmoid(0.8): y1 is better in both orders
SEEN = {"q1": 0.817574, "q2": 0.689974, "p_gen": 0.753774}


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        # (a) both name y1; -log(0.668188) = 0.403186
        ((*JUDGE, (4, -3)), {**SEEN, "p_imp": 0.668188, "D": 0.017924, "Hbar": 0.596802, "gate": 1,
                             "penalty": 0.614726, "label": 1, "dpo": 0.403186}),
        # (b) they name different answers: no DPO, but the penalty
        ((*JUDGE, (-4, 3)), {**SEEN, "p_imp": 0.331812, "D": 0.383742, "Hbar": 0.596802, "gate": 1,
                             "penalty": 0.980545, "label": 0, "dpo": 0}),
        # (c) policy = reference: the implicit reward names nobody, which is not y2
        ((*JUDGE, (0, 0)), {**SEEN, "p_imp": 0.5, "D": 0.141967, "Hbar": 0.625649, "gate": 1,
                            "penalty": 0.767616, "label": 0, "dpo": 0}),
        # (d) a judge that always says A is of no opinion after the swap; nobody is 60 % sure
        (((2, 0), (2, 0), (1, 0)), {"q1": 0.880797, "q2": 0.119203, "p_gen": 0.5, "p_imp": 0.524979, "D": 0.001249,
                                    "Hbar": 0.692523, "gate": 0, "penalty": 0, "label": 0, "dpo": 0}),
        # (e) 0.1 * (12 - 5) - 0.01 * (220 - 120) = -0.3: the length term turns the implicit prediction
        (((1, 0), (0, 1), (12, 5), (220, 120), 0.01), {"p_gen": 0.731059, "p_imp": 0.425557, "D": 0.198576,
                                                       "Hbar": 0.632113, "gate": 1, "penalty": 0.830689, "label": 0,
                                                       "dpo": 0}),
        # without it they agree: -log(sigmoid(0.7)) = 0.403186
        (((1, 0), (0, 1), (12, 5), (220, 120), 0.0), {"p_imp": 0.668188, "label": 1, "dpo": 0.403186}),
        # (a) with the answers swapped: what was order 21 is order 12, and y2 is the better one
        (((0.2, 1.0), (2.0, 0.5), (-3, 4)), {"p_gen": 1 - 0.753774, "p_imp": 0.331812, "penalty": 0.614726,
                                             "label": -1, "dpo": 0.403186}),
    ],
)  # fmt: skip
def test_the_worked_numbers(case, expected):
    found = figures(*case)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name


@settings(derandomize=True, max_examples=100, deadline=None)
@given(ODDS, ODDS, ODDS)
def test_log_odds_are_those_of_the_averaged_probabilities(ahead_12, ahead_21, z_imp):
    z_gen = formulas.generative_log_odds(tensor(ahead_12), tensor(ahead_21))
    p_gen = (1 / (1 + math.exp(-ahead_12)) + 1 / (1 + math.exp(ahead_21))) / 2
    assert z_gen.sigmoid().item() == pytest.approx(p_gen, abs=1e-12)
    judge = combine(1 / (1 + math.exp(-ahead_12)), 1 / (1 + math.exp(-ahead_21)))
    assert judge.probability == pytest.approx(p_gen)  # what the judge `pairwise` calls the same thing
    z, p, q = tensor(z_imp), p_gen, 1 / (1 + math.exp(-z_imp))
    if min(p, 1 - p, q, 1 - q) > 1e-9:  # beyond, the textbook's form loses its digits
        kl = sum(a * math.log(a / b) for a, b in ((p, q), (1 - p, 1 - q), (q, p), (1 - q, 1 - p)))
        assert formulas.disagreement(z_gen, z).item() == pytest.approx(kl / 2, rel=1e-5, abs=1e-9)
        mean = -sum(a * math.log(a) for a in (p, 1 - p, q, 1 - q)) / 2
        assert formulas.mean_entropy(z_gen, z).item() == pytest.approx(mean, rel=1e-5, abs=1e-9)
    assert formulas.disagreement(z_gen, z).item() >= 0


def test_a_judge_that_always_says_a_names_nobody_in_float32_either():
    ahead = torch.linspace(-8, 8, 1001)
    z_gen = formulas.generative_log_odds(ahead, ahead)
    assert formulas.labels(z_gen, torch.full_like(z_gen, 3.0)).abs().sum() == 0
    assert formulas.labels(z_gen, torch.full_like(z_gen, -3.0)).abs().sum() == 0


def gradients(order_12, order_21, gains, value):
    leads = [tensor(a - b).requires_grad_() for a, b in (order_12, order_21)]
    both = [tensor(gain).requires_grad_() for gain in gains]
    z_gen = formulas.generative_log_odds(*leads)
    z_imp = formulas.implicit_log_odds(both[0], both[1], tensor(0), tensor(0), BETA)
    value(z_gen, z_imp, *both).sum().backward()
    return [0.0 if leaf.grad is None else leaf.grad.item() for leaf in (*leads, *both)]


def test_the_penalty_draws_both_predictions_together():
    # (b): the judge is for y1, the implicit reward for y2
    only_agreement = lambda z_gen, z_imp, *_: formulas.penalty(z_gen, z_imp, TAU, 0.0)  # noqa: E731
    lead_12, lead_21, first, second = gradients(*JUDGE, (-4, 3), only_agreement)
    assert lead_12 > 0 > lead_21  # against the gradient l_A - l_B falls in order 12 and rises in 21: less sure of y1
    assert first < 0 < second  # and y1 gains while y2 loses
    entropy = lambda z_gen, z_imp, *_: formulas.mean_entropy(z_gen, z_imp)  # noqa: E731
    lead_12, _, first, _ = gradients(*JUDGE, (-4, 3), entropy)
    assert lead_12 < 0 < first  # each becomes surer of its own opinion: the entropy has a plus sign in the loss


def test_gate_and_winner_are_constants():
    value = tensor(0.3).requires_grad_()
    assert not formulas.gate(value, value, TAU).requires_grad and not formulas.labels(value, value).requires_grad
    shut = gradients((2, 0), (2, 0), (1, 0), lambda z_gen, z_imp, *_: formulas.penalty(z_gen, z_imp, TAU, GAMMA))
    assert shut == [0, 0, 0, 0]  # (d): nobody is sure
    loss = lambda z_gen, z_imp, first, second: formulas.dpo_losses(  # noqa: E731
        first, second, formulas.labels(z_gen, z_imp), BETA
    )
    lead_12, lead_21, first, second = gradients(*JUDGE, (4, -3), loss)
    assert (lead_12, lead_21) == (0, 0)  # the judge is not trained by the choice of the winner
    assert first == pytest.approx(-BETA * (1 - 0.668188), abs=1e-6) and second == -first
    turned = gradients((0.2, 1.0), (2.0, 0.5), (-3, 4), loss)
    assert turned[2] == pytest.approx(-first) and turned[3] == pytest.approx(first)


def test_an_empty_set_gives_zero_with_a_gradient_and_means_count_the_pairs_of_all_processes():
    values = torch.tensor([3.0, 5.0], requires_grad=True)
    nothing = formulas.mean_over(values * 0, 0.0, processes=4)
    nothing.backward()
    assert nothing.item() == 0 and values.grad is not None and values.grad.tolist() == [0, 0]
    # process 0 has losses 3 and 5, process 1 none of its two pairs, process 2 one loss of 1: the mean is 9 / 3,
    # and so is the mean over processes of what each of them adds
    parts = [formulas.mean_over(torch.tensor(found), 3, processes=3) for found in ([3.0, 5.0], [0.0, 0.0], [1.0])]
    assert sum(part.item() for part in parts) / 3 == pytest.approx(3.0)


def test_letters_have_the_logits_of_their_spellings():
    logits = torch.tensor([[2.0, 0.5, 1.0, -1.0]])
    lead, mass = formulas.letter_lead(logits, torch.tensor([[0], [1]]))
    assert lead.item() == pytest.approx(1.5)
    total = sum(math.exp(value) for value in (2.0, 0.5, 1.0, -1.0))
    assert mass.item() == pytest.approx((math.exp(2) + math.exp(0.5)) / total)
    lead, mass = formulas.letter_lead(logits, torch.tensor([[0, 2], [1, 3]]))  # A is token 0 or 2, B is 1 or 3
    assert lead.item() == pytest.approx(math.log((math.exp(2) + math.e) / (math.exp(0.5) + math.exp(-1))))
    assert mass.item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    "options", [{"tau": 0.4}, {"tau": 1.0}, {"gamma": -1}, {"penalty": math.nan}, {"normalise": "sum"}, {"lambda": 1}]
)
def test_options_that_cannot_work_are_refused_before_training(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        check_options("pairs", {"loss_options": options}, "r.yaml", "scir")
