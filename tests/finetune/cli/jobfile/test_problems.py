"""Mistakes in a job are reported as `field: what is wrong; what to do`."""

from typing import Any

import pytest
from pydantic import ValidationError

from finetune.api.spec import FineTuneJobSpec
from finetune.cli.jobfile.problems import explain
from tests.builders import REMOVED
from tests.finetune.cli.builders import job


def problems(**changes: Any) -> list[str]:
    spec = job(**{f"spec__{path}": value for path, value in changes.items()})["spec"]
    with pytest.raises(ValidationError) as raised:
        FineTuneJobSpec.model_validate(spec, by_alias=True, by_name=False)
    return [str(error) for error in explain(raised.value, FineTuneJobSpec, spec, "spec")]


SOURCE = {"path": "a.jsonl"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param(
            {"training__learningrate": 1},
            "spec.training.learningrate: there is no such field; did you mean learningRate?",
            id="unknown-field",
        ),
        pytest.param(
            {"training__learning_rate": 1},
            "spec.training.learning_rate: there is no such field; did you mean learningRate?",
            id="snake-case",
        ),
        pytest.param({"training__learningRate": -1}, "spec.training.learningRate: -1 is out of range; give more than 0", id="negative"),
        pytest.param({"training__learningRate": "fast"}, "spec.training.learningRate: ", id="text-for-a-number"),
        pytest.param({"task": REMOVED}, "spec.task: is missing; add it: What the model learns to do.", id="missing"),
        pytest.param({"task": "chatt"}, "spec.task: 'chatt' is not allowed; use 'chat'", id="enum"),
        pytest.param(
            {"distributed": {"deepspeed": {"zeroStage": 4}}},
            "spec.distributed.deepspeed.zeroStage: 4 is not allowed; use 0, 1, 2 or 3",
            id="literal",
        ),
        pytest.param(
            {"distributed": {"deepspeed": {"zeroStage": True}}},
            "spec.distributed.deepspeed.zeroStage: true is not allowed; use 0, 1, 2 or 3",
            id="flag-for-a-number",
        ),
        pytest.param({"training__maxSteps": 3}, "spec.training: give exactly one of epochs, maxSteps", id="rule-that-repeats-the-location"),
        pytest.param(
            {"model": {"path": "x", "revision": "abc"}},
            "spec.model.revision: only a model with a name has one",
            id="rule-that-goes-on-from-the-location",
        ),
        pytest.param(
            {"model": {"name": "org/model", "revision": "a b"}},
            "spec.model.revision: 'a b' has another form than this field needs; give a commit, branch or tag of the hub: letters, "
            "digits and any of -_@#=,()!%+, with single dots and slashes between",
            id="revision",
        ),
        pytest.param(
            {"output__persistentVolumeClaim__path": "../other"},
            "spec.output.persistentVolumeClaim.path: a path inside the claim is relative and has no '..' and no control characters",
            id="rule-on-a-member",
        ),
        pytest.param(
            {"data__train": [SOURCE, {**SOURCE, "configMap": {"name": "a", "key": "b"}}]},
            "spec.data.train[1]: give exactly one of huggingFace, persistentVolumeClaim, configMap, path",
            id="rule-that-describes-the-object",
        ),
        pytest.param(
            {"distributed": {"workers": 3}},
            "spec.training.globalBatchSize: must be a multiple of the number of ranks, distributed.workers x max(1, resources.gpus)",
            id="rule-of-the-whole-spec",
        ),
        pytest.param({"method": "lora"}, "spec.method: 'lora' is not an object (name: value); write {lora: {}}", id="no-object"),
        pytest.param({"data__train": []}, "spec.data.train: [] is too short; give at least 1 entry", id="empty-list"),
        pytest.param({"resources": {"cpu": "many"}}, "spec.resources.cpu: give CPUs above zero, such as ", id="rule-without-a-name"),
        pytest.param({"model": {"name": "a b"}}, "spec.model.name: give the name as the hub shows it, ", id="rule-of-a-name"),
        pytest.param({"model": {"name": "a" * 201}}, f"spec.model.name: '{'a' * 56}… is too long; give at most 200 characters", id="long"),
    ],
)
def test_a_mistake_names_its_field_and_what_to_do(changes: dict[str, Any], expected: str) -> None:
    [problem] = problems(**changes)
    assert problem.startswith(expected)


def test_all_mistakes_are_reported_at_once() -> None:
    found = problems(task="x", training__learningRate=0, method__lora__rank=0)
    assert [line.split(":")[0] for line in found] == ["spec.task", "spec.method.lora.rank", "spec.training.learningRate"]


@pytest.mark.parametrize(
    "changes",
    [
        {"resources": {"cpu": "4\n"}},
        {"resources": {"memory": "4Gi\n"}},
        {"resources": {"nodeSelector": {"zone\n": "a"}}},
        {"model": {"name": "org/model\n"}},
    ],
    ids=["cpu", "memory", "label", "model"],
)
def test_a_line_break_at_the_end_is_no_part_of_a_name_or_an_amount(changes: dict[str, Any]) -> None:
    assert len(problems(**changes)) == 1
