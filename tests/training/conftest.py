"""Tiny trainings: jobs over the tiny model, run in this process or as the loop runs them."""

import json
from pathlib import Path

import pytest

from selfimprove.training.job import Job

OPTIONS = {
    "learning_rate": 1e-2,
    "max_steps": 4,
    "per_device_train_batch_size": 4,
    "logging_steps": 1,
    "lora": {"r": 4, "alpha": 8},
    "dtype": "float32",
    "max_length": 256,
}


def write_rows(path: Path, kind: str, count: int = 24, **columns) -> Path:
    """Write rows whose chosen side is right and whose rejected side is wrong."""
    with path.open("w", encoding="utf-8") as file:
        for i in range(count):
            row = {"id": f"r{i}", "prompt": [{"role": "user", "content": f"What is {i} + {i}?"}], **columns}
            good, bad = f"It is {2 * i}.", f"Perhaps it is {2 * i + 1}?"
            row |= {"completion": good} if kind == "sft" else {"chosen": good, "rejected": bad}
            file.write(json.dumps(row) + "\n")
    return path


@pytest.fixture
def rows(tmp_path):
    """Return a function that writes rows of a kind and returns the file."""
    return lambda kind, name="rows.jsonl", **columns: write_rows(tmp_path / name, kind, **columns)


@pytest.fixture
def make_job(tmp_path, tiny_model, rows):
    """Return a function that makes a job over fresh rows."""

    def make(kind: str, name: str = "out", adapter: str | None = None, file: Path | None = None, **options) -> Job:
        path = file or rows(kind, f"{kind}.jsonl")
        return Job(kind, (str(path),), str(tiny_model), adapter, str(tmp_path / name), {**OPTIONS, **options}, seed=3)

    return make


@pytest.fixture
def train_here(monkeypatch):
    """Return a function that trains a job in this process, on the CPU."""
    import torch

    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the tensors are tiny, and other tests run beside
    from selfimprove.training.worker import train

    yield train
    torch.set_num_threads(threads)


def losses(output: str | Path) -> list[float]:
    """Return the losses of a training, step by step."""
    lines = (Path(output) / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]
