"""Every shipped recipe is a test case: it parses, says how to launch it, and its plan is checked."""

from pathlib import Path

import pytest
import yaml

from selfimprove.config import read_recipe
from selfimprove.plan import plan
from selfimprove.resources import resource_folder, shipped_file
from selfimprove.training.args import check_options

ROOT = Path(__file__).resolve().parent.parent
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
CONFIGS = sorted((ROOT / "accelerate_configs").glob("*.yaml"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_recipes_are_found_where_the_command_line_looks():
    assert resource_folder("recipes") == ROOT / "recipes"
    assert {"recipes/quick/raft.yaml", "recipes/quick/spin.yaml"} <= set(map(named, RECIPES))
    assert not [path for path in (ROOT / "recipes").rglob("*.yml")], "recipes end in .yaml"


@pytest.mark.parametrize("path", RECIPES, ids=named)
def test_opens_with_what_it_is_and_how_to_launch_it(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("# "))
    assert comment and comment[0].endswith("."), "the first comment line says what the recipe is, in one sentence"
    assert any(line.startswith(f"selfimprove run {named(path)}") for line in comment), "the launch command is missing"


@pytest.mark.parametrize("path", RECIPES, ids=named)
def test_plan_is_checked(path):
    recipe = read_recipe(path)
    checked = plan(recipe, str(path), path.parent)
    assert checked.lines()
    for number in range(1, recipe.rounds + 1):
        check_options(checked.kind, checked.train_options(number), str(path), checked.loss)
    assert set(recipe.train_by_round) <= set(range(1, recipe.rounds + 1)), (
        "train_by_round names a round that is not run"
    )
    assert recipe.heldout, "a shipped recipe measures what it claims"


@pytest.mark.parametrize("path", RECIPES, ids=named)
def test_local_data_exists(path):
    recipe = read_recipe(path)
    for source in (recipe.prompts, *recipe.heldout.values()):
        file = source if isinstance(source, str) else source.get("path", "")
        if file.startswith("data/"):
            assert shipped_file(file) == ROOT / file


@pytest.mark.parametrize("path", CONFIGS, ids=named)
def test_accelerate_configs_are_yaml_with_a_type(path):
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert config["distributed_type"]
    assert config["num_processes"] >= 1


def test_there_are_accelerate_configs():
    assert {"single.yaml", "ddp.yaml", "zero2.yaml", "zero3.yaml", "fsdp2.yaml"} <= {path.name for path in CONFIGS}
