"""`--teacher-cache`: a run from the kept logits is the run beside the teacher, what is kept is made once and only by what fits,
and nothing damaged or half-written is learned from. `--distill-temperature`."""

import itertools
import json
import re
import resource
import shutil
import subprocess

from tests.support import LRQAT, losses, lrqat, lrqat_json, main, run_state, text_file, tiny_model

TRAIN = ["--init", "range", "--distill-weight", 1, "--steps", 6, "--batch-size", 2, "--sequence-length", 32, "--threads", 1,
         "--rank", 4, "--lr", "3e-3", "--warmup", 0, "--held-out", 0.1]


def base(folder, *flags):
    text = folder / "text.txt"
    return ["train", "--model", tiny_model(folder), "--data", text if text.exists() else text_file(folder), *TRAIN, *flags]


def parts(cache):
    return sorted(cache.glob("part-*"))


def sequences_missing(stderr):
    found = re.search(r"the logits of (\d+) sequences are missing", stderr)
    return int(found.group(1)) if found else 0


def same_run(one, other):
    (tensors, record), (others, other_record) = run_state(one), run_state(other)
    return tensors == others and record == other_record and losses(one) == losses(other)


def all_logits_are_the_teacher(folder):
    """Bit for bit, filled or found, whatever the temperature; beside cross-entropy too."""
    for number, flags in enumerate([[], ["--distill-temperature", 2], ["--distill-weight", 0.5, "--gradient-accumulation", 2]]):
        arguments, cache = base(folder, *flags), folder / f"cache-{number}"
        runs = [folder / f"{name}-{number}" for name in ("beside", "filling", "from")]
        lrqat(*arguments, "--out", runs[0])
        cached = [*arguments, "--teacher-cache", cache, "--teacher-top-k", 0]
        _, stderr = lrqat(*cached, "--out", runs[1])
        assert sequences_missing(stderr) > 12 and "256 of 256 logits" in stderr, stderr
        files = {path: path.read_bytes() for path in parts(cache)}
        _, stderr = lrqat(*cached, "--out", runs[2])
        assert "the teacher is not loaded" in stderr and sequences_missing(stderr) == 0, stderr
        assert files and {path: path.read_bytes() for path in parts(cache)} == files
        assert same_run(runs[0], runs[1]) and same_run(runs[0], runs[2])
    assert losses(folder / "beside-0") != losses(folder / "beside-1")
    lrqat(*base(folder, "--distill-temperature", 1), "--out", folder / "one")
    assert same_run(folder / "beside-0", folder / "one")


def fewer_logits_are_a_lower_bound(folder):
    first = {}
    for top_k in (1, 8, 64, 255, 256):
        lrqat(*base(folder, "--teacher-cache", folder / f"k{top_k}", "--teacher-top-k", top_k), "--out", folder / f"run-{top_k}")
        first[top_k] = losses(folder / f"run-{top_k}")[0]
    values = list(first.values())
    # 255 of 256 tokens and the mass of the last say the same as all: equal but for rounding.
    assert all(a <= b * (1 + 1e-6) for a, b in itertools.pairwise(values)) and 0 < values[0] < 0.99 * values[-1], first
    assert values[-2] > 0.999 * values[-1], first


def only_what_is_missing_is_made(folder):
    """Sequences are found by their tokens: the order, the batches and the steps of a run do not matter."""
    cache = folder / "cache"
    flags = ["--teacher-cache", cache, "--teacher-top-k", 16]
    _, stderr = lrqat(*base(folder, *flags), "--out", folder / "a")
    assert sequences_missing(stderr) > 12, stderr
    for name, more in [("seed", ["--batch-size", 4, "--steps", 3]), ("fewer", ["--steps", 2])]:
        _, stderr = lrqat(*base(folder, *flags, *more), "--out", folder / name)
        assert "the teacher is not loaded" in stderr, (name, stderr)
    _, stderr = lrqat(*base(folder, *flags, "--steps", 9), "--out", folder / "longer")
    assert 0 < sequences_missing(stderr) <= 6, stderr
    count = len(parts(cache))
    other = folder / "other.txt"
    other.write_text("All of this was never seen before. " * 20 + folder.joinpath("text.txt").read_text()[::-1])
    arguments = base(folder, *flags)
    arguments[arguments.index(folder / "text.txt")] = other
    _, stderr = lrqat(*arguments, "--out", folder / "other")
    assert sequences_missing(stderr) > 12 and len(parts(cache)) == count + 1, stderr
    # A run knows its cache again in another place.
    moved = folder / "moved"
    cache.rename(moved)
    recipe = folder / "a" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace(str(cache), str(moved)))
    _, stderr = lrqat("train", "--resume", "--out", folder / "a")
    assert str(moved) in stderr and "the teacher is not loaded" in stderr, stderr


