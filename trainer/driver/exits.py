"""How a run's end becomes an exit code and the outcome in the last progress record.

Our own exceptions carry their reason. Those of torch, Ray and the operating system get one here: the border at which they
leave the program. Pure. Test: tests/trainer/driver/test_exits.py.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from finetune.api.errors import InputError, RunError
from finetune.api.record import (
    EXIT_FAILURE,
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    EXIT_SUCCESS,
    REASON_DIVERGED,
    REASON_GENERIC,
    REASON_MEMORY,
    REASON_STORAGE,
    Outcome,
    Result,
)
from finetune.system.files import whole_letters
from trainer.driver.raystart import REASON_RAY
from trainer.driver.stopping import InterruptedRunError

logger = logging.getLogger(__name__)

MESSAGE_MAX_LENGTH = 2048
KILLED_FOR_MEMORY = re.compile(r"killed due to the node running low on memory|Worker exit type: NODE_OUT_OF_MEMORY")
"""What Ray says of a worker that its memory monitor killed. "Killed by the OOM killer" is no evidence: Ray guesses so of every crash."""

REASONS = {
    ("builtins", "MemoryError"): REASON_MEMORY,
    ("torch", "OutOfMemoryError"): REASON_MEMORY,
    ("ray", "OutOfMemoryError"): REASON_MEMORY,
    ("builtins", "OSError"): REASON_STORAGE,
    ("safetensors", "SafetensorError"): REASON_STORAGE,
    ("ray", "WorkerGroupStartupFailedError"): REASON_RAY,
    ("ray", "WorkerGroupStartupTimeoutError"): REASON_RAY,
}
"""By package and class. Named, not imported: another thread may be importing Ray at the moment at which the run fails."""


@dataclass(frozen=True)
class Exit:
    """How the process ends: the outcome for the record and the exit code."""

    outcome: Outcome
    exit_code: int
    unfinished: bool = False
    """Threads may still be there and are not waited for: the process has to leave without them."""


def exit_of(work: Callable[[], str], show: Callable[[BaseException], object] = lambda error: None) -> Exit:
    """Do the work, which returns its closing words, and return how it ended, well or not. `show` adds to the log of a failure."""
    try:
        message = work()
    except InputError as error:
        logger.error("%s", error)
        return input_invalid(error)
    except InterruptedRunError as error:
        return interrupted(str(error))
    except (Exception, SystemExit) as error:  # whatever it is, the controller must learn of it
        logger.exception("the run failed")
        show(error)
        return failure(error)
    return Exit(outcome_of(Result.SUCCEEDED, "Succeeded", message), EXIT_SUCCESS)


def failure(error: BaseException) -> Exit:
    """Return the exit for an exception of the driver or of its workers: the first one with a reason of its own explains it.

    Without one, a rank whose process is gone does: the others only lost their connection to it.
    """
    causes = worker_errors(error)
    for cause in causes:
        if isinstance(cause, InputError):
            return input_invalid(cause)
    explained = ((reason_of(cause), cause) for cause in causes)
    reason, cause = next(((reason, cause) for reason, cause in explained if reason != REASON_GENERIC), (REASON_GENERIC, causes[0]))
    dead = dead_ranks(error)
    if dead and reason == REASON_GENERIC:
        return Exit(outcome_of(Result.FAILED, reason, _death_of(dead[0], error)), EXIT_FAILURE)
    # Our own errors are sentences for users; what another library raises may make no sense without its kind.
    message = str(cause) if isinstance(cause, RunError) else f"{type(cause).__name__}: {cause}"
    return Exit(outcome_of(Result.FAILED, reason, message), EXIT_FAILURE)


def failed_for_good(error: BaseException) -> str | None:
    """Return what is said of a failure that every further attempt would meet again; None of one that another attempt may get past.

    The controller tries neither a training that diverged nor invalid input again.
    """
    outcome = failure(error).outcome
    return outcome.message if outcome.reason in (REASON_DIVERGED, InputError.reason) else None


def input_invalid(error: InputError) -> Exit:
    """Return the exit of a run whose input has to be fixed."""
    return Exit(outcome_of(Result.INPUT_INVALID, error.reason, str(error)), EXIT_INPUT)


def interrupted(message: str) -> Exit:
    """Return the exit of a run that was stopped on request."""
    return Exit(outcome_of(Result.INTERRUPTED, InterruptedRunError.reason, message), EXIT_INTERRUPTED)


def worker_errors(error: BaseException) -> list[BaseException]:
    """Return the exceptions of the workers that a Ray Train error carries, unwrapped; else the error itself.

    Ray Train's classes are known by their attributes, because an error that came from elsewhere must not import Ray.
    """
    failures = _failures(error)
    if not failures:
        return [getattr(error, "controller_failure", None) or error]
    return [_unwrapped(failure) for failure in failures.values()]


def dead_ranks(error: BaseException) -> list[int]:
    """Return the ranks whose process is gone, as Ray says, the lowest first."""
    return sorted(rank for rank, failure in _failures(error).items() if _died(_unwrapped(failure)))


def _failures(error: BaseException) -> Mapping[int, BaseException]:
    return getattr(getattr(error, "controller_failure", None) or error, "worker_failures", None) or {}


def _died(error: BaseException) -> bool:
    return any(kind.__name__ == "RayActorError" and kind.__module__.startswith("ray.") for kind in type(error).__mro__)


def _death_of(rank: int, error: BaseException) -> str:
    """Return what is said of a rank that was killed or crashed, with Ray's last sentence, which has its exit type."""
    said = str(_unwrapped(_failures(error)[rank])).strip().splitlines()
    return f"rank {rank} died: its process was killed, or it crashed. {said[-1].strip() if said else ''}"


def _unwrapped(failure: BaseException) -> BaseException:
    """Return the exception that a worker raised, or how Ray says that the worker died."""
    return getattr(failure, "cause", None) or getattr(failure, "health_check_failure", None) or failure


def reason_of(error: BaseException) -> str:
    """Return the reason that an exception carries, or that its library's exceptions get here; else REASON_GENERIC."""
    if isinstance(error, RunError):
        return error.reason
    if _killed_for_memory(error):
        return REASON_MEMORY
    for kind in type(error).__mro__:
        reason = REASONS.get((kind.__module__.partition(".")[0], kind.__name__))
        if reason is not None:
            return reason
    return REASON_GENERIC


def _killed_for_memory(error: BaseException) -> bool:
    """Return whether Ray says that its memory monitor killed the actor: its exception has no other mark of it than the words."""
    died = any(kind.__name__ == "ActorDiedError" and kind.__module__.startswith("ray.") for kind in type(error).__mro__)
    return died and KILLED_FOR_MEMORY.search(str(error)) is not None


def outcome_of(result: Result, reason: str, message: str) -> Outcome:
    """Return an outcome whose message fits the record."""
    text = whole_letters(message.strip()) or reason
    return Outcome(result=result, reason=reason, message=text if len(text) <= MESSAGE_MAX_LENGTH else text[: MESSAGE_MAX_LENGTH - 1] + "…")
