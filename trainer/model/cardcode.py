"""The lines of Python in a model card: how an exported model is loaded and asked, for each kind of model.

Pure text. The lines are run by tests/trainer/model/test_card.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.api.evaluation import Generation
from finetune.api.sections import Quantization
from trainer.objectives.family import Family

TEXT = "{text}"
"""Stands for the text in the wording of a task."""


@dataclass(frozen=True)
class Use:
    """How a trained model is asked."""

    templated: bool
    """Whether its chat template wrote what it was trained on."""
    wording: str | None = TEXT
    """What the task writes around a text; None where more than words has to be given."""
    new_tokens: int = Generation().max_new_tokens
    """The most tokens of an answer when it was measured."""


def loading(
    family: Family, base: str | None, revision: str | None, dtype: str, quantization: Quantization | None, whole: Sequence[str] = ()
) -> list[str]:
    """Return the lines that load tokenizer and model from the card's folder; `base` is that of an adapter.

    Modules of `whole` are not quantized with the others.
    """
    names = [family.auto_class, "AutoTokenizer", *(["BitsAndBytesConfig"] if base and quantization is not None else [])]
    lines = [
        *(["from peft import PeftModel"] if base else []),
        f"from transformers import {', '.join(names)}",
        "",
        'folder = "."  # the folder of this file',
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
    ]
    if base is None:
        return [*lines, f"model = {family.auto_class}.from_pretrained(folder)"]
    options, before = [f"dtype={dtype!r}"], []
    if revision:
        options.insert(0, f"revision={revision!r}")
    if quantization is not None:
        before += _quantized(quantization, dtype, whole)
        options.append("quantization_config=quantized")
    if family.settings:
        before += _settings(family.settings)
        options.append("**settings")
    load = f"base = {family.auto_class}.from_pretrained({base!r}, {', '.join(options)})"
    return [*lines, *before, load, "model = PeftModel.from_pretrained(base, folder)"]


def asking(family: Family, use: Use) -> list[str]:
    """Return the lines that ask the loaded model something; none where it is not known how."""
    lines = ASKED[family.auto_class](family, use) if use.wording is not None and family.auto_class in ASKED else []
    return ["", *lines] if lines else []


def _causal(_: Family, use: Use) -> list[str]:
    if use.templated:
        asked = [
            f'messages = [{{"role": "user", "content": {_worded(use)}}}]',
            'inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")',
        ]
    else:
        asked = [f'inputs = tokenizer({_worded(use)}, return_tensors="pt")']
    return [
        'text = "…"',
        *asked,
        f"written = model.generate(**inputs, max_new_tokens={use.new_tokens}, do_sample=False)",
        'answer = tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)',
    ]


def _seq2seq(_: Family, use: Use) -> list[str]:
    return [
        'text = "…"',
        f'inputs = tokenizer({_worded(use)}, return_tensors="pt")',
        f"written = model.generate(**inputs, max_new_tokens={use.new_tokens}, do_sample=False)",
        "answer = tokenizer.decode(written[0], skip_special_tokens=True)",
    ]


def _classes(family: Family, _: Use) -> list[str]:
    lines = ['inputs = tokenizer("…", truncation=True, return_tensors="pt")', "scores = model(**inputs).logits[0]"]
    if family.settings.get("problem_type") == "multi_label_classification":
        names = "{model.config.id2label[index]: float(share) for index, share in enumerate(scores.sigmoid())}"
        return [*lines, f"shares = {names}", "answer = [label for label, share in shares.items() if share >= 0.5]"]
    return [*lines, "answer = model.config.id2label[int(scores.argmax())]"]


def _spans(_: Family, __: Use) -> list[str]:
    return [
        'question, context = "…?", "…"',
        'inputs = tokenizer(question, context, truncation="only_second", return_tensors="pt", return_offsets_mapping=True)',
        'places, read = inputs.pop("offset_mapping")[0].tolist(), inputs.sequence_ids()',
        "scores = model(**inputs)",
        "first, last = int(scores.start_logits.argmax()), int(scores.end_logits.argmax())",
        "answered = read[first] == 1 and read[last] == 1 and first <= last  # else the context has no answer, or is too long for one pass",
        'answer = context[places[first][0] : places[last][1]] if answered else ""',
    ]


def _masked(_: Family, __: Use) -> list[str]:
    return [
        'inputs = tokenizer(f"… {tokenizer.mask_token} …", return_tensors="pt")',
        'scores = model(**inputs).logits[inputs["input_ids"] == tokenizer.mask_token_id]',
        "answer = tokenizer.decode(scores.argmax(-1))",
    ]


ASKED: Mapping[str, Callable[[Family, Use], list[str]]] = {
    "AutoModelForCausalLM": _causal,
    "AutoModelForSeq2SeqLM": _seq2seq,
    "AutoModelForSequenceClassification": _classes,
    "AutoModelForQuestionAnswering": _spans,
    "AutoModelForMaskedLM": _masked,
}


def _worded(use: Use) -> str:
    """Return the Python expression of the text in the task's wording."""
    if use.wording is None or use.wording == TEXT:
        return "text"
    before, after = use.wording.split(TEXT)
    return " + ".join(part for part in (repr(before) if before else "", "text", repr(after) if after else "") if part)


def _settings(settings: Mapping[str, Any]) -> list[str]:
    return ["settings = {", *(f"    {name!r}: {value!r}," for name, value in settings.items()), "}"]


def _quantized(quantization: Quantization, dtype: str, whole: Sequence[str]) -> list[str]:
    """Return the lines that quantize the base as it was in training."""
    return [
        "quantized = BitsAndBytesConfig(",
        f"    load_in_4bit=True, bnb_4bit_quant_type={quantization.type.value!r}, bnb_4bit_compute_dtype={dtype!r},",
        f"    bnb_4bit_use_double_quant={quantization.double_quantization},",
        *([f"    llm_int8_skip_modules={list(whole)!r},  # trained itself"] if whole else []),
        ")",
    ]
