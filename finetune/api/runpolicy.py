"""RunPolicy: how the controller runs a job, and what it makes of attempts that fail. Only a cluster knows it.

Tests: tests/finetune/api/test_runpolicy.py, tests/integration/test_malformed_jobs.py.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from finetune.api.base import Rule, WireModel
from finetune.api.patterns import LONGEST, REFUSED, Pattern, PatternError

CONTROLLER = "finetune.dev/controller"
"""Who runs jobs that name nobody in runPolicy.managedBy."""
FREE_RETRIES = 20
"""Attempts that failure rules may leave uncharged: a rule that always matches must not start attempts without end."""
STALL_TIMEOUT_MIN = 300
"""A trainer that works reports every 75 s at the latest; a report may be lost, and a dead watch is noticed after two minutes."""
SECONDS_MAX = 10 * 366 * 24 * 3600
NAME = r"^[A-Z][A-Za-z]*$"
MANAGER = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9._~-]+$"

Seconds = Annotated[int, Field(ge=1, le=SECONDS_MAX)]
Name = Annotated[str, Field(max_length=64, pattern=NAME)]


class FailureAction(StrEnum):
    """What comes of an attempt that failed."""

    RETRY = "Retry"
    RETRY_WITHOUT_CHARGE = "RetryWithoutCharge"
    FAIL = "Fail"


def _can_be_searched(rule: "FailureRule") -> bool:
    try:
        Pattern(rule.message_pattern or "")
    except PatternError:
        return False
    return True


class FailureRule(WireModel):
    """What to do about attempts that failed in a certain way: each of its criteria that is given must match."""

    exit_codes: list[Annotated[int, Field(ge=1, le=255)]] | None = Field(
        None,
        min_length=1,
        max_length=32,
        description="Exit codes of the trainer or of a container of the attempt's pods; a process that signal N ended has 128 + N.",
    )
    pod_reasons: list[Name] | None = Field(
        None,
        min_length=1,
        max_length=32,
        description="What Kubernetes says of a pod of the attempt that failed, such as OOMKilled, Evicted, NodeLost, Preempting,"
        " PreemptionByScheduler, DeletionByTaintManager, EvictionByEvictionAPI or TerminationByKubelet.",
    )
    reasons: list[Name] | None = Field(
        None,
        min_length=1,
        max_length=32,
        description="Reasons as status.attempts has them, such as TrainingDiverged, OutOfMemory, TrainerKilled, RayJobDeleted or Stalled.",
    )
    message_pattern: str | None = Field(
        None,
        min_length=1,
        max_length=LONGEST,
        description=r"Regular expression, found anywhere in the attempt's message: letters, . [a-z] [^a-z] \d \w \s ^ $ ( ) | * + ?.",
    )
    action: FailureAction = Field(
        description="Retry: another attempt, within runPolicy.maxAttempts. RetryWithoutCharge: the same, and the attempt does not count,"
        f" {FREE_RETRIES} times in the job's life. Fail: the job fails at once."
    )

    rules = (
        Rule(
            "has(self.exitCodes) || has(self.podReasons) || has(self.reasons) || has(self.messagePattern)",
            lambda rule: any(given is not None for given in (rule.exit_codes, rule.pod_reasons, rule.reasons, rule.message_pattern)),
            "failureRules: give exitCodes, podReasons, reasons or messagePattern; a rule that names nothing would match every failure",
        ),
        Rule(
            f"!has(self.messagePattern) || (!self.messagePattern.matches(r'{REFUSED}')"
            " && (''.matches(self.messagePattern) || !''.matches(self.messagePattern)))",
            _can_be_searched,
            "failureRules.messagePattern: not a regular expression that is supported; it may have letters, . [a-z] \\d \\w \\s ^ $ ( )"
            " | * + ? and a backslash before other signs, but no counts in braces and no (?",
        ),
    )


class RunPolicy(WireModel):
    """How the controller runs the job."""

    suspend: bool = Field(False, description="Write a checkpoint, stop and release all resources; false continues from the checkpoint.")
    max_attempts: Annotated[int, Field(ge=1, le=100)] = Field(
        3, description="Attempts that may fail before the job fails; suspension is not charged."
    )
    failure_rules: list[FailureRule] | None = Field(
        None,
        max_length=20,
        description="What to do about failed attempts: the first rule that matches decides. Without one, invalid input, a diverged training"
        " and a wrong export fail the job, and everything else is retried. Cannot be changed.",
    )
    active_deadline_seconds: Seconds | None = Field(
        None,
        description="How long the job may run, over all its attempts; then it fails as DeadlineExceeded. Waiting and suspension do"
        " not count.",
    )
    pending_deadline_seconds: Seconds | None = Field(
        None,
        description="How long an attempt may wait for its pods and for its first report; then the job fails as PendingDeadlineExceeded,"
        " with what it waited for. Pauses between attempts, suspension, and waiting in a queue or for an earlier job do not count.",
    )
    stall_timeout_seconds: Annotated[int, Field(ge=STALL_TIMEOUT_MIN, le=SECONDS_MAX)] | None = Field(
        None,
        description="An attempt that has reported, and then does not for so long, is ended as failed (Stalled), and another one started. A"
        " trainer that works reports at least every 75 seconds; give more than the longest training step and checkpoint take.",
    )
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=SECONDS_MAX)] | None = Field(
        None,
        description="The job is deleted so long after it has ended, but not before every job that starts from it has noted in its status"
        " that it has succeeded; its output stays. Without it, it stays until somebody deletes it.",
    )
    managed_by: str | None = Field(
        None,
        max_length=63,
        pattern=MANAGER,
        description=f"Who runs the job: {CONTROLLER} if missing. A job of another controller is left alone. Cannot be changed.",
    )

    @property
    def managed_elsewhere(self) -> bool:
        """Whether another controller runs the job."""
        return self.managed_by not in (None, CONTROLLER)


MUTABLE = frozenset({
    "suspend", "max_attempts", "active_deadline_seconds", "pending_deadline_seconds", "stall_timeout_seconds", "ttl_seconds_after_finished",
})  # fmt: skip
"""Fields that the controller acts upon at any time."""
