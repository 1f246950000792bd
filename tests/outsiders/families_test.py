"""Model families and kinds of rotary embedding against transformers, on random small models in float32: log-probabilities
and the gradient of the loss with respect to the embeddings, from the folder that transformers saves; a copy with one
setting changed must be told apart. Then the family's converted folder, exported and opened again, by us and by
transformers."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import support

np, torch, transformers, safetensors_numpy = support.require("numpy", "torch", "transformers", "safetensors.numpy")

transformers.utils.logging.disable_progress_bar()
IDS = [int(i) for i in np.random.default_rng(2).integers(0, 96, 48)]
# Float32 sums in another order; log-probabilities here go to -30: measured 3e-5, and 5e-6 of the largest gradient.
TOLERANCE = 1e-4
SMALL = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 96, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 64, "tie_word_embeddings": False, "pad_token_id": None,
         "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.25}
LONGROPE = {"rope_type": "longrope", "rope_theta": 100.0, "short_factor": [1.0, 1.1, 1.3, 1.6, 2.0, 2.2, 2.5, 3.0],
            "long_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0]}
HALF = {**LONGROPE, "short_factor": LONGROPE["short_factor"][:6], "long_factor": LONGROPE["long_factor"][:6],
        "partial_rotary_factor": 0.75}


def rope(kind, **settings):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 100.0, **settings}}


# name: (model_type, settings, {key: value} of the control). Controls change what the case is about.
CASES = {
    "llama": ("llama", {}, {"rope_parameters": {"rope_type": "default", "rope_theta": 101.0}}),
    "linear": ("llama", rope("linear", factor=4.0), rope("linear", factor=3.0)),
    "llama3": ("llama", rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                             original_max_position_embeddings=32),
               rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=5.0, original_max_position_embeddings=32)),
    "dynamic, short": ("llama", rope("dynamic", factor=4.0), {"max_position_embeddings": 16}),
    "dynamic, long": ("llama", {"max_position_embeddings": 16, **rope("dynamic", factor=4.0)},
                      rope("dynamic", factor=2.0)),
    "yarn": ("llama", rope("yarn", factor=4.0, original_max_position_embeddings=16),
             rope("yarn", factor=4.0, original_max_position_embeddings=16, attention_factor=1.0)),
    "yarn with everything": ("llama", rope("yarn", factor=8.0, original_max_position_embeddings=32, beta_fast=16.0,
                                           beta_slow=2.0, mscale=0.8, mscale_all_dim=0.5, truncate=False),
                             rope("yarn", factor=8.0, original_max_position_embeddings=32, beta_fast=16.0, beta_slow=2.0,
                                  mscale=0.8, mscale_all_dim=0.5, truncate=True)),
    "mistral": ("mistral", {"sliding_window": 8}, {"sliding_window": 9}),
    "mistral without a window": ("mistral", {"sliding_window": None}, {"sliding_window": 8}),
    "mistral with head_dim": ("mistral", {"sliding_window": None, "head_dim": 24}, rope("default", rope_theta=101.0)),
    "qwen2": ("qwen2", {}, {"rms_norm_eps": 0.1}),
    "qwen2 with windows": ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
                           {"layer_types": ["sliding_attention", "full_attention"]}),
    "qwen3": ("qwen3", {"head_dim": 24}, {"rms_norm_eps": 0.1}),
    "qwen3 with biases": ("qwen3", {"head_dim": 16, "attention_bias": True}, {"rms_norm_eps": 0.1}),
    "smollm3": ("smollm3", {"num_hidden_layers": 5}, {"no_rope_layers": [1, 1, 1, 1, 1]}),
    "smollm3 with a list": ("smollm3", {"no_rope_layers": [0, 1]}, {"no_rope_layers": [1, 0]}),
    "phi3": ("phi3", {"sliding_window": 16, "original_max_position_embeddings": 64}, {"sliding_window": 15}),
    "phi3, longrope, short": ("phi3", {"max_position_embeddings": 256, "original_max_position_embeddings": 64,
                                       "rope_parameters": LONGROPE}, {"original_max_position_embeddings": 32}),
    "phi3, longrope, long": ("phi3", {"max_position_embeddings": 128, "original_max_position_embeddings": 32,
                                      "rope_parameters": LONGROPE}, {"original_max_position_embeddings": 48}),
    "phi4-mini, part of each head": ("phi3", {"max_position_embeddings": 128, "original_max_position_embeddings": 32,
                                              "rope_parameters": HALF, "tie_word_embeddings": True},
                                     {"original_max_position_embeddings": 48}),
}


GEMMA = {"tie_word_embeddings": True, "head_dim": 24}
GEMMA2 = {**GEMMA, "query_pre_attn_scalar": 40, "sliding_window": 8, "attn_logit_softcapping": 3.0,
          "final_logit_softcapping": 5.0, "num_hidden_layers": 3}
GEMMA3 = {**GEMMA, "query_pre_attn_scalar": 24, "sliding_window": 8, "num_hidden_layers": 3,
          "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
          "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000.0},
                              "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}}
CASES |= {
    "gemma": ("gemma", GEMMA, {"rms_norm_eps": 0.1}),
    "gemma2": ("gemma2", GEMMA2, {"attn_logit_softcapping": 4.0}),
    "gemma2, logits": ("gemma2", GEMMA2, {"final_logit_softcapping": 6.0}),
    "gemma2, windows": ("gemma2", GEMMA2, {"layer_types": ["full_attention", "sliding_attention", "full_attention"]}),
    "gemma2, divisor of scores": ("gemma2", GEMMA2, {"query_pre_attn_scalar": 24}),
    "gemma2 without caps": ("gemma2", {**GEMMA2, "attn_logit_softcapping": None, "final_logit_softcapping": None},
                            {"final_logit_softcapping": 30.0}),
    "gemma2, untied": ("gemma2", {**GEMMA2, "tie_word_embeddings": False}, {"rms_norm_eps": 0.1}),
    "gemma3": ("gemma3_text", GEMMA3, {"rope_parameters": {**GEMMA3["rope_parameters"], "sliding_attention": {
        "rope_type": "default", "rope_theta": 101.0}}}),
    "gemma3, stretched": ("gemma3_text", GEMMA3, {"rope_parameters": {**GEMMA3["rope_parameters"], "full_attention": {
        "rope_type": "default", "rope_theta": 1000.0}}}),
}


def save(folder, model_type, settings):
    """A random model whose norms and biases matter."""
    torch.manual_seed(5)
    config = transformers.AutoConfig.for_model(model_type, **{**SMALL, **settings})
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.5)
            elif "norm" in name:
                parameter.normal_(0 if model_type.startswith("gemma") else 1, 0.2)
    model.save_pretrained(folder)
    return model


def theirs(model):
    ids = torch.tensor([IDS])
    embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
    log_probabilities = model(inputs_embeds=embedded, use_cache=False).logits[0].log_softmax(-1)
    torch.nn.functional.nll_loss(log_probabilities[:-1], ids[0, 1:]).backward()
    return log_probabilities.detach().numpy(), embedded.grad[0].numpy()


def ours(models, folder):
    """Of each model, all in one start of the program."""
    support.gtest("export_tests", "OutsiderFiles.LogProbabilities", LRQAT_OUTSIDER_MODEL="\n".join(map(str, models)),
                  LRQAT_OUTSIDER_IDS=",".join(map(str, IDS)), LRQAT_WRITE_OUTSIDER_FILES=folder)
    files = [safetensors_numpy.load_file(folder / f"log_probabilities{f'-{i}' if i else ''}.safetensors")
             for i in range(len(models))]
    return [(found["log_probabilities"], found["embedding_gradient"]) for found in files]


def differences(found, expected):
    return (float(np.abs(found[0] - expected[0]).max()),
            float(np.abs(found[1] - expected[1]).max() / np.abs(expected[1]).max()))


def every_case(work):
    expected, models, controls = [], [], []
    for i, (model_type, settings, control) in enumerate(CASES.values()):
        models.append(work / f"model-{i}")
        expected.append(theirs(save(models[-1], model_type, settings)))
        controls.append(shutil.copytree(models[-1], work / f"control-{i}"))
        config = json.loads((controls[-1] / "config.json").read_text())
        (controls[-1] / "config.json").write_text(json.dumps({**config, **control}))
    answers = ours(models + controls, work)
    found = [differences(*pair) for pair in zip(answers, expected)]
    changed = [differences(*pair) for pair in zip(answers[len(models):], expected)]
    for name, right, wrong in zip(CASES, found, changed):
        assert max(right) < TOLERANCE, (name, right)
        assert min(wrong) > 10 * TOLERANCE, f"{name}: with {CASES[name][2]} the differences are only {wrong}"
    largest = np.max(found, axis=0)
    return f"{len(CASES)} models, log-probabilities within {largest[0]:.1e}, gradients within {largest[1]:.1e}"


# With what llama.cpp has fixed in its code: which layers have the window, the divisor of scores.
EXPORTED_GEMMA2 = {**GEMMA2, "head_dim": 32, "query_pre_attn_scalar": 32}
EXPORTED_GEMMA3 = {**GEMMA3, "head_dim": 32, "query_pre_attn_scalar": 32, "num_hidden_layers": 6,
                   "layer_types": ["sliding_attention"] * 5 + ["full_attention"]}


# The rows of the matrix in docs/formats.md: (model_type, settings).
ROWS = {
    "llama": ("llama", {}),
    "llama, linear": CASES["linear"],
    "llama, llama3": ("llama", rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                    original_max_position_embeddings=8192)),
    "llama, dynamic": CASES["dynamic, short"],
    "llama, yarn": CASES["yarn"],
    "llama, yarn without truncation": CASES["yarn with everything"],
    "mistral": ("mistral", {"sliding_window": 8}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"head_dim": 32}),
    "smollm3": ("smollm3", {"num_hidden_layers": 4}),
    "smollm3, other layers": ("smollm3", {"no_rope_layers": [0, 1]}),
    "phi3": ("phi3", {"sliding_window": None, "original_max_position_embeddings": 64}),
    "phi3, longrope": CASES["phi3, longrope, long"],
    "phi3, longrope in part of each head": CASES["phi4-mini, part of each head"],
    "gemma": ("gemma", {"head_dim": 32, "tie_word_embeddings": True}),
    "gemma2": ("gemma2", EXPORTED_GEMMA2),
    "gemma2, untied": ("gemma2", {**EXPORTED_GEMMA2, "tie_word_embeddings": False}),
    "gemma2, other divisor": ("gemma2", {**EXPORTED_GEMMA2, "query_pre_attn_scalar": 40}),
    "gemma3_text": ("gemma3_text", EXPORTED_GEMMA3),
    "gemma3_text, other windows": ("gemma3_text", {**EXPORTED_GEMMA3, "layer_types": ["full_attention"] * 6}),
}
FORMATS = ("gguf", "compressed-tensors", "gptq", "gptq-v2", "awq", "hf")


def export(row, name, model):
    """One export, compared with its model; None where it is refused."""
    out = model.parent / f"out-{name}"
    command = ("export", "--model", model, "--format", name, "--out", out, *(("--rest-type", "keep") if name == "gguf" else ()))
    try:
        report = support.lrqat(*command)
    except AssertionError:
        said = support.lrqat_error(*command)
        assert "GGUF" in said and "hold this model" in said and not out.exists(), (row, name, said)
        return None
    assert report["bit_exact_tensors"] == report["tensors"], report
    compared = support.lrqat("inspect", "--compare", model, out)
    assert compared["equal"], (row, name, compared["differing"][:3])
    return out


def open_again(work, row, model, outs):
    """The exports {format: folder or None} as models of ours, hf and compressed-tensors also of transformers."""
    # llama.cpp's files have no sliding window there
    opened = {name: out for name, out in outs.items() if out and not (name == "gguf" and row.startswith("mistral"))}
    expected, *answers = ours([model, *opened.values()], work)
    for name, answer in zip(opened, answers):
        found = differences(answer, expected)
        assert max(found) < TOLERANCE, (row, name, found)
    for name in ("hf", "compressed-tensors"):
        loaded = transformers.AutoModelForCausalLM.from_pretrained(outs[name], dtype=torch.float32).eval()
        found = differences(theirs(loaded), expected)
        assert max(found) < TOLERANCE, (row, name, found)


def documented_matrix():
    lines = (support.ROOT / "docs" / "formats.md").read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("| family |"))
    return [line for line in lines[begin:begin + 2 + len(ROWS)] if line.startswith("|")]


def exports(work):
    """Family by format: rounded, converted, exported to every format and opened again. The table must be the documented."""
    table = ["| family | " + " | ".join(FORMATS) + " |", "|" + " --- |" * (len(FORMATS) + 1)]
    for i, (row, case) in enumerate(ROWS.items()):
        folder = work / f"row-{i}"
        save(folder / "float", case[0], {**case[1], "num_attention_heads": 4, "num_key_value_heads": 2})
        model = support.converted(folder / "float", folder, "--bits", 4, "--granularity", "group:32")
        outs = {name: export(row, name, model) for name in FORMATS}
        open_again(work, row, model, outs)
        table.append(f"| {row} | " + " | ".join("yes" if outs[name] else "no" for name in FORMATS) + " |")
        shutil.rmtree(folder)
    assert documented_matrix() == table, "docs/formats.md has another matrix; the one found:\n" + "\n".join(table)
    return f"{len(ROWS)} rows"


def experts_are_refused(work):
    for name, config in {"mixtral": {"model_type": "mixtral", "num_local_experts": 8},
                         "qwen3_moe": {"model_type": "qwen3_moe", "num_experts": 16}}.items():
        folder = work / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({**SMALL, **config}))
        said = support.lrqat_error("perplexity", "--model", folder, "--data", support.ROOT / "data" / "novels.txt")
        assert "mixtures of experts are not supported" in said and name in said, said


def main():
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        return support.run({
            name: check for name, check in {
                "forward and gradient": lambda: every_case(work),
                "exports": lambda: exports(work),
                "mixtures of experts": lambda: experts_are_refused(work),
            }.items() if not sys.argv[1:] or name in sys.argv[1:]
        })


if __name__ == "__main__":
    sys.exit(main())
