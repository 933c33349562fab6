"""The life of a job, pass by pass: how the policies work together."""

import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from controller.job import policies
from controller.job.facts import Observed
from controller.job.plan import POLICIES, ask
from controller.job.refusals import Refused
from controller.job.situation import Delete, Plan, Situation
from controller.kinds import FINE_TUNE_JOBS
from controller.runtime.rights import rights
from finetune.api.status import AttemptOutcome, ConditionType
from tests.controller.job.builders import NOW, UID, attempt, checkpoint, job, observed, pod, ray_job, record_text, status
from tests.controller.job.decisions import SUSPENDED, condition, decide, deletion, ended, within_rights

REFUSED = Refused("Unreadable", "attempt 1", "no JSON", 7)


@pytest.mark.parametrize(
    "what",
    [
        observed(job()),
        observed(job(status=status(attempt())), ray_job()),
        observed(job(status=status(attempt())), ray_job(), pods=[pod(waiting_reason="CreateContainerConfigError")]),
        observed(job(status=status(attempt())), ray_job(), record=record_text(checkpoints=[checkpoint(20)])),
        observed(job(status=status(ended(1, AttemptOutcome.FAILED))), pods=[pod()]),
        observed(job(status=status(ended(1, AttemptOutcome.FAILED)))),
        observed(job(runPolicy=SUSPENDED)),
        observed(job(model={"path": "here"})),
    ],
    ids=["start", "running", "a Secret is missing", "report", "waiting for pods", "pausing", "suspended", "invalid"],
)
def test_deciding_twice_over_the_same_facts_changes_nothing_more(what: Observed) -> None:
    once = decide(what)
    if once.status.attempts and once.status.attempts[-1].start_time is None:
        return  # a start takes two passes by design
    again = decide(replace(what, job=replace(what.job, status=once.status)), 5)
    assert again.status == once.status


def test_a_policy_is_one_file_with_a_test_of_its_own_and_has_its_place_in_the_order() -> None:
    files = sorted(path.stem for path in Path(policies.__file__).parent.glob("[!_]*.py"))
    assert sorted(policy.__name__ for policy in POLICIES) == files
    assert [name for name in files if not (Path(__file__).parent / "policies" / f"test_{name}.py").exists()] == []


def test_what_a_policy_adds_on_the_way_is_done_though_a_later_one_ends_the_pass() -> None:
    def deadline(situation: Situation) -> Situation:
        return situation.do(deletion(7)).wake_in(timedelta(seconds=3)).refuse(REFUSED)

    known = status(attempt())
    situation = Situation(observed(job(status=known), ray_job(), unwatched=True), known, NOW)
    decision = ask(situation, (deadline, *POLICIES))
    assert (decision.actions, decision.requeue_after, decision.refused) == ((deletion(7),), 3, (REFUSED,))
    assert condition(decision, ConditionType.RUNNING).status == "True"
    assert ask(situation, POLICIES).requeue_after == 30


def test_a_policy_that_ends_the_pass_keeps_later_ones_from_being_asked() -> None:
    def stop(situation: Situation) -> Plan:
        return situation.do(deletion(7)).ends()

    known = status(attempt())
    decision = ask(Situation(observed(job(status=known)), known, NOW), (stop, *POLICIES))
    assert (decision.actions, decision.status) == ((deletion(7),), known)


def test_the_last_policy_must_end_the_pass() -> None:
    def passes_on(situation: Situation) -> Situation:
        return situation

    with pytest.raises(AssertionError, match="passes_on"):
        ask(Situation(observed(job()), status(), NOW), (passes_on,))


def test_a_policy_that_deletes_what_its_module_does_not_declare_is_named_before_the_api_server_refuses_it() -> None:
    def tidy(situation: Situation) -> Plan:
        return situation.do(Delete(FINE_TUNE_JOBS, "bot", UID)).ends()

    situation = Situation(observed(job()), status(), NOW)
    with pytest.raises(AssertionError, match=r"test_plan: RIGHTS do not include: delete finetunejobs.finetune.dev; needed for Delete"):
        ask(situation, (within_rights(tidy),))


def test_a_policy_may_delete_what_its_module_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    def tidy(situation: Situation) -> Plan:
        return situation.do(Delete(FINE_TUNE_JOBS, "bot", UID)).ends()

    monkeypatch.setattr(sys.modules[__name__], "RIGHTS", rights(FINE_TUNE_JOBS, "delete"), raising=False)
    [action] = ask(Situation(observed(job()), status(), NOW), (within_rights(tidy),)).actions
    assert action == Delete(FINE_TUNE_JOBS, "bot", UID)


def test_a_policy_answers_for_its_own_actions_and_not_for_those_before_it() -> None:
    known = status(attempt())
    situation = Situation(observed(job(status=known), ray_job()), known, NOW).do(Delete(FINE_TUNE_JOBS, "bot", UID))
    assert ask(situation, tuple(map(within_rights, POLICIES))).actions == situation.actions
