"""What a GGUF file holds beside the integers: the types of embedding and head, whose model it is, and how text is generated."""

import json
import shutil
import struct
from pathlib import Path

from tests.support import lrqat, lrqat_json, main, text_file, tiny_model


def metadata(path):
    """The keys of a GGUF file with values of the types that are read here; arrays of strings as lists."""
    data, at = Path(path).read_bytes(), 24
    sizes = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

    def read(code):
        nonlocal at
        value, = struct.unpack_from("<" + code, data, at)
        at += struct.calcsize("<" + code)
        return value

    def text():
        nonlocal at
        size = read("Q")
        at += size
        return data[at - size:at].decode()

    def value(kind):
        if kind == 8:
            return text()
        if kind == 9:
            inner, count = read("I"), read("Q")
            return [value(inner) for _ in range(count)]
        return read(sizes[kind])

    count, = struct.unpack_from("<Q", data, 16)
    keys = {}
    for _ in range(count):
        key = text()
        keys[key] = value(read("I"))
    return keys


def converted(folder, model, *flags):
    text = text_file(folder)
    run, out = folder / "run", folder / "converted"
    for path in (run, out):
        shutil.rmtree(path, ignore_errors=True)
    lrqat_json("train", "--model", model, "--data", text, "--method", "rtn", "--steps", 0, *(flags or ("--granularity", "channel")),
               "--out", run)
    lrqat_json("convert", "--run", run, "--out", out)
    return run, out


def types(path):
    return {row["name"]: row["dtype"] for row in lrqat_json("inspect", path)["tensors"]}


def the_rest_is_small_by_default(folder):
    model = tiny_model(folder)
    run, folder_of_integers = converted(folder, model)
    text = text_file(folder)
    kept = lrqat_json("export", "--model", folder_of_integers, "--format", "gguf", "--out", folder / "keep.gguf", "--rest-type", "keep")
    small = lrqat_json("export", "--model", folder_of_integers, "--format", "gguf", "--out", folder / "small.gguf")
    assert types(folder / "keep.gguf")["token_embd.weight"] == "F32" and kept["rounded"] == [], kept
    # Rows of 64 are no blocks of 256, which Q6_K has.
    assert types(folder / "small.gguf")["token_embd.weight"] == "Q8_0", types(folder / "small.gguf")
    rest = [f"{name} to Q8_0" for name, kind in types(folder / "small.gguf").items() if kind == "Q8_0"]
    assert small["rounded"] == rest and small["bit_exact_tensors"] == small["tensors"] - len(rest), small
    warning, = [text for text in small["warnings"] if "rounded" in text]
    assert "token_embd.weight to Q8_0" in warning and "--rest-type keep" in warning, warning
    assert small["bits_per_weight"] < kept["bits_per_weight"] and small["bytes"] < kept["bytes"], (small, kept)
    printed = lrqat("export", "--model", folder_of_integers, "--format", "gguf", "--out", folder / "again.gguf")[0]
    assert f"{small['bits_per_weight']:.2f}"[:3] in printed and "bits a weight" in printed, printed
    measured = [lrqat_json("perplexity", "--model", folder / name, "--data", text, "--context", 64, "--max-windows", 4)["nll"]
                for name in ("keep.gguf", "small.gguf")]
    assert 0 < abs(measured[0] - measured[1]) < 0.01, measured
    # Linears of the same grid are the same.
    compared = lrqat_json("inspect", "--compare", folder / "keep.gguf", folder / "small.gguf")
    assert {row["name"] for row in compared["differing"]} <= {"model.embed_tokens.weight", "lm_head.weight"}, compared
    # A float model stays as it is.
    floats = lrqat_json("export", "--model", model, "--format", "gguf", "--out", folder / "float.gguf")
    assert floats["rounded"] == [] and set(types(folder / "float.gguf").values()) == {"F32"}, floats


