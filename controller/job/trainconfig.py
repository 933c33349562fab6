"""The trainer's configuration for an attempt on the cluster: claims and ConfigMaps are paths where the pods mount them.

Pure. Test: tests/controller/job/test_trainconfig.py.
"""

from math import ceil

from controller.job.earlier import run_of
from controller.job.facts import Job
from controller.job.names import CONFIG_MAPS_DIRECTORY, output_folder, progress_name
from controller.job.quantities import cpus
from finetune.api.resolve import FileReference, build
from finetune.api.sources import CLAIMS_DIRECTORY
from finetune.api.spec import Resources
from finetune.api.trainconfig import JobIdentity, OutputFolder, ProgressTarget, TrainConfig, Workers


def mounted(reference: FileReference) -> str:
    """Return where a claim or ConfigMap is mounted in the pods of an attempt."""
    if reference.claim is not None:
        return f"{CLAIMS_DIRECTORY}/{reference.claim.claim_name}/{reference.claim.path}".rstrip("/")
    if reference.config_map is not None:
        return f"{CONFIG_MAPS_DIRECTORY}/{reference.config_map.name}/{reference.config_map.key}"
    raise ValueError(f"{reference.field}: a local path does not exist in a pod")


def output_of(job: Job) -> OutputFolder:
    """Return where an attempt writes."""
    output = job.valid_spec.output
    claim = output.persistent_volume_claim
    folder = output_folder(job.name, job.uid, claim.path)
    return OutputFolder(
        directory=f"{CLAIMS_DIRECTORY}/{claim.claim_name}/{folder}", uri=f"pvc://{claim.claim_name}/{folder}", export=output.export
    )


def train_config(job: Job, attempt: int) -> TrainConfig:
    """Return the configuration of an attempt on the cluster."""
    spec = job.valid_spec
    distributed, resources = spec.distributed, spec.resources
    return build(
        spec,
        mounted,
        job=JobIdentity(name=job.name, namespace=job.namespace, uid=job.uid, attempt=attempt),
        workers=Workers(
            workers=distributed.workers if distributed else 1,
            gpus_per_worker=resources.gpus if resources else 0,
            cpus_per_worker=ray_cpus(resources or Resources()),
            deepspeed=distributed.deepspeed if distributed else None,
        ),
        output=output_of(job),
        progress=ProgressTarget(namespace=job.namespace, config_map=progress_name(job.name, job.uid, attempt)),
        resolve_job=lambda named: run_of(job, named),
    )


def ray_cpus(resources: Resources) -> int:
    """Return how many CPUs a worker pod offers to Ray, which counts whole ones: at least one for each rank.

    They are only counted, not enforced; with fewer, a rank would wait for a CPU indefinitely.
    """
    return max(1, ceil(cpus(resources.cpu)), resources.gpus)
