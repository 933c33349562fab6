"""Warnings of a run go to the driver and stay for the report."""

from typing import Any

import pytest

from finetune.api.record import WARNINGS_MAX
from trainer.rank.outbox import Outbox


class Driver:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, **changes: Any) -> None:
        self.sent.append(changes)

    def stop_requested(self, wait_seconds: float = 0.0) -> bool:
        return wait_seconds > 0


def test_a_warning_of_the_run_comes_before_those_about_the_data(caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver()
    outbox = Outbox(driver, ["row 3 is long"])
    outbox.warn("a checkpoint is damaged")
    assert outbox.warnings == driver.sent[-1]["warnings"] == ["a checkpoint is damaged", "row 3 is long"]
    assert "a checkpoint is damaged" in caplog.text


def test_the_driver_gets_as_many_warnings_as_a_record_holds() -> None:
    driver = Driver()
    outbox = Outbox(driver, [f"row {number}" for number in range(WARNINGS_MAX)])
    outbox.warn("the newest")
    assert (len(outbox.warnings), len(driver.sent[-1]["warnings"])) == (WARNINGS_MAX + 1, WARNINGS_MAX)


def test_the_request_to_stop_is_the_drivers() -> None:
    outbox = Outbox(Driver())
    assert (outbox.stop_requested(), outbox.stop_requested(0.1)) == (False, True)


def test_what_gets_on_without_news_gives_a_sign_of_life_once_a_minute() -> None:
    driver, seconds = Driver(), [0.0]
    outbox = Outbox(driver, clock=lambda: seconds[0])
    for second in range(150):  # a batch a second
        seconds[0] = float(second)
        outbox.stop_requested() if second % 2 else outbox.gets_on()
    assert driver.sent == [{"pulse": 1}, {"pulse": 2}]
