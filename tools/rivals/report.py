"""Tables and plots of `make rivals`: report.json for programs, report.md for people, kl-time.png and kl-bits.png."""

import json
import sys
from pathlib import Path

from tools.rivals.methods import TABLES
from tools.study_report import markdown

BEGIN, END = "<!-- table of tools/rivals -->\n", "<!-- end of the table of tools/rivals -->\n"
COLUMNS = ("seconds", "processor_seconds", "peak_memory_bytes", "bits_per_weight", "bytes", "kl", "perplexity", "same_first_token",
           "command")


def report(rows: list[dict], machine: str, commit: str) -> dict:
    return {"machine": machine, "commit": commit,
            "rows": [{"method": row["method"], "setting": row["setting"], "seed": row["seed"], "threads": row["threads"]}
                     | {name: row[name] for name in COLUMNS} for row in rows]}


def ordered(rows: list[dict]) -> list[dict]:
    places = [(setting.name, method.name) for setting, methods in TABLES for method in methods]
    return sorted(rows, key=lambda row: (places.index((row["setting"], row["method"])), row["seed"]))


def cells(row: dict, texts: list[str]) -> tuple[str, ...]:
    seed = f", seed {row['seed']}" if row["seed"] else ""
    note = " (" + ", ".join(f"{count} × {kind}" for kind, count in row["types"].items()) + ")" if "types" in row else ""
    figures = []
    for text in texts:
        if text in row["kl"]:
            mean, error = row["kl"][text]
            figures += [f"{mean:.4f} ± {error:.4f}", f"{row['perplexity'][text]:.2f}"]
        else:
            figures += ["–", "–"]
    return (row["label"] + seed + note, *figures, f"{row['seconds']:.0f}", f"{row['processor_seconds']:.0f}",
            f"{row['peak_memory_bytes'] / 2**20:.0f} MiB", f"{row['bits_per_weight']:.2f}", f"{row['bytes'] / 2**20:.0f} MiB")


def tables(rows: list[dict], texts: list[str]) -> str:
    header = ("method", *(f"{what} {text}" for text in texts for what in ("KL,", "perplexity,")), "seconds", "processor s",
              "peak memory", "bits a weight", "size")
    parts = []
    for setting, _ in TABLES:
        of = [cells(row, texts) for row in rows if row["setting"] == setting.name]
        if of:
            parts.append(f"### {setting.title}\n\n" + markdown(of, header))
    return "\n".join(parts)


def draw(rows: list[dict], text: str, value: str, label: str, path: Path) -> None:
    """KL against `value`, one mark a method, one colour a setting."""
    try:
        import matplotlib
    except ImportError:
        print("rivals: no matplotlib (tools/setup.sh --study installs it), so no plots", file=sys.stderr)
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(9, 6), layout="constrained")
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
        axis.xaxis.set_minor_formatter("{x:g}")
    axis.set_xlabel(label)
    axis.set_ylabel(f"KL to float on {text}, nats a token")
    axis.grid(which="both", alpha=0.3)
    axis.legend(fontsize="x-small", ncols=2)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def write(rows: list[dict], rivals, machine: str, commit: str, document: Path | None) -> None:
    rows, texts = ordered(rows), list(rivals.texts)
    (rivals.out / "report.json").write_text(json.dumps(report(rows, machine, commit), indent=2) + "\n")
    found = tables(rows, texts)
    head = (f"Model {Path(rivals.model).stem}, calibrated and trained on {rivals.data.name}, {rivals.threads} threads; windows of 512 "
            f"tokens, matrix products in the machine's fast type. {machine}, commit {commit}, `make rivals`.\n\n")
    (rivals.out / "report.md").write_text("# lrqat beside its rivals\n\n" + head + found)
    if rows:
        draw([row for row in rows if row["seconds"] > 0], texts[0], "seconds", "seconds", rivals.out / "kl-time.png")
        draw(rows, texts[0], "bits_per_weight", "bits a weight", rivals.out / "kl-bits.png")
    if document:
        text = document.read_text()
        before, rest = text.split(BEGIN)
        document.write_text(before + BEGIN + "\n" + head + found + "\n" + END + rest.split(END)[1])
