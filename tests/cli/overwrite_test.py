"""--out and --force: only what lrqat wrote is ever replaced, never a model that is read, and never in two halves."""

import os
import shutil
import signal
import subprocess
import time

from tests.support import LRQAT, lrqat, lrqat_json, main, text_file, tiny_model


def rounded(folder):
    model, text = tiny_model(folder), text_file(folder)
    run, converted = folder / "run", folder / "converted"
    lrqat_json("train", "--model", model, "--data", text, "--method", "rtn", "--steps", 0, "--granularity", "channel", "--out", run)
    lrqat_json("convert", "--run", run, "--out", converted)
    return model, run, converted


def contents(path):
    if path.is_dir():
        return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}
    return path.read_bytes()


def export(model, kind, out, expect):
    return lrqat("export", "--model", model, "--format", kind, "--out", out, "--force", expect=expect)[1]


def files_of_others_are_not_replaced(folder):
    model, run, converted = rounded(folder)
    thesis = folder / "thesis.txt"
    thesis.write_text("mine")
    other = folder / "other.gguf"
    shutil.copy("tests/data/formats/tiny_llama.gguf", other)
    for path in (thesis, other, text_file(folder)):
        before = contents(path)
        assert path.name in export(converted, "gguf", path, 1) and contents(path) == before, path
    assert "is a file" in export(converted, "hf", thesis, 1) and thesis.read_text() == "mine"
    mine = folder / "folder"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    for kind in ("hf", "gptq", "peft"):
        export(run if kind == "peft" else converted, kind, mine, 1)
    assert "is a folder" in export(converted, "gguf", mine, 1)
    _, stderr = lrqat("convert", "--run", run, "--out", mine, "--force", expect=1)
    assert "not a folder that lrqat" in stderr and contents(mine) == {"thesis.txt": b"mine"}, stderr
    # What somebody put beside it is not lost with what lrqat wrote.
    (converted / "thesis.txt").write_text("mine")
    _, stderr = lrqat("convert", "--run", run, "--out", converted, "--force", expect=1)
    assert "thesis.txt" in stderr and (converted / "thesis.txt").read_text() == "mine", stderr
    (folder / "dangling").symlink_to(folder / "nowhere")
    assert "symbolic link" in export(converted, "gguf", folder / "dangling", 1)
    assert "/dev/null" in export(converted, "gguf", "/dev/null", 1) and not os.path.isfile("/dev/null")


def the_model_itself_is_never_replaced(folder):
    model, run, converted = rounded(folder)
    gguf = folder / "m.gguf"
    lrqat_json("export", "--model", converted, "--format", "gguf", "--out", gguf)
    before = {path: contents(path) for path in (model, run, converted, gguf)}
    (folder / "link").symlink_to(converted)
    (folder / "link.gguf").symlink_to(gguf)
    os.link(gguf, folder / "hard.gguf")
    os.link(model / "model.safetensors", folder / "weights.safetensors")
    (folder / "weights.link").symlink_to(model / "model.safetensors")
    for kind, source, out in [("gguf", model, model / "model.safetensors"), ("gguf", model, folder / "weights.safetensors"),
                              ("gguf", model, folder / "weights.link"), ("gguf", run, model / "config.json"),
                              ("gguf", run, run / "recipe.toml"), ("gguf", gguf, gguf), ("gguf", gguf, folder / "link.gguf"),
                              ("gguf", gguf, folder / "hard.gguf"), ("gguf", folder / "link.gguf", gguf),
                              ("hf", model, model), ("hf", converted, converted), ("hf", converted, folder / "link"),
                              ("gptq", folder / "link", converted), ("hf", converted, folder)]:
        stderr = export(source, kind, out, 1)
        assert "replaced" in stderr or "is a file" in stderr, (kind, source, out, stderr)
        assert {path: contents(path) for path in before} == before, (kind, source, out)
    for out in (run, model, folder):
        _, stderr = lrqat("convert", "--run", run, "--out", out, "--force", expect=1)
        assert "replaced" in stderr, (out, stderr)
        assert {path: contents(path) for path in before} == before, out


def what_lrqat_wrote_is_replaced(folder):
    _, run, converted = rounded(folder)
    lrqat("convert", "--run", run, "--out", converted, expect=1)
    lrqat("convert", "--run", run, "--out", converted, "--force")
    for kind in ("gguf", "hf", "gptq", "compressed-tensors"):
        out = folder / kind
        lrqat("export", "--model", converted, "--format", kind, "--out", out)
        before = contents(out)
        _, stderr = lrqat("export", "--model", converted, "--format", kind, "--out", out, expect=1)
        assert "--force" in stderr and contents(out) == before, stderr
        export(converted, kind, out, 0)
        assert contents(out) == before, kind
    export(converted, "gptq", folder / "hf", 0)
    # A file that another program made of ours, keys and all, is not ours.
    changed = bytearray((folder / "gguf").read_bytes())
    at = changed.index(b"output_norm.weight")
    changed[at:at + 6] = b"outpux"
    (folder / "gguf").write_bytes(changed)
    export(converted, "gguf", folder / "gguf", 1)
    for name in ("model_backup.safetensors", "model-00001-of-00002.safetensors.bak", "model2.safetensors", "model-1-of-2.safetensors"):
        own = folder / "gptq" / name
        own.write_bytes(b"mine")
        _, stderr = lrqat("export", "--model", converted, "--format", "gptq", "--out", folder / "gptq", "--force", expect=1)
        assert "replaced" in stderr and own.read_bytes() == b"mine", stderr
        own.unlink()
    export(converted, "gptq", folder / "gptq", 0)
    empty = folder / "empty"
    empty.mkdir()
    export(converted, "hf", empty, 0)


