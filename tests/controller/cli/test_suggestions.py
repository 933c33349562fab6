"""Advice on a mistake names what the schema has, and what it proposes is taken."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from controller.api.spec import FineTuneJobSpec
from controller.cli.fields import every_field
from controller.cli.problems import explain
from controller.cli.suggestions import OTHER_TOOLS, closest
from tests.controller.cli.builders import job


def advice(**changes: Any) -> str:
    spec = job(**{f"spec__{path}": value for path, value in changes.items()})["spec"]
    with pytest.raises(ValidationError) as raised:
        FineTuneJobSpec.model_validate_json(json.dumps(spec), strict=True, by_alias=True, by_name=False)
    [error] = explain(raised.value, FineTuneJobSpec, spec, "spec")
    return error.fix


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"training__learning_rate": 1}, "did you mean learningRate?", id="snake case"),
        pytest.param({"training__learning_rate": 1, "training__learningRate": 1}, "remove it, learningRate is given too", id="given twice"),
        pytest.param({"training__rank": 8}, "it belongs at spec.method.lora.rank", id="another section"),
        pytest.param({"maxSteps": 8}, "it belongs at spec.training.maxSteps", id="one level too high"),
        pytest.param({"training__zeroStage": 2}, "it belongs at spec.distributed.deepspeed.zeroStage", id="deep down"),
        pytest.param(
            {"training__per_device_train_batch_size": 2}, "the closest here is spec.training.microBatchSize", id="name of another tool"
        ),
        pytest.param({"method__lora__r": 8}, "the closest here is spec.method.lora.rank", id="one letter"),
        pytest.param({"prompt": "question"}, "it belongs at spec.data.train[].columns.prompt", id="field of a source"),
        pytest.param({"training__dropout": 0.1}, "it belongs at spec.method.lora.dropout or spec.regularization.dropout", id="two places"),
        pytest.param({"training__000": None}, "inside {…} a comma starts the next field; write numbers with a decimal point", id="comma"),
        pytest.param(
            {"training__0.0005": None}, "inside {…} a comma starts the next field; write numbers with a decimal point", id="fraction"
        ),
        pytest.param({"data__true": 1}, "a key y, yes, on, n, no or off is read as true; put quotes around it", id="key y"),
    ],
)
def test_an_unknown_field_is_told_where_it_stands(changes: dict[str, Any], expected: str) -> None:
    assert advice(**changes).startswith(expected)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"training__seed": "3"}, "write 3 without quotes", id="number in quotes"),
        pytest.param({"training__learningRate": "1e-4"}, "write 1e-4 without quotes", id="fraction in quotes"),
        pytest.param({"training__warmupRatio": "5%"}, "write a fraction, 0.05 for 5%", id="percent"),
        pytest.param({"data__validationFraction": "60%"}, "give at most 0.5", id="percent that is too much"),
        pytest.param({"training__learningRate": "-1"}, "give more than 0", id="number in quotes that is too little"),
        pytest.param({"training__seed": "1.5"}, "give a whole number", id="fraction in quotes for a whole number"),
        pytest.param({"training__seed": "1.2.3%"}, "give a whole number", id="neither number nor percent"),
        pytest.param({"training__gradientCheckpointing": "yes"}, "write yes without quotes", id="flag in quotes"),
        pytest.param({"model__name": 7}, "put quotes around it", id="text without quotes"),
        pytest.param({"resources": {"memory": 1000000}}, "give an amount with its unit, such as 16Gi or 800Mi", id="quotes do not help"),
        pytest.param({"method": "lora"}, "write {lora: {}}", id="name for an object"),
        pytest.param({"model": "org/model"}, "write {name: org/model}", id="model"),
        pytest.param({"model": "./folder"}, "write {path: ./folder}", id="folder"),
        pytest.param({"data__train": ["rows.jsonl"]}, "write {path: rows.jsonl}", id="file"),
        pytest.param({"data__train": {"path": "rows.jsonl"}}, "give a list: begin each entry with '- '", id="entry without a dash"),
        pytest.param({"regularization": {"earlyStopping": True}}, "write {}", id="switch"),
        pytest.param({"method": {"full": True}}, "write {}", id="switch without fields"),
        pytest.param({"regularization": {"earlyStopping": False}}, "leave it out", id="switch that is off"),
        pytest.param({"evaluation": {"metrics": "perplexity"}}, "write [perplexity]", id="entry without brackets"),
        pytest.param(
            {"method": {"lora": {"targetModules": "all-linear"}}}, "leave it out, every linear layer is the default", id="all layers"
        ),
        pytest.param({"data__train": "rows.jsonl"}, "write [{path: rows.jsonl}]", id="file for a list"),
        pytest.param({"data": "rows.jsonl"}, "write {train: [{path: rows.jsonl}]}", id="file for all"),
        pytest.param({"output": "models"}, "write {persistentVolumeClaim: {claimName: models}}", id="claim"),
        pytest.param({"output": "/mnt/models"}, "give an object (name: value)", id="folder for a claim"),
        pytest.param({"task": "Language_Modeling"}, "write language-modeling", id="value in another case"),
        pytest.param({"training__seed": 2**40}, "give at most 2147483647", id="bound"),
        pytest.param({"data__train": [{"configMap": {"name": "A", "key": "k"}}]}, "use lower-case letters, digits", id="name"),
    ],
)
def test_a_value_of_another_type_is_told_how_to_be_written(changes: dict[str, Any], expected: str) -> None:
    assert advice(**changes).startswith(expected)


def test_names_of_other_tools_lead_to_fields_that_exist() -> None:
    assert set(OTHER_TOOLS.values()) <= {".".join(path) for path in every_field(FineTuneJobSpec)}


def test_a_name_that_resembles_nothing_is_answered_with_all_names() -> None:
    assert closest("zzz", ["prompt", "completion"]) == "known here: completion, prompt"
