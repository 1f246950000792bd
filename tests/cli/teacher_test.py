"""A teacher that is not the student's own model: what fits, what is refused by name, what `plan` says of its time."""

import json

from tests.cli.plan_memory_test import model
from tests.support import lrqat, lrqat_json, main, text_file

FLAGS = ["--init", "range", "--rank", 4, "--steps", 2, "--batch-size", 1, "--sequence-length", 64, "--threads", 1,
         "--distill-weight", 1]


def edit(path, **entries):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, **entries}))
    return path


def only_the_same_vocabulary_teaches(folder):
    student, text = model(folder / "student"), text_file(folder)
    for count in (255, 257, 512):
        teacher = model(folder / f"teacher-{count}", vocabulary=count)
        for command in (["train", "--data", text, "--out", folder / "run"], ["plan"]):
            _, stderr = lrqat(*command, "--model", student, "--teacher", teacher, *FLAGS, expect=1)
            assert "--teacher" in stderr and str(count) in stderr and "256" in stderr and "vocabulary" in stderr, stderr
    assert not (folder / "run").exists()
    wide = model(folder / "wide", hidden=128, inner=192, layers=2)  # other sizes are no obstacle
    document = lrqat_json("train", "--data", text, "--model", student, "--teacher", wide, *FLAGS, "--out", folder / "run")
    assert document["loss_kind"] == "kl" and document["kl_to_float"]["trained"] > 0, document
    reference = lrqat_json("compare", wide, folder / "run", "--data", text, "--context", 64, "--max-windows", 4)
    assert reference["kl"] > 0, reference


def only_the_same_cap_of_logits_teaches(folder):
    student, text = model(folder / "student", gemma2=True, tied=True), text_file(folder)
    arguments = ["--data", text, "--model", student, *FLAGS]
    for cap in (20.0, None):
        teacher = edit(model(folder / f"cap-{cap}", gemma2=True, tied=True, layers=2), final_logit_softcapping=cap)
        _, stderr = lrqat("train", *arguments, "--teacher", teacher, "--out", folder / "run", expect=1)
        assert "--teacher" in stderr and "30" in stderr and "logits" in stderr and not (folder / "run").exists(), stderr
        assert (str(int(cap)) if cap else "not") in stderr, stderr
    same = model(folder / "same", gemma2=True, tied=True, layers=2)
    lrqat("train", *arguments, "--teacher", same, "--out", folder / "run")
    plain = model(folder / "plain")  # a Llama caps nothing
    _, stderr = lrqat("train", *arguments, "--teacher", plain, "--out", folder / "x", expect=1)
    assert "--teacher" in stderr and "logits" in stderr, stderr


def it_has_positions_for_the_sequences(folder):
    student, text = model(folder / "student"), text_file(folder)
    short = edit(model(folder / "short"), max_position_embeddings=32)
    arguments = ["--data", text, "--model", student, "--teacher", short, *FLAGS]
    for command in (["train", *arguments, "--out", folder / "run"], ["plan", *arguments]):
        _, stderr = lrqat(*command, expect=2)
        assert "--teacher" in stderr and "32 positions" in stderr and "--sequence-length 64" in stderr, stderr
        _, stderr = lrqat(*command, "--sequence-length", 32, "--eval-data", text, "--eval-context", 64, expect=2)
        assert "--teacher" in stderr and "--eval-context 64" in stderr, stderr
    assert not (folder / "run").exists()
    lrqat("train", *arguments, "--sequence-length", 32, "--out", folder / "run")


def its_time_is_planned(folder):
    """A step's part of the teacher is that of the teacher's own blocks and head, not of the student's."""
    student = model(folder / "student", hidden=128, inner=256)
    deep, wide = model(folder / "deep", hidden=128, inner=256, layers=12), model(folder / "wide", hidden=512, inner=2048)
    plan = lambda *flags: lrqat_json("plan", "--model", student, *FLAGS, "--batch-size", 4, *flags)
    own, with_deep, with_wide = plan(), plan("--teacher", deep), plan("--teacher", wide)
    for document in (own, with_deep, with_wide):
        assert abs(sum(document["step_parts"].values()) - document["seconds_per_step"]) < 1e-9, document
    assert with_deep["step_parts"]["teacher"] > 4 * own["step_parts"]["teacher"] > 0, (own, with_deep)
    assert with_wide["step_parts"]["teacher"] > 4 * own["step_parts"]["teacher"], (own, with_wide)
    assert plan("--teacher", deep, "--distill-weight", 0)["step_parts"]["teacher"] == 0


if __name__ == "__main__":
    main([only_the_same_vocabulary_teaches, only_the_same_cap_of_logits_teaches, it_has_positions_for_the_sequences,
          its_time_is_planned])
