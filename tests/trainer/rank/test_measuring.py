"""A validation gives the figures that the task promises; an undefined figure is reported once, as a warning with its reason."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from finetune.api.metrics import MetricName
from finetune.api.tasks import TASKS, TaskName
from tests.builders import train_config
from tests.trainer.fixtures.causal import tiny_model, tiny_tokenizer
from tests.trainer.fixtures.stored import examples_of, stored_pieces
from tests.trainer.tasks.samples import SAMPLES
from trainer.data.records import Record
from trainer.engine.base import EngineSettings
from trainer.engine.ddp import DdpEngine
from trainer.engine.optimizer import AdamW
from trainer.evaluation.measurement import Measurement
from trainer.evaluation.metrics.base import Figure
from trainer.evaluation.metrics.registry import left_out_finding
from trainer.rank.ledger import Ledger
from trainer.rank.measuring import Measuring, warn_left_out
from trainer.rank.outbox import Outbox
from trainer.rank.rows import Rows
from trainer.reporting.messages import Silent
from trainer.tasks.registry import task_of

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


@pytest.mark.parametrize("name", list(TASKS))
def test_a_validation_gives_the_figures_of_the_task_s_facts_and_no_others(name: TaskName) -> None:
    task, tokenizer, config = task_of(name), tiny_tokenizer(), train_config(task=name.value)
    task.prepare(tokenizer, None)
    records = [Record(f"line {number}", row.values) for number, row in enumerate(SAMPLES[name].rows, 1)]
    examples, pieces = examples_of(records, task=task)[0], []
    for example in examples:
        pieces += task.encode(example, tokenizer, config.training.max_sequence_length)
    engine = DdpEngine(tiny_model(), EngineSettings(AdamW(0.0), 1.0, 1, 1), torch.device("cpu"), bfloat16=False)
    stored = stored_pieces(pieces)
    rows, between = Rows(stored, stored.samples, stored.samples), []
    loaded = cast(Any, SimpleNamespace(engine=engine, tokenizer=tokenizer))
    measuring = Measuring(config, cast(Any, SimpleNamespace(validation=examples)), loaded, rows, Ledger(), Outbox(Silent(), ()))

    found = measuring.validate(lambda: between.append("batch"))

    assert tuple(found.figures) == TASKS[name].validated
    assert found.score(3) is not None
    assert between


def test_the_record_has_no_value_for_it() -> None:
    assert MEASURED.values() == {"chrf": 12.0}
