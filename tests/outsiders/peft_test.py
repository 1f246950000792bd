"""Runs of --method qlora and lora exported for PEFT: base + lora_alpha / r * lora_B @ lora_A, read with numpy, is the model
that was trained, whatever rank single linears have; PEFT itself, where it is installed, computes its logits."""

import importlib.util
import json
import sys
import tempfile
from pathlib import Path

import support

np, safetensors_numpy = support.require("numpy", "safetensors.numpy")
sys.path.insert(0, str(support.ROOT))
from tests.support import text_file, tiny_model  # noqa: E402

FLAGS = {
    "qlora": ["--method", "qlora", "--rank", 4, "--lora-alpha", 8, "--lr", "2e-2"],
    "qlora from the decomposition": ["--method", "qlora", "--rank", 4, "--lora-alpha", 8, "--init", "svd", "--bits", 2],
    "ranks of their own": ["--method", "qlora", "--rank", 4, "--lora-alpha", 8, "--lr", "2e-2", "--overrides",
                           "*.down_proj rank=2 lora-alpha=3", "*.layers.0.self_attn.k_proj skip"],
    "lora": ["--method", "lora", "--rank", 4, "--lora-alpha", 8, "--lr", "2e-2"],
}


def trained(folder, flags):
    run = folder / "run"
    support.lrqat("train", "--model", tiny_model(folder), "--data", text_file(folder), "--steps", 5, "--batch-size", 2,
                  "--sequence-length", 32, "--warmup", 0, "--threads", 1, *flags, "--out", run)
    return run


def merged(folder):
    """Every linear's name with base + scaling * B @ A, by PEFT's rules."""
    config = json.loads((folder / "adapter_config.json").read_text())
    base = safetensors_numpy.load_file(folder / "base" / "model.safetensors")
    adapters = safetensors_numpy.load_file(folder / "adapter_model.safetensors")
    assert len(adapters) == 2 * len(config["target_modules"]) > 0
    for module in config["target_modules"]:
        a, b = (adapters.pop(f"base_model.model.{module}.lora_{x}.weight") for x in "AB")
        rank = config["rank_pattern"].get(module, config["r"])
        alpha = config["alpha_pattern"].get(module, config["lora_alpha"])
        assert a.shape[0] == b.shape[1] == rank, module
        base[module + ".weight"] = base[module + ".weight"].astype(np.float64) + alpha / rank * (b.astype(np.float64) @ a)
    assert not adapters
    return base, config


def the_sum_is_the_trained_model(folder, name, flags):
    run = trained(folder, flags)
    report = support.lrqat("export", "--model", run, "--format", "peft", "--out", folder / "peft")
    assert report["bit_exact_tensors"] == report["tensors"] > 0, report
    support.lrqat("export", "--model", run, "--format", "hf", "--dtype", "float32", "--out", folder / "hf")
    expected = safetensors_numpy.load_file(folder / "hf" / "model.safetensors")
    found, config = merged(folder / "peft")
    assert found.keys() == expected.keys()
    worst = 0.0
    for key, value in expected.items():
        worst = max(worst, float(np.abs(found[key] - value).max() / np.abs(value).max()))
        # negative control: without its adapter a linear is another matrix
        if key.removesuffix(".weight") in config["target_modules"]:
            plain = safetensors_numpy.load_file(folder / "peft" / "base" / "model.safetensors")[key]
            assert float(np.abs(plain - value).max()) > 1e-4 * float(np.abs(value).max()), key
    assert worst < 1e-6, (name, worst)  # one float32 sum
    print(f"ok      {name}: largest relative difference {worst:.1e}")
    return folder / "peft", folder / "hf"


def peft_computes_the_same(peft_folder, hf_folder):
    import peft
    import torch
    import transformers
    ids = torch.tensor([[3, 17, 90, 4, 4, 61, 33, 8]])
    load = transformers.AutoModelForCausalLM.from_pretrained
    with torch.no_grad():
        model = peft.PeftModel.from_pretrained(load(peft_folder / "base", dtype=torch.float32), peft_folder)
        ours = load(hf_folder, dtype=torch.float32)(ids).logits
        worst = (model(ids).logits - ours).abs().max().item()
        with model.disable_adapter():
            without = (model(ids).logits - ours).abs().max().item()
    assert worst < 1e-4 < without, (worst, without)
    print(f"ok      PEFT's logits differ by {worst:.1e}, without the adapters by {without:.1e}")


def main():
    for name, flags in FLAGS.items():
        with tempfile.TemporaryDirectory() as folder:
            folders = the_sum_is_the_trained_model(Path(folder), name, flags)
            if importlib.util.find_spec("peft") and importlib.util.find_spec("transformers"):
                peft_computes_the_same(*folders)
    if not importlib.util.find_spec("peft"):
        print("peft is not installed: only its layout was checked")


main()
