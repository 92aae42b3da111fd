"""Any OpenAI-compatible server: vLLM's own with everything an engine can do, others with sampling only.

Against a vLLM server, log-probs of given text, labels, grammars and policies of the loop work as in process.
Other servers give samples (n, seed, stop and log-probs as far as they know them) and verdicts read from text.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selfimprove.chat import is_plain_text
from selfimprove.engines.base import Generate, Policy, Score, Usage
from selfimprove.engines.parts.chat_api import (
    as_chat,
    chat_body,
    prompt_tokens_of,
    renormalised,
    samples_of,
    text_body,
)
from selfimprove.engines.parts.life import Life
from selfimprove.engines.parts.link import Answer, Link
from selfimprove.engines.parts.refusal import failed, refusal, unscored
from selfimprove.engines.parts.remote import RELOAD_HELP, Remote
from selfimprove.errors import ConfigError, DataError, EngineError
from selfimprove.records import Sample, Scored


@dataclass(frozen=True)
class Config:
    """Which server, and how hard it may be pressed."""

    url: str  # base URL of an OpenAI-compatible server, for example http://127.0.0.1:8000/v1
    model: str | None = None  # the model's name on that server; None: the first it lists, so name one that may change
    api_key_env: str | None = None  # environment variable that holds the API key; None: the server needs none
    concurrency: int = 128  # most requests at once; halved when the server says it has too many, then grows again
    timeout: float = 600.0  # seconds for one request
    retries: int = 8  # further attempts after a failure of the server, before the request becomes an error value
    patience: float = 120.0  # seconds without any connection after which the server counts as dead
    backoff: float = 0.5  # seconds before the first further attempt; doubles each time
    kind: str = "auto"  # vllm, plain, or auto: ask the server which it is
    adapters: str = "auto"  # lora: load adapters into a vLLM server; merge: reload merged weights; auto: what works
    extra_body: dict[str, Any] = field(default_factory=dict)  # goes into every request's JSON; null removes a key


def make(config: Config) -> "Server":
    """Return the engine of a configuration; raises ConfigError where an option is not usable."""
    parts = urlsplit(config.url)
    try:
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is none
        usable = False
    if not usable:
        raise ConfigError(f"engine 'server': url is {config.url!r}; write it like http://127.0.0.1:8000/v1")
    for name, allowed in (("kind", ("auto", "vllm", "plain")), ("adapters", ("auto", "lora", "merge"))):
        if getattr(config, name) not in allowed:
            raise ConfigError(f"engine 'server': {name} is {getattr(config, name)!r}; allowed: {', '.join(allowed)}")
    if config.concurrency < 1 or config.retries < 0 or config.timeout <= 0:
        raise ConfigError("engine 'server': concurrency and timeout must be positive, retries cannot be negative")
    return Server(config)


class Server:
    """The engine behind `engine: {name: server, url: ...}`."""

    name = "server"

    def __init__(self, config: Config) -> None:
        self.config = config
        self.url = config.url.rstrip("/")
        if not urlsplit(self.url).path:
            self.url += "/v1"
        self.root = self.url.removesuffix("/v1")
        self.model = config.model or ""
        self.version = ""
        self.usage = Usage()
        self.vllm = config.kind == "vllm"
        self.link = Link(
            self.url, _api_key(config), concurrency=config.concurrency, timeout=config.timeout,
            retries=config.retries, patience=config.patience, backoff=config.backoff,
        )  # fmt: skip
        self._odd_in_a_row = 0
        self._remote: Remote | None = None
        self._tokenizer: tuple[str, Any] | None = None
        self._tokenizer_lock = asyncio.Lock()
        self._life = Life(self.name)

    @property
    def identity(self) -> str:
        """URL and the model that was named: the same before and after `start`, or a resume would ask all again."""
        return f"{self.url} {self.config.model or ''}".strip()

    async def start(self, policy: Policy) -> None:
        """Ask the server what it is and serves; raises EngineError where it cannot be reached or lacks the model."""
        if self._life.state == "closed":
            raise EngineError("the server engine is closed; open it anew")
        models = await self.link.get("models")
        listed = models.body.get("data") if models.ok and isinstance(models.body, dict) else None
        listed = listed if isinstance(listed, list) else []
        names = [str(item.get("id")) for item in listed if isinstance(item, dict)]
        if self.model and names and self.model not in names:
            shown = ", ".join(names[:8])
            raise EngineError(f"the server at {self.url} has no model '{self.model}'; it serves: {shown}")
        if not self.model and not names:
            problem = models.problem or "the list is empty"
            raise EngineError(f"the server at {self.url} lists no models ({problem}); name one in engine.model")
        self.model = self.model or names[0]
        version = await self.link.get(f"{self.root}/version")
        number = version.body.get("version") if version.ok and isinstance(version.body, dict) else None
        if self.config.kind == "auto":
            self.vllm = any(isinstance(item, dict) and item.get("owned_by") == "vllm" for item in listed)
        self.version = f"vllm {number}" if self.vllm and number else str(number or "openai-compatible")
        self._remote = Remote(self.link, self.root, self.model, policy, self.config.adapters)
        self._life.begin()

    async def generate(self, request: Generate) -> list[Sample]:
        """Return `request.n` samples; what the server refused or lost is an error value in each."""
        async with self._life.request():
            if reason := refusal(request):
                samples = failed(request, reason)
            elif request.regex is not None and not self.vllm:
                raise EngineError(f"the server at {self.url} is no vLLM server, so it offers no regex")
            else:
                async with self._asking(request.policy) as model:
                    samples = await self._generate(request, model)
            self.usage.requests += 1
            self.usage.tokens += sum(sample.tokens for sample in samples)
            self.usage.failed += any(sample.error for sample in samples)
        return samples

    async def score(self, request: Score) -> Scored:
        """Return the log-probs of a completion; raises EngineError where the server is no vLLM server."""
        async with self._life.request():
            if not self.vllm:
                raise EngineError(
                    f"the server at {self.url} is no vLLM server, so it cannot tell the log-probs of a given text; "
                    "use a vLLM server, or engine vllm or transformers"
                )
            if reason := refusal(request):
                scored = unscored(reason)
            else:
                async with self._asking(request.policy) as model:
                    scored = await self._score(request, model)
            self.usage.requests += 1
            self.usage.failed += scored.error is not None
        return scored

    async def sleep(self) -> None:
        """Wait for the requests in flight and hold back new ones; the server itself goes on."""
        await self._life.quiet()

    async def wake(self) -> None:
        """Let requests through again."""
        self._life.wake()

    async def close(self) -> None:
        """Take our adapters out of the server and close the connections."""
        if self._life.state == "closed":
            return
        self._life.end()
        try:
            if self._remote is not None:
                await asyncio.wait_for(self._remote.close(), 10)
        except (EngineError, TimeoutError):
            self.usage.notes["adapters left in the server"] = 1
        finally:
            await self.link.close()

    @asynccontextmanager
    async def _asking(self, policy: Policy) -> AsyncGenerator[str, None]:
        assert self._remote is not None
        if self.vllm:
            async with self._remote.asking(policy) as model:
                yield model
            return
        start = self._remote.start
        if policy.adapter is not None or policy.base != start.base:
            raise EngineError(
                f"the server at {self.url} serves {start} only and is no vLLM server, so it cannot answer for "
                f"{policy}; use a vLLM server ({RELOAD_HELP}), or engine vllm or transformers"
            )
        yield self.model

    async def _generate(self, request: Generate, model: str) -> list[Sample]:
        if request.n > 1 and request.temperature == 0:  # all the same; vLLM refuses to say it n times
            (sample,) = await self._generate(replace(request, n=1), model)
            return [replace(sample, index=index) for index in range(request.n)]
        if request.n > 1 and not self.vllm:  # other servers read one seed for n answers in many ways, or ignore n
            each = [replace(request, n=1, seed=request.seed + index) for index in range(request.n)]
            groups = await asyncio.gather(*(self._chat(single, model) for single in each))
            return [replace(group[0], index=index) for index, group in enumerate(groups)]
        samples = await self._chat(request, model)
        if request.choices and self.vllm and any(s.error is None and s.choices is None for s in samples):
            choices = await self._choices_by_score(request, model)
            samples = [replace(sample, choices=choices) if sample.error is None else sample for sample in samples]
        return samples

    async def _chat(self, request: Generate, model: str) -> list[Sample]:
        if request.keep_stop and not self.vllm:
            return failed(request, "only a vLLM server tells at which stop string an answer ended; use one for steps")
        body = chat_body(request, model, vllm=self.vllm, extra=self.config.extra_body)
        plain = is_plain_text(request.messages)
        answer = await self.link.post(*(("completions", text_body(body)) if plain else ("chat/completions", body)))
        if not answer.ok:
            return failed(request, self._explained(answer))
        samples = samples_of(as_chat(answer.body) if plain else answer.body, request)
        if samples is None:
            return failed(request, self._odd(answer))
        self._odd_in_a_row = 0
        self.usage.prompt_tokens += prompt_tokens_of(answer.body)
        return samples

    def _odd(self, answer: Answer) -> str:
        """Return why an answer cannot be used; raises EngineError where one after the other cannot."""
        self._odd_in_a_row += 1
        problem = f"the server's answer is no chat completion: {answer.body!r:.80}"
        if self._odd_in_a_row >= 10:
            raise EngineError(
                f"{self.url}/chat/completions answered {self._odd_in_a_row} requests in a row, but {problem}; "
                "does engine.url name an OpenAI-compatible server?"
            )
        return problem

    def _explained(self, answer: Answer) -> str:
        """Return why a request failed; raises EngineError where no request for this model can succeed."""
        if answer.status == 404:
            raise EngineError(
                f"the server at {self.url} does not know model '{self.model}', or has no completions for it "
                f"({answer.problem})"
            )
        return answer.problem

    async def _choices_by_score(self, request: Generate, model: str) -> dict[str, float] | None:
        """Return {label: log-prob} from the whole labels, for labels that begin with the same token."""
        asked = [Score(request.policy, request.messages, label, end=False) for label in request.choices]
        scores = await asyncio.gather(*(self._score(score, model) for score in asked))
        totals = {label: scored.total for label, scored in zip(request.choices, scores, strict=True)}
        found = {label: total for label, total in totals.items() if total is not None}
        return renormalised(found) if len(found) == len(totals) else None

    async def _score(self, request: Score, model: str) -> Scored:
        try:
            prompt, completion = await self._token_ids(request, model)
        except DataError as error:
            return unscored(str(error))
        if not completion:
            return unscored("there is no text to score")
        body = {"model": model, "prompt": [*prompt, *completion], "max_tokens": 1, "temperature": 0.0,
                "prompt_logprobs": 0}  # fmt: skip
        answer = await self.link.post("completions", body)
        if not answer.ok:
            return unscored(self._explained(answer))
        choice = (answer.body.get("choices") or [{}])[0] if isinstance(answer.body, dict) else {}
        positions = choice.get("prompt_logprobs")
        if not positions or len(positions) != len(prompt) + len(completion):
            raise EngineError(f"the server at {self.url} returns no prompt log-probs; is it a vLLM server?")
        pairs = zip(completion, positions[len(prompt) :], strict=True)
        self.usage.prompt_tokens += len(prompt) + len(completion)
        return Scored(tuple(float(position[str(token)]["logprob"]) for token, position in pairs))

    async def _token_ids(self, request: Score, model: str) -> tuple[list[int], list[int]]:
        """Return (prompt ids, completion ids), by the policy's own tokenizer or the server's."""
        if Path(request.policy.base).is_dir():
            from selfimprove.models import completion_ids

            tokenizer = await self._local_tokenizer(request.policy.base)
            return completion_ids(tokenizer, request.messages, request.completion, request.end)
        messages = [dict(message) for message in request.messages]
        if is_plain_text(messages):
            prompt = await self._tokenize({"model": model, "prompt": messages[0]["content"]})
        else:
            going_on = messages[-1]["role"] == "assistant"
            rendered = {"add_generation_prompt": not going_on, "continue_final_message": going_on}
            prompt = await self._tokenize({"model": model, "messages": messages} | rendered)
        text = {"model": model, "prompt": request.completion, "add_special_tokens": False}
        completion = await self._tokenize(text) if request.completion else []
        if request.end:
            whole = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "answer"}]
            closed = {"add_generation_prompt": False, "continue_final_message": False}
            begun = {"add_generation_prompt": False, "continue_final_message": True}
            ended = await self._tokenize({"model": model, "messages": whole} | closed)
            cut = await self._tokenize({"model": model, "messages": whole} | begun)
            completion = [*completion, *ended[len(cut) : len(cut) + 1]]
        return prompt, completion

    async def _tokenize(self, body: dict[str, Any]) -> list[int]:
        answer = await self.link.post(f"{self.root}/tokenize", body)
        if not answer.ok:
            raise DataError(f"the server does not tokenise this: {answer.problem}")
        return [int(token) for token in answer.body["tokens"]]

    async def _local_tokenizer(self, folder: str) -> Any:
        from selfimprove.models import load_tokenizer

        async with self._tokenizer_lock:
            if self._tokenizer is None or self._tokenizer[0] != folder:
                self._tokenizer = (folder, await asyncio.to_thread(load_tokenizer, folder))
            return self._tokenizer[1]


def _api_key(config: Config) -> str | None:
    if config.api_key_env is None:
        return None
    key = os.environ.get(config.api_key_env)
    if not key:
        raise ConfigError(
            f"engine 'server': api_key_env names {config.api_key_env}, but this environment variable is not set"
        )
    return key
