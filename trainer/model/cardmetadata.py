"""The metadata of a model card, as the Hugging Face hub reads it, built by the hub's own library.

Test: tests/trainer/model/test_cardmetadata.py.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData, metadata_load

from finetune.api.metrics import METRICS, MetricName
from finetune.api.tasks import TASKS, ModelFamily, TaskName
from trainer.model.cardtables import Report
from trainer.objectives.family import Family

HUB_METRICS: Mapping[MetricName, str] = {
    MetricName.EXACT_MATCH: "exact_match",
    MetricName.TOKEN_F1: "f1",
    MetricName.ROUGE_L: "rouge",
    MetricName.SQUAD_EXACT_MATCH: "exact_match",
    MetricName.SQUAD_F1: "f1",
    MetricName.MACRO_F1: "f1",
    MetricName.MICRO_F1: "f1",
    MetricName.MCC: "matthews_correlation",
}
"""What the hub calls a metric, where that is not our name in its way of writing names."""
CARD = "README.md"


@dataclass(frozen=True)
class Described:
    """The model that a card describes."""

    job: str
    task: TaskName
    family: Family
    adapter: bool
    base: str | None
    """Name of the base model on the hub; None for one that has none."""
    license: Mapping[str, Any] = field(default_factory=dict)
    """As `license_beside` gives it."""

    @property
    def pipeline(self) -> str:
        """What the hub calls the use of the model."""
        translates = TASKS[self.task].translates and self.family.kind is ModelFamily.SEQ2SEQ
        return "translation" if translates else self.family.pipeline


def metadata(model: Described, report: Report) -> str:
    """Return the metadata as YAML."""
    sources = report.get("data", {}).get("sources", [])
    languages = {code for source in sources for code in _codes(source.get("languages", ""))}
    tags = [*([model.task.value] if model.task.value != model.pipeline else []), *(["lora"] if model.adapter else [])]
    data = ModelCardData(
        library_name="peft" if model.adapter else "transformers",
        pipeline_tag=model.pipeline,
        base_model=model.base,
        base_model_relation=None if model.base is None else "adapter" if model.adapter else "finetune",
        tags=tags or None,
        language=sorted(languages) or None,
        datasets=list(dict.fromkeys(source["dataset"] for source in sources if source.get("dataset"))) or None,
        model_name=model.job,
        eval_results=eval_results(model, report) or None,
        **model.license,
    )
    if data.eval_results is None:
        data.pop("model_name")  # it belongs to the results
    return str(data.to_yaml())


def eval_results(model: Described, report: Report) -> list[EvalResult]:
    """Return the tuned model's figures, each with the base model's and its 95 % interval in the arguments of the metric."""
    data, found = report.get("data", {}), []
    sources = [source for source in data.get("sources", []) if source["field"].startswith("data.test[")]
    # Without any, the test rows are part of the training sources.
    sources = sources or [source for source in data.get("sources", []) if source["field"].startswith("data.train[")]
    on_hub = sources[0] if len(sources) == 1 else {}
    digest = data.get("digests", {}).get("data.test")
    for name, figure in report.get("final", {}).items():
        if figure["value"] is None:
            continue
        beside = {
            "base": report["baseline"].get(name, {}).get("value"), "interval95": figure.get("interval"), "rows": figure.get("rows"),
            "signature": figure.get("signature"),
        }  # fmt: skip
        found.append(
            EvalResult(
                task_type=model.pipeline,
                task_name=model.task.value,
                dataset_type=on_hub.get("dataset", "custom"),
                dataset_name=", ".join(dict.fromkeys(source["name"] for source in sources)) or "test rows",
                dataset_config=on_hub.get("config"),
                dataset_split=on_hub.get("split", "test"),
                dataset_revision=on_hub.get("revision"),
                dataset_args={"sha256": digest} if digest else None,
                metric_type=HUB_METRICS.get(MetricName(name), _snake(name)),
                metric_name=METRICS[MetricName(name)].heading,
                metric_value=figure["value"],
                metric_args={key: value for key, value in beside.items() if value is not None},
            )
        )
    return found


def license_beside(folder: Path) -> dict[str, Any]:
    """Return the license that the card beside a model's weights states, as a card's metadata has it; empty where none does."""
    try:
        stated = metadata_load(folder / CARD) or {}
    except Exception:  # no card, or one that is no YAML: then nothing is known of the license
        return {}
    if not stated.get("license"):
        return {}
    return {key: stated[key] for key in ("license", "license_name", "license_link") if stated.get(key)}


def _codes(languages: str) -> list[str]:
    """Return the two or three letters of each language of a pair such as en-de or deu_Latn-eng_Latn."""
    codes = (re.split("[-_]", part)[0].lower() for part in languages.split(" to "))
    return [code for code in codes if re.fullmatch("[a-z]{2,3}", code)]


def _snake(name: str) -> str:
    return re.sub("(?<=[a-z])(?=[A-Z0-9])", "_", name).lower()
