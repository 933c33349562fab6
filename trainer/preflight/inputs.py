"""Everything that is known before ranks have anything to do: rows, model, tokenizer, findings. Invalid input ends the run here.

Test: tests/trainer/preflight/test_inputs.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from finetune.api.adaptation import BUDGET
from finetune.api.errors import InputError
from finetune.api.tasks import ModelFamily
from finetune.api.timings import TimedStage
from finetune.api.trainconfig import OutputFolder, TrainConfig
from trainer.augmentation.augmenter import LOOKED_AT, Augmenter
from trainer.augmentation.shown import pair_lines
from trainer.data.datafolder import DataFolder
from trainer.data.rows import Dataset
from trainer.data.rowstore import digest_of
from trainer.data.sampler import steps_total
from trainer.model.earlier import made_by
from trainer.model.head import head_findings, refuse_new_head
from trainer.model.identity import model_digest
from trainer.model.location import LocatedModel
from trainer.model.quantization import check_available, finding_of, quantization_of
from trainer.model.tokenizer import load_tokenizer
from trainer.preflight.adapting import Shift, adaptation_lines, epoch_rows, shift_of
from trainer.preflight.architecture import configuration_of, limits_of, task_for
from trainer.preflight.aside import ModelChecks
from trainer.preflight.doctor import examine
from trainer.preflight.prepare import prepare
from trainer.preflight.rewriters import Rewriter, digests_of, rewriters_of
from trainer.preflight.shardkeys import shard_keys
from trainer.preflight.tokens import Tokens, found_earlier, on_disk, write_tokens
from trainer.storage.digest import sha256_of
from trainer.storage.kinds import output_place
from trainer.storage.localfolder import LocalFolder
from trainer.storage.ownership import TIME_FIELD, recorded_time
from trainer.storage.place import Place
from trainer.tasks.base import Task

RANDOM = (
    "model.initialization: all weights begin as random numbers from training.seed: the base model's figures are those of an untrained model"
)
SHOWN = 3
"""Rows of which `finetune check` shows what augmentation would make of them."""


@dataclass(frozen=True)
class Inputs:
    """Valid input of a run. Pickled without the tokenizer: each rank loads its own, on its own node."""

    task: Task[Any]
    """As the model's kind learns it."""
    dataset: Dataset
    located: LocatedModel
    tokenizer: Any
    findings: tuple[str, ...]
    weights_digest: str | None = None
    """Digest of the weights, slow to compute; None for a commit on the hub, whose weights were not fetched."""
    template_time: str | None = None
    """The chat template's current time (ISO), fixed for the whole run; None if it reads no clock."""

    shift: Shift | None = None
    """How far domain and general texts are apart; None without plain texts of both."""
    found: tuple[str, ...] = ()
    """The data sets whose tokens an earlier start left in the output folder, such as data.train."""
    rewriters: Mapping[str, Rewriter] = field(default_factory=dict)
    """The models that write variants of training texts, by the fields that name them."""
    tokens: Tokens | None = None
    """All rows as the model sees them; None until `with_tokens`."""

    @property
    def written_tokens(self) -> Tokens:
        """The tokens; raises ValueError before `with_tokens`."""
        if self.tokens is None:
            raise ValueError("the rows were not tokenized")
        return self.tokens

    def with_tokens(self, config: TrainConfig, data: DataFolder) -> "Inputs":
        """Return this input with all rows tokenized on disk."""
        keys = shard_keys(self.task, config, self.dataset, self.tokenizer, self.template_time)
        tokens = write_tokens(self.task, config, self.dataset, self.tokenizer, data, keys)
        return replace(self, tokens=tokens, found=found_earlier(self.dataset, data, keys))

    def __getstate__(self) -> dict[str, Any]:
        """Pickle everything but the tokenizer."""
        return self.__dict__ | {"tokenizer": None}

    def digests(self, config: TrainConfig) -> dict[str, str]:
        """Return the hex sha256 of the contents of the job's files, by the field that names them: paths do not identify content."""
        found = {name: digest_of(rows) for name, rows in self.dataset.sides().items()}
        if self.template_time is not None:
            found[TIME_FIELD] = self.template_time
        if self.weights_digest is not None:
            found[self.located.field] = model_digest(self.located, self.weights_digest)
        for _, name, table in config.augmentation.dictionaries() if config.augmentation else ():
            if table.path is not None:
                found[name] = sha256_of(Path(table.path))
        return found | digests_of(self.rewriters)

    def describe(self, config: TrainConfig) -> list[str]:
        """Return what was found and what would be done, one line each, for `finetune check`."""
        training = config.training
        engine = f"DeepSpeed ZeRO-{config.workers.deepspeed.zero_stage}" if config.workers.deepspeed else "DistributedDataParallel"
        sides = {field.removeprefix("data."): rows for field, rows in self.dataset.sides().items() if field.startswith("data.")}
        counts = {name: self.task.count(rows, self.tokenizer, training.max_sequence_length) for name, rows in sides.items()}
        drawn = epoch_rows(counts["train"].pieces, config)
        about = "about " if any(count.estimated for count in counts.values()) else ""
        pieces = ", ".join(f"{count.pieces} {name}" for name, count in counts.items())
        return [
            f"model       {self.located.name}, from {self.located.source}",
            f"rows        {', '.join(f'{len(rows)} {name}' for name, rows in sides.items())}",
            *(
                [f"pieces      {about}{pieces}, of at most {training.max_sequence_length} tokens; a step counts each as a row"]
                if self.task.cuts
                else []
            ),
            f"training    {about}{steps_total(drawn, training)} steps of {training.global_batch_size} rows",
            *adaptation_lines(config, self.dataset, self.shift, drawn - config.own_rows(counts["train"].pieces)),
            *_varied(config, self.task, self.dataset, counts["train"].pieces),
            f"workers     {config.workers.world_size} {'rank' if config.workers.world_size == 1 else 'ranks'}, {engine}",
            *([f"tokens      those of {', '.join(self.found)} are reused from an earlier start"] if self.found else []),
            *(f"finding     {finding}" for finding in self.findings),
        ]


