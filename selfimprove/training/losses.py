"""The losses as pure functions of tensors, in the symbols of their papers; nothing here knows a trainer.

Log-probs are sums over completion tokens in nats. `margin` is what a pair loss is a function of:
s = beta * [(log p(y_w|x) - log p_ref(y_w|x)) - (log p(y_l|x) - log p_ref(y_l|x))], with y_w chosen, y_l rejected.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def sequence_log_probs(logits: Tensor, labels: Tensor) -> Tensor:
    """Return log p(y|x) per row: the sum over label tokens of their log-probs, computed in float32.

    logits (B, T, V) predict the token that follows; labels (B, T) hold -100 where nothing is counted.
    """
    targets = labels[:, 1:]
    counted = targets != -100
    log_probs = logits[:, :-1].float().log_softmax(-1)
    picked = log_probs.gather(-1, targets.masked_fill(~counted, 0).unsqueeze(-1)).squeeze(-1)
    return (picked * counted).sum(-1)


def pair_margin(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float) -> Tensor:
    """Return s (B,): how much more than the reference the policy prefers the chosen side, times beta."""
    return beta * ((chosen - ref_chosen) - (rejected - ref_rejected))


def logistic(margin: Tensor, smoothing: float | Tensor = 0.0) -> Tensor:
    """Return the DPO and SPIN loss log(1 + exp(-s)) per row (arXiv 2305.18290 eq. 7, 2401.01335 eq. 4.7).

    `smoothing` is the probability epsilon that the label is flipped, one for all rows or (B,): the loss is
    -(1-eps) log sig(s) - eps log sig(-s), its gradient sig(s) - (1-eps), its optimum s = logit(1-eps). With
    eps = 1 - C it is the loss of CREAM for pairs of consistency C (arXiv 2410.12735).
    """
    return -(1 - smoothing) * F.logsigmoid(margin) - smoothing * F.logsigmoid(-margin)


def hinge(margin: Tensor, smoothing: float | Tensor = 0.0) -> Tensor:
    """Return the hinge loss max(0, 1 - s) per row (arXiv 2401.01335); `smoothing` mixes in the flipped label."""
    return (1 - smoothing) * torch.relu(1 - margin) + smoothing * torch.relu(1 + margin)


def row_smoothing(given: Tensor | None, default: float) -> float | Tensor:
    """Return the smoothing of every row: its own (B,) where it has one, `default` where that is nan."""
    return default if given is None else torch.where(given.isnan(), default, given)


PAIR_LOSSES: dict[str, Callable[[Tensor, float | Tensor], Tensor]] = {"sigmoid": logistic, "hinge": hinge}
"""The losses we compute ourselves, by TRL's names; the others are TRL's and use no weight or smoothing of rows."""

START_VALUE = {"sigmoid": math.log(2), "hinge": 1.0}
"""Their value per row where policy and reference are the same model (s = 0), whatever the smoothing."""


def reward_regression(margin: Tensor, gap: Tensor) -> Tensor:
    """Return (s - (r(y) - r(y2)))^2 per row: the implicit reward's gap is regressed onto the reward's (B,).

    L_reg of sharpening (arXiv 2412.01951) where the reference of s is the base B; `gap` = r(y) - r(y2). It is neither
    IPO nor logistic DPO: the target is the gap itself, which beta does not scale. Its optimum is B exp(r / beta),
    which is B^(1 + 1/beta) where r is the base's own log-prob.
    """
    return (margin - gap) ** 2


def xpo(margin: Tensor, gap: Tensor, second: Tensor, alpha: float, scale: float = 1.0) -> Tensor:
    """Return alpha * log pi(y2|x) + scale * (s - gap)^2 per row (arXiv 2412.01951, online RLHF-sharpening).

    `second` is log pi(y2|x) (B,) of the base's sample in nats. Minimised, the first term takes mass from what the base
    says anyway: optimism about the rest.
    """
    return alpha * second + scale * reward_regression(margin, gap)


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """Return (1/B) sum_i w_i l_i: a row of weight 0.5 counts half, and the others are not raised for it."""
    return (losses * weights).mean()


def weighted_nll(log_probs: Tensor, weights: Tensor, tokens: Tensor | int) -> Tensor:
    """Return -(1/T) sum_i w_i sum_t log p(y_it | x_i, y_i<t).

    log_probs (B, C) are 0 where no token is trained, weights (B,), T = `tokens` the number of trained tokens of
    the whole optimiser step (over ranks and accumulated batches), unweighted.
    """
    total = (log_probs.sum(-1) * weights).sum()
    return -total / torch.as_tensor(tokens, device=log_probs.device).clamp(min=1)


def mle(log_probs: Tensor, groups: Tensor) -> Tensor:
    """Return -l_1 per group: the plain likelihood loss of its first target (with a reference program, of that).

    log_probs l (N,) in nats, groups (N,) number the targets' groups 0 ... G-1; the result is (G,).
    """
    return -log_probs[_members(groups).int().argmax(1)]


def mle_aug(log_probs: Tensor, groups: Tensor, norm: bool = False) -> Tensor:
    """Return -sum_i l_i per group (arXiv 2205.14318, MLE-Aug); `norm` divides by the number of its targets k."""
    members = _members(groups)
    total = -torch.where(members, log_probs, 0.0).sum(1)
    return total / members.sum(1) if norm else total


def mml(log_probs: Tensor, groups: Tensor) -> Tensor:
    """Return -log sum_i exp(l_i) per group (arXiv 2205.14318, MML); shares of the gradient are softmax(l)_i."""
    return beta_mml(log_probs, groups, 1.0)


def beta_mml(log_probs: Tensor, groups: Tensor, beta: float) -> Tensor:
    """Return -(1/beta) log sum_i exp(beta l_i) per group (arXiv 2205.14318, beta-MML).

    Shares of the gradient are softmax(beta l)_i: beta 1 is MML, beta near 0 gives every target the same.
    """
    return -torch.where(_members(groups), beta * log_probs, -torch.inf).logsumexp(1) / beta


def multi_target_loss(
    log_probs: Tensor,
    groups: Tensor,
    beta: float = 1.0,
    lambdas: tuple[float, float] = (1.0, 0.0),
    norm: bool = False,
) -> Tensor:
    """Return lambda_mle * MLE-Aug + lambda_mml * beta-MML per group (G,); the step's loss is their mean.

    The original code's MLE term is beta * l; here it is l, whatever beta (lambda_mle = beta gives theirs).
    """
    for_all, for_any = lambdas
    loss = for_all * mle_aug(log_probs, groups, norm)
    return loss + for_any * beta_mml(log_probs, groups, beta) if for_any else loss


def longest_in_group(lengths: Tensor, groups: Tensor) -> Tensor:
    """Return, for every target (N,), the largest length in its group: what length normalisation scales up to."""
    return torch.where(_members(groups), lengths, 0).amax(1)[groups]


def _members(groups: Tensor) -> Tensor:
    """Return (G, N): whether target n belongs to group g; every number from 0 to the largest is a group."""
    return groups == torch.arange(int(groups.max()) + 1, device=groups.device).unsqueeze(1)
