"""lrqat evaluate against lm-evaluation-harness: its own tasks and its transformers backend, on the same rows; the
log-likelihood of every choice of 50 samples a task, and the metrics.

What lm-eval gives SmolLM2 was written down once (--write: some minutes); a sample a task of it is computed again here.
A tiny model is computed by lm-eval while the test runs: examples, long prompts, whole documents, a tokenizer with BOS."""

import json
import shutil
import sys

import support
from tests.support import ROOT, byte_tokenizer, lrqat_json, main

torch, transformers, _, _ = support.require("torch", "transformers", "lm_eval", "dill")
import lm_eval_rows as rows_of  # noqa: E402
import lm_eval_tasks as harness  # noqa: E402
from families_test import CASES, save  # noqa: E402

DATA = ROOT / "tests" / "data" / "eval"
FIXTURE = DATA / "lm_eval_smollm2.json"
SAMPLES = 50
LIVE = 1  # samples a task that lm-eval computes again on SmolLM2
# Both sum float32 products in their own order: a log-probability differs by about 1e-5 (tests/model). lm-eval's
# log_softmax sums the 49152 terms of SmolLM2 in float32 and loses about 1e-5 of each token, always to the same side (in
# float64 it agrees with lrqat): 1e-3 for up to 100 tokens. A prompt that is another by one space moves them by 1 to 6.
TOLERANCE = {"tiny": 1e-4, "smollm2": 1e-3}

SAMPLED = {"boolq": "boolq_valid", "piqa": "piqa_valid", "arc_easy": "arc_easy_test"}
WRITTEN = {"hellaswag": "hellaswag_valid", "winogrande": "winogrande_valid", "arc_challenge": "arc_challenge_test",
           "openbookqa": "openbookqa_test", "mmlu": "mmlu_test", "lambada": "lambada_test"}
CHOICE_TASKS = [*SAMPLED, *WRITTEN]
SUBJECTS = ["anatomy", "us_foreign_policy"]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return list(rows)


def task_data(folder):
    """Writes the files of every task; {task: {"test": rows, "train": rows}}."""
    folder.mkdir(exist_ok=True)
    data = {}
    for task, name in SAMPLED.items():
        shutil.copy(DATA / f"{name}.jsonl", folder)
        rows = [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text().splitlines()]
        data[task] = {"test": rows, "train": write_lines(folder / f"{task}_train.jsonl", rows)}
    for task, name in WRITTEN.items():
        made = list(getattr(rows_of, task)(SAMPLES + 30))
        data[task] = {"test": write_lines(folder / f"{name}.jsonl", made[:SAMPLES]),
                      "train": write_lines(folder / f"{task}_{'dev' if task == 'mmlu' else 'train'}.jsonl", made[SAMPLES:])}
    data["wikitext"] = {"test": write_lines(folder / "wikitext_test.jsonl", list(rows_of.wikitext(12)))}
    return data


def splits(task, data):
    """As lm-eval names them. Where a task has no test split it is evaluated on the validation split."""
    test, train = ([rows_of.as_hugging_face(task, row) for row in data.get(part, [])] for part in ("test", "train"))
    return {"train": train, "dev": train, "validation": test, "test": test}


def by_harness(lm, task, data, num_fewshot=0, limit=None, subjects=SUBJECTS):
    """{name of the task or subject: (log-likelihoods a sample, metrics)}"""
    if task != "mmlu":
        names = {task: splits(task, data)}
    else:
        names = {f"mmlu_{subject}": {split: [row for row in rows if row["subject"] == subject]
                                     for split, rows in splits(task, data).items()} for subject in subjects}
    out = {}
    for name, parts in names.items():
        built = harness.task(name, parts, num_fewshot)
        documents = harness.instances(built, num_fewshot, limit)
        found = harness.scores(lm, documents)
        out[name] = ([[value for value, _ in sample] for sample in found], harness.metrics(built, documents, found))
    return out


