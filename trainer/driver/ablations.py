"""evaluation.ablations as a plan: a control run without each of the parts, after the job's own run, and what came of it.

Test: tests/trainer/driver/test_ablations.py.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from finetune.api.adaptation import CORPUS, REPLAY
from finetune.api.errors import InputError
from finetune.api.evaluation import DATA_SHARES, Ablation
from finetune.api.results import ABLATIONS, REPORT
from finetune.api.sources import Initialization
from finetune.api.trainconfig import TrainConfig
from trainer.data.fewer import least_rows
from trainer.data.rowstore import contents_of
from trainer.driver.derived import OWN, Done, Finished, Plan, Planned, derived
from trainer.driver.finished import print_effects
from trainer.evaluation.measured import Measured, measured_in
from trainer.preflight.aside import ModelChecks
from trainer.preflight.inputs import Inputs
from trainer.reporting.effects import curve_to_wire, effect_to_wire

FIELD = "evaluation.ablations"
R_DROP = "regularization.rDropAlpha"


@dataclass(frozen=True)
class Part:
    """A part of a job that a control run does without."""

    missing: str
    """What is wrong where the job does not use it."""
    settings: Callable[[TrainConfig], Mapping[str, Any]]
    """The settings that are taken away, by their fields; empty where the job does not use the part."""
    without: Callable[[TrainConfig, Mapping[str, Any]], dict[str, Any]]
    """The fields of TrainConfig that change, given the report of the job's own run."""
    last_weights: bool = False


def _dropout(config: TrainConfig) -> dict[str, Any]:
    found = {"regularization.dropout": config.regularization.dropout}
    if config.method.lora is not None:
        found["method.lora.dropout"] = config.method.lora.dropout
    return {field: value for field, value in found.items() if value}


def _without_dropout(config: TrainConfig, _: Mapping[str, Any]) -> dict[str, Any]:
    lora = config.method.lora
    method = config.method if lora is None else config.method.changed(lora=lora.changed(dropout=0.0))
    return {"regularization": config.regularization.changed(dropout=0.0), "method": method}


def _without_early_stopping(config: TrainConfig, _: Mapping[str, Any]) -> dict[str, Any]:
    """Return also by what the weights are judged, which early stopping may have said."""
    stopping, evaluation = config.regularization.early_stopping, config.evaluation
    judged = evaluation.best_metric or (stopping.metric if stopping is not None else None)
    return {
        "regularization": config.regularization.changed(early_stopping=None),
        "evaluation": evaluation.changed(ablations=None, best_metric=judged),
    }


def _stopping(config: TrainConfig) -> dict[str, Any]:
    rule = config.regularization.early_stopping
    return {} if rule is None else {"regularization.earlyStopping": rule.to_wire()}


def _augmentation(config: TrainConfig) -> dict[str, Any]:
    return {} if config.augmentation is None else {"augmentation": config.augmentation.to_wire()}


def _without_augmentation(config: TrainConfig, report: Mapping[str, Any]) -> dict[str, Any]:
    """Return also as many steps and the same validations, where an epoch without the copies of rows would have fewer steps.

    The question is what varied rows bring, not what more steps do.
    """
    changes: dict[str, Any] = {"augmentation": None}
    if config.augmentation is not None and config.augmentation.row_versions > 1:
        trained = report["training"]
        if config.training.max_steps is None:
            changes["training"] = config.training.changed(epochs=None, max_steps=trained["totalSteps"])
        if config.evaluation.every_steps is None:
            epoch = max(1, round(trained["steps"] / trained["epochs"]))
            changes["evaluation"] = config.evaluation.changed(ablations=None, every_steps=epoch)
    return changes


def _decay(config: TrainConfig) -> dict[str, Any]:
    decay = config.regularization.weight_decay
    return {"regularization.weightDecay": decay} if decay else {}


def _pretraining(config: TrainConfig) -> dict[str, Any]:
    """Return nothing where weights of the base model would stay as they are, random: that is no control."""
    full = config.method.full
    whole = full is not None and full.freeze is None
    pretrained = config.model.initialization is Initialization.PRETRAINED
    return {"model.initialization": Initialization.PRETRAINED.value} if whole and pretrained else {}


def _adaptation(config: TrainConfig) -> dict[str, Any]:
    section = config.domain_adaptation
    parts = {} if section is None else {CORPUS: section.corpus, REPLAY: section.replay}
    return {field: part.to_wire() for field, part in parts.items() if part is not None}


