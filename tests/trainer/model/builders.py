"""Tiny models, tokenizers and configurations for tests of model and evaluation: real classes, random weights."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from finetune.api.sources import ModelSource
from finetune.api.trainconfig import TrainConfig
from trainer.model.location import LocatedModel, locate

TEXTS = ["a job trains a model on rows of data", "the controller starts a run and reports its progress", "what is a checkpoint?"]
SPECIAL = ["<|end|>", "<|start|>", "<|turn|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}: {{ message['content'] }}<|turn|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant: {% endif %}"
)


def tiny_tokenizer(chat_template: str | None = CHAT_TEMPLATE) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer whose pad token is its end-of-sequence token, as in many models."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>", additional_special_tokens=["<|start|>", "<|turn|>"]
    )
    fast.chat_template = chat_template
    return fast


def tiny_model(*, tied: bool = True, seed: int = 3, layers: int = 2) -> LlamaForCausalLM:
    """Return a Llama of two layers with random weights, large enough that greedy choices differ between prompts."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=128, tie_word_embeddings=tied, bos_token_id=None, eos_token_id=0, pad_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    return LlamaForCausalLM(config).float().eval()


def save_tiny_model(folder: Path, **options: Any) -> Path:
    """Write a tiny model and its tokenizer as save_pretrained does."""
    tiny_model(**options).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def located_folder(folder: Path) -> LocatedModel:
    return locate(ModelSource(path=str(folder)))


def train_config(**changes: Any) -> TrainConfig:
    """Return a minimal valid configuration in wire form, changed at its top level."""
    wire: dict[str, Any] = {
        "job": {"name": "support-bot"},
        "task": "chat",
        "model": {"path": "/models/tiny"},
        "data": {"train": [{"path": "/data/train.jsonl"}]},
        "method": {"lora": {"rank": 4}},
        "training": {"epochs": 1},
        "output": {"directory": "/output"},
        "progress": {"file": "/output/record.json"},
    }
    return TrainConfig.model_validate(wire | changes)


def random_prompts(lengths: list[int], seed: int = 11) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 320, (length,), generator=generator).tolist() for length in lengths]
