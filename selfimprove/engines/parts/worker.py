"""The thread that owns the models: takes jobs, keeps the rolling batch full, scores in between."""

import asyncio
import queue
import random
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from math import exp
from typing import Any

import torch

from selfimprove.engines.base import Generate, Policy, Score
from selfimprove.engines.parts.refusal import failed
from selfimprove.engines.parts.resident import Resident, context_length, end_tokens
from selfimprove.engines.parts.rolling import Rolling, Row
from selfimprove.engines.parts.scoring import completion_logprobs, counted_scores
from selfimprove.errors import DataError, EngineError, SelfImproveError
from selfimprove.models import completion_ids, render_ids
from selfimprove.records import Sample

TURN_STEPS = 256
"""Tokens for which one policy keeps taking new requests while another policy waits."""

SCORES_AT_ONCE = 64
"""Completions scored between two tokens of the batch."""


@dataclass(eq=False, slots=True)
class Job:
    """A request with the future that waits for it; for a Generate, the rows still to come."""

    request: Any  # Generate, Score, or the Policy to load
    future: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop
    prompt: list[int] = field(default_factory=list)
    begun: int = 0
    samples: dict[int, Sample] = field(default_factory=dict)

    def finish(self, result: Any) -> None:
        """Hand the result, or an exception, to whoever waits; nobody may be waiting any more."""
        deliver = self.future.set_exception if isinstance(result, BaseException) else self.future.set_result
        try:
            self.loop.call_soon_threadsafe(lambda: None if self.future.done() else deliver(result))
        except RuntimeError:  # the loop is closed: the caller has gone
            return


