"""Which child a search goes down to: UCT and PUCT, with finite bonuses for children that were never visited.

Sources: UCT as in ReST-MCTS* (arXiv 2406.03816, factor 2), AlphaLLM (2404.12253) and RAP (2305.14992, both factor 1);
PUCT as in MCTS-DPO (2405.00451). The first of equal children wins, or one drawn by a seed of its own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from selfimprove.errors import ConfigError
from selfimprove.search.tree import DEAD, Node

TIE = 1e-12
"""Scores nearer than this are equal."""


@dataclass(frozen=True, slots=True)
class Select:
    """How children are compared; `exploration` is c."""

    rule: str = "uct"  # uct or puct
    exploration: float = 1.0  # c
    factor: float = 1.0  # f under the root of UCT: 2 in ReST-MCTS*, else 1
    unvisited: str = "bonus"  # of UCT: bonus (guess + bonus), one (as if visited once), first (before all others)
    bonus: float = 1.0  # finite, so that a very good child can be visited again before its siblings were
    virtual: str = "counts"  # visits under way: counts (they only count), loss (each also brought -virtual_loss)
    virtual_loss: float = 1.0  # what a visit under way is taken to have lost
    random_ties: bool = False  # draw among equals, by the node's own seed; else the first of them

    def __post_init__(self) -> None:
        """Refuse rules that there are not."""
        allowed = {"rule": ("uct", "puct"), "unvisited": ("bonus", "one", "first"), "virtual": ("counts", "loss")}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ConfigError(f"search: {name} is '{getattr(self, name)}'; it is one of {', '.join(values)}")


def uct(worth: float, visits: float, parent_visits: float, c: float, factor: float = 1.0) -> float:
    """Return x + c sqrt(f ln N / n); without exploration while N is 0 or 1."""
    return worth + c * math.sqrt(factor * math.log(max(parent_visits, 1)) / visits)


def puct(worth: float, prior: float, visits: float, parent_visits: float, c: float) -> float:
    """Return Q + c p sqrt(N) / (1 + n)."""
    return worth + c * prior * math.sqrt(parent_visits) / (1 + visits)


def length_prior(logprob: float, tokens: int, penalty: float = 1.25) -> float:
    """Return p = exp(sum of log-probs / L^penalty), the prior of a step of L tokens (MCTS-DPO)."""
    return math.exp(logprob / tokens**penalty) if tokens > 0 else 1.0


def score(parent: Node, child: Node, select: Select) -> float | None:
    """Return what selection compares; None for a child of which nothing is known yet, or nothing can be made."""
    if child.state == DEAD or (child.visits == 0 and child.pending > 0 and child.guess is None):
        return None
    visits, parent_visits = child.visits + child.pending, parent.visits + parent.pending
    worth = child.quality
    if select.virtual == "loss" and child.pending:
        worth = (child.visits * child.quality - select.virtual_loss * child.pending) / visits
    if select.rule == "puct":
        return puct(worth, child.prior, visits, parent_visits, select.exploration)
    if visits:
        return uct(worth, visits, parent_visits, select.exploration, select.factor)
    if select.unvisited == "first":
        return math.inf
    if select.unvisited == "one":
        return uct(worth, 1, parent_visits, select.exploration, select.factor)
    return worth + select.bonus


def best_child(
    parent: Node, children: Sequence[Node], select: Select, random: Callable[[], Random] | None = None
) -> Node | None:
    """Return the child to go down to, None where there is none to choose from."""
    scores = [(found, child) for child in children if (found := score(parent, child, select)) is not None]
    if not scores:
        return None
    highest = max(found for found, _ in scores)
    equal = [child for found, child in scores if found == highest or highest - found <= TIE]
    if len(equal) > 1 and select.random_ties and random is not None:
        return equal[random().randrange(len(equal))]
    return equal[0]


def importance(means: Sequence[float]) -> float:
    """Return I = max |mean of a child - mean of the children's means|, 0 without children (AlphaLLM)."""
    centre = sum(means) / len(means) if means else 0.0
    return max((abs(mean - centre) for mean in means), default=0.0)


def importance_width(value: float, factor: float, least: int, most: int = 10) -> int:
    """Return the width max(least, min(floor(factor * I), most)) of a node whose importance is I (AlphaLLM)."""
    return max(least, min(math.floor(factor * value), most))
