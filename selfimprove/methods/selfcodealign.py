"""SelfCodeAlign: seed functions become concepts, concepts tasks, tasks answers with tests; what passes is trained on.

Paper: "SelfCodeAlign: Self-Alignment for Code Generation", Wei et al. 2024, arXiv 2410.24198.
Input: documented functions (`prompts: {functions: folder}`); no gold answers, no teacher. Output: SFT rows.

One model writes everything, in plain-text few-shot prompts without chat template: the concepts that a seed shows, a
task with these concepts, and answers that each bring their own tests. An answer and its tests run together in the
sandbox. `assemble` keeps one passing answer a task and takes out look-alikes.

What differs from the paper:
1. Seeds are cut out by `sources.functions` with Python's own syntax tree (paper: tree-sitter), with the imports of
   their file (paper: autoimport), and are type-checked by whichever of pyright, ty and mypy is installed.
   Seeds that cannot be used arrive with their reason, so that the funnel counts them.
2. Few-shots and properties are drawn by generators keyed by run seed and seed function (original code: 3407 + row).
   The few-shot examples and the words of the prompts are our own.
3. The format filter comes before the sandbox, so that nothing is run that would be dropped. The rows are the same.
4. A sample passes only where a function of random name, put behind its tests, still answers: code that leaves early
   with exit code 0 does not pass (original code: exit code 0 is enough).
5. Concepts and instructions that were cut by length are dropped, as samples are.
6. Rows are trained with the model's own chat template (paper: a system sentence, "### Instruction", "### Response"),
   so that training, evaluation and use agree.
7. Benchmark texts shorter than 24 characters are left out of the substring filter (original code: a list of
   trivial solutions is exempt). The recipe's `hygiene` adds the held-out sets, by runs of 13 words.
8. Which of several passing answers stays is drawn by a shuffle of all rows (`shuffle_seed`), taken in prompt order.
"""

import asyncio
import hashlib
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from selfimprove.building.programs import Mark, choose_rows, code_representation, names_of
from selfimprove.chat import TEXT
from selfimprove.errors import ConfigError
from selfimprove.prompts import few_shots
from selfimprove.prompts.selfcodealign import (
    CONCEPTS,
    INSTRUCTION,
    JUDGE,
    NEXT,
    RESPONSE,
    SEPARATOR,
    concept_item,
    few_shot_prompt,
    instruction_item,
    judge_item,
    response_item,
)
from selfimprove.records import Example, Prompt, Skip, as_messages
from selfimprove.sources import load_prompts
from selfimprove.sources.benchmarks import Substrings, benchmark_texts
from selfimprove.sources.minhash import TOO_SHORT, roots
from selfimprove.verify.code import code_blocks
from selfimprove.verify.sandbox import Call, Program

if TYPE_CHECKING:
    from selfimprove.run import Run
    from selfimprove.store import Rows

NEEDS, MAKES = {"messages"}, "sft"

CATEGORIES = ["function", "function", "class", "program implementation"]
DIFFICULTIES = ["easy", "medium", "hard"]
FILLERS = ("todo", "fixme", "write your code here", "your code here", "your code goes here", "notimplemented")
GUARD = re.compile(r"""if __name__ == (?:"__main__"|'__main__'):""")
SPOKEN = re.compile(r"\bassert|\btest|for example", re.IGNORECASE)


@dataclass(frozen=True)
class Config:
    """Options of SelfCodeAlign."""

    judge: bool = True  # ask the model whether a seed's docstring is enough to write it anew; only a yes goes on
    concept_shots: int = 8  # few-shot examples of the step from seed to concepts
    instruction_shots: int = 8  # few-shot examples of the step from concepts to task
    response_shots: int = 1  # few-shot examples of the step from task to answer and tests
    samples: int = 10  # answers a task
    temperature: float = 0.7  # of all three steps
    max_tokens: int = 1536  # longest answer with its tests; what is cut is dropped
    concept_tokens: int = 1536  # longest list of concepts
    instruction_tokens: int = 1536  # longest task
    categories: list[str] = field(default_factory=CATEGORIES.copy)  # drawn from; what stands twice counts twice
    difficulties: list[str] = field(default_factory=DIFFICULTIES.copy)  # drawn from
    examples: str = "selfcodealign"  # few-shot examples: those shipped, or a .jsonl file of your own
    shortest: int | None = None  # draw only from so many shortest examples, for small models; None: from all
    longest_instruction: int = 200  # words; a longer task is dropped
    system: str | None = None  # system message before each task in the rows; None: the chat template's own
    shuffle_seed: int = 6666  # of the order in which rows are chosen: which passing answer of a task stays
    augment: float = 0.0  # share of tasks to which asserts of their own tests are added (paper: 0.5)
    benchmarks: list[str | dict[str, Any]] = field(default_factory=list)  # sources whose texts no row may hold
    threshold: float = 0.7  # similarity from which one of two instructions, answers or codes goes

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if min(self.samples, self.response_shots, self.instruction_shots, self.concept_shots) < 1:
            raise ConfigError("selfcodealign: samples and the numbers of shots must be at least 1")
        if not self.categories or not self.difficulties:
            raise ConfigError("selfcodealign: categories and difficulties need at least one entry each")
        most = max(self.concept_shots, self.instruction_shots, self.response_shots)
        if most > len(shots_of(self)):
            raise ConfigError(
                f"selfcodealign: {most} shots are asked for, but there are {len(shots_of(self))} examples"
            )
        if not 0 <= self.augment <= 1 or not 0 < self.threshold < 1:
            raise ConfigError(
                f"selfcodealign: augment ({self.augment}) and threshold ({self.threshold}) lie between 0 and 1"
            )


