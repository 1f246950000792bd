"""Chat templates: ours against transformers' apply_chat_template, byte for byte.

  templates   every template of tests/data/chat_templates with every conversation and every option of conversations.json:
              the same text, the same bytes inside {% generation %}, and an error where transformers raises one, with the
              template's own message
  golden      what the C++ tests compare with (golden/NAME.json) is what transformers gives
  language    so are the expected texts of language.json
  random      seeded random expressions and statements (jinja_random.py)
  control     a template that is another one in one character is seen

With --write: writes the golden files and the texts of language.json.
"""

import copy
import datetime
import json
import random
import subprocess
import sys

import support

transformers, jinja2 = support.require("transformers", "jinja2")
import transformers.utils.chat_template_utils as chat_template_utils  # noqa: E402

import jinja_random  # noqa: E402

DATA = support.ROOT / "tests" / "data" / "chat_templates"
GIVEN = json.loads((DATA / "conversations.json").read_text())
RANDOM_CASES = 20_000 if support.THOROUGH else 2_000


class FixedTime(datetime.datetime):
    """The time that tests/chat_render.cpp tells."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26, 14, 5)


chat_template_utils.datetime = FixedTime


def theirs(job):
    """What transformers makes of a job of tests/chat_render.cpp: its text and the characters inside {% generation %}."""
    job = copy.deepcopy(job)
    try:
        texts, spans = chat_template_utils.render_jinja_template(
            [job["messages"]], tools=job.get("tools"), documents=job.get("documents"), chat_template=job["template"],
            return_assistant_tokens_mask=True, add_generation_prompt=job.get("add_generation_prompt", False),
            **job["variables"])
    except Exception as error:  # whatever a template can raise in Python
        return {"error": str(error), "kind": type(error).__name__}
    return {"text": texts[0], "generation": spans[0]}


def ours(jobs):
    lines = "".join(json.dumps(job) + "\n" for job in jobs)
    result = subprocess.run([support.BUILD / "tests" / "chat_render"], input=lines, capture_output=True, text=True)
    assert result.returncode == 0, f"chat_render ended with {result.returncode}: {result.stderr}"
    answers = [json.loads(line) for line in result.stdout.split("\n")[:-1]]  # not splitlines: texts hold U+2028
    assert len(answers) == len(jobs), (len(answers), len(jobs))
    return answers


def marked(text, spans):
    """A byte for each byte of the text: 1 inside a span of bytes."""
    out = bytearray(len(text.encode(errors="surrogatepass")))
    for begin, end in spans:
        out[begin:end] = b"\1" * (end - begin)
    return out


def bytes_of(text, spans):
    """Spans of characters as spans of bytes."""
    size = lambda part: len(part.encode(errors="surrogatepass"))  # noqa: E731
    return [(size(text[:begin]), size(text[:end])) for begin, end in spans]


def difference(got, expected):
    """What is wrong with our answer; None: nothing."""
    if "error" in expected:
        if "error" not in got:
            return f"transformers refuses ({expected['error']}), we give {got['text'][:200]!r}"
        if expected["kind"] == "TemplateError" and got.get("refusal") != expected["error"]:
            return f"the template says {expected['error']!r}, we say {got['error']!r}"
        return None
    if "error" in got:
        return f"{got['error']}, expected {expected['text'][:200]!r}"
    if got["text"] != expected["text"]:
        return f"{got['text'][:2000]!r}\nexpected {expected['text'][:2000]!r}"
    text, spans = expected["text"], expected["generation"]
    if marked(text, got["generation"]) != marked(text, bytes_of(text, spans)):
        return f"{{% generation %}}: {got['generation']}, expected {spans} (of characters)"
    return None


def job_of(template, messages, options):
    return {"template": template, "messages": messages, **options,
            "variables": {**GIVEN["tokens"], **options.get("variables", {})}}


def templates():
    return {path.stem: path.read_bytes().decode() for path in sorted(DATA.glob("*.jinja"))}


def compare(jobs, names):
    """(how many are errors on both sides, how many have marked text); fails with the first differences."""
    expected = [theirs(job) for job in jobs]
    wrong = [(name, found) for name, got, wanted in zip(names, ours(jobs), expected) if (found := difference(got, wanted))]
    assert not wrong, f"{len(wrong)} of {len(jobs)} differ:\n" + "\n".join(f"{n}: {w}" for n, w in wrong[:5])
    return sum("error" in one for one in expected), sum(bool(one.get("generation")) for one in expected)


def check_templates():
    names, jobs = [], []
    for name, text in templates().items():
        for conversation, messages in GIVEN["conversations"].items():
            for option, options in GIVEN["options"].items():
                names.append((name, conversation, option))
                jobs.append(job_of(text, messages, options))
    if not support.THOROUGH:  # every fourth: each template has each conversation, and each option in turn
        names, jobs = names[::4], jobs[::4]
    errors, generation = compare(jobs, names)
    assert len(templates()) >= 30 and 0 < errors < len(jobs) / 2 and generation > 50, (errors, generation)
    return f"{len(templates())} templates, {len(jobs)} texts, {errors} refused by both, {generation} with {{% generation %}}"


def golden_of(name, text):
    out = []
    for conversation, option in GIVEN["golden"]:
        answer = theirs(job_of(text, GIVEN["conversations"][conversation], GIVEN["options"][option]))
        kept = {"error": True} if "error" in answer else {"text": answer["text"]}
        out.append({"conversation": conversation, "options": option, **kept})
    return out


def check_golden():
    for name, text in templates().items():
        written = json.loads((DATA / "golden" / f"{name}.json").read_text())
        assert written == golden_of(name, text), f"golden/{name}.json is not what transformers gives; write it with --write"
    return f"{len(templates())} files"


def language():
    return json.loads((DATA / "language.json").read_text())


def language_jobs(document):
    variables = {**GIVEN["tokens"], **document["variables"]}
    return [{"template": case["template"], "messages": [], "variables": variables} for case in document["cases"]]


def expectation(job):
    answer = theirs(job)
    return {"template": job["template"], **({"error": True} if "error" in answer else {"text": answer["text"]})}


def check_language():
    document = language()
    jobs = language_jobs(document)
    for case, job in zip(document["cases"], jobs):
        assert case == expectation(job), f"{case} is not what jinja2 gives; write it with --write"
    errors, _ = compare(jobs, [job["template"] for job in jobs])
    return f"{len(jobs)} templates, {errors} of them errors"


def check_random():
    source = random.Random(20240726)
    variables = {**GIVEN["tokens"], **language()["variables"]}
    jobs = [{"template": jinja_random.template(source), "messages": [], "variables": variables} for _ in range(RANDOM_CASES)]
    compared, errors, wrong = 0, 0, []
    for job, got in zip(jobs, ours(jobs)):
        wanted = theirs(job)
        if jinja_random.is_known_to_differ(got, wanted):
            continue
        compared += 1
        errors += "error" in wanted
        if found := difference(got, wanted):
            wrong.append((job["template"], found))
    assert not wrong, f"{len(wrong)} of {compared} differ:\n" + "\n".join(f"{t}: {w}" for t, w in wrong[:5])
    assert compared > 0.85 * len(jobs) and errors < 0.7 * compared, (compared, errors)
    return f"{compared} compared, {errors} of them errors"


def check_control():
    text = templates()["SmolLM2-135M-Instruct"]
    job = job_of(text, GIVEN["conversations"]["turns"], {})
    changed = {**job, "template": text.replace("<|im_end|>", "<|im_end |>")}
    wanted = theirs(job)
    assert difference(ours([job])[0], wanted) is None
    assert difference(ours([changed])[0], wanted) and difference({"error": "x"}, wanted)
    assert difference(ours([job])[0], {"error": "x", "kind": "TypeError"})
    marking = {**job, "template": text.replace("{{'<|im_start|>'", "{% generation %}x{% endgeneration %}{{'<|im_start|>'")}
    got = ours([marking])[0]
    assert difference(got, theirs(marking)) is None and difference({**got, "generation": []}, theirs(marking))


def write():
    for name, text in templates().items():
        lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in golden_of(name, text))
        (DATA / "golden" / f"{name}.json").write_text(f"[\n{lines}\n]\n")
    document = language()
    lines = ",\n".join(json.dumps(expectation(job), ensure_ascii=False) for job in language_jobs(document))
    variables = json.dumps(document["variables"], ensure_ascii=False)
    (DATA / "language.json").write_text(f'{{"variables": {variables},\n"cases": [\n{lines}\n]}}\n')
    return 0


if __name__ == "__main__":
    sys.exit(write() if sys.argv[1:] == ["--write"] else support.run({
        "templates": check_templates, "golden": check_golden, "language": check_language, "random": check_random,
        "control": check_control}))