def blocks_of_the_source_are_kept(folder):
    model = folder / "tiny_llama.gguf"
    shutil.copy("tests/data/formats/tiny_llama.gguf", model)
    before = types(model)
    _, folder_of_integers = converted(folder, model)
    report = lrqat_json("export", "--model", folder_of_integers, "--format", "gguf", "--out", folder / "m.gguf")
    assert before["token_embd.weight"] == "Q8_0" and before["output.weight"] in ("F16", "F32"), before
    assert report["rounded"] == ["output.weight to Q8_0"], report
    assert types(folder / "m.gguf")["token_embd.weight"] == "Q8_0", types(folder / "m.gguf")


def three_bits_in_blocks_of_four_are_said(folder):
    model = tiny_model(folder)
    for bits, said in ((3, True), (4, False)):
        _, folder_of_integers = converted(folder, model, "--bits", bits, "--granularity", "group:32")
        report = lrqat_json("export", "--model", folder_of_integers, "--format", "gguf", "--out", folder / f"{bits}.gguf")
        found = [text for text in report["warnings"] if "as large as one of 4-bit" in text]
        assert bool(found) == said, report
        if said:
            assert "Q4_0" in found[0] and "Q3_K" in found[0] and "multiple of 256" in found[0], found


CARD = """---
license: apache-2.0
language:
- en
- de
base_model:
  - someone/Base-1B
tags: [chat, "small"]
widget:
  - text: hello
    example: [1]
---
# Card
"""


def a_hugging_face_models_name_and_licence_go_along(folder):
    model = tiny_model(folder)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "_name_or_path": "anyone/Tiny-Llama"}))
    (model / "README.md").write_text(CARD)
    (model / "generation_config.json").write_text('{"eos_token_id": [7, 9], "temperature": 0.6}')
    run, folder_of_integers = converted(folder, model)
    expected = {"general.name": "Tiny-Llama", "general.organization": "anyone", "general.license": "apache-2.0",
                "general.languages": ["en", "de"],
                "general.tags": ["chat", "small"], "general.base_model.count": 1, "general.base_model.0.name": "Base-1B",
                "general.base_model.0.organization": "someone",
                "general.base_model.0.repo_url": "https://huggingface.co/someone/Base-1B"}
    lrqat("export", "--model", folder_of_integers, "--format", "gptq", "--out", folder / "gptq")
    lrqat("export", "--model", folder / "gptq", "--format", "hf", "--dtype", "float32", "--out", folder / "hf")
    for i, source in enumerate((run, folder_of_integers, folder / "gptq", folder / "hf", model)):
        lrqat("export", "--model", source, "--format", "gguf", "--out", folder / f"{i}.gguf")
        found = {key: value for key, value in metadata(folder / f"{i}.gguf").items() if key in expected}
        assert found == expected, (source, found)
    for path in (folder_of_integers, folder / "gptq", folder / "hf"):
        assert (path / "generation_config.json").read_bytes() == (model / "generation_config.json").read_bytes(), path
    # From GGUF to GGUF, trained in between.
    (folder / "again").mkdir()
    again, integers = converted(folder / "again", folder / "0.gguf")
    for i, source in enumerate((again, integers)):
        lrqat("export", "--model", source, "--format", "gguf", "--out", folder / f"again-{i}.gguf")
        found = {key: value for key, value in metadata(folder / f"again-{i}.gguf").items() if key in expected}
        assert found == expected, (source, found)


def without_any_the_name_is_the_models_folder(folder):
    model = tiny_model(folder)
    _, folder_of_integers = converted(folder, model)
    lrqat("export", "--model", folder_of_integers, "--format", "gguf", "--out", folder / "m.gguf")
    keys = metadata(folder / "m.gguf")
    assert keys["general.name"] == "tiny" and "general.license" not in keys, keys
    (model / "README.md").write_bytes(b"---\nlicense: \xff\xfe\nno colon\n: empty\n---\n")
    converted(folder, model)
    (model / "README.md").write_text("no front matter\nlicense: mit\n")
    _, folder_of_integers = converted(folder, model)
    lrqat("export", "--model", folder_of_integers, "--format", "gguf", "--out", folder / "n.gguf")
    assert "general.license" not in metadata(folder / "n.gguf")


main([the_rest_is_small_by_default, blocks_of_the_source_are_kept, three_bits_in_blocks_of_four_are_said,
      a_hugging_face_models_name_and_licence_go_along, without_any_the_name_is_the_models_folder])
