"""The protocols of chat and of text completions: a request as JSON, an answer as samples; pure, no network."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from selfimprove.engines.base import Generate
from selfimprove.records import Sample

LARGEST_SEED = 2**63 - 1
TOP_LOGPROBS = 20
"""What a vLLM server gives at most unless it is started with a larger --max-logprobs."""


def chat_body(request: Generate, model: str, *, vllm: bool, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON of a chat request; `extra` goes over it, and a null there removes a key."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [dict(message) for message in request.messages],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed & LARGEST_SEED,
    }
    if request.n > 1:
        body["n"] = request.n
    if request.stop:
        body["stop"] = list(request.stop)
    if request.keep_stop and vllm:
        body["include_stop_str_in_output"] = True
    if vllm or request.top_k:
        body["top_k"] = request.top_k
    if vllm or request.min_p:
        body["min_p"] = request.min_p
    if vllm:
        body["repetition_penalty"] = 1.0  # a server takes it from the model's generation_config otherwise
        body["logprobs"] = True
        if request.messages[-1]["role"] == "assistant":
            body |= {"continue_final_message": True, "add_generation_prompt": False}
    elif request.logprobs:
        body["logprobs"] = True
    body |= _constraint(request, vllm)
    return {key: value for key, value in (body | dict(extra)).items() if value is not None}


def text_body(chat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON of a text completion that asks what a chat body asks, for a conversation of plain text."""
    body = {key: value for key, value in chat.items() if key not in ("messages", "logprobs", "top_logprobs")}
    if chat.get("logprobs"):
        body["logprobs"] = chat.get("top_logprobs", 1)
    return body | {"prompt": chat["messages"][0]["content"]}


def as_chat(body: Any) -> Any:
    """Return a text completion's answer in the form of a chat answer; anything else comes back as it is."""
    if not isinstance(body, Mapping) or not isinstance(body.get("choices"), list):
        return body
    return {**body, "choices": [_choice_as_chat(choice) for choice in body["choices"]]}


def _choice_as_chat(choice: Any) -> Any:
    if not isinstance(choice, Mapping) or not isinstance(choice.get("text"), str):
        return choice
    told = choice.get("logprobs") or {}
    values = told.get("token_logprobs") or ()
    candidates = told.get("top_logprobs") or [None] * len(values)
    entries = [
        {"logprob": value, "top_logprobs": [{"token": token, "logprob": each} for token, each in (top or {}).items()]}
        for value, top in zip(values, candidates, strict=False)
    ]
    return {**choice, "message": {"content": choice["text"]}, "logprobs": {"content": entries}}


def _constraint(request: Generate, vllm: bool) -> dict[str, Any]:
    if request.choices:
        wanted = {"structured_outputs": {"choice": list(request.choices)}} if vllm else {}
        return wanted | {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
    if request.json_schema is not None:
        schema = dict(request.json_schema)
        if vllm:
            return {"structured_outputs": {"json": schema}}
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}
    return {"structured_outputs": {"regex": request.regex}} if request.regex is not None else {}


def samples_of(body: Any, request: Generate) -> list[Sample] | None:
    """Return the samples of a chat answer in index order, None where it is not such an answer."""
    if not isinstance(body, Mapping) or not isinstance(body.get("choices"), list) or not body["choices"]:
        return None
    share = _counted(body, "completion_tokens") // len(body["choices"])
    found: dict[int, Sample] = {}
    for position, choice in enumerate(body["choices"]):
        if not isinstance(choice, Mapping) or not isinstance(choice.get("message"), Mapping):
            return None
        if not isinstance(choice["message"].get("content"), str | None):
            return None
        index = choice.get("index", position)
        if not isinstance(index, int):
            return None
        found[index] = replace(_sample(choice, request, share), index=index)
    missing = Sample("", finish="error", error="the server left this answer out")
    return [found.get(index, replace(missing, index=index)) for index in range(request.n)]


def prompt_tokens_of(body: Mapping[str, Any]) -> int:
    """Return the prompt tokens a server counted."""
    return _counted(body, "prompt_tokens")


def _counted(body: Mapping[str, Any], name: str) -> int:
    """Return a count of a server's usage, 0 where it gives none."""
    usage = body.get("usage")
    value = usage.get(name) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) else 0


def _sample(choice: Mapping[str, Any], request: Generate, share: int) -> Sample:
    text = (choice["message"].get("content") or "").encode("utf-8", "replace").decode()  # half characters
    finish = "length" if choice.get("finish_reason") == "length" else "stop"
    if choice.get("finish_reason") == "content_filter":
        return Sample("", finish="error", error="the server's content filter withheld the answer")
    begun = request.messages[-1]
    if begun["role"] == "assistant" and begun["content"]:
        text = text.removeprefix(begun["content"])  # servers that answer anew say the beginning again
    entries = (choice.get("logprobs") or {}).get("content") or []
    values = tuple(float(entry["logprob"]) for entry in entries)
    sample = Sample(text, tokens=len(values) or share, finish=finish, logprob=sum(values) if values else None)
    if request.logprobs and values:
        sample = replace(sample, token_logprobs=values)
    return _verdict(sample, entries, request.choices) if request.choices else sample


def _verdict(sample: Sample, entries: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> Sample:
    """Return a sample whose text is one of the labels, with their log-probs where the first token tells them."""
    answer = sample.text.strip()
    exact = [label for label in labels if answer == label.strip()]
    begins = [label for label in labels if answer.startswith(label.strip())]
    label = (exact or sorted(begins, key=len, reverse=True) or [None])[0]
    if label is None:
        return Sample("", finish="error", error=f"none of {list(labels)} was answered, but {answer[:60]!r}")
    return replace(sample, text=label, choices=first_token_choices(entries, labels))


def first_token_choices(entries: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> dict[str, float] | None:
    """Return {label: renormalised log-prob} from the first token's candidates.

    None where the server gave no candidates, or where one token begins several labels.
    """
    if not entries:
        return None
    mass = dict.fromkeys(labels, 0.0)
    for candidate in [*(entries[0].get("top_logprobs") or ())]:
        token = str(candidate.get("token", "")).strip()
        owners = [label for label in labels if token and label.strip().startswith(token)]
        if len(owners) > 1:
            return None
        if owners:
            mass[owners[0]] += math.exp(float(candidate["logprob"]))
    return renormalised({label: math.log(value) if value > 0 else -math.inf for label, value in mass.items()})


def renormalised(logprobs: Mapping[str, float]) -> dict[str, float] | None:
    """Return log-probs shifted so that their probabilities sum to 1; None where all are minus infinity.

    A label without any mass gets -100, so that the record stays finite and can be written as JSON.
    """
    largest = max(logprobs.values(), default=-math.inf)
    if largest == -math.inf:
        return None
    total = largest + math.log(sum(math.exp(value - largest) for value in logprobs.values()))
    return {label: max(value - total, -100.0) for label, value in logprobs.items()}
