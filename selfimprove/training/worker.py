"""What runs inside `accelerate launch`: from a job, or from a recipe with rows, to a trained policy.

The order is fixed: options, parallelism in force, rows, model, first batch, start check, training, result.
Losses with a trainer of their own stand in training/trainers.py, with what such a trainer must hold.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from selfimprove.config import Recipe, read_recipe
from selfimprove.engines.value import train_options as value_options
from selfimprove.errors import SelfImproveError
from selfimprove.methods import configure, made_by
from selfimprove.training.args import HEADS, check_options, lora_fields, options_of_kind, trainer_config
from selfimprove.training.job import CHECKPOINTS, ERROR, EVENTS, PREVIEW, RESULT, Job, Result, refuse_another_job
from selfimprove.training.launch import CHILD, die_with_parent
from selfimprove.training.objective import read_objective
from selfimprove.training.trainers import own_loss, own_options

DATA = "rows"
"""Folder for the tokenised rows, removed when the training is done."""


def main(kind: str, arguments: Sequence[str] | None = None) -> int:
    """Train from the command line; return the exit code, after one sentence where it failed."""
    if os.environ.get(CHILD) or "LOCAL_RANK" in os.environ:
        die_with_parent()
    job: Job | None = None
    try:
        job = parse(kind, arguments)
        prepare_process()
        train(job)
    except SelfImproveError as error:
        report(str(error), Path(job.output) if job else None)
        return 2
    return 0


def parse(kind: str, arguments: Sequence[str] | None) -> Job:
    """Return the job that a command line asks for; raises ConfigError where it cannot be one."""
    what = {"sft": "supervised fine-tuning on examples", "pairs": "preference training on pairs"}.get(
        kind, "training of a value model on steps, or of a reward model on pairs,"
    )
    parser = argparse.ArgumentParser(
        description=f"Run one {what}, alone or under `accelerate launch --config_file accelerate_configs/NAME.yaml`.",
        epilog="The result is OUTPUT/adapter or OUTPUT/model; an interrupted training goes on from a checkpoint.",
    )
    parser.add_argument("--job", help="a job file, as the loop writes it; no other option is needed then")
    parser.add_argument("--config", help="recipe; its train section holds the options")
    parser.add_argument("--rows", nargs="+", default=[], metavar="FILE", help="JSONL files of rows")
    parser.add_argument("--output", help="folder for the result, checkpoints, log and batch preview")
    parser.add_argument("--model", help="base model; default: the recipe's model")
    parser.add_argument("--adapter", help="adapter that is trained further; default: a new one")
    if kind == "steps":
        what = "steps: a value model (the default); pairs: a reward model"
        parser.add_argument("--kind", choices=("steps", "pairs"), default="steps", help=what)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="recipe overrides, e.g. train.max_steps=10")
    # rows are many words, and so are overrides: what holds '=' and is no file is an override
    given = parser.parse_args(arguments)
    if given.job:
        return Job.read(given.job)
    rows = [word for word in given.rows if "=" not in word or Path(word).is_file()]
    overrides = [*given.overrides, *(word for word in given.rows if word not in rows)]
    for name in ("config", "output"):
        if getattr(given, name) is None:
            parser.error(f"--{name} is needed where there is no --job")
    if not rows:
        parser.error("--rows is needed where there is no --job")
    recipe = read_recipe(given.config, overrides)
    made, loss = made_by(*configure(recipe.method, given.config))
    if kind == "steps":
        kind = "reward" if given.kind == "pairs" else kind
        own = recipe.train if made == kind else options_of_kind(kind, recipe.train)
        recipe = replace(recipe, train={**own, **value_options(recipe.value)}, model=_value_base(recipe))
    return Job(
        kind=kind,
        rows=tuple(rows),
        policy_base=given.model or recipe.model,
        policy_adapter=given.adapter,
        output=given.output,
        options=recipe.train,
        seed=recipe.seed,
        loss=loss if kind == made else None,
        recipe=given.config,
    )


def _value_base(recipe: Recipe) -> str:
    return str(recipe.value.get("model") or recipe.model)


def prepare_process() -> None:
    """Set what must be set before torch is used: device and threads.

    One accelerate config serves machines with and without GPUs because this decides: without one, accelerate and
    DeepSpeed are told to use the CPU (gloo), and the cores are divided among the processes of this machine; two
    processes with all cores each slow each other down manyfold.
    """
    import torch

    if torch.cuda.is_available():
        return
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # the variable below would make accelerate drop DeepSpeed
    else:
        os.environ["ACCELERATE_USE_CPU"] = "true"
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)


def report(sentence: str, output: Path | None) -> None:
    """Print an error once: by the rank that writes error.json first, or by rank 0 where there is no output yet."""
    if output is None:
        if os.environ.get("RANK", "0") == "0":
            print(f"error: {sentence}", file=sys.stderr)
        return
    output.mkdir(parents=True, exist_ok=True)
    try:
        with (output / ERROR).open("x", encoding="utf-8") as file:
            json.dump({"sentence": sentence}, file)
    except FileExistsError:
        return
    print(f"error: {sentence}", file=sys.stderr)


def train(job: Job) -> Result:
    """Train a job in this process (one of several under a launcher) and write its result."""
    import torch

    from selfimprove.models import load_tokenizer, model_folder
    from selfimprove.training.checks import Events, check_finished, last_checkpoint, trainer_state
    from selfimprove.training.data import load_rows
    from selfimprove.training.distributed import in_force, launcher_command, refuse_fallback, requested
    from selfimprove.training.policy import save_policy

    began = time.monotonic()
    output = Path(job.output).absolute()
    check_options(job.kind, job.options, job.recipe or str(output), job.loss)
    first = os.environ.get("RANK", "0") == "0"
    asked = requested(os.environ, launcher_command())
    cpu = not torch.cuda.is_available()
    args = trainer_config(job.kind, job.options, output / CHECKPOINTS, job.seed, job.loss, cpu)
    if first:
        (output / RESULT).unlink(missing_ok=True)
        (output / ERROR).unlink(missing_ok=True)
        refuse_another_job(job)
    job = replace(job, policy_base=str(model_folder(job.policy_base)))
    tokenizer = load_tokenizer(job.policy_base)
    cache = output / DATA / os.environ.get("GROUP_RANK", "0")
    with args.main_process_first(local=True, desc="tokenising rows"):
        objective = read_objective(job.options.get("objective"), "train.objective")
        mode = getattr(args, "truncation_mode", "keep_start")  # value models have no such option
        rows, counts = load_rows(job, tokenizer, args.max_length, mode, cache, objective)
    trainer = make_trainer(job, args, tokenizer, rows)
    trainer.preview_path = output / PREVIEW
    trainer.add_callback(Events(output / EVENTS))
    keep_torch_optimizer(trainer)
    found = in_force(trainer.accelerator)
    refuse_fallback(asked, found)
    if first:
        print(f"{counts['trained']} rows ({counts['cut']} cut, {counts['left_out']} left out as too long); {found}")
    checkpoint = last_checkpoint(output / CHECKPOINTS) if job.options.get("resume", True) else None
    started_at = (trainer_state(checkpoint) or {}).get("global_step", 0) if checkpoint else 0
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    check_finished(trainer.state.global_step, trainer.state.max_steps, started_at)
    name = "adapter" if lora_fields(job.options.get("lora")) is not None else "model"
    save_policy(trainer, job, output / name, tokenizer)
    result = Result(
        adapter=str(output / name) if name == "adapter" else None,
        model=str(output / name) if name == "model" else None,
        base=job.policy_base,
        steps=trainer.state.global_step,
        steps_now=trainer.state.global_step - started_at,
        seconds=round(time.monotonic() - began, 2),
        metrics=final_metrics(trainer.state.log_history),
        rows=counts,
        distributed={**vars(found), "asked": str(asked), "found": str(found), "device": str(args.device)},
    )
    if first:
        shutil.rmtree(output / DATA, ignore_errors=True)
        result.write(output)
        shutil.rmtree(output / CHECKPOINTS, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()
    return result


def make_trainer(job: Job, args: Any, tokenizer: Any, rows: Any) -> Any:
    """Return the trainer of a job's kind or loss, with model, reference and collator in place."""
    import numpy

    from selfimprove.training.policy import load_policy, load_reference

    if job.kind in HEADS:
        from selfimprove.training.value import make_head_trainer

        return make_head_trainer(job, args, tokenizer, rows)
    zero3 = args.deepspeed_plugin is not None and args.deepspeed_plugin.zero_stage == 3
    cpu = args.device.type == "cpu"
    model, adapter = load_policy(job, cpu, zero3)
    common: dict[str, Any] = {"model": model, "args": args, "train_dataset": rows}
    common |= {"tokenizer": tokenizer, "peft_config": adapter}
    own = own_loss(job.kind, job.options, job.loss)
    options = own_options(own, job.options)
    if job.kind == "sft":
        common["objective"] = read_objective(job.options.get("objective"), "train.objective")
        if own is not None:
            return own.load().make_trainer(options=options, grouped=own.grouped, **common)
        from selfimprove.training.sft import ExampleTrainer

        return ExampleTrainer(**common)
    numbers = rows.with_format("numpy", columns=["weight", "smoothing"])[:]
    common["weighted"] = bool((numbers["weight"] != 1).any())
    common["smoothed"] = not bool(numpy.isnan(numbers["smoothing"]).all())
    common["ref_model"] = load_reference(job, cpu, args.precompute_ref_log_probs)
    if own is not None:
        return own.load().make_trainer(options=options, **common)
    from selfimprove.training.dpo import PairTrainer

    return PairTrainer(**common)


