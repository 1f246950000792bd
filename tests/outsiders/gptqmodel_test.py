"""Exported GPTQ folders in gptqmodel: loaded on the CPU, every linear's weight is scale * code of the converted folder
(rounded to float16, in which gptqmodel multiplies), and the logits are near to ours. gptqmodel lies in a folder of its own
(requirements-gptqmodel.txt)."""

import json
import os
import sys
import tempfile
from pathlib import Path

import support

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # gptqmodel compiles each linear with the C++ compiler: minutes for the same numbers

sys.path.append(str(support.ROOT / ".venv" / "gptqmodel"))
np, torch, transformers, safetensors_numpy = support.require("numpy", "torch", "transformers", "safetensors.numpy")
gptqmodel = support.require("gptqmodel")
import converted  # noqa: E402
import packed_test  # noqa: E402
from tests.support import byte_tokenizer  # noqa: E402

IDS = packed_test.IDS
CASES = ((4, "group:32", "gptq"), (4, "group:128", "gptq-v2"), (4, "channel", "gptq"), (3, "group:32", "gptq"),
         (2, "group:64", "gptq"), (8, "channel", "gptq"), (4, "group:32 zero", "gptq-v2"))
TOLERANCE = 0.05  # in log-probability: float16 throughout on their side; measured 3e-3


def load(folder):
    return gptqmodel.GPTQModel.load(str(folder), device="cpu", backend=gptqmodel.BACKEND.GPTQ_TORCH
                                    if hasattr(gptqmodel.BACKEND, "GPTQ_TORCH") else gptqmodel.BACKEND.TORCH,
                                    dtype=torch.float16).model


def weights_of(model):
    """{name: float32 [out, in]} of the linears that gptqmodel made from integers."""
    return {name: module.dequantize_weight().detach().t().to(torch.float32).numpy()
            for name, module in model.named_modules() if hasattr(module, "dequantize_weight")}


def check(folders, bits, granularity, name):
    out = folders.export(bits, granularity, name)
    _, values, trained = converted.read(folders.converted(bits, granularity))
    model = load(out)
    found = weights_of(model)
    assert {f"{module}.weight" for module in found} == trained, (sorted(found)[:3], sorted(trained)[:3])
    different = [module for module, weight in found.items()
                 if not np.array_equal(weight, values[f"{module}.weight"].astype(np.float16).astype(np.float32))]
    assert not different, (len(different), different[:3])
    # The control: one code off by one is another weight.
    module = next(iter(found))
    changed = values[f"{module}.weight"].copy()
    changed[3, 5] += np.abs(changed[changed != 0]).min()
    assert not np.array_equal(found[module], changed.astype(np.float16).astype(np.float32))
    with torch.no_grad():
        theirs = model(torch.tensor([IDS])).logits[0].float().log_softmax(-1).numpy()
    difference = float(np.abs(theirs - packed_test.our_log_probabilities(out, folders.work)).max())
    assert difference < TOLERANCE, difference
    return difference


def main():
    with tempfile.TemporaryDirectory() as name:
        folders = packed_test.Folders(Path(name))
        # gptqmodel does not load a model without a tokenizer.
        options = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        (folders.source / "tokenizer.json").write_text(json.dumps(
            {**byte_tokenizer(), "pre_tokenizer": options, "decoder": options}))
        (folders.source / "tokenizer_config.json").write_text(json.dumps(
            {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "!", "eos_token": "#", "pad_token": "$"}))
        return support.run({
            f"{bits} bits, {granularity}, {kind}": lambda case=(bits, granularity, kind): f"{check(folders, *case):.1e}"
            for bits, granularity, kind in CASES})


if __name__ == "__main__":
    sys.exit(main())
