"""A spec that cannot be run is refused, but ends no attempt that runs."""

from typing import Any

import pytest

from finetune.api.conditions import Reason
from finetune.api.status import AttemptOutcome, ConditionType
from tests.controller.job.builders import attempt, job, observed, ray_job, record_text, status, unreadable
from tests.controller.job.decisions import condition, decide, deletion, ended, last_attempt


@pytest.mark.parametrize(
    ("sections", "field"),
    [
        ({"data": {"train": [{"path": "rows.jsonl"}]}}, "data.train[0].path"),
        ({"model": {"path": "model"}}, "model.path"),
        (
            {"augmentation": {"operations": [{"wordSwap": {}}, {"synonymReplacement": {"dictionary": {"path": "words.tsv"}}}]}},
            "augmentation.operations[1].synonymReplacement.dictionary.path",
        ),
    ],
    ids=["data", "model", "dictionary"],
)
def test_a_local_path_is_refused_on_a_cluster_with_its_field_and_the_way_out(sections: dict[str, Any], field: str) -> None:
    decision = decide(observed(job(**sections)))
    accepted = condition(decision, ConditionType.ACCEPTED)
    assert (accepted.status, accepted.reason) == ("False", Reason.SPEC_INVALID)
    assert accepted.message.startswith(f"{field}: ")
    assert "PersistentVolumeClaim" in accepted.message
    assert decision.status.attempts is None
    assert decision.status.phase == "Invalid"


def test_a_spec_that_cannot_be_read_is_refused_and_what_is_left_of_an_attempt_deleted() -> None:
    known = status(ended(1, AttemptOutcome.SUSPENDED))
    decision = decide(observed(unreadable(job(status=known)), ray_job()))
    assert condition(decision, ConditionType.ACCEPTED).reason == Reason.SPEC_INVALID
    assert decision.actions == (deletion(1),)


def test_an_attempt_whose_spec_cannot_be_read_any_more_runs_on() -> None:
    accepted = decide(observed(job(status=status(attempt())), ray_job()))
    decision = decide(observed(unreadable(job(status=accepted.status)), ray_job(), record=record_text()))
    assert decision.actions == ()
    assert (decision.status.phase, last_attempt(decision).last_step) == ("Running", 20)
    assert condition(decision, ConditionType.ACCEPTED).status == "True"
