"""A message names fields of the record."""

from finetune.api.record import ProgressRecord
from trainer.reporting.messages import RecordUpdate

SET_BY_THE_DRIVER = {"attempt", "cluster", "sequence", "time"}


def test_every_field_of_the_record_is_the_drivers_own_or_can_be_changed_by_a_message() -> None:
    assert set(ProgressRecord.model_fields) == SET_BY_THE_DRIVER | set(RecordUpdate.__annotations__)
