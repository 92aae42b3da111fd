"""The recipe: every key is checked, every error names file and key, equal recipes have equal digests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.config import (
    Recipe,
    apply_override,
    differing_keys,
    digest,
    fill,
    help_texts,
    make_recipe,
    parse_yaml,
    read_recipe,
    to_plain,
)
from selfimprove.errors import ConfigError

MINIMAL = "method: raft\nprompts: data.jsonl\n"


def write(tmp_path, text, name="r.yaml"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_minimal_recipe_takes_its_defaults(tmp_path):
    recipe = read_recipe(write(tmp_path, MINIMAL))
    assert (recipe.method, recipe.model, recipe.rounds) == ({"name": "raft"}, "embedded", 1)
    assert recipe.engine == {"name": "vllm"} and recipe.collect.window == 256


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: raft\nprompts: x\nroundz: 2\n", r"a recipe has no option 'roundz'; did you mean 'rounds'\?"),
        ("method: raft\nprompts: x\nrounds: two\n", r"rounds is 'two': input should be a valid integer"),
        ("method: raft\nprompts: x\nrounds: -1\n", r"rounds is -1; it cannot be negative"),
        ("method: raft\nprompts: x\ncollect: {windw: 3}\n", r"no option 'windw'; did you mean 'window'"),
        ("method: raft\nprompts: x\ncollect: {window: 0}\n", r"collect.window is 0; it must be at least 1"),
        ("method: raft\nprompts: x\ncollect: {on_failure: ignore}\n", r"allowed: stop, skip"),
        ("method: raft\nprompts: x\nexport: gguf\n", r"export is 'gguf'; allowed: merged, adapter"),
        ("method: {samples: 3}\nprompts: x\n", r"method needs a name"),
        ("method: raft\n", r"'prompts' is missing \(where the training prompts come from"),
        ("method: raft\nprompts: x\nrounds: 1\nrounds: 2\n", r"line 4: not valid YAML: key 'rounds' stands twice"),
        ("method: [raft\n", r"not valid YAML"),
        ("- raft\n- spin\n", r"a recipe is a mapping of options, this file holds a list"),
        ("", r"this file holds nothing"),
        (b"method: \xff\xfe", r"not UTF-8 text"),
    ],
)
def test_bad_recipes_are_refused_in_one_sentence(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_recipe(write(tmp_path, text))
    assert "r.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_recipe_says_where_to_look(tmp_path):
    with pytest.raises(ConfigError, match="no such recipe; `selfimprove recipes ls`"):
        read_recipe(tmp_path / "absent.yaml")


def test_overrides_reach_into_sections_and_are_yaml(tmp_path):
    path = write(tmp_path, MINIMAL)
    recipe = read_recipe(
        path, ["method.samples=16", "rounds=0", "train.learning_rate=1e-5", "heldout={a: b.jsonl}", "engine=scripted"]
    )
    assert recipe.method == {"name": "raft", "samples": 16}
    assert recipe.rounds == 0 and recipe.train == {"learning_rate": 1e-5}
    assert recipe.heldout == {"a": "b.jsonl"} and recipe.engine == {"name": "scripted"}
    by_round = write(tmp_path, MINIMAL + "train_by_round: {2: {beta: 0.1, seed: 3}}\n", "by-round.yaml")
    assert read_recipe(by_round, ["train_by_round.2.beta=5"]).train_by_round == {2: {"beta": 5, "seed": 3}}
    with pytest.raises(ConfigError, match="'rounds' is not an override; write key=value"):
        read_recipe(path, ["rounds"])
    with pytest.raises(ConfigError, match="'prompts' holds a text, so it has no option 'limit'"):
        read_recipe(path, ["prompts.limit=3"])


def test_yaml_numbers_are_numbers():
    assert parse_yaml("a: 1e-5\nb: 3.0e-4\nc: 5E3\nd: 7\ne: 1e5x", "t") == {
        "a": 1e-5, "b": 3e-4, "c": 5e3, "d": 7, "e": "1e5x",
    }  # fmt: skip


def test_every_option_of_a_recipe_has_help():
    from dataclasses import fields

    assert set(help_texts(Recipe)) == {f.name for f in fields(Recipe)}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), json_values, max_size=5))
def test_digest_ignores_order_and_sees_every_change(value):
    backwards = dict(reversed(value.items()))
    assert digest(value) == digest(backwards)
    assert digest(value) != digest({**value, "\x00new": 1})
    assert differing_keys(value, backwards) == {}


def test_differing_keys_are_dotted():
    old = to_plain(make_recipe({"method": {"name": "raft", "samples": 8}, "prompts": "x"}, "r"))
    new = to_plain(make_recipe({"method": {"name": "raft", "samples": 4}, "prompts": "x", "seed": 3}, "r"))
    assert differing_keys(old, new) == {"method.samples": (8, 4), "seed": (0, 3)}


def test_a_saved_recipe_reads_back_equal():
    data = {"method": "raft", "prompts": {"gym": "chain_sum"}, "train_by_round": {2: {"beta": 5.0}}}
    recipe = make_recipe(data, "r")
    assert fill(Recipe, to_plain(recipe), "saved") == recipe


def test_an_override_cannot_be_lost_in_a_list():
    data = {"method": {"name": "raft"}, "prompts": ["a"]}
    with pytest.raises(ConfigError, match="holds a list"):
        apply_override(data, "prompts.0=b")


def test_a_bound_on_money_needs_a_price():
    with pytest.raises(ConfigError, match=r"budget\.max_cost needs gpu_hour_price"):
        make_recipe({"method": "raft", "prompts": "x", "budget": {"max_cost": 5}}, "r")
    make_recipe({"method": "raft", "prompts": "x", "budget": {"max_cost": 5}, "gpu_hour_price": 2}, "r")
