"""The card of a pushed model or adapter: every figure and sentence in it comes from the run folder."""

from collections.abc import Iterable
from typing import Any

import yaml

from selfimprove.evaluation.watch import FIGURES
from selfimprove.reporting.parcels.facts import Facts, generator_of, hub_sets, source_text
from selfimprove.reporting.parcels.sections import (
    accuracy,
    against_start,
    citation,
    drift,
    funnel,
    heldout_sets,
    method,
    prompts_text,
    provenance,
    reproduction,
    results,
    sections,
    training,
)

__all__ = ["model_card"]

VLLM_RANKS = (16, 32, 64, 128, 256, 320, 512)
"""The largest ranks that vLLM can be told to make room for; 16 is its default."""


def model_card(
    facts: Facts, what: str, round: int, to: str, revision: str | None = None, adapter: dict[str, Any] | None = None
) -> str:
    """Return the README.md of a round's adapter or merged model, to be pushed to the repository `to`.

    `what` is adapter or merged; `adapter` is the adapter's configuration.
    """
    learned = [number for number in facts.trained if number <= round]
    name = to.rpartition("/")[2]
    body = sections(
        {
            "Results": results(facts, round),
            "How to load it": loading(facts, what, to, revision, adapter or {}),
            "Limitations": [f"- {line}" for line in limitations(facts, round)],
            "Data": [f"Prompts: {prompts_text(facts)}", "", *funnel(facts, learned)],
            "Training": training(facts, learned),
            "Drift": drift(facts),
            "Method": method(facts),
            "How to reproduce it": reproduction(facts),
            "Provenance": provenance(facts, learned, round),
            "Licence": [licence(facts)],
            "Citation": citation(facts),
        }
    )
    head = yaml.safe_dump(head_of(facts, what, round, name, adapter or {}), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n# {name}\n\n{summary(facts, what, round)}\n\n{body}"


def head_of(facts: Facts, what: str, round: int, name: str, adapter: dict[str, Any]) -> dict[str, Any]:
    """Return the hub's metadata of a model: what it was made of, how, under which licence, and what it scored."""
    origin = facts.origin
    head: dict[str, Any] = {}
    if origin.hub:
        head |= {"base_model": origin.hub, "base_model_relation": "adapter" if what == "adapter" else "finetune"}
    head |= {"library_name": "peft" if what == "adapter" else "transformers", "pipeline_tag": "text-generation"}
    head |= license_of(facts)
    if origin.language:
        head["language"] = list(origin.language)
    kind = str(adapter.get("peft_type", "")).lower()
    head["tags"] = list(dict.fromkeys(["selfimprove", facts.method_name, "trl", *([kind] if kind else [])]))
    sets = hub_sets(facts.recipe.prompts)
    if sets:
        head["datasets"] = sets
    scored = [result for each in heldout_sets(facts) if (result := _result(facts, round, each))]
    if scored:
        head["model-index"] = [{"name": name, "results": scored}]
    return head


def license_of(facts: Facts) -> dict[str, Any]:
    """Return the licence fields of the metadata; `other`, with where to look, where the licence is not known."""
    origin = facts.origin
    if origin.license:
        named = {"license_name": origin.license_name, "license_link": origin.license_link}
        return {"license": origin.license, **{key: value for key, value in named.items() if value}}
    link = {"license_link": f"https://huggingface.co/{origin.hub}"} if origin.hub else {}
    return {"license": "other", "license_name": "unknown", **link}


def _result(facts: Facts, round: int, name: str) -> dict[str, Any] | None:
    found = accuracy(facts, round, name)
    if found is None:
        return None
    source = facts.recipe.heldout.get(name, name)
    interval = f"[{100 * found.low:.1f} %, {100 * found.high:.1f} %]"
    described = f"greedy, {found.correct:g} of {found.total}, 95 % interval {interval}"
    return {
        "task": {"type": "text-generation"},
        "dataset": {"name": name, "type": next(iter(hub_sets(source)), name)},
        "metrics": [{"type": "accuracy", "value": found.share, "name": f"held-out accuracy ({described})"}],
    }


def summary(facts: Facts, what: str, round: int) -> str:
    """Return what the model is and what it gained, in a sentence or two."""
    kind = "An adapter for" if what == "adapter" else "A version of"
    does = f" ({facts.method.summary.rstrip('.')})" if facts.method and facts.method.summary else ""
    count = len([number for number in facts.trained if number <= round])
    rounds = f"{count} round{'s' if count != 1 else ''}"
    text = (
        f"{kind} {facts.origin.name}, made by {rounds} of {facts.title}{does} on prompts from {prompts_text(facts)}."
    )
    for name in heldout_sets(facts):
        before, after = accuracy(facts, 0, name), accuracy(facts, round, name)
        if before and after:
            text += f" Accuracy on the held-out set {name}: {100 * after.share:.1f} %, of the start model "
            text += f"{100 * before.share:.1f} %."
    return text


def loading(facts: Facts, what: str, to: str, revision: str | None, adapter: dict[str, Any]) -> list[str]:
    """Return how to load what was pushed with transformers or peft, and with vLLM."""
    base = facts.origin.hub or "path/to/the/base/model"
    at = f', revision="{revision}"' if revision else ""
    if what == "merged":
        loaded = [
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            f'model = AutoModelForCausalLM.from_pretrained("{to}"{at})',
            f'tokenizer = AutoTokenizer.from_pretrained("{to}"{at})',
        ]
        served = f"vllm serve {to}{f' --revision {revision}' if revision else ''}"
    else:
        loaded = [
            "from peft import PeftModel; from transformers import AutoModelForCausalLM, AutoTokenizer",
            f'model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"), "{to}"{at})',
            f'tokenizer = AutoTokenizer.from_pretrained("{base}")',
        ]
        rank = next((f" --max-lora-rank {size}" for size in VLLM_RANKS if size >= adapter.get("r", 0)), "")
        served = f"vllm serve {base} --enable-lora{rank} --lora-modules {to.rpartition('/')[2]}={to}"
    return ["```python", *loaded, "```", "", "```bash", served, "```"]


def limitations(facts: Facts, round: int) -> list[str]:
    """Return what speaks against relying on this model, each a fact of the run folder."""
    return [
        *_about_results(facts, round),
        *_about_the_run(facts, round),
    ]


def _about_results(facts: Facts, round: int) -> Iterable[str]:
    names = [name for name in heldout_sets(facts) if accuracy(facts, round, name)]
    if not names:
        yield f"The policy of round {round} was not measured on any held-out set."
    for name in names:
        found, change = accuracy(facts, round, name), against_start(facts, round, name)
        if found and found.failed:
            yield f"{found.failed} of {found.total + found.failed} items of {name} could not be graded."
        if change and change.p >= 0.05:
            yield f"On {name} the difference from the start model may be chance (p = {change.p:.2g})."
        elif change and change.difference < 0:
            yield f"On {name} this model is worse than the start model ({change})."
        generator = generator_of(facts.recipe.heldout.get(name))
        if generator and generator == generator_of(facts.recipe.prompts):
            yield f"{name} and the training prompts come from the same generator ({generator})."
    if facts.finished and facts.chosen is not None and facts.trained and facts.chosen != facts.trained[-1]:
        yield (
            f"The run went back to round {facts.chosen} of {facts.trained[-1]} because of figures that include the "
            "held-out ones above, so these are somewhat optimistic."
        )
    if facts.chosen is not None and round != facts.chosen:
        yield f"This is round {round}; the run itself ended with the policy of round {facts.chosen}."


def _about_the_run(facts: Facts, round: int) -> Iterable[str]:
    recipe = facts.recipe
    yield f"All figures come from one run with one seed ({recipe.seed}); the spread over seeds was not measured."
    if recipe.engine.get("name") == "scripted":
        yield "The answers came from the scripted engine, which is no model: the figures mean nothing."
    if facts.origin.caution:
        yield f"{facts.origin.caution} On other weights its figures differ."
    watched = [n for n in range(round + 1) if facts.store.marker(n, "watch")]
    if not watched:
        yield f"Drift ({', '.join(list(FIGURES)[:3])}, ...) was not watched."
    for number in watched:
        for sentence in (facts.store.marker(number, "watch") or {}).get("breaches", []):
            yield f"In round {number} the drift watch found: {sentence}."
    if not facts.origin.license:
        yield "The licence of the base model was not found where the run was made."


def licence(facts: Facts) -> str:
    """Return under what licence the model stands, and on what that is founded."""
    origin = facts.origin
    data = f"The prompts ({source_text(facts.recipe.prompts)}) have terms of their own, which this run does not know."
    if origin.license:
        name = origin.license_name or origin.license
        return (
            f"The base model, {origin.name}, is under {name}; what was made of it is passed on under the same. {data}"
        )
    where = f"see https://huggingface.co/{origin.hub}" if origin.hub else "ask whoever gave you that model"
    return f"The licence of the base model, {origin.name}, is not known to this run; {where} before you use it. {data}"
