"""A small model for each one that a sample names, in a local store under its name: the samples themselves stay as they are.

Real classes with random weights; their tokenizers are trained on the samples' texts. Not a test.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VOCABULARY, POSITIONS, WIDTH, SPREAD = 2000, 512, 32, 0.3
"""With weights of this spread a model answers differently to different prompts."""

ONE_KIND = ("input_ids", "attention_mask")
"""What models read that are not told which of two texts a token is of."""


def save_store(folder: Path, names: Sequence[str], texts: Sequence[str]) -> None:
    """Write a small model for each name."""
    for name in names:
        maker(name)(folder / name, texts)


def maker(name: str) -> Callable[[Path, Sequence[str]], None]:
    """Return what writes a small model of the same kind as the one with this name; KeyError for a kind that is not known here."""
    known = {"minilm": _bert, "distilbert": _distilbert, "modernbert": _modernbert, "t5": _t5, "opus-mt": _marian, "bart": _bart}
    known |= dict.fromkeys(("smollm", "mistral", "llama", "qwen"), _llama)
    found = next((write for part, write in known.items() if part in name.lower()), None)
    if found is None:
        raise KeyError(f"{name}: say in {__name__} which small model takes its place")
    return found


def _llama(folder: Path, texts: Sequence[str]) -> None:
    tokenizer = _tokenizer(texts, ["<|im_end|>", "<|im_start|>"], eos_token="<|im_end|>", pad_token="<|im_end|>", bos_token="<|im_start|>")
    tokenizer.chat_template = CHAT_TEMPLATE
    _save(folder, tokenizer, "llama", "AutoModelForCausalLM", intermediate_size=2 * WIDTH, num_key_value_heads=2, tie_word_embeddings=True,
          initializer_range=SPREAD, **_encoder_sizes(), **_ids(tokenizer))  # fmt: skip


def _bert(folder: Path, texts: Sequence[str]) -> None:
    _save(folder, _bert_tokenizer(texts), "bert", "AutoModel", intermediate_size=2 * WIDTH, initializer_range=SPREAD, **_encoder_sizes())


def _distilbert(folder: Path, texts: Sequence[str]) -> None:
    sizes = {"dim": WIDTH, "n_layers": 2, "n_heads": 4, "hidden_dim": 2 * WIDTH, "max_position_embeddings": POSITIONS}
    _save(folder, _bert_tokenizer(texts, ONE_KIND), "distilbert", "AutoModelForMaskedLM", initializer_range=SPREAD, **sizes)


def _modernbert(folder: Path, texts: Sequence[str]) -> None:
    from tokenizers import AddedToken

    ids = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    sizes = {"intermediate_size": 2 * WIDTH, "global_attn_every_n_layers": 2, **_encoder_sizes()}
    tokenizer = _bert_tokenizer(texts, ONE_KIND)
    tokenizer.add_special_tokens({"mask_token": AddedToken("[MASK]", lstrip=True)})  # as the model's own has it: it takes the space before
    _save(folder, tokenizer, "modernbert", "AutoModelForMaskedLM", initializer_range=SPREAD, **sizes, **ids)


def _t5(folder: Path, texts: Sequence[str]) -> None:
    tokenizer = _ended_tokenizer(texts)
    sizes = {"d_model": WIDTH, "d_kv": WIDTH // 4, "d_ff": 2 * WIDTH, "num_layers": 2, "num_heads": 4, "initializer_factor": 2.0}
    _save(folder, tokenizer, "t5", "AutoModelForSeq2SeqLM", decoder_start_token_id=0, **sizes, **_ids(tokenizer))


def _bart(folder: Path, texts: Sequence[str]) -> None:
    tokenizer = _ended_tokenizer(texts)
    _save(folder, tokenizer, "bart", "AutoModelForSeq2SeqLM", init_std=SPREAD, **_bart_sizes(), **_ids(tokenizer))


def _marian(folder: Path, texts: Sequence[str]) -> None:
    tokenizer = _ended_tokenizer(texts)
    _save(folder, tokenizer, "marian", "AutoModelForSeq2SeqLM", scale_embedding=True, init_std=SPREAD, **_bart_sizes(), **_ids(tokenizer))


def _encoder_sizes() -> dict[str, int]:
    return {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": POSITIONS}


def _bart_sizes() -> dict[str, Any]:
    return {
        "d_model": WIDTH, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
        "encoder_ffn_dim": 2 * WIDTH, "decoder_ffn_dim": 2 * WIDTH, "max_position_embeddings": POSITIONS, "decoder_start_token_id": 0,
        "forced_eos_token_id": None, "forced_bos_token_id": None,
    }  # fmt: skip


def _ids(tokenizer: Any) -> dict[str, int | None]:
    return {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}


def _save(folder: Path, tokenizer: Any, model_type: str, auto_class: str, **settings: Any) -> None:
    import torch
    import transformers

    torch.manual_seed(7)
    config = transformers.AutoConfig.for_model(model_type, vocab_size=len(tokenizer), **settings)
    getattr(transformers, auto_class).from_config(config).float().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _bert_tokenizer(texts: Sequence[str], inputs: Sequence[str] = ("input_ids", "token_type_ids", "attention_mask")) -> Any:
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    around = {"single": "[CLS] $A [SEP]", "pair": "[CLS] $A [SEP] $B:1 [SEP]:1", "special_tokens": [("[CLS]", 2), ("[SEP]", 3)]}
    return _tokenizer(texts, list(special.values()), around, model_input_names=list(inputs), **special)


def _ended_tokenizer(texts: Sequence[str]) -> Any:
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return _tokenizer(texts, list(special.values()), {"single": "$A </s>", "special_tokens": [("</s>", 1)]}, **special)


def _tokenizer(texts: Sequence[str], special: list[str], around: dict[str, Any] | None = None, **options: Any) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=letters, show_progress=False)
    )
    if around is not None:
        tokenizer.post_processor = processors.TemplateProcessing(**around)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **options)
