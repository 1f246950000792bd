"""Rows written for the tests, in the layouts in which the data sets are published: what no sample is at hand of. Every
row is another one, and the traps are in: WikiHow's marks, accents, white space at the end, labels 1 to 4."""

PEOPLE = ["Anna", "Björn", "Chloé", "David", "Emma", "Farid", "Grace", "Hugo", "İpek", "Jonas"]
THINGS = ["kettle", "bicycle", "guitar", "window", "ladder", "camera", "garden", "engine", "blanket", "piano"]
ACTIONS = ["washes the", "repairs the", "paints the", "carries the", "sells the"]


def hellaswag(count):
    for i in range(count):
        person, thing, action = PEOPLE[i % 10], THINGS[(i * 3) % 10], ACTIONS[i % 5]
        marked = f"[header] How to care for a {thing} [title] Clean it number {i}. [step] Take a cloth [substeps] wipe  it."
        plain = f"{person} {action} {thing} in room {i}."
        yield {"ind": i, "activity_label": f"Caring for a {thing}", "ctx_a": marked if i % 3 == 0 else plain,
               "ctx_b": ["", f"{person} THEN", "é", "the Man"][i % 4], "ctx": "unused",
               "endings": [f"smiles and puts the {thing} away.", "[title] Dry it [step] with a towel.",
                           f" flies over the {THINGS[i % 7]} [sic] .  ", "eats it, naïvely…"],
               "label": i % 4, "split": "val", "split_type": "indomain", "source_id": f"hand~{i}"}


def winogrande(count):
    for i in range(count):
        first, second = THINGS[i % 10], THINGS[(i + 3) % 10]
        yield {"qID": f"HAND{i}", "answer": str(1 + i % 2), "option1": first, "option2": second,
               "sentence": f"{PEOPLE[i % 10]} could not put the {first} behind the {second} because the _ was too "
                           f"{['large', 'small'][i % 2]} for place {i}.{' ' * (i % 3)}"}


def question(i):
    thing = THINGS[i % 10]
    texts = [f"a {thing}", f"water and {thing}s", "the moon", f"{PEOPLE[i % 10]}'s hand"]
    return f"Which of these does number {i}, a {thing}, need most when it is {['wet', 'cold', 'new'][i % 3]}?", texts


def arc_challenge(count):
    for i in range(count):
        stem, texts = question(i)
        texts = texts + ["none of them"] if i % 7 == 0 else texts[:3] if i % 11 == 0 else texts
        labels = "12345" if i % 5 == 0 else "ABCDE"
        yield {"id": f"HAND_{i}", "answerKey": labels[i % 3],
               "question": {"stem": stem, "choices": [{"text": t, "label": l} for t, l in zip(texts, labels)]}}


def openbookqa(count):
    for i in range(count):
        stem, texts = question(i + 3)
        yield {"id": f"9-{i}", "answerKey": "ABCD"[i % 4],
               "question": {"stem": stem.split(",")[0] + " is", "choices": [
                   {"text": t, "label": l} for t, l in zip(texts, "ABCD")]}}


def mmlu(count, subjects=("us_foreign_policy", "anatomy")):
    for i in range(count):
        stem, texts = question(i)
        yield {"question": f" {stem}\n", "subject": subjects[i % len(subjects)], "choices": texts,
               "answer": i % 4 if i % 3 else "ABCD"[i % 4]}


def lambada(count):
    for i in range(count):
        person, thing = PEOPLE[i % 10], THINGS[i % 10]
        yield {"text": f"{person} looked for the {thing} everywhere, upstairs and in yard {i}, and asked whether anybody "
                       f"had seen it . “ I have , ” said {PEOPLE[(i + 1) % 10]} , “ here is your {thing}"}


def wikitext(count):
    for i in range(count):
        title = f"{PEOPLE[i % 10]} {THINGS[i % 10]}"
        yield {"page": f" = {title} = \n \n The \" {title} \" ( born { {'a': 1900 + i}} ) , cost 1 @,@ {100 + i} @.@ 5 @-@ "
                       f"fold : N men 's ' work ' at 5 ° [ {i} ] . \n \n = = Life = = \n \n " + "Nothing is known . " * i}


def as_hugging_face(task, row):
    """The row as the data set's Hugging Face copy has it, which lm-eval's templates read."""
    row = dict(row)
    if task == "arc_challenge" or task == "openbookqa":
        inner = row.pop("question")
        row["question_stem" if task == "openbookqa" else "question"] = inner["stem"]
        row["choices"] = {key: [choice[key] for choice in inner["choices"]] for key in ("text", "label")}
    if task == "hellaswag":
        row["label"] = str(row["label"])
    if task == "mmlu" and isinstance(row["answer"], str):
        row["answer"] = "ABCD".index(row["answer"])
    if task == "piqa":
        row["label"] = int(row["label"])
    return row
