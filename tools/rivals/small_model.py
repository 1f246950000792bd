"""A small model trained from scratch, so that what holds for the demo's model can be looked at on another one.

    python tools/rivals/small_model.py OUT [--data FILE ...] [--steps 1500] [--threads 2]

A Llama of 16 million parameters (8 layers, 384 wide, a byte-level BPE of 8192 tokens) on data/ without the texts that are measured on,
or on FILEs; OUT becomes a Hugging Face folder. Needs what the tests need (tools/setup.sh --tests). The same command gives the same model on one machine.
"""

import argparse
import math
import os
import time
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parents[2]
MEASURED = ("novels.txt", "c4.txt", "LICENSES.txt", "mixture.txt")  # the mixture repeats the others
END = "<|endoftext|>"
LENGTH, BATCH, RATE = 512, 4, 1.5e-3


def own_text() -> list[Path]:
    return sorted(path for path in (ROOT / "data").glob("*.txt") if path.name not in MEASURED)


def tokenizer_of(files: list[Path]) -> PreTrainedTokenizerFast:
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train([str(path) for path in files], vocab_size=8192, min_frequency=2, special_tokens=[END], show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, bos_token=END, eos_token=END)


def rate_at(step: int, steps: int) -> float:
    warm_up = max(1, steps // 20)
    return RATE * min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps))


def train(model: LlamaForCausalLM, tokens: torch.Tensor, steps: int) -> float:
    """Gives the mean loss of the last twentieth of the steps."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.1)
    begin, losses = time.monotonic(), []
    for step in range(steps):
        starts = torch.randint(len(tokens) - LENGTH, (BATCH,))
        batch = torch.stack([tokens[start:start + LENGTH] for start in starts.tolist()])
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 50 == 0 or step + 1 == steps:
            print(f"step {step} of {steps}, loss {loss.item():.3f}, {time.monotonic() - begin:.0f} s", flush=True)
    last = losses[-max(1, steps // 20):]
    return sum(last) / len(last)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, nargs="+", help="text files, documents parted by <|endoftext|>")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    files = options.data or own_text()
    tokenizer = tokenizer_of(files)
    end = tokenizer.convert_tokens_to_ids(END)
    ids = []
    for path in files:
        for document in path.read_text().split(END):
            if document.strip():
                ids += [end, *tokenizer(document.strip())["input_ids"]]
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=384, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=6,
                         num_key_value_heads=3, max_position_embeddings=2048, tie_word_embeddings=True, rms_norm_eps=1e-5,
                         bos_token_id=end, eos_token_id=end)
    model = LlamaForCausalLM(config)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(ids):,} tokens of {', '.join(p.name for p in files)}", flush=True)
    loss = train(model, torch.tensor(ids), options.steps)
    model.to(torch.bfloat16).save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)
    print(f"{options.out}: loss {loss:.3f} at the end")


if __name__ == "__main__":
    main()
