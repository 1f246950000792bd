"""Exported folders read by others: numpy readers written from the formats' descriptions give back scale * code of the
converted folder exactly, in every width and granularity; transformers with compressed-tensors loads pack-quantized
folders on the CPU and computes our converted model's log-probabilities; every GGUF block type is dequantized by the gguf
package to the same values."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import support

np, torch, transformers, gguf, safetensors_numpy, safetensors_torch, compressed_tensors, *_ = support.require(
    "numpy", "torch", "transformers", "gguf", "safetensors.numpy", "safetensors.torch", "compressed_tensors",
    "compressed_tensors.compressors", "compressed_tensors.quantization")
import converted  # noqa: E402
import gguf_test  # noqa: E402
import unpack  # noqa: E402
from tests.support import byte_tokenizer  # noqa: E402

transformers.utils.logging.disable_progress_bar()
IDS = [3, 17, 90, 4, 4, 61, 33, 8]
TOLERANCE = 1e-4  # in log-probability: float32 sums of 512 products in another order; measured 1e-6


SIGNED = ("--init", "blockwise", "--calibration-tokens", 256, "--sequence-length", 64, "--block-steps", 4)


def has_both_signs(folder):
    tensors = safetensors_numpy.load_file(folder / "model.safetensors")
    negative = np.concatenate([tensor.ravel() < 0 for name, tensor in tensors.items() if name.endswith(".weight_scale")])
    assert 0.2 < negative.mean() < 0.8, negative.mean()


def write_float_model(folder):
    """A random Llama whose rows are whole blocks of every GGUF type."""
    torch.manual_seed(1)
    config = transformers.LlamaConfig(hidden_size=256, intermediate_size=512, num_hidden_layers=2, vocab_size=256,
                                      num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
                                      attention_bias=True, tie_word_embeddings=False)
    transformers.LlamaForCausalLM(config).to(torch.float32).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(byte_tokenizer()))  # block-wise starts read text
    return folder


class Folders:
    """Converted folders by bits and granularity, made once."""

    def __init__(self, work):
        self.work = work
        self.source = write_float_model(work / "float")

    def converted(self, bits, granularity):
        """granularity may end in " zero": grids with zero points, or in " signed": scales of both signs."""
        folder = self.work / f"{bits}-{granularity.replace(':', '').replace(' ', '-')}"
        if not folder.exists():
            sharing, _, kind = granularity.partition(" ")
            support.converted(self.source, folder, "--bits", bits, "--granularity", sharing,
                              "--symmetric", "false" if kind == "zero" else "true", *(SIGNED if kind == "signed" else ()))
            if kind == "signed":
                has_both_signs(folder / "converted")
        return folder / "converted"

    def export(self, bits, granularity, name, *options):
        out = self.work / f"{name}-{bits}-{granularity.replace(':', '').replace(' ', '-')}"
        report = support.lrqat("export", "--model", self.converted(bits, granularity), "--format", name, "--out", out,
                               "--force", *(["--rest-type", "keep"] if name == "gguf" else []), *options)
        assert report["bit_exact_tensors"] == report["tensors"] > 0 and report["largest_change"] == 0, report
        return out


def differing(found, expected):
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    return [name for name in expected if not np.array_equal(found[name], expected[name])]


def numpy_readers(folders):
    cells = 0
    for bits in (2, 3, 4, 8):
        for granularity in ("tensor", "channel", "group:128", "group:32", "group:64 zero", "group:32 signed"):
            if bits != 4 and granularity in ("tensor", "group:128"):
                continue
            _, expected, trained = converted.read(folders.converted(bits, granularity))
            for name in ("compressed-tensors", "gptq", "gptq-v2", "awq", "hf"):
                if (name == "awq" and bits != 4) or (name == "gptq-v2" and granularity.startswith("group:32")):
                    continue
                if name == "gptq" and granularity.endswith("zero"):  # a zero point of 0 may be among them
                    continue
                values, packed = unpack.read(folders.export(bits, granularity, name))
                assert not differing(values, expected), (bits, granularity, name, differing(values, expected))
                assert packed == (set() if name == "hf" else trained), name
                cells += 1
    # The control: another model's integers, and one number changed.
    values, _ = unpack.read(folders.export(4, "group:32", "gptq"))
    _, other, _ = converted.read(folders.converted(4, "group:128"))
    assert len(differing(values, other)) == 14
    name = "model.layers.1.mlp.up_proj.weight"
    changed = {**values, name: values[name].copy()}
    changed[name][3, 5] += np.float32(1e-3)
    assert differing(values, changed) == [name]
    return f"{cells} folders"


def our_log_probabilities(model, folder):
    support.gtest("export_tests", "OutsiderFiles.LogProbabilities", LRQAT_OUTSIDER_MODEL=model,
                  LRQAT_OUTSIDER_IDS=",".join(map(str, IDS)), LRQAT_WRITE_OUTSIDER_FILES=folder)
    return safetensors_numpy.load_file(folder / "log_probabilities.safetensors")["log_probabilities"]


def their_log_probabilities(folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0].log_softmax(-1).numpy()


def transformers_loads(folders):
    largest = 0.0
    for bits in (2, 3, 4, 8):
        for granularity in ("channel", "group:32", "group:64 signed"):
            ours = our_log_probabilities(folders.converted(bits, granularity), folders.work)
            out = folders.export(bits, granularity, "compressed-tensors")
            method = json.loads((out / "config.json").read_text())["quantization_config"]["quant_method"]
            assert method == "compressed-tensors"
            difference = float(np.abs(their_log_probabilities(out) - ours).max())
            assert difference < TOLERANCE, (bits, granularity, difference)
            # And the folder as we open it again.
            assert np.array_equal(our_log_probabilities(out, folders.work), ours), (bits, granularity)
            largest = max(largest, difference)
    # The control: the same model in other widths is told apart.
    assert np.abs(their_log_probabilities(folders.work / "compressed-tensors-4-channel") - ours).max() > 10 * TOLERANCE
    difference = float(np.abs(their_log_probabilities(folders.export(4, "channel", "hf"))
                              - our_log_probabilities(folders.converted(4, "channel"), folders.work)).max())
    assert difference < TOLERANCE, difference
    return f"log-probabilities within {largest:.1e}"


def zero_points(folders):
    """compressed-tensors' own decompressor. Its 0.20 does not load zero points through transformers: on the meta device
    it expects them unpacked, also in folders that it wrote itself."""
    quantization = compressed_tensors.quantization
    compressor = compressed_tensors.compressors.BaseCompressor.get_value_from_registry("pack-quantized")
    for bits in (2, 3, 4, 8):
        for granularity in ("channel zero", "group:64 zero"):
            out = folders.export(bits, granularity, "compressed-tensors")
            _, expected, trained = converted.read(folders.converted(bits, granularity))
            config = json.loads((out / "config.json").read_text())["quantization_config"]
            scheme = quantization.QuantizationScheme(**config["config_groups"]["group_0"])
            tensors = safetensors_torch.load_file(out / "model.safetensors")
            for name in trained:
                module = name.removesuffix("weight")
                state = {key.removeprefix(module): tensor for key, tensor in tensors.items() if key.startswith(module)}
                state["weight_scale"] = state["weight_scale"].float()
                found = compressor.decompress(state, scheme)["weight"].numpy()
                assert np.array_equal(found, expected[name]), (bits, granularity, name)
                state["weight_zero_point"][0] ^= 1  # the control
                assert not np.array_equal(compressor.decompress(state, scheme)["weight"].numpy(), expected[name])


def opened_again(folders):
    """GPTQ, AWQ and GGUF as models of ours: the same log-probabilities, bit for bit."""
    for granularity in ("group:32", "group:32 signed"):
        ours = our_log_probabilities(folders.converted(4, granularity), folders.work)
        for name in ("gptq", "gptq-v2", "awq", "hf", "gguf"):
            again = our_log_probabilities(folders.export(4, granularity, name), folders.work)
            equal = np.allclose(again, ours, atol=TOLERANCE) if name in ("hf", "gguf") else np.array_equal(again, ours)
            assert equal, (granularity, name)


def block_types(folders):
    cells = ((2, "channel", "q2_k"), (3, "channel", "q3_k"), (2, "group:256", "q3_k"), (4, "group:32", "q4_0"),
             (4, "channel", "q4_k"), (4, "tensor", "q4_1"), (3, "group:32", "q5_0"), (4, "channel", "q6_k"),
             (8, "group:64", "q8_0"), (2, "group:64", "q8_0"), (2, "group:64 zero", "q8_0"), (4, "group:32 zero", "q5_0"), (4, "channel zero", "q4_k"), (3, "group:128", "auto"), (3, "channel", "auto"),
             (4, "group:32 signed", "q4_0"), (4, "channel signed", "q4_k"), (3, "channel signed", "q3_k"),
             (2, "channel signed", "q2_k"), (4, "channel signed", "q6_k"), (3, "group:32 signed", "q5_0"),
             (4, "group:32 signed", "q4_1"), (8, "group:32 signed", "q8_0"))
    for bits, granularity, kind in cells:
        folder = folders.converted(bits, granularity)
        expected, trained = gguf_test.expected_tensors(folder)
        found = gguf_test.dequantized(folders.export(bits, granularity, "gguf", "--linear-type", kind))
        assert not gguf_test.differing(found, expected), (bits, granularity, kind)
        used = {found[name][0] for name in trained}
        assert used == {kind.upper()} if kind != "auto" else used <= {"Q3_K", "Q4_0"}, (kind, used)
    return f"{len(cells)} files"


def rest_types(folders):
    """Embeddings and head in each type of --rest-type: the gguf package reads the values that we read, and they are near."""
    _, values, _ = converted.read(folders.converted(4, "channel"))
    original, out, floats = values["model.embed_tokens.weight"], folders.work / "rest.gguf", folders.work / "rest_f32.gguf"
    errors = {}
    for kind in ("f32", "f16", "bf16", "q8_0", "q6_k"):
        report = support.lrqat("export", "--model", folders.converted(4, "channel"), "--format", "gguf", "--rest-type", kind,
                               "--out", out, "--force")
        assert report["tensors"] - report["bit_exact_tensors"] == (0 if kind == "f32" else 2), report
        support.lrqat("export", "--model", out, "--format", "gguf", "--matrices", "f32", "--out", floats, "--force")
        found, ours = gguf_test.dequantized(out), gguf_test.dequantized(floats)
        for name in ("token_embd.weight", "output.weight"):
            assert found[name][0] == kind.upper() and ours[name][0] == "F32", (kind, found[name][0])
            assert np.array_equal(found[name][1], ours[name][1]), (kind, name)
        errors[kind] = float(np.sqrt(np.mean((found["token_embd.weight"][1] - original) ** 2)) / original.std())
    # A uniform grid of 63 steps over ±amax of 16 normal numbers (about 1.8 deviations) has 0.017; the control is 4 bits'.
    assert errors["f32"] == 0 < errors["f16"] < errors["q8_0"] < errors["q6_k"] < 0.03, errors
    return ", ".join(f"{kind} {error:.1e}" for kind, error in errors.items())


def two_bit_blocks(folders):
    """Q2_0, which the gguf package does not know: llama.cpp's own formula in numpy."""
    for granularity in ("channel", "group:64"):
        folder = folders.converted(2, granularity)
        expected, trained = gguf_test.expected_tensors(folder)
        tensors = unpack.Gguf(folders.export(2, granularity, "gguf")).tensors
        assert tensors.keys() == expected.keys()
        for name in trained:
            kind, shape, data = tensors[name]
            assert kind == 42, (name, kind)
            assert np.array_equal(unpack.q2_0(data).reshape(shape), expected[name]), name
        # The control: rows in another order are noticed.
        assert not np.array_equal(unpack.q2_0(data).reshape(shape)[::-1], expected[name])


