"""What a RayJob's status means, and why an attempt ended.

KubeRay's status has no conditions but two words, `jobStatus` (Ray's view) and `jobDeploymentStatus` (KubeRay's). The tables
have a row for every constant of KubeRay 1.6; while a word is unknown, the controller waits. Pure.
Test: tests/controller/job/test_failures.py.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from controller.job.facts import PodFacts, RayJobFacts
from finetune.api.attempts import Ending
from finetune.api.record import (
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    LOG_LINES_MAX,
    REASON_BUDGET,
    REASON_DIVERGED,
    REASON_EXPORT,
    REASON_GENERIC,
    Outcome,
    Result,
)
from finetune.api.status import AttemptOutcome
from finetune.system.redaction import plain, redact


class RayJobState(StrEnum):
    """What the two words of a RayJob's status mean together."""

    STARTING = "Starting"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    UNKNOWN = "Unknown"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    INVALID = "Invalid"

    @property
    def final(self) -> bool:
        """Whether KubeRay will not change it again."""
        return self in (RayJobState.SUCCEEDED, RayJobState.FAILED, RayJobState.INVALID)


BY_DEPLOYMENT_STATUS: dict[str, RayJobState | None] = {
    "": RayJobState.STARTING,
    "Initializing": RayJobState.STARTING,
    "Running": None,
    "Complete": None,
    "Failed": RayJobState.FAILED,
    "ValidationFailed": RayJobState.INVALID,
    "Suspending": RayJobState.SUSPENDED,
    "Suspended": RayJobState.SUSPENDED,
    "Retrying": RayJobState.STARTING,
    "Waiting": RayJobState.STARTING,
}
"""By KubeRay's word; None where Ray's decides."""

WHILE_RUNNING: dict[str, RayJobState] = {
    "": RayJobState.STARTING,
    "PENDING": RayJobState.STARTING,
    "RUNNING": RayJobState.RUNNING,
    # Final for Ray, but KubeRay still waits for its submitter and may add the cause.
    "STOPPED": RayJobState.RUNNING,
    "SUCCEEDED": RayJobState.RUNNING,
    "FAILED": RayJobState.RUNNING,
}
"""By Ray's word while KubeRay says Running."""

WHEN_COMPLETE: dict[str, RayJobState] = {
    "": RayJobState.FAILED,
    "PENDING": RayJobState.FAILED,
    "RUNNING": RayJobState.FAILED,
    "STOPPED": RayJobState.FAILED,
    "SUCCEEDED": RayJobState.SUCCEEDED,
    "FAILED": RayJobState.FAILED,
}
"""By Ray's word once KubeRay says Complete: only SUCCEEDED is a success."""

EXIT_CODE = re.compile(r"exit code (-?\d{1,4})(?!\d)")
"""The message also holds what the user's code wrote: a number of any length."""
LOG_FOLLOWS = re.compile(r"last available logs[^\n]*?:[ \t]*\n?|last available logs,?[ \t]*")
"""How Ray's message goes over to the end of the driver's log."""
SIGNAL_EXIT_BASE = 128
"""A shell reports a child killed by a signal as 128 plus the signal's number, Python as minus the number."""
CAUSE_MAX_LENGTH = 1024
SEEN_MAX_LENGTH = 32 * 1024
"""More of the end of a text is not looked at: KubeRay's message has up to 20,000 characters of log."""


class Cause(StrEnum):
    """Reasons for an attempt's end that the controller itself finds."""

    INPUT_INVALID = "InputInvalid"
    INTERRUPTED = "Interrupted"
    OUT_OF_MEMORY = "OutOfMemory"
    TRAINER_KILLED = "TrainerKilled"
    TRAINER_FAILED = "TrainerFailed"
    RAY_JOB_INVALID = "RayJobInvalid"
    RAY_JOB_DELETED = "RayJobDeleted"
    RAY_JOB_STOPPED = "RayJobStopped"
    STALLED = "Stalled"
    KUBERAY_REMOVED = "KubeRayRemoved"
    """The cluster served no RayJobs for a while, and the attempt's RayJob is gone with their definition."""
    POD_DISRUPTED = "PodDisrupted"
    """Kubernetes itself ended a pod: for a more important one, or with its node."""