def _without_adaptation(config: TrainConfig, _: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model as it was named; without a corpus, for which the section is meant then, texts are measured as before."""
    section = config.domain_adaptation
    measures = section is not None and section.corpus is None and (section.general_evaluation or section.domain_evaluation)
    rest = section.changed(replay=None, max_general_perplexity_increase_percent=None, sweep=None) if section and measures else None
    return {"model": config.model.changed(adapted=None), "domain_adaptation": rest}


PARTS = {
    Ablation.AUGMENTATION: Part("the job has no augmentation to leave out", _augmentation, _without_augmentation),
    Ablation.WEIGHT_DECAY: Part(
        "the job has no weight decay to leave out", _decay,
        lambda config, _: {"regularization": config.regularization.changed(weight_decay=0.0)},
    ),
    Ablation.PRETRAINING: Part(
        "this ablation needs method.full without freeze and a pre-trained model", _pretraining,
        lambda config, _: {"model": config.model.changed(initialization=Initialization.RANDOM, adapted=None)},
    ),
    Ablation.DROPOUT: Part("the job sets no dropout to ablate", _dropout, _without_dropout),
    Ablation.DOMAIN_ADAPTATION: Part("the job has neither corpus nor replay", _adaptation, _without_adaptation),
    Ablation.EARLY_STOPPING: Part("the job has no early stopping to leave out", _stopping, _without_early_stopping, last_weights=True),
}  # fmt: skip


def ablation_plan(config: TrainConfig) -> Plan:
    """Return the control runs that the job asks for; raises InputError for a part that it does not use."""
    asked = config.evaluation.ablations or []
    for index, ablation in enumerate(asked):
        part = PARTS.get(ablation)
        if part is not None and not part.settings(config):
            fix = f"remove {ablation.value} from the list, or give the job what is to be measured"
            raise InputError(f"{FIELD}[{index}]", part.missing, fix)
    after = [planned for ablation in asked for planned in _planned(ablation)]
    return Plan(after=after, check=_check, conclude=_conclude) if after else Plan()


def run_name(ablation: Ablation, share: float | None = None) -> str:
    """Return what people read as the name of a control run."""
    return f"ablation {ablation.value}" if share is None else f"{_percent(share)} % of the rows"


def rows_at(share: float, rows: int) -> int:
    """Return how many rows a share of all training rows is."""
    return max(1, math.ceil(round(share * rows, 6)))


def _percent(share: float) -> str:
    return f"{100 * share:g}"


def _planned(ablation: Ablation) -> list[Planned]:
    if ablation is Ablation.DATA:
        return [_on_share(share) for share in DATA_SHARES]
    part, name = PARTS[ablation], run_name(ablation)

    def configure(main: TrainConfig, finished: Finished) -> TrainConfig:
        folder = f"{ABLATIONS}/{ablation.value}"
        return derived(main, name, folder, figures_only=True, last_weights=part.last_weights, **part.without(main, finished[OWN].report))

    return [Planned(name, configure)]


def _on_share(share: float) -> Planned:
    name = run_name(Ablation.DATA, share)

    def configure(main: TrainConfig, finished: Finished) -> TrainConfig:
        rows = rows_at(share, int(finished[OWN].report["data"]["train"]))
        folder = f"{ABLATIONS}/{Ablation.DATA.value}-{_percent(share)}"
        return derived(main, name, folder, figures_only=True, data=main.data.changed(max_train_rows=rows))

    return Planned(name, configure)


def _check(config: TrainConfig, inputs: Inputs) -> None:
    if not inputs.dataset.test:
        raise InputError(FIELD, "there are no test rows to compare runs on", "give data.test or data.testFraction")
    asked, train = config.evaluation.ablations or [], inputs.dataset.train
    if Ablation.DROPOUT in asked and config.regularization.r_drop_alpha:
        _check_two_passes(config, f"{FIELD}[{asked.index(Ablation.DROPOUT)}]")
    if Ablation.DATA in asked:
        least, fewest = least_rows(train, contents_of(train), config.training.seed), rows_at(min(DATA_SHARES), len(train))
        if fewest < least:
            share = f"{_percent(min(DATA_SHARES))} % of the {len(train)} training rows are {fewest}"
            problem = f"{share}, too few for each class to have one, which takes {least}"
            raise InputError(f"{FIELD}[{asked.index(Ablation.DATA)}]", problem, "give more training rows, or remove data from the list")


def _check_two_passes(config: TrainConfig, field: str) -> None:
    """Raise InputError where R-Drop would compare equal passes without the job's dropout; another model may have its own."""
    control = config.changed(**_without_dropout(config, {}))
    try:
        with ModelChecks(control, rehearse_here=False) as model:
            model.rehearse()
    except InputError as error:
        if error.field != R_DROP:
            raise
        fix = "remove dropout from the list, or set regularization.rDropAlpha to 0"
        raise InputError(field, f"without dropout {error.field} {error.problem}", fix) from error


def _conclude(main: Done, finished: Finished) -> None:
    """Compare the job's own run with its control runs, on the same test rows."""
    own, asked = _measured(main), main.config.evaluation.ablations or []
    effects = [_effect(ablation, main, own, finished[run_name(ablation)]) for ablation in asked if ablation is not Ablation.DATA]
    entries: dict[str, Any] = {"ablations": effects}
    if Ablation.DATA in asked:
        names = {share: run_name(Ablation.DATA, share) for share in DATA_SHARES}
        steps = main.config.training.max_steps is not None
        runs = [*((finished[name], share) for share, name in names.items()), (main, 1.0)]
        points = [(run.report, share, _measured(run)) for run, share in runs if not run.failed]
        curve, entries["dataCurveSays"] = curve_to_wire(points, str(main.report["judgedBy"]), same_steps=steps)
        failed = [{"name": names[share], "share": share, "failed": run.failed} for run, share in runs if run.failed]
        entries["dataCurve"] = sorted([*failed, *curve], key=lambda point: float(point["share"]))
    report = {**main.report, **entries}
    main.place.put(REPORT, json.dumps(report, indent=1, ensure_ascii=False))
    print_effects(report)


def _effect(ablation: Ablation, main: Done, own: Measured, control: Done) -> dict[str, Any]:
    if control.failed:
        return {"name": ablation.value, "failed": control.failed}
    settings = PARTS[ablation].settings(main.config)
    return effect_to_wire(ablation.value, settings, own, _measured(control), control.report)


def _measured(run: Done) -> Measured:
    found = measured_in(run.place)
    if found is None:
        raise InputError("output", f"{run.place.uri()} has no measurement that can be read", "start over with --overwrite")
    return found
