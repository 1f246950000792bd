"""What a training run leaves behind and says about itself: checkpoints that are finite, the best of them by the trained
objective on text that was held out, figures measured on another text, and a teacher that is not the student."""

import hashlib
import json
import shutil
import struct

import numpy

from tests.support import kill_when_half_done, losses, lrqat, lrqat_json, main, run_state, text_file, tiny_model

STEPS = ["--steps", 20, "--batch-size", 2, "--sequence-length", 32, "--rank", 4, "--lora-alpha", 32, "--init", "range",
         "--granularity", "group:32", "--distill-weight", 0, "--threads", 1]


def base(folder, *flags):
    return ["--model", tiny_model(folder), "--data", text_file(folder), *STEPS, *flags]


def tensors(path):
    """The tensors of a safetensors file of float32 (others are skipped), and where each begins in the file."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    found = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        found[name] = (numpy.frombuffer(data[begin:end], numpy.float32), begin)
    return found


def checkpoint(run, which="last"):
    folder = run / "checkpoints"
    return folder / json.loads((folder / "index.json").read_text())[which]


def strict_json(path):
    def refuse(word):
        raise AssertionError(f"{path}: {word}")
    document = json.loads(path.read_text(), parse_constant=refuse)
    assert None not in document.values(), document
    return document


def expect_good_checkpoint(run):
    for name in ("trainables.safetensors", "optimizer.safetensors"):
        for tensor, (values, _) in tensors(checkpoint(run) / name).items():
            assert numpy.isfinite(values).all(), (name, tensor)
    strict_json(checkpoint(run) / "state.json")


def diverging_training_never_becomes_a_checkpoint(folder):
    for i, flags in enumerate((["--lr", "1e38"], ["--lr", "1e38", "--clip-norm", 0], ["--scale-lr", "1e38", "--lr", 0],
                               ["--lr", "1e38", "--eval-every", 1, "--eval-data", text_file(folder), "--eval-context", 64],
                               ["--lr", "1e38", "--eval-every", 1, "--distill-weight", 1])):
        run = folder / f"run-{i}"
        _, stderr = lrqat("train", *base(folder, *flags), "--save-every", 1, "--warmup", 0, "--out", run, expect=1)
        expect_good_checkpoint(run)
        assert "stays" in stderr and "--lr" in stderr, stderr
        _, again = lrqat("train", "--resume", "--out", run, "--threads", 1, expect=1)
        assert "stays" in again, again
        converted = lrqat_json("convert", "--run", run, "--out", folder / f"converted-{i}")
        assert len(converted["layers"]) == 14
        nll = lrqat_json("perplexity", "--model", run, "--data", folder / "text.txt", "--context", 64, "--max-windows", 4)["nll"]
        assert 0 < nll < 20, nll


def checkpoints_that_are_not_finite_are_refused(folder):
    run = folder / "run"
    lrqat("train", *base(folder), "--save-every", 5, "--out", run)
    for file, value in (("trainables", numpy.nan), ("optimizer", numpy.inf)):
        damaged = folder / file
        shutil.copytree(run, damaged)
        path = checkpoint(damaged) / f"{file}.safetensors"
        name, (_, begin) = sorted(tensors(path).items())[3]
        data = bytearray(path.read_bytes())
        data[begin:begin + 4] = struct.pack("<f", value)
        path.write_bytes(data)
        commands = [["train", "--resume", "--out", damaged]]
        if file == "trainables":
            (damaged / "checkpoints" / "index.json").write_text(json.dumps({"last": path.parent.name}))
            commands += [["perplexity", "--model", damaged, "--data", folder / "text.txt"],
                         ["convert", "--run", damaged, "--out", folder / "no"]]
        for command in commands:
            _, stderr = lrqat(*command, expect=1)
            assert f'"{name}"' in stderr and "not finite" in stderr, stderr
    assert not (folder / "no").exists()


def distilled(folder, *flags):
    return base(folder, "--distill-weight", 1, *flags)


def scales_at_the_end_of_their_type_are_named(folder):
    """Driven to float16's smallest number a scale stays there, and its layer is all but zero."""
    held = ["--scale-domain", "linear", "--lr", 0, "--warmup", 0, "--schedule", "constant", "--steps", 3]
    def said(name, *flags, code=0):
        return lrqat("train", *base(folder, *held, *flags), "--save-every", 1, "--out", folder / name, expect=code)[1]
    for kind, granularity in (("float16", "channel"), ("float32", "group:32"), ("bfloat16", "channel")):
        line = next(line for line in said(kind, "--scale-type", kind, "--granularity", granularity, "--scale-lr", "1").splitlines()
                    if "smallest" in line)
        assert "model.layers." in line and f"--scale-type {kind}" in line and "almost zero" in line and "--scale-lr" in line, line
    lines = said("limited", "--scale-lr", "1").splitlines()
    assert sum("smallest" in line for line in lines) <= 4 and any("more linears" in line for line in lines), lines
    for flags in (["--scale-lr", "1e-5"], ["--learn-scale", "false"]):
        assert "smallest" not in said(f"fine{flags[0]}", *flags)


