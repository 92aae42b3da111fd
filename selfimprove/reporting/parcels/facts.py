"""What a run folder says of itself, read once for the cards; nothing outside the folder and the package is asked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfimprove.config import Recipe, parse_yaml
from selfimprove.errors import ConfigError, DataError, SelfImproveError
from selfimprove.files import read_json
from selfimprove.reporting.methods import METHODS, Card, read_card
from selfimprove.reporting.papers import Paper, papers
from selfimprove.reporting.parcels.origin import Origin, origin_of
from selfimprove.reporting.redaction import without_paths, without_secrets
from selfimprove.reporting.show import open_run, rounds_there
from selfimprove.sources.named import SETS
from selfimprove.sources.schema import FunctionSeeds, GymTask, NamedSet, is_hub_id, read_definition
from selfimprove.store import Store, saved_recipe


@dataclass(frozen=True)
class Facts:
    """A run folder: its store, its recipe (`saved` is the mapping in recipe.yaml), and its events by name."""

    store: Store
    recipe: Recipe
    saved: dict[str, Any]
    head: dict[str, Any]
    started: dict[str, Any]
    finished: dict[str, Any]
    origin: Origin
    method: Card | None

    @property
    def method_name(self) -> str:
        """The method's name; of a file of one's own, what the file is called."""
        name = self.recipe.method_name
        return Path(name).stem if name.endswith(".py") else name

    @property
    def title(self) -> str:
        """The method's name as people write it."""
        return self.method.title if self.method else self.method_name

    @property
    def papers(self) -> list[Paper]:
        """The papers that the method names."""
        return papers(self.method.text) if self.method else []

    @property
    def trained(self) -> list[int]:
        """The rounds that have learned something, in order."""
        return [n for n in rounds_there(self.store) if (self.store.marker(n, "learn") or {}).get("policy")]

    @property
    def chosen(self) -> int | None:
        """The round whose policy the run ended with: the last trained one, unless an earlier one was taken back."""
        of_result = [n for n in self.trained if self.policy(n) == self.finished.get("policy")]
        return next(reversed(of_result or self.trained), None)

    @property
    def start_policy(self) -> str:
        """The digest of the start model; empty where the run did not come so far."""
        return str(self.started.get("policy", ""))

    def policy(self, number: int) -> str:
        """Return the digest of the policy that a round ended with; raises DataError where it learned nothing."""
        policy = (self.store.marker(number, "learn") or {}).get("policy")
        if not policy:
            raise DataError(
                f"{self.store.folder}: round {number} has not learned anything; rounds that have: "
                f"{', '.join(map(str, self.trained)) or 'none'}"
            )
        return str(policy)

    def result(self, number: int) -> dict[str, Any]:
        """Return what the trainer said of a round, {} where it did not train."""
        path = self.store.stage_folder(number, "learn") / "result.json"
        return read_json(path) if path.is_file() else {}

    def shown_recipe(self) -> dict[str, Any]:
        """Return the recipe as it may be published: without secrets, and with local paths cut to their names."""
        return without_paths(without_secrets(self.saved))


def read_facts(folder: Path) -> Facts:
    """Return the facts of a run folder; raises ConfigError where it holds no run."""
    store, recipe = open_run(folder), saved_recipe(folder)
    started, finished = store.last_event("started"), store.last_event("finished")
    text = (folder / "recipe.yaml").read_text(encoding="utf-8")
    return Facts(
        store=store,
        recipe=recipe,
        saved=parse_yaml(text, str(folder / "recipe.yaml")),
        head=read_json(folder / "run.json") if (folder / "run.json").is_file() else {},
        started=started,
        finished=finished,
        origin=origin_of(recipe.model, started.get("model")),
        method=_method_card(recipe.method_name, str(recipe.method["name"])),
    )


def source_text(source: Any) -> str:
    """Return a source of prompts in words, fit to be published."""
    plain = without_paths(without_secrets(source))
    return plain if isinstance(plain, str) else ", ".join(f"{key}: {value}" for key, value in plain.items())


def hub_sets(*sources: Any) -> list[str]:
    """Return the hub ids of those sources that are data sets on the hub, each once."""
    found: dict[str, None] = {}
    for source in sources:
        try:
            definition = read_definition(source, "source")
        except ConfigError:
            continue
        if isinstance(definition, FunctionSeeds):
            hub = definition.functions if is_hub_id(definition.functions) else None
        elif isinstance(definition, GymTask) or definition.path is not None:
            continue
        else:
            usual = SETS.get(definition.name) if isinstance(definition, NamedSet) else None
            hub = definition.hub or (usual.hub if usual else None)
        if hub:
            found[hub] = None
    return list(found)


def generator_of(source: Any) -> str | None:
    """Return the name of the generator that a source's tasks come from, None where they lie in a file."""
    return str(source["gym"]) if isinstance(source, dict) and "gym" in source else None


def _method_card(name: str, path: str) -> Card | None:
    """Return the method's own words; a file of one's own may be gone, or say nothing."""
    file = Path(path) if path.endswith(".py") else METHODS / f"{name}.py"
    try:
        return read_card(file) if file.is_file() else None
    except (SelfImproveError, SyntaxError):
        return None
