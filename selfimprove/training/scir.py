"""SCIR's trainer: at every step the live model judges each unlabelled pair twice over and is drawn to one opinion.

A step passes both answers and both judge prompts (the answers in either order) of every pair through the model with
gradient. The penalty acts on all pairs; DPO on those of which both predictions name the same winner at this moment.
The formulas are in `scir_losses.py`, what the paper leaves open is listed in `methods/scir.py`.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy
import torch
from trl.trainer.utils import use_adapter

from selfimprove.errors import TrainError
from selfimprove.judges.pairwise import LETTERS
from selfimprove.models import ADAPTER_CONFIG, model_folder
from selfimprove.training import scir_losses as formulas
from selfimprove.training.dpo import EXACT, PairTrainer, Sides
from selfimprove.training.scir_options import START, ScirOptions
from selfimprove.training.scir_rows import ScirCollator, columns, letter_tokens

__all__ = ["ScirTrainer", "columns", "make_trainer"]

NEVER = 2
"""Stands for the label of a pair that no step has seen yet; the others are -1, 0 and 1."""

LITTLE = 0.5
"""A probability of the letters A and B together under which the judge prompt does not do what it is for."""


class ScirTrainer(PairTrainer):
    """PairTrainer for pairs without labels: `chosen` and `rejected` are answers 1 and 2, and mean nothing else."""

    def __init__(
        self, *, options: ScirOptions, adapter_off: bool, tokenizer: Any, train_dataset: Any, args: Any, **kwargs: Any
    ) -> None:
        """Make the trainer; `adapter_off`: the reference is the model under the adapter that is trained."""
        self.options, self.adapter_off = options, adapter_off
        super().__init__(tokenizer=tokenizer, train_dataset=train_dataset, args=args, **kwargs)
        self.tokenizer = tokenizer
        self.data_collator = ScirCollator(
            pad_token_id=tokenizer.pad_token_id, pad_to_multiple_of=args.pad_to_multiple_of
        )
        self.letters = torch.tensor(letter_tokens(tokenizer), device=self.accelerator.device)
        self.last_labels = torch.full((len(train_dataset),), NEVER, dtype=torch.int8)
        self._begun = self._fresh = self._learned = self._warned = False

    def _reference_log_probs(self, inputs: dict[str, Any], model: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log-probs of both answers under the reference of the implicit reward."""
        if not self.adapter_off:
            return super()._reference_log_probs(inputs, model)
        with torch.no_grad(), use_adapter(self.accelerator.unwrap_model(self.model), adapter_name=None):
            return self._log_probs(model or self.model, inputs)

    def verdicts(self, model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (l_A - l_B, probability of A and B together) at the last token of every judge prompt, each (2B,)."""
        mask = inputs["judge_attention_mask"]
        places, of = (mask.sum(-1) - 1).unique(return_inverse=True)
        batch = {"input_ids": inputs["judge_input_ids"], "attention_mask": mask}
        with nullcontext() if self.options.judge_gradient else torch.no_grad():
            logits = model(**batch, logits_to_keep=places, use_cache=False).logits
            return formulas.letter_lead(logits[torch.arange(len(of), device=of.device), of].float(), self.letters)

    def pair_loss(self, model: Any, inputs: dict[str, Any], sides: Sides) -> tuple[torch.Tensor, float | None]:
        """Return DPO on the pairs that both predictions label alike, plus the weighted penalty on all pairs."""
        options = self.options
        first, second = sides.chosen - sides.ref_chosen, sides.rejected - sides.ref_rejected
        tokens = inputs["completion_mask"].sum(-1)
        lead, mass = self.verdicts(model, inputs)
        z_gen = formulas.generative_log_odds(*lead.chunk(2))
        z_imp = formulas.implicit_log_odds(first, second, *tokens.chunk(2), self.beta, options.alpha_len)
        label, acts = formulas.labels(z_gen, z_imp), formulas.gate(z_gen, z_imp, options.tau)
        dpo = formulas.dpo_losses(first, second, label, self.beta, self.label_smoothing)
        penalties = formulas.penalty(z_gen, z_imp, options.tau, options.gamma)

        longer = (tokens.chunk(2)[0] - tokens.chunk(2)[1]).sign() * label
        each = (z_gen.sigmoid(), z_imp.sigmoid(), label, acts, penalties, dpo, mass.view(2, -1).mean(0), longer)
        gathered = self.accelerator.gather(torch.stack([value.detach().float() for value in each], 1))
        labelled, acted = gathered[:, 2].abs().sum(), gathered[:, 3].sum()
        processes = self.accelerator.num_processes
        pairs = acted if options.normalise == "gated" else torch.ones_like(gathered[:, 3]).sum()
        loss = formulas.mean_over(dpo, labelled, processes)
        loss = loss + options.penalty * formulas.mean_over(penalties, pairs, processes)
        if model.training and not self._begun:
            self._check_begin(torch.stack([first, second]).detach())
        self._learned = self._learned or bool(labelled + acted * options.penalty > 0)
        self._note_pairs("train" if model.training else "eval", gathered, self.accelerator.gather(inputs["row"]))
        return loss, None

    def _note(self, mode: str, gaps: torch.Tensor, chosen: torch.Tensor, rejected: torch.Tensor) -> None:
        """Log nothing under TRL's names: no side of these pairs is chosen."""

    def _note_pairs(self, mode: str, each: torch.Tensor, rows: torch.Tensor) -> None:
        """Log the step over all processes; what has no pair to speak of is left out, instead of being 0."""
        p_gen, p_imp, label, acts, penalties, dpo, mass, longer = each.T.cpu()
        found, rows = label != 0, rows.cpu()
        known = self.last_labels[rows] != NEVER
        figures: dict[str, torch.Tensor] = {
            "p_gen": p_gen,
            "p_imp": p_imp,
            "consistent": found.float(),
            "gated": acts,
            "penalty": penalties,
            "dpo_loss": dpo[found],
            "winner_longer": (longer[found & (longer != 0)] > 0).float(),
            "labels_changed": (self.last_labels[rows] != label)[known].float(),
            "letter_mass": mass,
        }
        self.last_labels[rows] = label.to(torch.int8)
        for name, values in figures.items():
            if len(values):
                self._metrics[mode][name].append(values.mean().item())
        if mass.mean() < LITTLE and not self._warned:
            self._warned = True
            self._say(
                f"warning: the judge gives A and B together a probability of {mass.mean():.2f} only, so its verdicts "
                "are mostly noise; train it to judge first, or take a model whose chat template suits the prompt"
            )

    def _check_begin(self, gains: torch.Tensor) -> None:
        """Say, before the first step, that nothing can be consistent yet; hold `start` to what it means."""
        self._begun, self._fresh = True, self.state.global_step == 0
        gap = self.accelerator.gather(gains.abs().max().view(1)).max().item()
        if self._fresh and self.options.reference == START and gap > EXACT:
            raise TrainError(
                f"policy and reference differ by {gap:.3g} nats before the first step, but the reference is to be the "
                "policy at its start; check base and adapter"
            )
        if self._fresh and gap == 0:
            self._say(
                "policy and reference are the same model: the implicit reward prefers no answer (p_imp is 0.5), so no "
                "pair is consistent and the first step trains by the penalty alone"
            )

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; raises TrainError where in no step any pair had a part in the loss, so that nothing was learned."""
        result = super().train(*args, **kwargs)
        if self._fresh and not self._learned:
            raise TrainError(
                "nothing was learned: in no step was a pair consistent, nor either prediction "
                f"{self.options.tau:.0%} sure of one; start from a policy that has moved from its reference "
                "(method.warm_up=1), or lower train.loss_options.tau, or train the model to judge first"
            )
        seen = [entry for entry in self.state.log_history if "consistent" in entry]
        if seen:
            found, acted = (sum(entry[name] for entry in seen) / len(seen) for name in ("consistent", "gated"))
            self._say(
                f"of the pairs of a step {found:.0%} were consistent and learned by DPO, {acted:.0%} had a penalty"
            )
        return result

    def _say(self, sentence: str) -> None:
        if self.accelerator.is_main_process:
            print(sentence, flush=True)

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Show the first judge prompt below the first batch, then train."""
        before = self._previewed
        loss = super().training_step(model, inputs, *args, **kwargs)
        path = self.preview_path
        if not before and path is not None and path.is_file() and self.is_world_process_zero():
            ids = inputs["judge_input_ids"][0][inputs["judge_attention_mask"][0] == 1].tolist()
            text = self.tokenizer.decode(ids)
            with path.open("a", encoding="utf-8") as file:
                file.write(
                    f"\n--- judge prompt of row 1, order 12: {len(ids)} tokens; the verdict is read behind them, from "
                    f"the tokens {self.letters[0].tolist()} ({LETTERS[0]}) and {self.letters[1].tolist()} "
                    f"({LETTERS[1]})\n{text}\n"
                )
        return loss


def make_trainer(*, options: ScirOptions, weighted: bool, smoothed: bool, **common: Any) -> ScirTrainer:
    """Return the trainer with its reference in place.

    Raises TrainError for rows or train options that would take the predictions apart, or that it would not use.
    """
    args = common["args"]
    if weighted or smoothed:
        raise TrainError("the rows have weights or a smoothing, which the loss scir does not use; leave them out")
    wrong = {
        "precompute_ref_log_probs": "log-probs of another batch differ by rounding, which would label undecided pairs",
        "sync_ref_model": "the reference stays the same for a round",
    }
    for name, reason in wrong.items():
        if getattr(args, name):
            raise TrainError(f"train.{name} does not go with the loss scir: {reason}; take it out")
    if not args.disable_dropout:
        raise TrainError(
            "train.disable_dropout is false, but with dropout the predictions disagree by noise; take it out"
        )
    model, dataset = common["model"], common["train_dataset"]
    without_dropout(model)
    adapter_off = False
    if options.reference != START:
        adapted = hasattr(model, "peft_config")
        under = Path((model.get_base_model() if adapted else model).config._name_or_path)
        adapter = Path(options.reference) if (Path(options.reference) / ADAPTER_CONFIG).is_file() else None
        folder = under if adapter else model_folder(options.reference)
        stays = adapter is None and (adapted or common["peft_config"] is not None)
        adapter_off = stays and under.resolve() == folder.resolve()
        zero3 = args.deepspeed_plugin is not None and args.deepspeed_plugin.zero_stage == 3
        common["ref_model"] = None if adapter_off else load_frozen(folder, model, adapter, zero3)
    common["train_dataset"] = dataset.add_column("row", numpy.arange(len(dataset)))
    return ScirTrainer(options=options, adapter_off=adapter_off, **common)


def without_dropout(model: Any) -> None:
    """Turn off the dropout that a model keeps as a number; TRL turns off that of its layers."""
    for module in model.modules():
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


def load_frozen(folder: Path, like: Any, adapter: Path | None = None, zero3: bool = False) -> Any:
    """Return the model of a folder as a reference, in the dtype and with the attention of another one.

    An adapter is loaded as that of the policy is, beside its weights: merged, it would give rounded log-probs.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=like.dtype, attn_implementation=like.config._attn_implementation, trust_remote_code=False
    )
    model.config.use_cache = False
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter, autocast_adapter_dtype=not zero3)
    return model.requires_grad_(False).eval()
