"""Policy: a spec that cannot be run on this cluster is refused; only a new job can fix it.

Pure. Test: tests/controller/job/policies/test_invalid.py.
"""

from controller.job.changes import refuse
from controller.job.remains import leftovers
from controller.job.situation import Plan, Situation
from finetune.api.conditions import Reason
from finetune.api.resolve import local_paths


def invalid(situation: Situation) -> Situation | Plan:
    """Refuse a spec that cannot be run here, naming the field.

    An attempt that runs was accepted by another version of this program: it goes on, and nothing that follows needs its spec.
    """
    attempt = situation.attempt
    if attempt is not None and (situation.ray_job is not None or attempt.start_time is not None):
        return situation
    problem = _problem(situation)
    if not problem:
        return situation
    return refuse(situation, Reason.SPEC_INVALID, problem).do(*leftovers(situation)).ends()


def _problem(situation: Situation) -> str:
    """Return what is wrong with the spec and what to do, empty if nothing is."""
    spec = situation.job.spec
    if spec is None:
        return situation.job.spec_problem
    paths = [f"{reference.field}.path" for reference in local_paths(spec)]
    if paths:
        return (
            f"{', '.join(paths)}: a local path exists for `finetune run` only; put the file on a PersistentVolumeClaim or into a "
            "ConfigMap and refer to that instead, in a new job"
        )
    return "; ".join(situation.observed.refused)
