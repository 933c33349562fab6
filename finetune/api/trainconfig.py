"""TrainConfig: everything one attempt of the trainer is given, as one JSON document.

The sections are the user's own, with claims, ConfigMaps and relative paths resolved to absolute paths by whoever starts
the trainer: the controller (mount points in the pod) or `finetune run` (folders of the laptop).
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from finetune.api.adaptation import DomainAdaptation
from finetune.api.augmentation import Augmentation
from finetune.api.base import WireModel
from finetune.api.earlierjobs import Continued, EarlierRun
from finetune.api.evaluation import Evaluation
from finetune.api.metrics import METRICS, MetricName, Needs
from finetune.api.sections import CheckpointPolicy, Deepspeed, Export, Method, Regularization, Training
from finetune.api.sources import Data, ModelSource
from finetune.api.tasks import Route, TaskName

# What makes two runs the same run: a checkpoint of one may be continued by the other. The number of workers, the
# checkpoint policy and the export are left out on purpose: they may change between attempts.
LINEAGE_FIELDS = (
    "task", "model", "data", "method", "training", "regularization", "augmentation", "evaluation", "domainAdaptation", "continueFrom",
)  # fmt: skip


class AdaptedModel(WireModel):
    """The model that learned domainAdaptation.corpus, made from the one that the job names: the folder in which it was exported."""

    path: str


class RunModel(ModelSource):
    """The pre-trained model of a run. That of an earlier job is a path, with the job that made it."""

    fine_tune_job: EarlierRun | None = None
    adapted: AdaptedModel | None = None
    """What the run begins with instead of the model named, once a corpus was learned."""

    rules = ()  # the spec's own hold for what the user wrote


class JobIdentity(WireModel):
    """Whose run this is. `uid` is the FineTuneJob's on a cluster and None on a laptop."""

    name: str
    namespace: str | None = None
    uid: str | None = None
    attempt: Annotated[int, Field(ge=1)] = 1


class Workers(WireModel):
    """How the run is spread: ranks = workers x max(1, gpus_per_worker)."""

    workers: Annotated[int, Field(ge=1)] = 1
    gpus_per_worker: Annotated[int, Field(ge=0)] = 0
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1
    deepspeed: Deepspeed | None = None

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return self.workers * max(1, self.gpus_per_worker)


class OutputFolder(WireModel):
    """Absolute folder that this job alone writes, and the forms of the model that go there."""

    directory: str
    uri: str | None = None
    """How the user names that folder, such as pvc://claim/path; the directory itself when None."""
    export: list[Export] | None = None


class ProgressTarget(WireModel):
    """Where progress records go: a ConfigMap on a cluster, a file on a laptop. Exactly one is set."""

    namespace: str | None = None
    config_map: str | None = None
    metadata: dict[str, Any] | None = None
    """Labels and owner of the ConfigMap, which the driver then creates with its first record; None: it is there already."""
    file: str | None = None


class DerivedRun(WireModel):
    """Says that this run is trained beside the job's own, in a folder below its output, with a configuration made from it."""

    name: str
    """As people read it, such as `ablation weightDecay`."""
    main: str
    """Output folder of the job's own run."""
    figures_only: bool = False
    """Nobody uses its model: no export, no answers, and no checkpoint once its figures are there."""
    last_weights: bool = False
    """The last weights are the result, whichever were best on the validation rows."""
    base_only: bool = False
    """Nothing is trained: the base model is measured, for a run that begins with another one."""


