"""What others reach with the same model, text and threads, beside lrqat, as `make rivals` runs it.

Every row quantizes the model in a program of its own and is then measured by `lrqat compare` against the float model on texts that
nothing was calibrated or trained on. Rows are run one after the other, AutoRound and lrqat next to each other at every setting, so
that they meet the same machine. Leaves build/rivals/report.json, report.md, kl-time.png and kl-bits.png.

    python -m tools.rivals [--out build/rivals] [--rows "w4-*"] [--all] [--seeds 1] [--threads 2] [--small-model] [--list]
                           [--report] [--with docs/rivals/*.jsonl] [--document docs/results.md]

RIVALS_TEXTS=path:path names further texts to measure on, RIVALS_DATA another text to calibrate and train on. A row that is in
results.jsonl is never run again.
"""

import argparse
import dataclasses
import fnmatch
import json
import math
import os
import platform
import random
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tools.demo import ROOT, model_file
from tools.rivals import llama_cpp, report
from tools.rivals.methods import TABLES, Method, Setting, Size
from tools.study import append_result, print_rows, read_results, relative

PACKAGES = ROOT / ".venv" / "rivals"  # tools/setup.sh --rivals
TEXTS = ("data/novels.txt", "data/c4.txt")  # neither is calibrated or trained on
LENGTH = 512  # tokens of a sequence (lrqat's default) and of a window
WINDOWS = 32
EMBEDDING_BITS = 8.5  # Q8_0, as GGUF files of small models keep it; counted alike for all


@dataclasses.dataclass(frozen=True)
class Row:
    setting: Setting | Size
    method: Method
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.setting.name}-{self.method.name}" + (f"-seed{self.seed}" if self.seed else "")


def all_rows(seeds: int) -> list[Row]:
    rows = [(setting, method) for setting, methods in TABLES for method in methods]
    return [Row(*row, seed) for seed in range(seeds) for row in rows if seed == 0 or row[1].seeds]