def ray_job_state(ray_job: RayJobFacts) -> RayJobState:
    """Return what the RayJob's status means; UNKNOWN for a word that KubeRay 1.6 does not have."""
    if ray_job.deployment_status not in BY_DEPLOYMENT_STATUS:
        return RayJobState.UNKNOWN
    state = BY_DEPLOYMENT_STATUS[ray_job.deployment_status]
    if state is not None:
        return state
    table = WHEN_COMPLETE if ray_job.deployment_status == "Complete" else WHILE_RUNNING
    return table.get(ray_job.job_status, RayJobState.UNKNOWN)


def ending_of(ray_job: RayJobFacts, outcome: Outcome | None, pods: Sequence[PodFacts]) -> Ending:
    """Return how the attempt of a final RayJob ended: by the trainer's last report, else by the best evidence there is."""
    ending = _ending_of(ray_job, outcome, pods)
    if ending.outcome is AttemptOutcome.SUCCEEDED:
        return ending
    return replace(ending, exit_code=exit_code_in(ray_job.message), log_tail=log_tail(ray_job, pods, outcome))


def exit_code_in(message: str) -> int | None:
    """Return the driver's exit code that KubeRay's message names, as a shell has it: 128 + N for signal N."""
    found = EXIT_CODE.search(message)
    code = int(found[1]) if found is not None else None
    return SIGNAL_EXIT_BASE - code if code is not None and code < 0 else code


def log_tail(ray_job: RayJobFacts | None, pods: Sequence[PodFacts], outcome: Outcome | None = None) -> tuple[str, ...]:
    """Return the last lines of what failed as the trainer told them, else of the driver's log, else of the pod that failed.

    Without tokens; empty if nothing was kept.
    """
    found = LOG_FOLLOWS.search(ray_job.message) if ray_job is not None else None
    kept = ["\n".join(outcome.last_lines or ())] if outcome is not None else []
    kept += [ray_job.message[found.end() :]] if ray_job is not None and found is not None else []
    # The submitter follows the driver's log.
    kept += [pod.last_words for pod in sorted(pods, key=lambda pod: pod.trains) if pod.failed]
    text = next((text for text in kept if text.strip()), "")
    lines = [line.rstrip() for line in redact(plain(text[-SEEN_MAX_LENGTH:])).splitlines()]
    return tuple("".join(sign if sign.isprintable() else " " for sign in line) for line in lines if line)[-LOG_LINES_MAX:]


def _ending_of(ray_job: RayJobFacts, outcome: Outcome | None, pods: Sequence[PodFacts]) -> Ending:
    state = ray_job_state(ray_job)
    if state is RayJobState.SUCCEEDED:
        return Ending(AttemptOutcome.SUCCEEDED, "Succeeded", outcome.message if outcome else "")
    if state is RayJobState.INVALID and ray_job.cluster and outcome is not None:
        return deleted_ending(ray_job.name, outcome, pods)  # the trainer has ended, whatever somebody made of its RayJob
    if state is RayJobState.INVALID and ray_job.cluster:
        words = f"KubeRay refuses the RayJob {ray_job.name}, which it had accepted before; somebody has changed it: {ray_job.message}"
        return Ending(AttemptOutcome.FAILED, Cause.RAY_JOB_INVALID, words, retry=True)
    if state is RayJobState.INVALID:
        return Ending(AttemptOutcome.FAILED, Cause.RAY_JOB_INVALID, f"KubeRay refused the RayJob: {ray_job.message}")
    if outcome is not None and outcome.result is not Result.SUCCEEDED:
        return _by_last_word(outcome, pods)
    return _by_evidence(ray_job, pods)


