"""Builders for the tests of data: examples, configurations, and tokenizers made on the spot, one per chat template."""

from pathlib import Path
from typing import Any

from finetune.api.trainconfig import TrainConfig
from trainer.data.columns import make_id
from trainer.data.rows import Dataset, Example, Message, Sample

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIALS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|end|>"]


def chat(*turns: str, system: str | None = None, origin: str = "data.train[0] line 1") -> Example:
    """Return a conversation of user and assistant in turn."""
    start = [Message("system", system)] if system is not None else []
    messages = (*start, *(Message("assistant" if index % 2 else "user", turn) for index, turn in enumerate(turns)))
    return Example(make_id(messages, None), origin, messages)


def conversation(*messages: Message, tools: str | None = None, origin: str = "data.train[0] line 1") -> Example:
    """Return a conversation of these messages."""
    return Example(make_id(messages, None, tools), origin, messages, tools=tools)


def learnt(tokenizer: Any, row: Sample) -> list[str]:
    """Return the stretches of text that bear loss."""
    stretches: list[list[int]] = [[]]
    for token, bears_loss in zip(row.input_ids, row.loss_mask, strict=True):
        if bears_loss:
            stretches[-1].append(token)
        elif stretches[-1]:
            stretches.append([])
    return [tokenizer.decode(stretch) for stretch in stretches if stretch]


def text(words: str, origin: str = "data.train[0] line 1") -> Example:
    """Return a text."""
    return Example(make_id(None, words), origin, None, words)


def dataset(train: list[Example], validation: list[Example] | None = None, test: list[Example] | None = None) -> Dataset:
    """Return a data set of these rows."""
    return Dataset(tuple(train), tuple(validation or ()), tuple(test or ()))


def config(data: dict[str, Any] | None = None, **sections: Any) -> TrainConfig:
    """Return a configuration; `data` and other sections are in the form of the job file."""
    wire = {
        "job": {"name": "job"},
        "task": "chat",
        "model": {"name": "org/model"},
        "data": data or {"train": [{"path": "/nowhere.jsonl"}]},
        "method": {"full": {}},
        "training": {"epochs": 1, "globalBatchSize": 2},
        "output": {"directory": "/nowhere"},
        "progress": {"file": "/nowhere.json"},
    }
    return TrainConfig.model_validate(wire | sections)


def source(path: Path, **fields: Any) -> dict[str, Any]:
    """Return a source that reads a file."""
    return {"path": str(path), **fields}


def byte_tokenizer(template: str | None = CHATML, *, eos: str = "<|im_end|>", bos: str | None = None) -> Any:
    """Return a fast tokenizer with a token per byte, and the special tokens of several families of models."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate(SPECIALS + sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIALS)
    # The pad token is the end token, as in many models: masks must not depend on it.
    names = {"eos_token": eos, "pad_token": eos} | ({"bos_token": bos} if bos else {})
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    fast.chat_template = template
    return fast
