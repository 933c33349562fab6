"""Advice on a mistake names what the schema has, and what it proposes is taken."""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from finetune.api.errors import InputError
from finetune.api.spec import FineTuneJobSpec
from finetune.cli.jobfile.fields import every_field
from finetune.cli.jobfile.problems import dotted, explain
from finetune.cli.jobfile.suggestions import OTHER_TOOLS, closest
from finetune.cli.jobfile.yamlreader import parse
from tests.finetune.cli.builders import job

RICH_SPEC: dict[str, Any] = {
    **job()["spec"],
    "data": {"train": [{"path": "a.jsonl", "columns": {"prompt": "q"}}, {"huggingFace": {"name": "org/set"}}], "validationFraction": 0.1},
    "method": {"lora": {"rank": 8, "alpha": 16, "dropout": 0.1, "targetModules": ["q_proj"]}},
    "training": {
        "epochs": 1,
        "globalBatchSize": 8,
        "learningRate": 1e-4,
        "seed": 1,
        "gradientCheckpointing": "always",
        "scheduler": "cosine",
    },
    "regularization": {"weightDecay": 0.1, "earlyStopping": {"metric": "perplexity", "patience": 1}},
    "augmentation": {"operations": [{"wordDropout": {"probability": 0.1}}], "augmentedShare": 0.3},
    "evaluation": {"everySteps": 1, "metrics": ["perplexity"], "generation": {"samples": 3}},
    "distributed": {"workers": 1, "deepspeed": {"zeroStage": 2}},
    "resources": {"cpu": "4", "memory": "8Gi", "nodeSelector": {"zone": "a"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]},
    "checkpoint": {"everySteps": 10, "keep": 3},
    "output": {"persistentVolumeClaim": {"claimName": "models", "path": "a"}, "export": ["adapter"]},
    "runPolicy": {"suspend": False, "maxAttempts": 3},
}


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
def test_an_unknown_field_is_reported_with_the_place_where_it_belongs(changes: dict[str, Any], expected: str) -> None:
    assert advice(**changes).startswith(expected)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"training__seed": "3"}, "write 3 without quotes", id="number in quotes"),
        pytest.param({"training__learningRate": "1e-4"}, "write 1e-4 without quotes", id="fraction in quotes"),
        pytest.param({"training__warmupRatio": "5%"}, "write 0.05 for 5%", id="percent"),
        pytest.param({"data__validationFraction": "60%"}, "give at most 0.5", id="percent that is too much"),
        pytest.param({"training__learningRate": "-1"}, "give more than 0", id="number in quotes that is too little"),
        pytest.param({"training__seed": "1.5"}, "give a whole number", id="fraction in quotes for a whole number"),
        pytest.param({"training__seed": "1.2.3%"}, "give a whole number", id="neither number nor percent"),
        pytest.param({"training__groupByLength": "yes"}, "write yes without quotes", id="flag in quotes"),
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
def test_a_value_of_another_type_is_refused_with_how_to_write_it(changes: dict[str, Any], expected: str) -> None:
    assert advice(**changes).startswith(expected)


def test_names_of_other_tools_lead_to_fields_that_exist() -> None:
    assert set(OTHER_TOOLS.values()) <= {".".join(path) for path in every_field(FineTuneJobSpec)}


def test_a_name_that_resembles_nothing_is_answered_with_all_names() -> None:
    assert closest("zzz", ["prompt", "completion"]) == "known here: completion, prompt"


WRONG_VALUES = ["x", "org/model", "rows.jsonl", "3", "0.5", "50%", "yes", "lora", "perplexity", 7, 1.5, True, False]


@pytest.mark.parametrize("value", WRONG_VALUES, ids=str)
def test_what_advice_says_to_write_is_taken_wherever_the_value_stands(value: Any) -> None:
    followed = 0
    for place in places(RICH_SPEC):
        for error in refusals(replaced(RICH_SPEC, place, value)):
            written = re.fullmatch(r"write (.*?)( without quotes| for .*)?|put quotes around it.*", error.fix)
            if error.field != dotted(("spec", *place)) or written is None:
                continue
            better = str(value).lower() if written[1] is None else parse(f"value: {written[1]}").value["value"]
            left = [again.field for again in refusals(replaced(RICH_SPEC, place, better))]
            assert error.field not in left, f"{error} leads to {better!r}, which is refused"
            followed += 1
    assert followed or value in ("3", "0.5", "50%", "yes", False)


def places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        yield (*at, name)
        yield from places(member, (*at, name))


def replaced(spec: dict[str, Any], place: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    copied = copy.deepcopy(spec)
    parent: Any = copied
    for part in place[:-1]:
        parent = parent[part]
    parent[place[-1]] = value
    return copied


def refusals(spec: dict[str, Any]) -> list[InputError]:
    try:
        FineTuneJobSpec.model_validate_json(json.dumps(spec), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        return explain(error, FineTuneJobSpec, spec, "spec")
    return []