def what_a_run_needs_to_go_on_is_not_replaced(folder):
    """Its teacher and its texts, which are as much its inputs as the model."""
    model, _, converted = rounded(folder)
    text, teacher, run = text_file(folder), folder / "teacher.gguf", folder / "distilled"
    lrqat_json("export", "--model", converted, "--format", "gguf", "--out", teacher)
    lrqat_json("train", "--model", model, "--data", text, "--teacher", teacher, "--init", "range", "--steps", 1, "--sequence-length", 32,
               "--held-out", 0, "--out", run)
    before = {path: contents(path) for path in (text, teacher)}
    for path in before:
        said = export(run, "gguf", path, 1)
        assert ("never replaced" if path == teacher else "not replaced") in said, said
        _, stderr = lrqat("convert", "--run", run, "--out", path, "--force", expect=1)
        assert "replaced" in stderr or "is a file" in stderr, stderr
    assert {path: contents(path) for path in before} == before


def names_that_cannot_be_written_are_refused_before_any_work(folder):
    model, run, converted = rounded(folder)
    text = text_file(folder)
    (folder / "file").write_text("mine")
    before = sorted(folder.rglob("*"))
    for out, words in [("", "--out is empty"), (folder / "file" / "x", "cannot create"), ("/proc/x/y", "cannot create"),
                       (folder / ("x" * 300), "File name too long")]:
        code = 2 if out == "" else 1
        # A text that is not there is found later than a name that cannot be.
        for command in (("train", "--model", model, "--data", folder / "no.txt", "--out", out),
                        ("train", "--model", model, "--data", text, "--method", "rtn", "--steps", 0, "--out", out),
                        ("convert", "--run", run, "--out", out), ("export", "--model", converted, "--format", "gguf", "--out", out),
                        ("export", "--model", converted, "--format", "hf", "--out", out)):
            _, stderr = lrqat(*command, expect=code)
            assert words in stderr, (command, stderr)
    assert sorted(folder.rglob("*")) == before


def a_slash_behind_the_name_and_links_are_followed(folder):
    model, run, _ = rounded(folder)
    again = f"{folder / 'again'}/"
    found = lrqat_json("train", "--model", model, "--data", text_file(folder), "--method", "rtn", "--steps", 0, "--out", again)
    assert f"--out {folder / 'again'}-converted" in found["next"][0], found["next"]
    for out in (f"{folder / 'deep' / 'there'}/.", folder / "deep" / "there"):
        lrqat_json("convert", "--run", run, "--out", out, "--force")
    assert (folder / "deep" / "there" / "config.json").is_file()
    link = folder / "link"
    link.symlink_to(folder / "deep" / "there")
    inode = (folder / "deep" / "there").stat().st_ino
    lrqat_json("convert", "--run", run, "--out", link, "--force")
    assert link.is_symlink() and (folder / "deep" / "there").stat().st_ino != inode


def kills_leave_the_old_or_the_new(folder):
    """Whenever it is killed, the target opens, and the next call sweeps what was left and succeeds."""
    _, run, converted = rounded(folder)
    command = [LRQAT, "convert", "--run", run, "--out", converted, "--force"]
    left = 0
    for i in range(6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = set(folder.glob("converted.*"))
        while process.poll() is None and not set(folder.glob("converted.*")) - before:
            time.sleep(0.0005)
        time.sleep(0.004 * i)
        process.send_signal(signal.SIGKILL)
        process.wait()
        left += len(list(folder.glob("converted.*")))
        lrqat_json("inspect", converted)
    assert left > 0, "no kill left anything, so that nothing was to be swept"
    subprocess.run(command, check=True, capture_output=True)
    assert sorted(path.name for path in folder.iterdir()) == ["converted", "run", "text.txt", "tiny"], list(folder.iterdir())


main([files_of_others_are_not_replaced, the_model_itself_is_never_replaced, what_lrqat_wrote_is_replaced,
      what_a_run_needs_to_go_on_is_not_replaced, names_that_cannot_be_written_are_refused_before_any_work,
      a_slash_behind_the_name_and_links_are_followed, kills_leave_the_old_or_the_new])
