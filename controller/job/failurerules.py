"""Which of a job's failure rules decides about an attempt that failed, and what then comes of it.

Pure. Test: tests/controller/job/test_failurerules.py.
"""

from collections.abc import Sequence
from dataclasses import replace

from controller.job.evidence import Evidence
from finetune.api.attempts import Ending
from finetune.api.conditions import MESSAGE_MAX_LENGTH, shortened
from finetune.api.patterns import Pattern
from finetune.api.runpolicy import FREE_RETRIES, FailureAction, FailureRule
from finetune.api.status import AttemptOutcome


def judged(ending: Ending, rules: Sequence[FailureRule], evidence: Evidence, *, freed: int) -> Ending:
    """Return the ending as the first rule that matches decides; `freed` attempts have been left uncharged before.

    Only failures are judged: what was interrupted is retried for free in any case.
    """
    if ending.outcome is not AttemptOutcome.FAILED:
        return ending
    for index, rule in enumerate(rules):
        if _matches(rule, ending, evidence):
            return _by(rule.action, f"runPolicy.failureRules[{index}]", ending, freed)
    return ending


def _matches(rule: FailureRule, ending: Ending, evidence: Evidence) -> bool:
    return (
        (rule.exit_codes is None or not evidence.exit_codes.isdisjoint(rule.exit_codes))
        and (rule.pod_reasons is None or not evidence.pod_reasons.isdisjoint(rule.pod_reasons))
        and (rule.reasons is None or str(ending.reason) in rule.reasons)
        and (rule.message_pattern is None or Pattern(rule.message_pattern).is_in(shortened(ending.message)))
    )


def _by(action: FailureAction, named: str, ending: Ending, freed: int) -> Ending:
    free = action is FailureAction.RETRY_WITHOUT_CHARGE and freed < FREE_RETRIES
    words = f"{named}: {action}"
    if action is FailureAction.RETRY_WITHOUT_CHARGE and not free:
        words += f", but {freed} attempts are free already, and no more can be"
    message = f"{shortened(ending.message, MESSAGE_MAX_LENGTH - len(words) - 3)} ({words})"
    return replace(ending, retry=action is not FailureAction.FAIL, free=free, message=message)
