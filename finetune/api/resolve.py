"""From a job's spec to the trainer's configuration: every place that the user names becomes a path that the trainer opens.

The controller and `finetune run` share all of it but the function that says where a claim, a ConfigMap or a relative path
lies: mount points in a pod, folders on a laptop. Pure. Tests:
tests/controller/job/test_trainconfig.py, tests/finetune/cli/local/test_configuration.py.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from finetune.api.adaptation import CORPUS, DOMAIN, GENERAL, REPLAY, DomainAdaptation
from finetune.api.augmentation import Augmentation
from finetune.api.earlierjobs import Continued, EarlierRun
from finetune.api.evaluation import Evaluation
from finetune.api.results import MODEL
from finetune.api.sections import CheckpointPolicy, Export, Regularization
from finetune.api.sources import ClaimPath, ConfigMapKey, Data, FileSource, ModelSource, Source, is_pattern
from finetune.api.spec import FineTuneJobSpec
from finetune.api.trainconfig import JobIdentity, OutputFolder, ProgressTarget, RunModel, TrainConfig, Workers


@dataclass(frozen=True)
class FileReference:
    """A place of the spec that names a file or folder. Exactly one of `claim`, `config_map`, `path` is set."""

    field: str
    claim: ClaimPath | None = None
    config_map: ConfigMapKey | None = None
    path: str | None = None

    @property
    def has_pattern(self) -> bool:
        """Return whether this may name several files: rows alone come from more than one."""
        path = self.claim.path if self.claim is not None else self.path
        return self.field.startswith(("data.", "domainAdaptation.")) and path is not None and is_pattern(path)


S = TypeVar("S", Source, FileSource)
MODEL_OF_JOB, CONTINUED_JOB = "model.fineTuneJob", "continueFrom"
"""Fields that name an earlier job."""
FIELDS_OF_JOBS = {MODEL_OF_JOB: "model.fineTuneJob.name", CONTINUED_JOB: "continueFrom.fineTuneJob"}
"""Where in them the name is."""

ResolveFile = Callable[[FileReference], str]
"""Returns the absolute path under which the trainer finds what a reference names."""


@dataclass(frozen=True)
class NamedJob:
    """A place of the spec that names an earlier job of the namespace."""

    field: str
    name: str


ResolveJob = Callable[[NamedJob], EarlierRun]
"""Returns where the trainer finds the output of an earlier job."""


def named_jobs(spec: FineTuneJobSpec) -> list[NamedJob]:
    """Return every earlier job that the spec names, with its field."""
    model, continued = spec.model.fine_tune_job, spec.continue_from
    named = [NamedJob(MODEL_OF_JOB, model.name)] if model is not None else []
    return named + ([NamedJob(CONTINUED_JOB, continued.fine_tune_job)] if continued is not None else [])


def _nowhere(job: NamedJob) -> EarlierRun:
    return EarlierRun(name=job.name, path="/")


def references(spec: FineTuneJobSpec) -> list[FileReference]:
    """Return every file or folder that the spec reads, with its field."""
    found: list[FileReference] = []

    def note(reference: FileReference) -> str:
        found.append(reference)
        return "/"

    resolve(spec, note)
    return found


def resolve(spec: FineTuneJobSpec, resolve_file: ResolveFile, resolve_job: ResolveJob = _nowhere) -> FineTuneJobSpec:
    """Return the spec with every claim, ConfigMap, path and earlier job of model, data, augmentation and adaptation replaced by a path."""
    return spec.model_copy(
        update={
            "model": _resolve_model(spec.model, resolve_file, resolve_job),
            "data": _resolve_data(spec.data, resolve_file),
            "augmentation": None if spec.augmentation is None else _resolve_augmentation(spec.augmentation, resolve_file),
            "domain_adaptation": None if spec.domain_adaptation is None else _resolve_adaptation(spec.domain_adaptation, resolve_file),
        }
    )


def _resolve_model(model: ModelSource, resolve_file: ResolveFile, resolve_job: ResolveJob) -> ModelSource:
    if model.fine_tune_job is not None:
        earlier = resolve_job(NamedJob(MODEL_OF_JOB, model.fine_tune_job.name))
        return RunModel(path=f"{earlier.path}/{MODEL}/{Export.MERGED.value}", fine_tune_job=earlier)
    return _resolve_place(model, resolve_file, "model")


def _resolve_place(model: ModelSource, resolve_file: ResolveFile, field: str) -> ModelSource:
    if model.persistent_volume_claim is None and model.path is None:
        return model
    path = resolve_file(FileReference(field, claim=model.persistent_volume_claim, path=model.path))
    return model.model_copy(update={"persistent_volume_claim": None, "path": path})


def _resolve_data(data: Data, resolve_file: ResolveFile) -> Data:
    return data.model_copy(
        update={
            name: [_resolve_source(source, f"data.{name}[{index}]", resolve_file) for index, source in enumerate(sources)]
            for name, sources in (("train", data.train), ("validation", data.validation), ("test", data.test))
            if sources is not None
        }
    )


def _resolve_source(source: S, field: str, resolve_file: ResolveFile) -> S:
    if source.persistent_volume_claim is None and source.config_map is None and source.path is None:
        return source
    path = resolve_file(FileReference(field, source.persistent_volume_claim, source.config_map, source.path))
    return source.model_copy(update={"persistent_volume_claim": None, "config_map": None, "path": path})


def _resolve_augmentation(augmentation: Augmentation, resolve_file: ResolveFile) -> Augmentation:
    operations = list(augmentation.operations)

    def change(index: int, name: str, member: str, value: object) -> None:
        part = getattr(operations[index], name)
        operations[index] = operations[index].model_copy(update={name: part.model_copy(update={member: value})})

    for index, field, dictionary in augmentation.dictionaries():
        name = "synonym_replacement" if operations[index].synonym_replacement is not None else "word_insertion"
        change(index, name, "dictionary", _resolve_source(dictionary, field, resolve_file))
    for index, member, field, model in augmentation.models():
        name = "paraphrase" if operations[index].paraphrase is not None else "back_translation"
        change(index, name, member, _resolve_place(model, resolve_file, field))
    return augmentation.model_copy(update={"operations": operations})


def _resolve_adaptation(section: DomainAdaptation, resolve_file: ResolveFile) -> DomainAdaptation:
    def all_of(field: str, sources: Sequence[Source]) -> list[Source]:
        return [_resolve_source(source, f"{field}[{index}]", resolve_file) for index, source in enumerate(sources)]

    corpus, replay, general, domain = section.corpus, section.replay, section.general_evaluation, section.domain_evaluation
    return section.model_copy(
        update={
            "corpus": corpus and corpus.model_copy(update={"sources": all_of(f"{CORPUS}.sources", corpus.sources)}),
            "replay": replay and replay.model_copy(update={"sources": all_of(f"{REPLAY}.sources", replay.sources)}),
            "general_evaluation": general and all_of(GENERAL, general),
            "domain_evaluation": domain and all_of(DOMAIN, domain),
        }
    )


def build(
    spec: FineTuneJobSpec,
    resolve_file: ResolveFile,
    *,
    job: JobIdentity,
    workers: Workers,
    output: OutputFolder,
    progress: ProgressTarget,
    resolve_job: ResolveJob = _nowhere,
) -> TrainConfig:
    """Return the configuration of one run of `spec`, with the sections that are left out at their defaults."""
    resolved, continued = resolve(spec, resolve_file, resolve_job), spec.continue_from
    return TrainConfig(
        job=job,
        task=spec.task,
        model=RunModel.model_validate(dict(resolved.model)),
        data=resolved.data,
        method=spec.method,
        training=spec.training,
        regularization=spec.regularization or Regularization(),
        augmentation=resolved.augmentation.in_effect() if resolved.augmentation is not None else None,
        evaluation=spec.evaluation or Evaluation(),
        domain_adaptation=resolved.domain_adaptation,
        workers=workers,
        checkpoint=spec.checkpoint or CheckpointPolicy(),
        continue_from=(
            None if continued is None else Continued(fine_tune_job=resolve_job(NamedJob(CONTINUED_JOB, continued.fine_tune_job)))
        ),
        output=output,
        progress=progress,
    )


def local_paths(spec: FineTuneJobSpec) -> Iterator[FileReference]:
    """Yield the references to local paths, which only `finetune run` can follow."""
    return (reference for reference in references(spec) if reference.path is not None)