async def collect(cfg: Config, run: "Run", prompt: Prompt) -> list[Example | Skip]:
    """Turn one seed function into a task and return a row for each answer that passes its own tests."""
    if prompt.meta.get("unfit"):
        return [Skip(prompt.id, str(prompt.meta["unfit"]))]
    rejected = await judge_seed(run, prompt) if cfg.judge else None
    if rejected:
        return [rejected]
    concepts = await write_concepts(cfg, run, prompt)
    if isinstance(concepts, Skip):
        return [concepts]
    rng = run.rng(prompt, "properties")
    drawn = {"category": rng.choice(cfg.categories), "language": prompt.meta.get("language", "Python")}
    properties = {**drawn, "difficulty": rng.choice(cfg.difficulties), "concepts": concepts}
    instruction = await write_instruction(cfg, run, prompt, properties)
    if isinstance(instruction, Skip):
        return [instruction]
    system = () if cfg.system is None else as_messages(cfg.system, "system")
    asked = replace(prompt, messages=(*system, *as_messages(instruction)))
    passing = await write_answers(cfg, run, asked)
    if isinstance(passing, Skip):
        return [passing]
    rows = []
    for index, text in passing.items():
        answer, tests = (side.strip() for side in text.split(SEPARATOR))
        meta = {"tests": tests, **properties, "seed": prompt.text}
        rows.append(Example.of(asked, answer, tag=str(index), reward=1.0, round=run.round, meta=meta))
    return [*rows]


async def judge_seed(run: "Run", prompt: Prompt) -> Skip | None:
    """Return why the model turns a seed down, None where it says yes more often than no."""
    shots = [*few_shots("selfcodealign-judge", ("code", "verdict"))]
    run.rng(prompt, "judge").shuffle(shots)
    items = [judge_item(shot["code"], shot["verdict"]) for shot in shots]
    text = few_shot_prompt(JUDGE, items, judge_item(prompt.text))
    found = await go_on(run, prompt, "judge", text, stop=("\n",), temperature=0.0, max_tokens=5, keep_cut=True)
    if isinstance(found, Skip):
        return found
    agreed = says_yes(found[0])
    run.measure("judged_good", float(agreed))
    return None if agreed else Skip(prompt.id, "judged_bad", found[0].strip()[:60])


async def write_concepts(cfg: Config, run: "Run", prompt: Prompt) -> list[str] | Skip:
    """Return the concepts that the model sees in a seed (S -> C)."""
    items = [concept_item(shot["code"], shot["property"]["concepts"]) for shot in draw(cfg, run, prompt, "concept")]
    text = few_shot_prompt(CONCEPTS, items, concept_item(prompt.text))
    found = await go_on(run, prompt, "concepts", text, temperature=cfg.temperature, max_tokens=cfg.concept_tokens)
    if isinstance(found, Skip):
        return found
    concepts = split_concepts(found[0])
    run.measure("concepts", len(concepts))
    return concepts or Skip(prompt.id, "no_concepts")


async def write_instruction(cfg: Config, run: "Run", prompt: Prompt, properties: Mapping[str, Any]) -> str | Skip:
    """Return a task with the given properties (C -> I)."""
    shots = draw(cfg, run, prompt, "instruction")
    items = [instruction_item(shot["property"], shot["instruction"]) for shot in shots]
    text = few_shot_prompt(INSTRUCTION, items, instruction_item(properties))
    options: dict[str, Any] = {"temperature": cfg.temperature, "max_tokens": cfg.instruction_tokens}
    found = await go_on(run, prompt, "instruction", text, **options)
    if isinstance(found, Skip):
        return found
    return found[0].strip() or Skip(prompt.id, "no_instruction")