class TrainConfig(WireModel):
    """One attempt of one job."""

    job: JobIdentity
    task: TaskName
    model: RunModel
    data: Data
    method: Method
    training: Training
    regularization: Regularization = Regularization()
    augmentation: Augmentation | None = None
    evaluation: Evaluation = Evaluation()
    domain_adaptation: DomainAdaptation | None = None
    workers: Workers = Workers()
    checkpoint: CheckpointPolicy = CheckpointPolicy()
    continue_from: Continued | None = None
    """The run whose last checkpoint this one goes on from, until it has checkpoints of its own."""
    lengthen: bool = False
    """The output folder may hold this very run with fewer steps: training goes on from its last checkpoint."""
    output: OutputFolder
    progress: ProgressTarget
    derived: DerivedRun | None = None
    """None for the job's own run."""
    dashboard: bool = False
    """Start the dashboard of a local Ray, which takes processor time and memory. On a cluster KubeRay starts it in any case."""

    @property
    def on_cluster(self) -> bool:
        """Whether Ray was started by others, with its dashboard, and is only joined."""
        return self.progress.config_map is not None

    @property
    def has_dashboard(self) -> bool:
        """Whether somebody can look at Ray's dashboard and its figures."""
        return self.on_cluster or self.dashboard

    @property
    def adaptation(self) -> DomainAdaptation | None:
        """What of domainAdaptation holds in this run: nothing of a section with a corpus, for whose own run the rest is meant."""
        section = self.domain_adaptation
        return None if section is None or section.corpus is not None else section

    @property
    def exports(self) -> list[Export]:
        """Forms of the model to write; by default the adapter of a LoRA run, else the whole model."""
        if self.output.export is not None:
            return self.output.export
        return [Export.ADAPTER] if self.method.lora is not None else [Export.MERGED]

    def own_rows(self, rows: int) -> int:
        """Return how many rows of an epoch are training rows, of which there are so many: these, and their copies."""
        return rows * (self.augmentation.row_versions if self.augmentation is not None else 1)

    def judged_by(self, route: Route) -> MetricName:
        """Return the metric that chooses the best weights, and that the job is judged by."""
        return self.evaluation.best_metric or self.watched(route)

    def watched(self, route: Route) -> MetricName:
        """Return the metric that early stopping watches, if there is early stopping."""
        stopping = self.regularization.early_stopping
        return stopping.metric if stopping is not None and stopping.metric is not None else route.score

    def validated_metrics(self, route: Route) -> tuple[MetricName, ...]:
        """Return what is measured on the validation rows: what costs no generation, and what steers training."""
        return tuple(name for name in route.metrics if name in (*route.validated, self.judged_by(route), self.watched(route)))

    def test_metrics(self, route: Route) -> tuple[MetricName, ...]:
        """Return what is measured on the test rows, in the order of the table: also what the job is judged by."""
        listed = self.evaluation.metrics_of(route)
        return tuple(name for name in route.metrics if name in listed or name is self.judged_by(route))

    def text_metrics(self, route: Route) -> tuple[MetricName, ...]:
        """Return those of them that compare generated answers; without one nothing is generated for test rows."""
        return tuple(name for name in self.test_metrics(route) if METRICS[name].needs is Needs.GENERATED_TEXT)

    def lineage(self) -> dict[str, Any]:
        """Return the fields that a checkpoint's continuation must share, in wire form.

        Where files lie is left out, so that a folder may be moved: what is in them is compared instead (rows, weights). So is what is
        measured by other runs: it changes nothing about this one. So is what another run makes of the model named, which has a lineage.
        """
        wire = self.to_wire()
        wire["evaluation"].pop("ablations", None)
        wire["model"].pop("adapted", None)
        return {name: _without_paths(wire.get(name)) for name in LINEAGE_FIELDS}

    def lineage_digest(self) -> str:
        """Return the sha256 of `lineage`, in hex."""
        return digest_of_lineage(self.lineage())


def digest_of_lineage(lineage: Mapping[str, Any]) -> str:
    """Return the sha256, in hex, of a lineage as TrainConfig.lineage() or a run's record gives it."""
    return hashlib.sha256(json.dumps(lineage, sort_keys=True).encode()).hexdigest()


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_paths(member) for name, member in value.items() if name != "path"}
    return [_without_paths(member) for member in value] if isinstance(value, list) else value
