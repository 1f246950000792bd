"""Hostile command lines: every one is refused before work begins with a message that names the flag, what was found and
what is allowed; and whatever is wrong, texts of libraries, long numbers and long inputs never reach the user."""

import json
import re
import resource
import shutil
import subprocess

from tests.support import LRQAT, main, run_lrqat, text_file, tiny_model

LONG = "x" * 100_000
DIGITS = "9" * 309
RAW = [r"std::", r"json\.exception", r"Exception raised from", r"frame #\d", r"_M_", r"terminate called", r"basic_string",
       r"[0-9]{100}", r"x{300}", "\x1b"]


def refused(*arguments, codes=(2,), timeout=None):
    """What the program says; it must refuse, shortly and in words of its own."""
    result = run_lrqat(arguments, timeout=timeout)
    shown = " ".join(str(argument)[:60] for argument in arguments)
    assert result.returncode in codes, (shown, result.returncode, result.stderr[-400:])
    said = result.stderr
    assert len(said) < 4500, (shown, len(said))
    assert re.search("^lrqat: ", said, re.M), (shown, said[:200])  # it may have said first what it chose itself
    for pattern in RAW:
        assert not re.search(pattern, said), (shown, pattern, said[:400])
    return said


def numbers_name_flag_value_and_range(folder):
    model, text = tiny_model(folder), text_file(folder)
    train = ["train", "--model", model, "--data", text, "--out", folder / "run"]
    big = 2**63 - 1
    cases = [
        (train, "clip-norm", ["inf", "nan", "-1", "1e999", DIGITS, LONG]),
        (train, "lr", ["inf", "nan", "-1", "0x1p3", ""]),
        (train, "warmup", ["1e30", "inf", "-1"]),
        (train, "memory-budget", ["-1", "-1GB", "nanGB", "infB", "1e30GB", DIGITS + "GB", "lots"]),
        (train, "gradient-accumulation", [big, 2**63, 0, -1, 1.5]),
        (train, "batch-size", [big, 0]),
        (train, "sequence-length", [big, 1]),
        (train, "steps", [big, -1, "many"]),
        (train, "seed", [-1, 2**64, "0x10", "1e3", LONG]),
        (train, "threads", [1_000_000, -1, DIGITS, LONG]),
        (train, "bits", [5, DIGITS, "four"]),
        (train, "activation-bits", [5, DIGITS]),
        (["plan", "--model", model], "batch-size", [big, DIGITS]),
        (["perplexity", "--model", model, "--data", text], "context", [1, 129, big, DIGITS]),
        (["compare", model, model, "--data", text], "context", [129, "nan"]),
        (["compare", model, model, "--data", text], "max-windows", [-1, DIGITS]),
        (["generate", "--model", model, "--prompt", "The"], "max-tokens", [0, 126, big]),
        (["generate", "--model", model, "--prompt", "The"], "temperature", ["nan", "inf", -1]),
        (["generate", "--model", model, "--prompt", "The"], "top-p", ["nan", 2]),
        (["evaluate", "--model", model, "--tasks", "boolq", "--task-data", folder], "limit", [-1, "1e3"]),
        (["evaluate", "--model", model, "--tasks", "boolq", "--task-data", folder], "bos", ["maybe", LONG]),
    ]
    for command, flag, values in cases:
        for value in values:
            said = refused(*command, f"--{flag}", value)
            assert f"--{flag}" in said, (flag, str(value)[:40], said)
            assert str(value)[:10] in said, (flag, str(value)[:40], said)
    assert not (folder / "run").exists()


def counts_are_bounded_together(folder):
    model, text = tiny_model(folder), text_file(folder)
    for command in (["train", "--out", folder / "run", "--data", text], ["plan"]):
        said = refused(*command, "--model", model, "--batch-size", 10**6, "--sequence-length", 64,
                       "--gradient-accumulation", 10**6)
        assert "--batch-size" in said and "tokens a step" in said, said
    assert not (folder / "run").exists()


def ranks_that_no_matrix_has_are_refused(folder):
    model, text = tiny_model(folder), text_file(folder)
    for command in (["train", "--out", folder / "run", "--data", text], ["plan"]):
        for flags in (["--rank", 1_000_000_000], ["--rank", 257], ["--overrides", "*.down_proj rank=100000"],
                      ["--init", "svd", "--svd-steps", 1_000_000_000]):
            said = refused(*command, "--model", model, *flags, timeout=20)
            assert "rank" in said or "svd-steps" in said, said
    assert not (folder / "run").exists()


def unknown_words_are_named_with_the_nearest(_):
    for arguments, words in [
        (["prune"], ['"prune"', "convert", "train"]),
        (["trian", "--model", "m"], ['"trian"', "did you mean train?"]),
        (["eval"], ['"eval"', "did you mean evaluate?"]),
        ([LONG], ["is no subcommand", "tokenize"]),
        ([], ["no subcommand", "tokenize", "plan", "--help"]),
        (["--json"], ['"--json"', "subcommand"]),
        (["--json", "train"], ['"--json"', "lrqat train --json"]),
        (["train", "--modle", "m", "--out", "x"], ['"--modle"', "did you mean --model?"]),
        (["convert", "--rum", "r", "--out", "x"], ['"--rum"', "did you mean --run?"]),
        (["train", "--out", "x", "--" + LONG], ["is no flag"]),
        (["train", "stray", "--out", "x"], ['"stray"']),
        (["convert", "--out", "x"], ["--run", "missing", "convert --help"]),
        (["convert", "--run"], ["--run", "needs a value"]),
        (["convert", "--run", "a", "--run", "b", "--out", "x"], ["--run", "more than once"]),
        (["convert", "--run", "a", "--out", "x", "--force=maybe"], ["--force"]),
    ]:
        said = refused(*arguments)
        for word in words:
            assert word in said, (arguments[:2], word, said[:500])