def refuses(folder):
    cache = folder / "cache"
    flags = ["--teacher-cache", cache, "--teacher-top-k", 16, "--compute-dtype", "float32"]
    lrqat(*base(folder, *flags), "--out", folder / "run")
    other = folder / "second"
    shutil.copytree(folder / "tiny", other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 2 * config["rms_norm_eps"]}))
    before = {path: path.read_bytes() for path in cache.iterdir()}
    for change, said in [(["--teacher-top-k", 15], "--teacher-top-k 16, this run has 15"),
                         (["--distill-temperature", 2], "--distill-temperature 1.0, this run has 2.0"),
                         (["--sequence-length", 16], "--sequence-length 32, this run has 16"),
                         (["--compute-dtype", "bfloat16"], "--compute-dtype"),
                         (["--teacher", other], "another teacher")]:
        _, stderr = lrqat(*base(folder, *flags), *change, "--out", folder / "no", expect=1)
        assert said in stderr and "--teacher-cache" in stderr and str(cache) in stderr and not (folder / "no").exists(), stderr
    for change, said in [(["--teacher-top-k", 257], "256"), (["--teacher-top-k", -1], "--teacher-top-k"),
                         (["--distill-weight", 0], "does nothing"), (["--distill-temperature", 0], "--distill-temperature")]:
        _, stderr = lrqat(*base(folder, *flags, *change), "--out", folder / "no", expect=2)
        assert said in stderr, stderr
    _, stderr = lrqat(*base(folder, "--teacher-top-k", 16), "--out", folder / "no", expect=2)
    assert "--teacher-cache" in stderr, stderr
    for place in (folder / "tiny", folder / "text.txt"):
        _, stderr = lrqat(*base(folder, "--teacher-cache", place), "--out", folder / "no", expect=1)
        assert "--teacher-cache" in stderr and str(place) in stderr, stderr
    assert {path: path.read_bytes() for path in cache.iterdir()} == before and not (folder / "no").exists()


def damage_is_noticed(folder):
    cache = folder / "cache"
    arguments = base(folder, "--teacher-cache", cache, "--teacher-top-k", 16)
    lrqat(*arguments, "--out", folder / "run")
    [part] = parts(cache)
    whole = part.read_bytes()
    for damaged in (whole[:-1], whole[:100], whole[:len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1:]):
        part.write_bytes(damaged)
        _, stderr = lrqat(*arguments, "--out", folder / "no", expect=1)
        assert str(part) in stderr and "remove" in stderr and "made again" in stderr, stderr
        assert not (folder / "no").exists()
    part.unlink()
    lrqat(*arguments, "--out", folder / "again")
    assert same_run(folder / "run", folder / "again") and parts(cache)[0].read_bytes() == whole


def a_full_disk_leaves_nothing_half_written(folder):
    cache = folder / "cache"
    arguments = base(folder, "--teacher-cache", cache, "--teacher-top-k", 0)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    result = subprocess.run([LRQAT, *map(str, arguments), "--out", folder / "run"], capture_output=True, text=True,
                            preexec_fn=limit, restore_signals=False)
    assert result.returncode == 1 and "cannot write" in result.stderr and "part-000001" in result.stderr, result
    assert not parts(cache) and not list(cache.glob("*lrqat-tmp*")) and not (folder / "run").exists()
    lrqat(*arguments, "--out", folder / "run")
    assert len(parts(cache)) == 1


def is_planned(folder):
    flags = [*base(folder)[1:], "--teacher-top-k", 16, "--teacher-cache", folder / "cache"]
    document = lrqat_json("plan", *flags)
    _, stderr = lrqat("train", *flags, "--out", folder / "run")
    planned = document["teacher_cache"]
    assert planned["sequences"] == sequences_missing(stderr) and planned["seconds"] > 0, (planned, stderr)
    on_disk = sum(path.stat().st_size for path in parts(folder / "cache"))
    assert planned["bytes"] < on_disk < planned["bytes"] + 2000, (planned, on_disk)
    assert document["step_parts"]["teacher"] == 0 and "teacher cache" in lrqat("plan", *flags)[0]
    assert lrqat_json("plan", *base(folder)[1:])["teacher_cache"] is None


if __name__ == "__main__":
    main([all_logits_are_the_teacher, fewer_logits_are_a_lower_bound, only_what_is_missing_is_made, refuses, damage_is_noticed,
          a_full_disk_leaves_nothing_half_written, is_planned])
