"""A metric that cannot be measured of the job's model or rows is refused with its field, before training."""

from dataclasses import replace
from typing import Any

import pytest

from finetune.api.errors import InputError
from finetune.api.metrics import MetricName, Needs
from finetune.api.tasks import ModelFamily, Route
from tests.builders import train_config
from tests.trainer.fixtures.examples import chat, dataset
from tests.trainer.fixtures.learned import causal_task
from trainer.preflight.measured import refuse_undefined, refuse_unmeasured

TOKENS_ALONE = Route(ModelFamily.CAUSAL, (Needs.TOKEN_SUMS,), MetricName.PERPLEXITY)
"""A kind of model of which no text is measured."""


@pytest.mark.parametrize(
    ("sections", "field"),
    [
        pytest.param({"evaluation": {"metrics": ["perplexity", "chrf"]}}, "evaluation.metrics", id="listed"),
        pytest.param({"evaluation": {"bestMetric": "chrf"}}, "evaluation.bestMetric", id="chooses the weights"),
        pytest.param({"regularization": {"earlyStopping": {"metric": "chrf"}}}, "regularization.earlyStopping.metric", id="stops early"),
    ],
)
def test_a_metric_that_this_kind_of_model_lacks_is_refused(sections: dict[str, Any], field: str) -> None:
    config = train_config(**sections)
    with pytest.raises(InputError) as refused:
        refuse_unmeasured(config, TOKENS_ALONE)
    assert refused.value.field == field
    assert "chrf is not measured of task chat with this model, which is of the kind causal" in str(refused.value)
    assert "this kind has perplexity and bitsPerByte" in str(refused.value)
    refuse_unmeasured(config, replace(TOKENS_ALONE, measured_from=(Needs.TOKEN_SUMS, Needs.GENERATED_TEXT)))


def test_training_is_not_steered_by_what_the_validation_rows_leave_undefined(tokenizer: Any) -> None:
    config = train_config(evaluation={"bestMetric": "bleu"})
    task, train = causal_task(config), [chat("a", "b")]
    short, long = ([chat(f"question {number}?", answer) for number in range(3)] for answer in ("Yes.", "yes it is so"))
    with pytest.raises(InputError, match="bleu is undefined on the validation rows: 0 of 3 references have the 4 tokens"):
        refuse_undefined(task, dataset(train, short, long), tokenizer, config)
    refuse_undefined(task, dataset(train, long, short), tokenizer, config)
    refuse_undefined(task, dataset(train, short, long), tokenizer, train_config())


def test_the_rows_of_every_source_are_looked_at(tokenizer: Any) -> None:
    config = train_config(evaluation={"bestMetric": "bleu", "generation": {"samples": 2}})
    short = [chat(f"question {number}?", "Yes.", origin="data.validation[0] line 1") for number in range(3)]
    long = [chat("question?", "yes it is so", origin="data.validation[1] line 1")]
    refuse_undefined(causal_task(config), dataset([chat("a", "b")], [*short, *long], short), tokenizer, config)
    with pytest.raises(InputError, match="0 of 2 references"):
        refuse_undefined(causal_task(config), dataset([chat("a", "b")], short, short), tokenizer, config)
