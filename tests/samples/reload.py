"""A program that knows nothing of this product: it loads exported models with transformers and peft, and writes what they answer.

Reads a list of exported models with their questions from stdin, and writes the answers of each to stdout, both as JSON. Not a test.
"""

import json
import sys
import warnings
from typing import Any

import torch
import transformers
from peft import PeftModel
from transformers import AutoTokenizer


def main() -> None:
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    print(json.dumps([answers(exported) for exported in json.load(sys.stdin)]))


@torch.no_grad()
def answers(exported: dict[str, Any]) -> list[Any]:
    """Return the answer to each question of an exported model."""
    folder, auto_class = exported["folder"], getattr(transformers, exported["class"])
    if exported["form"] == "adapter":
        base = auto_class.from_pretrained(exported["base"], **with_numbers(exported["settings"]))
        model = PeftModel.from_pretrained(base, folder)
    else:
        model = auto_class.from_pretrained(folder)
    return [ANSWER[question["kind"]](model.eval(), AutoTokenizer.from_pretrained(folder), question) for question in exported["questions"]]


def with_numbers(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a new head, with the numbers of classes, of which JSON has made words."""
    return settings | ({"id2label": {int(number): name for number, name in settings["id2label"].items()}} if "id2label" in settings else {})


def generate(model: Any, tokenizer: Any, question: dict[str, Any]) -> str:
    """Return the greedy answer to a prompt in tokens."""
    ids = torch.tensor([question["ids"]])
    tokens = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=question["new"])[0]
    written = tokens if model.config.is_encoder_decoder else tokens[ids.shape[1] :]
    return str(tokenizer.decode(written, skip_special_tokens=True)).strip()


def extract(model: Any, tokenizer: Any, question: dict[str, Any]) -> dict[str, Any]:
    """Return the part of the context with the best scores of its first and last token, or none if that scores higher."""
    read = tokenizer(question["question"], question["context"], return_offsets_mapping=True, return_tensors="pt")
    offsets, parts = read.pop("offset_mapping")[0].tolist(), read.sequence_ids(0)
    output = model(**read)
    first, last = output.start_logits[0].tolist(), output.end_logits[0].tolist()
    context = [place for place, part in enumerate(parts) if part == 1]
    spans = [(begin, end) for begin in context for end in context if begin <= end < begin + 30]
    begin, end = max(spans, key=lambda span: first[span[0]] + last[span[1]])
    if question["may_lack"] and first[0] + last[0] > first[begin] + last[end]:
        return {"answer": ""}
    return {"answer": question["context"][offsets[begin][0] : offsets[end][1]].strip()}


def classify(model: Any, tokenizer: Any, question: dict[str, Any]) -> dict[str, Any]:
    """Return the class of a text, or its classes, with the probabilities of all."""
    logits = model(**tokenizer(question["text"], return_tensors="pt")).logits[0]
    several = model.config.problem_type == "multi_label_classification"
    scores = {
        model.config.id2label[number]: float(score) for number, score in enumerate(logits.sigmoid() if several else logits.softmax(0))
    }
    best_first = sorted(scores, key=lambda name: -scores[name])
    chosen = {"labels": [name for name in best_first if scores[name] >= 0.5]} if several else {"label": best_first[0]}
    return {**chosen, "scores": scores}


def fill(model: Any, tokenizer: Any, question: dict[str, Any]) -> dict[str, Any]:
    """Return the text with the most probable token in the place of each mask."""
    read = tokenizer(question["text"], return_tensors="pt")
    ids = read["input_ids"][0]
    named = model(**read).logits[0].argmax(dim=-1)
    return {"text": str(tokenizer.decode(named.where(ids == tokenizer.mask_token_id, ids), skip_special_tokens=True))}


ANSWER = {"generate": generate, "extract": extract, "classify": classify, "fill": fill}

if __name__ == "__main__":
    main()
