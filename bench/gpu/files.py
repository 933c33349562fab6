"""Writes what a shape is trained from: a model folder with random weights and a tokenizer, and rows.

Needs no network. Test: tests/bench/gpu/test_files.py.
"""

import json
import random
from pathlib import Path
from typing import Any

import torch

from bench.gpu.shapes import Shape

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LETTERS = "abcdefghijklmnopqrstuvwxyz     "


def tokenizer() -> Any:
    """Return a tokenizer with a token per byte: how many tokens a text has is known without a vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate([*SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    found = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    found.add_special_tokens(SPECIALS)
    fast = PreTrainedTokenizerFast(tokenizer_object=found, eos_token="<|im_end|>", pad_token="<|endoftext|>")  # noqa: S106 - no password
    fast.chat_template = CHAT_TEMPLATE
    return fast


def write_model(folder: Path, shape: Shape, device: torch.device) -> None:
    """Write a Llama with random weights, made on the device: that is where it takes seconds."""
    from transformers import LlamaConfig, LlamaForCausalLM

    written = tokenizer()
    config = LlamaConfig(**shape.model, eos_token_id=written.eos_token_id, bos_token_id=None, pad_token_id=written.pad_token_id)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if shape.lora else torch.float32)
    try:
        with device:
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(folder, max_shard_size="4GB")
    written.save_pretrained(folder)


def write_rows(path: Path, shape: Shape, seed: int = 0) -> None:
    """Write as many rows as a run draws: one long text, which is cut into full rows, or short conversations of many lengths."""
    rng = random.Random(seed)  # noqa: S311 - not a secret
    rows = shape.batch * shape.steps

    def text(length: int) -> str:
        return "".join(rng.choices(LETTERS, k=length))

    with path.open("w") as file:
        if not shape.chat:
            file.write(json.dumps({"text": text(shape.length * (rows + 1))}) + "\n")
            return
        for number in range(rows):
            # Most are short and a few are long, as in chat logs; template and names take about 40 bytes.
            size = min(shape.length - 40, max(8, int(rng.lognormvariate(0, 0.8) * shape.length / 6)))
            file.write(json.dumps({"prompt": f"{number} {text(size // 3)}?", "completion": text(size - size // 3)}) + "\n")
