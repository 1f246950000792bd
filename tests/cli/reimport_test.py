"""Training further from a quantized model: its integers and scales are the start, whatever file they lie in, so that a run of
no steps converts back to the same codes and scales bit for bit; a run of some steps starts from the model's own loss."""

import json
import shutil

from tests.support import lrqat, lrqat_json, main, text_file, tiny_model

# name: (--bits --granularity --symmetric, [(format, options)]) — every format and GGUF type that holds the grid.
GRIDS = {
    "W4 group:32": ((4, "group:32", "true"), [("gguf", ()), ("gguf", ("--linear-type", "q8_0")),
                                              ("gguf", ("--linear-type", "q5_0")), ("compressed-tensors", ()), ("gptq", ()),
                                              ("gptq-v2", ()), ("awq", ())]),
    "W4 channel": ((4, "channel", "true"), [("gguf", ()), ("gptq", ())]),
    "W4 group:32 with zero points": ((4, "group:32", "false"), [("gguf", ()), ("compressed-tensors", ()), ("gptq-v2", ()),
                                                                ("awq", ())]),
    "W2 group:64": ((2, "group:64", "true"), [("gguf", ()), ("compressed-tensors", ()), ("gptq", ())]),
    "W8 tensor": ((8, "tensor", "true"), [("gguf", ()), ("compressed-tensors", ()), ("gptq", ())]),
    "W3 group:16": ((3, "group:16", "true"), [("compressed-tensors", ()), ("gptq", ())]),
}
METHODS = {"lr-qat": [(), ("--phi", "integer"), ("--phi", "bfloat16"), ("--faithful-downcast", "true")], "l4q": [()],
           "lsq": [()], "peqa": [()], "rtn": [()]}


def flags(grid):
    bits, granularity, symmetric = grid
    return ("--bits", bits, "--granularity", granularity, "--symmetric", symmetric)


def converted(folder, model, text, grid, method="rtn", *options):
    """The model after a run of no steps, and the checksum of its integers and scales."""
    for name in ("run", "back"):
        shutil.rmtree(folder / name, ignore_errors=True)
    batches = () if method == "rtn" else ("--sequence-length", 64, "--batch-size", 2)
    lrqat_json("train", "--model", model, "--data", text, "--method", method, "--steps", 0, *batches, *flags(grid), *options,
               "--out", folder / "run")
    return folder / "back", lrqat_json("convert", "--run", folder / "run", "--out", folder / "back")["sha256"]


def original(folder, grid):
    model, text = tiny_model(folder), text_file(folder)
    kept = folder / "original"
    shutil.rmtree(kept, ignore_errors=True)
    back, integers = converted(folder, model, text, grid)
    shutil.move(back, kept)
    return kept, text, integers


def expect_same(a, b, what):
    compared = lrqat_json("inspect", "--compare", a, b)
    assert compared["equal"], (what, compared["differing"][:2])


def every_format_starts_from_its_integers(folder):
    for name, (grid, files) in GRIDS.items():
        model, text, integers = original(folder, grid)
        for i, (kind, options) in enumerate([("converted", ()), *files]):
            out = model if kind == "converted" else folder / f"out-{i}"
            if kind != "converted":
                shutil.rmtree(out, ignore_errors=True) if out.is_dir() else out.unlink(missing_ok=True)
                lrqat_json("export", "--model", model, "--format", kind, "--out", out, *options,
                           *(["--rest-type", "keep"] if kind == "gguf" else []))
            back, found = converted(folder, out, text, grid, "lr-qat", "--init", "stored")
            if kind == "gguf":  # blocks say nothing of the channels that share a scale
                expect_same(model, back, (name, kind, options))
            else:
                assert found == integers, (name, kind)
        expect_same(model, back, name)  # of the last: the rest of the model as well


def every_method_starts_from_them(folder):
    for grid in ((4, "group:32", "true"), (4, "group:32", "false")):
        model, text, integers = original(folder, grid)
        out = folder / "ct"
        shutil.rmtree(out, ignore_errors=True)
        lrqat_json("export", "--model", model, "--format", "compressed-tensors", "--out", out)
        for method, variants in METHODS.items():
            if method == "l4q" and grid[2] == "false":
                continue  # its offset is a float
            for options in variants:
                assert converted(folder, out, text, grid, method, *options)[1] == integers, (method, options, grid)


