"""What is said of a job where the cluster serves no RayJobs, and of an attempt that KubeRay has not begun with.

Pure. Tests: tests/controller/job/policies/test_kuberay_gone.py, tests/controller/job/test_kuberay.py.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from controller.job.facts import PodFacts, RayJobFacts
from controller.job.failures import RayJobState, ray_job_state
from finetune.api.conditions import Reason, get_condition
from finetune.api.status import ConditionType, FineTuneJobStatus

NOT_SERVED = (
    "the cluster serves no RayJobs of ray.io/v1: KubeRay's definitions are missing, or so old that they have v1alpha1 alone; install "
    "KubeRay 1.6 or newer with its CustomResourceDefinitions (`kubectl get crd rayjobs.ray.io` shows what is there)"
)
PATIENCE = timedelta(minutes=4)
"""Of 1,000 RayJobs created at once, KubeRay's operator took 222 s for the last ones on a loaded machine; for one it takes a second."""


def were_away(status: FineTuneJobStatus) -> bool:
    """Return whether, when the job was last looked at, the cluster served no RayJobs while an attempt had begun."""
    running = get_condition(status, ConditionType.RUNNING)
    return running is not None and running.reason == Reason.KUBERAY_MISSING


def waits_for_kuberay(ray_job: RayJobFacts, pods: Sequence[PodFacts]) -> bool:
    """Return whether the attempt waits for KubeRay alone: nothing has been made of its RayJob yet."""
    return not pods and not ray_job.deleting and ray_job_state(ray_job) is RayJobState.STARTING and ray_job.deployment_status != "Running"


def left_alone(ray_job: RayJobFacts, pods: Sequence[PodFacts], since: datetime, now: datetime) -> str:
    """Return what to look at if KubeRay has not begun with a RayJob for long; empty if it has, or may still."""
    if not waits_for_kuberay(ray_job, pods) or now - since < PATIENCE:
        return ""
    time = f"{since:%H:%M:%S} UTC"
    if not ray_job.deployment_status:
        return (
            f"KubeRay has not taken up the RayJob {ray_job.name} since {time}: its operator does not run, watches other namespaces or is "
            "busy; see `kubectl get pods --all-namespaces --selector app.kubernetes.io/component=kuberay-operator` and its log"
        )
    return f"KubeRay has created no pod since {time}; see `kubectl describe rayjob {ray_job.name}` and the log of its operator"
