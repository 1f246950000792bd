"""lrqat evaluate and compare on the tiny model: the documents of --json, groups, limits, resuming, refusals."""

import json
import math

from tests.support import ROOT, lrqat, lrqat_json, main, text_file, tiny_model

SIX = ["boolq", "piqa", "winogrande", "hellaswag", "arc_easy", "arc_challenge"]


def write_lines(path, rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def task_data(folder):
    """A dozen rows a task, in the layouts in which they are published."""
    data = folder / "data"
    arc = [{"question": {"stem": f"{i}?", "choices": [{"text": "x", "label": "A"}, {"text": "yy", "label": "B"}]},
            "answerKey": "AB"[i % 2]} for i in range(12)]
    write_lines(data / "boolq_valid.jsonl", [{"question": f"is {i} odd", "passage": "No.", "answer": i % 2 == 1}
                                             for i in range(12)])
    write_lines(data / "piqa_valid.jsonl", [{"goal": f"g{i}", "sol1": "a b", "sol2": "c", "label": i % 2} for i in range(12)])
    write_lines(data / "winogrande_valid.jsonl", [{"sentence": f"The _ is {i}.", "option1": "cat", "option2": "dog",
                                                   "answer": str(1 + i % 2)} for i in range(12)])
    write_lines(data / "hellaswag_valid.jsonl", [{"activity_label": "Eat", "ctx_a": f"A{i}.", "ctx_b": "he",
                                                  "endings": ["a", "b", "c", "d"], "label": str(i % 4)} for i in range(12)])
    write_lines(data / "arc_easy_test.jsonl", arc)
    write_lines(data / "arc_challenge_test.jsonl", arc[::-1])
    write_lines(data / "openbookqa_test.jsonl", arc)
    return data


def model_of(folder):
    """Prompts are longer than the tiny model's own positions."""
    model = tiny_model(folder)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096,
                                                   "bos_token_id": 0, "eos_token_id": 0}))
    return model


def gives_the_documents_keys(folder):
    arguments = ["evaluate", "--model", model_of(folder), "--task-data", task_data(folder)]
    found = lrqat_json(*arguments, "--tasks", "l4q_seven,lr_qat_six", "--limit", 10)
    assert set(found["tasks"]) == {*SIX, "openbookqa"} and set(found["groups"]) == {"lr_qat_six", "l4q_seven"}
    for name, task in found["tasks"].items():
        assert {"acc", "acc_stderr", "acc_norm", "samples", "version"} <= set(task), (name, task)
        assert task["samples"] == 10 and abs(task["acc"] * 10 - round(task["acc"] * 10)) < 1e-9
        assert abs(task["acc_stderr"] - math.sqrt(task["acc"] * (1 - task["acc"]) / 9)) < 1e-12
    mean = sum(found["tasks"][name]["acc"] for name in SIX) / 6
    assert abs(found["groups"]["lr_qat_six"]["acc"] - mean) < 1e-12
    text, _ = lrqat(*arguments, "--tasks", "piqa")
    assert text.startswith("piqa ") and "12 samples" in text, text


def takes_every_kind_of_model(folder):
    """A run, its converted folder and what is exported from that are one model: the same log-likelihoods."""
    model, data = model_of(folder), task_data(folder)
    run, converted = folder / "run", folder / "converted"
    lrqat("train", "--model", model, "--data", text_file(folder, 4000), "--method", "rtn", "--bits", 4, "--out", run)
    lrqat("convert", "--run", run, "--out", converted)
    kinds = {"float": model, "run": run, "converted": converted}
    for name, flags in (("gguf", ["--rest-type", "keep"]), ("gguf f32", ["--matrices", "f32"]), ("compressed-tensors", []), ("gptq", []),
                        ("awq", []), ("hf", [])):
        kinds[name] = folder / (name.replace(" ", "-") + (".gguf" if "gguf" in name else ""))
        lrqat("export", "--model", converted, "--format", name.split()[0], "--out", kinds[name], *flags)
    found = {}
    for name, path in kinds.items():
        results = folder / f"{name}.jsonl"
        lrqat("evaluate", "--model", path, "--tasks", "piqa,hellaswag", "--task-data", data, "--limit", 3, "--results", results)
        found[name] = [value for line in results.read_text().splitlines() for value in json.loads(line)["log_likelihoods"]]
    largest = {name: max(abs(a - b) for a, b in zip(values, found["run"], strict=True)) for name, values in found.items()}
    print(f"        {largest}")
    assert largest.pop("float") > 0.1, largest  # the control
    assert max(largest.values()) < 1e-4, largest  # the same numbers, another order of float32 sums


