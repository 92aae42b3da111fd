"""The formulas of SCIR (arXiv 2502.08922): two predictions of one preference, how far they are apart, what is learned.

Every pair (y1, y2) has two predictions of the probability p that y1 is better: p_gen of the model as judge, p_imp of
its implicit reward. Both travel as log-odds z = log p - log(1 - p), from which all else is exact however certain they
are. All tensors are (B,), one entry a pair, in nats where they are log-probs. Of the paper the formulas could not be
read: what stands here is the toolkit's choice, listed in `methods/scir.py`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfimprove.training.losses import logistic

UNDECIDED = 1e-6
"""A probability that is no farther than this from 0.5 names no winner: the rest of a judge without an opinion, or of
an implicit reward whose policy is its reference, is rounding."""


def generative_log_odds(ahead_12: Tensor, ahead_21: Tensor) -> Tensor:
    """Return z_gen of p_gen = (q1 + q2) / 2, q1 = sigmoid(l_A - l_B) in order 12 and q2 = sigmoid(l_B - l_A) in 21.

    ahead = l_A - l_B: by how much the logit of letter A leads, where y1 is shown as A (12) or as B (21). The mean of
    both probabilities takes out a liking for either letter: a judge that always says A has z_gen = 0.
    """
    for_first = torch.logaddexp(F.logsigmoid(ahead_12), F.logsigmoid(-ahead_21))
    for_second = torch.logaddexp(F.logsigmoid(-ahead_12), F.logsigmoid(ahead_21))
    return for_first - for_second


def implicit_log_odds(
    gain_1: Tensor, gain_2: Tensor, tokens_1: Tensor, tokens_2: Tensor, beta: float, alpha_len: float = 0.0
) -> Tensor:
    """Return z_imp = R_1 - R_2, with R_i = beta * (log pi(y_i|x) - log ref(y_i|x)) - alpha_len * |y_i|.

    `gain` is the difference of the log-probs, a sum over the answer's tokens; `tokens` is their number |y_i|.
    """
    return beta * (gain_1 - gain_2) - alpha_len * (tokens_1 - tokens_2)


def disagreement(z_gen: Tensor, z_imp: Tensor) -> Tensor:
    """Return D = (KL(G||I) + KL(I||G)) / 2 = (p_gen - p_imp) (z_gen - z_imp) / 2 of the two Bernoulli predictions."""
    return 0.5 * (z_gen.sigmoid() - z_imp.sigmoid()) * (z_gen - z_imp)


def entropy(log_odds: Tensor) -> Tensor:
    """Return H = -p log p - (1 - p) log(1 - p) in nats; ln 2 where nothing is preferred."""
    p = log_odds.sigmoid()
    return -(p * F.logsigmoid(log_odds) + (1 - p) * F.logsigmoid(-log_odds))


def mean_entropy(z_gen: Tensor, z_imp: Tensor) -> Tensor:
    """Return Hbar = (H(G) + H(I)) / 2."""
    return 0.5 * (entropy(z_gen) + entropy(z_imp))


def gate(z_gen: Tensor, z_imp: Tensor, tau: float) -> Tensor:
    """Return g, 1.0 where one of the predictions is at least tau sure of either answer, else 0.0; a constant."""
    with torch.no_grad():
        surest = torch.maximum(z_gen.abs(), z_imp.abs()).sigmoid()
        return (surest >= tau).to(z_gen.dtype)


def penalty(z_gen: Tensor, z_imp: Tensor, tau: float, gamma: float) -> Tensor:
    """Return g * (D + gamma * Hbar) per pair: small where both predictions agree and are sure."""
    return gate(z_gen, z_imp, tau) * (disagreement(z_gen, z_imp) + gamma * mean_entropy(z_gen, z_imp))


def labels(z_gen: Tensor, z_imp: Tensor) -> Tensor:
    """Return the label that both predictions give a pair: 1.0 (y1 is better), -1.0 (y2), 0.0 (none); a constant.

    A prediction within UNDECIDED of 0.5 names nobody, so that a policy that is its own reference labels no pair.
    """
    with torch.no_grad():
        sides = [torch.where(z.sigmoid().sub(0.5).abs() > UNDECIDED, z.sign(), 0.0) for z in (z_gen, z_imp)]
        return torch.where(sides[0] == sides[1], sides[0], 0.0)


def dpo_losses(gain_1: Tensor, gain_2: Tensor, label: Tensor, beta: float, smoothing: float = 0.0) -> Tensor:
    """Return -log sigmoid(beta * (gain of the winner - gain of the loser)) per pair, 0 where a pair has no label.

    There is no length term here, unlike in the prediction.
    """
    return logistic(label * beta * (gain_1 - gain_2), smoothing) * label.abs()


def mean_over(values: Tensor, count: Tensor | float, processes: int = 1) -> Tensor:
    """Return this process's part of the mean of masked `values` over the `count` pairs of all processes.

    Gradients are averaged over processes, so the sum is multiplied by their number. Without any pair the result is a
    0 that still belongs to the graph: every process has to take part in the backward pass.
    """
    return values.sum() * processes / torch.as_tensor(count, dtype=values.dtype, device=values.device).clamp(min=1)


def letter_lead(logits: Tensor, letters: Tensor) -> tuple[Tensor, Tensor]:
    """Return (l_A - l_B, probability of the letters together) of logits (N, V) over the vocabulary, each (N,).

    letters (2, S) holds the token ids of A and of B, one a spelling (with and without a space before it, where the
    tokenizer has both); the logit of a letter is the logsumexp over its spellings, with one spelling its logit.
    """
    found = logits[:, letters].logsumexp(-1)
    mass = (found.logsumexp(-1) - logits.logsumexp(-1)).exp()
    return found[:, 0] - found[:, 1], mass
