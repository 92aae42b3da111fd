"""Generated tasks as prompts, and the check that held-out items are not trained on."""

import pytest

from selfimprove.errors import ConfigError
from selfimprove.records import Prompt
from selfimprove.sources import load_prompts, normalized_text, source_id

pytestmark = pytest.mark.slow  # importing reasoning-gym takes seconds


def test_generated_prompts_are_the_same_again_and_carry_what_grades_them():
    source = {"gym": "chain_sum", "size": 20, "seed": 3, "config": {"max_terms": 2}, "instruction": "{prompt}\nShort."}
    prompts = list(load_prompts(source))
    assert prompts == list(load_prompts(source))
    assert len({prompt.id for prompt in prompts}) == 20
    first = prompts[0]
    assert first.verifier == "gym" and first.meta["gym"] == "chain_sum"
    assert first.meta["entry"]["answer"] == first.gold
    assert first.text == first.meta["question"] + "\nShort."
    assert Prompt.from_row(first.to_row()).to_row() == first.to_row()
    assert list(load_prompts({**source, "slice": "5:7"})) == prompts[5:7]
    assert [p.text for p in load_prompts({**source, "seed": 4})] != [p.text for p in prompts]
    plain = next(load_prompts({**source, "verifier": "answer"}))
    assert plain.verifier == "answer" and "entry" not in plain.meta
    assert source_id(source) == source_id(dict(source)) != source_id({**source, "seed": 4})


def test_bad_tasks_and_options():
    for source, part in (
        ({"gym": "chain_sim"}, "reasoning-gym has no task 'chain_sim'; did you mean 'chain_sum'"),
        ({"gym": "chain_sum", "config": {"max_term": 3}}, "has no option 'max_term'; did you mean 'max_terms'"),
        ({"gym": "chain_sum", "config": {"max_terms": 1}}, "refuses {'max_terms': 1}"),
        ({"gym": "chain_sum", "siz": 3}, "a gym task has no option 'siz'; did you mean 'size'"),
        ({"gym": "chain_sum", "size": 0}, "size is 0; it must be at least 1"),
    ):
        with pytest.raises(ConfigError) as error:
            list(load_prompts(source, "r.yaml: prompts"))
        assert str(error.value).startswith("r.yaml: prompts: ") and part in str(error.value)


def asked(name: str, text: str, **values) -> Prompt:
    return Prompt(name, ({"role": "system", "content": "s"}, {"role": "user", "content": text}), **values)


def test_the_same_question_is_recognised_whatever_case_spacing_and_instruction():
    held = {normalized_text(asked("h1", "What is 3 + 4?")), normalized_text(asked("h2", "Tom has 5 apples."))}
    assert not held & {normalized_text(asked(f"t{n}", f"What is {n} + 4?")) for n in (1, 2)}
    same = [
        asked("t3", "what is  3 + 4"),
        asked("t4", "Answer shortly: What is 3 + 4?", meta={"question": "What is 3 + 4?"}),
        asked("t5", "TOM has 5 apples!"),
        asked("t6", "Tom has 5 apples."),
    ]
    assert {normalized_text(prompt) for prompt in same} == held


def test_what_differs_is_told_apart():
    different = ["3 + 4", "3 - 4", "3 * 4", "3.4", "34", "3 4", "Tom has 3", "Tom has 4"]
    assert len({normalized_text(asked("x", text)) for text in different}) == len(different)
