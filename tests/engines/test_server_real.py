"""The server engine against a real vLLM server of the embedded model on 127.0.0.1: the shared conformance checks."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from adapters import make_adapter
from conformance import CHECKS, name_of, running

from selfimprove.engines import open_engine
from selfimprove.engines.base import Generate, Policy, Score
from selfimprove.models import model_folder, policy_of
from selfimprove.records import as_messages

pytestmark = [pytest.mark.slow, pytest.mark.vllm]
pytest.importorskip("vllm")
pytest.importorskip("openai")

FLAGS = ["--dtype", "bfloat16", "--max-model-len", "512", "--max-num-seqs", "64", "--enforce-eager"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end_group(process: subprocess.Popen) -> None:
    """End a server with all its children: they stay when only the parent is told."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(20)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The URL of a vLLM server that may change its weights."""
    port, log = free_port(), tmp_path_factory.mktemp("server") / "log.txt"
    cores = f"0-{(os.cpu_count() or 1) - 1}"
    environment = os.environ | {
        "VLLM_SERVER_DEV_MODE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": cores,
    }  # fmt: skip
    environment.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model_folder("embedded"))]
    command += ["--served-model-name", "small", "--host", "127.0.0.1", "--port", str(port), *FLAGS]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        end_group(process)


def wait_until_ready(address: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(480):
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server was not ready within 240 s:\n" + log.read_text()[-3000:])


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Policy:
    return policy_of("embedded", str(make_adapter(tmp_path_factory.mktemp("adapter") / "a", seed=1)))


@pytest.fixture(scope="module")
def subject(url, other):
    with running(open_engine({"name": "server", "url": url}), policy_of("embedded"), other=other) as subject:
        yield subject


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_conformance(check, subject):
    subject.conduct(check)


def test_it_knows_what_it_talks_to(subject, url):
    assert (subject.engine.identity, subject.engine.model) == (url, "small")
    assert subject.engine.version.startswith("vllm 0.")
    assert subject.engine.usage.notes == {}


def test_labels_of_several_tokens_are_weighed_as_a_whole(subject):
    """Labels that begin with the same token cannot be told apart by one token; their scores can."""
    question = as_messages("Is water wet? Answer 'true indeed' or 'true never'.")
    labels = ("true indeed", "true never")
    ask = Generate(subject.policy, question, choices=labels, temperature=0.0)
    (sample,) = subject.loop.run(subject.engine.generate(ask))
    scores = [
        subject.loop.run(subject.engine.score(Score(subject.policy, question, label, end=False))) for label in labels
    ]
    assert sample.text in labels
    first, second = (scored.total for scored in scores)
    assert sample.choices[labels[0]] - sample.choices[labels[1]] == pytest.approx(first - second, abs=0.3)


def test_scores_without_a_local_tokenizer_are_the_same(url, subject):
    """Where the policy's folder is not here, the server renders and tokenises."""
    ask = Score(subject.policy, as_messages("What is the capital of France?"), "The capital is Paris.")
    local = subject.loop.run(subject.engine.score(ask))
    remote = open_engine({"name": "server", "url": url})
    elsewhere = Policy("an/other-machine", digest="x")
    subject.loop.run(remote.start(elsewhere))
    for end in (True, False):
        scored = subject.loop.run(remote.score(Score(elsewhere, ask.messages, ask.completion, end=end)))
        expected = local.token_logprobs if end else local.token_logprobs[:-1]
        assert scored.token_logprobs == pytest.approx(expected, abs=0.1)
    subject.loop.run(remote.close())
