"""Makes the fixtures of the format tests with other people's readers and writers: safetensors, gguf, transformers.

    python make_fixtures.py [SmolLM2.gguf]

Writes beside itself ggml_blocks.safetensors, tiny_llama/, tiny_llama.gguf and tiny_llama_sharded/, and, where a
SmolLM2 GGUF is named, smollm2_checksums.json. See README.md.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).resolve().parent
# Byte offsets of the float16 words of a block; they are kept finite, everything else is random.
HALF_WORDS = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0], Type.Q2_K: [80, 82],
    Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
}
NUM_BLOCKS = 16


def random_halves(generator, count):
    """Every finite float16 can come: subnormals and both zeros too."""
    words = generator.integers(0, 0x10000, count).astype(np.uint16)
    return np.where((words & 0x7C00) == 0x7C00, words & 0xBFFF, words).astype(np.uint16)


def ggml_blocks():
    generator = np.random.default_rng(1)
    tensors = {}
    for kind, offsets in HALF_WORDS.items():
        _, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        blocks = generator.integers(0, 256, (NUM_BLOCKS, block_bytes)).astype(np.uint8)
        for offset in offsets:
            blocks[:, offset:offset + 2] = random_halves(generator, NUM_BLOCKS).view(np.uint8).reshape(-1, 2)
        tensors[f"{kind.name}.blocks"] = blocks
        tensors[f"{kind.name}.values"] = gguf.dequantize(blocks, kind).astype(np.float32)
    halves = random_halves(generator, 512)
    tensors["F16.blocks"] = halves.view(np.uint8)
    tensors["F16.values"] = halves.view(np.float16).astype(np.float32)
    brains = (generator.standard_normal(512).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    tensors["BF16.blocks"] = brains.view(np.uint8)
    tensors["BF16.values"] = gguf.dequantize(brains.view(np.uint8), Type.BF16)

    # float -> Q8_0: normal values at several magnitudes, a block of zeros, exact ties, one large value
    values = generator.standard_normal((8, 32)).astype(np.float32)
    values *= np.array([1, 1e-3, 1e3, 1e-7, 0, 1, 1, 1], dtype=np.float32)[:, None]
    values[5] = (np.arange(32) - 15.5).astype(np.float32)  # ties
    values[5, 0] = 127.0  # makes d exactly 1
    values[6, 7] = -60.0
    tensors["quantize_q8_0.values"] = values
    tensors["quantize_q8_0.blocks"] = gguf.quantize(values, Type.Q8_0)
    save_file(tensors, HERE / "ggml_blocks.safetensors", metadata={"origin": "gguf package, random blocks"})


def iq4_blocks():
    """The types that llama-quantize takes for rows that K-quants do not divide, and their larger sibling."""
    generator = np.random.default_rng(3)
    tensors = {}
    for kind in (Type.IQ4_NL, Type.IQ4_XS):
        _, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        blocks = generator.integers(0, 256, (NUM_BLOCKS, block_bytes)).astype(np.uint8)
        blocks[:, :2] = random_halves(generator, NUM_BLOCKS).view(np.uint8).reshape(-1, 2)
        tensors[f"{kind.name}.blocks"] = blocks
        tensors[f"{kind.name}.values"] = gguf.dequantize(blocks, kind).astype(np.float32)
    save_file(tensors, HERE / "ggml_blocks_iq4.safetensors", metadata={"origin": "gguf package, random blocks"})


def permute(rows, heads):
    """llama.cpp, convert_hf_to_gguf.py: LlamaModel.permute."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def tiny_config():
    return LlamaConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                       num_key_value_heads=2, vocab_size=96, max_position_embeddings=128, rms_norm_eps=1e-5,
                       rope_theta=50000.0, tie_word_embeddings=False, initializer_range=0.2)


GGUF_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
TINY_TYPES = {
    "token_embd": Type.Q8_0, "output": Type.F16, "attn_q": Type.Q4_0, "attn_k": Type.Q8_0, "attn_v": Type.Q5_1,
    "attn_output": Type.BF16, "ffn_gate": Type.Q4_1, "ffn_up": Type.Q5_0, "ffn_down": Type.F32,
}


def gguf_tensors(model):
    """(name, type, values in llama.cpp's row order) of every tensor."""
    config = model.config
    for name, tensor in model.state_dict().items():
        values = tensor.detach().numpy().astype(np.float32)
        if name.startswith("model.layers."):
            layer, module = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
            short, name = GGUF_NAMES[module], f"blk.{layer}.{GGUF_NAMES[module]}.weight"
            if short == "attn_q":
                values = permute(values, config.num_attention_heads)
            if short == "attn_k":
                values = permute(values, config.num_key_value_heads)
        else:
            short = {"model.embed_tokens.weight": "token_embd", "model.norm.weight": "output_norm",
                     "lm_head.weight": "output"}[name]
            name = short + ".weight"
        yield name, TINY_TYPES.get(short, Type.F32), values


def write_tiny_gguf(model, path):
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_array("test.strings", ["a", "", "ümlaut"])
    writer.add_array("test.integers", [-1, 0, 7])
    for name, kind, values in gguf_tensors(model):
        stored = values if kind == Type.F32 else gguf.quantize(values, kind)
        writer.add_tensor(name, stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tiny_llama():
    torch.manual_seed(1)
    model = LlamaForCausalLM(tiny_config())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.normal_(1.0, 0.1)
    write_tiny_gguf(model, HERE / "tiny_llama.gguf")
    loaded = AutoModelForCausalLM.from_pretrained(HERE, gguf_file="tiny_llama.gguf", dtype=torch.float32)
    fresh = LlamaForCausalLM(tiny_config())
    fresh.load_state_dict(loaded.state_dict())
    for folder, options in (("tiny_llama", {}), ("tiny_llama_sharded", {"max_shard_size": "100KB"})):
        shutil.rmtree(HERE / folder, ignore_errors=True)
        fresh.save_pretrained(HERE / folder, **options)
        (HERE / folder / "generation_config.json").unlink(missing_ok=True)


def smollm2_checksums(path):
    """SHA-256 of every tensor's float32 bytes as transformers' GGUF loading gives them."""
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    sums = {name: hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
            for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    document = {"file": path.name, "file_sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "float32": sums}
    (HERE / "smollm2_checksums.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    ggml_blocks()
    iq4_blocks()
    tiny_llama()
    if len(sys.argv) > 1:
        smollm2_checksums(Path(sys.argv[1]))
