"""AutoRound on the CPU, in the environment of the rivals (requirements-rivals.txt): what tools/rivals runs as a program of its own.

    python tools/rivals/autoround.py MODEL TOKENS OUT --bits 4 --group-size 32 [--asymmetric] --iterations 50 --batch-size 4

MODEL is a Hugging Face folder of float weights; TOKENS a JSON file with the calibration text as lists of token ids, so that it
sees exactly the tokens that lrqat sees. OUT becomes a copy of MODEL with the rounded weights in float32. Prints a JSON document:
the seconds and processor seconds of quantization alone, without loading and saving.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

import torch
from auto_round import AutoRound
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM


class OnlyTokens:
    """AutoRound asks for a tokenizer, and only looks at its special tokens where the text is there as ids."""

    pad_token_id = None
    eos_token_id = None

    def save_pretrained(self, *_, **__):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("tokens", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bits", type=int, required=True)
    parser.add_argument("--group-size", type=int, required=True, help="-1: a scale a channel")
    parser.add_argument("--asymmetric", action="store_true")
    parser.add_argument("--iterations", type=int, required=True)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tokens = torch.tensor(json.loads(options.tokens.read_text()))
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    begin, processor = time.monotonic(), time.process_time()
    rounder = AutoRound(
        model, tokenizer=OnlyTokens(), bits=options.bits, group_size=options.group_size, sym=not options.asymmetric,
        iters=options.iterations, nsamples=tokens.shape[0], seqlen=tokens.shape[1], batch_size=options.batch_size,
        dataset=list(tokens.split(options.batch_size)), device_map="cpu", enable_torch_compile=False, seed=options.seed)
    found = rounder.quantize()
    seconds, processor = time.monotonic() - begin, time.process_time() - processor
    rounded = (found[0] if isinstance(found, tuple) else found).state_dict()
    shutil.rmtree(options.out, ignore_errors=True)
    shutil.copytree(options.model, options.out)
    path = options.out / "model.safetensors"
    values = load_file(path)
    missing = [name for name in values if name not in rounded]
    if missing:
        raise SystemExit(f"autoround: the quantized model lacks {missing[:3]}")
    save_file({name: rounded[name].float().contiguous() for name in values}, path, metadata={"format": "pt"})
    print(json.dumps({"seconds": seconds, "processor_seconds": processor}))


if __name__ == "__main__":
    main()
