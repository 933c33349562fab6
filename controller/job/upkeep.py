"""What is done about the objects by which an attempt reports, when somebody has deleted, taken or altered them.

The attempt goes on whatever became of them; what may be mended is mended, and what was done is told. Pure.
Test: tests/controller/job/test_supports.py.
"""

from collections.abc import Sequence

from controller.job.names import attempt_of_progress
from controller.job.objects.pods import TOKEN_SECONDS
from controller.job.situation import ReleaseProgress, RestoreSupports, Situation
from controller.runtime.resources import SERVICE_ACCOUNTS
from finetune.api.conditions import Reason, get_condition
from finetune.api.status import ConditionType


def restores(situation: Situation, number: int) -> list[RestoreSupports]:
    """Return what creates again what somebody has deleted; what is told to a trainer can be built of a spec that is read only."""
    lost = situation.observed.supports.lost if situation.job.spec is not None else ()
    return [RestoreSupports(number, lost)] if lost else []


def releases(situation: Situation) -> list[ReleaseProgress]:
    """Return what lets the progress ConfigMaps go with the job that the trainer, or somebody, has held fast."""
    job = situation.job
    numbers = [(name, attempt_of_progress(name, job.name, job.uid), uid) for name, uid in situation.observed.held]
    return [ReleaseProgress(name, number, uid) for name, number, uid in numbers if number is not None]


def report_supports(situation: Situation) -> Situation:
    """Say what somebody did to the objects by which the attempt reports; it goes on as it is."""
    supports, told = situation.observed.supports, get_condition(situation.status, ConditionType.REPORTING)
    if supports.lost and situation.job.spec is not None:
        return situation  # what came of creating them again is told when it was tried
    if supports.foreign:
        message = (
            f"{_named(supports.foreign)}: the name is taken by an object that is not this job's; delete that, or figures may not arrive"
        )
        return situation.condition(ConditionType.REPORTING, "False", Reason.NAME_TAKEN, message)
    if not supports.writable:
        message = f"the progress ConfigMap {supports.altered}; no more figures arrive, the job goes on and ends as it would"
        return situation.condition(ConditionType.REPORTING, "False", Reason.PROGRESS_IMMUTABLE, message)
    if supports.altered:
        message = f"the progress ConfigMap {supports.altered}, which the controller did not do; it is read all the same"
        return situation.condition(ConditionType.REPORTING, "True", Reason.PROGRESS_ALTERED, message)
    if told is not None and (told.status == "False" or told.reason == Reason.PROGRESS_ALTERED):
        return situation.condition(ConditionType.REPORTING, "True", Reason.REPORTING, "all that the attempt reports with is in place again")
    return situation


def restored(lost: Sequence[tuple[str, str]]) -> str:
    """Return in words that objects, pairs of kind and name, were created again, and when reports arrive again."""
    words = f"{_named(lost)}: deleted by somebody while the attempt runs, and created again"
    if any(kind == SERVICE_ACCOUNTS.kind for kind, _ in lost):
        # A token is bound to the account's UID.
        minutes = TOKEN_SECONDS // 60
        words += f"; the head's token is of the account that is gone: reports are refused until it is renewed, within {minutes} minutes"
    return words


def not_restored(lost: Sequence[tuple[str, str]], why: str) -> str:
    """Return in words that objects could not be created again."""
    return f"{_named(lost)}: deleted by somebody while the attempt runs, and not created again yet; the attempt goes on. {why}"


def _named(objects: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{kind} {name}" for kind, name in objects)