def by_lrqat(model, folder, tasks, *flags):
    """({task: log-likelihoods a sample}, the JSON document)"""
    results = folder / "results.jsonl"
    results.unlink(missing_ok=True)
    document = lrqat_json("evaluate", "--model", model, "--tasks", ",".join(map(str, tasks)), "--task-data",
                          folder / "data", "--results", results, *flags)
    found = {}
    for line in map(json.loads, results.read_text().splitlines()):
        found.setdefault(line["task"], {})[line["sample"]] = line["log_likelihoods"]
    return {task: [samples[i] for i in sorted(samples)] for task, samples in found.items()}, document


def subject_of(name, found, data):
    """The samples of one subject of mmlu, or all of another task."""
    if not name.startswith("mmlu_"):
        return found[name]
    subjects = [row["subject"] for row in data["mmlu"]["test"]]
    return [sample for sample, subject in zip(found["mmlu"], subjects) if f"mmlu_{subject}" == name]


def worst(expected, found):
    """The largest difference of any choice; None where something else is different in kind."""
    if [len(sample) for sample in expected] != [len(sample) for sample in found]:
        return None
    return max(abs(a - b) for one, other in zip(expected, found) for a, b in zip(one, other))


def check_metrics(name, expected, document):
    ours = document["tasks"]["mmlu"]["subtasks"][name[5:]] if name.startswith("mmlu_") else document["tasks"][name]
    for metric, (value, error) in expected.items():
        tolerance = 1e-12 if metric in ("acc", "acc_norm") else 1e-5 * value  # counts; means of log-likelihoods
        assert abs(ours[metric] - value) <= tolerance, (name, metric, ours[metric], value)
        if error is not None and metric in ("acc", "acc_norm"):
            assert abs(ours[f"{metric}_stderr"] - error) <= 1e-12, (name, metric, ours, error)


def check(name, expected, found, tolerance):
    difference = worst(expected, found)
    assert difference is not None and difference <= tolerance, (name, difference, tolerance)
    return difference


# -- a tiny model: every task, with and without examples ------------------------------------------------------------

def with_tokenizer(model):
    """Puts a byte tokenizer that begins every text with BOS into the folder; the loaded model and tokenizer."""
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 8192}))
    tokenizer = byte_tokenizer()
    for part in ("pre_tokenizer", "decoder"):
        tokenizer[part] |= {"trim_offsets": True, "add_prefix_space": False, "use_regex": True}
    vocab = tokenizer["model"]["vocab"]
    vocab["<s>"] = vocab.pop("\u0100")  # in the place of byte 0
    tokenizer["added_tokens"] = [{"id": 0, "content": "<s>", "single_word": False, "lstrip": False, "rstrip": False,
                                  "normalized": False, "special": True}]
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing", "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}]}
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    (model / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "<s>"}))
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    return loaded, transformers.PreTrainedTokenizerFast(tokenizer_file=str(model / "tokenizer.json"),
                                                        bos_token="<s>", eos_token="<s>")


def tiny_model(folder):
    """The golden tiny Llama with that tokenizer."""
    model = folder / "tiny"
    shutil.copytree(ROOT / "tests" / "data" / "golden" / "tiny_llama", model)
    return model, *with_tokenizer(model)


def tiny_model_agrees(folder):
    path, model, tokenizer = tiny_model(folder)
    data = task_data(folder / "data")
    lm = harness.backend(model, tokenizer)
    with_examples = [task for task in CHOICE_TASKS if task != "lambada"]
    for num_fewshot, limit, tasks in ((0, 8, [*CHOICE_TASKS, "wikitext"]), (3, 3, with_examples)):
        found, document = by_lrqat(path, folder, tasks, "--num-fewshot", num_fewshot, "--limit", limit)
        assert document["bos"] is True
        differences = {}
        for task in tasks:
            for name, (expected, metrics) in by_harness(lm, task, data[task], num_fewshot, limit).items():
                tolerance = TOLERANCE["tiny"] * (10 if task == "wikitext" else 1)  # sums of a thousand tokens
                differences[name] = check(name, expected, subject_of(name, found, data), tolerance)
                check_metrics(name, metrics, document)
        print(f"{num_fewshot} examples: largest difference {max(differences.values()):.2e} of {len(differences)} tasks")


