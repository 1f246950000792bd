"""An exported GGUF file, read by the `gguf` package: every tensor dequantized equals scale * code of the converted
folder exactly, and everything else equals what the folder holds. SmolLM2-135M and a small model in every width."""

import sys
import tempfile
from pathlib import Path

import support

gguf, np, _ = support.require("gguf", "numpy", "safetensors")
import converted  # noqa: E402

TINY = support.ROOT / "tests" / "data" / "formats" / "tiny_llama.gguf"
NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def gguf_name(name):
    fixed = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}
    if name in fixed:
        return fixed[name]
    layer, module, kind = name.removeprefix("model.layers.").split(".", 1)[0], *name.split(".", 3)[3].rsplit(".", 1)
    return f"blk.{layer}.{NAMES[module]}.{kind}"


def permute(rows, heads):
    """llama.cpp, convert_hf_to_gguf.py: LlamaModel.permute."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def expected_tensors(folder):
    """{GGUF name: values in llama.cpp's row order}, and the names of the trained ones."""
    config, values, trained = converted.read(folder)
    for name in values:
        if ".q_proj." in name:
            values[name] = permute(values[name], config["num_attention_heads"])
        if ".k_proj." in name:
            values[name] = permute(values[name], config["num_key_value_heads"])
    return {gguf_name(name): array for name, array in values.items()}, {gguf_name(name) for name in trained}


def dequantized(path):
    return {tensor.name: (tensor.tensor_type.name, gguf.dequantize(tensor.data, tensor.tensor_type))
            for tensor in gguf.GGUFReader(path).tensors}


def differing(found, expected):
    """Names whose values are not all equal. Shapes count."""
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    return [name for name, array in expected.items()
            if found[name][1].shape != array.shape or not np.array_equal(found[name][1], array)]


def check_export(folder, out, types, *options):
    report = support.lrqat("export", "--model", folder, "--format", "gguf", "--out", out, "--force", "--rest-type", "keep", *options)
    assert report["bit_exact_tensors"] == report["tensors"] > 0, report
    assert report["bytes"] == out.stat().st_size, report
    expected, trained = expected_tensors(folder)
    found = dequantized(out)
    assert not differing(found, expected), differing(found, expected)
    assert {found[name][0] for name in trained} == types, {name: found[name][0] for name in trained}
    return f"{len(expected)} tensors, {report['bits_per_weight']:.2f} bits a weight"


def controls(folder, out):
    """What must be noticed: one code off by one, a changed scale, rows in Hugging Face's order."""
    expected, _ = expected_tensors(folder)
    found = dequantized(out)
    assert not differing(found, expected)
    name = "blk.0.attn_q.weight"
    original = expected[name]
    step = np.abs(original[original != 0]).min()
    changed = original.copy()
    changed[5, 9] += step
    assert differing(found, {**expected, name: changed}) == [name]
    changed = original.copy()
    changed[5] *= np.float32(1.001)
    assert differing(found, {**expected, name: changed}) == [name]
    values = converted.read(folder)[1]
    assert differing(found, {**expected, name: values["model.layers.0.self_attn.q_proj.weight"]}) == [name]


def every_width(folder):
    for bits, granularity, types, options in (
            (4, "channel", {"Q4_0"}, ()), (4, "group:32", {"Q4_0"}, ()), (4, "tensor", {"Q8_0"}, ("--linear-type", "q8_0")),
            (3, "channel", {"Q4_0"}, ()), (3, "group:32", {"Q8_0"}, ("--linear-type", "q8_0")),
            (2, "tensor", {"Q4_0"}, ("--linear-type", "q4_0")), (8, "channel", {"Q8_0"}, ()), (8, "group:32", {"Q8_0"}, ()),
            (4, "channel", {"F32"}, ("--matrices", "f32"))):
        work = folder / f"{bits}-{granularity.replace(':', '')}-{len(options)}-{min(types)}"
        model = support.converted(TINY, work, "--bits", bits, "--granularity", granularity)
        try:
            check_export(model, work / "m.gguf", types, *options)
        except AssertionError as error:
            raise AssertionError(f"{bits} bits, {granularity}, {options}: {error}") from error
    controls(folder / "4-group32-0-Q4_0" / "converted", folder / "4-group32-0-Q4_0" / "m.gguf")


def smollm2(folder):
    model = support.converted(support.smollm2(), folder / "smollm2", "--bits", 4, "--granularity", "channel")
    return check_export(model, folder / "smollm2.gguf", {"Q4_0"})


def metadata(folder):
    """The vocabulary and the keys of the original file, as the package reads both."""
    ours, original = gguf.GGUFReader(folder / "smollm2.gguf"), gguf.GGUFReader(support.smollm2())
    keys = [key for key in original.fields if key.startswith("tokenizer.")]
    assert "tokenizer.ggml.tokens" in keys and "tokenizer.ggml.merges" in keys
    keys += ["general.architecture", "llama.block_count", "llama.context_length", "llama.embedding_length",
             "llama.feed_forward_length", "llama.attention.head_count", "llama.attention.head_count_kv",
             "llama.rope.freq_base", "llama.rope.dimension_count", "llama.vocab_size",
             "llama.attention.layer_norm_rms_epsilon"]
    for key in keys:
        assert ours.fields[key].contents() == original.fields[key].contents(), key
    assert ours.fields["general.file_type"].contents() == gguf.LlamaFileType.MOSTLY_Q4_0
    return f"{len(keys)} keys"


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return support.run({
            "every width of a small model": lambda: every_width(folder),
            "SmolLM2-135M in 4 bits": lambda: smollm2(folder),
            "metadata": lambda: metadata(folder),
        })


if __name__ == "__main__":
    sys.exit(main())
