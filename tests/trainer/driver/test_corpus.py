"""domainAdaptation.corpus: which runs come before the job's own, what they are made of, and what is refused before anything is trained.

Whole runs: tests/finetune/cli/test_corpus.py.
"""

from pathlib import Path
from typing import Any

import pytest
from ray.train import WorkerGroupError

from finetune.api.errors import InputError
from finetune.api.sections import Export
from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from tests.trainer.fixtures.causal import tiny_learner
from tests.trainer.fixtures.rows import write_rows
from tests.trainer.fixtures.seq2seq import save_tiny_seq2seq
from trainer.driver.ablations import ablation_plan
from trainer.driver.attempt import plan_of
from trainer.driver.corpus import begin_adapted, stage_of, untouched_of, with_corpus
from trainer.driver.derived import OWN, Done, Plan
from trainer.driver.exits import failure
from trainer.rank.adapting import BudgetExceededError
from trainer.training.figures import TrainingDivergedError

CORPUS = {"sources": [{"path": "/texts"}], "maxSteps": 9, "learningRate": 0.5, "maxSequenceLength": 64, "testFraction": 0.1}
SECTION = {"corpus": CORPUS, "generalEvaluation": [{"path": "/general"}], "maxGeneralPerplexityIncreasePercent": 10, "sweep": [0.5]}
OTHERWISE = {
    "data__testFraction": 0.2,
    "data__maxTrainRows": 100,
    "training": {"epochs": 3, "globalBatchSize": 8, "warmupRatio": 0.1},
    "regularization": {"weightDecay": 0.1, "dropout": 0.2, "labelSmoothing": 0.1, "earlyStopping": {"metric": "bleu"}},
    "augmentation": {"operations": [{"wordDropout": {}}]},
    "evaluation": {"everySteps": 4, "metrics": ["bleu"], "bestMetric": "bleu"},
}


def job(folder: Path = Path("/nowhere"), **changes: Any) -> TrainConfig:
    return train_config(folder, **{**OTHERWISE, "domainAdaptation": SECTION, **changes})


def test_the_corpus_is_learned_by_a_run_of_its_own_with_the_section_that_is_meant_for_it() -> None:
    stage = stage_of(job())
    assert (stage.task, stage.output.directory, stage.exports) == ("language-modeling", "/nowhere/out/adaptation", [Export.MERGED])
    assert stage.data.to_wire() == {"train": [{"path": "/texts"}], "validationFraction": 0.05, "testFraction": 0.1}
    training = stage.training
    assert (training.max_steps, training.epochs, training.learning_rate, training.max_sequence_length) == (9, None, 0.5, 64)
    assert (training.global_batch_size, training.warmup_ratio) == (8, 0.1), "the rest is the job's"
    assert stage.method == job().method
    assert (stage.regularization.weight_decay, stage.regularization.dropout) == (0.1, 0.2)
    assert (stage.regularization.label_smoothing, stage.regularization.early_stopping, stage.augmentation) == (0, None, None)
    assert (stage.evaluation.every_steps, stage.evaluation.best_metric) == (4, None)
    section = stage.adaptation
    assert section is not None
    assert (section.corpus, section.sweep, section.max_general_perplexity_increase_percent) == (None, [0.5], 10)
    alone = stage_of(job(domainAdaptation={"corpus": {"sources": [{"path": "/texts"}], "epochs": 2}}))
    assert alone.domain_adaptation is None
    assert (alone.training.epochs, alone.training.max_sequence_length) == (2, 1024)


def test_the_untouched_model_is_measured_as_the_job_measures_however_long_the_job_trains() -> None:
    base, longer = (untouched_of(job(training={"epochs": epochs, "globalBatchSize": 8})) for epochs in (3, 5))
    assert base.derived is not None
    assert (base.derived.base_only, base.output.directory, base.exports) == (True, "/nowhere/out/adaptation/base", [])
    assert (base.model, base.data, base.evaluation, base.adaptation) == (job().model, job().data, job().evaluation, None)
    assert base.lineage() == longer.lineage()


