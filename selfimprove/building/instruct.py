"""New instructions in the style of known ones: few-shot prompts, and filters that keep what is new and answerable.

The way of Self-Instruct (Wang et al. 2022, arXiv 2212.10560), as self-rewarding models use it: demonstrations are
drawn from the given instructions and from those written so far, and what comes back is kept only where it is whole,
of sensible length, answerable in text, and not too similar to anything known. Whatever is not kept becomes a Skip.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil
from random import Random
from typing import TYPE_CHECKING

from selfimprove.chat import TEXT
from selfimprove.errors import ConfigError
from selfimprove.prompts import fill_prompt
from selfimprove.records import Prompt, Sample, Skip, as_messages

if TYPE_CHECKING:
    from selfimprove.engines.base import Policy
    from selfimprove.run import Run

OPEN, CLOSE = "<task>", "</task>"
"""What stands around an instruction in the few-shot prompt."""

KEYWORDS = (
    "image", "picture", "photo", "graph", "file", "map", "draw", "plot", "video", "audio", "music", "flowchart",
    "diagram",
)  # fmt: skip
"""Words of tasks that a text model cannot do; with or without an s at their end."""

WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Instruct:
    """How new instructions are written and which are kept."""

    given: int = 6  # demonstrations drawn from the given instructions
    written: int = 2  # demonstrations drawn from those written so far; from the given ones while there are too few
    temperature: float = 0.6  # of writing
    top_p: float = 0.9  # of writing
    max_tokens: int = 200  # longest instruction; what is cut is dropped
    similarity: float = 0.7  # ROUGE-L F1 to any known instruction from which a new one is dropped
    min_words: int = 3  # a shorter instruction is dropped
    max_words: int = 150  # a longer instruction is dropped
    keywords: list[str] = field(default_factory=lambda: list(KEYWORDS))  # an instruction with one of them is dropped
    wave: int = 128  # texts asked for at once; the next ones may be shown what was kept of them
    tries: float = 4.0  # texts asked for at most, as a multiple of the instructions that are wanted

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if self.given + self.written < 1 or min(self.given, self.written) < 0:
            raise ConfigError(
                f"given ({self.given}) and written ({self.written}) must be at least one demonstration together"
            )
        if not 0 < self.similarity <= 1:
            raise ConfigError(f"similarity is {self.similarity}; it lies above 0 and is at most 1")
        if not 1 <= self.min_words <= self.max_words:
            raise ConfigError(f"min_words is {self.min_words} and max_words {self.max_words}; nothing would be kept")
        if self.temperature <= 0 or self.tries < 1 or self.wave < 1:
            raise ConfigError(
                f"temperature ({self.temperature}) must be above 0, tries ({self.tries}) and wave ({self.wave}) at "
                "least 1"
            )


def words(text: str) -> list[str]:
    """Return the lower-case alphanumeric words of a text, as ROUGE counts them (in any script)."""
    return WORD.findall(text.lower())


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, by whole rows of bits at once (Hyyro 2004)."""
    places: dict[str, int] = {}
    for at, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << at
    every = (1 << len(first)) - 1
    open_places = every
    for word in second:
        matched = open_places & places.get(word, 0)
        open_places = (open_places + matched | open_places - matched) & every
    return len(first) - open_places.bit_count()


def rouge_l(first: str, second: str) -> float:
    """Return ROUGE-L F1 = 2 LCS / (m + n) of two texts of m and n words; 0 where one has none (Lin 2004)."""
    return _f1(words(first), words(second))


def _f1(first: Sequence[str], second: Sequence[str]) -> float:
    total = len(first) + len(second)
    return 2 * common_subsequence(first, second) / total if first and second else 0.0


class Pool:
    """Instructions that are known, and the question whether a new one is too similar to any of them.

    Exact, and fast for tens of thousands. F1 >= s needs LCS >= s (m + n) / 2, and the LCS is at most the number of
    shared words, and at most min(m, n). So a similar text shares at least k = ceil(s m / (2 - s)) words, hence one of
    any m - k + 1 of them: only texts that hold one of the rarest so many are looked at, and most of those fall by
    their length or their shared words before the LCS is taken.
    """

    def __init__(self, similarity: float, texts: Iterable[str] = ()) -> None:
        """Start with texts that are known; they are not held against each other."""
        self.similarity = similarity
        self.texts: list[str] = []
        self._words: list[list[str]] = []
        self._counts: list[Counter[str]] = []
        self._holding: dict[tuple[str, int], list[int]] = {}
        for text in texts:
            self.add(text)

    def __len__(self) -> int:
        """Return how many texts are known."""
        return len(self.texts)

    def add(self, text: str) -> None:
        """Make a text known."""
        said = words(text)
        for mark in _marks(said):
            self._holding.setdefault(mark, []).append(len(self.texts))
        self.texts.append(text)
        self._words.append(said)
        self._counts.append(Counter(said))

    def nearest(self, text: str) -> tuple[str, float] | None:
        """Return the most similar known text, the first of equals, with its F1; None where none is similar."""
        said = words(text)
        if not said:
            return None
        slack = 1e-9  # bounds must not lose what the formula itself lets through
        shared = ceil(self.similarity * len(said) / (2 - self.similarity) - slack)
        rarest = sorted(_marks(said), key=lambda mark: len(self._holding.get(mark, ())))[: len(said) - shared + 1]
        counts, best = Counter(said), (self.similarity, -1)
        for number in sorted({number for mark in rarest for number in self._holding.get(mark, ())}):
            total = len(said) + len(self._words[number])
            needed = best[0] * total / 2 - slack
            if min(len(said), len(self._words[number])) < needed:
                continue
            if (counts & self._counts[number]).total() < needed:
                continue
            value = _f1(said, self._words[number])
            if value > best[0] or (value == best[0] and best[1] < 0):
                best = (value, number)
        return None if best[1] < 0 else (self.texts[best[1]], best[0])