def a_run_that_ends_worse_keeps_its_start(folder):
    run, start = folder / "run", folder / "start"
    document = lrqat_json("train", *distilled(folder, "--lr", 1, "--warmup", 0), "--out", run)
    held = document["held_out_loss"]
    assert document["kept_step"] == 0 and held["kept"] == held["start"] < held["end"], document
    lrqat("train", *distilled(folder), "--steps", 0, "--out", start)
    for model in (run, start):
        lrqat("convert", "--run", model, "--out", folder / f"{model.name}-converted")
    compared = lrqat_json("inspect", "--compare", folder / "run-converted", folder / "start-converted")
    assert compared["equal"], compared["differing"][:2]
    stdout, _ = lrqat("train", *distilled(folder, "--lr", 1, "--warmup", 0), "--out", folder / "said")
    assert "step 0, the model as it was before training" in stdout and "worse" in stdout, stdout


def the_best_is_chosen_by_the_trained_objective_on_held_out_text(folder):
    run = folder / "run"
    # the rate falls to 0 only at the end, so some step in the middle need not be worse than the last; all are recorded
    document = lrqat_json("train", *distilled(folder, "--lr", "5e-2", "--eval-every", 2, "--schedule", "constant"), "--out", run)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    objective = {line["step"]: line["held_out/objective"] for line in lines if "held_out/objective" in line}
    assert sorted(objective) == list(range(0, 21, 2)), objective
    assert document["kept_step"] == min(objective, key=lambda step: (objective[step], step)), (document, objective)
    index = json.loads((run / "checkpoints" / "index.json").read_text())
    assert index["best"] == f"step-{document['kept_step']:06d}", index
    for line in lines:
        if "held_out/objective" in line:
            assert line["held_out/objective"] == line["held_out/divergence"], "w = 1: the divergence alone"
    half = lrqat_json("train", *base(folder, "--distill-weight", 0.25), "--out", folder / "half")
    last = [json.loads(line) for line in (folder / "half" / "metrics.jsonl").read_text().splitlines()][-1]
    mixed = 0.25 * last["held_out/divergence"] + 0.75 * last["held_out/cross_entropy"]
    assert abs(mixed - half["held_out_loss"]["end"]) < 1e-9, (mixed, half)
    assert half["kept_step"] == 20 and half["loss_kind"] == "mixed"


def evaluation_data_is_only_reported_on(folder):
    other = folder / "other.txt"
    other.write_text("zq " * 2000)  # a text that every step away from the first is worse on, or not: it decides nothing
    windows = ["--eval-context", 64]
    runs = {"plain": [], "text": ["--eval-data", folder / "text.txt", *windows], "other": ["--eval-data", other, *windows]}
    documents = {}
    for name, flags in runs.items():
        documents[name] = lrqat_json("train", *distilled(folder, "--eval-every", 5, *flags), "--out", folder / name)
        assert documents[name]["kept_step"] == documents["plain"]["kept_step"]
        assert documents[name]["held_out_loss"] == documents["plain"]["held_out_loss"]
    assert documents["plain"]["measured_on"] == "held-out" and documents["other"]["measured_on"] == str(other)
    assert documents["plain"]["perplexity"] != documents["other"]["perplexity"]
    expected = lrqat_json("perplexity", "--model", folder / "other", "--reference", folder / "tiny", "--data", other,
                          "--context", 64, "--max-windows", 32, "--compute-dtype", "auto", "--threads", 1)
    found = documents["other"]
    assert found["measured_tokens"] == expected["tokens"], found
    assert abs(found["perplexity"]["trained"] / expected["perplexity"] - 1) < 1e-4, (found, expected)
    assert abs(found["perplexity"]["float"] / expected["reference_perplexity"] - 1) < 1e-4, (found, expected)
    assert abs(found["kl_to_float"]["trained"] - expected["kl_to_reference"]) < 1e-4, (found, expected)


