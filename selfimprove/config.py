"""The recipe: one YAML file, checked key by key against dataclasses, with dotted overrides and a digest.

`fill(cls, data, where)` is the only way a dataclass is made from a file: unknown keys are refused with the
nearest known one, values are checked and converted by pydantic, and every error names the file. The help
text of a key is the comment behind its field.
"""

import hashlib
import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

import yaml
import yaml.constructor
import yaml.reader

from selfimprove.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


@dataclass(frozen=True)
class Collect:
    """How the coroutines of a round are driven."""

    window: int = 256  # prompts in flight at once; bounds memory and the size of the engine's queue
    on_failure: str = "stop"  # stop, or skip: a prompt whose method raised becomes a Skip instead of ending the run
    shard_rows: int = 10_000  # rows per file of the data set


@dataclass(frozen=True)
class Evaluate:
    """How held-out sets are measured after every round."""

    max_tokens: int = 256  # longest answer
    samples: int = 0  # sampled answers per item for pass@k and majority@k; 0: greedy only
    temperature: float = 0.7  # of those samples
    with_method: bool = False  # also measure the method's own way to answer, where it has one (best-of, refining)
    limit: int | None = None  # items per set; None: all
    patience: int | None = None  # stop when the first set has not risen for so many rounds; None: never


@dataclass(frozen=True)
class Budget:
    """What a run may spend before it stops; a resumed run counts on from where it stopped."""

    max_tokens: int | None = None  # tokens generated
    max_hours: float | None = None  # hours of work, training included
    max_cost: float | None = None  # in the currency of gpu_hour_price


@dataclass(frozen=True)
class Limit:
    """Bounds of one figure of the watch; ratios are against round 0, or the first round that has the figure."""

    min: float | None = None  # smallest value
    max: float | None = None  # largest value
    min_ratio: float | None = None  # smallest value divided by round 0's
    max_ratio: float | None = None  # largest value divided by round 0's


@dataclass(frozen=True)
class Watch:
    """How the policy's drift is followed: a fixed set of prompts is answered at temperature 1 after every round."""

    prompts: int = 32  # held-out items (training prompts where there are none) that are answered; 0: no watch
    samples: int = 2  # answers per prompt
    max_tokens: int | None = None  # longest answer; None: evaluate.max_tokens
    limits: dict[str, Limit] = field(default_factory=dict)  # figure: {min, max, min_ratio, max_ratio}
    judge_against_truth: bool = True  # a breach: the judge's score rises while held-out accuracy falls (p < 0.05)
    on_breach: str = "stop"  # stop, roll_back (the best round's policy is the result), or note (only say so)


@dataclass(frozen=True)
class Hygiene:
    """What is taken out of a round's rows before training; every row taken out is counted and listed."""

    dedup: str | None = None  # exact: same prompt and answers; near: MinHash as well; None: rows stay as they are
    near_threshold: float = (
        0.8  # similarity of word 5-grams, of prompts and of answers, from which rows are near-duplicates
    )
    decontaminate: bool = False  # drop rows that share an n-gram with a held-out item or a benchmark
    benchmarks: list[str | dict[str, Any]] = field(default_factory=list)  # further sources to stay clear of
    ngram: int = 13  # words of such an n-gram; shorter texts are compared whole
    balance_length: float | None = None  # largest share by which chosen answers may be longer than rejected ones


@dataclass(frozen=True)
class Sandbox:
    """Where generated code runs, and what it may use."""

    name: str = "auto"  # auto: the strongest that works here; zygote, wasi, landlock, remote, or rlimits
    trust_the_code: bool = False  # rlimits isolates nothing: it runs only where this says that the code is trusted
    url: str | None = None  # of a remote sandbox service
    slots: int | None = None  # programs that run at once; None: two a core
    seconds: float = 5.0  # longest run of one program, wall clock
    memory_mb: int = 512  # largest memory of one program
    preload: list[str] = field(default_factory=list)  # packages that every program finds imported, such as numpy
    aggregate: str = "all"  # score of tests: all (1 where every test passes, else 0), or fraction of those that pass
    runs: int = 1  # times that a passing program is run; 2 tells flaky programs


