"""What a command asks of the program that uses a model arrives as it was meant."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from finetune.api.tasks import TaskName
from finetune.api.using import Chat, ChosenModel, Decoding, Predict

MODEL = ChosenModel(name="/runs/one", task=TaskName.TRANSLATION, base_model=Path("/models/base"))


def test_a_request_is_read_as_it_was_written() -> None:
    asked = Predict(model=MODEL, base=True, input=Path("rows.jsonl"), languages=("en", "de"), decoding=Decoding(temperature=0.7, top_p=0.9))
    assert Predict.model_validate_json(asked.model_dump_json(by_alias=True, exclude_none=True)) == asked


def test_the_likeliest_token_is_taken_unless_a_temperature_is_given() -> None:
    assert not Chat(model=MODEL).decoding.draws
    assert Decoding(temperature=0.1).draws


@pytest.mark.parametrize("decoding", [{"temperature": -1}, {"topP": 0}, {"topP": 1.5}, {"topK": 0}, {"beams": 0}])
def test_numbers_that_mean_nothing_are_refused(decoding: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Decoding.model_validate(decoding)
