"""Generation settings beside the weights: where an answer ends, and how an encoder-decoder begins one."""

import json
from pathlib import Path

from transformers import BartConfig, BartForConditionalGeneration, BertConfig, BertForMaskedLM

from tests.trainer.fixtures.encoders import bert_tokenizer
from trainer.model.beside import generation_settings, name_no_code

SIZES = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
         "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": 261}  # fmt: skip


def test_an_encoder_decoder_keeps_how_it_begins_and_has_every_end_of_an_answer() -> None:
    tokens = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3}
    model, tokenizer = BartForConditionalGeneration(BartConfig(**SIZES, **tokens)), bert_tokenizer()
    model.generation_config.forced_bos_token_id = 2
    tokenizer.eos_token = "[MASK]"

    settings = generation_settings(model, tokenizer)

    assert (settings.decoder_start_token_id, settings.forced_bos_token_id) == (3, 2)
    assert settings.eos_token_id == [3, tokenizer.mask_token_id]


def test_an_encoder_writes_nothing_and_so_has_no_settings() -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 261}

    assert not BertForMaskedLM(BertConfig(**sizes)).can_generate()


def test_configuration_names_no_code_in_the_model_nor_in_its_parts_and_keeps_all_else(tmp_path: Path) -> None:
    code = {"auto_map": {"AutoConfig": "other/repository--configuration.Config"}, "trust_remote_code": True}
    part = {"model_type": "llama", "vocab_size": 3}
    kept = {"model_type": "llava", "label2id": {"auto_map": 0}, "text_config": part, "name": "é"}
    (tmp_path / "config.json").write_text(json.dumps({**kept, **code, "text_config": {**part, **code}}))
    (tmp_path / "generation_config.json").write_text(json.dumps({"custom_generate": "other/repository", "do_sample": False}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "x"}))

    name_no_code(tmp_path)

    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8")) == kept
    assert json.loads((tmp_path / "generation_config.json").read_text()) == {"do_sample": False}
    assert json.loads((tmp_path / "tokenizer_config.json").read_text()) == {"tokenizer_class": "x"}
