"""The status of a run on this machine, in the form of a FineTuneJob's: each start of `finetune run` is an attempt.

Pure; the same functions as the controller's do the work. Tests: tests/finetune/cli/local/test_status.py.
"""

from datetime import datetime

from finetune.api import attempts
from finetune.api.attempts import Ending
from finetune.api.conditions import Reason, set_condition, summarize
from finetune.api.folding import fold
from finetune.api.record import Outcome, ProgressRecord, Result
from finetune.api.status import AttemptOutcome, ConditionType, FineTuneJobStatus

OUTCOMES = {
    Result.SUCCEEDED: AttemptOutcome.SUCCEEDED,
    Result.INTERRUPTED: AttemptOutcome.INTERRUPTED,
    Result.FAILED: AttemptOutcome.FAILED,
    Result.INPUT_INVALID: AttemptOutcome.FAILED,
}
ABANDONED = Ending(AttemptOutcome.FAILED, "Killed", "the run ended without a report: it was killed, or the machine went down")


def begin(previous: FineTuneJobStatus, job_name: str, now: datetime) -> FineTuneJobStatus:
    """Return the status of a run that starts now, after what earlier starts in the same folder left."""
    if attempts.unfinished(previous) is not None:
        last_sign_of_life = previous.progress.last_report_time if previous.progress else None
        previous = attempts.end(previous, ABANDONED, last_sign_of_life or now)
    # Another run counts its reports from 1 again and has an end of its own.
    fresh = previous.model_copy(update={"report_cursor": None, "conditions": None, "warnings": None})
    status = attempts.update(attempts.begin(fresh, job_name), start_time=now)
    status = set_condition(status, ConditionType.ACCEPTED, "True", Reason.ACCEPTED, "the job file is valid", generation=1, now=now)
    message = "the trainer was started on this machine"
    status = set_condition(status, ConditionType.RUNNING, "True", Reason.RUNNING, message, generation=1, now=now)
    return summarize(status, generation=1, now=now)


def take(status: FineTuneJobStatus, record: ProgressRecord) -> FineTuneJobStatus:
    """Return the status with what the trainer reports, and with its end when the record has it."""
    status = fold(status, record)
    if record.outcome is not None:
        status = _end(status, record.outcome, record.time)
    return summarize(status, generation=1, now=record.time)


def _end(status: FineTuneJobStatus, outcome: Outcome, now: datetime) -> FineTuneJobStatus:
    ending = Ending(OUTCOMES[outcome.result], outcome.reason, outcome.message, log_tail=tuple(outcome.last_lines or ()))
    status = attempts.end(status, ending, now)
    status = set_condition(status, ConditionType.RUNNING, "False", Reason.FINISHED, "the trainer has ended", generation=1, now=now)
    if outcome.result is Result.INTERRUPTED:  # as of a suspended job: nothing runs, and the next start continues
        return set_condition(status, ConditionType.SUSPENDED, "True", outcome.reason, outcome.message, generation=1, now=now)
    good = outcome.result is Result.SUCCEEDED
    kind = ConditionType.SUCCEEDED if good else ConditionType.FAILED
    reason = Reason.SUCCEEDED if good else outcome.reason
    return set_condition(status, kind, "True", reason, outcome.message, generation=1, now=now)
