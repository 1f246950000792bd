"""Zero-shot tasks for models of the study: the float model and the converted rows that tools/study.py left behind.

    python -m tools.study_tasks --task-data DIR [--models float w4-channel-rtn …] [--tasks boolq,piqa,hellaswag,arc_easy]

DIR holds the tasks' files as docs/evaluate.md lists them. A model that is in tasks.jsonl is not evaluated again; an
interrupted evaluation goes on where it stopped. Prints the table of what there is, with the commands.
"""

import argparse
import json
import sys
from pathlib import Path

from tools.demo import ROOT, model_file
from tools.study import Program, all_rows, append_result, read_results

LIMIT = 100  # questions a task: its standard error is 5 points, but every model gets the same questions


def evaluate(name: str, model: Path, options: argparse.Namespace) -> dict:
    program = Program(options.lrqat.resolve(), options.threads)
    results = options.out / "tasks" / f"{name}.jsonl"
    results.parent.mkdir(exist_ok=True)
    found = program("evaluate", "evaluate", "--model", model, "--tasks", options.tasks, "--task-data", options.task_data,
                    "--limit", LIMIT, "--results", results)
    return {"row": name, "tasks": found["tasks"], "costs": program.costs, "command": program.commands[0]}


def answers(results: Path) -> dict[tuple[str, int], int]:
    """The most likely choice of every question, by task and number."""
    found = map(json.loads, results.read_text().splitlines())
    return {(line["task"], line["sample"]): max(range(len(line["log_likelihoods"])), key=line["log_likelihoods"].__getitem__)
            for line in found}


def agreement(of: dict, reference: dict, task: str) -> float:
    both = [key for key in of if key[0] == task and key in reference]
    return sum(of[key] == reference[key] for key in both) / len(both)


def shown(task: dict) -> str:
    metric = "acc_norm" if "acc_norm" in task["metrics"] else "acc"
    return f"{100 * task[metric]:.0f} ± {100 * task[f'{metric}_stderr']:.1f}"


def table(entries: list[dict], labels: dict[str, str], folder: Path) -> str:
    """Per task acc_norm or acc in per cent, and how often the model gives float's answer."""
    tasks = list(dict.fromkeys(name for entry in entries for name in entry["tasks"]))
    lines = ["| model | " + " | ".join(f"{task} | as float" for task in tasks) + " |", "|---|" + "---|---|" * len(tasks)]
    float_answers = answers(folder / "float.jsonl")
    for entry in entries:
        own = answers(folder / f"{entry['row']}.jsonl")
        cells = [part for task in tasks
                 for part in (shown(entry["tasks"][task]), f"{agreement(own, float_answers, task):.0%}")]
        lines.append(f"| {labels[entry['row']]} | " + " | ".join(cells) + " |")
    commands = [f"    {entry['command']}" for entry in entries]
    return "\n".join(lines) + "\n\nThe commands:\n\n" + "\n".join(commands) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "study")
    parser.add_argument("--task-data", type=Path, required=True)
    parser.add_argument("--tasks", default="boolq,piqa,hellaswag,arc_easy")
    parser.add_argument("--models", nargs="*", help="rows of the study (default: float and those at 4 bits a channel)")
    parser.add_argument("--lrqat", type=Path, default=ROOT / "build" / "lrqat", help="the program to run")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    options.out, options.task_data = options.out.resolve(), options.task_data.resolve()
    labels = {"float": "float"} | {row.name: f"{row.bits} bits, {row.granularity}: {row.method.label}" for row in all_rows()}
    chosen = options.models or [name for name in labels if name == "float" or name.startswith("w4-channel-")]
    lines = options.out / "tasks.jsonl"
    for name in chosen:
        if name not in labels:
            sys.exit(f"study: no row is called {name}; `python -m tools.study --list` names them")
        model = model_file() if name == "float" else options.out / "rows" / name / "converted"
        if name in read_results(lines) or not model.exists():
            continue
        print(f"study: tasks of {name}", file=sys.stderr, flush=True)
        append_result(lines, evaluate(name, model, options))
    done = read_results(lines)
    print(table([done[name] for name in labels if name in done], labels, options.out / "tasks"))


if __name__ == "__main__":
    main()
