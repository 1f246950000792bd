"""Files that lrqat's writers made, read by other people's readers: gguf, safetensors, transformers.

formats_tests writes the files when LRQAT_WRITE_OUTSIDER_FILES names a folder (tests/formats/outsider_files_test.cpp).
"""

import json
import sys
import tempfile
from pathlib import Path

import support

gguf, np, torch, safetensors, transformers = support.require("gguf", "numpy", "torch", "safetensors", "transformers")


def expected_codes(low, high):
    """The same integers as in outsider_files_test.cpp."""
    count = 4 * 128
    return (low + (np.arange(count) * 37 % (high - low + 1))).reshape(4, 128)


def expected_scales():
    return (np.arange(1, 9) / 64).astype(np.float16).astype(np.float32).reshape(4, 2)  # groups of 64


def gguf_tensors(folder):
    reader = gguf.GGUFReader(folder / "written.gguf")
    return reader, {tensor.name: tensor for tensor in reader.tensors}


def gguf_metadata(folder):
    reader, _ = gguf_tensors(folder)
    contents = {key: field.contents() for key, field in reader.fields.items()}
    assert contents["general.architecture"] == "llama"
    assert contents["u32"] == 4294967295
    assert contents["i64"] == -(2**63)
    assert contents["f32"] == np.float32(0.1)
    assert contents["flag"] is True
    assert contents["strings"] == ["a", "", "ümlaut"]
    assert contents["floats"] == [1.5, -2.5]


def dequantized_is_scale_times_code(folder, name, low, high):
    _, tensors = gguf_tensors(folder)
    tensor = tensors[name]
    values = gguf.dequantize(tensor.data, tensor.tensor_type)
    expected = np.repeat(expected_scales(), 64, axis=1) * expected_codes(low, high).astype(np.float32)
    assert tensor.tensor_type.name.lower() == name
    assert list(tensor.shape) == [128, 4]  # ne order
    np.testing.assert_array_equal(values, expected)
    expected[2, 77] += np.float32(1e-3)  # the control: one element off by a little is seen
    assert not np.array_equal(values, expected)


def plain_q8_0_equals_the_reference_quantizer(folder):
    _, tensors = gguf_tensors(folder)
    values = np.sin(np.arange(4 * 128, dtype=np.float64)).astype(np.float32).reshape(4, 128)
    stored = gguf.dequantize(tensors["plain_f32"].data, tensors["plain_f32"].tensor_type).reshape(4, 128)
    # std::sin and numpy may differ in the last bit, so the floats come from the file itself
    np.testing.assert_allclose(stored, values, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(tensors["plain_q8_0"].data.reshape(-1),
                                  gguf.quantize(stored, gguf.GGMLQuantizationType.Q8_0).reshape(-1))


def safetensors_file(folder):
    with safetensors.safe_open(folder / "written.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt", "note": 'with "quotes"'}
        assert set(file.keys()) == {"codes", "values", "empty"}
        np.testing.assert_array_equal(file.get_tensor("codes"), expected_codes(-8, 7).astype(np.int8))
        np.testing.assert_array_equal(file.get_tensor("values"), np.arange(6, dtype=np.float32).reshape(2, 3))
        assert file.get_tensor("empty").shape == (0, 3)


def sharded_safetensors_load_in_transformers(folder):
    """transformers loads a folder that our sharded writer made and finds every tensor equal."""
    load = transformers.AutoModelForCausalLM.from_pretrained
    ours, report = load(folder / "sharded", dtype=torch.float32, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    index = json.loads((folder / "sharded" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    original = load(support.ROOT / "tests/data/formats/tiny_llama", dtype=torch.float32)
    for name, tensor in original.state_dict().items():
        assert torch.equal(tensor, ours.state_dict()[name]), name


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        support.gtest("formats_tests", "OutsiderFiles.*", LRQAT_WRITE_OUTSIDER_FILES=folder)
        return support.run({
            "GGUF metadata": lambda: gguf_metadata(folder),
            "Q4_0 is scale times code": lambda: dequantized_is_scale_times_code(folder, "q4_0", -8, 7),
            "Q8_0 is scale times code": lambda: dequantized_is_scale_times_code(folder, "q8_0", -128, 127),
            "plain Q8_0 equals the reference quantizer": lambda: plain_q8_0_equals_the_reference_quantizer(folder),
            "safetensors": lambda: safetensors_file(folder),
            "sharded safetensors in transformers": lambda: sharded_safetensors_load_in_transformers(folder),
        })


if __name__ == "__main__":
    sys.exit(main())
