"""GPUs by Dynamic Resource Allocation: which ResourceClaimTemplate a worker's claim is made from, and whether it fits the job.

The scheduler says nothing of a pod whose claim cannot be made for want of its template (there is an event, and no condition), so this is
looked at before pods are created. Reads only. Test: tests/controller/job/test_devices.py.
"""

from collections.abc import Sequence

from controller.job.facts import Job, Missing
from controller.job.objects.gpus import template_name
from controller.job.recent import Recent
from controller.runtime.errors import Forbidden, ResourceAbsent
from controller.runtime.resources import RESOURCE_CLAIM_TEMPLATES, KubeObject
from controller.runtime.rights import rights
from finetune.api.spec import Resources

RIGHTS = rights(
    RESOURCE_CLAIM_TEMPLATES,
    "get",
    why="Read where GPUs are allocated dynamically (trainer.gpuClaimTemplate): without its template a pod waits, and says nothing.",
)

UNKNOWN = "?"


def devices_in(template: KubeObject) -> list[str]:
    """Return how many devices each request of a ResourceClaimTemplate is for, as text; `?` where only the scheduler will know."""
    claim = (template.get("spec") or {}).get("spec") or {}
    return [_devices_of(request) for request in (claim.get("devices") or {}).get("requests") or []]


def _devices_of(request: KubeObject) -> str:
    exactly = request.get("exactly")
    if exactly is None or exactly.get("allocationMode", "ExactCount") != "ExactCount":
        return UNKNOWN
    return str(exactly.get("count", 1))


async def missing_devices(job: Job, setting: str | None, recent: Recent) -> tuple[Missing, ...]:
    """Return what is wrong with the template that the job's GPUs are claimed by, if they are, each with what to do."""
    gpus = ((job.spec.resources if job.spec else None) or Resources()).gpus
    if not (setting and gpus):
        return ()
    name = template_name(setting, gpus)
    try:
        devices = await recent.devices(job.namespace, name, devices_in)
    except ResourceAbsent:
        return (
            Missing(
                "resources.gpus: the cluster serves no ResourceClaimTemplates of resource.k8s.io/v1, as Kubernetes does since 1.34, and "
                "trainer.gpuClaimTemplate, a setting of the administrator, gives GPUs by these; ask the administrator"
            ),
        )
    except Forbidden:
        # Said of the job, whose deadlines count meanwhile: an error here would keep every policy from being asked.
        return (
            Missing(
                f"resources.gpus: the controller may not read ResourceClaimTemplates in namespace {job.namespace}: its role lacks that "
                "right, which the chart of this version gives it; ask the administrator, and the job starts by itself"
            ),
        )
    problem = _problem(name, job.namespace, gpus, devices)
    return (Missing(f"resources.gpus: {problem}"),) if problem else ()


def _problem(name: str, namespace: str, gpus: int, devices: Sequence[str] | None) -> str:
    """Return why a template cannot give a worker its GPUs, empty if it can or might; `devices` is None where there is none.

    A single request is for the GPUs. Of several, some may be for other devices, such as network cards: together they must be enough.
    """
    if devices is None:
        return (
            f"there is no ResourceClaimTemplate {name} in namespace {namespace}, by which the administrator gives a worker its GPUs; "
            "ask the administrator for it, and the job starts by itself, or ask for another number of GPUs, in a new job"
        )
    if UNKNOWN in devices:
        return ""
    total = sum(map(int, devices))
    if total == gpus or (len(devices) > 1 and total > gpus):
        return ""
    asked = f"a worker asks for {gpus}, but the ResourceClaimTemplate {name} in namespace {namespace} is for {total}"
    instead = f"ask for {total}, in a new job, or " if total else ""
    return f"{asked}; {instead}have the administrator replace the template, and the job starts by itself"
