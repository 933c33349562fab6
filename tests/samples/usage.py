"""Takes a sample through what a user does with it, in this process and without Ray: check, train, predict, evaluate. Not a test."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from finetune.api.columns import Columns
from finetune.api.results import PREDICTIONS
from finetune.api.sources import Source
from finetune.api.spec import FineTuneJobSpec
from finetune.api.tasks import ModelFamily, Route, TaskName
from finetune.api.trainconfig import TrainConfig
from finetune.api.using import ChosenModel, Evaluate, Predict
from finetune.cli.jobfile.reading import JobFile, read_job_file
from finetune.cli.local.configuration import Folders, plan_local_run, prepare
from finetune.cli.local.machine import Machine
from tests.repository import REPOSITORY
from trainer.data.datafolder import DataFolder
from trainer.objectives.family import Family
from trainer.preflight.inputs import check_inputs
from trainer.preflight.prepare import prepare as prepare_rows
from trainer.rank.assignment import Assignment
from trainer.rank.run import execute
from trainer.storage.ownership import Ownership
from trainer.tasks.base import Task
from trainer.using.asking import ask_rows, languages_for
from trainer.using.evaluate import evaluate, rows_in_tokens
from trainer.using.found import Found, find
from trainer.using.loading import Loaded, load
from trainer.using.predict import predict

SAMPLES = sorted((REPOSITORY / "manifests" / "samples").glob("*.yaml"))
STEPS, ANSWERED, NEW_TOKENS, OWN_ROWS = 6, 10, 12, 40
LEARNING_RATE = 0.003
"""Enough for a small model to change within the few steps, and too little for it to give all prompts the same answer."""
WORDS = ["the", "ship", "sails", "at", "noon", "and", "the", "crew", "checks", "each", "line", "before", "the", "tide", "turns"]


@dataclass(frozen=True)
class Used:
    """What came of a sample."""

    job: JobFile
    config: TrainConfig
    findings: tuple[str, ...]
    """About the rows, of the check."""
    report: dict[str, Any]
    lines: list[dict[str, Any]]
    """What predict wrote for the first test rows."""
    requests: list[Any]
    """What these rows ask, as the model is given it."""
    written: list[dict[str, Any]]
    """What the run has written of the answers to its test rows."""
    evaluated: dict[str, Any]
    """What evaluate wrote."""
    task: Task[Any]
    """As the model in use has it."""

    @property
    def family(self) -> Family:
        """How the model is loaded."""
        return self.task.objective.family

    @property
    def route(self) -> Route:
        """What is measured."""
        return self.task.route

    @property
    def brings_its_rows(self) -> bool:
        """Whether all rows are in the sample."""
        return all(source.config_map is not None for source in sources_of(self.job.spec))


def sources_of(spec: FineTuneJobSpec) -> list[Source]:
    return [*spec.data.train, *(spec.data.validation or ()), *(spec.data.test or ())]


def use(sample: Path, folder: Path) -> Used:
    """Take a sample through all of it, with few steps, on one rank; a store of models must have the one that it names."""
    job = shortened(read_job_file(sample), folder)
    claims = {source.persistent_volume_claim.claim_name: folder for source in sources_of(job.spec) if source.persistent_volume_claim}
    folders = Folders(folder / "run")
    run = plan_local_run(job, folders, claims, Machine(cpus=1, gpus=0))
    prepare(folders, run)
    findings = train(run.config, DataFolder(folder / "data", folder / "data" / "start-0"))
    report = json.loads((folders.output / "report.json").read_text())
    found, loaded = loaded_again(run.config)
    lines, requests = predicted(run.config, found, loaded, folder)
    file = folders.output / PREDICTIONS
    written = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    evaluated = measured(run.config, found, loaded, folder)
    return Used(job, run.config, findings, report, lines, requests, written, evaluated, loaded.task)


def shortened(job: JobFile, folder: Path) -> JobFile:
    """Return the job with few steps on one CPU, and with rows for sources that are elsewhere."""
    wire = job.spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    wire["model"] = {"name": job.spec.model.name}
    wire["data"] |= {
        side: [source if "configMap" in source else _lent(source, folder, f"{side}{number}") for number, source in enumerate(sources)]
        for side, sources in wire["data"].items()
        if isinstance(sources, list)
    }
    wire.pop("distributed", None)
    wire.pop("resources", None)
    wire["training"].pop("epochs", None)
    wire["training"] |= {"maxSteps": STEPS, "learningRate": LEARNING_RATE, "precision": "float32"}
    wire.pop("checkpoint", None)
    evaluation = wire.setdefault("evaluation", {})
    evaluation.pop("everySteps", None)
    evaluation["generation"] = {"maxNewTokens": NEW_TOKENS, "samples": ANSWERED}
    return replace(job, spec=FineTuneJobSpec.model_validate(wire))


def _lent(source: dict[str, Any], folder: Path, name: str) -> dict[str, Any]:
    """Return a source that is not in the sample, with rows in its place: of its claim's file, or of a file for a data set."""
    columns = source.get("columns", {"text": "text"})
    if claim := source.get("persistentVolumeClaim"):
        _write(folder / claim["path"], columns, name)
        return source
    _write(folder / f"{name}.jsonl", columns, name)
    return {"path": str(folder / f"{name}.jsonl"), "columns": columns}


