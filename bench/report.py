"""Runs the benchmarks and writes build/bench/report.json (make bench).

    python bench/report.py [--quick] [--parts kernels,linear,crossover,step,profile,tokenizers,scaling,memory] [--rounds 2]

step: our training step and the PyTorch baselines alternate, each in a process of its own, `--rounds` times; a ratio is
that of the fastest steps, a memory ratio that of the kernel's peak counters (VmHWM).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / "build" / "bench"
# For kept activations: SmolLM2-135M stays within 0.4 of the authors' memory.
WITHIN_MEMORY_LIMIT = 520_000_000
FULL_1B_BYTES = 20_500_000_000  # that full fine-tuning of a 1B model takes in float32, with AdamW
ENVIRONMENT = {**os.environ, "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "1000")}


def run_json(*command):
    print("+", *[Path(c).name if "/" in str(c) else c for c in command], file=sys.stderr, flush=True)
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, env=ENVIRONMENT, check=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def machine():
    names = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]
    return {"cpu": names[0] if names else platform.processor(), "threads": len(names),
            "flags": sorted({f for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")
                             for f in line.split() if f.startswith(("avx2", "avx512", "amx"))})}


def commit():
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def ours(*flags):
    return run_json(BENCH / "step_bench", *flags)


def baseline(*flags):
    return run_json(sys.executable, ROOT / "bench" / "baselines.py", *flags)


def best(results):
    return {"tokens_per_second": max(r["tokens_per_second"] for r in results),
            "peak_memory_bytes": min(r["peak_memory_bytes"] for r in results)}


def available_memory():
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def has_fast_bfloat16():
    return "avx512_bf16" in machine()["flags"] or "amx_bf16" in machine()["flags"]


def steps(geometry, batch, sequence, rounds, count, memory_budget):
    shape = ["--geometry", geometry, "--batch", batch, "--sequence", sequence, "--steps", count]
    variants = {
        "ours float32": lambda: ours(*shape, "--compute", "float32", "--memory-budget",
                                  WITHIN_MEMORY_LIMIT),
        "ours float32, activations kept": lambda: ours(*shape, "--compute", "float32", "--memory-budget",
                                                       memory_budget),
        "authors float32": lambda: baseline(*shape, "--kind", "authors"),
        "authors float32, whole recompute": lambda: baseline(*shape, "--kind", "authors", "--no-early-stop"),
        "lora float32": lambda: baseline(*shape, "--kind", "lora"),
    }
    if geometry == "smollm2-135m" or available_memory() > FULL_1B_BYTES:
        variants["full float32"] = lambda: baseline(*shape, "--kind", "full")
    if has_fast_bfloat16():
        variants["ours bfloat16"] = lambda: ours(*shape, "--compute", "bfloat16", "--memory-budget",
                                               WITHIN_MEMORY_LIMIT)
        variants["ours bfloat16, activations kept"] = lambda: ours(*shape, "--compute", "bfloat16",
                                                                   "--memory-budget", memory_budget)
        variants["authors bfloat16"] = lambda: baseline(*shape, "--kind", "authors", "--compute", "bfloat16")
        variants["lora bfloat16"] = lambda: baseline(*shape, "--kind", "lora", "--compute", "bfloat16")
    results = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            results[name].append(run())
    figures = {name: best(found) for name, found in results.items()}
    rows = []
    for mine in [name for name in figures if name.startswith("ours")]:
        for other in [name for name in figures if not name.startswith("ours")]:
            rows.append({"model": geometry, "batch": batch, "sequence": sequence, "ours": mine,
                         "ours_tokens_per_second": figures[mine]["tokens_per_second"],
                         "ours_peak_memory_bytes": figures[mine]["peak_memory_bytes"], "baseline": other,
                         "baseline_tokens_per_second": figures[other]["tokens_per_second"],
                         "baseline_peak_memory_bytes": figures[other]["peak_memory_bytes"],
                         "ratio": figures[mine]["tokens_per_second"] / figures[other]["tokens_per_second"],
                         "memory_ratio": figures[mine]["peak_memory_bytes"] / figures[other]["peak_memory_bytes"]})
            print("{ours:34} {ours_tokens_per_second:8.1f} tokens/s against {baseline:34}"
                  "{baseline_tokens_per_second:8.1f}: {ratio:5.2f} x, memory {memory_ratio:5.2f} x".format(**rows[-1]))
    return rows


def scaling():
    """Cost as the tokens, the rank and the layers grow, on SmolLM2-135M."""
    rows = []
    for name, values in {"--sequence": [128, 256, 512, 1024, 2048], "--rank": [1, 8, 32, 128, 256],
                         "--layers": [5, 10, 20, 30]}.items():
        for value in values:
            flags = {"--batch": 1, "--sequence": 1024, "--steps": 3, "--memory-budget": 0, name: value}
            found = ours(*[part for pair in flags.items() for part in pair])
            rows.append({"grows": name.strip("-"), "value": value, "seconds": min(found["step_seconds"]),
                         "peak_memory_bytes": found["peak_memory_bytes"]})
    return rows


def profiles():
    """Where the time of a step goes, in each compute type, on SmolLM2-135M."""
    types = ["float32"] + (["bfloat16"] if has_fast_bfloat16() else [])
    found = [ours("--geometry", "smollm2-135m", "--steps", 4, "--compute", compute, "--memory-budget",
                  WITHIN_MEMORY_LIMIT, "--profile", 1) for compute in types]
    for result in found:
        print(result["compute_dtype"], {part: round(seconds, 2) for part, seconds in result["profile"].items()})
    return found


def memory_7b():
    out = {}
    for phi in ["int4", "fixed_point8"]:
        out[phi] = ours("--geometry", "llama-7b", "--batch", 1, "--sequence", 1024, "--steps", 3, "--phi", phi,
                        "--rank", 32, "--memory-budget", 0)
        print(f"7B, {phi}: peak {out[phi]['peak_memory_bytes'] / 1e9:.2f} GB, losses {out[phi]['losses']}, "
              f"steps {out[phi]['step_seconds']}")
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--parts", default="kernels,linear,crossover,step,profile,tokenizers,scaling,memory")
    options = parser.parse_args()
    parts = options.parts.split(",")
    path = BENCH / "report.json"
    report = json.loads(path.read_text()) if path.exists() else {}
    report.update({"machine": machine(), "commit": commit()})

    def save(key, value):
        report[key] = value
        path.write_text(json.dumps(report, indent=1) + "\n")

    if "kernels" in parts:
        subprocess.run([BENCH / "kernels_bench", f"--benchmark_out={BENCH / 'kernels.json'}"], env=ENVIRONMENT,
                       check=True)
        save("kernels", json.loads((BENCH / "kernels.json").read_text())["benchmarks"])
    if "linear" in parts:
        quick = ["--quick"] if options.quick else []
        subprocess.run([BENCH / "linear_bench", "--out", BENCH / "linear.json", *quick], env=ENVIRONMENT, check=True)
        save("linear", json.loads((BENCH / "linear.json").read_text()))
    if "crossover" in parts:
        subprocess.run([BENCH / "linear_bench", "--crossover", "--out", BENCH / "crossover.json"], env=ENVIRONMENT,
                       check=True)
        save("crossover", json.loads((BENCH / "crossover.json").read_text()))
    if "profile" in parts:
        save("profile", profiles())
    if "step" in parts:
        rows = steps("smollm2-135m", 4, 512, options.rounds, 3, 3_000_000_000)
        save("step", rows)
        if not options.quick:
            save("step", rows + steps("llama-1b", 1, 512, 1, 2, 4_000_000_000))
    if "tokenizers" in parts:
        save("tokenizers", run_json(sys.executable, ROOT / "bench" / "tokenizer_bench.py"))
    if "scaling" in parts:
        save("scaling", scaling())
    if "memory" in parts and not options.quick:
        save("memory_7b", memory_7b())
    print(f"saved {path}")


if __name__ == "__main__":
    main()