class Rivals:
    """The model, the texts and what is made of them once."""

    def __init__(self, options):
        self.out, self.threads, self.lrqat = options.out, options.threads, options.lrqat
        self.model = options.model or (self.small_model() if options.small_model else model_file())
        self.data = Path(os.environ.get("RIVALS_DATA", ROOT / "data" / "mixture.txt")).resolve()
        named = [Path(text).resolve() for text in os.environ.get("RIVALS_TEXTS", "").split(":") if text]
        self.texts = {path.stem: path for path in [*(ROOT / text for text in TEXTS), *named]}
        self.shape = None

    def run(self, arguments: list, log: Path | None = None) -> tuple[dict, dict]:
        """The program's JSON document and its costs. log: what it says besides."""
        words = [str(argument) for argument in arguments]
        said = log.open("w") if log else None
        begin = time.monotonic()
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=said, text=True, cwd=ROOT,
                                   env=os.environ | {"PYTHONPATH": f"{PACKAGES}:{ROOT}"})
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"rivals: `{shlex.join(map(relative, words))}` ended with {process.returncode}; "
                     + (f"{log} says why; " if log else "") + "`make rivals` goes on from here")
        costs = {"seconds": round(time.monotonic() - begin, 1), "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
                 "peak_memory_bytes": usage.ru_maxrss * 1024}
        return json.loads(output[output.index("{\""):] if output[:1] != "{" else output), costs

    def program(self, *arguments) -> tuple[dict, dict]:
        return self.run([self.lrqat, *arguments, "--threads", self.threads, "--json"])

    def float_folder(self) -> Path:
        """The float model as a Hugging Face folder, which AutoRound reads."""
        folder = self.out / "float"
        if not folder.exists():
            self.program("export", "--model", self.model, "--format", "hf", "--dtype", "float32", "--out", folder)
        return folder

    def gguf_file(self) -> Path:
        """The model as a GGUF file, which llama.cpp's quantizer reads."""
        if self.model.suffix == ".gguf":
            return self.model
        file = self.out / "float.gguf"
        if not file.exists():
            self.program("export", "--model", self.model, "--format", "gguf", "--matrices", "f32", "--out", file)
        return file

    def small_model(self) -> Path:
        folder = self.out / "small-model"
        if not folder.exists():
            subprocess.run([sys.executable, ROOT / "tools" / "rivals" / "small_model.py", folder, "--threads", str(self.threads)], check=True)
        return folder

    def tokens(self, samples: int, seed: int) -> Path:
        """Calibration text for AutoRound: sequences of the same text, drawn at random, cut by lrqat's tokenizer."""
        path = self.out / f"tokens-{samples}-{seed}.json"
        if path.exists():
            return path
        lines = [json.dumps(document) for document in self.data.read_text().split("<|endoftext|>\n") if document.strip()]
        found = subprocess.run([self.lrqat, "tokenize", "--model", self.model, "--json"], input="\n".join(lines) + "\n",
                               capture_output=True, text=True, check=True).stdout
        ids = [token for line in found.splitlines() for token in ids_of(json.loads(line))]
        starts = random.Random(seed).sample(range(len(ids) // LENGTH), samples)
        path.write_text(json.dumps([ids[i * LENGTH:(i + 1) * LENGTH] for i in starts]))
        return path

    def linear_shapes(self) -> tuple[list[tuple[int, int]], int]:
        """(rows, columns) of the linears, and the bytes of everything else: matrices with 8.5 bits, vectors with 32."""
        if self.shape is None:
            shapes, rest = [], 0.0
            for name, shape in tensor_shapes(self.float_folder() / "model.safetensors").items():
                if len(shape) == 2 and ".layers." in name:
                    shapes.append(tuple(shape))
                elif len(shape) == 2:
                    rest += shape[0] * shape[1] * EMBEDDING_BITS / 8
                else:
                    rest += 4 * shape[0]
            self.shape = shapes, round(rest)
        return self.shape


def ids_of(document) -> list[int]:
    return document["ids"] if isinstance(document, dict) else document


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {name: tensor["shape"] for name, tensor in header.items() if name != "__metadata__"}


def size_of_grid(rivals: Rivals, setting: Setting) -> dict:
    """Of codes, float16 scales and zero points packed without gaps: what the grid itself needs, whoever fills it."""
    shapes, rest = rivals.linear_shapes()
    bits = weights = 0
    for rows, columns in shapes:
        scales = rows * columns // setting.group_size(columns)
        bits += rows * columns * setting.bits + scales * (16 + (0 if setting.symmetric else setting.bits))
        weights += rows * columns
    return {"bits_per_weight": round(bits / weights, 4), "bytes": round(bits / 8) + rest}


def size_of_linears(rivals: Rivals, found: dict) -> dict:
    """found: of the linears of a GGUF file; everything else counts as for the other methods."""
    return {"bits_per_weight": found["bits_per_weight"], "types": found["types"],
            "bytes": found["linear_bytes"] + rivals.linear_shapes()[1]}


def linears_of(rivals: Rivals, path: Path) -> dict:
    """By lrqat's own reader: gguf's does not know the newest types."""
    found, _ = rivals.program("inspect", path)
    return llama_cpp.size_of((tensor["name"], tensor["shape"], tensor["bytes"], tensor["dtype"]) for tensor in found["tensors"])


def run_autoround(rivals: Rivals, row: Row, folder: Path) -> tuple[Path, dict]:
    setting = row.setting
    iterations, samples = row.method.flags[1], int(row.method.flags[3])
    size = setting.group_size(-1)  # -1 is AutoRound's word for a channel
    words = [sys.executable, ROOT / "tools" / "rivals" / "autoround.py", rivals.float_folder(), rivals.tokens(samples, row.seed),
             folder / "model", "--bits", setting.bits, "--group-size", size, "--iterations", iterations, "--threads",
             rivals.threads, *([] if setting.symmetric else ["--asymmetric"]), *(["--seed", 42 + row.seed] if row.seed else [])]
    found, costs = rivals.run(words, rivals.out / f"{row.name}.log")
    costs |= {name: round(found[name], 1) for name in ("seconds", "processor_seconds")}  # without loading and saving
    return folder / "model", costs | size_of_grid(rivals, setting) | command(words)


def run_llama_cpp(rivals: Rivals, row: Row, folder: Path) -> tuple[Path, dict]:
    file, values = folder / "model.gguf", folder / "values.gguf"
    words = [sys.executable, "-m", "tools.rivals.llama_cpp", rivals.gguf_file(), row.setting.kind, file, values]
    found, costs = rivals.run(words)
    return values, costs | size_of_linears(rivals, found) | command(words)


def run_lrqat(rivals: Rivals, row: Row, folder: Path) -> tuple[Path, dict]:
    out = folder / "model"
    words = [row.method.program, "--model", rivals.model, "--data", rivals.data, *row.method.flags,
             *(["--seed", row.seed] if row.seed else [])]
    if isinstance(row.setting, Size):
        out = folder / "model.gguf"
        bits = llama_cpp.bits_of(row.setting.kind, rivals.linear_shapes()[0])
        words += ["--target-bpw", f"{math.floor(bits * 1e4) / 1e4:g}"]
    else:
        words += row.setting.flags()
    if row.method.program == "quantize":
        words += ["--format", "gguf" if out.suffix else "lrqat", "--no-measure"]
    else:
        words += ["--for", "compressed-tensors"]
    words += ["--out", out]
    _, costs = rivals.program(*words)
    size = size_of_linears(rivals, linears_of(rivals, out)) if isinstance(row.setting, Size) else size_of_grid(rivals, row.setting)
    return out, costs | size | command(["build/lrqat", *words, "--threads", rivals.threads])


# Each makes the row's model; gives what `lrqat compare` reads, and costs, size and command.
PROGRAMS = {"autoround": run_autoround, "llama.cpp": run_llama_cpp, "quantize": run_lrqat, "train": run_lrqat}


def command(words: list) -> dict:
    return {"command": shlex.join(relative(str(word)) for word in words)}


def measure(rivals: Rivals, model: Path) -> dict:
    figures = {"kl": {}, "perplexity": {}, "same_first_token": {}}
    for name, text in rivals.texts.items():
        found, _ = rivals.program("compare", rivals.model, model, "--data", text, "--context", LENGTH, "--max-windows", WINDOWS,
                                 "--compute-dtype", "auto")
        figures["kl"][name] = [found["kl"], found["kl_stderr"]]
        figures["perplexity"][name] = found["perplexity"]["b"]
        figures["same_first_token"][name] = found["top1_agreement"]
    return figures


def run_row(rivals: Rivals, row: Row) -> dict:
    folder = rivals.out / "rows" / row.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model, figures = PROGRAMS[row.method.program](rivals, row, folder)
    entry = {"row": row.name, "machine": machine(), "commit": commit(), "method": row.method.name, "label": row.method.label,
             "setting": row.setting.name, "seed": row.seed, "threads": rivals.threads, **figures, **measure(rivals, model)}
    shutil.rmtree(folder)
    return entry


def machine() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return f"{line.split(':', 1)[1].strip()}, {os.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def commit() -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def chosen_rows(options) -> list[Row]:
    """In the order of the patterns, for one pattern in that of the tables; the slow ones only where they are asked for."""
    rows = [row for row in all_rows(options.seeds) if row.method.usual or options.all or options.rows != "*"]
    found = [row for pattern in options.rows.split(",") for row in rows if fnmatch.fnmatch(row.name, pattern)]
    return list(dict.fromkeys(found))


def rows_of(results: Path, earlier: list[Path]) -> list[dict]:
    """Of this run and earlier ones, each row with its run's name."""
    runs = {path.stem: path for path in earlier} | {"this run": results}
    return [row | {"run": run} for run, path in runs.items() for row in read_results(path).values()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.rivals", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="default: build/rivals, with --small-model build/rivals-small")
    parser.add_argument("--rows", default="*", help="names of the rows to run, with * and ?, several with commas")
    parser.add_argument("--all", action="store_true", help="also the rows that take hours (AutoRound's default and best)")
    parser.add_argument("--seeds", type=int, default=int(os.environ.get("RIVALS_SEEDS", "1")), help="of the rows that carry the claim")
    parser.add_argument("--list", action="store_true", help="say which rows there are and which are done")
    parser.add_argument("--lrqat", type=Path, default=ROOT / "build" / "lrqat", help="the program to run")
    parser.add_argument("--model", type=Path, help="another model than the demo's: a GGUF file or a Hugging Face folder")
    parser.add_argument("--small-model", action="store_true", help="one trained here from scratch (small_model.py), a quarter of an hour")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--report", action="store_true", help="run nothing: the report of what is there")
    parser.add_argument("--with", type=Path, nargs="*", default=[], dest="earlier", metavar="RESULTS",
                        help="results.jsonl of earlier runs (docs/rivals) whose rows stand in tables and plots too")
    parser.add_argument("--document", type=Path, help="docs/results.md, to put the table into")
    options = parser.parse_args()
    options.out = (options.out or ROOT / "build" / ("rivals-small" if options.small_model else "rivals")).resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    results = options.out / "results.jsonl"
    rows = chosen_rows(options)
    if not rows:
        sys.exit(f"rivals: no row is called {options.rows}; --list names them")
    if options.list:
        return print_rows([row.name for row in rows], results)
    if options.report:
        rows = []
    rivals = Rivals(options)
    for index, row in enumerate(rows):
        if row.name in read_results(results):
            continue
        print(f"rivals: {row.name} ({index + 1} of {len(rows)})", file=sys.stderr, flush=True)
        append_result(results, run_row(rivals, row))
        report.write(rows_of(results, options.earlier), rivals, machine(), commit(), options.document)
    report.write(rows_of(results, options.earlier), rivals, machine(), commit(), options.document)
    print((options.out / "report.md").read_text())


if __name__ == "__main__":
    main()
