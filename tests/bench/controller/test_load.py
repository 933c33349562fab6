from bench.controller.load import copied, job, names, now_text, record
from finetune.api import folding
from finetune.api.spec import FineTuneJobSpec


def test_the_jobs_of_the_bench_are_valid() -> None:
    assert FineTuneJobSpec.model_validate(job("bot")["spec"]).resources is not None
    assert list(names(2)) == ["job-00000", "job-00001"]


def test_reports_are_taken_by_the_controller() -> None:
    import json

    parsed = folding.parse(json.dumps(record("bot-1-abcde", 4, now_text())))
    assert (parsed.attempt, parsed.cluster, parsed.sequence) == (1, "bot-1-abcde", 4)


def test_a_copy_belongs_to_another_job_and_keeps_nothing_of_the_server() -> None:
    item = {
        "kind": "Thing",
        "metadata": {
            "name": "a-1", "uid": "u", "resourceVersion": "5",
            "labels": {"finetune.dev/job": "a", "finetune.dev/job-uid": "1", "finetune.dev/attempt": "1"},
            "ownerReferences": [{"kind": "FineTuneJob", "name": "a", "uid": "1"}],
        },
        "spec": {"x": 1},
        "status": {"y": 2},
    }  # fmt: skip
    assert copied(item, "b-1", owner=("b", "2")) == {
        "kind": "Thing",
        "metadata": {
            "name": "b-1",
            "labels": {"finetune.dev/job": "b", "finetune.dev/job-uid": "2", "finetune.dev/attempt": "1"},
            "ownerReferences": [{"kind": "FineTuneJob", "name": "b", "uid": "2"}],
        },
        "spec": {"x": 1},
    }
    assert item["metadata"]["labels"]["finetune.dev/job"] == "a"  # type: ignore[index]
