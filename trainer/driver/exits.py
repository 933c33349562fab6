"""How a run's end becomes an exit code and the outcome in the last progress record.

Our own exceptions carry their reason. Those of torch, Ray and the operating system get one here: the border at which they
leave the program. Pure. Test: tests/trainer/driver/test_exits.py.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

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

RAY_GUESSES = "Some common causes include:"

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


LastWords = Callable[[BaseException], list[str]]
"""Returns the last lines of what failed, and adds them to the driver's log where they are not in it."""


def exit_of(work: Callable[[], str], last_words: LastWords = lambda error: []) -> Exit:
    """Do the work, which returns its closing words, and return how it ended, well or not."""
    try:
        message = work()
    except InputError as error:
        logger.error("%s", error)
        return input_invalid(error)
    except InterruptedRunError as error:
        return interrupted(str(error))
    except (Exception, SystemExit) as error:  # whatever it is, the controller must learn of it
        logger.exception("the run failed")
        end = failure(error)
        return _with_last_lines(end, partial(last_words, error)) if end.outcome.result is Result.FAILED else end
    return Exit(outcome_of(Result.SUCCEEDED, "Succeeded", message), EXIT_SUCCESS)


def _with_last_lines(end: Exit, last_words: Callable[[], list[str]]) -> Exit:
    try:
        return replace(end, outcome=end.outcome.changed(last_lines=last_words() or None))
    except Exception:  # the outcome counts, and goes out without them
        logger.warning("the last lines of what failed could not be found", exc_info=True)
        return end


def failure(error: BaseException) -> Exit:
    """Return the exit for an exception of the driver or of its workers."""
    for cause in worker_errors(error):
        if isinstance(cause, InputError):
            return input_invalid(cause)
    rank, cause = cause_of(error)
    # Our own errors are sentences for users; what another library raises may make no sense without its kind.
    message = str(cause) if isinstance(cause, RunError) else f"{type(cause).__name__}: {cause}"
    reason = reason_of(cause)
    if rank is not None and _died(cause) and reason == REASON_GENERIC:
        message = f"rank {rank} died: its process was killed, or it crashed. {_last_line(cause)}"
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


def cause_of(error: BaseException) -> tuple[int | None, BaseException]:
    """Return what explains a failure: the first exception with a reason of its own, and the rank that raised it, None for the driver.

    Without one, a rank whose process is gone explains it: the others only lost their connection to that one.
    """
    causes = {rank: _unwrapped(failure) for rank, failure in sorted(_failures(error).items())}
    if not causes:
        return None, worker_errors(error)[0]
    explained = [rank for rank, cause in causes.items() if reason_of(cause) != REASON_GENERIC]
    rank = next(iter([*explained, *dead_ranks(error), *causes]))
    return rank, causes[rank]


def dead_ranks(error: BaseException) -> list[int]:
    """Return the ranks whose process is gone, as Ray says, the lowest first."""
    return sorted(rank for rank, failure in _failures(error).items() if _died(_unwrapped(failure)))


def told_by(error: BaseException, rank: int) -> str:
    """Return what Ray Train knows of the failure of a rank: the traceback of what it raised."""
    return str(_failures(error)[rank])


def _failures(error: BaseException) -> Mapping[int, BaseException]:
    return getattr(getattr(error, "controller_failure", None) or error, "worker_failures", None) or {}


def _died(error: BaseException) -> bool:
    kinds = {kind.__name__ for kind in type(error).__mro__ if kind.__module__.startswith("ray.")}
    return bool(kinds & {"RayActorError", "OutOfMemoryError"})


def _last_line(error: BaseException) -> str:
    """Return Ray's last line, which has the exit type, without the causes that it guesses of every death."""
    said = str(error).strip().splitlines()
    return said[-1].partition(RAY_GUESSES)[0].strip() if said else ""


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