def _write(path: Path, columns: Mapping[str, str], name: str) -> None:
    rows = [{column: _value(role, f"{name} {number}") for role, column in columns.items()} for number in range(OWN_ROWS)]
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".txt":
        path.write_text("\n\n".join(row["text"] for row in rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _value(role: str, which: str) -> Any:
    number = sum(map(ord, which))
    said = f"{which}: {' '.join(WORDS[number % 7 :])}"
    return [{"role": "user", "content": said}, {"role": "assistant", "content": f"{said}!"}] if role == "messages" else said


def train(config: TrainConfig, data: DataFolder) -> tuple[str, ...]:
    """Do what the driver and its only rank do; return what the check found in the rows."""
    inputs = check_inputs(config, data, rehearse_here=True).with_tokens(config, data)
    ownership = Ownership.of(config, inputs.digests(config))
    ownership.write(finished=False)
    execute(Assignment(config, inputs, ownership.owner, _Nobody()))
    ownership.write(finished=True)
    return inputs.dataset.findings


class _Nobody:
    """Is told of the run, and never stops it."""

    def send(self, **_: Any) -> None:
        pass

    def stop_requested(self, wait_seconds: float = 0.0) -> bool:
        return False


def loaded_again(config: TrainConfig) -> tuple[Found, Loaded]:
    """Return the model of a finished run, as the commands that use it load it."""
    chosen = ChosenModel(name=config.output.directory)
    found = find(chosen)
    return found, load(found, chosen, lambda _: None)


def predicted(config: TrainConfig, found: Found, loaded: Loaded, folder: Path) -> tuple[list[dict[str, Any]], list[Any]]:
    """Return what finetune predict writes about the first test rows, and what these rows ask."""
    source, output = (config.data.test or config.data.train)[-1], folder / "answers.jsonl"
    rows, columns = Path(str(source.path)), source.columns or Columns()
    if loaded.task.facts.name is TaskName.LANGUAGE_MODELING and loaded.task.family is ModelFamily.ENCODER:
        rows, columns = with_hidden_words(rows, folder / "hidden.jsonl", loaded.tokenizer.mask_token), Columns()
    model = ChosenModel(name=config.output.directory)
    predict(Predict(model=model, input=rows, output=output, max_new_tokens=NEW_TOKENS), loaded, found, lambda _: None)
    languages = languages_for(loaded.task, None, found.languages)
    asked = ask_rows(loaded.task, loaded.tokenizer, rows, [columns], languages)
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    return lines[:ANSWERED], [row.request for row in islice(asked, ANSWERED)]


def with_hidden_words(paragraphs: Path, file: Path, mask: str) -> Path:
    """Write rows with the paragraphs of a text, in each of which a mask is in place of the third word."""
    texts = [text.split(" ") for text in paragraphs.read_text().split("\n\n")]
    file.write_text("".join(json.dumps({"text": " ".join([*words[:2], mask, *words[3:]])}) + "\n" for words in texts))
    return file


def measured(config: TrainConfig, found: Found, loaded: Loaded, folder: Path) -> dict[str, Any]:
    """Return what finetune evaluate writes about the model on the job's test rows."""
    wanted = Evaluate(model=ChosenModel(name=config.output.directory), job=config, output=folder / "figures.json")
    (folder / "rows").mkdir()

    def silent(_: str) -> None: ...

    evaluate(wanted, loaded, found, rows_in_tokens(wanted, prepare_rows(config, folder / "rows"), loaded, found, silent), silent)
    written: dict[str, Any] = json.loads((folder / "figures.json").read_text())
    return written