def test_the_task_begins_with_what_the_corpus_made() -> None:
    main = job()
    plan = with_corpus(main, Plan())
    assert [planned.name for planned in plan.before] == ["untouched model", "domain corpus"]
    adapted = plan.main(main, {}).model.adapted
    assert adapted is not None
    assert adapted.path == "/nowhere/out/adaptation/model/merged"
    assert stage_of(begin_adapted(main)).model == main.model, "the corpus is learned by the model as it was named"
    warning = plan.before[1].warning("data.test: only 7 rows; set data.testFraction to more")
    assert warning == ("domain corpus: domainAdaptation.corpus (test): only 7 rows; set domainAdaptation.corpus.testFraction to more"), (
        "the job has test rows of its own"
    )
    assert [planned.name for planned in with_corpus(job(data__testFraction=None), Plan()).before] == ["domain corpus"], "nothing to measure"
    assert with_corpus(train_config(), Plan()) == Plan()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        pytest.param(
            {"maxSteps": 9, "learningRate": 0.5},
            "fewer domainAdaptation.corpus.maxSteps, domainAdaptation.corpus.learningRate, a longer training.warmupRatio",
            id="steps and a rate of its own",
        ),
        pytest.param(
            {"epochs": 2},
            "fewer domainAdaptation.corpus.epochs, training.learningRate, a longer training.warmupRatio",
            id="the job's rate",
        ),
    ],
)
def test_what_is_said_of_the_corpus_names_the_fields_that_act_on_it(section: dict[str, Any], said: str) -> None:
    stage = with_corpus(job(domainAdaptation={"corpus": {"sources": [{"path": "/texts"}], **section}}), Plan()).before[1]
    own = "fewer training.epochs, training.learningRate, a longer training.warmupRatio"
    assert stage.warning(own) == f"domain corpus: {said}"
    assert stage.warning("raise training.maxSequenceLength") == "domain corpus: raise domainAdaptation.corpus.maxSequenceLength"
    assert stage.warning("/folder/data.train and data.trainer, x.data.train") == (
        "domain corpus: /folder/data.train and data.trainer, x.data.train"
    ), "no other name that has one of a field in it"


def test_every_run_error_of_the_corpus_names_the_fields_that_act_on_it_and_stays_what_it_was() -> None:
    stage = with_corpus(job(), Plan()).before[1]
    errors: list[Exception] = [
        BudgetExceededError("lower training.learningRate, replay more (domainAdaptation.replay.share)"),
        WorkerGroupError("rank 0 failed", {0: TrainingDivergedError("step 3: loss nan; lower training.learningRate")}),
        InputError("training.maxSequenceLength", "data.train has nothing in it", "raise it"),
        WorkerGroupError("rank 1 failed", {0: InputError("data.train", "no texts", "give some"), 1: ValueError("training.learningRate")}),
    ]
    said = []
    for error in errors:
        with pytest.raises(type(error)) as raised, stage.naming_fields_of_the_job():
            raise error
        assert raised.value is error
        said.append(failure(error).outcome)
    rate = "lower domainAdaptation.corpus.learningRate"
    assert [(end.reason, end.message) for end in said] == [
        ("GeneralBudgetExceeded", f"{rate}, replay more (domainAdaptation.replay.share)"),
        ("TrainingDiverged", f"step 3: loss nan; {rate}"),
        ("InputInvalid", "domainAdaptation.corpus.maxSequenceLength: domainAdaptation.corpus.sources has nothing in it; raise it"),
        ("InputInvalid", "domainAdaptation.corpus.sources: no texts; give some"),
    ]
    assert (errors[2].field, errors[2].fix) == ("domainAdaptation.corpus.maxSequenceLength", "raise it")  # type: ignore[attr-defined]


