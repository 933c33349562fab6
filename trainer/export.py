"""`python -m trainer.export RUN`: export the model of a run again, from its checkpoint, without training, rows or Ray.

`finetune export` starts it. The base model is loaded on the CPU with the checkpoint's weights, and every export is compared
with its logits, as in a run. Test: tests/trainer/test_export.py.
"""

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from finetune.api.adaptation import CORPUS
from finetune.api.errors import InputError
from finetune.api.record import EXIT_FAILURE, EXIT_INPUT, EXIT_INTERRUPTED, EXIT_SUCCESS
from finetune.api.results import ADAPTATION, MODEL, REPORT, read_report
from finetune.api.sections import Export, Method, Regularization
from finetune.api.sources import Initialization, ModelSource
from finetune.api.tasks import TaskName
from finetune.api.trainconfig import RunModel
from finetune.system.interpreter import forget_current_folder, print_in_any_locale, use_utf8
from trainer.engine.state import PARAMETERS, check_names
from trainer.hub.connection import HubUnavailable
from trainer.model.beside import Origin
from trainer.model.exporter import Exported, TrainedTensors, export
from trainer.model.load import load_model, provenance_of
from trainer.model.location import LocatedModel, locate
from trainer.model.lora import apply_method
from trainer.model.quantization import check_available, quantization_of
from trainer.model.tokenizer import load_tokenizer
from trainer.model.verification import ExportMismatchError, Probe
from trainer.model.weights import WEIGHTS_RECORD, weights_digest
from trainer.outputs import logits_of
from trainer.preflight.architecture import configuration_of, task_for
from trainer.rank.state import RunState
from trainer.reporting.report import measured_step, with_exports
from trainer.reporting.sources import languages_in, pairs_in, sources_of
from trainer.storage.checkpoint import CheckpointStore, SavedState
from trainer.storage.localfolder import LocalFolder
from trainer.storage.ownership import Ownership
from trainer.storage.place import Place

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
PROBE_TEXTS = (
    "The quick brown fox jumps over the lazy dog, and the dog sleeps on.",
    "def add(first, second):\n    return first + second\n",
    "1, 2, 3, 5, 8, 13, 21, 34, 55",
    "Was ist die Hauptstadt von Frankreich? \u5317\u4eac\u662f\u4e2d\u56fd\u7684\u9996\u90fd\u3002",
)
"""Input on which model and export are compared; the run's own rows may be gone by now."""
FIGURES = frozenset({"baseline", "final", "change", "unchanged", "training", "predictions"})
"""Parts of a report that are of the weights that were measured."""


@dataclass(frozen=True)
class ExportOptions:
    """The command line, with absolute paths. Each form is written to a folder of its name in `to`."""

    run: Path
    forms: tuple[Export, ...]
    to: Path
    dtype: str | None = None
    base: Path | None = None
    overwrite: bool = False


def export_run(request: ExportOptions, say: Callable[[str], None]) -> list[Exported]:
    """Publish the forms asked for and return them; each is printed, and entered in the report, once it is published.

    Raises InputError, HubUnavailable, ExportMismatchError, OSError.
    """
    run, to = LocalFolder(request.run), LocalFolder(request.to)
    recorded = Ownership.recorded(run)
    method = Method.model_validate(recorded.lineage["method"])
    to.recover()
    refuse(request, method)
    saved = checkpoint_of(run, recorded, say)
    state, held = state_of(saved)
    located = base_of(request, recorded, state)
    tokenizer = load_tokenizer(located)
    task = task_for(TaskName(recorded.lineage["task"]), located, configuration_of(located)).with_known(state.known)
    task.prepare(tokenizer, None)
    quantization = quantization_of(method)
    check_available(quantization)
    provenance = provenance_of(located, held, state.weights, quantization)
    report, step = read_report(run), saved.record.step
    facts = card_facts(recorded, report, step)
    origin = Origin(
        located, tokenizer, provenance, recorded.name, held, task.objective.family, task.facts.name, quantization, task.known,
        facts, recorded.lineage["training"]["seed"], pairs_in(recorded.lineage["data"]),
        task.wording(languages_in(facts["data"]["sources"]), tokenizer),
    )  # fmt: skip
    trained, probe = trained_tensors(origin, method, saved)

    measured = measured_step(report) if report is not None else None
    if measured not in (None, step):
        say(f"warning: the figures in {REPORT} are of step {measured}; what is written now, of step {step}, was not measured")

    def published(done: Exported) -> None:
        say(_told(done))
        _report(request, run, done)

    dtype = DTYPES[request.dtype] if request.dtype else None
    return export(trained, origin, request.forms, to, probe, dtype, published)


