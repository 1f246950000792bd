"""Runs on disk under stress: saved by time, nothing half-made, damaged files, two programs, what a run is compared with
when it goes on, runs as models."""

import json
import os
import re
import shutil
import signal
import subprocess
import time

from tests.support import LRQAT, lrqat, lrqat_json, main, run_state, text_file, tiny_model

PLAIN = ["--init", "range", "--distill-weight", 0, "--batch-size", 2, "--sequence-length", 32, "--threads", 1]
SIZES = [*PLAIN, "--rank", 4, "--lora-alpha", 32]
STEPS = ["--steps", 20, *SIZES]
ENDLESS = ["--steps", 100_000, *SIZES]
SLOW_START = ["--init", "svd", "--svd-steps", 100_000]  # prepares for minutes
RAW = ["this is a bug", "std::", "bad_alloc", "filesystem error", "c10", "Exception raised"]


def base(folder, sizes=STEPS):
    return ["--model", tiny_model(folder), "--data", text_file(folder), *sizes]


def start(arguments, **more):
    return subprocess.Popen([LRQAT, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                            **more)


def wait_until(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
        time.sleep(0.002)


def holds(path, name):
    """Whether there is a file of this name under `path`, which may be renamed meanwhile (Path.rglob fails then)."""
    return any(name in files for _, _, files in os.walk(path))


def steps_logged(run):
    metrics = run / "metrics.jsonl"
    return metrics.read_text().count("\n") if metrics.exists() else 0


def last_saved(run):
    return json.loads((run / "checkpoints" / "index.json").read_text())["last"]


def stop(process, signal_number, timeout=60):
    process.send_signal(signal_number)
    try:
        return process.wait(timeout)
    finally:
        process.kill()


def stopped_at(folder, name, steps=10, extra=()):
    """A run of base() that was stopped by SIGTERM after some steps, its checkpoint written."""
    run = folder / name
    process = start(["train", *base(folder, ENDLESS), *extra, "--out", run])
    wait_until(lambda: steps_logged(run) >= steps, process)
    assert stop(process, signal.SIGTERM) == 1
    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def check_refused(arguments, message, code=1):
    _, stderr = lrqat(*arguments, expect=code)
    assert message in stderr, (message, stderr)
    assert not [raw for raw in RAW if raw in stderr], stderr


def a_run_saves_by_time(folder):
    arguments = base(folder)
    lrqat("train", *arguments, "--out", folder / "straight")
    killed = folder / "killed"
    process = start(["train", *arguments, "--save-minutes", "1e-9", "--out", killed])
    wait_until(lambda: steps_logged(killed) >= 10, process)
    stop(process, signal.SIGKILL)
    assert 8 <= int(last_saved(killed).removeprefix("step-")) < 20, last_saved(killed)
    lrqat("train", "--out", killed, "--resume")
    assert run_state(killed) == run_state(folder / "straight"), "the times of saving change nothing"
    never = folder / "never"
    process = start(["train", *base(folder, ENDLESS), "--save-minutes", 0, "--out", never])
    wait_until(lambda: steps_logged(never) >= 10, process)
    stop(process, signal.SIGKILL)
    assert last_saved(never) == "step-000000"


def what_can_be_refused_leaves_no_folder(folder):
    arguments, plain = base(folder), base(folder, ["--init", "range", "--threads", 1])
    (folder / "short.txt").write_text("a few words")
    before = names(folder)
    short = ["--eval-data", folder / "short.txt"]
    little = ["--model", folder / "tiny", "--data", folder / "short.txt", "--sequence-length", 32]
    for extra in (PLAIN, [*PLAIN, "--init", "gptq"], ["--method", "rtn", "--init", "gptq"]):
        check_refused(["train", *little, *extra, "--out", folder / "x"], "less than one sequence")
        assert names(folder) == before, (extra, names(folder))
    cases = [
        (["--eval-data", folder / "none.txt"], "none.txt"),
        (short, "token"),
        (["--method", "rtn", "--eval-data", folder / "none.txt"], "none.txt"),
        (["--method", "rtn", *short], "token"),
        (["--method", "rtn", "--granularity", "group:48"], "sizes that would work here"),
        (["--overrides", "* skip"], "nothing would be quantized"),
        (["--method", "rtn", "--overrides", "* skip"], "nothing would be quantized"),
        (["--batch-size", 2_000_000, "--gradient-accumulation", 1, "--sequence-length", 128], "GB are free"),
    ]
    for extra, message in cases:
        check_refused(["train", *(plain if "rtn" in extra else arguments), *extra, "--out", folder / "x"], message)
        assert names(folder) == before, (extra, names(folder))


def a_signal_while_preparing_ends_at_once(folder):
    arguments = ["train", *base(folder), *SLOW_START, "--out", folder / "run"]
    before = names(folder)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL):
        process = start(arguments)
        assert any("tokenizing" in line for line in process.stderr), "ended before it prepared anything"
        time.sleep(0.2)
        assert stop(process, number, timeout=20) == -number
        assert names(folder) == before, (number, names(folder))
    lrqat("train", *base(folder), "--out", folder / "run")


def a_kill_at_any_moment_locks_nobody_out(folder):
    arguments = ["train", *base(folder, [*SIZES, "--steps", 3])]
    lrqat(*arguments, "--out", folder / "straight")
    for moment in ("folder beside", "lock", "prepared.safetensors", "index.json", "metrics.jsonl"):
        run = folder / f"run {moment}"
        process = start([*arguments, "--out", run])
        beside = lambda: [path for path in folder.iterdir() if path.name.startswith(run.name)]
        if moment == "folder beside":
            wait_until(lambda: beside() or process.poll() is not None, process)
        else:
            wait_until(lambda: any(holds(path, moment) for path in beside()) or process.poll() is not None, process)
        stop(process, signal.SIGKILL)
        if run.exists():
            lrqat("train", "--resume", "--out", run, "--threads", 1)
        else:
            lrqat(*arguments, "--out", run)
        assert run_state(run) == run_state(folder / "straight"), moment
        assert not list(folder.rglob("*-tmp-*")), list(folder.rglob("*-tmp-*"))


def sighup_stops_a_run_but_not_under_nohup(folder):
    run = folder / "run"
    process = start(["train", *base(folder, ENDLESS), "--out", run])
    wait_until(lambda: steps_logged(run) >= 3, process)
    assert stop(process, signal.SIGHUP) == 1 and "--resume" in process.stderr.read()
    assert int(last_saved(run).removeprefix("step-")) >= 3
    run = folder / "nohup"
    process = start(["train", *base(folder, ENDLESS), "--out", run],
                    preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    wait_until(lambda: steps_logged(run) >= 3, process)
    process.send_signal(signal.SIGHUP)
    seen = steps_logged(run)
    wait_until(lambda: steps_logged(run) >= seen + 3, process)
    assert stop(process, signal.SIGTERM) == 1


def edit_json(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def without(path, key):
    record = json.loads(path.read_text())
    record.pop(key)
    path.write_text(json.dumps(record))


def cut(path):
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


def damaged_files_are_named(folder):
    whole = stopped_at(folder, "whole")
    checkpoint = "checkpoints/" + last_saved(whole) + "/"
    outside = folder / "outside"
    shutil.copytree(whole / checkpoint, outside)
    state, index = checkpoint + "state.json", "checkpoints/index.json"
    cases = [
        (state, lambda path: edit_json(path, step=-5)),
        (state, lambda path: edit_json(path, step=10**9)),
        (state, lambda path: edit_json(path, step="seven")),
        (state, lambda path: edit_json(path, position=2**62)),
        (state, lambda path: edit_json(path, position=2**64)),
        (state, lambda path: edit_json(path, tokens=-1)),
        (state, lambda path: edit_json(path, seconds=-1)),
        (state, lambda path: edit_json(path, best_step=10**9)),
        (state, cut),
        (index, lambda path: edit_json(path, last=str(outside))),
        (index, lambda path: edit_json(path, last="../../outside")),
        (index, lambda path: edit_json(path, last="")),
        (index, lambda path: edit_json(path, last=7)),
        (index, lambda path: path.write_text("[]")),
        (index, lambda path: path.unlink()),
        (index, cut),
        ("recipe.toml", cut),
        ("recipe.toml", lambda path: path.write_text(path.read_text() + "bits = 5\n")),
        ("recipe.toml", lambda path: path.write_text(path.read_text().replace("rank = 4", "rank = 8"))),
        ("run.json", lambda path: without(path, "model")),
        ("run.json", lambda path: without(path, "threads")),
        ("run.json", lambda path: edit_json(path, data=7)),
        ("run.json", cut),
        ("prepared.safetensors", cut),
        ("prepared.safetensors", lambda path: path.unlink()),
        (checkpoint + "trainables.safetensors", cut),
        (checkpoint + "optimizer.safetensors", cut),
        (checkpoint + "optimizer.safetensors",
         lambda path: path.write_bytes((path.parent / "trainables.safetensors").read_bytes())),
        (checkpoint + "trainables.safetensors",
         lambda path: path.write_bytes(path.read_bytes().replace(b"[64,4]", b"[4,64]"))),
    ]
    run = folder / "run"
    for name, damage in cases:
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(whole, run)
        damage(run / name)
        _, stderr = lrqat("train", "--resume", "--out", run, "--threads", 1, expect=1)
        where = name.rsplit("/", 1)[-1]
        assert where in stderr or "the checkpoint" in stderr, (name, stderr)
        assert "start a new run" in stderr, (name, stderr)
        assert not [raw for raw in RAW if raw in stderr], (name, stderr)


def files_may_be_moved_and_saving_changed(folder):
    run = stopped_at(folder, "run")
    (folder / "moved").mkdir()
    for name in ("tiny", "text.txt"):
        (folder / name).rename(folder / "moved" / name)
    recipe = run / "recipe.toml"
    text = recipe.read_text().replace(f"{folder}/", f"{folder}/moved/").replace("save-every = 0", "save-every = 7")
    recipe.write_text(text)
    process = start(["train", "--resume", "--out", run])
    seen = steps_logged(run)
    wait_until(lambda: steps_logged(run) > seen, process)
    assert stop(process, signal.SIGTERM) == 1


def one_program_trains_a_run_and_others_read_it(folder):
    run = folder / "run"
    process = start(["train", *base(folder, ENDLESS), "--save-every", 1, "--out", run])
    wait_until(lambda: steps_logged(run) >= 3, process)
    check_refused(["train", "--resume", "--out", run], "another program is training this run")
    check_refused(["train", *base(folder), "--out", run], "exists")
    for i in range(5):  # while checkpoints come and go
        _, stderr = lrqat("convert", "--run", run, "--out", folder / f"converted{i}")
        assert "unfinished, at step" in stderr, stderr
    lrqat_json("inspect", run)
    lrqat_json("perplexity", "--model", run, "--data", folder / "text.txt", "--context", 64)
    assert process.poll() is None, process.stderr.read()
    assert stop(process, signal.SIGTERM) == 1
    process = start(["train", "--resume", "--out", run])
    seen = steps_logged(run)
    wait_until(lambda: steps_logged(run) > seen, process)  # the lock ended with its program
    assert stop(process, signal.SIGTERM) == 1


def every_byte_of_model_and_texts_counts(folder):
    text = folder / "eval.txt"
    text.write_text((folder / text_file(folder)).read_text()[:4000])
    run = stopped_at(folder, "run", extra=["--eval-data", text, "--eval-context", 64, "--train-norms", "true"])
    model = folder / "tiny" / "model.safetensors"
    kept = model.read_bytes()
    header = json.loads(kept[8:8 + int.from_bytes(kept[:8], "little")])
    end = len(kept) - max(tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__")
    for name in ("model.layers.1.mlp.up_proj.weight", "model.norm.weight"):  # 32 KiB of a linear, and one that is trained
        last = end + header[name]["data_offsets"][1]
        model.write_bytes(kept[:last - 2] + bytes([kept[last - 2] ^ 1]) + kept[last - 1:])
        for command in (["train", "--resume", "--out", run], ["convert", "--run", run, "--out", folder / "c"]):
            check_refused(command, "the model is not the one that this run began with")
    model.write_bytes(kept)
    config = folder / "tiny" / "config.json"
    original = config.read_text()
    edit_json(config, rms_norm_eps=0.5)
    check_refused(["convert", "--run", run, "--out", folder / "c"], "rms_norm_eps")
    config.write_text(original)
    changed = text.read_text()
    text.write_text(changed[:-1] + "#")
    check_refused(["train", "--resume", "--out", run], "the evaluation text is not the one")
    text.write_text(changed)
    lrqat("convert", "--run", run, "--out", folder / "c")


def a_run_of_version_1_goes_on(folder):
    run = stopped_at(folder, "run")
    record = run / "run.json"
    now = json.loads(record.read_text())
    # What lrqat wrote of the tiny model before it read every byte.
    old = {"model": VERSION_1_OF_TINY, "data": now["data"]}
    record.write_text(json.dumps(old))
    recipe = run / "recipe.toml"
    recipe.write_text(re.sub('compute-dtype = .*', 'compute-dtype = "auto"', recipe.read_text()))
    lrqat("convert", "--run", run, "--out", folder / "c")
    process = start(["train", "--resume", "--out", run])
    seen = steps_logged(run)
    wait_until(lambda: steps_logged(run) > seen, process)
    assert stop(process, signal.SIGTERM) == 1
    assert "does not say whether it multiplied in float32 or bfloat16" in process.stderr.read()
    record.write_text(json.dumps({**old, "model": "0" * 64}))
    check_refused(["convert", "--run", run, "--out", folder / "d"], "the model")


def arithmetic_and_threads_belong_to_the_run(folder):
    run = stopped_at(folder, "run")
    recipe = (run / "recipe.toml").read_text()
    assert 'compute-dtype = "auto"' not in recipe and 'compute-dtype = "' in recipe, recipe
    record = json.loads((run / "run.json").read_text())
    assert record["threads"] == 1 and record["processor"] and record["instructions"], record
    for flags, said in (([], False), (["--threads", 1], False), (["--threads", 2], True)):
        process = start(["train", "--resume", "--out", run, *flags])
        seen = steps_logged(run)
        wait_until(lambda: steps_logged(run) > seen, process)
        assert stop(process, signal.SIGTERM) == 1
        stderr = process.stderr.read()
        assert ("began with 1 thread" in stderr) == said and "began on a processor" not in stderr, (flags, stderr)
    (run / "run.json").write_text(json.dumps({**record, "instructions": "sve2"}))
    process = start(["train", "--resume", "--out", run])
    seen = steps_logged(run)
    wait_until(lambda: steps_logged(run) > seen, process)
    assert stop(process, signal.SIGTERM) == 1
    assert "began on a processor with sve2" in process.stderr.read()


def a_run_is_a_model_to_train_from(folder):
    arguments = ["--data", text_file(folder), *STEPS]
    run, converted = folder / "run", folder / "converted"
    lrqat("train", *base(folder), "--train-norms", "true", "--float-lr", "1e-2", "--out", run)
    lrqat("convert", "--run", run, "--out", converted)
    integers = lrqat_json("inspect", converted)["sha256"]
    for name, model in (("of run", run), ("of converted", converted)):
        lrqat("train", "--model", model, *arguments, "--distill-weight", 0, "--out", folder / name)
    assert run_state(folder / "of run") == run_state(folder / "of converted")
    again = folder / "again"
    lrqat("train", "--model", folder / "of run", "--method", "rtn", "--init", "stored", "--out", again)
    lrqat("convert", "--run", again, "--out", folder / "c")
    assert lrqat_json("inspect", folder / "c")["sha256"] == lrqat_json("inspect", folder / "of run")["sha256"] != integers
    lrqat("generate", "--model", again, "--prompt", "The", "--max-tokens", 2)  # the tokenizer of the first model
    lrqat_json("plan", "--model", run, *SIZES)
    (run / "recipe.toml").write_text((run / "recipe.toml").read_text().replace(str(folder / "tiny"), str(run)))
    check_refused(["train", "--model", run, *arguments, "--out", folder / "x"], "the run itself")


def unfinished_runs_are_named(folder):
    run = stopped_at(folder, "run")
    step = int(last_saved(run).removeprefix("step-"))
    said = f"unfinished, at step {step} of 100000"
    _, stderr = lrqat("convert", "--run", run, "--out", folder / "c")
    assert said in stderr, stderr
    start = folder / "start"  # which is not what an unfinished run is converted from
    lrqat("train", *base(folder, [*SIZES, "--steps", 0]), "--out", start)
    trained = lrqat_json("inspect", run)["sha256"]
    assert trained == lrqat_json("inspect", folder / "c")["sha256"] != lrqat_json("inspect", start)["sha256"]
    _, stderr = lrqat("export", "--model", run, "--format", "gguf", "--out", folder / "m.gguf")
    assert said in stderr, stderr
    lrqat("train", *base(folder), "--out", folder / "whole")
    _, stderr = lrqat("convert", "--run", folder / "whole", "--out", folder / "d")
    assert "unfinished" not in stderr, stderr


def half_a_line_is_no_obstacle(folder):
    run = folder / "run"
    lrqat("train", *base(folder), "--out", run)
    for name in ("metrics.jsonl", "layers.jsonl"):
        path = run / name
        path.write_text(path.read_text() + '{"step":21,"lay')
    layers = [row for row in lrqat_json("inspect", run)["tensors"] if "training" in row]
    assert len(layers) == 14 and all(row["training"]["step"] == 20 for row in layers), layers


def plan_refuses_the_data_that_train_refuses(folder):
    (folder / "short.txt").write_text("a few words")
    model = tiny_model(folder)
    for data, message in ((folder / "none.txt", "none.txt"), (folder / "short.txt", "less than one sequence")):
        for command in ("plan", "train"):
            out = ["--out", folder / "x"] if command == "train" else []
            check_refused([command, "--model", model, "--data", data, *STEPS, *out], message)


VERSION_1_OF_TINY = "4a468627ae946da26c271aac8f53142bfcc88480dd2775ed40d3a86b54465298"

main([a_run_saves_by_time, what_can_be_refused_leaves_no_folder, a_signal_while_preparing_ends_at_once,
      a_kill_at_any_moment_locks_nobody_out, sighup_stops_a_run_but_not_under_nohup, damaged_files_are_named,
      files_may_be_moved_and_saving_changed, one_program_trains_a_run_and_others_read_it,
      every_byte_of_model_and_texts_counts, a_run_of_version_1_goes_on,
      arithmetic_and_threads_belong_to_the_run, a_run_is_a_model_to_train_from, unfinished_runs_are_named, half_a_line_is_no_obstacle,
      plan_refuses_the_data_that_train_refuses])
