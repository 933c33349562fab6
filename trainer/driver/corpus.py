"""domainAdaptation.corpus as a plan: two runs before the job's own, one that measures the untouched model and one that learns the corpus.

The job's own run begins with the model that the second one exports. Its base figures are those of the first one, on the test rows of the
task, so that they show what corpus and task brought together. The untouched model comes first, because that run reads the job's rows: a
corpus is not learned for rows that are refused then. Tests: tests/trainer/driver/test_corpus.py, tests/finetune/cli/test_corpus.py
(whole runs).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from finetune.api.adaptation import CORPUS, Corpus
from finetune.api.errors import InputError
from finetune.api.evaluation import Evaluation
from finetune.api.results import ADAPTATION, BASE_ONLY, MODEL, missing_results
from finetune.api.sections import Export, Regularization
from finetune.api.sources import Data
from finetune.api.tasks import ModelFamily, TaskName
from finetune.api.trainconfig import AdaptedModel, TrainConfig
from trainer.data.datafolder import data_of_a_check
from trainer.driver.derived import Plan, Planned, derived
from trainer.model.earlier import ADAPTER_NEEDS_STAGE, untouched
from trainer.model.location import locate
from trainer.preflight.architecture import configuration_of, family_of
from trainer.preflight.inputs import Inputs, check_inputs
from trainer.storage.kinds import output_place
from trainer.storage.ownership import RUN_FILE, Ownership

STAGE, UNTOUCHED = "domain corpus", "untouched model"
"""Names of the two runs."""


def with_corpus(config: TrainConfig, plan: Plan) -> Plan:
    """Return the plan of a job with the runs that come before its own; unchanged for a job without a corpus."""
    corpus = corpus_of(config)
    if corpus is None:
        return plan
    stage = Planned(STAGE, lambda main, _: stage_of(main), fields_of(corpus))
    untouched = [Planned(UNTOUCHED, lambda main, _: untouched_of(main))] if has_test_rows(config) else []
    return replace(
        plan,
        before=[*untouched, stage],
        ahead=lambda main: look_ahead(main, stage, plan.check),
        begun=lambda main: RUN_FILE in output_place(stage_of(main).output).names(),
        today=adapted_today,
        main=lambda main, _: begin_adapted(main),
    )


def corpus_of(config: TrainConfig) -> Corpus | None:
    """Return the corpus that a job learns before its task."""
    return config.domain_adaptation.corpus if config.domain_adaptation is not None else None


def fields_of(corpus: Corpus) -> dict[str, str]:
    """Return what the run that learns a corpus calls its settings, and what they are called in the job, whose own do nothing in it."""
    length = "epochs" if corpus.max_steps is None else "maxSteps"  # it has one of them
    found = {
        "data.train": f"{CORPUS}.sources",
        "data.validationFraction": f"{CORPUS}.validationFraction",
        "data.testFraction": f"{CORPUS}.testFraction",
        "data.validation": f"{CORPUS} (validation)",
        "data.test": f"{CORPUS} (test)",
        "training.epochs": f"{CORPUS}.{length}",
        "training.maxSteps": f"{CORPUS}.{length}",
        "training.maxSequenceLength": f"{CORPUS}.maxSequenceLength",
    }
    return found | ({"training.learningRate": f"{CORPUS}.learningRate"} if corpus.learning_rate is not None else {})


def has_test_rows(config: TrainConfig) -> bool:
    """Return whether a job measures anything on test rows."""
    return config.data.test is not None or config.data.test_fraction is not None


def stage_of(main: TrainConfig) -> TrainConfig:
    """Return the configuration of the run that learns the corpus.

    What belongs to the rows of the task is left out of it: augmentation, early stopping, smoothing of labels, R-Drop, the pull to the base.
    """
    section, corpus = main.domain_adaptation, corpus_of(main)
    if section is None or corpus is None:
        raise ValueError("the job has no corpus")
    others = (section.replay, section.general_evaluation, section.domain_evaluation)
    length = corpus.max_sequence_length or main.training.max_sequence_length
    rate = corpus.learning_rate or main.training.learning_rate
    regularization = Regularization(weight_decay=main.regularization.weight_decay, dropout=main.regularization.dropout)
    return derived(
        main,
        STAGE,
        ADAPTATION,
        export=[Export.MERGED],
        task=TaskName.LANGUAGE_MODELING,
        data=Data(train=corpus.sources, validation_fraction=corpus.validation_fraction, test_fraction=corpus.test_fraction),
        training=main.training.changed(
            epochs=corpus.epochs, max_steps=corpus.max_steps, learning_rate=rate, max_sequence_length=length
        ),
        regularization=regularization,
        augmentation=None,
        evaluation=Evaluation(every_steps=main.evaluation.every_steps),
        domain_adaptation=section.changed(corpus=None) if any(others) else None,
        model=main.model.changed(adapted=None),
        lengthen=False,
    )  # fmt: skip


def untouched_of(main: TrainConfig) -> TrainConfig:
    """Return the configuration of the run that measures the model as it was named, however long the job trains."""
    return derived(
        main,
        UNTOUCHED,
        BASE_ONLY,
        figures_only=True,
        base_only=True,
        domain_adaptation=None,
        training=main.training.changed(epochs=None, max_steps=1),
        model=main.model.changed(adapted=None),
        lengthen=False,
    )


def begin_adapted(main: TrainConfig) -> TrainConfig:
    """Return the configuration of the job's own run, which begins with the model that learned the corpus."""
    folder = Path(main.output.directory) / ADAPTATION / MODEL / Export.MERGED.value
    return main.changed(model=main.model.changed(adapted=AdaptedModel(path=str(folder))))


