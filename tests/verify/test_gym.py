"""Tasks of reasoning-gym: their own scorers grade their gold answers 1.0, and other answers not."""

import asyncio

import pytest

from selfimprove.errors import DataError
from selfimprove.records import Prompt
from selfimprove.sources import load_prompts
from selfimprove.verify import validate_gold
from selfimprove.verify.gym import Gym
from selfimprove.verify.pool import Pool

TASKS = {
    "chain_sum": {"max_terms": 3},
    "products": {"max_digits": 2},
    "basic_arithmetic": {},
    "simple_equations": {},
    "gsm_symbolic": {},
    "leg_counting": {},
    "fraction_simplification": {},
    "spell_backward": {},
    "word_sorting": {},
    "calendar_arithmetic": {},
    "countdown": {},
    "arc_agi": {},
    "rearc": {},
    "syllogism": {},
    "number_sorting": {},
}


def prompts_of(task: str, size: int = 3) -> list[Prompt]:
    return list(load_prompts({"gym": task, "size": size, "seed": 5, "config": TASKS.get(task, {})}))


@pytest.mark.slow
def test_gold_is_right_and_other_answers_are_not():
    prompts = [prompt for task in TASKS for prompt in prompts_of(task)]
    pool = Pool(workers=1, timeout=4.0)
    gym = Gym(lambda: pool)

    async def run():
        gold = await asyncio.gather(*map(gym.grade_gold, prompts))
        assert [(p.id, v) for p, v in zip(prompts, gold, strict=True) if v.score != 1.0] == []
        other = await asyncio.gather(*[gym.grade(prompt, "banana 987654") for prompt in prompts])
        assert [(p.id, v) for p, v in zip(prompts, other, strict=True) if v.score != 0.0] == []
        assert all(verdict.reason.startswith("raw ") for verdict in gold + other)

        (number,) = prompts_of("chain_sum", 1)
        for text in (
            f"Let me see: <answer>{number.gold}</answer>",
            f"so \\boxed{{{number.gold}}}",
            f"The answer is {number.gold}.",
            f"that gives ... = {number.gold}",
        ):
            assert (await gym.grade(number, text)).score == 1.0, text
        assert (await gym.grade(number, f"{number.gold} or {int(number.gold or 0) + 1}")).score == 0.0
        assert (await gym.grade(number, " ")).reason == "no_answer"

        # an expression is an answer here, and its scorer evaluates it: it must not get out, nor hang
        (countdown,) = prompts_of("countdown", 1)
        for text in ("__import__('os').system('touch /tmp/out')", "9**9**9**9**9"):
            assert (await gym.grade(countdown, text)).score in (0.0, None)

    try:
        asyncio.run(run())
    finally:
        gym.close()


@pytest.mark.slow
def test_validate_gold_lists_puzzles_without_an_answer():
    failed = asyncio.run(validate_gold([*prompts_of("chain_sum", 2), *prompts_of("propositional_logic", 1)]))
    assert [(prompt.id.split("-")[0], verdict.reason) for prompt, verdict in failed] == [
        ("propositional_logic", "no_gold")
    ]


def test_a_prompt_without_its_entry_is_one_error():
    prompt = Prompt("p", ({"role": "user", "content": "?"},), gold="1", verifier="gym")
    with pytest.raises(DataError, match="prompt p: the verifier 'gym' needs meta"):
        asyncio.run(Gym().grade(prompt, "1"))


def test_extraction_prefers_the_tagged_answer():
    gym = Gym()
    assert gym.extract("so 5 <answer> a  b\nc </answer> or 6") == "a b c"
    assert gym.extract("the answer is 12.0 apples") == "12"
    assert gym.extract("") is None
