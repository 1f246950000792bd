"""The study of docs/results.md: every method on SmolLM2-135M, the same data and tokens for each, as `make study` runs it.

A row is one method at one setting (bits, granularity). Each is trained by build/lrqat on the first eight tenths of
data/encyclopedia.txt, distilled from the float model, converted to integers and compared with the float model on the last
tenth (the training kind of text) and on data/novels.txt (another source). Its figures become one line of results.jsonl.

    python -m tools.study [--out build/study] [--rows "w4-channel-*"] [--list] [--report build/study/report]

A row that is in results.jsonl is never run again; one that was interrupted starts again. --report writes the tables and
plots of what there is (tools/study_report.py).
"""

import argparse
import dataclasses
import fnmatch
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tools import study_report
from tools.demo import ROOT, model_file

RECIPE = ["--config", "recipes/study.toml"]
DOCUMENT_END = "<|endoftext|>\n"
WINDOWS = 6  # of 512 tokens, spread over the text
STRIDES = {"held_out": 7, "novels": 9}
NOISE_ROW = "w4-channel-lr-qat-fixed_point8"  # run with three seeds: what differences between rows are worth
SETTINGS = [(bits, granularity) for granularity in ("channel", "group:64") for bits in (4, 3, 2)]


@dataclasses.dataclass(frozen=True)
class Method:
    """`flags` stand behind the recipe's; `two_bits` too where the grid is asymmetric."""

    name: str
    label: str
    flags: str
    two_bits: str = ""
    convert: str = ""
    steps: int = 40  # of 2 × 512 tokens


# Learning rates: docs/results.md, "Learning rates". lora-alpha = rank as in recipes/study.toml.
METHODS = [
    Method("rtn", "rounding to nearest", "--method rtn", steps=0),
    Method("gptq", "GPTQ", "--method rtn --init gptq", steps=0),
    Method("lr-qat-fixed_point8", "LR-QAT, fixed_point8", ""),
    Method("lsq", "LSQ, full model", "--method lsq --lr 5e-4 --scale-lr 1e-4 --weight-decay 0"),
    Method("l4q", "L4Q", "--method l4q --lr 2e-3 --scale-lr 1e-4 --weight-decay 0", "--learn-offset true"),
    Method("peqa", "PEQA", "--method peqa --scale-domain log --scale-lr 3e-3"),
    Method("lr-qat-gptq", "LR-QAT, fixed_point8, from GPTQ", "--init gptq"),
    Method("l4q-gptq", "L4Q, from GPTQ", "--method l4q --lr 2e-3 --scale-lr 1e-4 --weight-decay 0 --init gptq",
           "--learn-offset true"),
    Method("lsq-gptq", "LSQ, full model, from GPTQ",
           "--method lsq --lr 5e-4 --scale-lr 1e-4 --weight-decay 0 --init gptq"),
    Method("qlora", "QLoRA, merged by rounding", "--method qlora --lr 5e-4", convert="--round-adapters"),
    Method("lr-qat-int4", "LR-QAT, int4, start by decomposition", "--phi int4 --init svd"),
    Method("lr-qat-bfloat16", "LR-QAT, bfloat16", "--phi bfloat16"),
]


@dataclasses.dataclass(frozen=True)
class Row:
    bits: int
    granularity: str
    method: Method
    seed: int = 0

    @property
    def name(self) -> str:
        seed = f"-seed{self.seed}" if self.seed else ""
        return f"w{self.bits}-{self.granularity.replace('group:', 'g')}-{self.method.name}{seed}"

    def flags(self) -> list[str]:
        """The papers' two-bit rows have asymmetric grids."""
        two_bits = ["--symmetric", "false", *shlex.split(self.method.two_bits)] if self.bits == 2 else []
        return ["--steps", str(self.method.steps), "--bits", str(self.bits), "--granularity", self.granularity,
                *shlex.split(self.method.flags), *two_bits, "--seed", str(self.seed)]


def all_rows(steps: int | None = None) -> list[Row]:
    methods = [dataclasses.replace(m, steps=steps if steps and m.steps else m.steps) for m in METHODS]
    rows = [Row(bits, granularity, method) for bits, granularity in SETTINGS for method in methods]
    noise = next(row for row in rows if row.name == NOISE_ROW)
    return rows + [dataclasses.replace(noise, seed=seed) for seed in (1, 2)]


def split_text(out: Path) -> dict[str, Path]:
    """Eight tenths of the articles to train on, one to choose learning rates by, one to measure on."""
    text = (ROOT / "data" / "encyclopedia.txt").read_text()
    cuts = [text.rfind(DOCUMENT_END, 0, int(len(text) * share)) + len(DOCUMENT_END) for share in (0.8, 0.9)]
    parts = {"train": text[:cuts[0]], "development": text[cuts[0]:cuts[1]], "held_out": text[cuts[1]:]}
    for name, part in parts.items():
        (out / f"{name}.txt").write_text(part)
    return {name: out / f"{name}.txt" for name in parts} | {"novels": ROOT / "data" / "novels.txt"}


