"""Writes the model in a GGUF file of the llama architecture as transformers' save_pretrained does: weights, configuration, tokenizer.

transformers can do so too, but needs torch, all weights in memory and ten times the time. Test: tests/trainer/model/test_gguf.py.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainer.model.ggufreader import Floats, GgufFile
from trainer.model.torchless import import_transformers

ARCHITECTURE = "llama"
NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
BLOCK = re.compile(r"blk\.(\d+)\.(\w+)\.weight")
SETTINGS = {
    "context_length": "max_position_embeddings", "block_count": "num_hidden_layers", "feed_forward_length": "intermediate_size",
    "embedding_length": "hidden_size", "rope.dimension_count": "head_dim", "rope.freq_base": "rope_theta",
    "attention.head_count": "num_attention_heads", "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps", "vocab_size": "vocab_size",
}  # fmt: skip
TOKENS = {"bos": "bos_token_id", "eos": "eos_token_id", "unknown": "unk_token_id", "padding": "pad_token_id"}
SAFETENSORS_ALIGNMENT = 8


def write_weights(found: GgufFile, file: Path, go_on: Callable[[], None]) -> None:
    """Write the weights as float32 safetensors, one tensor at a time; raises ValueError for another architecture or missing metadata.

    `go_on` is called before each tensor and raises to stop.
    """
    architecture = found.metadata.get("general.architecture")
    if architecture != ARCHITECTURE:
        raise ValueError(f"its architecture is {architecture}, not {ARCHITECTURE}")
    stored = {parameter_name(name): name for name in found.tensors}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for parameter in sorted(stored):
        tensor = found.tensors[stored[parameter]]
        end = at + int(np.prod(tensor.shape)) * 4
        header[parameter] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    words = json.dumps(header, separators=(",", ":")).encode()
    words += b" " * (-len(words) % SAFETENSORS_ALIGNMENT)
    with file.open("wb") as stream:
        stream.write(len(words).to_bytes(8, "little") + words)
        for parameter in sorted(stored):
            go_on()
            numbers = found.tensors[stored[parameter]].numbers()
            stream.write(_in_our_order(numbers, stored[parameter], found).data)


def parameter_name(stored: str) -> str:
    """Return transformers' name of a tensor; raises ValueError for one that llama does not have."""
    block = BLOCK.fullmatch(stored)
    prefix, name = (f"model.layers.{block[1]}.", block[2]) if block else ("", stored.removesuffix(".weight"))
    if name not in NAMES:
        raise ValueError(f"{stored} is no tensor of {ARCHITECTURE}")
    return f"{prefix}{NAMES[name]}.weight"


def _in_our_order(numbers: Floats, name: str, found: GgufFile) -> Floats:
    """Return rows of queries and keys in transformers' order: llama.cpp stores each head with its rotary halves interleaved."""
    count = {"attn_q": "attention.head_count", "attn_k": "attention.head_count_kv"}.get(name.split(".")[-2])
    if count is None:
        return numbers
    heads = _needed(found.metadata, f"{ARCHITECTURE}.{count}")
    halves = numbers.reshape(heads, -1, 2, numbers.shape[-1])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(numbers.shape)


def write_settings(found: GgufFile, folder: Path) -> None:
    """Write configuration, generation settings and tokenizer with its chat template; raises ValueError for missing metadata."""
    import_transformers()
    from transformers import GenerationConfig, LlamaConfig

    data = found.metadata
    settings = {ours: _needed(data, f"{ARCHITECTURE}.{theirs}") for theirs, ours in SETTINGS.items()}
    settings |= {ours: data.get(f"tokenizer.ggml.{theirs}_token_id") for theirs, ours in TOKENS.items()}
    tied = "output.weight" not in found.tensors
    config = LlamaConfig(**settings, architectures=["LlamaForCausalLM"], dtype="float32", tie_word_embeddings=tied)
    config.save_pretrained(folder)
    GenerationConfig.from_model_config(config).save_pretrained(folder)
    _tokenizer(data).save_pretrained(folder)


def _needed(metadata: Mapping[str, Any], key: str) -> Any:
    if key not in metadata:
        raise ValueError(f"its metadata has no {key}")
    return metadata[key]


def _tokenizer(data: Mapping[str, Any]) -> Any:
    from transformers import TokenizersBackend
    from transformers.integrations.gguf import convert_gguf_tokenizer
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_TOKENIZER_MAPPING

    vocabulary = _needed(data, "tokenizer.ggml.tokens")
    if "tokenizer.ggml.scores" not in data:  # else merges are derived from them
        _needed(data, "tokenizer.ggml.merges")
    groups = {
        group: {ours: data[f"tokenizer.{theirs}"] for theirs, ours in names.items() if f"tokenizer.{theirs}" in data}
        for group, names in GGUF_TOKENIZER_MAPPING.items()
    }
    backend, further = convert_gguf_tokenizer(ARCHITECTURE, groups["tokenizer"])
    names = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
    ids = {ours: data.get(f"tokenizer.ggml.{theirs}_token_id") for theirs, ours in names.items()}
    tokens = {name: None if number is None else vocabulary[number] for name, number in ids.items()}
    return TokenizersBackend(tokenizer_object=backend, **groups["tokenizer_config"], **tokens, **further)