def keep_torch_optimizer(trainer: Any) -> None:
    """Let DeepSpeed's offload keep torch's AdamW on a machine without a GPU.

    There the weights are in host memory anyway, and the C++ Adam that offload asks for takes minutes to compile.
    """
    plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    if plugin is not None and trainer.accelerator.device.type == "cpu":
        plugin.deepspeed_config["zero_force_ds_cpu_optimizer"] = False


def final_metrics(history: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the figures of a training: first and last loss, the mean loss, rows a second."""
    losses = [entry for entry in history if "loss" in entry]
    metrics: dict[str, float] = {}
    if losses:
        metrics = {"loss_first": losses[0]["loss"], "loss_last": losses[-1]["loss"]}
        for long, short in (("rewards/margins", "margin"), ("rewards/accuracies", "accuracy")):
            if long in losses[-1]:
                metrics[short] = losses[-1][long]
    for name in ("consistent", "gated"):  # of the loss scir: how many pairs DPO and how many the penalty acted on
        values = [entry[name] for entry in losses if name in entry]
        if values:
            metrics[name] = sum(values) / len(values)
    summary = next((entry for entry in reversed(history) if "train_runtime" in entry), {})
    for long, short in (
        ("train_loss", "loss"),
        ("train_runtime", "train_seconds"),
        ("train_samples_per_second", "rows_per_second"),
    ):
        if long in summary:
            metrics[short] = summary[long]
    return metrics