def long_prompts_lose_their_beginning(folder):
    path, model, tokenizer = tiny_model(folder)
    data = task_data(folder / "data")
    lm = harness.backend(model, tokenizer, max_length=160)
    tasks = ["boolq", "hellaswag", "wikitext"]
    found, _ = by_lrqat(path, folder, tasks, "--max-length", 160, "--limit", 6)
    for task in tasks:
        (expected, _), = by_harness(lm, task, data[task], limit=6).values()
        check(task, expected, found[task], TOLERANCE["tiny"] * (10 if task == "wikitext" else 1))
    whole, _ = by_lrqat(path, folder, ["boolq"], "--limit", 6)
    assert worst(whole["boolq"], found["boolq"]) > TOLERANCE["tiny"]  # the control


def every_subject_of_mmlu(folder):
    """All 57, some with more rows than others, five examples each: every choice, and the figures of the whole."""
    from lm_eval.api.metrics import aggregate_subtask_metrics, pooled_sample_stderr
    path, model, tokenizer = tiny_model(folder)
    subjects = harness.MMLU_SUBJECTS
    (folder / "data").mkdir()
    data = {"test": write_lines(folder / "data" / "mmlu_test.jsonl", list(rows_of.mmlu(len(subjects) * 5 // 2, subjects))),
            "train": write_lines(folder / "data" / "mmlu_dev.jsonl", list(rows_of.mmlu(len(subjects) * 5, subjects)))}
    found, document = by_lrqat(path, folder, ["mmlu"], "--num-fewshot", 5)
    expected = by_harness(harness.backend(model, tokenizer), "mmlu", data, 5, subjects=subjects)
    largest = 0.0
    for name, (scores, metrics) in expected.items():
        difference = check(name, scores, subject_of(name, found, {"mmlu": data}), TOLERANCE["tiny"])
        largest = max(largest, difference)
        check_metrics(name, metrics, document)
    sizes = [len(scores) for scores, _ in expected.values()]
    assert set(sizes) == {2, 3}, sizes
    (accs, errors), whole = zip(*(metrics["acc"] for _, metrics in expected.values())), document["tasks"]["mmlu"]
    assert abs(whole["acc"] - aggregate_subtask_metrics(accs, sizes)) <= 1e-12, whole
    assert abs(whole["acc_stderr"] - pooled_sample_stderr(errors, sizes)) <= 1e-12, whole
    print(f"{len(sizes)} subjects, {sum(sizes)} samples: largest difference {largest:.2e}")


def one_space_anywhere_is_noticed(folder):
    """The control: every task with a space more at the end of its prompt."""
    path, model, tokenizer = tiny_model(folder)
    data = task_data(folder / "data")
    lm = harness.backend(model, tokenizer)
    smallest = {}
    for task in CHOICE_TASKS:
        template = json.loads((ROOT / "lrqat" / "eval" / "tasks" / f"{task}.json").read_text())
        prompts = template["prompt"]
        template["prompt"] = [prompt + " " for prompt in prompts] if isinstance(prompts, list) else prompts + " "
        (folder / f"{task}.json").write_text(json.dumps(template))
        found, _ = by_lrqat(path, folder, [folder / f"{task}.json"], "--limit", 4)
        for name, (expected, _) in by_harness(lm, task, data[task], limit=4).items():
            pairs = zip(expected, subject_of(name, found, data))
            smallest[name] = min(worst([one], [other]) for one, other in pairs)
    assert min(smallest.values()) > 10 * TOLERANCE["tiny"], smallest
    print(f"a space more in {len(smallest)} templates: differences of {min(smallest.values()):.3f} and more")


# -- families whose layers differ: packed rows must hide from each other what a window or a rotation lets through ----

FAMILIES = ["qwen3", "smollm3", "mistral"]  # norms of heads, layers without rotation, a window of 8 tokens
# families_test.py: log-probabilities of these models within 3e-5 of transformers'; of both signs, up to 60 a choice.
FAMILY_TOLERANCE = 3e-4


def family(folder, name):
    model_type, settings, control = CASES[name]
    save(folder / name, model_type, {**settings, "vocab_size": 256, "bos_token_id": 0, "eos_token_id": 0})
    return folder / name, control, *with_tokenizer(folder / name)


def families_agree(folder):
    data = task_data(folder / "data")
    for name in FAMILIES:
        path, control, model, tokenizer = family(folder, name)
        lm = harness.backend(model, tokenizer)
        largest, least = 0.0, []
        for num_fewshot, limit, tasks in ((0, 6, ["boolq", "winogrande", "hellaswag"]), (3, 3, ["mmlu", "arc_challenge"])):
            flags = ["--num-fewshot", num_fewshot, "--limit", limit]
            packed, _ = by_lrqat(path, folder, tasks, *flags)
            alone, _ = by_lrqat(path, folder, tasks, *flags, "--batch-tokens", 1)
            config = (path / "config.json").read_text()
            (path / "config.json").write_text(json.dumps({**json.loads(config), **control}))
            changed, _ = by_lrqat(path, folder, tasks, *flags)
            (path / "config.json").write_text(config)
            for task in tasks:
                for part, (expected, _) in by_harness(lm, task, data[task], num_fewshot, limit).items():
                    of = [subject_of(part, found, data) for found in (packed, alone, changed)]
                    largest = max(largest, *(check(f"{name} {part}", expected, found, FAMILY_TOLERANCE) for found in of[:2]))
                    least.append(worst(expected, of[2]))
        assert min(least) > 10 * FAMILY_TOLERANCE, (name, control, least)
        print(f"{name}: largest difference {largest:.2e}; with {control} at least {min(least):.2e}")


# -- SmolLM2 ------------------------------------------------------------------------------------------------------

def smollm2_backend(path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    return harness.backend(model.eval(), tokenizer, batch_size=8)


def smollm2_agrees(folder):
    model = support.smollm2()
    data = task_data(folder / "data")
    written = json.loads(FIXTURE.read_text())
    found, document = by_lrqat(model, folder, CHOICE_TASKS)
    for name, entry in written["tasks"].items():
        assert len(entry["log_likelihoods"]) == SAMPLES // (2 if name.startswith("mmlu_") else 1)
        difference = check(name, entry["log_likelihoods"], subject_of(name, found, data), TOLERANCE["smollm2"])
        check_metrics(name, entry["metrics"], document)
        print(f"{name}: {len(entry['log_likelihoods'])} samples, largest difference {difference:.2e}")
    lm = smollm2_backend(model)
    for task in CHOICE_TASKS:
        for name, (expected, _) in by_harness(lm, task, data[task], limit=LIVE).items():
            check(name, expected, written["tasks"][name]["log_likelihoods"][:LIVE], TOLERANCE["smollm2"])
    one_space_is_noticed(folder, model, written)


def one_space_is_noticed(folder, model, written):
    """The control: a template with one space more."""
    template = json.loads((ROOT / "lrqat" / "eval" / "tasks" / "piqa.json").read_text())
    template["prompt"] = template["prompt"].replace("Question: ", "Question:  ")
    changed = folder / "piqa.json"
    changed.write_text(json.dumps(template))
    found, _ = by_lrqat(model, folder, [changed], "--limit", 5)
    differences = [worst([one], [other]) for one, other in
                   zip(written["tasks"]["piqa"]["log_likelihoods"], found["piqa"])]
    print(f"one space more: differences {min(differences):.3f} to {max(differences):.3f}")
    assert min(differences) > 3 * TOLERANCE["smollm2"], differences


def write_fixture(folder):
    data = task_data(folder / "data")
    lm = smollm2_backend(support.smollm2())
    tasks = {}
    for task in CHOICE_TASKS:
        for name, (values, metrics) in by_harness(lm, task, data[task]).items():
            tasks[name] = {"log_likelihoods": [[round(v, 5) for v in sample] for sample in values], "metrics": metrics}
            print(name, metrics, flush=True)
    FIXTURE.write_text(json.dumps({"lm_eval": "0.4.13", "transformers": transformers.__version__, "tasks": tasks}) + "\n")


if __name__ == "__main__":
    torch.manual_seed(0)
    if "--write" in sys.argv:
        main([write_fixture])
    try:
        support.smollm2()
    except support.Skipped as reason:
        print(f"skipped: {reason}")
        sys.exit(support.SKIPPED)
    main([tiny_model_agrees, every_subject_of_mmlu, one_space_anywhere_is_noticed, long_prompts_lose_their_beginning, families_agree, smollm2_agrees])
