"""The metadata of a model card, as the hub's own library reads it."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from finetune.api.tasks import ModelFamily, TaskName
from tests.trainer.evaluation.builders import report
from trainer.model.cardmetadata import Described, license_beside, metadata
from trainer.objectives.family import CAUSAL_LM, Family
from trainer.reporting.report import DataCounts

SEQ2SEQ = Family(ModelFamily.SEQ2SEQ, "AutoModelForSeq2SeqLM", "SEQ_2_SEQ_LM")
ON_HUB = {"field": "data.test[0]", "name": "org/set", "dataset": "org/set", "split": "test", "revision": "abc"}
ROWS = DataCounts(300, 0, 40, sources=[{"field": "data.train[0]", "name": "rows.jsonl", "languages": "pt-BR to deu_Latn"}, ON_HUB],
                  digests={"data.test": "f00"})  # fmt: skip


def described(task: TaskName = TaskName.CHAT, family: Family = CAUSAL_LM, *, adapter: bool = True, **more: Any) -> Described:
    return Described("bot", task, family, adapter, more.pop("base", "org/model"), **more)


def read(model: Described, document: dict[str, Any]) -> Any:
    return ModelCard(f"---\n{metadata(model, document)}\n---\n").data


def test_the_hub_reads_what_the_model_is() -> None:
    data = read(described(license={"license": "apache-2.0"}), report(data=ROWS))

    assert (data.library_name, data.pipeline_tag, data.base_model) == ("peft", "text-generation", "org/model")
    assert (data["base_model_relation"], data.license) == ("adapter", "apache-2.0")
    assert (data.tags, data.language, data.datasets) == (["chat", "lora"], ["deu", "pt"], ["org/set"])


def test_the_results_are_the_reports_figures() -> None:
    document = report(data=ROWS)
    document["final"]["bleu"]["interval"] = [10.0, 15.0]

    results = read(described(), document).eval_results

    assert {result.metric_name: result.metric_value for result in results} == {
        "Perplexity": 8.0, "Bits per byte": 1.5, "BLEU": 12.5, "WER": 1.2,
    }  # fmt: skip
    bleu = next(result for result in results if result.metric_type == "bleu")
    assert bleu.metric_args == {"base": 2.0, "interval95": [10.0, 15.0], "rows": 30, "signature": "sig"}
    assert (bleu.dataset_type, bleu.dataset_name, bleu.dataset_split, bleu.dataset_revision) == ("org/set", "org/set", "test", "abc")
    assert (bleu.dataset_args, bleu.task_type, bleu.task_name) == ({"sha256": "f00"}, "text-generation", "chat")


def test_without_figures_there_are_no_results() -> None:
    data = read(described(adapter=False, base=None), {})

    assert data.eval_results is None
    assert (data.library_name, data.base_model, data.license) == ("transformers", None, None)


@pytest.mark.parametrize(
    ("task", "family", "pipeline"),
    [
        pytest.param(TaskName.TRANSLATION, SEQ2SEQ, "translation", id="translation, encoder-decoder"),
        pytest.param(TaskName.TRANSLATION, CAUSAL_LM, "text-generation", id="translation, causal"),
        pytest.param(TaskName.TRANSCRIPT_CORRECTION, SEQ2SEQ, "text2text-generation", id="correction, encoder-decoder"),
    ],
)
def test_the_use_is_named_by_task_and_kind_of_model(task: TaskName, family: Family, pipeline: str) -> None:
    assert read(described(task, family), {}).pipeline_tag == pipeline


@pytest.mark.parametrize(
    ("card", "found"),
    [
        pytest.param(
            "---\nlicense: other\nlicense_name: own\ntags: [a]\n---\n# Model\n", {"license": "other", "license_name": "own"}, id="it"
        ),
        pytest.param("---\ntags: [a]\n---\n", {}, id="no license"),
        pytest.param("# Model\n", {}, id="no metadata"),
        pytest.param("---\nlicense: [\n---\n", {}, id="no YAML"),
        pytest.param(None, {}, id="no card"),
    ],
)
def test_the_license_is_what_the_card_beside_the_weights_says(tmp_path: Path, card: str | None, found: dict[str, str]) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card)

    assert license_beside(tmp_path) == found
