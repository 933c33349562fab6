"""Tensors and metadata are those that the gguf package reads; a file that cannot be read says why."""

from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, dequantize

from tests.trainer.fixtures.ggufs import KINDS, MERGES, TOKENS, write_gguf
from trainer.model.ggufreader import GgufFile


@pytest.mark.parametrize("kind", [KINDS.Q4_1, KINDS.Q8_0, KINDS.F32])
def test_numbers_are_bit_for_bit_those_of_the_gguf_package(tmp_path: Path, kind: KINDS) -> None:
    file = write_gguf(tmp_path / "model.gguf", layers=kind)
    found = GgufFile.open(file)
    stored = {tensor.name: tensor for tensor in GGUFReader(file).tensors}

    assert found.tensors.keys() == stored.keys()
    for name, tensor in stored.items():
        theirs = dequantize(tensor.data, tensor.tensor_type)
        assert np.array_equal(found.tensors[name].numbers().view(np.uint32), theirs.reshape(tuple(tensor.shape[::-1])).view(np.uint32)), (
            name
        )


def test_metadata_has_words_numbers_and_lists(tmp_path: Path) -> None:
    metadata = GgufFile.open(write_gguf(tmp_path / "model.gguf")).metadata

    assert metadata["general.name"] == "A small model"
    assert metadata["llama.context_length"] == 128
    assert metadata["llama.attention.layer_norm_rms_epsilon"] == np.float32(1e-5)
    assert metadata["tokenizer.ggml.add_bos_token"] is False
    assert metadata["tokenizer.ggml.tokens"] == TOKENS
    assert metadata["tokenizer.ggml.merges"] == MERGES


@pytest.mark.parametrize(("size", "words"), [(3, "is not a GGUF file"), (600, "is torn"), (-100, "ends after the file")])
def test_a_file_that_is_cut_off_says_so(tmp_path: Path, size: int, words: str) -> None:
    file = write_gguf(tmp_path / "model.gguf")
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ValueError, match=words):
        GgufFile.open(file)


def test_a_tensor_of_another_type_is_named(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "model.gguf", layers=KINDS.Q5_0)
    with pytest.raises(ValueError, match=r"blk\.0\.attn_q\.weight has type 6, which is not one of F32, Q4_1, Q8_0"):
        GgufFile.open(file)
