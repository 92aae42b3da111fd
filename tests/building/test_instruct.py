"""New instructions: ROUGE-L against worked numbers and the textbook, an exact filter, every loss with its reason."""

import asyncio
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.building.instruct import (
    CLOSE,
    OPEN,
    Instruct,
    Pool,
    common_subsequence,
    demonstrations,
    few_shot,
    problem_of,
    read_instruction,
    rouge_l,
    words,
    write_instructions,
)
from selfimprove.config import fill, make_recipe
from selfimprove.engines import open_engine
from selfimprove.engines.base import Policy
from selfimprove.errors import ConfigError
from selfimprove.ledger import Ledger
from selfimprove.records import Prompt, Skip
from selfimprove.run import EngineOnDemand, Run
from selfimprove.runtime import drive
from selfimprove.verify import Verifiers

CRAFTS = ("baker", "sailor", "teacher", "painter", "gardener", "doctor", "pilot")
GIVEN = [f"Tell me number {number} of the things that a {craft} is good at." for number, craft in enumerate(CRAFTS)]
FRESH = [
    "Please tell me what rain tells in spring",
    "Show how a clock shows the time in Rome",
    "What may old wood teach us inside a barn",
    "Can no one spell the word for June",
]
texts = st.lists(st.sampled_from(list("abcde")), max_size=9).map(" ".join)


def table_of_common(first, second):
    """The textbook's table."""
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, one in enumerate(first, 1):
        for j, two in enumerate(second, 1):
            same = table[i - 1][j - 1] + 1 if one == two else 0
            table[i][j] = max(same, table[i - 1][j], table[i][j - 1])
    return table[-1][-1]


def test_rouge_l_of_worked_pairs():
    # 6 and 7 words, all 6 in order: 2 * 6 / 13
    assert rouge_l("Write a poem about the sea", "Write a short poem about the sea") == pytest.approx(
        0.923077, abs=1e-6
    )
    assert rouge_l("Explain photosynthesis to a child", "List three uses of copper") == 0.0
    assert rouge_l("Anything at all", "") == rouge_l("", "") == rouge_l("?!", "?!") == 0.0
    assert rouge_l("Write, a POEM!", "write a poem") == 1.0
    assert words("Übe das «Lied» Nr. 7, it's_fun") == ["übe", "das", "lied", "nr", "7", "it", "s", "fun"]


@given(texts, texts)
def test_the_common_subsequence_is_the_textbooks(first, second):
    assert common_subsequence(first.split(), second.split()) == table_of_common(first.split(), second.split())


@given(st.lists(texts, max_size=12), texts, st.sampled_from([0.3, 0.5, 0.7, 0.8, 1.0]))
def test_the_pool_finds_exactly_what_comparing_with_all_finds(known, new, similarity):
    found = Pool(similarity, known).nearest(new)
    values = [rouge_l(new, text) for text in known]
    best = max(values, default=0.0)
    if best < similarity:
        assert found is None
    else:
        assert found == (known[values.index(best)], best)


def test_thousands_are_filtered_in_seconds():
    rng = random.Random(0)
    common, rare = ["the", "a", "of", "to", "and", "in", "is"], [f"w{n}" for n in range(3000)]
    pool = Pool(0.7)
    began = time.process_time()
    for _ in range(2000):
        text = " ".join(rng.choice(common if rng.random() < 0.5 else rare) for _ in range(rng.randint(6, 20)))
        if pool.nearest(text) is None:
            pool.add(text)
    assert time.process_time() - began < 6  # about one second; comparing with all takes twenty
    assert len(pool) > 1900


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("?!  ...", "no_words"),
        ("Sing it", "too_short"),
        ("so " * 151, "too_long"),
        ("Draw a house with a red roof", "keyword"),
        ("Describe these pictures in one sentence", "keyword"),
        ("write a POEM about the sea.", "duplicate"),
        ("Write a short poem about the sea", "similar"),
        ("Explain how a mapping differs from a list", None),  # `map` is a word of its own
        ("so " * 150, None),
    ],
)
def test_every_loss_has_its_reason(text, reason):
    found = problem_of(Instruct(), text, Pool(0.7, ["Write a poem about the sea"]))
    assert (found and found[0]) == reason


def test_a_similarity_of_exactly_the_limit_is_too_similar():
    # 7 of 10 words in order in both: 2 * 7 / 20 = 0.7
    known, new = "a b c d e f g h i j", "a b c d e f g x y z"
    assert rouge_l(known, new) == 0.7
    assert problem_of(Instruct(), new, Pool(0.7, [known]))[0] == "similar"
    assert problem_of(Instruct(similarity=0.71), new, Pool(0.71, [known])) is None


def test_what_is_written_ends_at_the_next_wrapper():
    assert read_instruction(f" Name a river.\n{CLOSE}\n\n{OPEN}Name a lake.{CLOSE}") == "Name a river."
    assert read_instruction(f"Name a river.\n{OPEN}Name a lake.") == "Name a river."
    assert read_instruction("Name a river.") == "Name a river."
    shown = few_shot(["  Name {{ a }} sea. ", "Sing."])
    assert shown.endswith(f"\n\n{OPEN}") and f"\n{OPEN}Name {{{{ a }}}} sea.{CLOSE}\n" in shown
    assert shown.count(OPEN) == 3 and shown.count(CLOSE) == 2


