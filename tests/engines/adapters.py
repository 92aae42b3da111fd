"""Small seeded adapters of the embedded model, strong enough to change what it says."""

from pathlib import Path

from selfimprove.models import model_folder


def make_adapter(folder: Path, seed: int, scale: float = 0.3, rank: int = 8, **options) -> Path:
    """Write a LoRA adapter of the embedded model with random weights; return its folder."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(model_folder("embedded"), dtype=torch.bfloat16)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, task_type="CAUSAL_LM", **options)
    tuned = get_peft_model(model, config)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, scale)
    tuned.save_pretrained(folder)
    return folder
