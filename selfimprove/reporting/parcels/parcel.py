"""What is pushed of a run: the files that belong to a model, an adapter or a data set, and nothing else."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfimprove.embedded import cache_folder
from selfimprove.errors import DataError
from selfimprove.files import read_json
from selfimprove.models import ADAPTER_CONFIG, ADAPTER_WEIGHTS, TEXT_FILES, WEIGHTS
from selfimprove.reporting.dataset import export_dataset
from selfimprove.reporting.parcels.cards import model_card
from selfimprove.reporting.parcels.facts import Facts, read_facts
from selfimprove.reporting.redaction import conceal, is_local_path, secrets_in, secrets_of_environment
from selfimprove.reporting.show import rounds_there

WHATS = ("adapter", "merged", "dataset")
CARD = "README.md"
_WRITTEN_BY_PEOPLE = (CARD, "config.json", "generation_config.json", ADAPTER_CONFIG, "tokenizer_config.json")


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a push: its name in the repository, its content, and where that comes from."""

    name: str
    content: Path | bytes
    source: str

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)


@dataclass(frozen=True, slots=True)
class Parcel:
    """All files of one push, the card among them, and which round they come from."""

    what: str
    round: int
    files: tuple[Upload, ...]

    @property
    def card(self) -> str:
        """The text of README.md."""
        content = next(file.content for file in self.files if file.name == CARD)
        return content.read_text(encoding="utf-8") if isinstance(content, Path) else content.decode()

    @property
    def repo_type(self) -> str:
        """What the hub calls this kind of repository: model or dataset."""
        return "dataset" if self.what == "dataset" else "model"


def pack(
    run_folder: Path,
    to: str,
    what: str | None,
    round: int | None,
    workspace: Path,
    revision: str | None = None,
) -> Parcel:
    """Return what is to be pushed; files that are made for it are written into `workspace`.

    `what` None is merged where the run has a merged model of that round, else adapter. Raises DataError where the
    run does not hold what is asked for, or where a file holds a secret.
    """
    facts = read_facts(run_folder)
    if what == "dataset":
        parcel = _pack_dataset(facts, round, workspace)
    else:
        parcel = _pack_policy(facts, to, what, round, revision)
    refuse_leaks(parcel.files, secrets_in(facts.saved) | secrets_of_environment(), _folders(facts))
    return parcel


def _pack_dataset(facts: Facts, round: int | None, workspace: Path) -> Parcel:
    folder = facts.store.folder
    collected = [number for number in rounds_there(facts.store) if facts.store.marker(number, "collect")]
    number = round if round is not None else next(reversed(collected), None)
    if number not in collected:
        raise DataError(f"{folder}: {_lacking(number, 'rows')}; rounds that have: {_listed(collected)}")
    if not export_dataset(folder, workspace, number):
        raise DataError(f"{folder}: round {number} has no rows to push; `selfimprove show {folder} --why` says why")
    stage = "assemble" if facts.store.marker(number, "assemble") else "collect"
    card = (workspace / CARD).read_text(encoding="utf-8")
    sources = {"rows.jsonl": f"round-{number}/{stage}", "rows.parquet": f"made of round-{number}/{stage}"}
    files = [Upload(name, workspace / name, source) for name, source in sources.items()]
    return Parcel("dataset", number, (_card_file(facts, card), *files))


def _pack_policy(facts: Facts, to: str, what: str | None, round: int | None, revision: str | None) -> Parcel:
    folder = facts.store.folder
    if round is None and facts.trained and facts.finished.get("policy") == facts.start_policy:
        raise DataError(
            f"{folder}: the run ended with the start model, so there is nothing to push; "
            f"--round pushes what a round had learned ({_listed(facts.trained)})"
        )
    number = facts.chosen if round is None else round
    if number is None or number not in facts.trained:
        lacking = _lacking(number, "a model" if number is None else "model")
        raise DataError(f"{folder}: {lacking}; rounds that have: {_listed(facts.trained)}")
    learned = facts.store.marker(number, "learn") or {}
    whole = _whole_model(facts, number, learned)
    what = what or ("merged" if whole else "adapter")
    if what == "merged":
        if whole is None:
            there = "push --what adapter" if learned.get("adapter") else "nothing was trained in it"
            ended = f"; {folder / 'model'} is round {facts.chosen}'s" if (folder / "model").is_dir() else ""
            raise DataError(f"{folder}: there is no merged model of round {number}{ended}; {there}")
        card = model_card(facts, what, number, to, revision)
        return Parcel(what, number, (_card_file(facts, card), *_model_files(facts, whole)))
    adapter = _adapter_folder(facts, number, learned)
    card = model_card(facts, what, number, to, revision, read_json(adapter / ADAPTER_CONFIG))
    return Parcel(what, number, (_card_file(facts, card), *_adapter_files(facts, adapter)))


