"""Which requests no engine can serve: the same answer from all of them, before anything is sent or loaded."""

from selfimprove.engines.base import Generate, Score
from selfimprove.records import Sample, Scored


def refusal(request: Generate | Score) -> str | None:
    """Return why a request makes no sense, or None where it does."""
    if not request.messages:
        return "the conversation is empty"
    if isinstance(request, Score):
        return None if request.completion or request.end else "there is no text to score"
    if request.n < 1:
        return f"n is {request.n}; ask for at least one answer"
    if request.max_tokens < 1:
        return f"max_tokens is {request.max_tokens}; ask for at least one token"
    if request.temperature < 0:
        return f"temperature is {request.temperature}; it cannot be negative"
    if not 0 < request.top_p <= 1:
        return f"top_p is {request.top_p}; it lies above 0 and at most at 1"
    if not 0 <= request.min_p <= 1:
        return f"min_p is {request.min_p}; it lies between 0 and 1"
    if request.top_k < 0:
        return f"top_k is {request.top_k}; 0 switches it off"
    if "" in request.stop:
        return "a stop string is empty"
    if sum((bool(request.choices), request.json_schema is not None, request.regex is not None)) > 1:
        return "only one of choices, json_schema and regex can be asked for"
    if request.choices and ("" in request.choices or len(set(request.choices)) < len(request.choices)):
        return f"choices are {list(request.choices)}; they must be different and not empty"
    return None


def failed(request: Generate, reason: str) -> list[Sample]:
    """Return a request's samples where it failed as a whole: one error value per answer asked for."""
    return [Sample("", finish="error", error=reason, index=index) for index in range(max(request.n, 1))]


def unscored(reason: str) -> Scored:
    """Return the value of a score that failed."""
    return Scored(error=reason)
