"""What is done about the objects that an attempt reports with, when somebody has deleted, replaced or altered them.

The attempt goes on in any case; what can be repaired is repaired, and the rest is reported. Pure.
Test: tests/controller/job/test_upkeep.py.
"""

from collections.abc import Sequence

from controller.job.names import attempt_of_progress
from controller.job.objects.pods import TOKEN_SECONDS
from controller.job.situation import ReleaseProgress, RestoreSupports, Situation
from controller.runtime.resources import SERVICE_ACCOUNTS
from finetune.api.conditions import Reason, get_condition
from finetune.api.status import ConditionType


def restores(situation: Situation, number: int) -> list[RestoreSupports]:
    """Return the action that creates again what somebody has deleted; without a readable spec nothing can be built."""
    lost = situation.observed.supports.lost if situation.job.spec is not None else ()
    return [RestoreSupports(number, lost)] if lost else []


def releases(situation: Situation) -> list[ReleaseProgress]:
    """Return the actions that let progress ConfigMaps be deleted with their job, if the trainer or somebody else has prevented it."""
    job = situation.job
    numbers = [(name, attempt_of_progress(name, job.name, job.uid), uid) for name, uid in situation.observed.held]
    return [ReleaseProgress(name, number, uid) for name, number, uid in numbers if number is not None]


def report_supports(situation: Situation) -> Situation:
    """Say in the condition Reporting what somebody did to the objects that the attempt reports with."""
    supports, reporting = situation.observed.supports, get_condition(situation.status, ConditionType.REPORTING)
    if supports.lost and situation.job.spec is not None:
        return situation  # the action that creates them again reports how that went
    if supports.foreign:
        message = f"{_named(supports.foreign)}: the name is taken by an object that is not this job's; delete it, or metrics may not arrive"
        return situation.condition(ConditionType.REPORTING, "False", Reason.NAME_TAKEN, message)
    if not supports.writable:
        message = f"the progress ConfigMap {supports.altered}; no more metrics arrive; the job itself is not affected"
        return situation.condition(ConditionType.REPORTING, "False", Reason.PROGRESS_IMMUTABLE, message)
    if supports.altered:
        message = f"the progress ConfigMap {supports.altered}, which the controller did not do; it is still read"
        return situation.condition(ConditionType.REPORTING, "True", Reason.PROGRESS_ALTERED, message)
    if reporting is not None and (reporting.status == "False" or reporting.reason == Reason.PROGRESS_ALTERED):
        return situation.condition(
            ConditionType.REPORTING, "True", Reason.REPORTING, "everything that the attempt reports with is in place again"
        )
    return situation


def restored(lost: Sequence[tuple[str, str]]) -> str:
    """Return the message that objects, pairs of kind and name, were created again, and when reports arrive again."""
    words = f"{_named(lost)}: deleted by somebody while the attempt runs, and created again"
    if any(kind == SERVICE_ACCOUNTS.kind for kind, _ in lost):
        # A token is bound to the account's UID.
        minutes = TOKEN_SECONDS // 60
        words += f"; the head's token belongs to the deleted account: reports are refused until it is renewed, within {minutes} minutes"
    return words


def not_restored(lost: Sequence[tuple[str, str]], why: str) -> str:
    """Return the message that objects could not be created again."""
    return f"{_named(lost)}: deleted by somebody while the attempt runs, and not created again yet; the attempt goes on. {why}"


def _named(objects: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{kind} {name}" for kind, name in objects)
