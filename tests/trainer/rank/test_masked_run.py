"""Masked language modeling from plain texts to a model that plain transformers loads."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForMaskedLM

from tests.builders import train_config
from tests.trainer.fixtures.encoders import save_encoder, word_tokenizer
from tests.trainer.rank.test_results import run

LETTERS = "abcdefgh"
WORDS = [f"{letter}{number}" for letter in LETTERS for number in range(8)]


def texts(count: int, offset: int) -> list[dict[str, str]]:
    """Return texts in which each word says what the others are: the letter of all, and the number before."""
    return [
        {"text": " ".join(f"{LETTERS[number % 8]}{(number // 8 + place) % 8}" for place in range(8))}
        for number in range(offset, offset + count)
    ]


@pytest.mark.parametrize("method", [{"full": {}}, {"lora": {"rank": 8, "alpha": 16}}], ids=["full", "LoRA"])
def test_the_masked_loss_falls_and_the_model_keeps_its_tied_output_layer(tmp_path: Path, method: dict[str, Any]) -> None:
    save_encoder(tmp_path / "base", tokenizer=word_tokenizer(WORDS), spread=0.05)
    for name, count, offset in (("train", 40, 0), ("validation", 12, 40), ("test", 12, 52)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts(count, offset)))
    (tmp_path / "general.jsonl").write_text("".join(json.dumps({"text": " ".join(WORDS[number::9])}) + "\n" for number in range(9)))
    wanted = train_config(
        tmp_path,
        task="language-modeling",
        model={"path": str(tmp_path / "base")},
        data={name: [{"path": str(tmp_path / f"{name}.jsonl")}] for name in ("train", "validation", "test")},
        method=method,
        training={"maxSteps": 60, "globalBatchSize": 8, "microBatchSize": 3, "learningRate": 0.005, "maxSequenceLength": 32},
        evaluation={"everySteps": 30},
        checkpoint={"everySteps": 30, "keep": 2},
        output={"directory": str(tmp_path / "run"), "export": ["merged"]},
        domainAdaptation={"generalEvaluation": [{"path": str(tmp_path / "general.jsonl")}]},
    )

    run(wanted)

    report = json.loads((tmp_path / "run" / "report.json").read_text())
    base, tuned = (report[name]["maskedLoss"]["value"] for name in ("baseline", "final"))
    assert tuned < base - 0.1
    assert list(report["final"]) == ["maskedLoss"]
    assert any("are new, because its weights have none" in warning for warning in report["warnings"])
    figures = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["validation/maskedLoss"] for line in figures if "validation/maskedLoss" in line}
    curve = {point["step"]: point["value"] for point in report["domainAdaptation"]["domainPseudoPerplexity"]["curve"]}
    assert curve == pytest.approx({step: math.exp(loss) for step, loss in losses.items()}, rel=1e-4)
    assert set(curve) == {30, 60}
    merged = AutoModelForMaskedLM.from_pretrained(tmp_path / "run" / "model" / "merged")
    assert merged.get_output_embeddings().weight is merged.get_input_embeddings().weight
