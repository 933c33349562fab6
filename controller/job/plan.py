"""The one decision about a job: pure, from what was observed and the time to what is to be done.

The order of the policies is the design: what was reported comes first, then what ends a job, what stops it, what it did, and
what it does next. A new rule is a policy of its own, with the `RIGHTS` that its actions take, and a line in this order;
tests ask the policies through `within_rights` of tests/controller/job/decisions.py, which checks what they declare.
Test: tests/controller/job/test_plan.py.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from controller.job.activity import settled
from controller.job.facts import Observed
from controller.job.policies.attempt_ended import attempt_ended
from controller.job.policies.deleted import deleted
from controller.job.policies.expired import expired
from controller.job.policies.finished import finished
from controller.job.policies.going import going
from controller.job.policies.invalid import invalid
from controller.job.policies.kuberay_gone import kuberay_gone
from controller.job.policies.overdue import overdue
from controller.job.policies.pending import pending
from controller.job.policies.queued import queued
from controller.job.policies.remembered import remembered
from controller.job.policies.reported import reported
from controller.job.policies.resumed import resumed
from controller.job.policies.running import running
from controller.job.policies.stalled import stalled
from controller.job.policies.start import start
from controller.job.policies.suspended import suspended
from controller.job.policies.unsafe import unsafe
from controller.job.policies.witnessed import witnessed
from controller.job.situation import Plan, Situation
from controller.job.verdict import without_false_ends
from finetune.api.attempts import unfinished
from finetune.api.conditions import summarize

Policy = Callable[[Situation], Situation | Plan]
"""Passes the situation on, changed or not, or ends the pass with a plan."""

POLICIES: tuple[Policy, ...] = (
    reported,
    deleted,
    expired,
    finished,
    resumed,
    remembered,
    invalid,
    suspended,
    witnessed,
    attempt_ended,
    overdue,
    pending,
    stalled,
    unsafe,
    going,
    queued,
    running,
    kuberay_gone,
    start,
)


def plan(observed: Observed, now: datetime, policies: tuple[Policy, ...] = POLICIES) -> Plan:
    """Return what is to be done about a job; `now` is in whole seconds, as times in status are."""
    situation = Situation(observed, without_false_ends(observed.job.status), now)
    decision = ask(situation, policies)
    if observed.job.deleting:
        return decision
    attempt = unfinished(decision.status)
    ray_job = observed.ray_job_of(attempt) if attempt is not None else None
    status = settled(observed.job.status, decision.status, observed.job, ray_job, now)
    return replace(decision, status=summarize(status, generation=observed.job.generation, now=now))


def ask(situation: Situation, policies: tuple[Policy, ...]) -> Plan:
    """Ask the policies in order until one ends the pass; the last one always does."""
    for policy in policies:
        answer = policy(situation)
        if isinstance(answer, Plan):
            return answer
        situation = answer
    raise AssertionError(f"{policies[-1].__name__} passed the situation on, and no policy is left")
