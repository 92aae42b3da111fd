"""Training on two views of one judgement: with the reference in the prompt (teacher) and without it (student).

Both views are rows of one group with the same one-digit completion, the teacher's first. One model sees both, and its
student view learns from its teacher view: L = CE_T + alpha CE_S + kappa KL(P_T || P_S) (Self-J, arXiv 2409.00935).
The KL is taken at the digit alone, over the whole vocabulary; nothing flows back through P_T there.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from selfimprove.chat import end_of_turn
from selfimprove.errors import TrainError
from selfimprove.training.sft import ExampleTrainer
from selfimprove.training.views import Views


class ViewLosses(NamedTuple):
    """CE_T, CE_S and KL(P_T || P_S) of every pair of views, each (B,), in nats."""

    teacher: Tensor
    student: Tensor
    divergence: Tensor

    def total(self, alpha: float, kappa: float) -> Tensor:
        """Return CE_T + alpha CE_S + kappa KL of every pair (B,)."""
        return self.teacher + alpha * self.student + kappa * self.divergence


def view_losses(
    teacher: Tensor, student: Tensor, teacher_targets: Tensor, student_targets: Tensor, end: int
) -> ViewLosses:
    """Return the losses of pairs of views, computed in float32.

    `teacher` and `student` are logits (B, C, V), targets (B, C) the tokens they must predict, -100 where nothing is
    trained; C may differ between the views, and so may the places of their digits. CE is a view's mean over its
    trained tokens (digit and `end`), KL is at the last trained token that is not `end`: the digit.
    """
    own, other = teacher.float().log_softmax(-1), student.float().log_softmax(-1)
    rows = torch.arange(len(own), device=own.device)
    p_teacher = own[rows, digit_places(teacher_targets, end)].detach()
    p_student = other[rows, digit_places(student_targets, end)]
    divergence = (p_teacher.exp() * (p_teacher - p_student)).sum(-1)
    return ViewLosses(_cross_entropy(own, teacher_targets), _cross_entropy(other, student_targets), divergence)


def digit_places(targets: Tensor, end: int) -> Tensor:
    """Return (B,): the place of every row's digit, its last trained token but for `end`; raises TrainError without."""
    digits = (targets != -100) & (targets != end)
    if not bool(digits.any(1).all()):
        raise TrainError("a row of two views trains no digit; its completion is one digit from 0 to 9")
    places = torch.arange(targets.shape[1], device=targets.device)
    return torch.where(digits, places, -1).amax(1)


def _cross_entropy(log_probs: Tensor, targets: Tensor) -> Tensor:
    trained = targets != -100
    picked = log_probs.gather(-1, targets.masked_fill(~trained, 0).unsqueeze(-1)).squeeze(-1)
    return -(picked * trained).sum(-1) / trained.sum(-1)


class ViewTrainer(ExampleTrainer):
    """ExampleTrainer over pairs of views; the loss of a step is the mean over its pairs."""

    def __init__(self, *, options: Views, tokenizer: Any, train_dataset: Any, **kwargs: Any) -> None:
        """Make the trainer; an item of the dataset is a group, a list in every column, the teacher's view first."""
        self.views, self.end_token = options, end_of_turn(tokenizer)
        super().__init__(tokenizer=tokenizer, train_dataset=whole_pairs(train_dataset), **kwargs)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss of a batch's pairs, over the pairs of the whole optimiser step."""
        if return_outputs:
            raise TrainError("the loss two_views is for training; held-out sets are measured by the loop")
        targets = inputs["labels"][:, 1:]
        columns = (targets != -100).any(0).nonzero().squeeze(-1)
        batch = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        logits = model(**batch, logits_to_keep=columns, use_cache=False).logits
        targets = targets[:, columns]
        parts = view_losses(logits[0::2], logits[1::2], targets[0::2], targets[1::2], self.end_token)
        loss = parts.total(self.views.alpha, self.views.kappa).sum()
        loss = loss / (len(parts.teacher) if num_items_in_batch is None else num_items_in_batch)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over ranks, the count is of all
        means = self.accelerator.gather_for_metrics(torch.stack(parts, 1).detach()).mean(0).tolist()
        for name, value in zip(("ce_teacher", "ce_student", "divergence"), means, strict=True):
            self._metrics["train" if model.training else "eval"][name].append(value)
        return loss

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
        """Count the pairs of a whole optimiser step."""
        if not batch_samples:
            return None
        count = sum(batch["group"].max() + 1 for batch in batch_samples).to(device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            count = self.accelerator.gather(count).sum()
        return count


def whole_pairs(rows: Any) -> Any:
    """Return the groups that hold both views; one is missing where its prompt was longer than max_length.

    Raises TrainError where no pair is whole, or where two views do not have the same digit.
    """

    def whole(groups: list[list[list[int]]]) -> list[bool]:
        for labels in groups:
            targets = {tuple(token for token in row if token != -100) for row in labels}
            if len(labels) > 2 or (len(labels) == 2 and len(targets) == 2):
                raise TrainError(
                    "the loss two_views is about pairs: rows of one group are the two views of one judgement, with "
                    f"the same digit, but a group has {len(labels)} rows with {len(targets)} completions"
                )
        return [len(labels) == 2 for labels in groups]

    kept = rows.filter(whole, input_columns="labels", batched=True)
    if not len(kept):
        raise TrainError(
            f"of {len(rows)} judgements none has both views, with and without reference; raise max_length, or name "
            "rows that the method self-judge made"
        )
    if len(kept) < len(rows):
        print(f"{len(rows) - len(kept)} of {len(rows)} judgements left out: one of their two views is missing")
    return kept


def make_trainer(*, options: Views, **common: Any) -> ViewTrainer:
    """Return the trainer."""
    common.pop("objective", None)
    return ViewTrainer(options=options, **common)
