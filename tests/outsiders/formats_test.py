"""Files that lrqat's writers made, read by other people's readers.

formats_tests writes the files when LRQAT_WRITE_OUTSIDER_FILES names a folder (tests/formats/outsider_files_test.cpp);
this test asks it to, with the binary from LRQAT_FORMATS_TESTS or build/tests/formats_tests.
"""

import json
import os
import subprocess
from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    binary = Path(os.environ.get("LRQAT_FORMATS_TESTS", ROOT / "build" / "tests" / "formats_tests"))
    if not binary.exists():
        pytest.fail(f"{binary} is not built: run `make build` with tests, or set LRQAT_FORMATS_TESTS")
    path = tmp_path_factory.mktemp("outsider_files")
    environment = dict(os.environ, LRQAT_WRITE_OUTSIDER_FILES=str(path))
    subprocess.run([binary, "--gtest_filter=OutsiderFiles.*"], env=environment, check=True, capture_output=True)
    return path


def expected_codes(low, high):
    """The same integers as in outsider_files_test.cpp."""
    count = 4 * 128
    return (low + (np.arange(count) * 37 % (high - low + 1))).reshape(4, 128)


def expected_scales():
    return (np.arange(1, 9) / 64).astype(np.float16).astype(np.float32).reshape(4, 2)  # groups of 64


def gguf_tensors(folder):
    reader = gguf.GGUFReader(folder / "written.gguf")
    return reader, {tensor.name: tensor for tensor in reader.tensors}


def test_gguf_metadata(folder):
    reader, _ = gguf_tensors(folder)
    contents = {key: field.contents() for key, field in reader.fields.items()}
    assert contents["general.architecture"] == "llama"
    assert contents["u32"] == 4294967295
    assert contents["i64"] == -(2**63)
    assert contents["f32"] == np.float32(0.1)
    assert contents["flag"] is True
    assert contents["strings"] == ["a", "", "ümlaut"]
    assert contents["floats"] == [1.5, -2.5]


@pytest.mark.parametrize("name,low,high", [("q4_0", -8, 7), ("q8_0", -128, 127)])
def test_gguf_dequantized_is_scale_times_code(folder, name, low, high):
    _, tensors = gguf_tensors(folder)
    tensor = tensors[name]
    values = gguf.dequantize(tensor.data, tensor.tensor_type)
    expected = np.repeat(expected_scales(), 64, axis=1) * expected_codes(low, high).astype(np.float32)
    assert tensor.tensor_type.name.lower() == name
    assert list(tensor.shape) == [128, 4]  # ne order
    np.testing.assert_array_equal(values, expected)
    expected[2, 77] += np.float32(1e-3)  # the control: one element off by a little is seen
    assert not np.array_equal(values, expected)


def test_gguf_plain_q8_0_equals_the_reference_quantizer(folder):
    _, tensors = gguf_tensors(folder)
    values = np.sin(np.arange(4 * 128, dtype=np.float64)).astype(np.float32).reshape(4, 128)
    stored = gguf.dequantize(tensors["plain_f32"].data, tensors["plain_f32"].tensor_type).reshape(4, 128)
    # std::sin and numpy may differ in the last bit, so the floats come from the file itself
    np.testing.assert_allclose(stored, values, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(tensors["plain_q8_0"].data.reshape(-1),
                                  gguf.quantize(stored, gguf.GGMLQuantizationType.Q8_0).reshape(-1))


def test_safetensors(folder):
    with safe_open(folder / "written.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt", "note": 'with "quotes"'}
        assert set(file.keys()) == {"codes", "values", "empty"}
        np.testing.assert_array_equal(file.get_tensor("codes"), expected_codes(-8, 7).astype(np.int8))
        np.testing.assert_array_equal(file.get_tensor("values"), np.arange(6, dtype=np.float32).reshape(2, 3))
        assert file.get_tensor("empty").shape == (0, 3)


def test_sharded_safetensors_load_in_transformers(folder):
    """transformers loads a folder that our sharded writer made and finds every tensor equal."""
    import torch
    from transformers import AutoModelForCausalLM

    ours, report = AutoModelForCausalLM.from_pretrained(folder / "sharded", dtype=torch.float32,
                                                        output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    index = json.loads((folder / "sharded" / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    original = AutoModelForCausalLM.from_pretrained(ROOT / "tests/data/formats/tiny_llama", dtype=torch.float32)
    for name, tensor in original.state_dict().items():
        assert torch.equal(tensor, ours.state_dict()[name]), name