def test_without_domain_adaptation_the_task_begins_with_the_untouched_model() -> None:
    main = begin_adapted(job(evaluation__ablations=["domainAdaptation", "weightDecay"]))
    without, other = (planned.configure(main, {OWN: Done(main, {})}) for planned in ablation_plan(main).after)
    assert (without.model, without.domain_adaptation) == (job().model, None)
    assert other.model == main.model, "other control runs begin with what the corpus made, as the job does"
    replaying = {"replay": {"sources": [{"path": "/other"}]}, "generalEvaluation": [{"path": "/general"}]}
    main = job(domainAdaptation=replaying, evaluation__ablations=["domainAdaptation"])
    [planned] = ablation_plan(main).after
    section = planned.configure(main, {OWN: Done(main, {})}).adaptation
    assert section is not None
    assert section.to_wire() == {"generalEvaluation": [{"path": "/general"}]}
    with pytest.raises(InputError, match=r"^evaluation\.ablations\[0\]: the job has neither corpus nor replay; remove domainAda"):
        ablation_plan(train_config(evaluation__ablations=["domainAdaptation"]))


def rows(folder: Path, corpus: str) -> TrainConfig:
    write_rows(folder / "train.jsonl", 40)
    (folder / "corpus.jsonl").write_text(corpus)
    return train_config(
        folder, data__testFraction=0.2, training__maxSequenceLength=64,
        domainAdaptation={"corpus": {"sources": [{"path": str(folder / "corpus.jsonl")}], "epochs": 1}},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("corpus", "says"),
    [
        ('{"text": "one"}\n{"texts": "two"}\n', r"^domainAdaptation\.corpus\.sources\[0\].* line 2 "),
        (
            '{"text": "one"}\n{"text": "two"}\n',
            r"^domainAdaptation\.corpus\.validationFraction: 2 different prompts cannot be divided into 3",
        ),
    ],
    ids=["a row without text", "too few texts"],
)
def test_a_corpus_that_cannot_be_learned_is_refused_before_anything_is_measured(tmp_path: Path, corpus: str, says: str) -> None:
    tiny_learner(tmp_path / "model")
    config = rows(tmp_path, corpus)
    with pytest.raises(InputError, match=says):
        plan_of(config).ahead(config)
    assert not (tmp_path / "out").exists()


def test_a_control_run_that_cannot_be_compared_is_refused_before_the_corpus_is_learned(tmp_path: Path) -> None:
    tiny_learner(tmp_path / "model")
    config = rows(tmp_path, "".join(f'{{"text": "text {number}"}}\n' for number in range(50)))
    config = config.changed(data=config.data.changed(test_fraction=None), evaluation={"ablations": ["domainAdaptation"]})
    with pytest.raises(InputError, match=r"^evaluation\.ablations: there are no test rows to compare runs on"):
        plan_of(config).ahead(config)


def test_a_check_says_how_much_of_the_corpus_is_learned_and_for_how_long(tmp_path: Path) -> None:
    tiny_learner(tmp_path / "model")
    config = rows(tmp_path, "".join(f'{{"text": "text {number}"}}\n' for number in range(200)))
    assert not plan_of(config).begun(config)
    first, *lines = plan_of(config).ahead(config)
    assert first == "before the task, domainAdaptation.corpus:"
    assert any(line.split()[:1] == ["rows"] and " train, " in line for line in lines)
    assert any(line.split()[:1] == ["training"] and line.endswith(" steps of 32 rows") for line in lines)
    assert any("adaptation/model/merged" in line for line in lines), "the adapter belongs to another model"


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    save_tiny_seq2seq(tmp_path / "model", "t5")
    config = rows(tmp_path, '{"text": "one"}\n').changed(task="text-generation")
    with pytest.raises(
        InputError, match=r"^domainAdaptation\.corpus: an encoder-decoder does not learn plain texts, .*; remove it, or give"
    ):
        plan_of(config).ahead(config)
