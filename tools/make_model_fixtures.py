#!/usr/bin/env python3
"""Writes tests/data/model/<case>/: tiny random Llama models and what transformers computes with them.

Each case is a Hugging Face folder (config.json, model.safetensors) and expected.safetensors:
    tokens            I32 [B, T]
    logits            F32 [B, T, V]   computed in float64, so nearly free of rounding
    loss              F32 [1]         mean cross-entropy of the next token over all B (T - 1) positions, float64
    grad_embeddings   F32 [B, T, H]   its gradient by the token embeddings, float64
    inverse_frequencies F32 [D/2]     transformers' own, float32
    float32_error     F32 [2]         largest distance of transformers' float32 logits (gradient) from the float64
                                      ones: the tests allow a small multiple of it

Needs transformers and safetensors (tests/requirements). Run from the repository root; the output is deterministic.
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama import modeling_llama

BATCH, TOKENS, VOCAB = 2, 24, 61

SMALL = dict(
    vocab_size=VOCAB,
    hidden_size=32,
    intermediate_size=44,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    rms_norm_eps=1e-5,
    tie_word_embeddings=False,
)

CASES = {
    # Grouped queries, heads that do not add up to the hidden size, biases everywhere, own head.
    "biases": dict(head_dim=12, attention_bias=True, mlp_bias=True, rope_parameters={"rope_type": "default", "rope_theta": 500.0}),
    # Every head with its own keys, tied head, positions stretched four times, 16-bit storage.
    "linear_rope": dict(
        num_key_value_heads=4,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0},
        storage=torch.bfloat16,
    ),
    # One key head for all, Llama 3's frequencies (of the four one is kept, one blended, two stretched); 16-bit storage
    # of the other kind; the older spelling of the config.
    "llama3_rope": dict(
        num_key_value_heads=1,
        rope_parameters={
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
            "rope_theta": 1000.0,
        },
        storage=torch.float16,
        old_config=True,
    ),
}


def rms_norm_in_any_precision(self, hidden_states):
    """LlamaRMSNorm without its cast to float32, which would spoil the float64 run; the same in float32."""
    variance = hidden_states.pow(2).mean(-1, keepdim=True)
    return self.weight * (hidden_states * torch.rsqrt(variance + self.variance_epsilon))


def make_model(options, seed):
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**{**SMALL, **options}, attn_implementation="eager"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.copy_(1.0 + 0.2 * torch.randn_like(parameter))
            elif name.endswith("bias"):
                parameter.copy_(0.3 * torch.randn_like(parameter))
            else:  # activations of order 1, so that every part of the model shows in the logits
                parameter.copy_(torch.randn_like(parameter) * (1.5 / parameter.shape[1] ** 0.5))
    return model.eval()


def evaluate(model, tokens):
    embeddings = model.model.embed_tokens(tokens).detach().requires_grad_()
    logits = model(inputs_embeds=embeddings, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, VOCAB), tokens[:, 1:].reshape(-1))
    loss.backward()
    return logits.detach(), loss.detach(), embeddings.grad


def use_old_spelling(path):
    """rope_theta and rope_scaling, as transformers before version 5 wrote them."""
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = rope
    path.write_text(json.dumps(config, indent=2) + "\n")


def write_case(folder, options, seed):
    options = dict(options)
    storage = options.pop("storage", torch.float32)
    old_config = options.pop("old_config", False)
    model = make_model(options, seed).to(storage)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if old_config:
        use_old_spelling(folder / "config.json")

    tokens = torch.randint(0, VOCAB, (BATCH, TOKENS), generator=torch.Generator().manual_seed(seed))
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    frequencies = model.model.rotary_emb.inv_freq.clone()
    logits32, _, grad32 = evaluate(model, tokens)
    model.zero_grad()
    model = model.double()
    model.model.rotary_emb.inv_freq = frequencies  # the angles are float32 by definition
    logits, loss, grad = evaluate(model, tokens)
    error = torch.stack([(logits32 - logits).abs().max(), (grad32 - grad).abs().max()])
    expected = {
        "tokens": tokens.int(),
        "logits": logits.float(),
        "loss": loss.float().reshape(1),
        "grad_embeddings": grad.float(),
        "inverse_frequencies": frequencies,
        "float32_error": error.float(),
    }
    save_file(expected, folder / "expected.safetensors")
    print(f"{folder.name}: max |logit| {logits.abs().max():.3f}, loss {loss:.4f}, float32 errors {error.tolist()}")


def main():
    modeling_llama.LlamaRMSNorm.forward = rms_norm_in_any_precision
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/data/model")
    for seed, (name, options) in enumerate(CASES.items()):
        write_case(root / name, options, seed)


if __name__ == "__main__":
    main()
