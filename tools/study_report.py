"""Tables and plots of the study's results (tools/study.py --report DIR [--document docs/results.md]).

Writes into DIR: results.jsonl (the figures), commands.md (how each row was made), kl.png and memory.png. The tables go into
DIR/tables.md or, with --document, between the two marks below; everything else in the document is written by people.
"""

import json
from pathlib import Path

BEGIN, END = "<!-- tables of tools/study_report.py -->\n", "<!-- end of the tables -->\n"
QUIET = 0.8  # where a row had less of its threads' time than this, the machine was busy and wall time says nothing
HEADER = ("method", "KL, held-out", "perplexity, held-out", "KL, novels", "perplexity, novels", "training s",
          "processor s", "peak memory")


def settings_of(rows: list[dict]) -> list[tuple[int, str]]:
    return list(dict.fromkeys((row["bits"], row["granularity"]) for row in rows))


def title(bits: int, granularity: str) -> str:
    scales = "one scale a channel" if granularity == "channel" else f"one scale for {granularity.split(':')[1]} weights"
    return f"{bits} bits, {scales}" + (", with zero points" if bits == 2 else "")


def number(value: float) -> str:
    return f"{value:.2f}" if value < 1000 else f"{value:.3g}".replace("e+0", "e")


def cells(row: dict) -> tuple[str, ...]:
    cost, texts = row["costs"]["train"], row["texts"]
    quiet = cost["cpu_seconds"] > QUIET * row["threads"] * cost["seconds"]
    figures = []
    for text in ("held_out", "novels"):
        figures += [f"{texts[text]['kl']:.4f} ± {texts[text]['kl_stderr']:.4f}", number(texts[text]["perplexity"]["b"])]
    label = row["label"] + (f" ({row['note']})" if "note" in row else "")  # what was otherwise when the row was made
    return (label, *figures, f"{row['train_seconds']:.0f}" if row["steps"] > 0 and quiet else "–",
            f"{cost['cpu_seconds']:.0f}", f"{row['train_peak_memory_bytes'] / 2**20:.0f} MiB")


def markdown(rows: list[tuple[str, ...]], header: tuple[str, ...]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (header, *rows)]
    lines.insert(1, "|" + "---|" * len(header))
    return "\n".join(lines) + "\n"


def tables(rows: list[dict], all_names: list[str]) -> str:
    out = []
    for bits, granularity in settings_of(rows):
        of = [row for row in rows if (row["bits"], row["granularity"]) == (bits, granularity) and row["seed"] == 0]
        out.append(f"### {title(bits, granularity)}\n\n{markdown([cells(row) for row in of], HEADER)}")
    seeds = [row for row in rows if any(row["method"] == other["method"] and other["seed"] for other in rows)]
    seeds = [row for row in seeds if (row["bits"], row["granularity"]) == (4, "channel")]
    if len(seeds) > 1:
        out.append("### The same row with other seeds\n\n" + markdown(
            [(f"{row['label']}, seed {row['seed']}", *cells(row)[1:5]) for row in seeds], HEADER[:5]))
    missing = [name for name in all_names if name not in {row["row"] for row in rows}]
    if missing:
        out.append(f"### Rows that were not run yet: {len(missing)} of {len(all_names)}\n\n{listed(missing)}")
    return "\n".join(out)


def listed(names: list[str]) -> str:
    """A line a setting."""
    settings = {}
    for name in names:
        bits, granularity, method = name.split("-", 2)
        settings.setdefault(f"{bits}-{granularity}", []).append(f"`{method}`")
    return "".join(f"- `{setting}-`: {', '.join(methods)}\n" for setting, methods in settings.items())


def commands(rows: list[dict]) -> str:
    parts = ["# How each row of the study was made\n\nWritten by tools/study_report.py. `make study` runs all of them, "
             "`make study STUDY_ARGS=\"--rows NAME\"` one.\n"]
    parts += [f"## {row['row']}\n\n" + "".join(f"    {command}\n" for command in row["commands"]) for row in rows]
    return "\n".join(parts)


def draw(figure_of: str, rows: list[dict], value, label: str, path: Path, error=None) -> None:
    """A panel a granularity, a group a bit width, a bar a method; points on a logarithmic axis where there is an error."""
    import matplotlib  # tools/setup.sh --study; the tables do without
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    granularities = list(dict.fromkeys(row["granularity"] for row in rows))
    labels = list(dict.fromkeys(row["label"] for row in rows))
    figure, axes = plt.subplots(len(granularities), 1, figsize=(10, 3.6 * len(granularities)), squeeze=False,
                                layout="constrained")
    for axis, granularity in zip(axes[:, 0], granularities):
        of = [row for row in rows if row["granularity"] == granularity]
        widths = list(dict.fromkeys(row["bits"] for row in of))
        for index, name in enumerate(labels):
            found = [row for row in of if row["label"] == name]
            x = [widths.index(row["bits"]) + (index + 0.5) / len(labels) * 0.8 - 0.4 for row in found]
            y = [value(row) for row in found]
            if error:
                axis.errorbar(x, y, [error(row) for row in found], fmt="o", capsize=4, label=name, color=plt.cm.tab20(index))
            else:
                axis.bar(x, y, 0.75 / len(labels), label=name, color=plt.cm.tab20(index))
        axis.set_xticks(range(len(widths)), [f"{bits} bits" for bits in widths])
        axis.set_xlim(-0.5, len(widths) - 0.5)
        axis.set_ylabel(label)
        axis.set_title(f"{figure_of}, {'one scale a channel' if granularity == 'channel' else granularity}")
        axis.grid(axis="y", which="both", alpha=0.3)
        if error:
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter("{x:g}" if max(map(value, of)) < 10 * min(map(value, of)) else "")
    axes[0, 0].legend(fontsize="small", ncols=2)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def write(rows: list[dict], all_names: list[str], folder: Path, document: Path | None) -> None:
    order = {name: index for index, name in enumerate(all_names)}
    rows = sorted((row for row in rows if row["row"] in order), key=lambda row: order[row["row"]])
    if not rows:
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "commands.md").write_text(commands(rows))
    first = [row for row in rows if row["seed"] == 0]
    draw("Divergence from the float model on novels", first, lambda row: row["texts"]["novels"]["kl"], "KL, nats a token",
         folder / "kl.png", lambda row: row["texts"]["novels"]["kl_stderr"])
    draw("Peak memory of training", [row for row in first if row["steps"] > 0],
         lambda row: row["train_peak_memory_bytes"] / 2**20, "MiB", folder / "memory.png")
    text = tables(rows, all_names)
    if document is None:
        (folder / "tables.md").write_text(text)
    else:
        before, rest = document.read_text().split(BEGIN)
        document.write_text(before + BEGIN + text + END + rest.split(END)[1])
