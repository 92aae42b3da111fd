"""Rows that hold held-out items."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.building.decontaminate import Index, heldout_texts, texts_against
from selfimprove.building.texts import Texts
from selfimprove.errors import ConfigError
from selfimprove.records import Prompt
from selfimprove.resources import resource_folder
from selfimprove.sources import load_prompts

FOX = "the quick brown fox jumps over the lazy dog while a small cat sleeps under the old oak tree"


def row(prompt: str, *answers: str) -> Texts:
    return Texts((prompt,), answers)


def test_a_run_of_thirteen_words_in_prompt_or_answer_is_found_and_named():
    index = Index({"tales": [FOX]})
    words = FOX.split()
    assert index.runs == len(words) - 12 == 7
    thirteen = "X, Fox! " + " ".join(words[3:16]).upper() + "; and so on"
    for found in (index.find(row(thirteen)), index.find(row("tell", thirteen)), index.find(row("a", "b", thirteen))):
        assert found and (found.set, found.words) == ("tales", " ".join(words[3:16]))
    assert str(index.find(row(thirteen))) == f"tales: '{' '.join(words[3:16])}'"
    assert index.find(row(" ".join(words[3:15]) + " and so on and on and on")) is None  # twelve words
    assert index.find(row(" ".join(words[:7]), " ".join(words[7:]))) is None  # runs do not cross from text to text


def test_short_texts_are_compared_whole():
    index = Index({"sums": ["What is 4 + 5?"]})
    for same in ("what is 4 + 5", "Think.\nWhat is 4 + 5?\nOne line.", "What   is 4+5 ?!"):
        found = index.find(row(same))
        assert found and (found.set, found.words) == ("sums", "what is 4 + 5")
    for other in ("What is 4 - 5?", "What is 4 + 5 + 6?", "So what is 4 + 5?", "What is 44 + 5?", "?", ""):
        assert index.find(row(other)) is None
    assert index.find(row("Make a question.", "What is 4 + 5?"))


def test_long_texts_are_found_whole_even_where_no_run_counts():
    same = [f"{start} and then {FOX}" for start in "abcdefghijklm"]
    index = Index({"tales": same})
    assert index.find(row(FOX)) is None  # all its runs stand in 13 items: boilerplate
    assert index.find(row("no", same[3])) is not None
    assert Index({"tales": same[:10]}).find(row(FOX)) is not None
    assert Index({"tales": [same[0]] * 50}).find(row(FOX)) is not None  # one text, however often


def test_of_a_text_full_of_numbers_only_runs_with_numbers_count():
    story = "there are 8 red cards on a small table and zoe puts some more cards on it then how many are there"
    index = Index({"sums": [story]})
    sibling = story.replace("8", "5")
    assert index.find(row(story)) and index.find(row(sibling)) is None
    assert index.find(row("well there are 8 red cards on a small table and zoe puts some books"))
    assert Index({"sums": [story.replace("8 ", "")]}).find(row(sibling.replace("5 ", "")))
    passage = "in 1492 " + FOX + " and " + FOX  # one date in a long text: all runs count
    assert Index({"tales": [passage]}).find(row(FOX))


def test_the_shipped_questions_from_the_same_templates_are_not_all_thrown_away():
    folder = resource_folder("data") / "arithmetic"
    held = list(load_prompts(str(folder / "heldout.jsonl")))
    index = Index({"arithmetic": heldout_texts(held)})
    train = [row(prompt.text, prompt.solution or "") for prompt in load_prompts(str(folder / "train.jsonl"))]
    dirty = sum(found is not None for found in index.find_all(train))
    assert dirty == 41 and len(train) == 1600
    assert all(index.find_all([row(prompt.text) for prompt in held]))
    assert all(index.find_all([row("Say:", prompt.text.upper()) for prompt in held]))


@given(st.lists(st.lists(st.sampled_from("abcde"), min_size=1, max_size=9), min_size=1, max_size=5),
       st.lists(st.sampled_from("abcde"), max_size=12), st.integers(2, 5))  # fmt: skip
def test_found_exactly_where_a_run_is_shared_or_a_text_is_whole(held, said, n):
    index = Index({"set": [" ".join(text) for text in held]}, n)
    runs = {tuple(text[i : i + n]) for text in held for i in range(len(text) - n + 1)}
    ours = [tuple(said[i : i + n]) for i in range(len(said) - n + 1)]
    found = index.find(row(" ".join(said)))
    assert (found is not None) == (said in held or any(run in runs for run in ours))
    if found and said not in held:
        assert tuple(found.words.split()) == next(run for run in ours if run in runs)


def test_many_rows_at_once_say_the_same_as_one_by_one():
    index = Index({"a": [FOX], "b": ["short one", "x " + FOX]})
    rows = [row("short one"), row("clean"), row(FOX, FOX), row("", "short one"), row("n\nshort one")]
    assert index.find_all(rows) == [index.find(one) for one in rows]
    assert [found and found.set for found in index.find_all(rows)] == ["b", None, "a", "b", "b"]


def test_held_out_texts_are_questions_and_long_worked_answers():
    long = "first there are 4 + 5 = 9 of them then we take away 3 and so 6 are left"
    prompts = [
        Prompt("a", ({"role": "user", "content": "What is 4 + 5?"},), "9", "4 + 5 = 9"),
        Prompt("b", ({"role": "system", "content": "sys"}, {"role": "user", "content": "How many?"}), "9", long),
        Prompt("c", ({"role": "user", "content": "Q: " + FOX + " A:"},), meta={"question": FOX}),
    ]
    assert list(heldout_texts(prompts)) == ["What is 4 + 5?", "How many?", long, FOX]


def test_sources_are_loaded_and_named(tmp_path):
    file = tmp_path / "test.jsonl"
    file.write_text(json.dumps({"question": "What is 1 + 1?", "answer": "1 + 1 = 2\n#### 2"}) + "\n")
    own = Prompt("a", ({"role": "user", "content": "What is 3 + 3?"},))
    found = texts_against(
        {"held": [own]}, [{"name": "gsm8k", "path": str(file)}, {"name": "gsm8k", "path": str(file)}]
    )
    assert {name: list(texts) for name, texts in found.items()} == {
        "held": ["What is 3 + 3?"],
        "gsm8k": ["What is 1 + 1?"],
        "gsm8k'": ["What is 1 + 1?"],
    }
    with pytest.raises(ConfigError, match="no data set by the name 'gsm9k'; did you mean 'gsm8k'"):
        list(texts_against({}, [{"name": "gsm9k", "path": str(file)}]).values())


def test_an_instruction_of_the_source_is_not_part_of_the_item(tmp_path):
    file = Path(tmp_path / "q.jsonl")
    file.write_text(json.dumps({"id": "a", "prompt": FOX}) + "\n")
    rules = "Answer the following riddle in one line and give 3 reasons for it and then stop at once: {prompt}"
    prompts = load_prompts({"path": str(file), "instruction": rules})
    index = Index({"riddles": heldout_texts(prompts)})
    assert index.find(row(rules.format(prompt="why do 2 birds sing?"))) is None
    assert index.find(row(rules.format(prompt=FOX))) is not None


def test_a_run_has_at_least_two_words():
    with pytest.raises(ConfigError, match="ngram is 1"):
        Index({}, 1)
    assert Index({}).find(row(FOX)) is None
