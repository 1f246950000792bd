"""One training step of three PyTorch baselines on random weights of a real model's geometry, in float32 or bfloat16
products, timed as bench/step_bench.cpp times ours. One JSON object on stdout.

    python bench/baselines.py --kind authors|lora|full --geometry smollm2-135m|llama-1b --batch 4 --sequence 512
                              [--steps 3] [--compute float32|bfloat16] [--no-early-stop]

authors: LR-QAT in the structure of its authors' code, written anew: Ŵ = s·clip(round(Φ0 + γAB)) by autograd with a
         straight-through rounding, fixed_point8 Φ0, activation checkpointing a decoder block. --no-early-stop: the
         checkpoint recomputes whole blocks, as torch 1.13 did.
lora:    y = x Wᵀ + γ (x Bᵀ) Aᵀ on frozen float32 weights, no checkpointing.
full:    every matrix of the blocks trained in float32, no checkpointing.
"""

import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop
from transformers import LlamaConfig, LlamaForCausalLM

GEOMETRIES = {
    "smollm2-135m": dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
                         num_key_value_heads=3, vocab_size=49152, tie_word_embeddings=True),
    "llama-1b": dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
                     num_key_value_heads=8, vocab_size=128256, tie_word_embeddings=True),
}
RANK = 32


class Round(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        return x.round()

    @staticmethod
    def backward(context, grad):
        return grad


class LrQatLinear(torch.nn.Module):
    def __init__(self, weight, compute):
        super().__init__()
        scale = weight.abs().amax(1, keepdim=True) / 7
        self.phi_0 = torch.nn.Buffer((16 * (weight / scale).clamp(-8, 7)).round().to(torch.int8))
        self.scale = torch.nn.Parameter(scale)
        self.a = torch.nn.Parameter(torch.zeros(weight.shape[0], RANK))
        self.b = torch.nn.Parameter(torch.empty(RANK, weight.shape[1]).uniform_(-1, 1) / weight.shape[1] ** 0.5)
        self.compute = compute

    def forward(self, x):
        z = self.phi_0.to(torch.float32) / 16 + self.a @ self.b
        weight = self.scale * Round.apply(z).clamp(-8, 7)
        return F.linear(x.to(self.compute), weight.to(self.compute)).to(torch.float32)


class LoraLinear(torch.nn.Module):
    def __init__(self, weight, compute):
        super().__init__()
        self.weight = torch.nn.Buffer(weight.to(compute))
        self.a = torch.nn.Parameter(torch.zeros(weight.shape[0], RANK))
        self.b = torch.nn.Parameter(torch.empty(RANK, weight.shape[1]).uniform_(-1, 1) / weight.shape[1] ** 0.5)
        self.compute = compute

    def forward(self, x):
        x = x.to(self.compute)
        low_rank = F.linear(F.linear(x, self.b.to(self.compute)), self.a.to(self.compute))
        return (F.linear(x, self.weight) + low_rank).to(torch.float32)


class FullLinear(torch.nn.Module):
    def __init__(self, weight, compute):
        super().__init__()
        self.weight = torch.nn.Parameter(weight)
        self.compute = compute

    def forward(self, x):
        return F.linear(x.to(self.compute), self.weight.to(self.compute)).to(torch.float32)


KINDS = {"authors": LrQatLinear, "lora": LoraLinear, "full": FullLinear}


class CheckpointedLayer(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)

    def forward(self, hidden, **arguments):
        return checkpoint(lambda h: self.layer(h, **arguments), hidden, use_reentrant=False)


def build(options):
    torch.manual_seed(0)
    config = LlamaConfig(**GEOMETRIES[options.geometry], attn_implementation="sdpa", use_cache=False)
    model = LlamaForCausalLM(config).to(torch.float32)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    compute = getattr(torch, options.compute)
    for layer in model.model.layers:
        for block in (layer.self_attn, layer.mlp):
            for name, linear in list(block.named_children()):
                if isinstance(linear, torch.nn.Linear):
                    setattr(block, name, KINDS[options.kind](linear.weight.detach().clone(), compute))
    if options.kind == "authors":
        model.model.layers = torch.nn.ModuleList(CheckpointedLayer(layer) for layer in model.model.layers)
    return model


def peak_bytes():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--geometry", choices=GEOMETRIES, default="smollm2-135m")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--sequence", type=int, default=512)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--compute", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--no-early-stop", action="store_true")
    options = parser.parse_args()
    model = build(options)
    model.train()
    trainables = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainables, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    tokens = torch.randint(model.config.vocab_size, (options.batch, options.sequence))
    seconds, losses = [], []
    with set_checkpoint_early_stop(not options.no_early_stop):
        for _ in range(options.steps):
            begin = time.perf_counter()
            optimizer.zero_grad()
            loss = model(input_ids=tokens, labels=tokens).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trainables, 1.0)
            optimizer.step()
            seconds.append(time.perf_counter() - begin)
            losses.append(loss.item())
    print(json.dumps({"kind": options.kind, "geometry": options.geometry, "compute_dtype": options.compute,
                      "early_stop": not options.no_early_stop, "step_seconds": seconds, "losses": losses,
                      "tokens_per_second": options.batch * options.sequence / min(seconds),
                      "peak_memory_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
