"""What must hold while a model trains; a training that breaks it stops with a sentence instead of going on wrong."""

import json
import math
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from selfimprove.errors import TrainError

SHORT = {
    "rewards/margins": "margin",
    "rewards/accuracies": "accuracy",
    "rewards/chosen": "reward_chosen",
    "rewards/rejected": "reward_rejected",
    "logps/chosen": "logp_chosen",
    "logps/rejected": "logp_rejected",
    "mean_token_accuracy": "token_accuracy",
}
"""TRL's metric names and ours."""


def check_start(loss: float, expected: float, gap: float, tolerance: float) -> None:
    """Raise TrainError unless policy and reference are the same model before the first optimiser step.

    `loss` is the first batch's loss, `expected` its value at margin 0 (ln 2 for the logistic loss, 1 for hinge,
    times the mean row weight), `gap` the largest |log p - log p_ref| of a sequence in nats, `tolerance` what
    rounding explains of it.
    """
    if not gap <= tolerance:
        raise TrainError(
            f"policy and reference differ by {gap:.3g} nats before the first step (loss {loss:.4f} instead of "
            f"{expected:.4f}): the reference is not the policy at the start of this round; check base and adapter"
        )
    if not math.isclose(loss, expected, rel_tol=1e-3, abs_tol=1e-3 + tolerance):
        raise TrainError(
            f"the first loss is {loss:.4f} but must be {expected:.4f} where policy and reference are the same model; "
            "the loss is not the one that was asked for"
        )


def check_finite(logs: dict[str, Any], step: int) -> None:
    """Raise TrainError where a loss or gradient norm is not a number: every later step would be too."""
    for name in ("loss", "grad_norm"):
        value = logs.get(name)
        if isinstance(value, int | float) and not math.isfinite(value):
            raise TrainError(
                f"step {step}: {name} is {value}; lower learning_rate, or train with dtype: float32, and look at "
                "the rows in the batch preview"
            )


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint to go on from: one whose trainer state, written last, can be read.

    A checkpoint of the very last step is passed over: the crash came before the result was written, and the
    trainer would take one step too many from there. The one before leads to the same weights.
    """
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]), reverse=True)
    for path in found:
        state = trainer_state(path)
        if state is not None and state["global_step"] != state["max_steps"]:
            return path
    return None


def trainer_state(checkpoint: Path) -> dict[str, Any] | None:
    """Return the trainer state of a checkpoint, None where it is missing or half written."""
    try:
        return json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def check_finished(done: int, planned: int, started_at: int) -> None:
    """Raise TrainError where a training ended early or trained nothing: it would look finished and be under-trained.

    `done` and `planned` count optimiser steps of the whole job, `started_at` those of the checkpoint it went on
    from.
    """
    if planned <= 0:
        raise TrainError("the training has no optimiser step; there are fewer rows than one batch, or max_steps is 0")
    if started_at > planned:
        raise TrainError(
            f"the checkpoint is at step {started_at}, past the {planned} steps that are asked for, so nothing would "
            "be trained; remove the output folder to start again"
        )
    if done < planned:
        raise TrainError(f"the training ended after {done} of {planned} steps; see the log for why")


class Events(TrainerCallback):
    """Writes one JSON line per log to events.jsonl and stops on losses that are not numbers."""

    def __init__(self, path: Path):
        """Start after the events that `path` holds already."""
        self.path = path
        self.began = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Refuse a training without steps, and forget events of steps that are trained again after a resume."""
        check_finished(state.max_steps, state.max_steps, state.global_step)
        if state.is_world_process_zero and self.path.is_file():
            kept = [
                line
                for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True)
                if _before(line, state)
            ]
            self.path.write_text("".join(kept), encoding="utf-8")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Append the event; raises TrainError for a loss that is not a number."""
        logs = logs or {}
        check_finite(logs, state.global_step)
        if state.is_world_process_zero and "loss" in logs:
            figures = {SHORT.get(name, name): value for name, value in logs.items() if isinstance(value, int | float)}
            event = {"step": state.global_step, "of": state.max_steps, **figures}
            event["seconds"] = round(time.monotonic() - self.began, 2)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")


def _before(line: str, state: Any) -> bool:
    try:
        return json.loads(line)["step"] <= state.global_step
    except (ValueError, KeyError):
        return False
