"""lm-evaluation-harness' own tasks on rows that are at hand: its YAML files, its ConfigurableTask, its transformers
backend. Only the download of data sets is taken away: `datasets` and sacrebleu, which nothing here calls, are empty
modules, and a split is a list."""

import contextlib
import importlib.machinery
import io
import logging
import sys
import types
from pathlib import Path


class Rows(list):
    """As much of datasets.Dataset as ConfigurableTask and the tasks' own code use."""

    @property
    def features(self):
        return dict.fromkeys(self[0])

    def map(self, function):
        return Rows({**row, **function(row)} for row in self)


def without_downloads():
    for name in ("datasets", "sacrebleu"):
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.Dataset, module.DatasetDict, module.DownloadMode = Rows, dict, None
        module.__version__ = "4.0.0"
        sys.modules[name] = module


without_downloads()
import lm_eval  # noqa: E402
from lm_eval.api.task import ConfigurableTask  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402
from lm_eval.tasks._yaml_loader import load_yaml  # noqa: E402

logging.getLogger("lm_eval").setLevel(logging.ERROR)

YAML = {"boolq": "super_glue/boolq/default", "piqa": "piqa/piqa", "hellaswag": "hellaswag/hellaswag",
        "winogrande": "winogrande/default", "arc_easy": "arc/arc_easy", "arc_challenge": "arc/arc_challenge",
        "openbookqa": "openbookqa/openbookqa", "lambada": "lambada/lambada_openai", "wikitext": "wikitext/wikitext"}
TASKS = Path(lm_eval.__file__).parent / "tasks"
MMLU_SUBJECTS = sorted(path.stem.removeprefix("mmlu_") for path in (TASKS / "mmlu" / "default").glob("mmlu_*.yaml"))
YAML |= {f"mmlu_{subject}": f"mmlu/default/mmlu_{subject}" for subject in MMLU_SUBJECTS}


def task(name, splits, num_fewshot=0):
    """`splits`: {"validation": rows, ...} in the layout of the Hugging Face copy."""
    config = load_yaml(TASKS / f"{YAML[name]}.yaml", resolve_func=True)
    config.pop("tag", None)
    config["custom_dataset"] = lambda **_: {split: Rows(rows) for split, rows in splits.items()}
    built = ConfigurableTask(config=config)
    built.set_config("num_fewshot", num_fewshot)
    built.set_fewshot_seed(1234)  # the default of lm_eval's command line
    return built


def instances(built, num_fewshot=0, limit=None):
    """[(document, its requests)] in the order in which lm_eval's evaluator makes them."""
    out = []
    for index, doc in built.doc_iterator(limit=limit):
        context = built.fewshot_context(doc, num_fewshot)
        made = built.construct_requests(doc=doc, ctx=context, metadata=(built.config.task, index, 1))
        out.append((doc, made if isinstance(made, list) else [made]))
    return out


def backend(model, tokenizer, batch_size=1, **settings):
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, device="cpu", **settings)


def scores(lm, documents):
    """A list of [(log-likelihood, greedy)] a document, by the backend."""
    flat = [request for _, requests in documents for request in requests]
    if flat[0].request_type == "loglikelihood_rolling":
        with contextlib.redirect_stderr(io.StringIO()):  # a bar a window
            return [[(value, True)] for value in lm.loglikelihood_rolling(flat, disable_tqdm=True)]
    values = iter(lm.loglikelihood(flat, disable_tqdm=True))
    return [[next(values) for _ in requests] for _, requests in documents]


def metrics(built, documents, found):
    """{metric: (value, standard error or None)} by lm_eval's own process_results and aggregations."""
    from lm_eval.api.metrics import mean, mean_stderr
    collected = {}
    for (doc, _), values in zip(documents, found):
        results = [value if isinstance(value, tuple) else (value, None) for value in values]
        if built.OUTPUT_TYPE == "loglikelihood_rolling":
            results = [value for value, _ in results]
        for name, value in built.process_results(doc, results).items():
            collected.setdefault(name, []).append(value)
    aggregations = built.aggregation()
    return {name: (float(aggregations[name](values)),
                   float(mean_stderr(values)) if aggregations[name] is mean and len(values) > 1 else None)
            for name, values in collected.items()}