def card_facts(recorded: Ownership, report: Mapping[str, Any] | None, step: int) -> dict[str, Any]:
    """Return what the model card may say: the report, its figures only if they are of this step; else what the run's record knows."""
    lineage = recorded.lineage
    settings = {name: lineage.get(name) for name in ("method", "training", "regularization", "augmentation", "evaluation")}
    digests = {field: digest for field, digest in recorded.digests.items() if field.startswith("data.")}
    facts = {
        "job": {"name": recorded.name, "task": lineage["task"]},
        "data": {"sources": sources_of(lineage["data"]), "digests": digests},
        "hyperparameters": {name: value for name, value in settings.items() if value is not None},
    }
    if report is None:
        return facts
    data = {**facts["data"], **report.get("data", {})}
    measured = report if measured_step(report) == step else {name: value for name, value in report.items() if name not in FIGURES}
    return {**facts, **measured, "data": data}


def _told(done: Exported) -> str:
    kind, apart = str(done.dtype).removeprefix("torch."), done.difference
    read = f"read back, its logits differ by {apart.relative:.1g} of their spread; rounding explains up to {apart.tolerance:g}"
    return f"wrote {done.uri} ({kind}; {read})"


def _report(request: ExportOptions, run: Place, done: Exported) -> None:
    """Enter a form in the run's report if it was written to the run's own model folder."""
    report = read_report(run)
    if report is not None and request.to == request.run / MODEL:
        entered = with_exports(report, [done.to_wire()])
        run.put(REPORT, json.dumps(entered, indent=1, ensure_ascii=False))


def refuse(request: ExportOptions, method: Method) -> None:
    """Raise InputError for forms that this run does not have, and for folders that are in the way."""
    if Export.ADAPTER in request.forms and not method.adapts:
        raise InputError("--adapter", f"the run in {request.run} trained all weights and has no adapter", "give --merged alone")
    if request.dtype is not None and Export.MERGED not in request.forms:
        raise InputError("--dtype", "applies to a whole model; an adapter stays in float32", "give --merged, or leave it out")
    own = request.to == request.run / MODEL
    field, elsewhere = ("DIR", "write elsewhere with --to FOLDER") if own else ("--to", "give another folder")
    for folder in (request.to / form.value for form in request.forms):
        if not folder.exists():
            continue
        if not request.overwrite:
            raise InputError(field, f"{folder} exists", f"{elsewhere}, or replace it with --overwrite")
        if not (folder / WEIGHTS_RECORD).is_file():
            raise InputError("--overwrite", f"{folder} is no export of finetune and is not removed", elsewhere)


def checkpoint_of(run: Place, recorded: Ownership, say: Callable[[str], None]) -> SavedState:
    """Return the best valid checkpoint, else the newest valid one, and say which it is and why."""
    store = CheckpointStore(run, recorded.owner, keep=1)
    newest, warnings = store.newest()
    best, faults = store.best()
    for warning in (*warnings, *faults):
        say(f"warning: {warning}")
    if best is not None:
        scored = f"the best on the validation rows ({best.record.score})"
        say(f"step {best.record.step}, {scored if best.record.score is not None else 'the newest within the budget for general texts'}")
        return best
    if newest is None:
        fix = "name the folder of a run that reached its first checkpoint, whose checkpoints were not deleted"
        raise InputError("DIR", f"{run.uri()} has no valid checkpoint", fix)
    if newest.record.within_budget is False:
        say("warning: no checkpoint is within the job's budget for general texts (domainAdaptation.maxGeneralPerplexityIncreasePercent)")
    say(f"step {newest.record.step}, the newest checkpoint; none was measured on validation rows")
    return newest


def state_of(saved: SavedState) -> tuple[RunState, torch.dtype]:
    """Return the run's state with the type of its weights; raises InputError for one that this version cannot read."""
    try:
        state = RunState.from_wire(saved.trainer_state)
        return state, DTYPES[state.dtype]
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # the files are as they were written: their digests agree
        problem = f"the state in {saved.place.uri(saved.name)} is not one that this version of finetune writes ({error!r})"
        raise InputError("DIR", problem, "export it with the version that trained it") from error


