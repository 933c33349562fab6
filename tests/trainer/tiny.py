"""A model small enough to train in seconds: a random Llama with a byte-level tokenizer, and rows that it can learn."""

import json
from pathlib import Path

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
COLOURS = ["red", "green", "blue", "white", "black", "brown", "pink", "grey"]
THINGS = ["apple", "river", "stone", "cloud", "house", "horse", "paper", "light"]


def tiny_model(folder: Path) -> Path:
    """Write a Llama of some 40,000 random weights with its tokenizer to `folder`."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(specials + alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>", additional_special_tokens=specials[1:2]
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(3)
    config = LlamaConfig(vocab_size=len(fast), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, max_position_embeddings=512, eos_token_id=2, bos_token_id=None, pad_token_id=2)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def rows(count: int, offset: int = 0) -> list[dict[str, str]]:
    """Return distinct question-answer rows."""
    pairs = [(colour, thing, number) for number in range(8) for colour in COLOURS for thing in THINGS]
    return [
        {"prompt": f"What is the {colour} {thing} number {number}?", "completion": f"The {thing} is {colour}."}
        for colour, thing, number in pairs[offset : offset + count]
    ]


def write_rows(path: Path, count: int, offset: int = 0) -> Path:
    """Write rows as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(count, offset)))
    return path