def _time_of_earlier(config: TrainConfig) -> str | None:
    """Return the time that the rows of the continued job have, None for a job that begins anew or whose template reads no clock."""
    return recorded_time(LocalFolder(Path(config.continue_from.fine_tune_job.path))) if config.continue_from is not None else None


def _varied(config: TrainConfig, task: Task[Any], dataset: Dataset, rows: int) -> list[str]:
    """Return what augmentation does to the rows of an epoch, with examples."""
    if config.augmentation is None:
        return []
    copies = config.augmentation.copies_per_row
    epoch = f"an epoch has {config.own_rows(rows)} rows: {rows}, and {rows * copies} varied copies" if copies else ""
    share = "" if copies else f"{config.augmentation.share:.0%} of the rows are varied in each epoch, in place of the rows as they are"
    examples = Augmenter(config.augmentation, config.training.seed).examples(task, dataset.train, SHOWN)
    written = any(operation.rewriting is not None for operation in config.augmentation.operations)
    tried = min(LOOKED_AT, len(dataset.train))
    lines = pair_lines(examples) or ([f"augmentation changed none of the first {tried} rows"] if not written else [])
    return [
        f"augmented   {epoch or share}",
        *(f"varied      {line}" for line in lines),
        *(["rewritten   texts are written by models once the run begins, before training"] if written else []),
    ]


def tokenizer_for(task: Task[Any], located: LocatedModel, template_time: str | None = None) -> Any:
    """Load the tokenizer and give it what the task needs, such as a chat template.

    A template that reads the clock gets `template_time`.
    """
    tokenizer = load_tokenizer(located)
    task.prepare(tokenizer, template_time)
    return tokenizer


def main_place(config: TrainConfig) -> Place:
    """Return where the job's own run is: another run of the job reads the rows as that one does."""
    return output_place(config.output if config.derived is None else OutputFolder(directory=config.derived.main))


def check_inputs(
    config: TrainConfig, data: DataFolder, begin: Callable[[TimedStage], None] = lambda _: None, *, rehearse_here: bool
) -> Inputs:
    """Read and check all input; raises InputError for what the user must fix. `begin` is told which stage begins.

    `rehearse_here` says that this program trains later, so that it has torch and needs no other program to rehearse the model.

    The rows come first: transformers, which takes a second to import, is not imported before they are known to be valid. What
    there is to check of the model goes on beside them.
    """
    quantization = quantization_of(config.method)
    check_available(quantization)
    with ModelChecks(config, rehearse_here=rehearse_here) as model:
        begin(TimedStage.ROWS)
        dataset = prepare(config, data.rows)
        begin(TimedStage.MODEL)
        located = model.located()
        # A run that continues in this folder keeps its own time: on another day its rows would have other tokens.
        now = datetime.now().astimezone().replace(tzinfo=None).isoformat(timespec="seconds")
        times = (recorded_time(output_place(config.output)), recorded_time(main_place(config)), _time_of_earlier(config))
        template_time = next(filter(None, times), now)
        configuration = configuration_of(located)
        task = task_for(config.task, located, configuration).knowing(dataset.learned)
        for rows in (dataset.validation, dataset.test):
            task.check_held_out(rows)
        tokenizer = tokenizer_for(task, located, template_time)
        task = task.fitting(tokenizer)
        rewriters = rewriters_of(config, task)
        shown = template_time if task.depends_on_time(tokenizer) else None
        keys = shard_keys(task, config, dataset, tokenizer, shown)
        begin(TimedStage.DOCTOR)
        findings = examine(task, dataset, tokenizer, config, limits_of(configuration), on_disk(data, keys))
        begin(TimedStage.MODEL)
        first = [finding_of(quantization)] if quantization is not None else []
        # Only an encoder has a head of its own; to ask the objectives of other models would import torch for nothing.
        heads = []
        budget = config.adaptation.max_general_perplexity_increase_percent if config.adaptation is not None else None
        if located.draws:
            heads = [RANDOM]
            if budget is not None:
                fix = "untrained weights make the base perplexity meaningless as a limit; remove it"
                raise InputError(BUDGET, "all weights begin as random numbers (model.initialization)", fix)
        elif task.family is ModelFamily.ENCODER:
            heads = head_findings(configuration, task.objective.family)
            refuse_new_head(configuration, task.objective.family, config.regularization.base_kl_weight, budget)
        findings = (*first, *heads, *model.rehearse(), *findings)
        digest = model.weights_digest()
        if digest is not None:
            made_by(located.request, digest)  # refuses weights that an earlier job did not make
    shift, earlier = shift_of(dataset, task, tokenizer), found_earlier(dataset, data, keys)
    return Inputs(task, dataset, located, tokenizer, (*dataset.findings, *findings), digest, shown, shift, earlier, rewriters)