class Worker:
    """Serves jobs in one thread, one policy at a time; `submit` is called from anywhere, the rest is the thread's.

    `rows` is the size of the batch, `length` the limit on prompt and answer together, `gather` the seconds to wait
    for company when a first request arrives.
    """

    def __init__(self, resident: Resident, rows: int, length: int | None, gather: float) -> None:
        self.resident, self.rows, self.length, self.gather = resident, rows, length, gather
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._waiting: OrderedDict[Policy, deque[Job]] = OrderedDict()
        self._batch: Rolling | None = None
        self._policy: Policy | None = None
        self._serving: list[Job] = []
        self._turn = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="transformers-engine", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job: a Generate, a Score, or a Policy to load."""
        self._inbox.put(job)

    def free(self, future: "asyncio.Future[Any]") -> None:
        """Free all weights once nothing is in flight, and then set the future."""
        self._inbox.put(("free", Job(Policy(""), future, future.get_loop())))

    def stop(self) -> None:
        """End the thread; what is in flight fails with EngineError. Blocks until the current token is through."""
        self._inbox.put(("stop", None))
        self._thread.join()

    def _run(self) -> None:
        while not self._closing:
            self._read()
            if self._closing or not (self._waiting or self._in_flight()):
                continue
            try:
                self._work()
            except torch.OutOfMemoryError:
                self._shrink()
            except SelfImproveError as error:
                self._fail_policy(error)
            except Exception as error:  # noqa: BLE001 (the engine border: the batch fails, the engine goes on)
                self._fail_policy(EngineError(f"engine 'transformers' failed: {type(error).__name__}: {error}"))
        self._fail_all(EngineError("the transformers engine was closed while it worked on this request"))
        self._batch = None
        self.resident.clear()

    def _in_flight(self) -> list[Row]:
        return self._batch.rows if self._batch is not None else []

    def _read(self) -> None:
        """Take what has arrived; wait for it where there is nothing else to do."""
        idle = not (self._waiting or self._in_flight())
        try:
            item = self._inbox.get() if idle else self._inbox.get_nowait()
            while True:
                self._sort(item)
                item = self._inbox.get(timeout=self.gather) if idle else self._inbox.get_nowait()
        except queue.Empty:
            return

    def _sort(self, item: Any) -> None:
        if isinstance(item, Job):
            policy = item.request if isinstance(item.request, Policy) else item.request.policy
            self._waiting.setdefault(policy, deque()).append(item)
        elif item[0] == "free":
            self._batch = self._policy = None
            self.resident.clear()
            item[1].finish(None)
        else:
            self._closing = True

    def _work(self) -> None:
        """Serve the policy whose turn it is: scores, new rows, one token for every row."""
        policy = self._whose_turn()
        if policy != self._policy or self._batch is None:
            self._policy, self._batch, self._turn = policy, None, 0
            model, tokenizer = self.resident.use(policy)
            decode = lambda ids: tokenizer.decode(ids, skip_special_tokens=True)  # noqa: E731
            self._batch = Rolling(model, end_tokens(model, tokenizer), decode)
            self._model, self._tokenizer = model, tokenizer
            self._window = context_length(model, self.length)
        self._turn += 1
        self._serve_waiting(policy)
        batch = self._batch
        assert batch is not None
        batch.drop([row for row in batch.rows if row.owner is not None and row.owner.future.done()])
        if batch.rows:
            self._deliver(batch.step())

    def _whose_turn(self) -> Policy:
        if self._policy is not None and (self._in_flight() or self._policy in self._waiting):
            others = any(policy != self._policy for policy in self._waiting)
            if self._in_flight() or not others or self._turn < TURN_STEPS:
                return self._policy
            return next(policy for policy in self._waiting if policy != self._policy)
        return next(iter(self._waiting))

    def _serve_waiting(self, policy: Policy) -> None:
        """Score, choose and admit what waits for this policy, as far as there is room and the turn lasts."""
        batch = self._batch
        assert batch is not None
        jobs = self._waiting.get(policy, deque())
        free = self.rows - len(self._in_flight())
        # A few free places are left to gather: reading prompts one by one costs more than it gives.
        admits = free >= max(1, self.rows // 8) or not self._in_flight()
        if (self._turn > TURN_STEPS and len(self._waiting) > 1) or (self._in_flight() and not batch.joins):
            admits = False
        scores: list[Job] = []
        groups: list[tuple[list[int], list[Row]]] = []
        left: deque[Job] = deque()
        while jobs:
            job = jobs.popleft()
            if job.future.done():
                continue
            self._serving.append(job)
            if isinstance(job.request, Policy):
                job.finish(None)
            elif isinstance(job.request, Score):
                (scores if len(scores) < SCORES_AT_ONCE else left).append(job)
            elif job.request.choices:
                job.finish((self._choose(job.request), 0))
            elif not admits or free <= 0:
                left.append(job)
            else:
                group, free = self._open(job, free)
                groups += [group] if group[1] else []
                if job.begun < job.request.n and not job.future.done() and group[1]:
                    left.appendleft(job)
        if left:
            self._waiting[policy] = left
        else:
            self._waiting.pop(policy, None)
        if scores:
            self._score(scores)
        if groups:
            self._deliver(batch.admit(groups))
        self._serving = []

    def _open(self, job: Job, free: int) -> tuple[tuple[list[int], list[Row]], int]:
        """Return ((prompt, rows that fit now), places left) of a job; none where its prompt cannot be read."""
        request = job.request
        if not job.prompt:
            try:
                job.prompt = render_ids(self._tokenizer, request.messages)
            except DataError as error:
                job.finish((failed(request, str(error)), 0))
                return ([], []), free
            if len(job.prompt) >= self._window:
                reason = f"the prompt is too long: {len(job.prompt)} tokens, prompt and answer have {self._window}"
                job.finish((failed(request, reason), 0))
                return ([], []), free
        count = min(request.n - job.begun, free)
        limit = min(request.max_tokens, self._window - len(job.prompt))
        rows = [Row(request, job.begun + i, limit, owner=job) for i in range(count)]
        job.begun += count
        return (job.prompt, rows), free - count

    def _deliver(self, rows: list[Row]) -> None:
        """Turn finished rows into samples, and finish the jobs that have all of theirs."""
        for row in rows:
            job: Job = row.owner
            logprobs = tuple(row.logprobs)
            job.samples[row.index] = Sample(
                row.text, len(row.ids), sum(logprobs), row.finish, index=row.index,
                token_logprobs=logprobs if row.request.logprobs else None,
            )  # fmt: skip
            if len(job.samples) == row.request.n:  # all answers are there
                job.finish(([job.samples[index] for index in range(row.request.n)], len(job.prompt)))

    def _score(self, jobs: list[Job]) -> None:
        requests = [job.request for job in jobs]
        scores = counted_scores(self._model, self._tokenizer, requests, self._window)
        for job, scored in zip(jobs, scores, strict=True):
            job.finish(scored)

    def _choose(self, request: Generate) -> list[Sample]:
        """Return samples that are one of the labels each, drawn from the renormalised label log-probs."""
        try:
            rows = [completion_ids(self._tokenizer, request.messages, label, end=False) for label in request.choices]
        except DataError as error:
            return failed(request, str(error))
        longest = max(len(prompt) + len(label) for prompt, label in rows)
        if longest > self._window:
            return failed(request, f"the prompt is too long: {longest} tokens, the model takes {self._window}")
        totals = torch.tensor([sum(values) for values in completion_logprobs(self._model, rows)])
        logprobs = totals.log_softmax(dim=0).tolist()
        choices = dict(zip(request.choices, logprobs, strict=True))
        samples = []
        for index in range(request.n):
            place = draw_label(logprobs, request.temperature, request.seed + index)
            samples.append(
                Sample(request.choices[place], len(rows[place][1]), float(totals[place]), index=index, choices=choices)
            )
        return samples

    def _shrink(self) -> None:
        """After running out of memory: begin the rows again in a batch of half the size, or give the last one up."""
        jobs = self._taken()
        self._batch = self._policy = None
        self.resident.clear()
        if self.rows == 1 or not jobs:
            error = EngineError("engine 'transformers': the device's memory does not hold a single request")
            self._fail_all(error)
            return
        self.rows //= 2
        for job in reversed(jobs):
            job.begun, job.samples = 0, {}
            waiting = self._waiting.setdefault(job.request.policy, deque())
            if job in waiting:
                waiting.remove(job)
            waiting.appendleft(job)

    def _taken(self) -> list[Job]:
        """Return the unfinished jobs that are in the batch or on their way into it, each once; forget the latter."""
        rows = [row.owner for row in self._in_flight() if row.owner is not None]
        jobs = list(dict.fromkeys([*rows, *self._serving]))
        self._serving = []
        return jobs

    def _fail_policy(self, error: SelfImproveError) -> None:
        """Fail everything that wants the policy whose turn it was."""
        waiting = self._waiting.pop(self._policy, ()) if self._policy is not None else ()
        for job in (*self._taken(), *waiting):
            job.finish(error)
        self._batch = self._policy = None

    def _fail_all(self, error: SelfImproveError) -> None:
        for job in self._taken():
            job.finish(error)
        self._batch = self._policy = None
        try:
            while True:
                self._sort(self._inbox.get_nowait())
        except queue.Empty:
            for jobs in self._waiting.values():
                for job in jobs:
                    job.finish(error)
            self._waiting.clear()


def draw_label(logprobs: list[float], temperature: float, seed: int) -> int:
    """Return the place of a label: the likeliest at temperature 0, else drawn with the seed."""
    if temperature == 0:
        return max(range(len(logprobs)), key=logprobs.__getitem__)
    best = max(logprobs)
    weights = [exp((value - best) / temperature) for value in logprobs]
    return random.Random(seed).choices(range(len(logprobs)), weights)[0]
