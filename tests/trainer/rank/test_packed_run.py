"""A run over packed rows learns what one over padded rows learns, and its report says which it was."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.fixtures.causal import tiny_learner
from tests.trainer.fixtures.rows import rows
from tests.trainer.fixtures.tinymodels import tiny
from tests.trainer.fixtures.tokenizers import byte_tokenizer
from tests.trainer.rank.test_results import config, run

TRAINING = {"maxSteps": 3, "globalBatchSize": 6, "microBatchSize": 3, "learningRate": 0.02, "maxSequenceLength": 128}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and rows whose answers are of very different lengths."""
    folder = tmp_path_factory.mktemp("packed")
    tiny_learner(folder / "base")
    for offset, (name, count) in enumerate({"train": 16, "validation": 5, "test": 7}.items()):
        ragged = [row | {"completion": row["completion"] * (1 + index % 4)} for index, row in enumerate(rows(count, 100 * offset))]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ragged))
    return folder


def ran(folder: Path, packing: str, **changes: Any) -> dict[str, Any]:
    """Return the report of a run in a folder of its own, with the figures of each step under `steps`."""
    output = folder / f"run-{packing}"
    run(config(folder, training=TRAINING | {"packing": packing}, output={"directory": str(output), "export": ["adapter"]}, **changes))
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return json.loads((output / "report.json").read_text()) | {"steps": lines}


def test_losses_norms_and_figures_are_those_of_padded_rows(folder: Path) -> None:
    padded, packed = ran(folder, "never"), ran(folder, "auto")
    assert padded["hyperparameters"]["training"]["packing"] == "never"
    assert packed["hyperparameters"]["training"]["packing"] == "always"
    assert len(packed["steps"]) == len(padded["steps"]) > 0
    for found, expected in zip(packed["steps"], padded["steps"], strict=True):
        same = {name for name in expected if isinstance(expected[name], float) and "econd" not in name and "time" not in name.lower()}
        assert len(same) > 0
        assert {name: found[name] for name in same} == pytest.approx({name: expected[name] for name in same}, rel=1e-5)
    assert packed["baseline"]["perplexity"]["value"] == pytest.approx(padded["baseline"]["perplexity"]["value"], rel=1e-6)
    assert packed["final"]["perplexity"]["value"] == pytest.approx(padded["final"]["perplexity"]["value"], rel=1e-5)
    assert packed["training"]["tokensSeen"] == padded["training"]["tokensSeen"]


def test_a_model_that_cannot_be_packed_is_padded_and_the_report_says_why(folder: Path, tmp_path: Path) -> None:
    tokenizer = byte_tokenizer(specials=["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    changes = {"vocab_size": len(tokenizer), "max_position_embeddings": 512, "initializer_range": 0.02}
    tiny("gpt_neo", changes).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    for name in ("train", "validation", "test"):
        (tmp_path / f"{name}.jsonl").write_text((folder / f"{name}.jsonl").read_text())
    found = ran(tmp_path, "auto")
    reason = "training.packing: rows are padded, because GPTNeoForCausalLM cannot read packed rows: its attention cannot be replaced"
    assert found["warnings"].count(reason) == 1
    assert found["hyperparameters"]["training"]["packing"] == "never"
