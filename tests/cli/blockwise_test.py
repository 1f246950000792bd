"""The block-wise start through the program: every method that takes it trains on from scales of both signs, resumes bit
for bit and exports exactly what it trained; what has no use is refused."""

import signal
import subprocess
import time

from tests.support import LRQAT, kill_when_half_done, lrqat, lrqat_json, main, run_state, text_file, tiny_model

START = ["--init", "blockwise", "--calibration-tokens", 512, "--block-steps", 6, "--granularity", "group:32"]
TEXT = ["--sequence-length", 32, "--threads", 1]
TRAINED = ["--batch-size", 2, "--distill-weight", 1, "--held-out", 0, *TEXT]
METHODS = {"lr-qat": ["--rank", 4, "--lr", "3e-2"], "l4q": ["--rank", 4, "--lr", "3e-2"], "lsq": ["--lr", "3e-3"], "peqa": []}


def base(folder, *more):
    return ["train", "--model", tiny_model(folder), "--data", text_file(folder), *START, *more]


def exact(folder, run):
    convert = lrqat_json("convert", "--run", run, "--out", folder / f"{run.name}-converted")
    out = folder / f"{run.name}.gguf"
    export = lrqat_json("export", "--model", folder / f"{run.name}-converted", "--format", "gguf", "--rest-type", "keep",
                        "--out", out)
    assert export["bit_exact_tensors"] == export["tensors"] == 21, export
    return convert["sha256"]


def every_method_trains_and_exports(folder):
    sums = set()
    for method, own in METHODS.items():
        for domain in ("linear", "log"):
            run = folder / f"{method}-{domain}"
            lrqat(*base(folder, *TRAINED, "--method", method, *own, "--steps", 4, "--scale-domain", domain, "--scale-lr", "1e-4", "--out", run))
            sums.add(exact(folder, run))
    assert len(sums) == 2 * len(METHODS), sums


def killed_runs_resume(folder):
    for method in ("lr-qat", "peqa"):
        arguments = base(folder, *TRAINED, "--method", method, *METHODS[method], "--steps", 20, "--save-every", 1)
        straight, killed = folder / f"{method}-straight", folder / f"{method}-killed"
        lrqat(*arguments, "--out", straight)
        kill_when_half_done([*arguments, "--out", killed], killed)
        lrqat("train", "--out", killed, "--resume", "--threads", 1)
        assert run_state(killed) == run_state(straight), method


def kill_in_start(arguments, run, layer):
    """Kills the program once this layer has been prepared."""
    process = subprocess.Popen([LRQAT, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (run / "start" / f"block-{layer}.safetensors").exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() != 0, "the run ended before it was killed"


def files(run):
    """All that a run holds but times and the file that is locked."""
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*")
            if path.suffix == ".safetensors" or path.name == "recipe.toml"}


def killed_starts_resume(folder):
    slow = ["--block-steps", 300, "--block-batch-size", 4]
    for method, own in (("lr-qat", [*TRAINED, "--steps", 3]), ("rtn", [*TEXT, "--held-out", 0])):
        for memory in ([], ["--memory-budget", 65536]):  # less than hidden states take
            name = f"{method}-{len(memory)}"
            arguments = base(folder, *own, "--method", method, *slow)
            straight, killed = folder / f"{name}-straight", folder / f"{name}-killed"
            lrqat(*arguments, "--out", straight)
            kill_in_start([*arguments, *memory, "--out", killed], killed, layer=0)
            assert (killed / "start" / "hidden").exists() == bool(memory)
            for refused in (("convert", "--run", killed, "--out", folder / "c"), (*arguments, "--out", killed)):
                _, stderr = lrqat(*refused, expect=1)
                assert "resume" in stderr, stderr
            assert not (folder / "c").exists()
            _, stderr = lrqat("train", "--out", killed, "--resume", "--threads", 1)
            assert memory or "1 of 2 layers" in stderr, stderr
            found, expected = files(killed), files(straight)
            found.pop("recipe.toml"), expected.pop("recipe.toml")  # it has the memory budget
            assert found == expected and not (killed / "start").exists(), (found.keys(), expected.keys())


def another_text_does_not_go_on(folder):
    text, run = text_file(folder), folder / "run"
    kill_in_start(base(folder, *TEXT, "--method", "rtn", "--block-steps", 300, "--out", run), run, layer=0)
    text.write_text(text.read_text() + "And so on, and so forth, for a few words more than there were before.\n" * 3)
    _, stderr = lrqat("train", "--out", run, "--resume", expect=1)
    assert "training data" in stderr, stderr


def post_training_alone(folder):
    run = folder / "ptq"
    lrqat(*base(folder, *TEXT, "--method", "rtn", "--steps", 0, "--bits", 3, "--out", run))
    learned = exact(folder, run)
    other = folder / "unlearned"
    lrqat(*base(folder, *TEXT, "--method", "rtn", "--steps", 0, "--bits", 3, "--block-lr", 0, "--block-range-lr", 0, "--out", other))
    assert exact(folder, other) != learned, "negative control"


def what_does_nothing_is_refused(folder):
    model, text = tiny_model(folder), text_file(folder)
    for flags, words in ((["--init", "gptq", "--block-steps", 5], "--init blockwise"),
                         (["--init", "blockwise", "--range", "minmax"], "--range"),
                         (["--init", "blockwise", "--method", "lora"], "lora"),
                         (["--init", "blockwise", "--block-steps", 0], "--block-steps"),
                         (["--init", "blockwise", "--block-lr", -1], "--block-lr")):
        _, stderr = lrqat("train", "--model", model, "--data", text, *flags, "--out", folder / "x", expect=2)
        assert words in stderr, (flags, stderr)
        assert not (folder / "x").exists()


main([every_method_trains_and_exports, killed_runs_resume, killed_starts_resume, another_text_does_not_go_on, post_training_alone, what_does_nothing_is_refused])
