"""What killed programs leave behind: no obstacle to the next one, and nothing that stays for good."""

import os
import signal
import subprocess
import time
from pathlib import Path

from tests.support import LRQAT, kill_when_half_done, lrqat, lrqat_json, main, run_state, text_file, tiny_model

SIZES = ["--init", "range", "--distill-weight", 0, "--batch-size", 2, "--sequence-length", 32, "--threads", 1, "--rank", 4]


def rounded(folder):
    run = folder / "run"
    lrqat("train", "--model", tiny_model(folder), "--data", text_file(folder), "--method", "rtn", "--granularity", "channel",
          "--init", "range", "--out", run)
    return run


def leftovers(folder):
    """While programs come and go: os.walk passes over what has gone meanwhile."""
    return [Path(place) / name for place, folders, files in os.walk(folder) for name in [*folders, *files] if "tmp-" in name]


def in_a_container(targets, *arguments):
    """Runs the program where an earlier one of the same process number, as every program of a container has, was killed and
    left what it had made of the targets (path, is a folder), under the names that programs without locks gave them."""
    def leave():
        for path, is_folder in targets:
            for i in range(40):
                name = f"{path}.tmp-{os.getpid()}-{i}"
                os.mkdir(name) if is_folder else open(name, "w").close()

    result = subprocess.run([LRQAT, *map(str, arguments)], preexec_fn=leave, capture_output=True, text=True)
    assert result.returncode == 0, (arguments[0], result.stderr)
    for path, is_folder in targets:  # they stay: a user could have named something so
        for left in path.parent.glob(f"{path.name}.tmp-*"):
            left.rmdir() if is_folder else left.unlink()


def programs_of_one_number_do_not_lock_each_other_out(folder):
    model, text = tiny_model(folder), text_file(folder)
    run, converted = folder / "run", folder / "converted"
    in_a_container([(run, True)], "train", "--model", model, "--data", text, "--method", "rtn", "--granularity", "channel",
                   "--init", "range", "--out", run)
    for force in ([], ["--force"]):
        in_a_container([(converted, True)], "convert", "--run", run, "--out", converted, *force)
    gguf = folder / "m.gguf"
    in_a_container([(gguf, False)], "export", "--model", converted, "--format", "gguf", "--out", gguf)
    arguments = ["train", "--model", model, "--data", text, *SIZES, "--steps", 20]
    lrqat(*arguments, "--out", folder / "straight")
    killed = folder / "killed"
    kill_when_half_done([*arguments, "--save-every", 1, "--out", killed], killed)
    checkpoints = killed / "checkpoints"
    steps = [(checkpoints / f"step-{i:06d}", True) for i in range(1, 21)]
    in_a_container([*steps, (checkpoints / "index.json", False), (killed / "metrics.jsonl", False)],
                   "train", "--resume", "--out", killed, "--threads", 1)
    assert run_state(killed) == run_state(folder / "straight")
    assert not leftovers(folder), leftovers(folder)


def kill_with_a_leftover(folder, *arguments):
    """Kills the program while something stands under a temporary name; several times, until that is left."""
    for _ in range(60):
        process = subprocess.Popen([LRQAT, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not leftovers(folder):
            time.sleep(0.0002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if leftovers(folder):
            return
    raise AssertionError("no kill left anything")


def killed_writers_are_swept(folder):
    run = rounded(folder)
    commands = [("convert", "--run", run), ("export", "--model", run, "--format", "gguf"), ("export", "--model", run, "--format", "hf")]
    for i, command in enumerate(commands):
        command = (*command, "--out", folder / f"out{i}", "--force")
        kill_with_a_leftover(folder, *command)
        lrqat(*command)
        assert not leftovers(folder), (command, leftovers(folder))
        lrqat_json("inspect", folder / f"out{i}")


def killed_runs_are_swept(folder):
    run = folder / "run"
    begin = ["train", "--model", tiny_model(folder), "--data", text_file(folder), *SIZES, "--steps", 100_000, "--save-every", 1]
    kill_when_half_done([*begin, "--out", run], run)
    kill_with_a_leftover(run, "train", "--resume", "--out", run)
    for place in (run / "metrics.jsonl.lrqat-tmp-0123456789abcdef", run / "checkpoints" / "index.json.lrqat-tmp-0123456789abcdef"):
        place.write_text("{")
    process = subprocess.Popen([LRQAT, "train", "--resume", "--out", run], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               text=True)
    assert any("continuing at step" in line for line in process.stderr)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 1
    assert not leftovers(run), leftovers(run)


if __name__ == "__main__":
    main([programs_of_one_number_do_not_lock_each_other_out, killed_writers_are_swept, killed_runs_are_swept])
