"""The scripted engine: deterministic answers without a model, for tests, dry runs and plans.

An answer depends on (policy digest, conversation, seed + index) alone, through a hash; at temperature 0 on the
first two. It comes from a table, from a function of yours, or from the default script, which answers arithmetic
rightly with a probability that grows once an adapter was trained, so that dry loops move.
"""

import asyncio
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selfimprove.config import digest
from selfimprove.engines import _script
from selfimprove.engines.base import Generate, Policy, Score, Usage
from selfimprove.engines.parts.refusal import refusal
from selfimprove.errors import ConfigError, EngineError, MethodError
from selfimprove.files import load_python
from selfimprove.records import Messages, Sample, Scored

Answer = Callable[[Generate, int], str]
_TOKEN = re.compile(r"\s*\S+|\s+")
_END = "<end>"


@dataclass(frozen=True)
class Config:
    """Options of the scripted engine."""

    answers: str | dict[str, list[str]] | None = None  # {prompt: [texts]}, or JSONL rows {prompt, answers}; '*' is any
    script: str | None = None  # a .py file with answer(request, seed) -> text
    skill: float = 0.35  # share of arithmetic that the bare base answers rightly
    gain: float = 0.4  # at most this much more with an adapter; how much depends on its digest
    cut: float = 0.0  # share of answers that end by length
    delay: float = 0.0  # seconds a request takes
    failure_rate: float = 0.0  # share of requests that come back as error values
    dies_after: int | None = None  # the engine dies after so many requests
    max_model_len: int = 8192  # longest prompt in words; a longer one comes back as an error value


def make(config: Config) -> "ScriptedEngine":
    """Return the engine; raises ConfigError where the table or the script cannot be read."""
    return ScriptedEngine(config)


