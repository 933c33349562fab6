"""Samples of three tasks on a real node, with augmentation and early stopping: the status has their task's own figures."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.kubectl import Kubectl, condition
from tests.e2e.runs import volume_folder, watch
from tests.repository import REPOSITORY

SAMPLES = REPOSITORY / "manifests" / "samples"
TASK_SECONDS = 900.0
SHORT = {
    "sentiment": {"epochs": 6},
    "translation": {"maxSteps": 8},
    "support-answers": {"maxSteps": 8},
}
"""How long each trains: validated every second step, early stopping can act."""
STOPPED = ("sentiment",)
BEYOND_REACH = 2.0
"""An accuracy cannot rise by so much: after two more validations training stops."""


def shortened(name: str) -> str:
    """Return the sample with fewer steps, workers that fit on the node, augmentation and early stopping."""
    documents = list(yaml.safe_load_all((SAMPLES / f"{name}.yaml").read_text()))
    job = next(document for document in documents if document["kind"] == "FineTuneJob")
    spec: dict[str, Any] = job["spec"]
    spec["training"] = {key: value for key, value in spec["training"].items() if key != "epochs"} | SHORT[name]
    spec["data"]["validationFraction"] = 0.2
    spec["augmentation"] = {"copiesPerRow": 1, "operations": [{"synonymReplacement": {}}, {"characterNoise": {"kind": "keyboard"}}]}
    spec.setdefault("regularization", {})["earlyStopping"] = {"patience": 2, **({"minDelta": BEYOND_REACH} if name in STOPPED else {})}
    spec.setdefault("evaluation", {})["everySteps"] = 2
    spec["resources"] = {"cpu": "500m", "memory": "6Gi"}
    return yaml.safe_dump_all(documents, sort_keys=False)


@pytest.mark.parametrize(
    ("name", "score", "own"),
    [
        pytest.param("sentiment", "accuracy", {"accuracy", "macroF1"}, id="classification"),
        pytest.param("translation", "perplexity", {"bleu", "chrf"}, id="translation"),
        pytest.param("support-answers", "perplexity", {"tokenF1", "rougeL", "exactMatch"}, id="question answering"),
    ],
)
def test_a_job_of_each_task_succeeds_with_its_own_figures_intervals_and_rows(
    namespace: Callable[[str], Kubectl], artifacts: Path, name: str, score: str, own: set[str]
) -> None:
    kubectl = namespace(name)
    kubectl.run("apply", "--filename", "-", stdin=shortened(name))

    observed = watch(kubectl, name, artifacts, lambda _: None, TASK_SECONDS)

    status = observed.status
    assert condition(status, "Succeeded").get("status") == "True", status.get("conditions")
    found = status["metrics"]
    assert own <= set(found["baseline"]) & set(found["final"])
    for metric in own:
        assert re.search(r"\[.+, .+\], [a-z ]+, 12 rows$", found["compared"][metric]), found["compared"]
    assert found["score"]["metric"] == score
    assert status["summary"]["score"].startswith(f"{score} ")
    assert observed.table_lines[-1].count(f"{score} ") == 1, "the printer column shows the job's own metric"
    assert found["generalization"]["step"] > 0
    report = json.loads((volume_folder(kubectl, status) / "report.json").read_text())
    rows_were_varied(report["augmentation"])
    stopped_as_it_says(report, score, status["attempts"][-1]["lastStep"], surely=name in STOPPED)


def rows_were_varied(did: dict[str, Any]) -> None:
    """Fail unless varied copies stood beside the rows, and the operations changed words of them, though not of each."""
    original, generated = did["rows"]["original"], did["rows"]["generated"]
    assert original > 0
    assert generated > 0
    assert did["unchanged"] < generated
    assert set(did["operations"]) == {"synonymReplacement", "characterNoise"}
    assert did["operations"]["characterNoise"] > 0
    assert 0 < did["wordsChanged"] < did["words"]
    assert did["examples"]
    assert all(example["before"] != example["after"] for example in did["examples"])


def stopped_as_it_says(report: dict[str, Any], score: str, step: int, *, surely: bool) -> None:
    """Fail unless early stopping watched the task's score, and ended training where it was without improvement for as long."""
    stopping, training = report["earlyStopping"], report["training"]
    assert (stopping["metric"], stopping["patience"]) == (score, 2)
    assert training["steps"] == step
    assert training["stoppedEarly"] is (stopping["stoppedAtStep"] is not None)
    assert training["stoppedEarly"] or not surely
    if training["stoppedEarly"]:
        assert stopping["stoppedAtStep"] == step == stopping["bestStep"] + 2 * 2, "two validations, two steps apart"
        assert step < training["totalSteps"] or not surely
