"""Tables and plots of `make rivals`: report.json for programs, report.md for people, kl-time.png and kl-bits.png."""

import json
import math
import statistics
import sys
from pathlib import Path

from tools.rivals.methods import RIVAL, TABLES
from tools.study_report import markdown

BEGIN, END = "<!-- table of tools/rivals -->\n", "<!-- end of the table of tools/rivals -->\n"
COLUMNS = ("machine", "commit", "seconds", "processor_seconds", "peak_memory_bytes", "bits_per_weight", "bytes", "kl", "perplexity",
           "same_first_token", "command")


def report(rows: list[dict], machine: str, commit: str) -> dict:
    return {"machine": machine, "commit": commit,
            "rows": [{"method": row["method"], "setting": row["setting"], "seed": row["seed"], "threads": row["threads"]}
                     | {name: row[name] for name in COLUMNS if name in row} for row in rows]}


def ordered(rows: list[dict]) -> list[dict]:
    places = [(setting.name, method.name) for setting, methods in TABLES for method in methods]
    return sorted(rows, key=lambda row: (places.index((row["setting"], row["method"])), row["seed"]))


def with_error(values: list[float], digits: int) -> str:
    """Over seeds and runs: the mean and its standard error."""
    error = f" ± {statistics.stdev(values) / math.sqrt(len(values)):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{error}"


def rival_of(row: dict, rows: list[dict]) -> dict | None:
    """AutoRound's row that this one stands beside: of the same run and setting, and of the same seed where the run has that."""
    name = RIVAL.get(row["method"], "autoround")
    beside = [other for other in rows if (other["method"], other["setting"], other["run"]) == (name, row["setting"], row["run"])]
    found = next((other for other in beside if other["seed"] == row["seed"]), beside[0] if beside else None)
    return None if found is row else found


def kl_cell(of: list[dict], text: str) -> str:
    means = [row["kl"][text] for row in of if text in row["kl"]]
    if len(means) == 1:  # the error is that of the windows
        return f"{means[0][0]:.4f} ± {means[0][1]:.4f}"
    return with_error([mean for mean, _ in means], 4) if means else "–"


def line(of: list[dict], rows: list[dict], texts: list[str]) -> tuple[str, ...]:
    """A method at a setting, over its seeds and runs."""
    first = of[0]
    mean = {name: statistics.mean(row[name] for row in of) for name in ("seconds", "processor_seconds", "peak_memory_bytes")}
    pairs = [(row, rival) for row in of if (rival := rival_of(row, rows))]
    label = first["label"] + (f", {len(of)} runs" if len(of) > 1 else "")
    if "types" in first:
        label += " (" + ", ".join(f"{count} × {kind}" for kind, count in first["types"].items()) + ")"
    figures = []
    for text in texts:
        ratios = [row["kl"][text][0] / rival["kl"][text][0] for row, rival in pairs if text in row["kl"] and text in rival["kl"]]
        perplexities = [row["perplexity"][text] for row in of if text in row["perplexity"]]
        figures += [kl_cell(of, text), with_error(ratios, 2) if ratios else "–",
                    f"{statistics.mean(perplexities):.2f}" if perplexities else "–"]
    times = [row["seconds"] / rival["seconds"] for row, rival in pairs]
    return (label, *figures, f"{mean['seconds']:.0f}", with_error(times, 2) if times else "–", f"{mean['processor_seconds']:.0f}",
            f"{mean['peak_memory_bytes'] / 2**20:.0f} MiB", f"{first['bits_per_weight']:.2f}", f"{first['bytes'] / 2**20:.0f} MiB")


def tables(rows: list[dict], texts: list[str]) -> str:
    header = ("method", *(what for text in texts for what in (f"KL, {text}", "× AutoRound's", f"perplexity, {text}")), "seconds",
              "× AutoRound's", "processor s", "peak memory", "bits a weight", "size")
    parts = []
    for setting, methods in TABLES:
        of = [[row for row in rows if (row["setting"], row["method"]) == (setting.name, method.name)] for method in methods]
        lines = [line(group, rows, texts) for group in of if group]
        if lines:
            told = [i for i in range(len(header)) if any(cells[i] != "–" for cells in lines)]  # no AutoRound: no ratios
            parts.append(f"### {setting.title}\n\n" + markdown([tuple(cells[i] for i in told) for cells in lines],
                                                              tuple(header[i] for i in told)))
    return "\n".join(parts)


def head(rows: list[dict], rivals) -> str:
    """What the rows have in common, and each run's machine and commits."""
    lines = [f"Model {Path(rivals.model).stem}, calibrated and trained on {rivals.data.name}; windows of 512 tokens, matrix products in the "
             "machine's fast type. Each × is by AutoRound's row of the same run, machine and seed.\n"]
    for run in dict.fromkeys(row["run"] for row in rows):
        of = [row for row in rows if row["run"] == run]
        threads, machines, commits = (" and ".join(dict.fromkeys(str(row[name]) for row in of)) for name in ("threads", "machine", "commit"))
        lines.append(f"- {run}: {len(of)} rows, {threads} threads, {machines}, commit {commits}")
    return "\n".join(lines) + "\n\n"


def draw(rows: list[dict], text: str, value: str, label: str, path: Path) -> None:
    """KL against `value`, one mark a method, one colour a setting."""
    try:
        import matplotlib
    except ImportError:
        print("rivals: no matplotlib (tools/setup.sh --study installs it), so no plots", file=sys.stderr)
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import matplotlib.ticker

    figure, axis = plt.subplots(figsize=(9, 7), layout="constrained")
    marks = "osD^v<>Pp*hXd1234"
    methods = list(dict.fromkeys(row["label"] for row in rows))
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    for row in rows:
        axis.plot(row[value], row["kl"][text][0], marks[methods.index(row["label"]) % len(marks)], ms=8,
                  color=plt.cm.tab10(settings.index(row["setting"])))
    for index, method in enumerate(methods):
        axis.plot([], [], marks[index % len(marks)], color="grey", label=method)
    for index, setting in enumerate(settings):
        axis.plot([], [], "-", color=plt.cm.tab10(index), lw=4, label=setting)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    if value == "seconds":
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(matplotlib.ticker.LogLocator(subs=(2, 5)))
        axis.xaxis.set_minor_formatter("{x:g}")
    axis.set_xlabel(label)
    axis.set_ylabel(f"KL to float on {text}, nats a token")
    axis.grid(which="both", alpha=0.3)
    figure.legend(fontsize="x-small", ncols=3, loc="outside lower center")
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def write(rows: list[dict], rivals, machine: str, commit: str, document: Path | None) -> None:
    """rows: with "run", the name of the run that made them."""
    rows, texts = ordered(rows), list(rivals.texts)
    (rivals.out / "report.json").write_text(json.dumps(report(rows, machine, commit), indent=2) + "\n")
    found = head(rows, rivals) + tables(rows, texts)
    (rivals.out / "report.md").write_text("# lrqat beside its rivals\n\n" + found)
    if rows:
        draw([row for row in rows if row["seconds"] > 0], texts[0], "seconds", "seconds", rivals.out / "kl-time.png")
        draw(rows, texts[0], "bits_per_weight", "bits a weight", rivals.out / "kl-bits.png")
    if document:
        text = document.read_text()
        before, rest = text.split(BEGIN)
        document.write_text(before + BEGIN + "\n" + found + "\n" + END + rest.split(END)[1])
