"""A validation gives the figures that the task promises; an undefined figure is reported once, as a warning with its reason."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from finetune.api.metrics import MetricName
from finetune.api.tasks import TASKS, ModelFamily, TaskName
from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from tests.trainer.fixtures.batches import forward_of
from tests.trainer.fixtures.causal import tiny_model, tiny_tokenizer
from tests.trainer.fixtures.learned import causal_task
from tests.trainer.fixtures.stored import examples_of, stored_pieces
from tests.trainer.tasks.samples import SAMPLES
from trainer.data.records import Record
from trainer.driver.corpus import begin_adapted
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.metrics.base import Figure
from trainer.evaluation.metrics.registry import left_out_finding
from trainer.model.lora import apply_method
from trainer.model.loralinear import fuse_adapters
from trainer.rank.basefigures import base_guesses
from trainer.rank.ledger import Ledger
from trainer.rank.measuring import Measuring, warn_left_out
from trainer.rank.outbox import Outbox
from trainer.rank.rows import Rows
from trainer.reporting.messages import Silent

LEARNED = [name for name, facts in TASKS.items() if ModelFamily.CAUSAL in facts.families]
REASON = "no answer has the 4 tokens that BLEU needs"
MEASURED = Measurement({MetricName.BLEU: Figure(None, reason=REASON), MetricName.CHRF: Figure(12.0)})


@pytest.mark.parametrize(
    ("findings", "said"),
    [
        pytest.param((), [f"evaluation.metrics: bleu of the tuned model is left out: {REASON}"], id="by the answers"),
        pytest.param((left_out_finding("bleu", REASON),), [left_out_finding("bleu", REASON)], id="known before training"),
    ],
)
def test_a_figure_that_is_left_out_is_warned_of_once(findings: tuple[str, ...], said: list[str]) -> None:
    outbox = Outbox(Silent(), findings)
    warn_left_out(MEASURED, "tuned", outbox)
    assert outbox.warnings == said


def measuring_of(config: TrainConfig) -> Measuring:
    """Return what measures a tiny model with the job's method, on the sample rows of its task."""
    task, tokenizer = causal_task(config), tiny_tokenizer()
    task.prepare(tokenizer, None)
    records = [Record(f"line {number}", row.values) for number, row in enumerate(SAMPLES[config.task].rows, 1)]
    examples, pieces = examples_of(records, task=task)[0], []
    for example in examples:
        pieces += task.encode(example, tokenizer, config.training.max_sequence_length)
    model = apply_method(tiny_model(positions=512), config.method, config.regularization, 1, task.objective.family)
    fuse_adapters(model)
    engine = DdpEngine(model, EngineSettings(AdamW(0.0), 1.0, 1, 1), torch.device("cpu"))
    stored = stored_pieces(pieces)
    rows, dataset = Rows(stored, stored.samples, stored.samples), SimpleNamespace(validation=examples, test=examples)
    loaded = cast(Any, SimpleNamespace(engine=engine, forward=forward_of(engine), tokenizer=tokenizer, packed=False))
    return Measuring(task, config, cast(Any, dataset), loaded, rows, Ledger(), Outbox(Silent(), ()))


@pytest.mark.parametrize("name", LEARNED)
def test_a_validation_gives_the_figures_of_the_task_s_facts_and_no_others(name: TaskName) -> None:
    measuring, between = measuring_of(train_config(task=name.value)), []

    found = measuring.validate(lambda: between.append("batch"))

    assert tuple(found.figures) == measuring.task.route.validated
    assert found.score(3) is not None
    assert between


def test_a_validation_writes_answers_where_a_metric_of_text_chooses_the_weights() -> None:
    generation = {"maxNewTokens": 4, "samples": 2}
    config = train_config(evaluation={"metrics": ["perplexity"], "bestMetric": "chrf", "generation": generation})
    measuring = measuring_of(config)

    found = measuring.validate(lambda: None)

    assert set(found.figures) == {"perplexity", "bitsPerByte", "chrf"}
    score = found.score(3)
    assert score is not None
    assert (score.metric, score.direction) == (MetricName.CHRF, "higher")
    assert found.watched is MetricName.PERPLEXITY
    tuned = measuring.final(3)
    assert measuring.ledger.metrics.score == tuned.score(MetricName.CHRF, 3)


