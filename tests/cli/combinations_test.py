"""Every two of φ, bit width and granularity train, convert and export on the tiny model, and what comes out is what was
trained: the converted folder's integers and scales have the run's checksum, the GGUF file is bit-exact. All three with
each other: TrainedExport.HoldsEveryDowncastWidthAndGranularity in tests/export."""

import shutil

from tests.support import lrqat, lrqat_json, main, text_file, tiny_model

PHI = ["float32", "bfloat16", "float16", "fixed_point8", "int4", "integer"]
BITS = [2, 3, 4, 8]
GRANULARITY = ["tensor", "channel", "group:32"]


def check(folder, model, text, phi, bits, granularity):
    where = f"{phi}, {bits} bits, {granularity}"
    run, converted, gguf = folder / "run", folder / "converted", folder / "m.gguf"
    trained = lrqat_json("train", "--model", model, "--data", text, "--phi", phi, "--bits", bits, "--granularity",
                         granularity, "--init", "range", "--distill-weight", 0, "--steps", 3, "--batch-size", 2, "--sequence-length", 32, "--rank", 4,
                         "--lora-alpha", 64, "--lr", "3e-2", "--warmup", 0, "--threads", 1, "--out", run)
    assert trained["steps"] == 3 and 0 < trained["loss"] < 20, where
    convert = lrqat_json("convert", "--run", run, "--out", converted)
    assert {layer["num_bits"] for layer in convert["layers"]} == {bits}, where
    assert lrqat_json("inspect", converted)["sha256"] == convert["sha256"], where
    export = lrqat_json("export", "--model", converted, "--format", "gguf", "--out", gguf, "--rest-type", "keep")
    assert export["bit_exact_tensors"] == export["tensors"] == 21, (where, export)
    for path in (run, converted):
        shutil.rmtree(path)
    gguf.unlink()
    return convert["sha256"]


def every_pair(folder):
    model, text = tiny_model(folder), text_file(folder)
    seen = set()
    for i, phi in enumerate(PHI):
        for j, bits in enumerate(BITS):
            if phi != "int4" or bits != 8:
                seen.add(check(folder, model, text, phi, bits, GRANULARITY[(i + j) % len(GRANULARITY)]))
    # Different settings give different integers, but for those that round alike (int4 and integer start from the same
    # codes, float types from nearly the same values).
    assert len(seen) > 20, len(seen)


def int4_refuses_8_bits(folder):
    _, stderr = lrqat("train", "--model", tiny_model(folder), "--data", text_file(folder), "--phi", "int4", "--bits", 8,
                      "--out", folder / "x", expect=2)
    assert "at most 4 bits" in stderr, stderr


main([every_pair, int4_refuses_8_bits])