async def write_answers(cfg: Config, run: "Run", prompt: Prompt) -> dict[int, str] | Skip:
    """Return {number of the sample: answer and tests} of those that pass (I -> R, then the sandbox)."""
    shots = draw(cfg, run, prompt, "response")
    items = [response_item(shot["instruction"], shot["response"], shot["tests"]) for shot in shots]
    text = few_shot_prompt(RESPONSE, items, response_item(prompt.text))
    options: dict[str, Any] = {"n": cfg.samples, "temperature": cfg.temperature, "max_tokens": cfg.max_tokens}
    found = await go_on(run, prompt, "response", text, stop=(NEXT, "</tests>"), **options)
    if isinstance(found, Skip):
        return found
    formed = {index: sample for index, sample in found.items() if well_formed(sample)}
    run.measure("well_formed", len(formed) / len(found))
    if not formed:
        return Skip(prompt.id, "malformed", next(iter(found.values())).strip()[:200])
    verdicts = await asyncio.gather(*(passes(run, prompt, text, str(index)) for index, text in formed.items()))
    tried = [verdict for verdict in verdicts if verdict is not None]
    if not tried:
        return Skip(prompt.id, "not_run", "the sandbox refused every program")
    run.measure("passed", sum(tried) / len(tried))
    passing = {index: formed[index] for index, verdict in zip(formed, verdicts, strict=True) if verdict}
    return passing or Skip(prompt.id, "none_passed", f"{len(tried)} answers failed their own tests")


async def go_on(
    run: "Run", prompt: Prompt, step: str, text: str, *, stop: tuple[str, ...] = (NEXT,), keep_cut: bool = False,
    **options: Any,
) -> dict[int, str] | Skip:  # fmt: skip
    """Return {number: continuation} of a plain text; those that were cut by length are left out."""
    messages = ({"role": TEXT, "content": text},)
    samples = await run.sample(prompt, messages=messages, purpose=step, stop=stop, **options)
    errors = [sample.error for sample in samples if sample.error]
    if errors:
        return Skip(prompt.id, "prompt_too_long" if "too long" in errors[0] else "engine_error", errors[0])
    found = {sample.index: sample.text for sample in samples if keep_cut or sample.finish == "stop"}
    if not keep_cut:
        run.measure(f"{step}_uncut", len(found) / len(samples))
    return found or Skip(prompt.id, f"{step}_cut", f"all {len(samples)} reached {options['max_tokens']} tokens")


async def passes(run: "Run", prompt: Prompt, sample: str, path: str) -> bool | None:
    """Return whether answer and tests of one sample run to their end together, None where the sandbox refused.

    A function of random name behind the tests is called afterwards: only a program that got there can answer. Code
    that looks for it in its own process could cheat, since both run in one.
    """
    name = f"reached_{run.rng(prompt, 'report', path).getrandbits(64):016x}"
    source = f"{executed_code(sample)}\n\n\ndef {name}():\n    return {name!r}\n"
    outcome = await run.execute(prompt, Program(source, (Call(name),), limits=run.limits), path=path)
    if outcome.status == "refused":
        return None
    return outcome.passed and any(result.get("value") == name for result in outcome.results)


def assemble(cfg: Config, rows: "Rows") -> "Iterator[dict[str, Any] | Skip]":
    """Keep one passing answer a task, clear of benchmarks and of look-alikes; the rows are read several times."""
    names = [row["id"] for row in rows]
    order = list(range(len(names)))
    random.Random(cfg.shuffle_seed).shuffle(order)
    chosen = choose_rows([candidate(row, cfg.longest_instruction) for row in rows], order)
    lost = {number: (reason, "") for number, reason in chosen.items()}

    def left(part: str) -> Iterator[tuple[int, str]]:
        """Yield number and text of the rows that are left; in the third pass those without code stay out of it."""
        for number, row in enumerate(rows):
            text = "" if number in lost else text_of(augmented(cfg, row), part)
            if text:
                yield number, text

    if cfg.benchmarks:
        held = Substrings({str(source): benchmark_texts(load_prompts(source)) for source in cfg.benchmarks})
        found = {number: held.find(text) for number, text in left("row")}
        lost |= {number: ("contaminated", f"{hit[0]}: {hit[1][:200]}") for number, hit in found.items() if hit}
    for part in ("instruction", "response", "code"):
        numbers = [number for number, _ in left(part)]
        groups = roots((text for _, text in left(part)), cfg.threshold)
        for place, (number, root) in enumerate(zip(numbers, groups.tolist(), strict=True)):
            if root == TOO_SHORT:
                lost[number] = (f"short_{part}", "fewer than 5 words")
            elif root != place:
                lost[number] = (f"near_{part}", f"near {names[numbers[root]]}")
    for number, row in enumerate(rows):
        yield Skip(row["id"], *lost[number]) if number in lost else augmented(cfg, row)