def test_the_models_are_compared_on_rank_0_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.evaluation.comparison.LEAST_ROWS", 2)
    measuring = measuring_of(train_config(evaluation={"metrics": ["chrf"], "generation": {"maxNewTokens": 4, "samples": 3}}))
    found = measuring.final(3)

    assert set(measuring.compared(found, found, guessed=False).difference) == {"perplexity", "bitsPerByte", "chrf"}
    assert measuring.ledger.metrics.compared[MetricName.PERPLEXITY].verdict == "no clear difference"
    measuring.loaded.engine.rank = 1
    assert measuring.compared(found, found, guessed=False).base == {}


def test_no_likelihood_is_better_or_worse_than_that_of_a_base_that_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.evaluation.comparison.LEAST_ROWS", 2)
    measuring = measuring_of(train_config(evaluation={"metrics": ["chrf"], "generation": {"maxNewTokens": 4, "samples": 3}}))
    found = measuring.final(3)

    compared = measuring.compared(found, found, guessed=True)

    assert set(compared.difference) == {"chrf"}
    noted = measuring.ledger.metrics.compared
    assert {name: one.verdict for name, one in noted.items()} == {"perplexity": None, "bitsPerByte": None, "chrf": "no clear difference"}
    assert compared.tuned[MetricName.PERPLEXITY].interval is not None
    assert noted[MetricName.PERPLEXITY].interval is not None, "the tuned model's own figure is as certain as any"


@pytest.mark.parametrize(("kind", "guessed"), [("random", True), ("pretrained", False)])
def test_where_a_corpus_was_learned_the_base_that_may_guess_is_the_model_before_it(tmp_path: Path, kind: str, guessed: bool) -> None:
    adapted = begin_adapted(train_config(tmp_path))
    stage = Path(adapted.output.directory) / "adaptation" / "report.json"
    stage.parent.mkdir(parents=True)
    stage.write_text(json.dumps({"model": {"initialization": kind, "headIsNew": False}}))
    knows, drawn = (cast(Any, SimpleNamespace(guesses=guesses)) for guesses in (False, True))
    assert base_guesses(adapted, knows) is guessed
    assert base_guesses(train_config(tmp_path), knows) is False
    assert base_guesses(train_config(tmp_path), drawn) is True


@pytest.mark.parametrize("name", LEARNED)
def test_the_base_model_is_measured_after_training_as_it_would_have_been_before(name: TaskName) -> None:
    dropout = {"dropout": 0.3}
    method, generation = {"lora": {"rank": 4, **dropout}}, {"maxNewTokens": 8, "samples": 2}
    measuring = measuring_of(train_config(task=name.value, method=method, regularization=dropout, evaluation__generation=generation))
    model = measuring.loaded.engine.model
    before, trained = measuring.final(0), [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.no_grad():
        for parameter in trained:
            parameter.normal_(std=0.2)
    tuned = measuring.final(5)

    assert measuring.baseline() == before

    assert tuned.figures != before.figures
    assert measuring.final(5) == tuned
    assert [parameter for parameter in model.parameters() if parameter.requires_grad] == trained
    assert model.training


@pytest.mark.parametrize(
    ("method", "step"), [pytest.param({"lora": {"rank": 4}}, 5, id="after training"), pytest.param({"full": {}}, 0, id="before training")]
)
def test_the_base_model_s_score_is_the_job_s_only_until_a_newer_one_is_known(method: dict[str, Any], step: int) -> None:
    measuring = measuring_of(train_config(method=method, evaluation__metrics=["perplexity"]))
    measuring.ledger.note(score=measuring.validate(lambda: None).score(5))

    found = measuring.baseline()

    assert measuring.ledger.metrics.baseline == found.values()
    assert measuring.ledger.metrics.score is not None
    assert measuring.ledger.metrics.score.step == step
    assert found.score(measuring.task.route.score, 0) is not None


def test_the_record_has_no_value_for_it() -> None:
    assert MEASURED.values() == {"chrf": 12.0}
