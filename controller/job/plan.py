"""The one decision about a job: pure, from what was observed and the time to what is to be done.

The order of the policies is the design: what was reported comes first, then what ends a job, what stops it, what it did, and
what it does next. A new rule is a policy of its own, with the `RIGHTS` that its actions take, and a line in this order.
Test: tests/controller/job/test_plan.py.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from controller.job import remains
from controller.job.facts import Observed
from controller.job.policies.attempt_ended import attempt_ended
from controller.job.policies.deleted import deleted
from controller.job.policies.finished import finished
from controller.job.policies.going import going
from controller.job.policies.invalid import invalid
from controller.job.policies.reported import reported
from controller.job.policies.resumed import resumed
from controller.job.policies.running import running
from controller.job.policies.start import start
from controller.job.policies.suspended import suspended
from controller.job.policies.unsafe import unsafe
from controller.job.situation import Action, Plan, Situation, needed_for
from controller.job.verdict import without_false_ends
from controller.runtime.rights import declared_beside
from finetune.api.conditions import summarize

Policy = Callable[[Situation], Situation | Plan]
"""Passes the situation on, changed or not, or ends the pass with a plan."""

POLICIES: tuple[Policy, ...] = (
    reported,
    deleted,
    finished,
    resumed,
    invalid,
    suspended,
    attempt_ended,
    unsafe,
    going,
    running,
    start,
)


def plan(observed: Observed, now: datetime) -> Plan:
    """Return what is to be done about a job; `now` is in whole seconds, as times in status are."""
    situation = Situation(observed, without_false_ends(observed.job.status), now)
    decision = ask(situation, POLICIES)
    if observed.job.deleting:
        return decision
    return replace(decision, status=summarize(decision.status, generation=observed.job.generation, now=now))


def ask(situation: Situation, policies: tuple[Policy, ...]) -> Plan:
    """Ask the policies in order until one ends the pass; the last one always does."""
    for policy in policies:
        answer = policy(situation)
        _check_rights(policy, answer.actions[len(situation.actions) :])
        if isinstance(answer, Plan):
            return answer
        situation = answer
    raise AssertionError(f"{policies[-1].__name__} passed the situation on, and no policy is left")


def _check_rights(policy: Policy, actions: tuple[Action, ...]) -> None:
    """Raise AssertionError for an action that the API server would refuse: roles are generated from the declared rights."""
    held = {*remains.RIGHTS, *declared_beside(policy)}
    for action in actions:
        for right in needed_for(action):
            if right not in held:
                raise AssertionError(f"{policy.__module__}: RIGHTS do not include: {right}; needed for {action}")