def _whole_model(facts: Facts, number: int, learned: dict[str, Any]) -> Path | None:
    """Return the folder of a round's plain model: the run's own, or one that was trained in full."""
    merged = facts.store.folder / "model"
    if number == facts.chosen and facts.finished and merged.is_dir():
        return merged
    if learned.get("model") and not learned.get("adapter"):
        return facts.store.folder / learned["model"]
    return None


def _adapter_folder(facts: Facts, number: int, learned: dict[str, Any]) -> Path:
    folder = facts.store.folder
    if not learned.get("adapter"):
        merged = "; push --what merged" if learned.get("model") else ", since nothing was trained in it"
        raise DataError(f"{folder}: round {number} has no adapter{merged}")
    earlier = [facts.store.marker(n, "learn") or {} for n in facts.trained if n <= number]
    if any(marker.get("model") for marker in earlier):
        raise DataError(
            f"{folder}: round {number}'s adapter belongs to a model that this run trained and no hub has; "
            "push --what merged"
        )
    adapter = folder / learned["adapter"]
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (adapter / name).is_file():
            raise DataError(f"{adapter}: {name} is missing; redo the round with --from {number}/learn")
    return adapter


def _model_files(facts: Facts, folder: Path) -> list[Upload]:
    weights = [*sorted(folder.glob(WEIGHTS)), *sorted(folder.glob("*.safetensors.index.json"))]
    if not weights or not (folder / "config.json").is_file():
        raise DataError(f"{folder}: it holds no model (config.json and safetensors); export it again")
    return [_upload(facts, path) for path in (*weights, *_text_files(folder))]


def _adapter_files(facts: Facts, folder: Path) -> list[Upload]:
    paths = [folder / ADAPTER_WEIGHTS, folder / ADAPTER_CONFIG, *_text_files(folder)]
    return [_upload(facts, path) for path in paths]


def _text_files(folder: Path) -> list[Path]:
    return [folder / name for name in TEXT_FILES if (folder / name).is_file()]


def _upload(facts: Facts, path: Path) -> Upload:
    """Return a file as it is; a configuration that names local paths is written anew, with the base's name there."""
    place = path.relative_to(facts.store.folder)
    if path.name not in _WRITTEN_BY_PEOPLE:
        return Upload(path.name, path, str(place))
    found = read_json(path)
    cleaned = {key: _published(facts, key, value) for key, value in found.items()}
    if cleaned == found:
        return Upload(path.name, path, str(place))
    content = (json.dumps(cleaned, indent=2, ensure_ascii=False) + "\n").encode()
    return Upload(path.name, content, f"{place}, without local paths")


def _published(facts: Facts, key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _published(facts, name, item) for name, item in value.items()}
    if isinstance(value, str) and (is_local_path(value) or (key in _NAMES_OF_BASE and Path(value).exists())):
        return facts.origin.name if key in _NAMES_OF_BASE else None
    return value


_NAMES_OF_BASE = ("base_model_name_or_path", "_name_or_path", "name_or_path")


def _card_file(facts: Facts, card: str) -> Upload:
    return Upload(CARD, conceal(card, _folders(facts)).encode(), "written from the run folder")


def _folders(facts: Facts) -> list[Path]:
    """Return folders of this machine that no published text may name."""
    model = Path(str(facts.started.get("model") or "")).parent
    known = [facts.store.folder, Path.cwd(), Path.home(), cache_folder(), *([model] if model.is_absolute() else [])]
    return [folder for folder in known if len(folder.absolute().parts) > 1]


def refuse_leaks(files: Iterable[Upload], secrets: Iterable[str], folders: Iterable[Path]) -> None:
    """Raise DataError where a text file holds one of the secrets, or a file of ours names one of the folders.

    It names the file and the line, never the secret. Weights and parquet are not texts; a parquet file holds the
    rows of the rows.jsonl beside it.
    """
    wanted = [(re.escape(secret), "a secret of the recipe or of the environment") for secret in secrets]
    known = {str(folder.absolute()) for folder in folders}
    paths = [(rf"{re.escape(name)}(?![\w.-])", "the path of a folder of this machine") for name in known]
    for file in files:
        if file.name.endswith((".safetensors", ".parquet", ".model")):
            continue
        rules = wanted + (paths if file.name in _WRITTEN_BY_PEOPLE else [])
        if not rules:
            continue
        pattern = re.compile("|".join(f"(?P<rule{place}>{text})" for place, (text, _) in enumerate(rules)))
        for number, line in enumerate(_lines(file), 1):
            found = pattern.search(line)
            if found:
                what = next(rules[place][1] for place in range(len(rules)) if found[f"rule{place}"])
                raise DataError(f"{file.name} line {number} ({file.source}) holds {what}; nothing was pushed")


def _lines(file: Upload) -> Iterable[str]:
    if isinstance(file.content, bytes):
        yield from file.content.decode("utf-8", errors="replace").splitlines()
        return
    with file.content.open(encoding="utf-8", errors="replace") as lines:
        yield from lines


def _lacking(number: int | None, what: str) -> str:
    return f"no round has {what} yet" if number is None else f"round {number} has no {what}"


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"
