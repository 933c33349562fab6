import json
from pathlib import Path

import pytest
import torch

from bench.gpu.files import tokenizer, write_model, write_rows
from bench.gpu.shapes import SMALL_SHAPES, Shape

TEXTS, CHATS = SMALL_SHAPES[0], SMALL_SHAPES[2]


@pytest.mark.parametrize("shape", SMALL_SHAPES, ids=lambda shape: shape.name)
def test_the_model_has_the_sizes_of_the_shape_and_the_type_that_it_is_trained_in(shape: Shape, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    write_model(tmp_path, shape, torch.device("cpu"))
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")
    assert sum(parameter.numel() for parameter in model.parameters()) == shape.parameters
    assert model.dtype is (torch.bfloat16 if shape.lora else torch.float32)
    assert torch.get_default_dtype() is torch.float32


def test_a_text_is_long_enough_that_all_rows_of_a_run_are_full(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", TEXTS)
    [row] = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(tokenizer()(row["text"])["input_ids"]) >= TEXTS.length * TEXTS.batch * TEXTS.steps


def test_conversations_are_distinct_and_of_many_lengths_that_fit_a_row(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", CHATS)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    lengths = {len(row["prompt"]) + len(row["completion"]) for row in rows}
    assert len({row["prompt"] for row in rows}) == len(rows) == CHATS.batch * CHATS.steps
    assert len(lengths) > 5
    assert max(lengths) <= CHATS.length