def smollm2(folders):
    """SmolLM2-135M through formats of each kind (LRQAT_THOROUGH=1: through all) and back: values by numpy, compared as a model, and as the start of a run without
    steps, whose integers must be the same again."""
    model = support.converted(support.smollm2(), folders.work / "smollm2", "--bits", 4, "--granularity", "group:64")
    _, expected, trained = converted.read(model)
    for name in ("compressed-tensors", "gptq", "gguf", *(("gptq-v2", "awq", "hf") if support.THOROUGH else ())):
        out = folders.work / f"smollm2-{name}"
        report = support.lrqat("export", "--model", model, "--format", name, "--out", out,
                               *(["--rest-type", "keep"] if name == "gguf" else []))
        assert report["bit_exact_tensors"] == report["tensors"] == 272, report
        if name != "gguf":  # gguf_test.py reads it with the gguf package
            values, packed = unpack.read(out)
            assert packed == (set() if name == "hf" else trained) and not differing(values, expected), name
        assert support.lrqat("inspect", "--compare", model, out)["equal"], name
        if name in ("gguf", "gptq"):
            back = support.converted(out, folders.work / f"back-{name}", "--bits", 4, "--granularity", "group:64", "--init",
                                     "stored")
            assert support.lrqat("inspect", "--compare", model, back)["equal"], name
            shutil.rmtree(back)
        shutil.rmtree(out) if out.is_dir() else out.unlink()


def main():
    with tempfile.TemporaryDirectory() as name:
        folders = Folders(Path(name))
        return support.run({
            "folders read by numpy": lambda: numpy_readers(folders),
            "compressed-tensors in transformers": lambda: transformers_loads(folders),
            "zero points in compressed-tensors": lambda: zero_points(folders),
            "folders opened again": lambda: opened_again(folders),
            "GGUF block types read by the gguf package": lambda: block_types(folders),
            "the rest in every type": lambda: rest_types(folders),
            "Q2_0 blocks": lambda: two_bit_blocks(folders),
            "SmolLM2-135M": lambda: smollm2(folders),
        })


if __name__ == "__main__":
    sys.exit(main())
