"""SPIN: the worked answer of the data is chosen, the policy's own answer of this round is rejected (self-play).

Paper: "Self-Play Fine-Tuning Converts Weak Language Models to Strong Language Models", Chen et al. 2024,
arXiv 2401.01335.
Input: prompts with a `solution`. Output: pairs for a DPO-form loss whose reference is the policy at the
start of this round.

What differs from the paper and its code:
1. Generation and training render the prompt by the same chat template (the official code generates from
   another wrapper than it trains on), and the end of turn stands once.
2. Truncated, empty and identical generations are skipped: the first makes "cut off" a tell, the second
   teaches length, the third has loss ln 2 and no gradient. `drop_truncated: false` keeps the first.
3. Rounds after the first also train on the previous round's pairs (as the official configurations do);
   `keep_previous: false` turns it off.
The paper's learning rates and lambda (beta) change with the round: `train_by_round` in the recipe.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfimprove.errors import ConfigError
from selfimprove.records import Pair, Prompt, Skip

if TYPE_CHECKING:
    from selfimprove.engines.base import Policy
    from selfimprove.run import Run
    from selfimprove.store import Rows

NEEDS, MAKES = {"messages", "solution"}, "pairs"


@dataclass(frozen=True)
class Config:
    """Options of SPIN."""

    temperature: float = 1.0  # of the opponent's answer; above 0, since it is a sample of the opponent
    top_p: float = 1.0  # of the opponent's answer
    max_tokens: int = 256  # longest answer of the opponent
    keep_previous: bool = True  # rounds after the first also train on the previous round's pairs
    drop_truncated: bool = True  # skip answers that reached max_tokens

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if self.temperature <= 0:
            raise ConfigError(
                f"spin: temperature is {self.temperature}; the rejected side is a sample, so it must be > 0"
            )


async def collect(cfg: Config, run: "Run", prompt: Prompt) -> list[Pair | Skip]:
    """Draw one answer of the opponent (the policy at the start of this round) and pair it with the solution."""
    solution = (prompt.solution or "").strip()
    if not solution:
        return [Skip(prompt.id, "no_solution", "SPIN's chosen side is the prompt's worked solution")]
    [sample] = await run.sample(prompt, 1, temperature=cfg.temperature, top_p=cfg.top_p, max_tokens=cfg.max_tokens)
    if sample.error:
        return [Skip(prompt.id, "engine_error", sample.error)]
    generated = sample.text.strip()
    run.measure("generated_tokens", sample.tokens)
    if not generated:
        return [Skip(prompt.id, "empty")]
    if sample.finish == "length" and cfg.drop_truncated:
        return [Skip(prompt.id, "truncated", f"no end after {sample.tokens} tokens")]
    run.measure("identical", float(generated == solution))
    if generated == solution:
        return [Skip(prompt.id, "identical")]
    return [Pair.of(prompt, chosen=solution, rejected=generated, tag=f"round-{run.round}", round=run.round)]


async def learn(cfg: Config, run: "Run", rows: "Rows") -> "Policy":
    """Train on this round's pairs and, after round 1, on those of the round before; the reference is run.policy."""
    if cfg.keep_previous and run.round > 1:
        rows = rows + run.rows(run.round - 1)
    return await run.train(MAKES, rows)
