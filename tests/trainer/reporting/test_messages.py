"""A message names fields of the record."""

from finetune.api.record import ProgressRecord
from trainer.reporting.messages import RecordUpdate

SET_BY_THE_DRIVER = {"attempt", "cluster", "sequence", "time"}
FOR_THE_DRIVER = {"pulse"}
"""A sign of life: the record that it brings about is what others see of it."""


def test_every_field_of_the_record_is_the_drivers_own_or_can_be_changed_by_a_message() -> None:
    assert set(ProgressRecord.model_fields) == SET_BY_THE_DRIVER | (set(RecordUpdate.__annotations__) - FOR_THE_DRIVER)
