"""Requests in vLLM's words, and vLLM's answers in ours."""

import json
import math
import random
from dataclasses import replace
from typing import Any

from selfimprove.engines.base import Generate, Score
from selfimprove.engines.parts.chat_api import renormalised
from selfimprove.engines.parts.refusal import failed
from selfimprove.errors import DataError
from selfimprove.records import Sample, Scored


def sampling_params(request: Generate) -> Any:
    """Return vLLM's parameters of a request for free text, JSON or a regex.

    Answer i has seed + i (vLLM's own rule for the children of a request). Where nothing is random, one answer
    is asked for and copied. Log-probs are raw: at temperature 1, before truncation. Raises DataError where vLLM
    does not take a value.
    """
    from vllm.sampling_params import StructuredOutputsParams

    structured = None
    if request.json_schema is not None:
        structured = StructuredOutputsParams(json=json.dumps(request.json_schema))
    elif request.regex is not None:
        structured = StructuredOutputsParams(regex=request.regex)
    return _params(
        n=1 if is_greedy(request) else request.n,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        min_p=request.min_p,
        seed=request.seed % 2**62,  # vLLM keeps seeds in 64 bits and reads -1 as none
        max_tokens=request.max_tokens,
        stop=list(request.stop),
        include_stop_str_in_output=request.keep_stop,
        logprobs=0,
        structured_outputs=structured,
    )


def label_params(labels: dict[str, int]) -> Any:
    """Return vLLM's parameters for the log-probs of a few tokens in the place of the answer's first."""
    ids = list(labels.values())
    return _params(max_tokens=1, temperature=0.0, allowed_token_ids=ids, logprob_token_ids=ids, logprobs=len(ids))


def scoring_params() -> Any:
    """Return vLLM's parameters for the log-probs of a given text."""
    return _params(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)


def _params(**values: Any) -> Any:
    from vllm.exceptions import VLLMValidationError
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    try:
        return SamplingParams(flat_logprobs=True, output_kind=RequestOutputKind.FINAL_ONLY, **values)
    except (VLLMValidationError, ValueError) as error:
        raise DataError(f"vLLM refuses the request: {error}") from None


def is_greedy(request: Generate) -> bool:
    """Whether nothing is random: vLLM takes temperatures below 1e-5 for 0."""
    return request.temperature < 1e-5


def label_tokens(tokenizer: Any, choices: tuple[str, ...]) -> dict[str, int]:
    """Return the first token of every label; raises DataError where two labels begin with the same token."""
    tokens = {label: int(tokenizer.encode(label, add_special_tokens=False)[0]) for label in choices}
    if len(set(tokens.values())) < len(tokens):
        raise DataError(f"the labels {list(choices)} do not differ in their first token; choose others")
    return tokens


def samples_of(request: Generate, output: Any) -> list[Sample]:
    """Return a finished output as samples in index order."""
    samples = [_sample(request, answer) for answer in output.outputs]
    if len(samples) < request.n:
        samples = [replace(samples[0], index=index) for index in range(request.n)]
    return samples


def _sample(request: Generate, answer: Any) -> Sample:
    if answer.finish_reason not in ("stop", "length"):
        reason = f"vLLM ended the answer with '{answer.finish_reason}'"
        return Sample("", finish="error", error=reason, index=answer.index)
    flat = answer.logprobs
    values = tuple(flat.logprobs[start] for start in flat.start_indices)  # the sampled token stands first
    kept = values if request.logprobs else None
    tokens = len(answer.token_ids)
    return Sample(answer.text, tokens, sum(values), answer.finish_reason, index=answer.index, token_logprobs=kept)


def labels_of(request: Generate, output: Any, labels: dict[str, int]) -> list[Sample]:
    """Return one label per answer, drawn at the request's temperature by seed + index.

    `Sample.choices` are the log-probs among the labels, `Sample.logprob` is that of the label's token as it is.
    """
    flat = output.outputs[0].logprobs
    raw = dict(zip(flat.token_ids, flat.logprobs, strict=True))
    logprobs = {label: raw[token] for label, token in labels.items()}
    choices = renormalised(logprobs)
    if choices is None:
        return failed(request, f"the model gives none of the labels {list(labels)} any probability")
    samples = []
    for index in range(request.n):
        label = max(choices, key=choices.__getitem__)
        if not is_greedy(request):
            weights = [math.exp(value / request.temperature) for value in choices.values()]
            label = random.Random(request.seed + index).choices(list(choices), weights)[0]
        kept = (logprobs[label],) if request.logprobs else None
        samples.append(Sample(label, 1, logprobs[label], index=index, token_logprobs=kept, choices=choices))
    return samples


def scored_of(request: Score, output: Any, completion: list[int]) -> Scored:
    """Return the log-probs of the last len(completion) tokens of a prompt."""
    flat = output.prompt_logprobs
    starts = flat.start_indices[len(flat.start_indices) - len(completion) :]
    if [flat.token_ids[start] for start in starts] != completion:
        return Scored(error="vLLM returned log-probs of other tokens than those given")
    return Scored(tuple(flat.logprobs[start] for start in starts))