def deleted_ending(
    ray_job_name: str, outcome: Outcome | None = None, pods: Sequence[PodFacts] = (), *, with_kuberay: bool = False
) -> Ending:
    """Return how an attempt ended whose RayJob is gone: by the trainer's last report, for a finished RayJob may be cleaned up.

    `with_kuberay`: all RayJobs are gone, for their definition was removed, which is nobody's failure.
    """
    if outcome is not None and outcome.result is Result.SUCCEEDED:
        return Ending(AttemptOutcome.SUCCEEDED, "Succeeded", outcome.message)
    if outcome is not None:
        return replace(_by_last_word(outcome, pods), log_tail=log_tail(None, pods, outcome))
    if with_kuberay:
        message = f"RayJob {ray_job_name} is gone: KubeRay's definitions were removed from the cluster while it ran"
        return Ending(AttemptOutcome.INTERRUPTED, Cause.KUBERAY_REMOVED, message, retry=True)
    return Ending(AttemptOutcome.FAILED, Cause.RAY_JOB_DELETED, f"RayJob {ray_job_name} was deleted while it ran", retry=True)


def _by_last_word(outcome: Outcome, pods: Sequence[PodFacts]) -> Ending:
    if outcome.result is Result.INPUT_INVALID:
        return Ending(AttemptOutcome.FAILED, outcome.reason, outcome.message)
    if outcome.result is Result.INTERRUPTED:
        return Ending(AttemptOutcome.INTERRUPTED, outcome.reason, outcome.message, retry=True)
    killed = _out_of_memory(pods)
    if killed is not None and outcome.reason == REASON_GENERIC:
        # The driver only sees that a worker is gone; its pod says why.
        return Ending(AttemptOutcome.FAILED, Cause.OUT_OF_MEMORY, f"{killed}; the driver's last message: {outcome.message}", retry=True)
    return Ending(
        AttemptOutcome.FAILED, outcome.reason, outcome.message, retry=outcome.reason not in (REASON_DIVERGED, REASON_EXPORT, REASON_BUDGET)
    )


def _by_evidence(ray_job: RayJobFacts, pods: Sequence[PodFacts]) -> Ending:
    found = EXIT_CODE.search(ray_job.message)
    code = int(found[1]) if found else None
    if code == EXIT_INPUT:
        return Ending(AttemptOutcome.FAILED, Cause.INPUT_INVALID, _last_lines(ray_job.message))
    if code == EXIT_INTERRUPTED:
        return Ending(AttemptOutcome.INTERRUPTED, Cause.INTERRUPTED, "the trainer was asked to stop", retry=True)
    killed = _out_of_memory(pods)
    if killed is not None:
        return Ending(AttemptOutcome.FAILED, Cause.OUT_OF_MEMORY, killed, retry=True)
    signal = -code if code is not None and code < 0 else code - SIGNAL_EXIT_BASE if code is not None and code > SIGNAL_EXIT_BASE else None
    if signal is not None:
        message = f"the trainer's process was killed by signal {signal}: {_last_lines(ray_job.message)}"
        return Ending(AttemptOutcome.FAILED, Cause.TRAINER_KILLED, message, retry=True)
    if ray_job.job_status == "STOPPED":
        return Ending(AttemptOutcome.FAILED, Cause.RAY_JOB_STOPPED, "the Ray job was stopped from outside", retry=True)
    reason = ray_job.reason if re.fullmatch(r"[A-Z][A-Za-z]*", ray_job.reason) and ray_job.reason != "AppFailed" else Cause.TRAINER_FAILED
    return Ending(AttemptOutcome.FAILED, reason, _last_lines(ray_job.message) or "KubeRay gives no cause", retry=True)


def _out_of_memory(pods: Sequence[PodFacts]) -> str | None:
    """Return a message that names the pod that ran out of memory, None if none did."""
    name = next((pod.name for pod in pods if pod.out_of_memory), None)
    return None if name is None else out_of_memory(name)


def out_of_memory(pod: str) -> str:
    """Return the message that names the pod, and says what to do."""
    return f"pod {pod} ran out of memory; raise resources.memory or lower training.microBatchSize"


def _last_lines(message: str) -> str:
    """Return the end of KubeRay's message, without secrets: it has up to 20,000 characters of log, and the cause comes last."""
    message = redact(plain(message[-SEEN_MAX_LENGTH:]))  # before cutting: half a token would not be recognized
    return message if len(message) <= CAUSE_MAX_LENGTH else "…" + message[-CAUSE_MAX_LENGTH:]