def held_out_text_is_not_trained_on(folder):
    """All sequences but the held-out ones are the same: a run without holding out on that data is the same run."""
    model = tiny_model(folder)
    arguments = ["--model", model, *STEPS, "--method", "lr-qat", "--init", "gptq", "--calibration-tokens", 2048]
    text = text_file(folder, 8_000).read_bytes()
    sequences = [text[i:i + 32] for i in range(0, len(text) - 31, 32)]  # one token a byte but for "th", so no "th"
    plain = [sequence.replace(b"th", b"d-").replace(b"\xc3", b"c").decode("ascii", "replace").encode("ascii", "replace")
             for sequence in sequences]
    joined = b"".join(sequence[:31] + b"\n" for sequence in plain).replace(b"th", b"d-")
    (folder / "all.txt").write_bytes(joined)
    held = lrqat_json("train", *arguments, "--data", folder / "all.txt", "--held-out", 0.1, "--out", folder / "held")
    sequences = [joined[i:i + 32] for i in range(0, len(joined) - 31, 32)]
    count = len(sequences)
    part = int(0.1 * count / 2)
    out = {(2 * i + 1) * count // (4 * part) for i in range(2 * part)}
    (folder / "rest.txt").write_bytes(b"".join(s for i, s in enumerate(sequences) if i not in out))
    lrqat("train", *arguments, "--data", folder / "rest.txt", "--held-out", 0, "--out", folder / "rest")
    assert run_state(folder / "held")[0] == run_state(folder / "rest")[0], "weights of both runs"
    assert held["measured_on"] == "held-out" and held["measured_tokens"] == 31 * part, held
    lrqat("train", *arguments, "--data", folder / "all.txt", "--held-out", 0, "--out", folder / "none")
    assert run_state(folder / "none")[0] != run_state(folder / "rest")[0], "negative control"


def too_little_text_to_hold_out(folder):
    text = text_file(folder, 400)
    arguments = ["--model", tiny_model(folder), "--data", text, *STEPS, "--out", folder / "run"]
    stdout, stderr = lrqat("train", *arguments)
    assert "too few to hold some out" in stderr and "nothing was held out" in stdout, (stdout, stderr)
    assert "perplexity" not in stdout
    assert json.loads((folder / "run" / "checkpoints" / "index.json").read_text()) == {"last": "step-000020"}


def resumed_runs_choose_as_straight_ones_do(folder):
    arguments = distilled(folder, "--lr", "3e-2", "--eval-every", 3)
    lrqat("train", *arguments, "--out", folder / "straight")
    kill_when_half_done(["train", *arguments, "--save-every", 1, "--out", folder / "killed"], folder / "killed")
    lrqat("train", "--resume", "--out", folder / "killed", "--threads", 1)
    assert run_state(folder / "killed") == run_state(folder / "straight")
    assert checkpoint(folder / "killed", "best").name == checkpoint(folder / "straight", "best").name


def older_runs_go_on(folder):
    """recipe.toml and state.json as programs before held-out text wrote them."""
    arguments = base(folder, "--held-out", 0)
    lrqat("train", *arguments, "--out", folder / "straight")
    old = folder / "old"
    kill_when_half_done(["train", *arguments, "--save-every", 1, "--out", old], old)
    recipe = (old / "recipe.toml").read_text().splitlines()
    (old / "recipe.toml").write_text("\n".join(line for line in recipe if not line.startswith(("held-out", "teacher"))) + "\n")
    free = ("model ", "data ", "eval-data ", "teacher ", "save-every ", "save-minutes ", "memory-budget ")
    fields = [line + "\n" for line in (old / "recipe.toml").read_text().splitlines() if not line.startswith(free)]
    record = json.loads((old / "run.json").read_text())
    (old / "run.json").write_text(json.dumps({**record, "recipe": hashlib.sha256("".join(fields).encode()).hexdigest()}))
    path = checkpoint(old) / "state.json"
    state = json.loads(path.read_text())
    kept = {key: state[key] for key in ("step", "position", "tokens", "seconds", "loss")}
    path.write_text(json.dumps({**kept, "best_nll": None, "best_step": 3}))
    lrqat("train", "--resume", "--out", old, "--threads", 1)
    assert run_state(old)[0] == run_state(folder / "straight")[0]


def quantized(folder):
    model, text = tiny_model(folder), text_file(folder)
    lrqat("train", "--model", model, "--data", text, "--method", "rtn", "--granularity", "group:32", "--init", "rtn", "--out",
          folder / "rtn")
    lrqat("convert", "--run", folder / "rtn", "--out", folder / "w4")
    lrqat("export", "--model", folder / "w4", "--format", "gguf", "--out", folder / "w4.gguf")
    return ["--data", text, *[flag for flag in STEPS if flag not in ("--init", "range")], "--init", "auto",
            "--eval-data", text, "--eval-context", 64, "--eval-windows", 4]


def a_quantized_model_needs_a_teacher(folder):
    arguments = quantized(folder)
    for model in ("w4", "w4.gguf"):
        own = ["train", "--model", folder / model, *arguments]
        _, stderr = lrqat(*own, "--distill-weight", 1, "--out", folder / "no", expect=1)
        assert "--teacher" in stderr and "loss is 0" in stderr and not (folder / "no").exists(), stderr
        shutil.copytree(folder / "w4", folder / "copy", dirs_exist_ok=True)
        for itself in {"w4": ("w4", "copy"), "w4.gguf": ("w4.gguf",)}[model]:  # under any name
            _, stderr = lrqat(*own, "--distill-weight", 1, "--teacher", folder / itself, "--out", folder / "no", expect=1)
            assert "--teacher" in stderr and "loss is 0" in stderr and not (folder / "no").exists(), stderr
        run = folder / f"run-{model}"
        document = lrqat_json(*own, "--distill-weight", 1, "--teacher", folder / "tiny", "--out", run)
        assert losses(run)[0] > 1e-3 and document["held_out_loss"]["kept"] < document["held_out_loss"]["start"], document
        expected = lrqat_json("perplexity", "--model", folder / "tiny", "--data", folder / "text.txt", "--context", 64,
                              "--max-windows", 4, "--compute-dtype", "auto")  # as the run multiplies
        assert abs(document["perplexity"]["float"] / expected["perplexity"] - 1) < 1e-4, (document, expected)
        assert document["kl_to_float"]["trained"] < document["kl_to_float"]["rtn"], document
    steps = [flag for flag in STEPS if flag not in ("--granularity", "group:32")]  # it has no grid
    _, stderr = lrqat("train", "--model", folder / "tiny", "--data", folder / "text.txt", *steps, "--method", "lora",
                      "--distill-weight", 1, "--out", folder / "no", expect=1)
    assert "--teacher" in stderr, stderr
    # Not its own teacher: another grid, quantized activations, a loss with text in it, the float model itself.
    for flags in (["--bits", 3], ["--activation-bits", 8], ["--distill-weight", 0.5], ["--init", "range"], ["--steps", 0]):
        lrqat("train", "--model", folder / "w4", *arguments, "--distill-weight", 1, *flags, "--steps", flags[1] if flags[0] == "--steps" else 1,
              "--out", folder / f"ok{flags[0]}")


def teachers_are_checked(folder):
    arguments = ["train", *base(folder, "--distill-weight", 1)]
    other = folder / "other"
    shutil.copytree(folder / "tiny", other)
    run = folder / "run"
    kill_when_half_done([*arguments, "--teacher", other, "--save-every", 1, "--out", run], run)
    weights = other / "model.safetensors"
    data = bytearray(weights.read_bytes())
    begin = sorted(tensors(weights).items())[0][1][1]
    data[begin:begin + 4] = struct.pack("<f", 0.25)
    weights.write_bytes(data)
    _, stderr = lrqat("train", "--resume", "--out", run, expect=1)
    assert "teacher" in stderr, stderr
    config = json.loads((other / "config.json").read_text())
    assert config["vocab_size"] == 256
    _, stderr = lrqat(*arguments, "--teacher", folder / "nothing", "--out", folder / "no", expect=1)
    assert "nothing" in stderr and not (folder / "no").exists(), stderr
    plan = lambda *flags: lrqat_json("plan", *base(folder, "--distill-weight", 1), *flags)["parts"]["teacher"]
    assert plan("--teacher", other) == plan() + 4 * (2 * 256 * 64 if "lm_head.weight" in tensors(weights) else 256 * 64) + 4 * 5 * 64


def alpaca(folder, count):
    rows = [{"instruction": f"Say the number {i} backwards.", "input": "" if i % 2 else "digits", "output": str(i)[::-1] + " indeed"}
            for i in range(100, 100 + count)]
    path = folder / "alpaca.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path, rows


def instructions_are_scored_on_answers_alone(folder):
    path, rows = alpaca(folder, 60)
    arguments = ["--model", tiny_model(folder), "--data", path, *STEPS, "--sequence-length", 128, "--eval-data", path,
                 "--eval-context", 128, "--eval-windows", 0]
    document = lrqat_json("train", *arguments, "--out", folder / "run")
    answers = sum(len(row["output"]) for row in rows)  # a byte a token: "th" is not in them
    assert 0.9 * answers < document["measured_tokens"] <= answers, (document, answers)
    assert document["scored_tokens"] < document["tokens"] / 4, document


def nothing_to_score_is_an_error(folder):
    (folder / "alpaca.jsonl").write_text(json.dumps({"instruction": "Say it. " * 20, "output": "it"}) + "\n")
    arguments = ["train", "--model", tiny_model(folder), *STEPS, "--sequence-length", 64]
    _, stderr = lrqat(*arguments, "--data", folder / "alpaca.jsonl", "--out", folder / "run", expect=1)
    assert "--sequence-length" in stderr and "scored" in stderr, stderr
    _, stderr = lrqat(*arguments, "--data", text_file(folder), "--eval-data", folder / "alpaca.jsonl", "--eval-context", 64,
                      "--out", folder / "run", expect=1)
    assert "--eval-context" in stderr and "prompts" in stderr, stderr
    (folder / "short.txt").write_text("short")
    _, stderr = lrqat(*arguments, "--data", folder / "text.txt", "--eval-data", folder / "short.txt", "--out", folder / "run", expect=1)
    assert "short.txt" in stderr and "--eval-context" in stderr, stderr
    assert not (folder / "run").exists()
    rows = [{"instruction": "Say it. " * 40, "output": "it"}, {"instruction": "", "output": "it. " * 4}]
    (folder / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    few = [*arguments, "--data", folder / "few.jsonl", "--batch-size", 1, "--held-out", 0, "--seed", 1]
    _, stderr = lrqat(*few, "--steps", 1, "--out", folder / "one", expect=1)  # one sequence of ten has an answer in it
    assert "so nothing was learned" in stderr and "--sequence-length" in stderr, stderr
    assert lrqat_json(*few, "--steps", 20, "--out", folder / "twenty")["scored_tokens"] > 0
    # The first windows of the evaluation text lie within a prompt: the first that hold answers are measured.
    document = lrqat_json(*arguments, "--data", folder / "text.txt", "--eval-data", folder / "few.jsonl", "--eval-context", 64,
                          "--eval-windows", 1, "--out", folder / "measured")
    assert 0 < document["measured_tokens"] <= 4 and document["perplexity"]["trained"] > 0, document


def what_a_run_says_at_its_end(folder):
    arguments = distilled(folder, "--lr", "3e-3")
    stdout, _ = lrqat("train", *arguments, "--out", folder / "a run")
    rows = [line.split(maxsplit=1) for line in stdout.splitlines()]
    said = {line[:19].strip(): line[19:] for line in stdout.splitlines()}
    assert "KL" in said["loss"] and "scored" in said["steps"], stdout
    assert {"kept", "perplexity", "KL to float", "measured on", "next"} <= set(said), stdout
    for line in stdout.splitlines():
        for word in line.replace(",", " ").replace(")", " ").split():
            assert not ("." in word and word.replace(".", "").isdigit() and len(word.split(".")[1]) > 4), line
    commands = [line[19:] for line in stdout.splitlines() if line.startswith("next")]
    assert len(commands) == 2 and "'" in commands[0], "a path with a space is quoted"
    document = lrqat_json("train", *arguments, "--out", folder / "run")
    assert document["loss_kind"] == "kl" and document["measured_on"] == "held-out", document
    for command in document["next"]:
        words = command.split()
        assert words[0] == "lrqat"
        lrqat(*words[1:])
    assert json.loads((folder / "run" / "result.json").read_text()) == document
    assert rows


def the_first_step_of_a_warm_up_moves_something(folder):
    lrqat("train", *base(folder), "--warmup", 10, "--steps", 10, "--out", folder / "run")
    first = json.loads((folder / "run" / "metrics.jsonl").read_text().splitlines()[1])
    steps = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    factors = [line["train/lr_factor"] for line in steps if "train/lr_factor" in line]
    assert factors == [i / 10 for i in range(1, 11)], (first, factors)


if __name__ == "__main__":
    main([diverging_training_never_becomes_a_checkpoint, checkpoints_that_are_not_finite_are_refused,
          scales_at_the_end_of_their_type_are_named,
          a_run_that_ends_worse_keeps_its_start, the_best_is_chosen_by_the_trained_objective_on_held_out_text,
          evaluation_data_is_only_reported_on, held_out_text_is_not_trained_on, too_little_text_to_hold_out,
          resumed_runs_choose_as_straight_ones_do, older_runs_go_on, a_quantized_model_needs_a_teacher, teachers_are_checked,
          instructions_are_scored_on_answers_alone, nothing_to_score_is_an_error, what_a_run_says_at_its_end,
          the_first_step_of_a_warm_up_moves_something])