# The control: with scales found anew another model comes out.
def other_scales_are_another_model(folder):
    grid = (4, "group:32", "true")
    model, text, integers = original(folder, grid)
    back, found = converted(folder, model, text, grid, "rtn", "--range", "minmax", "--init", "range")
    assert found != integers and not lrqat_json("inspect", "--compare", model, back)["equal"]
    said = lrqat("train", "--model", model, "--method", "rtn", "--steps", 0, "--bits", 4, "--granularity", "group:16",
                 "--out", folder / "run16", "--init", "stored")  # finer groups hold the same values
    assert said is not None
    for options, what in ((("--bits", 3, "--granularity", "group:32"), "do not fit 3 bits"),
                          (("--bits", 4, "--granularity", "channel"), "scales differ")):
        _, error = lrqat("train", "--model", model, "--data", text, "--method", "lr-qat", "--steps", 0, *options, "--out",
                         folder / "refused", "--init", "stored", expect=1)
        assert "--init stored" in error and what in error and not (folder / "refused").exists(), error


def scales_that_are_not_float16(folder):
    grid = (4, "group:32", "true")
    model, text = tiny_model(folder), text_file(folder)
    kept = folder / "kept"
    shutil.move(converted(folder, model, text, grid, "rtn", "--scale-type", "float32")[0], kept)
    _, error = lrqat("train", "--model", kept, "--data", text, "--method", "lr-qat", "--steps", 0, *flags(grid), "--out",
                     folder / "no", expect=1)
    assert "--scale-type" in error and "--init range" in error, error
    expect_same(kept, converted(folder, kept, text, grid, "lr-qat", "--scale-type", "float32")[0], "float32 scales")


# Blocks of other programs' making: negative scales, offsets. Peeled as integers for other formats as well.
def gguf_models_are_models_of_integers(folder):
    model, _, _ = original(folder, (4, "group:32", "true"))
    lrqat_json("export", "--model", model, "--format", "gguf", "--out", folder / "m.gguf", "--rest-type", "keep")
    lrqat_json("export", "--model", folder / "m.gguf", "--format", "gptq", "--out", folder / "gptq")
    expect_same(model, folder / "gptq", "gguf to gptq")
    rows = {row["name"]: row for row in lrqat_json("inspect", folder / "m.gguf")["tensors"]}
    row = rows["blk.0.ffn_up.weight"]
    assert row["num_bits"] == 4 and row["group_size"] == 32, row
    assert sum(row["histogram"]) == row["shape"][0] * row["shape"][1] and 0 < row["edge_fraction"] < 0.5, row


# Scales of either sign, as block-wise starts leave them, are a start like any other.
def signed_scales_stay(folder):
    signed = ("--init", "blockwise", "--calibration-tokens", 512, "--sequence-length", 64, "--block-steps", 4)
    model, text = tiny_model(folder), text_file(folder)
    for grid, kinds in (((4, "group:32", "true"), ("gguf", "gptq", "compressed-tensors", "awq")), ((8, "group:32", "true"), ("gguf",)),
                        ((3, "channel", "true"), ("gguf", "gptq"))):
        kept = folder / "signed"
        shutil.rmtree(kept, ignore_errors=True)
        back, integers = converted(folder, model, text, grid, "rtn", *signed)
        shutil.move(back, kept)
        for kind in kinds:
            out = folder / f"signed-{grid[0]}-{kind}"
            lrqat_json("export", "--model", kept, "--format", kind, "--out", out, *(["--rest-type", "keep"] if kind == "gguf" else []))
            back, found = converted(folder, out, text, grid, "lr-qat", "--init", "stored")
            expect_same(kept, back, (grid, kind))
            assert kind == "gguf" or found == integers, (grid, kind)
            expect_same(kept, out, (grid, kind))
    lrqat_json("export", "--model", folder / "signed-4-gguf", "--format", "gptq", "--out", folder / "gptq-of-gguf")
    assert json.loads((folder / "gptq-of-gguf" / "config.json").read_text())["quantization_config"]["sym"] is True


def training_goes_on(folder):
    grid = (4, "group:32", "true")
    model, text, _ = original(folder, grid)
    lrqat_json("export", "--model", model, "--format", "gguf", "--out", folder / "m.gguf", "--rest-type", "keep")
    before = lrqat_json("perplexity", "--model", model, "--data", text, "--context", 64, "--max-windows", 8)["nll"]
    result = lrqat_json("train", "--model", folder / "m.gguf", "--data", text, *flags(grid), "--steps", 20, "--batch-size", 4,
                        "--sequence-length", 64, "--lr", 1e-2, "--lora-alpha", 32, "--out", folder / "further",
                        "--eval-data", text, "--eval-context", 64, "--eval-windows", 8)
    assert abs(result["perplexity"]["float"] - 2.718281828459045 ** before) < 1e-3 * result["perplexity"]["float"], result
    assert result["perplexity"]["trained"] < result["perplexity"]["rtn"], result


if __name__ == "__main__":
    main([every_format_starts_from_its_integers, every_method_starts_from_them, other_scales_are_another_model,
          scales_that_are_not_float16, gguf_models_are_models_of_integers, signed_scales_stay, training_goes_on])