def base_of(request: ExportOptions, recorded: Ownership, state: RunState) -> LocatedModel:
    """Find the base model and check that its weights are those that were trained."""
    if request.base is None and (recorded.lineage.get("domainAdaptation") or {}).get("corpus") is not None:
        located = _of_corpus(request.run)
    else:
        located = _locate(request, recorded.lineage["model"], state.revision)
    digest, wanted = weights_digest(located), state.weights
    if digest != wanted:
        problem = f"the weights in {located.path} ({digest}) are not those that the run was trained on ({wanted})"
        raise InputError("--base" if request.base else located.field, problem, "name the folder of the right ones with --base")
    return located


def _of_corpus(run: Path) -> LocatedModel:
    """Find the model that learned a corpus before the run's task."""
    try:
        return locate(ModelSource(path=str((run / ADAPTATION / MODEL / Export.MERGED.value).absolute())))
    except InputError as error:
        raise InputError(CORPUS, error.problem, "restore the model that learned the corpus, or name its folder with --base") from error


def _locate(request: ExportOptions, model: dict[str, Any], revision: str | None) -> LocatedModel:
    initialization = model.get("initialization") or Initialization.PRETRAINED
    if request.base is not None:
        found = locate(ModelSource(path=str(request.base), initialization=initialization))
        return LocatedModel(found.name, "--base", found.path, found.kind, found.source, found.request)
    if model.get("name") is not None:
        return locate(ModelSource(name=model["name"], revision=revision or model.get("revision"), initialization=initialization))
    # run.json has no paths, because folders are moved; the configuration of the last start has them.
    try:
        place = json.loads((request.run / ".finetune" / "config.json").read_text(encoding="utf-8"))["model"]
        given = RunModel(path=place["path"], fine_tune_job=place.get("fineTuneJob"), initialization=initialization)
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"{request.run} does not say where the base model is"
        raise InputError("--base", problem, "name its folder with --base") from error
    try:
        return locate(given)
    except InputError as error:
        raise InputError(error.field, error.problem, "restore the base model, or name its folder with --base") from error


def trained_tensors(origin: Origin, method: Method, saved: SavedState) -> tuple[TrainedTensors, Probe]:
    """Rebuild the model of the checkpoint and probe it; return its trained tensors without the model."""
    base = load_model(origin.located, origin.dtype, origin.family, origin.quantization, seed=origin.seed or 0)
    model: Any = apply_method(base, method, Regularization(), 0, origin.family).eval()
    parameters = saved.tensors().one_by_one(PARAMETERS)
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    check_names(parameters, trainable)
    with torch.no_grad():
        for name, parameter in trainable.items():
            parameter.copy_(parameters[name])
    rows = [ids for ids in (origin.tokenizer(text)["input_ids"] for text in PROBE_TEXTS) if ids]
    probe = Probe.take(lambda **inputs: logits_of(model(**inputs)), rows, origin.dtype, origin.family)
    return TrainedTensors.of(model, parameters, saved.record.step), probe


def main(arguments: Sequence[str] | None = None) -> int:
    """Export as the arguments say and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m trainer.export", description="Export the model of a run again.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--form", action="append", choices=[form.value for form in Export], required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--dtype", choices=sorted(DTYPES))
    parser.add_argument("--base", type=Path)
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_INTERRUPTED))  # an exception, so that staged folders are removed
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # peft loads DeepSpeed, which would probe for others and print it
    forms = tuple(Export(form) for form in options.form)
    request = ExportOptions(options.run, forms, options.to, options.dtype, options.base, options.overwrite)
    try:
        export_run(request, say=lambda line: print(line, flush=True))
    except InputError as error:
        print(error, file=sys.stderr)
        return EXIT_INPUT
    except (HubUnavailable, ExportMismatchError, OSError, RuntimeError, SafetensorError) as error:  # a full disk is any of the last
        print(f"failed: {error}", file=sys.stderr)
        return EXIT_FAILURE
    return EXIT_SUCCESS


if __name__ == "__main__":
    use_utf8()
    forget_current_folder()
    print_in_any_locale()
    sys.exit(main())
