"""Further runs of a job, before its own run or after it: each with a configuration made from earlier ones, in a folder of its own.

They are trained one after the other by the code of the job's own run, so that each has checkpoints, resumes where it was killed and is
not trained again once it is finished. Their progress goes into the job's record, their figures do not. A plan says which there are.
Test: tests/trainer/driver/test_derived.py.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

from finetune.api.errors import RunError
from finetune.api.record import WARNINGS_MAX, Metrics, Stage, TrainingProgress
from finetune.api.sections import Export
from finetune.api.trainconfig import DerivedRun, OutputFolder, TrainConfig
from trainer.driver.exits import worker_errors
from trainer.driver.publisher import Reports, Source
from trainer.preflight.inputs import Inputs
from trainer.reporting.messages import RecordUpdate
from trainer.storage.kinds import output_place
from trainer.storage.place import Place


@dataclass(frozen=True)
class Done:
    """A run that is finished, or a control run that failed and would fail again."""

    config: TrainConfig
    report: Mapping[str, Any]
    """Empty where it failed."""
    failed: str | None = None
    """Why it has no figures."""

    @property
    def place(self) -> Place:
        """Where it is."""
        return output_place(self.config.output)


OWN = ""
"""The name of the job's own run among the others."""
Finished = Mapping[str, Done]
"""The runs that are finished, by name."""


@dataclass(frozen=True)
class Planned:
    """A further run. `name` is what people read, such as `ablation weightDecay`, and differs from those of the others."""

    name: str
    configure: Callable[[TrainConfig, Finished], TrainConfig]
    """Returns its configuration, given the job's own (as its run has it, for a run that comes after it) and what is finished.

    Made by `derived`.
    """
    fields: Mapping[str, str] = field(default_factory=dict)
    """The user's names of fields that its configuration has under other names."""

    def in_fields_of_the_job(self, text: str) -> str:
        """Return a text in which fields have the names that they have in the job."""
        names = "|".join(map(re.escape, self.fields))
        return re.sub(rf"(?<![\w./])({names})(?!\w)", lambda found: self.fields[found[1]], text) if names else text

    def warning(self, text: str) -> str:
        """Return one of its warnings as the job has it."""
        return f"{self.name}: {self.in_fields_of_the_job(text)}"

    @contextmanager
    def naming_fields_of_the_job(self) -> Iterator[None]:
        """Raise errors of this run, also of its workers, with the names that fields have in the job."""
        try:
            yield
        except Exception as error:
            for cause in worker_errors(error):
                if isinstance(cause, RunError):
                    cause.reword(self.in_fields_of_the_job)
            raise


@dataclass(frozen=True)
class Plan:
    """The runs of a job, in the order in which they are trained, and what becomes of their figures."""

    before: Sequence[Planned] = ()
    after: Sequence[Planned] = ()
    ahead: Callable[[TrainConfig], Sequence[str]] = lambda _: ()
    """Checks the input of the runs before the job's own, which may hold results; returns what there is to say of it, a line each."""
    begun: Callable[[TrainConfig], bool] = lambda _: True
    """Whether these runs have begun, so that their input was checked."""
    today: Callable[[TrainConfig], TrainConfig] = lambda config: config
    """Returns the configuration that the job's own run would have if it began with what the runs before it have made so far."""
    main: Callable[[TrainConfig, Finished], TrainConfig] = lambda config, _: config
    """Returns the configuration of the job's own run, which may begin with what a run before it has made."""
    check: Callable[[TrainConfig, Inputs], None] = lambda *_: None
    """Raises InputError where the rows of the job's own run do not do for the runs after it."""
    conclude: Callable[[Done, Finished], None] = lambda *_: None
    """Puts the figures of the runs after the job's own into its report, and shows them."""


def derived(main: TrainConfig, name: str, folder: str, *, figures_only: bool = False, last_weights: bool = False, base_only: bool = False,
            export: Sequence[Export] | None = None, **changes: Any) -> TrainConfig:  # fmt: skip
    """Return the configuration of a further run in a folder below the job's own output; `changes` are fields of TrainConfig.

    `export` are the forms of its model, by default the method's own; none with `figures_only`.
    """
    uri = None if main.output.uri is None else f"{main.output.uri.rstrip('/')}/{folder}"
    forms = [] if figures_only else None if export is None else list(export)
    output = OutputFolder(directory=str(Path(main.output.directory) / folder), uri=uri, export=forms)
    adaptation = main.domain_adaptation
    if figures_only and adaptation is not None:  # a control run that leaves the budget would end the job, and nobody hands its weights over
        adaptation = adaptation.changed(max_general_perplexity_increase_percent=None, sweep=None)
    fields: dict[str, Any] = {
        "evaluation": main.evaluation.changed(ablations=None),
        "domain_adaptation": adaptation,
        "checkpoint": main.checkpoint.changed(keep=1) if figures_only else main.checkpoint,
        **changes,
        "output": output,
        "derived": DerivedRun(
            name=name, main=main.output.directory, figures_only=figures_only, last_weights=last_weights, base_only=base_only
        ),
    }
    return main.changed(**fields)


class PartOfRecord:
    """Takes what a further run reports into the job's record: what it does and how far it is.

    Of a run that makes what the job's own begins with, also its warnings, by `warning`, and its validations. Those of other runs are in
    their own reports.
    """

    def __init__(self, reports: Reports, name: str, warning: Callable[[str], str] | None = None) -> None:
        self._reports, self._name, self._warning, self._begun_at = reports, name, warning, 0
        progress = TrainingProgress(step=0, total_steps=0, epoch=0, tokens_seen=0, run=name)
        reports.update(stage=Stage.READING, progress=progress)

    def update(self, **changes: Unpack[RecordUpdate]) -> None:
        """Take over what the record has a place for."""
        self._reports.update(**self.of_changes(changes))

    def poll(self, source: Source | None) -> None:
        """Fetch from now on what `source` has."""
        self._reports.poll(None if source is None else lambda: self.of_changes(source()))

    def fetch(self, source: Source | None = None) -> None:
        """Take over what `source` has."""
        self._reports.fetch(None if source is None else lambda: self.of_changes(source()))

    def of_changes(self, changes: RecordUpdate) -> RecordUpdate:
        """Return what the job's record takes of changes to that of the further run."""
        taken = RecordUpdate()
        if "stage" in changes:
            taken["stage"] = changes["stage"]
        if "progress" in changes:
            taken["progress"] = changes["progress"].model_copy(update={"run": self._name})
        if "pulse" in changes:
            taken["pulse"] = changes["pulse"]
        if self._warning is not None:
            if "warnings" in changes:
                taken["warnings"] = [self._warning(text) for text in changes["warnings"]][:WARNINGS_MAX]
            self._begun_at = changes.get("resumed_from_step") or self._begun_at
            if "metrics" in changes:
                taken["metrics"] = self._of_metrics(changes["metrics"])
        return taken

    def _of_metrics(self, found: Metrics) -> Metrics:
        """Return the newest validation, if it is of this attempt, and the figures of general texts."""
        known = found.validated is None or found.validated.step <= self._begun_at
        return Metrics(validated=None if known else found.validated, adaptation=found.adaptation)
