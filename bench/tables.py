"""The tables of docs/performance.md, as Markdown, from build/bench/report.json (bench/report.py makes it):

    python bench/tables.py [--report build/bench/report.json] [linear|step|profile|memory|scaling ...]
"""

import argparse
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GIGA = 1e9


def table(header, rows):
    return "\n".join(["| " + " | ".join(header) + " |", "|" + "---|" * len(header)] +
                     ["| " + " | ".join(row) + " |" for row in rows])


def linear(report):
    """Ratios to two matrix products, fixed_point8, 1024 tokens."""
    found = {}
    for row in report["linear"]:
        if row["tokens"] == 1024 and row["phi"] == "fixed_point8":
            key = (tuple(row["shape"]), row["granularity"], row["learned_scale"])
            found.setdefault(key, {})[row["compute_dtype"]] = f"{row['ratio_to_two_gemm']:.2f}"
    return table(["N × K", "scales", "float32", "bfloat16"],
                 [[f"{n} × {k}", f"{granularity.replace(':', ' ')}, {'learned' if learned else 'frozen'}",
                   ratios["float32"], ratios.get("bfloat16", "–")]
                  for ((n, k), granularity, learned), ratios in found.items()])


def step(report):
    """Tokens a second and peak memory of every variant, one table a model."""
    parts = []
    for model in dict.fromkeys(row["model"] for row in report["step"]):
        speeds = {}
        for row in report["step"]:
            if row["model"] == model:
                for side in ("ours", "baseline"):
                    speeds[row[side]] = (row[f"{side}_tokens_per_second"], row[f"{side}_peak_memory_bytes"])
        against = ["authors float32", "authors float32, whole recompute", "authors bfloat16", "lora float32"]
        against = [name for name in against if name in speeds]
        rows = []
        for name, (speed, memory) in speeds.items():
            ours = name.startswith("ours")
            rows.append([name, f"{speed:.1f}" if speed < 100 else f"{speed:.0f}", f"{memory / GIGA:.2f} GB"] +
                        [f"{speed / speeds[o][0]:.2f} ({memory / speeds[o][1]:.2f})" if ours else "" for o in against])
        parts.append(f"{model}, × the speed (and the memory) of\n\n" +
                     table(["", "tokens/s", "peak memory", *against], rows))
    return "\n\n".join(parts)


def product_flops(kept_blocks, kept_products):
    """Of a step on SmolLM2-135M, 4 × 512 tokens, rank 32, by the names of step_bench --profile."""
    hidden, inner, heads, kv, layers, vocabulary, tokens, rank = 576, 1536, 576, 192, 30, 49152, 2048, 32
    shapes = [(heads, hidden), (kv, hidden), (kv, hidden), (hidden, heads), (inner, hidden), (inner, hidden),
              (hidden, inner)]
    weights = layers * sum(n * k for n, k in shapes)
    again = (layers - kept_blocks) / layers  # share of the blocks that are recomputed
    attention = layers * 4 * 9 * 512 * 512 * 64  # a product, half of the square
    return {"linear: y": 2 * tokens * (weights * (1 + again) - kept_products * hidden * inner),
            "linear: dx": 2 * tokens * weights,
            "linear: dA, dB, ds": layers * sum(4 * tokens * rank * (n + k) for n, k in shapes),
            "head and loss": 2 * 2 * 4 * 511 * vocabulary * hidden,
            "attention": 2 * (1 + again) * attention,
            "attention, backward": 5 * attention}


NAMES = {"linear: y": "linears, y = x Ŵᵀ (forward and recompute)", "linear: dx": "linears, dx = dy Ŵ",
         "linear: dA, dB, ds": "linears, dA, dB, ds", "head and loss": "head and loss",
         "attention": "attention (forward and recompute)", "attention, backward": "attention, backward",
         "gate": "gated product", "norms": "norms", "rotary embedding": "rotary embedding", "optimizer": "optimiser",
         "other": "everything else"}


def profile(report):
    """Seconds of every part of a step beside what its flops take at the speed of block products alone."""
    runs = report["profile"]
    float32 = next(run["product_flops_per_second"] for run in runs if run["compute_dtype"] == "float32")
    flops = product_flops(runs[0]["kept_blocks"], runs[0]["kept_products"])

    def bound(run, part):  # attention multiplies in float32 in both
        return flops[part] / (float32 if part.startswith("attention") else run["product_flops_per_second"])

    rows = []
    for part, name in NAMES.items():
        row = [name, f"{flops[part] / GIGA:.0f}" if part in flops else "–"]
        for run in runs:
            row += [f"{run['profile'].get(part, 0):.2f}", f"{bound(run, part):.2f}" if part in flops else "–"]
        rows.append(row)
    total = ["**all**", f"{sum(flops.values()) / GIGA:.0f}"]
    for run in runs:
        total += [f"**{sum(run['profile'].values()):.2f}**", f"**{sum(bound(run, part) for part in flops):.2f}**"]
    header = ["part", "Gflop"] + [column for run in runs for column in (run["compute_dtype"], "bound")]
    speeds = ", ".join(f"{run['product_flops_per_second'] / GIGA:.0f} GFLOP/s in {run['compute_dtype']}" for run in runs)
    return table(header, [*rows, total]) + f"\n\nSpeed of block products: {speeds}."


def memory(report):
    return table(["φ", "peak memory", "a step", "loss over three steps"],
                 [[phi, f"{run['peak_memory_bytes'] / GIGA:.2f} GB", f"{min(run['step_seconds']):.0f} s",
                   ", ".join(f"{loss:.2f}" for loss in run["losses"])] for phi, run in report["memory_7b"].items()])


def scaling(report):
    rows = report["scaling"]
    return table(["grows", "value: seconds a step (peak memory)"],
                 [[name, "; ".join(f"{row['value']}: {row['seconds']:.2f} s ({row['peak_memory_bytes'] / GIGA:.2f} GB)"
                                   for row in rows if row["grows"] == name)]
                  for name in dict.fromkeys(row["grows"] for row in rows)])


TABLES = {"linear": linear, "step": step, "profile": profile, "memory": memory, "scaling": scaling}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", type=Path, default=ROOT / "build" / "bench" / "report.json")
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], default=[])
    options = parser.parse_args()
    report = json.loads(options.report.read_text())
    for name in options.tables or TABLES:
        print(f"## {name}\n\n{TABLES[name](report)}\n")


if __name__ == "__main__":
    main()
