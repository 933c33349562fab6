"""What is done about the objects by which an attempt reports, when somebody has deleted, taken or altered them.

The attempt goes on whatever became of them; what may be mended is mended, and what was done is told. Pure.
Test: tests/controller/job/test_supports.py.
"""

from controller.api.status import ConditionType
from controller.job.conditions import Reason, get_condition
from controller.job.names import attempt_of_progress
from controller.job.situation import ReleaseProgress, RestoreSupports, Situation


def restores(situation: Situation, number: int) -> list[RestoreSupports]:
    """Return what creates again what somebody has deleted; what is told to a trainer can be built of a spec that is read only."""
    lost = situation.observed.supports.lost if situation.job.spec is not None else ()
    return [RestoreSupports(number, lost)] if lost else []


def releases(situation: Situation) -> list[ReleaseProgress]:
    """Return what lets the progress ConfigMaps go with the job that the trainer, or somebody, has held fast."""
    job = situation.job
    numbers = {name: attempt_of_progress(name, job.name, job.uid) for name in situation.observed.held}
    return [ReleaseProgress(name, number) for name, number in numbers.items() if number is not None]


def tell_of_supports(situation: Situation) -> Situation:
    """Say what somebody did to the objects by which the attempt reports; it goes on as it is."""
    supports, told = situation.observed.supports, get_condition(situation.status, ConditionType.REPORTING)
    if supports.foreign:
        there = ", ".join(f"{kind} {name}" for kind, name in supports.foreign)
        message = f"{there}: the name is taken by an object that is not this job's; delete that, or figures may not arrive"
        return situation.condition(ConditionType.REPORTING, "False", Reason.NAME_TAKEN, message)
    if not supports.writable:
        message = f"the progress ConfigMap {supports.altered}; no more figures arrive, the job goes on and ends as it would"
        return situation.condition(ConditionType.REPORTING, "False", Reason.PROGRESS_IMMUTABLE, message)
    if supports.altered:
        message = f"the progress ConfigMap {supports.altered}, which the controller did not do; it is read all the same"
        return situation.condition(ConditionType.REPORTING, "True", Reason.PROGRESS_ALTERED, message)
    if supports.lost:
        gone = ", ".join(f"{kind} {name}" for kind, name in supports.lost)
        message = f"{gone}: deleted by somebody while the attempt runs, and created again"
        return situation.condition(ConditionType.REPORTING, "True", Reason.SUPPORTS_RESTORED, message)
    if told is not None and told.status == "False":
        return situation.condition(ConditionType.REPORTING, "True", Reason.REPORTING, "the trainer can report again")
    return situation
