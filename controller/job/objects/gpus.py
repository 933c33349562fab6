"""How a worker gets its GPUs: by the name of an extended resource, or by a claim (Dynamic Resource Allocation). Pure.

Test: tests/controller/job/objects/test_gpus.py.
"""

from typing import Any

from controller.job.objects.metadata import TrainerSettings

NUMBER = "{gpus}"
"""In the administrator's setting, it stands for the job's resources.gpus."""
CLAIM = "gpus"
"""The pod's name for its claim; that of the ResourceClaim is Kubernetes' own."""


def template_name(setting: str, gpus: int) -> str:
    """Return the name of the ResourceClaimTemplate for a worker with so many GPUs."""
    return setting.replace(NUMBER, str(gpus))


def ask_for_gpus(spec: dict[str, Any], gpus: int, settings: TrainerSettings) -> None:
    """Have the only container of a worker's pod get so many GPUs, in the way that the administrator has set."""
    sizes = spec["containers"][0]["resources"]
    if settings.gpu_claim_template:
        spec["resourceClaims"] = [{"name": CLAIM, "resourceClaimTemplateName": template_name(settings.gpu_claim_template, gpus)}]
        sizes["claims"] = [{"name": CLAIM}]
        return
    for kind in ("requests", "limits"):
        sizes[kind][settings.gpu_resource] = str(gpus)