def _marks(said: Sequence[str]) -> list[tuple[str, int]]:
    """Return each word with the number of times it stood before, so that a multiset becomes a set."""
    seen: Counter[str] = Counter()
    marks = []
    for word in said:
        marks.append((word, seen[word]))
        seen[word] += 1
    return marks


def few_shot(demonstrations: Sequence[str]) -> str:
    """Return the plain text that is continued with a new instruction."""
    shown = fill_prompt("instruct", tasks=[text.strip() for text in demonstrations], open=OPEN, close=CLOSE)
    return f"{shown}\n\n{OPEN}"


def read_instruction(text: str) -> str:
    """Return the instruction at the beginning of a continuation, cut where the next wrapper begins."""
    cuts = [at for at in (text.find(tag) for tag in (CLOSE, OPEN)) if at >= 0]
    return text[: min(cuts, default=len(text))].strip()


def problem_of(cfg: Instruct, text: str, pool: Pool) -> tuple[str, str] | None:
    """Return (reason, detail) why an instruction is not kept, None where it is.

    Reasons: `no_words`, `too_short`, `too_long`, `keyword`, `duplicate` (the same words as a known one), `similar`.
    """
    said = words(text)
    if not said:
        return "no_words", text[:60]
    if len(said) < cfg.min_words:
        return "too_short", f"{len(said)} words: {text[:60]}"
    if len(said) > cfg.max_words:
        return "too_long", f"{len(said)} words"
    unfit = {form for word in cfg.keywords for form in (word.lower(), f"{word.lower()}s")}
    keyword = next((word for word in said if word in unfit), None)
    if keyword is not None:
        return "keyword", keyword
    near = pool.nearest(text)
    if near is None:
        return None
    same = words(near[0]) == said
    return ("duplicate" if same else "similar"), f"{near[1]:.2f} to: {near[0][:100]}"


def demonstrations(cfg: Instruct, given: Sequence[str], written: Sequence[str], rng: Random) -> list[str]:
    """Return the demonstrations of one request in the order in which they are shown, drawn without replacement."""
    own = rng.sample(written, min(cfg.written, len(written)))
    others = rng.sample(given, min(cfg.given + cfg.written - len(own), len(given)))
    shown = [*others, *own]
    rng.shuffle(shown)
    return shown


async def write_instructions(
    cfg: Instruct,
    run: "Run",
    given: Sequence[str],
    count: int,
    *,
    written: Sequence[str] = (),
    policy: "Policy | None" = None,
) -> list[Prompt | Skip]:
    """Return up to `count` new instructions as prompts, and a Skip for every text that was not kept.

    They are asked for in waves, none larger than what is still missing, until there are enough or `tries` times
    `count` texts were asked for. Within a wave texts are held against everything known in the order of their numbers,
    so that nothing depends on which comes first. `written` are those of earlier rounds; `policy` writes (None: that of
    the round). The ids are `made-<round>-<number>`.
    """
    pool, own = Pool(cfg.similarity, [*given, *written]), list(written)
    found: list[Prompt | Skip] = []
    most = int(cfg.tries * count)
    asked = kept = 0
    while kept < count and asked < most:
        wave = range(asked, asked + min(count - kept, cfg.wave, most - asked))
        asked = wave.stop
        names = [f"made-{run.round}-{number:05d}" for number in wave]
        samples = await asyncio.gather(*(ask(cfg, run, name, given, own, policy) for name in names))
        for name, sample in zip(names, samples, strict=True):
            text = read_instruction(sample.text)
            problem = why_not(cfg, sample, text, pool)
            run.measure("instructions_kept", float(problem is None))
            if problem is not None:
                found.append(Skip(name, *problem))
                continue
            kept += 1
            pool.add(text)
            own.append(text)
            found.append(Prompt(name, as_messages(text), meta={"written": run.round}))
    return found


async def ask(
    cfg: Instruct, run: "Run", name: str, given: Sequence[str], written: Sequence[str], policy: "Policy | None"
) -> Sample:
    """Return what a policy writes after demonstrations that are drawn for the instruction's name."""
    prompt = Prompt(name, ())
    shown = demonstrations(cfg, given, written, run.rng(prompt, "demonstrations"))
    [sample] = await run.sample(
        prompt, 1, messages=({"role": TEXT, "content": few_shot(shown)},), purpose="instruct", policy=policy,
        temperature=cfg.temperature, top_p=cfg.top_p, max_tokens=cfg.max_tokens, stop=(CLOSE, OPEN),
    )  # fmt: skip
    return sample


def why_not(cfg: Instruct, sample: Sample, text: str, pool: Pool) -> tuple[str, str] | None:
    """Return (reason, detail) why what was written is not kept, None where it is; also `engine_error` and `cut`."""
    if sample.error:
        return "engine_error", sample.error
    return ("cut", text[:60]) if sample.finish == "length" else problem_of(cfg, text, pool)
