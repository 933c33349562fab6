"""What a decision about a job says, in the words that tests ask in."""

from datetime import timedelta
from typing import Any, assert_never

from controller.job import remains
from controller.job.facts import Observed
from controller.job.plan import POLICIES, Policy, plan
from controller.job.situation import Action, AskToStop, CreateAttempt, Delete, Plan, ReleaseProgress, RestoreSupports, Situation
from controller.kinds import RAY_JOBS
from controller.runtime.rights import Right, declared_beside, rights
from finetune.api.conditions import get_condition
from finetune.api.status import Attempt, AttemptOutcome, Condition, ConditionType, FineTuneJobStatus
from tests.controller.job.builders import NOW, attempt, uid_of

SUSPENDED = {"suspend": True}


def decide(what: Observed, seconds: float = 0) -> Plan:
    return plan(what, NOW + timedelta(seconds=seconds), tuple(map(within_rights, POLICIES)))


def within_rights(policy: Policy) -> Policy:
    """Return the policy, checked: an action that the API server would refuse is an AssertionError, since roles come from `RIGHTS`."""
    held = {*remains.RIGHTS, *declared_beside(policy)}

    def checked(situation: Situation) -> Situation | Plan:
        answer = policy(situation)
        for action in answer.actions[len(situation.actions) :]:
            for right in needed_for(action):
                assert right in held, f"{policy.__module__}: RIGHTS do not include: {right}; needed for {action}"
        return answer

    return checked


def needed_for(action: Action) -> tuple[Right, ...]:
    """Return the rights that depend on what an action names; all else that an action takes, controller.job.actions declares."""
    match action:
        case Delete(resource):
            return rights(resource, "delete")
        case CreateAttempt() | RestoreSupports() | ReleaseProgress() | AskToStop():
            return ()
        case _:
            assert_never(action)


def condition(of: Plan | FineTuneJobStatus, kind: ConditionType) -> Condition:
    found = get_condition(of.status if isinstance(of, Plan) else of, kind)
    assert found is not None
    return found


def deletion(number: int) -> Delete:
    """Return what deletes the RayJob of an attempt."""
    return Delete(RAY_JOBS, f"bot-{number}", uid_of(number))


def last_attempt(decision: Plan) -> Attempt:
    assert decision.status.attempts
    return decision.status.attempts[-1]


def after(decision: Plan, **fields: Any) -> FineTuneJobStatus:
    """Return what the next pass reads: status is what the first one wrote."""
    return decision.status.model_copy(update=fields)


def ended(number: int, outcome: AttemptOutcome, reason: str = "TrainerFailed") -> Attempt:
    return attempt(number, outcome=outcome, reason=reason, end_time=NOW)
