"""Models and adapters that cannot be used: told before anything is asked or trained."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from bench import Bench, Case, parametrized, refused

Act = Callable[[Path], object]
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"
ROW = {"id": "a", "prompt": [{"role": "user", "content": "a"}], "completion": "b"}


def model(name: str, spoil: Act, *says: str, words: str = "run own.yaml", engine: str = "scripted") -> Case:
    """Return the case of a copy of the model that was spoiled, repaired by copying it again."""

    def copy(bench: Bench) -> Path:
        shutil.rmtree(bench.folder / "copy", ignore_errors=True)
        return Path(shutil.copytree(bench.model, bench.folder / "copy"))

    def act(bench: Bench) -> None:
        bench.set(model="copy", engine={"name": engine}, evaluate={"max_tokens": 2})
        spoil(copy(bench))

    repair = copy if name in MENDED else None
    return Case(name, act, words, ("copy", *says), repair, "round-0/evaluate")


def real(name: str, spoil: Act, *says: str) -> Case:
    """Return the case of a model that only an engine which loads it can refuse."""
    return model(name, spoil, *says, engine="transformers")


def named(name: str, value: str, *says: str) -> Case:
    """Return the case of a model name that cannot be."""
    return Case(name, lambda b: b.set(model=value), "run own.yaml", says, lambda b: b.set(model=str(b.model)))


def write(name: str, content: str | bytes) -> Act:
    """Return what overwrites a file of the model."""
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def remove(pattern: str) -> Act:
    """Return what removes files of the model."""
    return lambda folder: [path.unlink() for path in folder.glob(pattern)]


def change(**values) -> Act:
    """Return what changes keys of config.json; a key set to ... is removed."""

    def act(folder: Path) -> None:
        data = json.loads((folder / "config.json").read_text()) | values
        (folder / "config.json").write_text(json.dumps({key: v for key, v in data.items() if v is not ...}))

    return act


def cut(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def adapter(name: str, words: str, config: str | None, *says: str) -> Case:
    """Return the case of an adapter folder with a bad configuration."""

    def act(bench: Bench) -> None:
        bench.rows("rows.jsonl", [ROW])
        bench.file("ad/adapter_model.safetensors", b"")
        if config is not None:
            bench.file("ad/adapter_config.json", config)

    return Case(name, act, words, ("adapter 'ad'", *says))


MENDED = ("no weights", "weights cut off", "a part of the weights missing")
"""After these the model is copied again, and the same command must succeed."""

WEIGHTS, AGAIN = "model.safetensors", "; copy or download the model again"
CASES = [
    named("path mistyped", "./modle", "model './modle': there is no such folder; write embedded, a model folder or"),
    named("model is a file", "own.py", "model 'own.py': this is a file; name the folder"),
    named("no possible id", "a b/c:d", "model 'a b/c:d': there is no such folder; write embedded"),
    named("hub id without network", "nobody/no-such-model",
          "model 'nobody/no-such-model': .*the hub .*check the name"),
    named("empty name", "", "model is empty; write embedded"),
    model("no config.json", remove("config.json"), "it holds no config.json"),
    model("no weights", remove(WEIGHTS), "it holds no safetensors weights; convert it to safetensors first"),
    model("pickled weights", lambda f: (f / WEIGHTS).rename(f / "pytorch_model.bin"), "pytorch_model.bin is a pickle"),
    model("config.json is not JSON", write("config.json", '{"a": '), "config.json is not JSON.*" + AGAIN),
    model("config.json is a list", write("config.json", "[]"), "config.json says neither model_type nor"),
    model("config.json says nothing", change(model_type=..., architectures=...), "neither model_type nor archi"),
    model("weights cut off", cut, r"has \d+ bytes, but its head says \d+: it is cut off" + AGAIN),
    model("empty weights", write(WEIGHTS, b""),
          r"model.safetensors \(0 bytes\) is no safetensors file" + ".*" + AGAIN),
    model("weights are a web page", write(WEIGHTS, "<html>not found</html>"), "is no safetensors file, or cut off"),
    model("weights are a git-lfs pointer", write(WEIGHTS, LFS), "is a git-lfs pointer, not the weights" + AGAIN),
    model("a part of the weights missing", write(f"{WEIGHTS}.index.json", '{"weight_map": {"a": "b.safetensors"}}'),
          "b.safetensors is missing, which model.safetensors.index.json names"),
    model("index damaged", write(f"{WEIGHTS}.index.json", "{"), "model.safetensors.index.json is damaged"),
    model("adapter for a model", lambda f: (f / "config.json").rename(f / "adapter_config.json"),
          "this is an adapter, not a model; name its base model", words="evaluate own.yaml"),
    real("no chat template", remove("chat_template.jinja"), "this model has no chat template; take its instruct"),
    real("chat template with an error", write("chat_template.jinja", "{% for m in %}"),
         "its chat template cannot be read: .*line 1.; mend the template"),
    real("no tokenizer", remove("tokenizer*"), "its tokenizer cannot be loaded: there is none .tokenizer.json"),
    real("tokenizer is not JSON", write("tokenizer.json", "{"),
         "its tokenizer cannot be loaded: .*line 1" + ".*" + AGAIN),
    real("tensors of another shape", change(hidden_size=64), "cannot load .*shapes that its config.json says; copy"),
    real("unknown architecture", change(model_type="nonesuch", architectures=["None"]), "cannot load .*`nonesuch`"),
    Case("adapter missing", lambda b: None, "evaluate own.yaml --adapter ad",
         ("adapter 'ad': there is no adapter_con",)),
    adapter("adapter not JSON", "evaluate own.yaml --adapter ad", "{", "its adapter_config.json is not JSON"),
    adapter("adapter a list", "evaluate own.yaml --adapter ad", "[]", "is no JSON object; train or copy it again"),
    adapter("adapter to train on missing", "train own.yaml --rows rows.jsonl --adapter ad", None,
            "there is no adapter_"),
]  # fmt: skip


@parametrized(CASES)
def test_bad_model(case, bench, capsys):
    refused(case, bench, capsys)
