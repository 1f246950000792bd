"""Model files as people have them, made from the tiny Llama by editing its files: GPTQ and AWQ as other programs write
them, numbers that are not finite, a multimodal model's text part on its way through convert and export, tokenizers with
more tokens than the embedding has rows, scales that float16 cannot hold."""

import json
import math
import shutil
import struct

from tests.support import lrqat, lrqat_json, main, text_file, tiny_model

NAN = struct.pack("<f", math.nan)
QUICK = ("--context", 64, "--max-windows", 2)


def read_tensors(path):
    """{name: (dtype, shape, bytes)} of a safetensors file."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8:8 + length]), data[8 + length:]
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], body[slice(*t["data_offsets"])]) for name, t in header.items()}


def write_tensors(path, tensors):
    header, body = {}, b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def edit_tensors(folder, change):
    path = folder / "model.safetensors"
    write_tensors(path, change(read_tensors(path)))


def edit_json(folder, change, name="config.json"):
    config = json.loads((folder / name).read_text())
    change(config)
    (folder / name).write_text(json.dumps(config))


def nll(model, text):
    return lrqat_json("perplexity", "--model", model, "--data", text, *QUICK)["nll"]


def rounded(folder, model, text, *recipe):
    run, out = folder / "run", folder / "converted"
    lrqat("train", "--model", model, "--data", text, "--method", "rtn", "--init", "range", "--steps", 0, "--bits", 4, "--granularity",
          "group:32", *recipe, "--out", run)
    lrqat("convert", "--run", run, "--out", out)
    return out


def copy(folder, source, name):
    return shutil.copytree(source, folder / name, dirs_exist_ok=True)


def without_index(tensors):
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(".g_idx")}


def settings(config, **changes):
    """quantization_config with other keys; None takes a key away."""
    for key, value in changes.items():
        config["quantization_config"].pop(key, None)
        if value is not None:
            config["quantization_config"][key] = value


def moved(folder, name):
    """quantization_config in a file of its own, without its method, as AutoGPTQ and AutoAWQ had it."""
    config = json.loads((folder / "config.json").read_text())
    quantization = config.pop("quantization_config")
    quantization.pop("quant_method")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / name).write_text(json.dumps(quantization))


def gptq_and_awq_as_others_write_them(folder):
    text = text_file(folder)
    model = rounded(folder, tiny_model(folder), text, "--symmetric", "false")
    plain = {}
    for name in ("gptq-v2", "awq"):
        lrqat("export", "--model", model, "--format", name, "--out", folder / name)
        plain[name] = nll(folder / name, text)

    auto = {"bits": 4, "group_size": 32, "sym": False, "data_type": "int", "quant_method": "auto-round"}

    def auto_round(packing, **more):
        return lambda f: edit_json(f, lambda c: c.update(quantization_config={**auto, "packing_format": packing, **more}))

    def old_file(f):
        moved(f, "quantize_config.json")
        (f / "model.safetensors").rename(f / "gptq_model-4bit-32g.safetensors")

    own = {"model.layers.0.self_attn.q_proj": {"bits": 4, "group_size": 32},
           "lm_head": {"bits": 16, "data_type": "float"}}
    variants = {
        ("gptq-v2", "auto-round"): auto_round("auto_round"),
        ("gptq-v2", "intel"): auto_round(None, backend="auto_round:exllamav2", quant_method="intel/auto-round"),
        ("gptq-v2", "extra"): auto_round("auto_round", group_size=32, extra_config=own),
        ("gptq-v2", "desc_act in order"): lambda f: edit_json(f, lambda c: settings(c, desc_act=True, static_groups=True)),
        ("gptq-v2", "a file of its own"): old_file,
        ("gptq-v2", "no g_idx"): lambda f: edit_tensors(f, without_index),
        ("gptq-v2", "format"): lambda f: edit_json(f, lambda c: settings(c, checkpoint_format=None, format="gptq_v2")),
        ("gptq-v2", "no method"): lambda f: edit_json(f, lambda c: settings(c, quant_method=None)),
        ("gptq-v2", "dynamic"): lambda f: edit_json(f, lambda c: settings(c, bits=8, dynamic={
            r"-:.*lm_head": {}, r"+:.*\.(self_attn|mlp)\..*": {"bits": 4}})),
        ("awq", "a file of its own"): lambda f: moved(f, "quant_config.json"),
        ("awq", "w_bit"): lambda f: edit_json(f, lambda c: settings(c, bits=None, group_size=None, w_bit=4, q_group_size=32,
                                                                    version="GEMM")),
        ("awq", "w_bit, no method"): lambda f: edit_json(f, lambda c: settings(
            c, quant_method=None, bits=None, group_size=None, w_bit=4, q_group_size=32)),
        ("awq", "auto-round"): auto_round("auto_round:auto_awq"),
    }
    for (base, name), change in variants.items():
        out = copy(folder, folder / base, f"{base}, {name}")
        change(out)
        assert nll(out, text) == plain[base], (base, name)
        assert lrqat_json("inspect", "--compare", folder / base, out)["equal"], (base, name)
    # A quantized folder that others wrote is also where training starts.
    lrqat("train", "--model", folder / "awq, w_bit", "--data", text, "--method", "rtn", "--init", "stored", "--steps", 0,
          "--bits", 4, "--granularity", "group:32", "--symmetric", "false", "--out", folder / "again")

    # Negative controls: the settings are read, not guessed.
    out = copy(folder, folder / "gptq-v2", "as v1")
    auto_round("auto_round:auto_gptq")(out)
    _, said = lrqat("inspect", "--compare", folder / "gptq-v2", out, "--json")
    assert not json.loads(_)["equal"]
    out = copy(folder, folder / "gptq-v2", "scattered")
    edit_json(out, lambda c: settings(c, desc_act=True))
    edit_tensors(out, lambda t: {n: (d, s, b[4:] + b[:4]) if n.endswith(".g_idx") else (d, s, b) for n, (d, s, b) in t.items()})
    assert "g_idx is not in order" in lrqat("perplexity", "--model", out, "--data", text, expect=1)[1]
    edit_tensors(out, without_index)
    said = lrqat("perplexity", "--model", out, "--data", text, expect=1)[1]
    assert "desc_act" in said and "no g_idx" in said, said


def numbers_that_are_not_finite_are_named(folder):
    model, text = tiny_model(folder), text_file(folder)
    converted = rounded(folder, model, text)
    lrqat("export", "--model", converted, "--format", "gptq", "--out", folder / "gptq")
    lrqat("export", "--model", converted, "--format", "gguf", "--rest-type", "f16", "--out", folder / "m.gguf")

    def put(data, at, value):
        return data[:at] + value + data[at + len(value):]

    def spoiled(source, name, tensor, row, value=NAN):
        """One number of this row is another."""
        out = copy(folder, source, name)

        def change(tensors):
            dtype, shape, data = tensors[tensor]
            size = len(data) // shape[0]
            tensors[tensor] = dtype, shape, put(data, row * size + (size // 2 // 4 * 4 if len(shape) > 1 else 0), value)
            return tensors

        edit_tensors(out, change)
        return out

    cases = [(model, "model.norm.weight", 3), (model, "model.layers.1.input_layernorm.weight", 63),
             (model, "model.embed_tokens.weight", 255), (model, "model.layers.0.mlp.up_proj.weight", 7),
             (converted, "model.norm.weight", 3), (converted, "model.embed_tokens.weight", 254),
             (folder / "gptq", "model.embed_tokens.weight", 254)]
    if "lm_head.weight" in read_tensors(model / "model.safetensors"):
        cases.append((model, "lm_head.weight", 200))
    for i, (source, tensor, row) in enumerate(cases):
        bad = spoiled(source, f"bad-{i}", tensor, row, struct.pack("<f", math.inf) if i % 2 else NAN)
        commands = [("perplexity", "--model", bad, "--data", text), ("generate", "--model", bad, "--prompt", "a"),
                    ("export", "--model", bad, "--format", "hf", "--out", folder / "out"),
                    ("compare", source, bad, "--data", text),
                    ("train", "--model", bad, "--data", text, "--method", "rtn", "--init", "range", "--steps", 0, "--out",
                     folder / "out"),
                    ("train", "--model", bad, "--data", text, "--steps", 2, "--sequence-length", 32, "--batch-size", 1,
                     "--out", folder / "out")]
        for command in commands:
            if command[0] == "compare" and i > 0:
                continue
            said = lrqat(*command, expect=1)[1]
            assert tensor in said and f"row {row} " in said and "not finite" in said, (i, command[0], said)
            assert not (folder / "out").exists(), command
    # Scales of packed integers, and of blocks.
    dtype, shape, data = read_tensors(folder / "gptq" / "model.safetensors")["model.layers.0.mlp.up_proj.scales"]
    assert dtype == "F16"
    bad = spoiled(folder / "gptq", "bad scales", "model.layers.0.mlp.up_proj.scales", 1, b"\x00\x7c")
    said = lrqat("perplexity", "--model", bad, "--data", text, expect=1)[1]
    assert "model.layers.0.mlp.up_proj.scales" in said and "row 1 " in said, said
    whole = (folder / "m.gguf").read_bytes()
    norm = read_tensors(model / "model.safetensors")["model.norm.weight"][2]
    assert whole.count(norm) == 1
    (folder / "norm.gguf").write_bytes(whole.replace(norm, put(norm, 8, NAN)))
    said = lrqat("perplexity", "--model", folder / "norm.gguf", "--data", text, expect=1)[1]
    assert "model.norm.weight" in said and "row 2 " in said, said
    rows = lrqat_json("inspect", folder / "m.gguf")["tensors"]
    at = next(i for i, row in enumerate(rows) if row["name"] == "blk.0.ffn_up.weight")
    assert rows[at]["dtype"] == "Q4_0"
    begin = len(whole) - sum((row["bytes"] + 31) // 32 * 32 for row in rows[at:])
    row_bytes = rows[at]["bytes"] // rows[at]["shape"][0]
    (folder / "block.gguf").write_bytes(put(whole, begin + 5 * row_bytes + 18, b"\x00\x7c"))  # the second block's scale
    said = lrqat("perplexity", "--model", folder / "block.gguf", "--data", text, expect=1)[1]
    assert "model.layers.0.mlp.up_proj.weight" in said and "row 5 " in said, said


def a_text_part_goes_all_the_way(folder):
    model, text = tiny_model(folder), text_file(folder)
    nested = copy(folder, model, "nested")
    config = json.loads((model / "config.json").read_text())
    whole = {"model_type": "mistral3", "architectures": ["Mistral3ForConditionalGeneration"],
             "text_config": {**config, "model_type": "mistral", "sliding_window": None}, "vision_config": {}}
    (nested / "config.json").write_text(json.dumps(whole))
    edit_tensors(nested, lambda tensors: {
        "vision_tower.patch_conv.weight": ("F32", [2, 2], bytes(16)),
        **{"language_model." + name: tensor for name, tensor in tensors.items()}})
    expected = nll(model, text)
    assert nll(nested, text) == expected
    lrqat("inspect", nested)
    plain, ours = rounded(folder, model, text), folder / "nested-converted"
    lrqat("train", "--model", nested, "--data", text, "--method", "rtn", "--init", "range", "--steps", 0, "--bits", 4,
          "--granularity", "group:32", "--out", folder / "nested-run")
    lrqat("convert", "--run", folder / "nested-run", "--out", ours)
    assert nll(ours, text) == nll(plain, text)
    lrqat("export", "--model", ours, "--format", "hf", "--out", folder / "hf")
    for out in (ours, folder / "hf"):
        flat = json.loads((out / "config.json").read_text())
        assert flat["model_type"] == "mistral" and flat["architectures"] == ["MistralForCausalLM"], flat
        assert "text_config" not in flat and "vision_config" not in flat, flat
    assert nll(folder / "hf", text) == nll(plain, text)


def tokens_without_rows_are_left_out_of_gguf(folder):
    model, text = tiny_model(folder), text_file(folder)
    edit_json(model, lambda t: t["added_tokens"].extend(
        {"id": 256 + i, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True} for i, name in enumerate(("<pad>", "<|im_end|>"))), "tokenizer.json")
    converted = rounded(folder, model, text)
    report = lrqat_json("export", "--model", converted, "--format", "gguf", "--out", folder / "m.gguf", "--rest-type", "keep")
    said = [warning for warning in report["warnings"] if "no row in the embedding" in warning]
    assert len(said) == 1 and "2 tokens" in said[0] and "<pad>, <|im_end|>" in said[0], report["warnings"]
    whole = (folder / "m.gguf").read_bytes()
    assert b"<pad>" not in whole and b"<|im_end|>" not in whole
    assert abs(nll(folder / "m.gguf", text) - nll(converted, text)) < 1e-6
    # Text that holds such a token: the model has no row for it, which is said before anything is computed.
    (folder / "with.txt").write_text("the <pad> " * 200)
    for command in (("perplexity", "--model", model, "--data", folder / "with.txt", *QUICK),
                    ("train", "--model", model, "--data", folder / "with.txt", "--steps", 1,
                     "--sequence-length", 32, "--batch-size", 1, "--out", folder / "o")):
        said = lrqat(*command, expect=1)[1]
        assert "256" in said and "vocab" in said.lower(), said


def scales_that_float16_cannot_hold(folder):
    """gate and up 2^-20 times, the norm before them 2^20 times: the same function."""
    model, text = tiny_model(folder), text_file(folder)
    small = copy(folder, model, "small")

    def change(tensors):
        def times(name, factor):
            dtype, shape, data = tensors[name]
            assert dtype == "F32"
            values = struct.unpack(f"<{len(data) // 4}f", data)
            tensors[name] = dtype, shape, struct.pack(f"<{len(values)}f", *(value * factor for value in values))

        times("model.layers.1.post_attention_layernorm.weight", 2.0 ** 20)
        for name in ("gate_proj", "up_proj"):
            times(f"model.layers.1.mlp.{name}.weight", 2.0 ** -20)
        return tensors

    edit_tensors(small, change)
    assert abs(nll(small, text) - nll(model, text)) < 1e-5
    start = ("train", "--model", small, "--data", text, "--bits", 4, "--granularity", "group:32")
    short = ("--sequence-length", 32)
    for command in ((*start, "--method", "rtn", "--init", "range", "--steps", 0, "--out", folder / "refused"),
                    (*start, *short, "--method", "rtn", "--init", "gptq", "--calibration-tokens", 256, "--steps", 0, "--out",
                     folder / "refused-start"),
                    (*start, *short, "--batch-size", 1, "--init", "range", "--steps", 2, "--out", folder / "refused")):
        said = lrqat(*command, expect=1)[1]
        assert "model.layers.1.mlp.gate_proj" in said and "--scale-type float32 --scale-domain log" in said, said
    held = rounded(folder, small, text, "--scale-type", "float32", "--scale-domain", "log")
    shutil.rmtree(folder / "run")
    held = held.rename(folder / "held")
    plain = rounded(folder, model, text, "--scale-type", "float32", "--scale-domain", "log")
    found, expected = nll(held, text), nll(plain, text)
    assert abs(found - expected) < 2e-3, (found, expected)  # a scale's last bit turns a code here and there


def swish_is_silu(folder):
    model, text = tiny_model(folder), text_file(folder)
    expected = nll(model, text)
    edit_json(model, lambda config: config.update(hidden_act="swish"))
    assert nll(model, text) == expected
    edit_json(model, lambda config: config.update(hidden_act="relu"))
    assert "hidden_act" in lrqat("perplexity", "--model", model, "--data", text, expect=1)[1]


def a_peft_export_names_its_base(folder):
    model, text = tiny_model(folder), text_file(folder)
    lrqat("train", "--model", model, "--data", text, "--method", "qlora", "--rank", 2, "--steps", 1, "--batch-size", 1,
          "--sequence-length", 32, "--out", folder / "run")
    report = lrqat_json("export", "--model", folder / "run", "--format", "peft", "--out", folder / "adapters")
    base = json.loads((folder / "adapters" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert base == str(folder / "adapters" / "base") and any("base_model_name_or_path" in w for w in report["warnings"])
    nll(base, text)


def a_refusal_lists_what_holds_the_whole_model(folder):
    """An offset format is out for the first linear named; AWQ would hold that one, but not another of the model."""
    model, text = tiny_model(folder), text_file(folder)
    converted = rounded(folder, model, text, "--overrides", "*.layers.1.mlp.up_proj bits=3")
    said = lrqat("export", "--model", converted, "--format", "gguf", "--linear-type", "q2_k", "--out", folder / "m.gguf",
                 expect=1)[1]
    listed = said[said.index("formats that hold"):]
    assert "awq" not in listed and "compressed-tensors" in listed, said


main([gptq_and_awq_as_others_write_them, numbers_that_are_not_finite_are_named, a_text_part_goes_all_the_way,
      tokens_without_rows_are_left_out_of_gguf, scales_that_float16_cannot_hold, swish_is_silu,
      a_peft_export_names_its_base, a_refusal_lists_what_holds_the_whole_model])