def recipe_files_speak_as_flags_do(folder):
    model = tiny_model(folder)
    path = folder / "recipe.toml"
    for line, words in [
        ("clip-norm = inf", ["recipe.toml:1"]),
        ("warmup = 1e30", ["recipe.toml:1: warmup "]),
        (f"steps = {DIGITS}", ["recipe.toml:1: steps "]),
        ("stepps = 3", ["recipe.toml:1", "did you mean steps?"]),
        (f'method = "{LONG}"', ["recipe.toml:1"]),
        (f"{LONG} = 1", ["recipe.toml:1"]),
        ('method = "a\\qb"', ["recipe.toml:1", "\\q"]),
        ("steps = 1 " + LONG, ["recipe.toml:1", "steps"]),
        ("a." * 200_000 + "a = 1", ["recipe.toml:1", "key = value"]),
        ("steps = {" + "a." * 200_000 + "a = 1}", ["recipe.toml:1", "tables"]),
        ("steps = " + "[" * 200_000, ["recipe.toml:1", "steps"]),
        ("method = lsq", ["recipe.toml:1", 'method = "lsq"']),
    ]:
        path.write_text(line + "\n")
        said = refused("plan", "--model", model, "--config", path)
        for word in words:
            assert word in said, (line[:40], word, said[:500])
    refused("plan", "--model", model, "--config", folder / "none.toml", codes=(1, 2))


def words_of_fields_are_refused_in_short(folder):
    model = tiny_model(folder)
    for flag in ["method", "granularity", "phi", "range", "init", "weight-dtype", "schedule", "checkpointing", "compute-dtype",
                 "scale-domain", "scale-type", "symmetric", "activation-range", "overrides", "scale-to", "device"]:
        for value in (LONG, "", "a\nb\x1b[31m"):
            refused("plan", "--model", model, f"--{flag}={value}", codes=(1, 2) if value == "" else (2,))
    for flag in ["format", "linear-type", "rest-type", "dtype"]:
        arguments = {"format": "gguf", flag: LONG}
        refused("export", "--model", model, "--out", folder / "out", *[f"--{key}={value}" for key, value in arguments.items()],
                codes=(1, 2))


def damaged_models_are_told_in_our_words(folder):
    config = json.loads((tiny_model(folder) / "config.json").read_text())
    for key in config:
        for value in (LONG, int(DIGITS), {"a": [1]}):
            broken = folder / "broken"
            if broken.exists():
                shutil.rmtree(broken)
            shutil.copytree(folder / "tiny", broken)
            (broken / "config.json").write_text(json.dumps({**config, key: value}))
            result = run_lrqat(["inspect", broken])
            if result.returncode == 0:
                continue  # a key that does not matter
            assert result.returncode == 1 and len(result.stderr) < 4500, (key, str(value)[:40], result.stderr[:300])
            for pattern in RAW:
                assert not re.search(pattern, result.stderr), (key, str(value)[:40], pattern, result.stderr[:400])


def paths_need_not_be_text(folder):
    """Whatever bytes a file system takes for a name."""
    model, text = tiny_model(folder), text_file(folder)
    run, evaluation = bytes(folder) + b"/r\xff8", bytes(folder) + b"/t\xfe.txt"
    shutil.copyfile(text, evaluation)
    result = subprocess.run([LRQAT, "train", "--model", model, "--data", text, "--init", "range", "--steps", "1", "--batch-size", "1",
                             "--sequence-length", "32", "--eval-data", evaluation, "--eval-context", "32", "--eval-windows", "2",
                             "--json", "--out", run], capture_output=True, timeout=120)
    assert result.returncode == 0, result.stderr[-500:]
    assert json.loads(result.stdout)["steps"] == 1
    assert json.loads((folder / "r\udcff8" / "result.json").read_text())["steps"] == 1


def memory_that_runs_out_is_told_in_our_words(folder):
    """At many places of a run: whatever asks for memory that is not there, the user learns that, and what needs less."""
    model, text = tiny_model(folder), text_file(folder)
    def limited(mebibytes, *arguments):
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (mebibytes << 20, mebibytes << 20))
        return subprocess.run([LRQAT, *map(str, arguments), "--threads", "1"], capture_output=True, text=True, timeout=120,
                              preexec_fn=limit)
    least = next(size for size in range(350, 6000, 50) if limited(size, "--bogus").returncode == 2)
    told = 0
    for more in (10, 60, 120, 250, 500):
        shutil.rmtree(folder / "run", ignore_errors=True)
        result = limited(least + more, "train", "--model", model, "--data", text, "--steps", 1, "--batch-size", 120,
                         "--sequence-length", 128, "--init", "range", "--checkpointing", "none", "--out", folder / "run")
        if result.returncode == 0:
            continue
        assert result.returncode == 1, (more, result.returncode, result.stderr[-400:])
        said = result.stderr[result.stderr.index("lrqat: "):]
        assert "not enough memory" in said and "--batch-size" in said and "lrqat plan" in said, (more, said)
        assert len(said) < 500 and not any(re.search(pattern, said) for pattern in RAW), (more, said)
        told += 1
    assert told >= 2, told


if __name__ == "__main__":
    main([numbers_name_flag_value_and_range, counts_are_bounded_together, ranks_that_no_matrix_has_are_refused,
          unknown_words_are_named_with_the_nearest,
          recipe_files_speak_as_flags_do, words_of_fields_are_refused_in_short, damaged_models_are_told_in_our_words,
          paths_need_not_be_text, memory_that_runs_out_is_told_in_our_words])
