from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.scenarios import QUICK, QUICKSTART, SCENARIOS, WHOLE, Scenario, Size, command_of, job_documents
from finetune.api.spec import FineTuneJobSpec

DOCUMENTS = list(yaml.safe_load_all(QUICKSTART.read_text()))


def spec_of(documents: list[dict[str, Any]]) -> FineTuneJobSpec:
    [job] = [document for document in documents if document["kind"] == "FineTuneJob"]
    return FineTuneJobSpec.model_validate(job["spec"])


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_measured_job_is_the_quickstart_without_what_the_references_cannot_do(scenario: Scenario) -> None:
    quickstart, measured = spec_of(DOCUMENTS), spec_of(job_documents(DOCUMENTS, scenario, WHOLE))
    assert (measured.task, measured.model, measured.data.train) == (quickstart.task, quickstart.model, quickstart.data.train)
    assert measured.regularization.weight_decay == quickstart.regularization.weight_decay
    assert (measured.regularization.dropout, measured.regularization.label_smoothing, measured.augmentation) == (0, 0, None)
    assert (measured.data.validation, measured.data.test) == (None, None)
    assert (measured.training.scheduler, measured.training.warmup_ratio, measured.training.precision) == ("constant", 0, "float32")
    assert measured.training.packing == ("always" if scenario.packed else "never")
    assert (measured.method.full is not None) == scenario.full
    assert measured.method.lora == (None if scenario.full else quickstart.method.lora)


@pytest.mark.parametrize("size", [WHOLE, QUICK])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_step_is_dealt_evenly_in_every_program(size: Size, workers: int) -> None:
    training = spec_of(job_documents(DOCUMENTS, Scenario("a", workers=workers), size)).training
    assert (training.max_steps, training.global_batch_size) == (size.steps, size.batch)
    assert training.global_batch_size % (training.micro_batch_size * workers) == 0


def test_the_data_goes_with_the_measured_job() -> None:
    kinds = [document["kind"] for document in job_documents(DOCUMENTS, SCENARIOS[0], WHOLE)]
    assert kinds == ["ConfigMap", "PersistentVolumeClaim", "FineTuneJob"]


def test_only_several_workers_are_started_by_torchrun() -> None:
    one, two = (command_of("bare", Scenario("a", workers=workers), Path("c"), Path("o")) for workers in (1, 2))
    assert "torch.distributed.run" not in one
    assert two[two.index("--nproc-per-node") + 1] == "2"
    assert "--packed" in command_of("bare", Scenario("a", packed=True), Path("c"), Path("o"))
