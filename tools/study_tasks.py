"""Zero-shot tasks for models of the study: the float model and the converted rows that tools/study.py left behind.

    python -m tools.study_tasks --task-data DIR [--models float w4-channel-rtn …] [--tasks boolq,piqa,hellaswag,arc_easy]

DIR holds the tasks' files as docs/evaluate.md lists them. A model that is in tasks.jsonl is not evaluated again; an
interrupted evaluation goes on where it stopped. Prints the table of what there is.
"""

import argparse
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
    command = program.commands[0].replace(str(options.task_data), "TASKS")
    return {"row": name, "tasks": found["tasks"], "costs": program.costs, "command": command}


def shown(task: dict) -> str:
    metric = "acc_norm" if "acc_norm" in task["metrics"] else "acc"
    return f"{100 * task[metric]:.0f} ± {100 * task[f'{metric}_stderr']:.1f}"


def table(entries: list[dict], labels: dict[str, str]) -> str:
    tasks = list(dict.fromkeys(name for entry in entries for name in entry["tasks"]))
    lines = ["| model | " + " | ".join(tasks) + " |", "|---|" + "---|" * len(tasks)]
    for entry in entries:
        lines.append(f"| {labels[entry['row']]} | " + " | ".join(
            shown(entry["tasks"][task]) if task in entry["tasks"] else "–" for task in tasks) + " |")
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
    print(table([done[name] for name in labels if name in done], labels))


if __name__ == "__main__":
    main()
