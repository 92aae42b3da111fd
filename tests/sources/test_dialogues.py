"""Whole dialogues as prompts with worked answers, and data that ships with the project."""

import json

import pytest

from selfimprove.errors import ConfigError, DataError
from selfimprove.sources import load_prompts

DIALOGUE = [("system", "Be brief."), ("user", "One?"), ("assistant", "1."), ("user", "Two?"), ("assistant", "2.")]


def write(path, *dialogues):
    rows = [
        {"turns": [{"role": role, "content": text} for role, text in dialogue], "key": f"d{i}", "prompt": "ignored"}
        for i, dialogue in enumerate(dialogues)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"path": str(path), "columns": {"id": "key", "messages": "turns"}}


@pytest.mark.parametrize(("turn", "kept", "solution"), [("first", 2, "1."), ("last", 4, "2.")])
def test_a_dialogue_is_cut_at_the_answer_that_is_the_solution(tmp_path, turn, kept, solution):
    source = {**write(tmp_path / "d.jsonl", DIALOGUE), "solution_turn": turn}
    [prompt] = load_prompts(source)
    assert [(m["role"], m["content"]) for m in prompt.messages] == DIALOGUE[:kept]
    assert (prompt.id, prompt.solution) == ("d0", solution)


def test_without_solution_turn_a_dialogue_stays_whole(tmp_path):
    [prompt] = load_prompts(write(tmp_path / "d.jsonl", DIALOGUE))
    assert len(prompt.messages) == 5
    assert prompt.solution is None


@pytest.mark.parametrize("dialogue", [DIALOGUE[:2], [DIALOGUE[2], DIALOGUE[1]]])
def test_a_dialogue_without_an_answer_is_refused_with_its_line(tmp_path, dialogue):
    source = {**write(tmp_path / "d.jsonl", DIALOGUE, dialogue), "solution_turn": "first"}
    with pytest.raises(DataError, match="line 2: no user message with an assistant turn after it"):
        list(load_prompts(source))


def test_an_unknown_turn_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="solution_turn is 'second'; allowed: first, last"):
        load_prompts({**write(tmp_path / "d.jsonl", DIALOGUE), "solution_turn": "second"})


def test_shipped_data_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert next(load_prompts("data/arithmetic/train.jsonl")).id
    with pytest.raises(DataError, match="no such file"):
        list(load_prompts("data/arithmetic/nothing.jsonl"))