@dataclass(frozen=True)
class Recipe:
    """Everything a run depends on."""

    method: dict[str, Any]  # name, and the options of that method
    prompts: str | dict[str, Any]  # where the training prompts come from: a file, a hub id, {gym: task}, {name: gsm8k}
    model: str = "embedded"  # embedded, a folder or a hub id
    heldout: dict[str, str | dict[str, Any]] = field(default_factory=dict)  # name: source; never trained on
    rounds: int = 1  # times round the loop
    prompts_per_round: int | None = None  # each round takes the next so many prompts; None: every round takes all
    seed: int = 0  # of everything random
    engine: dict[str, Any] = field(default_factory=lambda: {"name": "vllm"})  # name, and the options of that engine
    train: dict[str, Any] = field(default_factory=dict)  # options of the TRL trainer, lora, accelerate
    train_by_round: dict[int, dict[str, Any]] = field(default_factory=dict)  # round: train options that differ there
    value: dict[str, Any] = field(default_factory=dict)  # value model: model, engine, train options that differ for it
    collect: Collect = field(default_factory=Collect)  # window, failure policy
    hygiene: Hygiene = field(default_factory=Hygiene)  # duplicates, contamination, length balance of the rows
    judge: dict[str, Any] = field(default_factory=dict)  # {name: llm, ...}: grades answers; max_swap_rate limits it
    sandbox: Sandbox = field(default_factory=Sandbox)  # where generated code runs, its limits
    evaluate: Evaluate = field(default_factory=Evaluate)  # lengths, samples, patience
    watch: Watch = field(default_factory=Watch)  # drift of the policy, its limits, what a breach does
    budget: Budget = field(default_factory=Budget)  # tokens, hours, money
    gpu_hour_price: float | None = None  # money per device and hour, for --estimate and budget.max_cost
    export: str = "merged"  # merged: the last policy as one plain model; adapter: as trained
    push: dict[str, Any] = field(default_factory=dict)  # {to: me/model}: goes to a hub at the end
    ledger: str | None = None  # a ledger file that several runs share; None: one in the run folder
    output: str | None = None  # run folder; None: runs/<recipe name>

    @property
    def method_name(self) -> str:
        """The method's name as its file spells it."""
        return str(self.method["name"]).replace("-", "_")


MAY_CHANGE = (
    "rounds", "output", "export", "collect.window", "collect.on_failure", "evaluate.patience",
    "watch.limits", "watch.judge_against_truth", "watch.on_breach", "budget", "gpu_hour_price", "push",
    "train.report_to", "train.project", "train.run_name", "sandbox.name", "sandbox.url", "sandbox.slots",
)  # fmt: skip
"""Keys that a resumed run may change: they decide how far and how fast, not what the rows are."""


SMALLEST = {
    "rounds": 0, "prompts_per_round": 1, "collect.window": 1, "collect.shard_rows": 1, "evaluate.max_tokens": 1,
    "evaluate.samples": 0, "evaluate.temperature": 0, "evaluate.limit": 1, "evaluate.patience": 1, "hygiene.ngram": 1,
    "budget.max_tokens": 1, "budget.max_hours": 0, "budget.max_cost": 0, "gpu_hour_price": 0,
    "sandbox.slots": 1, "sandbox.memory_mb": 16, "sandbox.runs": 1,
}  # fmt: skip
"""The smallest value of every number that cannot be any number."""


class _Loader(yaml.SafeLoader):
    """YAML 1.1 with two repairs: 1e-5 is a number, and a key that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' stands twice", key_node.start_mark)
            seen.append(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse_yaml(text: str, where: str) -> Any:
    """Return what a YAML text says; raises ConfigError with file and line where it is not YAML."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        hint = "; indent with spaces, not with tabs" if "'\\t'" in str(error.problem) else ""
        raise ConfigError(f"{where}{line}: not valid YAML: {error.problem}{hint}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        found = repr(text[error.position])
        raise ConfigError(f"{where} line {line}: not valid YAML: {found} may not stand there; remove it") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None


def fill(cls: type[T], data: Any, where: str) -> T:
    """Return the dataclass `cls` made of a mapping.

    Raises ConfigError for a value of the wrong type, a missing key, or a key that `cls` does not have.
    """
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected a mapping of options, found {_kind(data)}")
    known = {f.name: f for f in fields(cls)}
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key not in known:
            title = getattr(cls, "TITLE", _owner(cls) if cls.__name__ == "Config" else cls.__qualname__)
            title = "a recipe" if cls is Recipe else title
            raise ConfigError(f"{where}: {title} has no option '{key}'{did_you_mean(str(key), known)}")
        if is_dataclass(hints[key]):
            values[key] = fill(hints[key], value, f"{where}: {key}")  # type: ignore[arg-type]
            continue
        inner = get_args(hints[key])[-1] if get_origin(hints[key]) is dict else None
        if is_dataclass(inner) and isinstance(value, Mapping):
            values[key] = {name: fill(inner, item, f"{where}: {key}.{name}") for name, item in value.items()}  # type: ignore[arg-type]
            continue
        try:
            values[key] = TypeAdapter(hints[key]).validate_python(value)
        except ValidationError as error:
            problem = error.errors()[0]["msg"].replace("dictionary", "mapping")
            found = "empty" if value is None else f"{value!r:.100}"
            raise ConfigError(f"{where}: {key} is {found}: {problem[0].lower()}{problem[1:]}") from None
    for name, f in known.items():
        if name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise ConfigError(f"{where}: '{name}' is missing ({help_texts(cls).get(name, 'it has no default')})")
    try:
        return cls(**values)
    except (ConfigError, ValueError, TypeError) as error:  # what a Config says of values that cannot work
        raise ConfigError(f"{where}: {error}") from error


def help_texts(cls: type) -> dict[str, str]:
    """Return {field: the comment behind it} of a dataclass, from its source."""
    try:
        source = inspect.getsource(cls)
    except OSError:
        return {}
    found = re.findall(r"^    (\w+): .*?  # (.+)$", source, flags=re.MULTILINE)
    return {name: text.strip() for name, text in found}


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe of a YAML file with `key.sub=value` overrides; raises ConfigError naming file and key."""
    data = read_mapping(path)
    for override in overrides:
        apply_override(data, override)
    return make_recipe(data, str(path))


def read_mapping(path: str | Path) -> dict[Any, Any]:
    """Return what a recipe's file says, unchecked; raises ConfigError naming the file where it is no mapping."""
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such recipe; `selfimprove recipes ls` lists the shipped ones")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text, so not a recipe") from None
    data = parse_yaml(text, str(path))
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of options, this file holds {_kind(data)}")
    return data


