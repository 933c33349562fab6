import yaml

from bench.quickstart import QUICKSTART, bench_documents
from finetune.api.spec import FineTuneJobSpec

DOCUMENTS = list(yaml.safe_load_all(QUICKSTART.read_text()))


def spec_of(documents: list[dict]) -> FineTuneJobSpec:
    [job] = [document for document in documents if document["kind"] == "FineTuneJob"]
    return FineTuneJobSpec.model_validate(job["spec"])


def test_the_measured_job_is_the_quickstart_for_the_steps_that_are_asked_for() -> None:
    quickstart, measured = spec_of(DOCUMENTS), spec_of(bench_documents(DOCUMENTS, steps=12))
    for section in ("task", "model", "data", "method", "regularization", "distributed", "resources"):
        assert getattr(measured, section) == getattr(quickstart, section)
    assert measured.training.max_steps == 12
    assert measured.training.global_batch_size == quickstart.training.global_batch_size
    assert measured.augmentation is None


def test_the_data_goes_with_the_measured_job() -> None:
    kinds = [document["kind"] for document in bench_documents(DOCUMENTS, steps=30)]
    assert kinds == ["ConfigMap", "PersistentVolumeClaim", "FineTuneJob"]
