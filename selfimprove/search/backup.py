"""What a finished visit changes on its way from the leaf to the root: six rules, by the name of what V becomes.

- mean: V = w / n, the mean of what the visits brought (AlphaLLM).
- max, mix: the largest V of the visited children, or that and their weighted mean by a share.
- child_weighted: the mean of the children's V by their visits; a node's own critic value is dropped (ReST-MCTS*).
- q_reward: V is the mean of the children's Q with at least one visit each, Q = r + gamma V (MCTS-DPO).
- cumulative_mean, cumulative_max: of the sums (or means) of rewards from the node to the leaf (RAP, LLM Reasoners).

A node whose children say nothing yet keeps its V. The node at which the visit ended is worth what the visit brought.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from selfimprove.errors import ConfigError
from selfimprove.search.tree import Node, Tree, finite

RULES = ("mean", "max", "mix", "child_weighted", "q_reward", "cumulative_mean", "cumulative_max")


@dataclass(frozen=True, slots=True)
class Backup:
    """Which rule, and its numbers."""

    rule: str = "mean"  # one of RULES
    discount: float = 1.0  # gamma of q_reward
    share: float = 0.5  # of max in mix
    along: str = "sum"  # what is cumulated of the rewards: sum or mean

    def __post_init__(self) -> None:
        """Refuse rules that there are not."""
        for name, values in (("rule", RULES), ("along", ("sum", "mean"))):
            if getattr(self, name) not in values:
                raise ConfigError(f"search: backup's {name} is '{getattr(self, name)}'; one of {', '.join(values)}")


Worth = tuple[float, int]
"""A child's value (V, or Q where edges have rewards), and its finished visits."""


def child_weighted(children: Sequence[Worth]) -> float | None:
    """Return sum n_c V_c / sum n_c; None where no child was visited."""
    visits = sum(n for _, n in children)
    return sum(n * value for value, n in children) / visits if visits else None


def at_least_once(children: Sequence[Worth]) -> float | None:
    """Return sum max(1, n_c) Q_c / sum max(1, n_c); None without children."""
    return child_weighted([(value, max(1, n)) for value, n in children])


def child_max(children: Sequence[Worth]) -> float | None:
    """Return the largest V of the visited children; None where none was visited."""
    return max((value for value, n in children if n), default=None)


def child_mix(children: Sequence[Worth], share: float = 0.5) -> float | None:
    """Return share * max + (1 - share) * weighted mean of the visited children; None where none was visited."""
    highest, mean = child_max(children), child_weighted(children)
    return None if highest is None or mean is None else share * highest + (1 - share) * mean


def cumulated(rewards: Sequence[float], along: str = "sum") -> list[float]:
    """Return for every place the sum (or mean) of the rewards from there to the end."""
    totals: list[float] = []
    for reward in reversed(rewards):
        totals.append(reward + (totals[-1] if totals else 0.0))
    totals.reverse()
    return totals if along == "sum" else [total / (len(totals) - at) for at, total in enumerate(totals)]


def back_up(tree: Tree, line: Sequence[Node], brought: float, backup: Backup) -> None:
    """Count a visit that went down `line` and brought a value; raises DataError where that is no finite number."""
    finite(brought, f"tree {tree.id}: the value of the visit to {tree.path(line[-1])}")
    if backup.rule.startswith("cumulative"):
        sums = cumulated([*(node.reward for node in line[:-1]), brought], backup.along)
    else:
        sums = [brought] * len(line)
    for node, amount in zip(reversed(line), reversed(sums), strict=True):
        node.visits += 1
        node.total += amount
        node.best = amount if node.best is None else max(node.best, amount)
        _settle(node, tree.children(node), node is line[-1], amount, backup)


def _settle(node: Node, children: Sequence[Node], last: bool, amount: float, backup: Backup) -> None:
    """Give a node its V and Q after a visit."""
    if backup.rule == "q_reward":
        known = None if last else at_least_once([(child.quality, child.visits) for child in children])
        node.value = node.value if known is None else known
        node.quality = amount if last else node.reward + backup.discount * node.value
        return
    if backup.rule in ("mean", "cumulative_mean"):
        node.value = node.total / node.visits
    elif backup.rule == "cumulative_max":
        node.value = amount if node.best is None else node.best
    elif last:
        node.value = amount
    else:
        known = _of_children([(child.value, child.visits) for child in children], backup)
        node.value = node.value if known is None else known
    node.quality = node.value


def _of_children(children: Sequence[Worth], backup: Backup) -> float | None:
    if backup.rule == "max":
        return child_max(children)
    if backup.rule == "mix":
        return child_mix(children, backup.share)
    return child_weighted(children)
