"""What a round of many trees should take on an engine, as arithmetic on four measured constants."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Engine:
    """Seconds of a decoding step of an empty batch, of what each sequence adds, a critic's value, the host's round."""

    step: float
    sequence: float
    score: float
    host: float


def round_seconds(engine: Engine, trees: int, children: int, longest: float) -> float:
    """Return t = len_max (tau0 + kappa B) + t_score B + t_host of a round with B = trees * children sequences."""
    batch = trees * children
    return longest * (engine.step + engine.sequence * batch) + engine.score * batch + engine.host


def round_tokens_per_second(engine: Engine, trees: int, children: int, mean: float, longest: float) -> float:
    """Return B len_mean / t, the tokens a second of a round."""
    return trees * children * mean / round_seconds(engine, trees, children, longest)
