"""A run folder as a finished run leaves it, written by the real store, with an adapter and a model of a few kB."""

import json
from pathlib import Path
from typing import Any

import numpy
import yaml
from safetensors.numpy import save_file

from selfimprove.config import make_recipe
from selfimprove.evaluation.heldout import Item, summary
from selfimprove.records import Example, Prompt, Skip
from selfimprove.store import RowWriter, Store

API_KEY = "sk-aSecretThatMustNotLeave123"
START, POLICIES = "0" * 32, ("0" * 32, "1" * 32, "2" * 32)
RIGHT = (10, 18, 25)  # of 40 held-out items, after each round
BASE = "/somewhere/models/smollm2-135m-instruct-0.1.2-1"


def make_recipe_of(folder: Path, **changes: Any) -> dict[str, Any]:
    """A recipe with everything that must not be published: a key, a password in an address, local paths."""
    return {
        "method": {"name": "raft", "samples": 4, "max_tokens": 48},
        "model": "embedded",
        "prompts": str(folder / "private" / "train.jsonl"),
        "heldout": {"sums": "data/arithmetic/heldout.jsonl"},
        "rounds": 2,
        "seed": 7,
        "engine": {"name": "server", "url": "http://me:hunter22pass@10.0.0.3:8000/v1", "api_key": API_KEY},
        "train": {"learning_rate": 1e-4, "lora": {"r": 4}},
        "output": str(folder / "run"),
        **changes,
    }


def make_folder(
    folder: Path,
    *,
    watched: bool = True,
    merged: bool = True,
    rounds: int = 2,
    finished: int | None = None,
    base: str = BASE,
    **recipe: Any,
) -> Path:
    """Write a run of `rounds` rounds that ended with the policy of round `finished` (the last one)."""
    plain = make_recipe_of(folder, **recipe)
    run = folder / "run"
    with Store(run).open(make_recipe(plain, "test")) as store:
        # As the user wrote it: the store keeps defaults too, which only make the expected text longer.
        (run / "recipe.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
        (run / "ledger.sqlite").write_bytes(b"every answer of the run")
        store.event("started", model=base, policy=START, prompts=30)
        for number in range(rounds + 1):
            if number:
                collect(store, number)
                learn(store, number, str(folder))
            evaluate(store, number)
            if watched:
                watch(store, number)
        if merged:
            write_model(run / "model", str(folder))
        last = rounds if finished is None else finished
        store.event("finished", model=str(run / "model"), policy=POLICIES[last])
    return run


def collect(store: Store, number: int) -> None:
    """20 rows of 30 prompts, of which hygiene leaves 17 in round 1."""
    writer = RowWriter(store.stage_folder(number, "collect"))
    for i in range(30):
        prompt = Prompt(f"q{i}", ({"role": "user", "content": f"What is {i} + 1?"},), gold=str(i + 1))
        if i % 3:
            writer.write(Example.of(prompt, f"{i} + 1 = {i + 1} & done | <|end|>", reward=1.0, round=number))
        else:
            writer.write(Skip(prompt.id, "truncated" if i % 2 else "below_threshold"))
    files = writer.close()
    asked = {"generate": 30, "samples": 120, "failed": 2, "score": 0, "check": 118}
    store.finish(
        number, "collect", files, prompts=30, rows=writer.rows, skips=writer.skips, policy=POLICIES[number - 1],
        metrics={"policy_reward": 0.375}, asked=asked,
    )  # fmt: skip
    if number == 1:
        rows = RowWriter(store.stage_folder(1, "assemble"))
        for place, row in enumerate(store.rows(1)):
            rows.write(Skip(row["id"], "near_duplicate") if place < 3 else row)
        store.finish(1, "assemble", rows.close(), rows=rows.rows, skips=rows.skips)


def learn(store: Store, number: int, local: str) -> None:
    """An adapter as peft writes it, local path and all, beside the files of a trainer that must not be pushed."""
    folder = store.stage_folder(number, "learn")
    adapter = folder / "adapter"
    adapter.mkdir(parents=True)
    tensors = numpy.random.default_rng(number).standard_normal((64, 600)).astype("float32")
    save_file({"base_model.model.layers.0.q_proj.lora_A.weight": tensors}, adapter / "adapter_model.safetensors")
    config = {"base_model_name_or_path": BASE, "peft_type": "LORA", "r": 4, "lora_alpha": 8, "revision": None}
    (adapter / "adapter_config.json").write_text(json.dumps(config, indent=2))
    (adapter / "optimizer.pt").write_bytes(b"state")
    (adapter / "trainer_state.json").write_text("{}")
    (folder / "checkpoints" / "checkpoint-5").mkdir(parents=True)
    (folder / "checkpoints" / "checkpoint-5" / "adapter_model.safetensors").write_bytes(b"older")
    (folder / "job.json").write_text(json.dumps({"output": f"{local}/run/round-{number}/learn"}))
    result = {
        "adapter": str(adapter), "model": None, "base": BASE, "steps": 9, "steps_now": 9, "seconds": 12.5,
        "metrics": {"loss_first": 0.75, "loss_last": 0.25}, "rows": {"trained": 17, "left_out": 1, "cut": 2},
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    store.finish(number, "learn", adapter=f"round-{number}/learn/adapter", model=None, policy=POLICIES[number])


def evaluate(store: Store, number: int) -> None:
    """40 held-out items, one of which cannot be graded."""
    writer = RowWriter(store.stage_folder(number, "evaluate") / "sums")
    items = [Item(f"h{i}", None if i == 39 else i < RIGHT[number], str(i), f"It is {i}.", tokens=8) for i in range(40)]
    for item in items:
        writer.write(item)
    store.finish(number, "evaluate", writer.close(), sets={"sums": summary(items)}, policy=POLICIES[number])


def watch(store: Store, number: int) -> None:
    """Figures of the drift watch; round 2 broke a limit."""
    figures = {"tokens": 8.0 + number, "kl": 0.5 * number, "entropy": 1.25 - number / 4, "judge": None}
    breaches = ["tokens 10 is above the limit 9.5"] if number == 2 else []
    store.finish(number, "watch", (), figures=figures, breaches=breaches)


def write_model(folder: Path, local: str) -> None:
    """A merged model whose configuration remembers where it was made."""
    folder.mkdir()
    tensors = numpy.random.default_rng(9).standard_normal((300, 300)).astype("float32")
    save_file({"model.embed_tokens.weight": tensors}, folder / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps({"_name_or_path": f"{local}/base", "model_type": "llama"}, indent=2)
    )
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"/home/": 1, "</s>": 2}}}))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "training_args.bin").write_bytes(b"pickle")
