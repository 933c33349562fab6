"""Turns a FineTuneJob into the TrainConfig of a run on this machine, and says what is different here from a cluster.

What has no meaning without a cluster is named, never dropped silently. Tests: tests/finetune/cli/local/test_configuration.py.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from finetune.api.errors import BadInputError
from finetune.api.resolve import build
from finetune.api.trainconfig import JobIdentity, OutputFolder, ProgressTarget, TrainConfig
from finetune.cli.jobfile.reading import JobFile
from finetune.cli.local.earlier import folders_in_use
from finetune.cli.local.machine import Machine, spread
from finetune.cli.local.sources import SourceFinder
from finetune.system.files import write_atomically


@dataclass(frozen=True)
class Folders:
    """Where a run keeps what: results in `output`, the command's own files in `private`."""

    output: Path
    aside: Path | None = None
    """Where the command's own files go while nothing in `output` may be touched."""

    @property
    def private(self) -> Path:
        """Files that the command and the trainer talk through."""
        return self.aside or self.output / ".finetune"

    @property
    def config(self) -> Path:
        """The trainer's configuration."""
        return self.private / "config.json"

    @property
    def progress(self) -> Path:
        """The trainer's newest progress record."""
        return self.private / "progress.json"

    @property
    def dashboard(self) -> Path:
        """Where the trainer says at which URL the Ray dashboard is, if it was asked for one."""
        return self.private / "dashboard.json"

    @property
    def config_maps(self) -> Path:
        """The ConfigMaps of the job file, a folder each."""
        return self.private / "configmaps"

    @property
    def log(self) -> Path:
        """What the trainer and Ray write to stderr."""
        return (self.aside or self.output) / "trainer.log"


@dataclass(frozen=True)
class LocalRun:
    """The trainer's configuration, the ConfigMap files to write before the start, and what the user should know."""

    config: TrainConfig
    config_map_files: Mapping[Path, bytes]
    notices: tuple[str, ...]
    warnings: tuple[str, ...]

    def as_attempt(self, number: int, *, dashboard: bool = False) -> "LocalRun":
        """Return the same run as the attempt of this number, with or without Ray's dashboard."""
        job = self.config.job.model_copy(update={"attempt": number})
        return replace(self, config=self.config.model_copy(update={"job": job, "dashboard": dashboard}))

    def lengthening(self) -> "LocalRun":
        """Return the same run as one that goes on where a shorter one in its folder ended."""
        return replace(self, config=self.config.model_copy(update={"lengthen": True}))


def plan_local_run(
    job: JobFile, folders: Folders, claims: Mapping[str, Path], machine: Machine, jobs: Mapping[str, Path] = MappingProxyType({})
) -> LocalRun:
    """Return how `job` runs here; BadInputError with every source that cannot be found."""
    finder = SourceFinder(job, claims, folders.config_maps, jobs)
    workers, gpu_warning = spread(job.spec, machine)
    config = build(
        job.spec,
        finder.find,
        job=JobIdentity(name=job.name),
        workers=workers,
        output=OutputFolder(directory=str(folders.output), export=job.spec.output.export),
        progress=ProgressTarget(file=str(folders.progress)),
        resolve_job=finder.find_job,
    )
    finder.errors += folders_in_use(jobs, finder.jobs_read, folders.output)
    if finder.errors:
        raise BadInputError(finder.errors)
    warnings = (*_warnings(job, claims, finder.claims_read, gpu_warning), *_unread("job", jobs, finder.jobs_read))
    return LocalRun(config, finder.config_map_files, _notices(job, folders), warnings)


def prepare(folders: Folders, local_run: LocalRun) -> None:
    """Write the trainer's configuration and the ConfigMaps; remove what an earlier start announced."""
    folders.private.mkdir(parents=True, exist_ok=True)
    for stale in (folders.progress, folders.dashboard):
        stale.unlink(missing_ok=True)
    for path, content in local_run.config_map_files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    write_atomically(folders.config, json.dumps(local_run.config.to_wire(), indent=1))


def _notices(job: JobFile, folders: Folders) -> tuple[str, ...]:
    notices = []
    if job.names_output and folders.aside is None:  # what leaves the output alone need not say where it is
        claim = job.spec.output.persistent_volume_claim
        notices.append(f"results go to {folders.output} instead of claim {claim.claim_name}")
    if job.ignored:
        notices.append(f"ignored in {job.path.name}: {', '.join(job.ignored)}")
    return tuple(notices)


def _warnings(job: JobFile, claims: Mapping[str, Path], claims_read: set[str], gpu_warning: str | None) -> tuple[str, ...]:
    warnings = []
    cluster_only = _cluster_only_fields(job)
    if cluster_only:
        token = " (a gated model is read with HF_TOKEN of the environment)" if job.spec.model.token_secret is not None else ""
        warnings.append(f"only a cluster uses {', '.join(cluster_only)}{token}")
    if gpu_warning:
        warnings.append(gpu_warning)
    return (*warnings, *_unread("claim", claims, claims_read))


def _unread(what: str, given: Mapping[str, Path], read: set[str]) -> tuple[str, ...]:
    """Name what was given with --claim or --job and is not used."""
    unread = ", ".join(sorted(set(given) - read))
    verb = "reads" if what == "claim" else "names"
    return (f"--{what} {unread}: the job {verb} no such {what}; the folder is not used",) if unread else ()


def _cluster_only_fields(job: JobFile) -> list[str]:
    """Name the fields that are set in the file and mean nothing on one machine."""
    spec = job.spec
    fields = []
    if spec.resources is not None:
        wire = spec.resources.model_dump(by_alias=True, exclude_unset=True)
        fields += [f"spec.resources.{name}" for name in wire if name != "gpus"]
    if spec.run_policy is not None:
        fields += [f"spec.runPolicy.{name}" for name in spec.run_policy.model_dump(by_alias=True, exclude_unset=True)]
    if spec.model.token_secret is not None:
        fields.append("spec.model.tokenSecret")
    if "kueue.x-k8s.io/queue-name" in job.labels:
        fields.append("metadata.labels[kueue.x-k8s.io/queue-name]")
    return fields