def resumes(folder):
    """Half a results file and a line that was cut off: the rest is computed, what is there is believed."""
    model, data, results = model_of(folder), task_data(folder), folder / "r.jsonl"
    arguments = ["evaluate", "--model", model, "--task-data", data, "--tasks", "piqa,boolq", "--results", results]
    whole = lrqat_json(*arguments)
    lines = results.read_text().splitlines()
    assert len(lines) == 24
    changed = {**json.loads(lines[0]), "log_likelihoods": [0.0, -1000.0]}
    results.write_text("\n".join([json.dumps(changed), *lines[1:7], lines[7][:30]]))
    again = lrqat_json(*arguments)
    assert again["tasks"]["boolq"]["acc"] == whole["tasks"]["boolq"]["acc"]
    now = [json.loads(line) for line in results.read_text().splitlines() if line.endswith("}")]
    assert len(now) == 24 and now[0]["log_likelihoods"] == [0.0, -1000.0]
    assert sorted(line["digest"] for line in now) == sorted(json.loads(line)["digest"] for line in lines)
    # Another setting makes other scores: nothing of the file is used.
    lrqat_json(*arguments, "--max-length", 512)
    assert len(results.read_text().splitlines()) > 40


def refuses(folder):
    model, data = model_of(folder), task_data(folder)

    def message(*arguments, expect=1):
        _, errors = lrqat("evaluate", "--model", model, *arguments, expect=expect)
        assert errors.startswith("lrqat: ") and errors.count("\n") == 1, errors
        return errors

    assert '"nope" is not known' in message("--tasks", "boolq,nope", "--task-data", data, expect=2)
    assert "mmlu_test.jsonl" in message("--tasks", "mmlu", "--task-data", data)
    assert "no such folder" in message("--tasks", "boolq", "--task-data", folder / "nowhere")
    lines = (data / "piqa_valid.jsonl").read_text().splitlines()
    for broken, part in (("{\"goal\": ", "not valid JSON"), ("{\"goal\": \"g\", \"sol1\": \"a\", \"label\": 0}", "sol2")):
        (data / "piqa_valid.jsonl").write_text("\n".join([*lines[:3], broken]))
        errors = message("--tasks", "boolq,piqa", "--task-data", data)  # before boolq runs
        assert "piqa_valid.jsonl:4: " in errors and part in errors, errors
    (folder / "other.txt").write_text("not results\nnot results\n")
    assert "other.txt:1" in message("--tasks", "boolq", "--task-data", data, "--results", folder / "other.txt")


def one_space_in_a_template_changes_the_scores(folder):
    model, data = model_of(folder), task_data(folder)
    template = json.loads((ROOT / "lrqat" / "eval" / "tasks" / "piqa.json").read_text())
    scores = []
    for prompt in (template["prompt"], template["prompt"] + " "):
        (folder / "mine.json").write_text(json.dumps({**template, "prompt": prompt}))
        results = folder / f"r{len(scores)}.jsonl"
        lrqat("evaluate", "--model", model, "--task-data", data, "--tasks", folder / "mine.json", "--results", results)
        scores.append([json.loads(line)["log_likelihoods"] for line in results.read_text().splitlines()])
    assert all(a != b for a, b in zip(*scores))


def compares(folder):
    model, text = model_of(folder), text_file(folder, 4000)
    itself = lrqat_json("compare", model, model, "--data", text, "--context", 64)
    assert itself["kl"] == 0 and itself["perplexity_ratio"] == 1 and itself["top1_agreement"] == 1, itself
    assert itself["verdict"] == "the same distributions" and itself["perplexity_difference_is_noise"] is True
    run = folder / "rounded"
    lrqat("train", "--model", model, "--data", text, "--method", "rtn", "--bits", 2, "--out", run)
    other = lrqat_json("compare", model, run, "--data", text, "--context", 64)
    assert other["kl"] > 0 and 0 < other["kl_stderr"] < other["kl"] and other["kl_median"] < other["kl_99"] < other["kl_max"]
    ratio = other["perplexity"]["b"] / other["perplexity"]["a"]
    assert abs(other["perplexity_ratio"] / ratio - 1) < 1e-9, other
    back = lrqat_json("compare", run, model, "--data", text, "--context", 64)
    assert abs(back["log_perplexity_ratio"] + other["log_perplexity_ratio"]) < 1e-9
    noise = abs(other["log_perplexity_ratio"]) <= 2 * other["log_perplexity_ratio_stderr"]
    assert other["perplexity_difference_is_noise"] is noise and ("noise" in other["verdict"]) is noise


if __name__ == "__main__":
    main([gives_the_documents_keys, takes_every_kind_of_model, resumes, refuses, one_space_in_a_template_changes_the_scores, compares])
