"""Numbers that are not finite, and those that a type does not hold: named wherever they would become a file or a figure."""

import json
import struct

from tests.support import lrqat, lrqat_json, main, text_file, tiny_model


def set_numbers(path, values):
    """Sets float32 elements of a safetensors file: {tensor: {index: value}}; index None: all of them."""
    data = bytearray(path.read_bytes())
    size, = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + size])
    for name, numbers in values.items():
        begin, end = header[name]["data_offsets"]
        assert header[name]["dtype"] == "F32", header[name]
        for index, value in numbers.items():
            for i in range((end - begin) // 4) if index is None else [index]:
                struct.pack_into("<f", data, 8 + size + begin + 4 * i, value)
    path.write_bytes(data)


def names(path):
    data = path.read_bytes()
    return json.loads(data[8:8 + struct.unpack_from("<Q", data)[0]])


def convert_refuses_what_diverged(folder):
    model, text = tiny_model(folder), text_file(folder)
    run = folder / "run"
    lrqat_json("train", "--model", model, "--data", text, "--steps", 1, "--granularity", "channel", "--rank", 2, "--batch-size", 1,
               "--sequence-length", 32, "--out", run)
    index = json.loads((run / "checkpoints" / "index.json").read_text())
    trainables = run / "checkpoints" / index.get("best", index["last"]) / "trainables.safetensors"
    good = trainables.read_bytes()
    layer = "model.layers.1.mlp.up_proj"
    scale, adapter = (next(name for name in names(trainables) if name.startswith(layer) and part in name) for part in ("scale", "lora"))
    for tensor, value in ((scale, float("inf")), (scale, float("nan")), (adapter, float("nan")), (adapter, float("-inf"))):
        set_numbers(trainables, {tensor: {3: value}})
        for command in (("convert", "--run", run), ("export", "--model", run, "--format", "gguf"),
                        ("export", "--model", run, "--format", "hf")):
            _, stderr = lrqat(*command, "--out", folder / "out", expect=1)
            assert layer in stderr and "not finite" in stderr and not (folder / "out").exists(), (tensor, command, stderr)
        trainables.write_bytes(good)
    # Beyond float16: its largest number, not infinity.
    set_numbers(trainables, {scale: {3: 1e6}})
    lrqat("convert", "--run", run, "--out", folder / "large")
    assert lrqat_json("inspect", folder / "large")["kind"] == "converted"


def float16_is_not_made_infinite(folder):
    model, text = tiny_model(folder), text_file(folder)
    set_numbers(model / "model.safetensors", {"model.embed_tokens.weight": {70 * 64 + 3: 1e5}})
    run, converted = folder / "run", folder / "converted"
    lrqat_json("train", "--model", model, "--data", text, "--method", "rtn", "--steps", 0, "--granularity", "channel", "--out", run)
    lrqat("convert", "--run", run, "--out", converted)
    for flags in (("hf", "--dtype", "float16"), ("hf", "--dtype", "float16", "--allow-inexact"), ("gguf", "--rest-type", "f16")):
        _, stderr = lrqat("export", "--model", converted, "--format", flags[0], "--out", folder / "out", *flags[1:], expect=1)
        assert "embed" in stderr or "token_embd" in stderr, stderr
        assert ("beyond" in stderr and "bf" in stderr.lower()) or "exact" in stderr, stderr
        assert not (folder / "out").exists() and "broken disk" not in stderr, stderr
    lrqat("export", "--model", converted, "--format", "hf", "--out", folder / "bf", "--dtype", "bfloat16", "--allow-inexact")
    lrqat("export", "--model", converted, "--format", "gguf", "--out", folder / "m.gguf", "--rest-type", "bf16")


def figures_that_are_no_numbers_are_failures(folder):
    model, text = tiny_model(folder), text_file(folder)
    (folder / "copy").mkdir()
    broken = tiny_model(folder / "copy")
    flags = ("--data", text, "--context", 64, "--max-windows", 2)
    (folder / "boolq_valid.jsonl").write_text(json.dumps({"question": "is it", "passage": "No.", "answer": False}) + "\n")
    for values in ({"model.norm.weight": {None: 3e38}}, {"model.norm.weight": {0: float("nan")}}):
        set_numbers(broken / "model.safetensors", values)
        for command in (("perplexity", "--model", broken), ("perplexity", "--model", model, "--reference", broken),
                        ("compare", model, broken), ("compare", broken, model)):
            stdout, stderr = lrqat(*command, *flags, expect=1)
            assert str(broken) in stderr and "finite" in stderr and not stdout, (command, stdout, stderr)
        stdout, stderr = lrqat("evaluate", "--model", broken, "--task-data", folder, "--tasks", "boolq", expect=1)
        assert "finite" in stderr and not stdout.strip(), (stdout, stderr)
        stdout, stderr = lrqat("generate", "--model", broken, "--prompt", "The", expect=1)
        assert "finite" in stderr and not stdout.strip(), (stdout, stderr)


main([convert_refuses_what_diverged, float16_is_not_made_infinite, figures_that_are_no_numbers_are_failures])