class Program:
    """build/lrqat; its costs and commands are kept for the row."""

    def __init__(self, path: Path, threads: int):
        self.path, self.threads = path, threads
        self.commands, self.costs = [], {}

    def __call__(self, step: str, *arguments) -> dict:
        words = [*map(str, arguments), "--threads", str(self.threads), "--json"]
        self.commands.append(shlex.join(["build/lrqat", *map(relative, words)]))
        begin = time.monotonic()
        process = subprocess.Popen([str(self.path), *words], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"study: `{self.commands[-1]}` ended with {process.returncode}; `make study` goes on from here")
        self.costs[step] = {"seconds": round(time.monotonic() - begin, 1), "peak_memory_bytes": usage.ru_maxrss * 1024,
                            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1)}
        return json.loads(output)


def relative(word: str) -> str:
    path = Path(word)
    return str(path.relative_to(ROOT)) if path.is_absolute() and path.is_relative_to(ROOT) else word


def run_row(row: Row, model: Path, texts: dict[str, Path], folder: Path, program: Program) -> dict:
    """Trains, converts and measures; the row's figures. Leaves the converted model in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    trained = program("train", "train", *RECIPE, *row.flags(), "--model", model, "--data", texts["train"],
                      "--out", folder / "run")
    program("convert", "convert", "--run", folder / "run", "--out", folder / "converted",
            *shlex.split(row.method.convert))
    shutil.rmtree(folder / "run")  # optimizer states: 1.5 GB for LSQ
    figures = {}
    for text, stride in STRIDES.items():
        found = program(f"measure {text}", "compare", model, folder / "converted", "--data", texts[text], "--context", 512,
                        "--stride-windows", stride, "--max-windows", WINDOWS)
        figures[text] = {name: found[name] for name in ("tokens", "kl", "kl_stderr", "top1_agreement", "perplexity",
                                                         "log_perplexity_ratio", "log_perplexity_ratio_stderr")}
    return {"row": row.name, "bits": row.bits, "granularity": row.granularity, "method": row.method.name,
            "label": row.method.label, "seed": row.seed, "steps": trained["steps"], "tokens": trained["tokens"],
            "loss": trained["loss"], "train_seconds": trained["seconds"],
            "train_peak_memory_bytes": trained["peak_memory_bytes"], "texts": figures, "costs": program.costs,
            "threads": program.threads, "commands": program.commands}


def read_results(path: Path) -> dict[str, dict]:
    """By row; a last line that was cut off is left out."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[entry["row"]] = entry
    return found


def print_rows(names: list[str], results: Path) -> None:
    done = read_results(results)
    print("\n".join(f"{'done   ' if name in done else 'missing'} {name}" for name in names))


def append_result(path: Path, entry: dict) -> None:
    with path.open("a+b") as file:
        if file.tell() > 0:  # a line that was cut off must not swallow this one
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write((json.dumps(entry) + "\n").encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "study")
    parser.add_argument("--rows", default="*", help="names of the rows to run, with * and ?")
    parser.add_argument("--list", action="store_true", help="say which rows there are and which are done")
    parser.add_argument("--lrqat", type=Path, default=ROOT / "build" / "lrqat", help="the program to run")
    parser.add_argument("--model", type=Path, help="another model than the demo's")
    parser.add_argument("--steps", type=int, help="training steps, for a quick look (default: the study's)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--report", type=Path, help="folder for tables and plots")
    parser.add_argument("--document", type=Path, help="docs/results.md, to put the tables into")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    results = out / "results.jsonl"
    rows = all_rows(options.steps)
    chosen = [row for row in rows if fnmatch.fnmatch(row.name, options.rows)]
    if not chosen:
        sys.exit(f"study: no row is called {options.rows}; --list names them")
    if options.list:
        return print_rows([row.name for row in chosen], results)
    model, texts = options.model or model_file(), split_text(out)
    for index, row in enumerate(chosen):
        if row.name in read_results(results):
            continue
        print(f"study: {row.name} ({index + 1} of {len(chosen)})", file=sys.stderr, flush=True)
        append_result(results, run_row(row, model, texts, out / "rows" / row.name,
                                       Program(options.lrqat.resolve(), options.threads)))
    if options.report:
        study_report.write(list(read_results(results).values()), [row.name for row in rows], options.report,
                           options.document)


if __name__ == "__main__":
    main()
