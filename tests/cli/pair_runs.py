"""Small real runs that make pairs over the scripted engine, with an adapter of its own after every round."""

import json
from pathlib import Path

from selfimprove.config import make_recipe
from selfimprove.loop import run_recipe

METHOD = '''"""Own pairs: a right answer is chosen, a wrong one rejected. Paper: none."""
import json
from dataclasses import dataclass
from pathlib import Path
from selfimprove.models import policy_of
from selfimprove.records import Pair, Skip

NEEDS, MAKES = {"gold"}, "pairs"

@dataclass(frozen=True)
class Config:
    """Options."""

    samples: int = 4  # answers
    output: str = ""  # the run folder
    flavour: int = 0  # of the adapters

async def collect(cfg, run, prompt):
    samples = await run.sample(prompt, cfg.samples, temperature=0.7)
    scores = [(await run.check(prompt, sample.text)).score for sample in samples]
    if 1.0 not in scores or 0.0 not in scores:
        return [Skip(prompt.id, "one_sided", f"{scores.count(1.0)} right")]
    chosen, rejected = samples[scores.index(1.0)].text, samples[scores.index(0.0)].text
    await run.logprobs(prompt, chosen)
    return [Pair.of(prompt, chosen=f"  {chosen} ", rejected=rejected, tag=f"r{run.round}", margin=sum(scores) / 4)]

async def learn(cfg, run, rows):
    folder = Path(cfg.output) / f"round-{run.round}" / "learn" / "adapter"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": run.round, "lora_alpha": cfg.flavour}))
    (folder / "adapter_model.safetensors").write_bytes(bytes([run.round, cfg.flavour]))
    return policy_of(run.base.base, str(folder))
'''


def make_run(folder: Path, model: Path, name: str = "run", *, flavour: int = 0, **changes) -> Path:
    """Return the folder of a finished run, its data beside it; `changes` go over its recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own_pairs.py").write_text(METHOD)
    for file, pairs in {
        "train": [(i, j) for i in range(4) for j in range(4)],
        "held": [(i, 9) for i in range(8)],
    }.items():
        rows = [{"id": f"q{i}-{j}", "prompt": f"What is {i} + {j}?", "gold": str(i + j)} for i, j in pairs]
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = folder / name
    plain = {
        "method": {"name": str(folder / "own_pairs.py"), "output": str(output), "flavour": flavour},
        "model": str(model),
        "prompts": str(folder / "train.jsonl"),
        "heldout": {"sums": str(folder / "held.jsonl")},
        "engine": {"name": "scripted"},
        "rounds": 2,
        "export": "adapter",
        "output": str(output),
        **changes,
    }
    run_recipe(make_recipe(plain, "own.yaml"), "own.yaml", say=lambda line: None)
    return output