def test_demonstrations_are_six_given_and_two_written():
    given, written = [f"g{n}" for n in range(20)], [f"w{n}" for n in range(5)]
    for seed in range(20):
        shown = demonstrations(Instruct(), given, written, random.Random(seed))
        assert len(shown) == len(set(shown)) == 8
        assert sum(text.startswith("w") for text in shown) == 2
        alone = demonstrations(Instruct(), given, [], random.Random(seed))
        assert len(set(alone)) == 8 and all(text.startswith("g") for text in alone)
    assert len(demonstrations(Instruct(), given[:3], written, random.Random(0))) == 5  # there are no more


@pytest.mark.parametrize(
    "wrong",
    [
        {"given": 0, "written": 0},
        {"similarity": 0},
        {"min_words": 9, "max_words": 3},
        {"temperature": 0},
        {"tries": 0},
    ],
)
def test_options_that_cannot_work_are_refused(wrong):
    with pytest.raises(ConfigError):
        fill(Instruct, wrong, "recipe: method.instruct")


@pytest.fixture
def written(tmp_path):
    """Return a function that writes instructions with the given texts and returns rows, figures and requests."""

    def written(texts, count, *, known=(), delay=0.0, config=None, **engine):
        script = tmp_path / "script.py"
        source = f"TEXTS = {list(texts)!r}\n\n\ndef answer(request, seed):\n"
        source += "    assert request.messages[-1]['role'] == 'text'\n    return TEXTS[seed % len(TEXTS)]\n"
        script.write_text(source)
        outcomes = []

        async def scene():
            ledger = Ledger(tmp_path / f"{len(list(tmp_path.iterdir()))}.sqlite")
            engine_ = EngineOnDemand(
                open_engine({"name": "scripted", "script": str(script), "delay": delay, **engine})
            )
            recipe = make_recipe({"method": "raft", "prompts": "none"}, "test")
            policy = Policy("scripted", None, "base")
            run = Run(recipe, 2, policy, policy, policy, engine_, ledger, Verifiers(recipe.sandbox))
            cfg = Instruct(**(config or {}))
            try:
                await drive(
                    [Prompt("all", ())],
                    lambda _: write_instructions(cfg, run, GIVEN, count, written=known),
                    outcomes.append,
                )
                asked = [entry for prompt in range(99) for entry in ledger.entries(f"made-2-{prompt:05d}")]
            finally:
                await engine_.close()
                run.verifiers.close()
                ledger.close()
            return asked

        asked = asyncio.run(scene())
        return outcomes[0].rows, outcomes[0].measured, asked

    return written


def test_instructions_become_prompts_and_losses_skips(written):
    rows, measured, asked = written([*FRESH, "Sing it", GIVEN[0], ""], 4)
    prompts, skips = ([row for row in rows if isinstance(row, kind)] for kind in (Prompt, Skip))
    assert {prompt.text for prompt in prompts} <= set(FRESH) and len({p.text for p in prompts}) == len(prompts) == 4
    assert all(prompt.id.startswith("made-2-") and prompt.meta == {"written": 2} for prompt in prompts)
    assert {skip.reason for skip in skips} <= {"too_short", "duplicate", "similar", "no_words"}
    assert len(rows) == len(asked) == len(measured) <= 16
    assert sum(value for _, value in measured) == 4
    assert all(entry.request["temperature"] == 0.6 and entry.request["top_p"] == 0.9 for entry in asked)


def test_it_gives_up_after_so_many_texts(written):
    rows, _, asked = written([FRESH[0]], 5, config={"tries": 2.0, "wave": 3})
    assert len(asked) == len(rows) == 10
    assert [type(row) for row in rows] == [Prompt] + [Skip] * 9
    assert {row.reason for row in rows[1:]} == {"duplicate"}


def test_later_requests_are_shown_what_was_written_before(written):
    _, _, asked = written(FRESH, 4, config={"wave": 1, "given": 1, "written": 2})
    shown = [entry.request["messages"][-1]["content"] for entry in asked]
    assert not any(text in shown[0] for text in FRESH)
    assert all(any(text in prompt for text in FRESH) for prompt in shown[1:])
    _, _, asked = written(FRESH, 1, known=["Count all the goats twice"], config={"given": 1})
    assert "Count all the goats twice" in asked[0].request["messages"][-1]["content"]


def test_the_same_is_written_whatever_finishes_first(written):
    assert written([*FRESH, "Sing it"], 4)[0] == written([*FRESH, "Sing it"], 4, delay=0.005)[0]


def test_failures_and_cut_texts_are_told(written):
    rows, _, _ = written(FRESH, 2, failure_rate=1.0)
    assert {row.reason for row in rows} == {"engine_error"} and len(rows) == 8
    rows, _, _ = written(FRESH, 2, config={"max_tokens": 3})
    assert {row.reason for row in rows} == {"cut"}