def adapted_today(main: TrainConfig) -> TrainConfig:
    """Return the same where the corpus was learned, otherwise the job as it is.

    Raises InputError where the job's own run has begun with a model that is not there any more.
    """
    stage = output_place(stage_of(main).output)
    if not missing_results(stage, [Export.MERGED]):
        return begin_adapted(main)
    if RUN_FILE in output_place(main.output).names():
        problem = f"the model that learned it is gone from {stage.uri()}, and the run in {main.output.directory} began with that"
        raise InputError(CORPUS, problem, "restore it, or start over with --overwrite")
    return main


def look_ahead(main: TrainConfig, stage: Planned, check: Callable[[TrainConfig, Inputs], None]) -> Sequence[str]:
    """Check the corpus, and the job's own rows if no run before its own reads them; return what `finetune check` says of the corpus."""
    config, directory = stage.configure(main, {}), Path(main.output.directory)
    if not has_test_rows(main):
        with data_of_a_check(directory) as data:
            check(main, check_inputs(main, data, rehearse_here=False))
    refuse_encoder_decoder(main)
    with stage.naming_fields_of_the_job(), data_of_a_check(directory) as data:
        inputs = check_inputs(config, data, rehearse_here=False)
        Ownership.of(config, inputs.digests(config)).finished()  # raises where its folder holds another run
        lines = inputs.describe(config)
    shown = [line for line in lines if not line.startswith(("model ", "workers "))]
    findings = [f"  finding     {ADAPTER_NEEDS_STAGE}"] if Export.ADAPTER in main.exports else []
    return [f"before the task, {CORPUS}:", *(f"  {stage.in_fields_of_the_job(line)}" for line in shown), *findings]


def refuse_encoder_decoder(config: TrainConfig) -> None:
    """Raise InputError for a kind of model that does not learn plain texts."""
    if family_of(configuration_of(locate(untouched(config.model), weights=False))) is ModelFamily.SEQ2SEQ:
        problem = f"an encoder-decoder does not learn plain texts, as task {TaskName.LANGUAGE_MODELING} is not offered for it"
        raise InputError(CORPUS, problem, "remove it, or give an encoder such as BERT, or a causal language model")
