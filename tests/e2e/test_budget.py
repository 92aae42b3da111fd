"""A budget that ends within a training stops it there; with a larger one the same command goes on to the end."""

import pytest
from killing import finish, last_event, start, write_recipe

pytestmark = pytest.mark.slow


def test_a_budget_that_ends_in_training_stops_it_and_a_larger_one_goes_on(tmp_path, tiny_model):
    recipe, folder = write_recipe(tmp_path, tiny_model), tmp_path / "run"
    plain = recipe.read_text().replace("rounds: 2", "rounds: 1").replace("num_train_epochs: 2", "num_train_epochs: 25")
    recipe.write_text(plain + "budget: {max_hours: 0.003}\n")
    process = start(recipe, "run")
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 3, text
    assert "budget.max_hours is reached" in text and "budget.max_hours=0.006" in text
    assert last_event(folder)["event"] == "budget"
    assert (folder / "round-1" / "collect.json").exists() and (folder / "round-1" / "learn" / "job.json").exists()
    assert not (folder / "round-1" / "learn.json").exists(), "the training ended before the budget did"
    recipe.write_text(plain + "budget: {max_hours: 1}\n")
    finish(start(recipe, "run"))
    assert last_event(folder)["event"] == "finished"
