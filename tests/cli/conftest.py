"""A real run over the scripted engine: what `show`, `evaluate` and `validate` are tested on."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from selfimprove.cli.main import main

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("bench")

METHOD = '''"""Own: keep the right answers. Paper: none."""
from dataclasses import dataclass
from selfimprove.records import Example, Skip

NEEDS, MAKES = {"gold"}, "sft"

@dataclass(frozen=True)
class Config:
    """Options."""

    samples: int = 2  # answers

async def collect(cfg, run, prompt):
    samples = await run.sample(prompt, cfg.samples, temperature=0.7)
    right = [s for s in samples if (await run.check(prompt, s.text)).score == 1]
    if not right:
        return [Skip(prompt.id, "none_right", f"said {samples[0].text}")]
    return [Example.of(prompt, right[0].text, reward=1.0, round=run.round)]

async def learn(cfg, run, rows):
    return run.policy
'''


@pytest.fixture
def told(capsys):
    """Return a function that runs a command line and gives what it printed."""

    def told(*words, code: int = 0) -> str:
        with pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        assert (stopped.value.code or 0) == code, captured.err
        return captured.out + captured.err

    return told


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, tiny_model) -> SimpleNamespace:
    """Run two rounds of a small method; give the folder, the recipe file and the data."""
    from selfimprove.config import read_recipe
    from selfimprove.loop import run_recipe

    folder = tmp_path_factory.mktemp("cli")
    (folder / "own.py").write_text(METHOD)
    write_sums(folder / "train.jsonl", [(i, j) for i in range(4) for j in range(5)])
    write_sums(folder / "held.jsonl", [(i, 9) for i in range(10)])
    recipe = folder / "own.yaml"
    recipe.write_text(
        yaml.safe_dump(
            {
                "method": {"name": str(folder / "own.py")},
                "model": str(tiny_model),
                "prompts": str(folder / "train.jsonl"),
                "heldout": {"sums": str(folder / "held.jsonl")},
                "engine": {"name": "scripted"},
                "rounds": 2,
                "output": str(folder / "run"),
            }
        )
    )
    run_recipe(read_recipe(recipe), str(recipe), say=lambda line: None)
    return SimpleNamespace(run=folder / "run", recipe=recipe, folder=folder, model=tiny_model)


def write_sums(path: Path, pairs: list[tuple[int, int]], wrong: tuple[str, ...] = ()) -> None:
    """Write a JSONL file of additions; ids in `wrong` get a gold answer that cannot be evaluated."""
    rows = [{"id": f"q{i}-{j}", "prompt": f"What is {i} + {j}?", "gold": str(i + j)} for i, j in pairs]
    for row in rows:
        if row["id"] in wrong:
            row["gold"] = "3/0"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def sums():
    """Return the function that writes a JSONL file of additions."""
    return write_sums


@pytest.fixture(scope="session")
def finished_bench(tmp_path_factory, tiny_model) -> Path:
    """Return the folder of a finished run of the bench's own recipe."""
    from bench import Bench

    from selfimprove.config import read_recipe
    from selfimprove.loop import run_recipe

    folder = tmp_path_factory.mktemp("bench")
    Bench(folder, tiny_model, folder).lay()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return (folder / run_recipe(read_recipe("own.yaml"), "own.yaml", say=lambda line: None)).absolute()


@pytest.fixture
def bench(tmp_path, tiny_model, finished_bench, monkeypatch):
    """Return a bench of good files, with the working directory on it."""
    from bench import Bench

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return Bench(tmp_path, tiny_model, finished_bench).lay()
