"""How sure a policy is that the beginning of an answer heads the right way: one letter, read as probabilities.

The self-evaluation of MCTS-DPO (arXiv 2405.00451). The letters stand in a fixed order, of which the worth of an answer
is read: the last letter is the best. Swapped options would turn every value round.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from selfimprove.prompts import fill_prompt
from selfimprove.records import Messages, Prompt, as_messages

if TYPE_CHECKING:
    from selfimprove.judges import Asker

WORTH: dict[str, dict[str, float]] = {
    "confidence": {"A": 0.0, "B": 1.0},
    "scale": {"A": -2.0, "B": -1.0, "C": 0.0, "D": 1.0},
}
"""What the letters are worth: A incorrect, B correct; or four grades where no right answer is known."""


async def prefix_worth(
    run: "Asker", prompt: Prompt, begun: str, kind: str = "confidence", show_gold: bool = True
) -> float | None:
    """Return what the policy says of an answer that has begun so; None where it gave no letter.

    `confidence` lies in [0, 1], `scale` in [-2, 1]. `show_gold` puts the worked solution, or the right answer, before
    the evaluator: fit for training, a leak where the value is to be had without it.
    """
    [sample] = await run.sample(
        prompt, 1, messages=render(prompt, begun, kind, show_gold), purpose="prefix", temperature=0.0, max_tokens=2,
        choices=tuple(WORTH[kind]),
    )  # fmt: skip
    return None if sample.error or not sample.choices else expected_worth(sample.choices, kind)


def render(prompt: Prompt, begun: str, kind: str, show_gold: bool) -> Messages:
    """Return what the evaluator is asked about the beginning of an answer to the prompt's last question.

    What changes from step to step stands last, so that an engine reads the rest once a tree.
    """
    reference = (prompt.solution or prompt.gold or "").strip() if show_gold else ""
    values = {"question": prompt.text, "reference": reference, "begun": begun.strip()}
    return as_messages(fill_prompt(f"prefix_{kind}", **values))


def expected_worth(logprobs: Mapping[str, float], kind: str = "confidence") -> float | None:
    """Return sum_k w_k p_k over the letters k, their probabilities made to sum to 1; None where none has any.

    `confidence` is C = p(B); `scale` is p(D) - p(B) - 2 p(A).
    """
    weights = {letter: math.exp(logprobs[letter]) for letter in WORTH[kind] if letter in logprobs}
    total = sum(weights.values())
    return sum(WORTH[kind][letter] * weight for letter, weight in weights.items()) / total if total else None