def candidate(row: Mapping[str, Any], longest: int) -> tuple[str, list[Mark]]:
    """Return (why a row cannot be chosen or "", the marks that no two chosen rows may share).

    The marks are instruction and answer without white space, and the sets of function and of class names of the
    answer's first block.
    """
    instruction = text_of(row, "instruction")
    if len(instruction.split()) > longest:
        return "long_instruction", []
    blocks = code_blocks(row["completion"])
    try:
        functions, classes = names_of(blocks[0].code if blocks else "")
    except SyntaxError:
        return "syntax_error", []
    texts = (("instruction", instruction), ("response", row["completion"]))
    marks: list[Mark] = [(kind, hashlib.blake2b("".join(text.split()).encode()).digest()) for kind, text in texts]
    return "", [*marks, *(("names", found) for found in (functions, classes) if found)]


def text_of(row: Mapping[str, Any], part: str) -> str:
    """Return a part of a row: its instruction, its response, the code in the response, or the whole row."""
    instruction, response = row["prompt"][-1]["content"], row["completion"]
    if part == "code":
        return code_representation(response)
    return {"instruction": instruction, "response": response, "row": f"{instruction}\n\n{response}"}[part]


def augmented(cfg: Config, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose task ends with some of its tests, where the draw and the task allow it; else the row."""
    rng = random.Random(f"{cfg.shuffle_seed}:{row['id']}")
    lines = [line for block in code_blocks(row["meta"]["tests"]) for line in block.code.splitlines()]
    asserts = [line for line in lines if line.startswith("assert")]
    instruction = text_of(row, "instruction")
    if rng.random() >= cfg.augment or len(lines) > 5 or not asserts or SPOKEN.search(instruction):
        return row
    shown = "\n".join(rng.sample(asserts, rng.randint(1, min(5, len(asserts)))))
    text = f"{instruction}\n\nYour code should pass:\n```python\n{shown}\n```"
    return {**row, "prompt": [*row["prompt"][:-1], {"role": "user", "content": text}]}


def well_formed(sample: str) -> bool:
    """Return whether a sample is one answer and one set of tests, both Python code, and the tests do run."""
    lower = sample.lower()
    if sample.count(SEPARATOR) != 1 or any(filler in lower for filler in FILLERS):
        return False
    answer, tests = sample.split(SEPARATOR)
    sides = [[block.code for block in code_blocks(side) if block.tag.lower() == "python"] for side in (answer, tests)]
    if not all(sides) or "assert" not in tests:
        return False
    lines = [line for code in sides[1] for line in code.splitlines() if line[:1].isalpha()]
    return not all(line.startswith(("def", "class", "import", "from")) for line in lines)


def executed_code(sample: str) -> str:
    """Return the program of a sample: its fenced blocks in order; one that reads input ends before its main guard."""
    blocks = (block.code for block in code_blocks(sample))
    return "\n\n".join((GUARD.split(code)[0] if "input" in code else code).strip() for code in blocks)


def says_yes(text: str) -> bool:
    """Return whether a verdict holds "yes" more often than "no"; a tie, or neither, is a no."""
    lower = text.lower()
    return lower.count("yes") > lower.count("no")


def split_concepts(text: str) -> list[str]:
    """Return the concepts of a comma-separated list."""
    return [concept.strip() for concept in text.split(",") if concept.strip()]


def shots_of(cfg: Config) -> tuple[dict[str, Any], ...]:
    """Return the examples that few-shots are drawn from."""
    known = few_shots(cfg.examples, ("code", "property", "instruction", "response", "tests"))
    by_length = sorted(known, key=lambda shot: len(shot["instruction"] + shot["response"] + shot["tests"]))
    return known if cfg.shortest is None else tuple(by_length[: cfg.shortest])


def draw(cfg: Config, run: "Run", prompt: Prompt, step: str) -> list[dict[str, Any]]:
    """Return the few-shot examples of a step (concept, instruction, response), drawn without replacement."""
    return run.rng(prompt, f"{step}_shots").sample(shots_of(cfg), getattr(cfg, f"{step}_shots"))
