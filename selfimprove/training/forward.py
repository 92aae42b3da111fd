"""Token log-probs of a batch under a causal language model, without paying for positions that are not trained."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def token_log_probs(
    model: Any, inputs: Mapping[str, Tensor], labels: Tensor, fused: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return (log-probs, which are trained, which were the model's first choice), each (B, C).

    labels (B, T) hold -100 where nothing is trained; there the log-prob is 0. With `fused` TRL's chunked head is
    used, which never holds the logits (right for GPUs: C = T - 1). Without it only the C positions are projected
    whose next token is trained in some row: on a CPU the chunked head works through every prompt position in
    float32, which made it the dearest part of a step for a small model with a large vocabulary.
    """
    targets = labels[:, 1:]
    trained = targets != -100
    if fused:
        outputs = model(**inputs, labels=labels, fused_lm_head=True, use_cache=False)
        return outputs.log_probs, trained, outputs.is_top1
    columns = trained.any(0).nonzero().squeeze(-1)
    logits = model(**inputs, logits_to_keep=columns, use_cache=False).logits
    trained, targets = trained[:, columns], targets[:, columns]
    picked = logits[trained].float()
    log_probs = picked.new_zeros(trained.shape).masked_scatter(
        trained, -F.cross_entropy(picked, targets[trained], reduction="none")
    )
    with torch.no_grad():
        first = trained.new_zeros(trained.shape).masked_scatter(trained, picked.argmax(-1) == targets[trained])
    return log_probs, trained, first