@dataclass
class ScriptedEngine:
    """Answers by hash; see the module's docstring."""

    config: Config
    name: str = "scripted"
    version: str = "1"
    usage: Usage = field(default_factory=Usage)

    def __post_init__(self) -> None:
        config = self.config
        if config.answers is not None and config.script is not None:
            raise ConfigError("engine 'scripted': 'answers' and 'script' exclude each other; remove one")
        self.table = _read_table(config.answers) if config.answers is not None else None
        self.answer, source = _read_script(config.script) if config.script else (self._default, "")
        content = {"table": self.table, "script": source, "skill": config.skill, "gain": config.gain}
        self.identity = digest({**content, "cut": config.cut, "version": self.version})
        self.started = self.dead = False
        self.awake, self.idle, self.running = asyncio.Event(), asyncio.Event(), 0
        self.awake.set()
        self.idle.set()

    async def start(self, policy: Policy) -> None:
        """Be ready at once; the policy need not exist on disk."""
        self.started, self.dead = True, False

    async def generate(self, request: Generate) -> list[Sample]:
        """Return `request.n` samples in index order."""
        await self._begin()
        try:
            self.usage.requests += 1
            problem = refusal(request) or self._problem(request.messages, request.seed)
            if problem is not None:
                self.usage.failed += 1
                return [Sample("", finish="error", error=problem, index=i) for i in range(request.n)]
            samples = [self._sample(request, i) for i in range(request.n)]
            self.usage.prompt_tokens += sum(len(m["content"]) for m in request.messages) // 4 + 1
            self.usage.tokens += sum(sample.tokens for sample in samples)
            return samples
        finally:
            self._end()

    async def score(self, request: Score) -> Scored:
        """Return log-probs that agree with those of generation."""
        await self._begin()
        try:
            self.usage.requests += 1
            problem = self._problem((*request.messages, {"role": "assistant", "content": request.completion}), 0)
            if not request.messages:
                problem = "a conversation needs at least one message"
            if problem is not None:
                self.usage.failed += 1
                return Scored(error=problem)
            tokens = _TOKEN.findall(request.completion) + ([_END] if request.end else [])
            self.usage.prompt_tokens += len(tokens)
            return Scored(tuple(_script.token_logprobs(_context(request.policy, request.messages), tokens)))
        finally:
            self._end()

    async def sleep(self) -> None:
        """Finish what is running; later requests wait until `wake`."""
        self.awake.clear()
        await self.idle.wait()

    async def wake(self) -> None:
        """Answer again."""
        self.awake.set()

    async def close(self) -> None:
        """Stop answering."""
        self.started = False
        self.awake.set()

    async def _begin(self) -> None:
        self._check_alive()
        if not self.awake.is_set():
            await self.awake.wait()
            self._check_alive()
        self.running += 1
        self.idle.clear()
        try:
            await asyncio.sleep(self.config.delay)
        except asyncio.CancelledError:
            self._end()
            raise
        if self.config.dies_after is not None and self.usage.requests >= self.config.dies_after:
            self.dead = True
            self._end()
            self._check_alive()

    def _end(self) -> None:
        self.running -= 1
        if not self.running:
            self.idle.set()

    def _check_alive(self) -> None:
        if self.dead:
            raise EngineError(f"the scripted engine died after {self.config.dies_after} requests, as it was told to")
        if not self.started:
            raise EngineError("the scripted engine is not running; start it first")

    def _problem(self, messages: Messages, seed: int) -> str | None:
        if not messages:
            return "a conversation needs at least one message"
        if sum(len(m["content"]) for m in messages) > self.config.max_model_len:
            words = sum(len(m["content"].split()) for m in messages)
            if words > self.config.max_model_len:
                return f"prompt has {words} tokens, max_model_len is {self.config.max_model_len}: it is too long"
        if self.config.failure_rate:
            random = _script.spread("failure", messages[-1]["content"], seed)
            if _script.share(random) < self.config.failure_rate:
                return "a scripted failure"
        return None

    def _sample(self, request: Generate, index: int) -> Sample:
        certain = request.temperature == 0 or request.top_k == 1 or request.top_p < 1e-3 or request.min_p >= 1
        seed = 0 if certain else request.seed + index
        if request.choices:
            return _choose(request, seed, index, certain)
        text = self._text(request, seed)
        if text is None:
            problem = f"no scripted answer for the prompt {request.messages[-1]['content'][:60]!r}"
            return Sample("", finish="error", error=problem, index=index)
        finish = "stop"
        cuts = [(text.find(stop), stop) for stop in request.stop if stop in text]
        if cuts:
            at, stop = min(cuts)
            text = text[: at + len(stop) if request.keep_stop else at]
        tokens = _TOKEN.findall(text)
        if self.config.cut and not request.regex and not request.json_schema:
            random = _script.spread("cut", text, seed)
            if _script.share(random) < self.config.cut:
                tokens, finish = tokens[: max(1, len(tokens) // 2)], "length"
        if len(tokens) + 1 > request.max_tokens:
            tokens, finish = tokens[: request.max_tokens], "length"
        if finish == "length":
            text = "".join(tokens)
        else:
            tokens.append(_END)
        values = _script.token_logprobs(_context(request.policy, request.messages), tokens)
        kept = tuple(values) if request.logprobs else None
        return Sample(text, len(tokens), math.fsum(values), finish, index=index, token_logprobs=kept)

    def _text(self, request: Generate, seed: int) -> str | None:
        if request.json_schema is not None or request.regex is not None:
            random = _script.spread(request.policy.digest, request.messages[-1]["content"], seed, "constrained")
            if request.regex is not None:
                return _script.match_of(request.regex, random)
            return json.dumps(_script.instance_of(request.json_schema or {}, random))
        if self.table is not None:
            texts = self.table.get(request.messages[-1]["content"], self.table.get("*"))
            return texts[seed % len(texts)] if texts else None
        text = self.answer(request, seed)
        if not isinstance(text, str):
            script = self.config.script
            raise MethodError(f"engine 'scripted': answer() in {script} returned {text!r:.60}; it must return a text")
        return text

    def _default(self, request: Generate, seed: int) -> str:
        policy, question = request.policy, request.messages[-1]["content"]
        skill = self.config.skill
        if policy.adapter is not None:
            skill += self.config.gain * (0.5 + 0.5 * _script.share(_script.spread(policy.digest)))
        random = _script.spread(policy.digest, request.messages[-1]["role"], question, len(request.messages), seed)
        return _script.default_answer(question, random, skill)


def _context(policy: Policy, messages: Messages) -> bytes:
    text = "\x1e".join(f"{m['role']}\x1f{m['content']}" for m in messages)
    return f"{policy.digest}\x1d{text}".encode("utf-8", "surrogatepass")


def _choose(request: Generate, seed: int, index: int, certain: bool) -> Sample:
    random = _script.spread(request.policy.digest, request.messages[-1]["content"], *request.choices)
    logits = [2 * _script.share(random, 4 * (i % 15)) for i in range(len(request.choices))]
    total = math.log(math.fsum(map(math.exp, logits)))
    logprobs = {label: logit - total for label, logit in zip(request.choices, logits, strict=True)}
    label = max(logprobs, key=logprobs.__getitem__)
    if not certain:
        weights = [math.exp(value / request.temperature) for value in logprobs.values()]
        label = _pick(request.choices, weights, _script.share(_script.spread("choice", seed, random.hex())))
    values = (logprobs[label],) if request.logprobs else None
    return Sample(label, 1, logprobs[label], "stop", index=index, token_logprobs=values, choices=logprobs)


def _pick(labels: Sequence[str], weights: Sequence[float], where: float) -> str:
    left = where * math.fsum(weights)
    for label, weight in zip(labels, weights, strict=True):
        left -= weight
        if left < 0:
            return label
    return labels[-1]


def _read_table(answers: str | Mapping[str, list[str]]) -> dict[str, list[str]]:
    if not isinstance(answers, str):
        return dict(answers)
    try:
        lines = Path(answers).expanduser().read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"engine 'scripted': answers is '{answers}': {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"engine 'scripted': {answers}: not UTF-8 text; save the file as UTF-8") from None
    table: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            table[row["prompt"]] = [str(text) for text in row["answers"]]
        except (ValueError, KeyError, TypeError):
            shape = "{'prompt': ..., 'answers': [...]}"
            raise ConfigError(f"engine 'scripted': {answers} line {number}: each line must be {shape}") from None
    if not table:
        raise ConfigError(f"engine 'scripted': {answers}: it holds no answers")
    return table


def _read_script(script: str) -> tuple[Answer, str]:
    path = Path(script).expanduser()
    if not path.is_file():
        raise ConfigError(f"engine 'scripted': script is '{script}': there is no such file")
    module = load_python(path, "engine 'scripted': script")
    if not callable(getattr(module, "answer", None)):
        raise ConfigError(f"engine 'scripted': {script} has no function answer(request, seed)")
    return module.answer, path.read_text(encoding="utf-8")
