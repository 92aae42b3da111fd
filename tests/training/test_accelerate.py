"""Two processes on the CPU give the losses of one, under the parallelism that was asked for (slow)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from selfimprove.training.distributed import Parallelism
from selfimprove.training.job import Job, Result

from .conftest import OPTIONS, losses, write_rows

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
STEPS = 4
EXPECTED = {
    "ddp": Parallelism("ddp", 2),
    "zero2": Parallelism("deepspeed", 2, 2),
    "zero3": Parallelism("deepspeed", 2, 3),
    "zero3_offload": Parallelism("deepspeed", 2, 3),
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory, tiny_model):
    """Return (folder with recipe and rows, losses of one process with the whole batch, its trained weights)."""
    folder = tmp_path_factory.mktemp("accelerate")
    rows = write_rows(folder / "rows.jsonl", "pairs")
    train = {**OPTIONS, "max_steps": STEPS, "beta": 0.5}
    recipe = {"method": "spin", "model": str(tiny_model), "prompts": "unused.jsonl", "seed": 3, "train": train}
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    from selfimprove.training.launch import run_job

    job = Job("pairs", (str(rows),), str(tiny_model), None, str(folder / "single"), train, 3)
    events: list[dict] = []
    result = run_job(job, on_event=events.append)
    assert [event["step"] for event in events] == [1, 2, 3, 4] and result.distributed["kind"] == "single"
    return folder, losses(job.output), result


def launch(folder: Path, config: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--config_file"]
    command += [config, "selfimprove/train_dpo.py", "--config", str(folder / "recipe.yaml")]
    command += ["--rows", str(folder / "rows.jsonl"), "train.per_device_train_batch_size=2", *words]
    return subprocess.run(command, cwd=ROOT, timeout=300, capture_output=True, text=True)


@pytest.mark.parametrize("name", list(EXPECTED))
def test_two_processes_give_the_losses_of_one(bench, name):
    from safetensors.torch import load_file

    folder, expected, single = bench
    output = folder / name
    done = launch(folder, f"accelerate_configs/{name}.yaml", "--output", str(output))
    assert done.returncode == 0, done.stderr[-2000:]
    result = Result.read(output)
    assert result is not None and result.steps == STEPS
    found = Parallelism(*(result.distributed[key] for key in ("kind", "processes", "zero_stage")))
    assert found == EXPECTED[name]
    assert losses(output) == pytest.approx(expected, abs=2e-3)
    mine, theirs = (load_file(Path(one.adapter) / "adapter_model.safetensors") for one in (result, single))
    assert mine.keys() == theirs.keys()  # whole weights, gathered from the ranks, not empty shards
    assert all(mine[key].shape == theirs[key].shape for key in mine)
    assert max(float((mine[key] - theirs[key]).abs().max()) for key in mine) < 2e-2  # of updates of 1e-2 a step


def test_a_config_that_starts_one_process_instead_of_two_is_refused(bench):
    folder, _, _ = bench
    text = (ROOT / "accelerate_configs/ddp.yaml").read_text().replace("MULTI_GPU", "MULTI_CPU")
    (folder / "multi_cpu.yaml").write_text(text + "use_cpu: true\n")
    done = launch(folder, str(folder / "multi_cpu.yaml"), "--output", str(folder / "refused"))
    assert done.returncode != 0
    assert (
        "error: the launcher was asked for ddp with 2 processes, but single with 1 process is in force" in done.stderr
    )
    assert done.stderr.count("error: the launcher") == 1


def test_fsdp_without_gpus_is_refused_once_for_all_ranks(bench):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this is about machines without a GPU")
    folder, _, _ = bench
    done = launch(folder, "accelerate_configs/fsdp2.yaml", "--output", str(folder / "fsdp"))
    assert done.returncode != 0
    assert done.stderr.count("FSDP needs GPUs; without them use ddp, zero2 or zero3") == 1
