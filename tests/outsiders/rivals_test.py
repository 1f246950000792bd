"""llama.cpp's quantizer as tools/rivals calls it: values near the floats in every type, and lrqat reads the file that it writes."""

from tests.outsiders import support

np, gguf, _ = support.require("numpy", "gguf", "xllamacpp")

import json  # noqa: E402
import os  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402

from tests.support import LRQAT, ROOT, long_tiny_model, lrqat_json, main, text_file, tiny_model  # noqa: E402
from tools.rivals import llama_cpp  # noqa: E402

ERROR = {"Q4_0": 0.11, "Q5_0": 0.055, "Q4_K": 0.09, "Q3_K": 0.2, "Q2_K": 0.4, "IQ4_NL": 0.1, "Q8_0": 0.01}


def types_are_near(_):
    values = np.random.default_rng(0).standard_normal((8, 256)).astype(np.float32)
    ggml = llama_cpp.library()
    for name, bound in ERROR.items():
        kind = llama_cpp.Types[name]
        back = gguf.quants.dequantize(llama_cpp.quantized(ggml, values, kind), kind)
        error = float(np.linalg.norm(back - values) / np.linalg.norm(values))
        assert bound / 4 < error < bound, (name, error)
    assert llama_cpp.fitting(llama_cpp.Types.Q3_K, 576) == llama_cpp.Types.IQ4_NL
    assert llama_cpp.fitting(llama_cpp.Types.Q3_K, 1536) == llama_cpp.Types.Q3_K


def files_are_read(folder):
    model, source = tiny_model(folder), folder / "float.gguf"
    lrqat_json("export", "--model", model, "--format", "gguf", "--matrices", "f32", "--rest-type", "keep", "--out", source)
    found = llama_cpp.quantize(source, "Q4_0", folder / "q.gguf", folder / "values.gguf")
    assert found["types"] == {"Q4_0": 14} and found["bits_per_weight"] == 4.5, found
    text = text_file(folder, 4000)
    kl = [lrqat_json("compare", model, folder / name, "--data", text, "--context", 64)["kl"] for name in ("q.gguf", "values.gguf")]
    assert kl[0] > 1e-4 and kl[1] > 1e-4, kl
    assert abs(kl[0] - kl[1]) < 0.2 * kl[1], kl  # the embedding has 8 bits in the first


def no_larger_than_llama_cpp(folder):
    """`make rivals` at the size of a type of llama.cpp: mixed bits, in types that its reader need not know."""
    model = long_tiny_model(folder)
    (folder / "text.txt").write_text((ROOT / "data" / "mixture.txt").read_text()[:150_000])
    words = [sys.executable, "-m", "tools.rivals", "--rows", "q2_k-*", "--out", folder / "out", "--lrqat", LRQAT, "--model", model, "--threads", "1"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"RIVALS_DATA": str(folder / "text.txt")})
    assert done.returncode == 0, done.stderr
    rows = {row["method"]: row for row in json.loads((folder / "out" / "report.json").read_text())["rows"]}
    assert 2 < rows["lrqat"]["bits_per_weight"] <= rows["llama.cpp"]["bits_per_weight"] < 5, rows
    assert rows["lrqat"]["kl"]["novels"][0] > 0, rows


main([types_are_near, files_are_read, no_larger_than_llama_cpp])
