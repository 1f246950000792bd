"""Draws build/bench/report.json (bench/report.py) as docs/performance-{linear,step,scaling,crossover}.png.

    tools/setup.sh --study && .venv/bin/python bench/plots.py [--report FILE] [--folder docs]
"""

import argparse
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def new_figure(width, height):
    import matplotlib  # tools/setup.sh --study
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    return plt.subplots(figsize=(width, height), layout="constrained")


def save(figure, path):
    figure.savefig(path, dpi=120, metadata={"Software": None})
    print(f"wrote {path}")


def linear(rows, path):
    """Forward and backward of one linear over its two matrix products, at 1024 tokens with fixed_point8."""
    rows = [r for r in rows if r["tokens"] == 1024 and r["phi"] == "fixed_point8"]
    kinds = [("channel", True), ("group:128", False), ("group:128", True)]
    figure, axes = new_figure(7.5, 3.2)
    groups = sorted({(tuple(r["shape"]), r["compute_dtype"]) for r in rows}, key=lambda g: (g[1] != "float32", g[0]))
    for index, (granularity, learned) in enumerate(kinds):
        values = [next((r["ratio_to_two_gemm"] for r in rows if (tuple(r["shape"]), r["compute_dtype"]) == group
                        and (r["granularity"], r["learned_scale"]) == (granularity, learned)), 0) for group in groups]
        places = [i + 0.27 * (index - 1) for i in range(len(groups))]
        axes.bar(places, values, 0.25, label=f"{granularity}, scales {'learned' if learned else 'frozen'}")
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(groups)), [f"{n}×{k}\n{compute}" for (n, k), compute in groups])
    axes.set_ylabel("time / two matrix products")
    axes.legend(frameon=False)
    save(figure, path)


def step(rows, path):
    """Tokens a second against peak memory of a training step on SmolLM2-135M."""
    figure, axes = new_figure(6.5, 3.6)
    points = {}
    for row in rows:
        if row["model"] == "smollm2-135m":
            for side in ("ours", "baseline"):
                points[row[side]] = (row[f"{side}_peak_memory_bytes"] / 1e9, row[f"{side}_tokens_per_second"])
    for name, (memory, speed) in sorted(points.items()):
        axes.plot(memory, speed, "o" if name.startswith("ours") else "s", color="C0" if name.startswith("ours") else "C1")
        axes.annotate(name, (memory, speed), xytext=(5, 3), textcoords="offset points", fontsize=7.5)
    axes.set_xlim(0, max(m for m, _ in points.values()) * 1.35)
    axes.set_ylim(0, max(s for _, s in points.values()) * 1.12)
    axes.set_xlabel("peak memory, GB")
    axes.set_ylabel("tokens / s")
    save(figure, path)


def scaling(rows, path):
    """Seconds a step as one quantity grows, everything else fixed."""
    figure, axes = new_figure(6.5, 3.2)
    for name in dict.fromkeys(r["grows"] for r in rows):
        chosen = [r for r in rows if r["grows"] == name]
        axes.plot([r["value"] for r in chosen], [r["seconds"] for r in chosen], "o-", label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlabel("value of what grows (sequence: tokens)")
    axes.set_ylabel("seconds a step")
    axes.legend(frameon=False)
    save(figure, path)


def crossover(rows, path):
    """The backward pass with and without dL/dŴ as more weights are clipped."""
    figure, axes = new_figure(6.5, 3.2)
    cases = dict.fromkeys((tuple(r["shape"]), r["compute_dtype"]) for r in rows)
    for index, (shape, compute) in enumerate(cases):
        chosen = [r for r in rows if (tuple(r["shape"]), r["compute_dtype"]) == (shape, compute)]
        axes.plot([100 * r["clipped_share"] for r in chosen],
                  [r["low_rank_milliseconds"] / r["blocks_milliseconds"] for r in chosen], "o-", color=f"C{index}",
                  label=f"{shape[0]}×{shape[1]} {compute}")
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("clipped weights, %")
    axes.set_ylabel("time without dL/dŴ / with")
    axes.legend(frameon=False)
    save(figure, path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--report", type=Path, default=ROOT / "build" / "bench" / "report.json")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs")
    options = parser.parse_args()
    report = json.loads(options.report.read_text())
    for name, draw in {"linear": linear, "step": step, "scaling": scaling, "crossover": crossover}.items():
        if name in report:
            draw(report[name], options.folder / f"performance-{name}.png")


if __name__ == "__main__":
    main()