def make_recipe(data: Mapping[str, Any], where: str) -> Recipe:
    """Return the recipe of a mapping; raises ConfigError naming `where` and the key."""
    data = dict(data)
    for section in ("method", "engine"):
        if isinstance(data.get(section), str):  # `method: raft` is short for `method: {name: raft}`
            data[section] = {"name": data[section]}
        if section in data and isinstance(data[section], Mapping) and "name" not in data[section]:
            raise ConfigError(f"{where}: {section} needs a name, for example {section}: {{name: ...}}")
    recipe = fill(Recipe, data, where)
    for key, least in SMALLEST.items():
        value: Any = reduce(getattr, key.split("."), recipe)
        if value is not None and not value >= least:
            bound = f"must be at least {least}" if least else "cannot be negative"
            raise ConfigError(f"{where}: {key} is {value}; it {bound}")
    path = next((name for name in recipe.heldout if Path(name).name != name or name.startswith(".")), None)
    if path is not None:
        raise ConfigError(f"{where}: heldout.{path}: the name of a set becomes a folder; write one without '/'")
    if recipe.export not in ("merged", "adapter"):
        raise ConfigError(f"{where}: export is {recipe.export!r}; allowed: merged, adapter")
    if recipe.collect.on_failure not in ("stop", "skip"):
        raise ConfigError(f"{where}: collect.on_failure is {recipe.collect.on_failure!r}; allowed: stop, skip")
    if recipe.budget.max_cost is not None and recipe.gpu_hour_price is None:
        raise ConfigError(f"{where}: budget.max_cost needs gpu_hour_price, the money that a device costs in an hour")
    for section, key, known in (
        ("hygiene", "dedup", (None, "exact", "near")),
        ("watch", "on_breach", ("stop", "roll_back", "note")),
        ("sandbox", "name", ("auto", "zygote", "wasi", "landlock", "remote", "rlimits")),
        ("sandbox", "aggregate", ("all", "fraction")),
    ):
        found = getattr(getattr(recipe, section), key)
        if found not in known:
            allowed = ", ".join("null" if value is None else value for value in known)
            raise ConfigError(f"{where}: {section}.{key} is {found!r}; allowed: {allowed}")
    return recipe


def apply_override(data: dict[Any, Any], override: str) -> None:
    """Apply one `key.sub=value` to a recipe mapping in place; the value is read as YAML."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"'{override}' is not an override; write key=value, for example method.samples=16")
    *parents, last = key.split(".")
    section = data
    for name in parents:
        parent = int(name) if name.isdigit() and int(name) in section else name  # rounds are numbers
        inner = section.get(parent)
        if isinstance(inner, str) and parent in ("method", "engine"):
            inner = dict[Any, Any](name=inner)
        elif inner is None:
            inner = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"'{override}': '{parent}' holds {_kind(inner)}, so it has no option '{last}'")
        section[parent] = inner
        section = inner
    section[last] = parse_yaml(value, f"override '{override}'")


def to_plain(value: Any) -> Any:
    """Return dataclasses, tuples and mappings as plain dicts and lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    return [to_plain(item) for item in value] if isinstance(value, list | tuple) else value


def digest(value: Any, size: int = 16) -> str:
    """Return the hex digest of any plain value: equal values give equal digests, whatever the key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_inner_plain)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()


def _inner_plain(value: Any) -> Any:
    """Asked for what JSON does not know only: a walk through every value would cost more than the digest."""
    plain = to_plain(value)
    if plain is value:
        raise TypeError(f"a {type(value).__name__} cannot be part of a digest")
    return plain


def differing_keys(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Return {dotted key: (old value, new value)} of all that differs between two plain mappings."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in sorted({*old, *new}, key=str):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found |= differing_keys(before, after, f"{prefix}{key}.")
        elif before != after:
            found[f"{prefix}{key}"] = (before, after)
    return found


def may_change(key: str) -> bool:
    """Whether a resumed run may change the dotted key."""
    return any(key == name or key.startswith(f"{name}.") for name in MAY_CHANGE)


def options_of(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `{name: ..., option: ...}` section without its name."""
    return {key: value for key, value in section.items() if key != "name"}


def _kind(value: Any) -> str:
    names = {type(None): "nothing", list: "a list", str: "a text", dict: "a mapping"}
    return names.get(type(value), f"{value!r}")


def _owner(cls: type) -> str:
    package, _, name = cls.__module__.rpartition(".")
    if not package:  # the user's own file
        return Path(inspect.getfile(cls)).name
    return f"'{name}'"
