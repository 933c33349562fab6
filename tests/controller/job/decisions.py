"""What a decision about a job says, in the words that tests ask in."""

from datetime import timedelta
from typing import Any

from controller.job.facts import Observed
from controller.job.plan import plan
from controller.job.situation import Delete, Plan
from controller.kinds import RAY_JOBS
from finetune.api.conditions import get_condition
from finetune.api.status import Attempt, AttemptOutcome, Condition, ConditionType, FineTuneJobStatus
from tests.controller.job.builders import NOW, attempt, uid_of

SUSPENDED = {"suspend": True}


def decide(what: Observed, seconds: float = 0) -> Plan:
    return plan(what, NOW + timedelta(seconds=seconds))


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
