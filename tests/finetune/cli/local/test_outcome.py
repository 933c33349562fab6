"""The last words of a run say what its user has to know."""

from pathlib import Path

import pytest

from finetune.api.record import STOPPED, Outcome, Result
from finetune.cli.local.configuration import Folders
from finetune.cli.local.outcome import Ended, LogTail, report_end
from finetune.cli.local.screen import Screen


class Said(Screen):
    """A screen that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


NOT_WRITTEN = "stopped on request; on the way: OSError: the checkpoint of step 14 could not be written: No space left on device"


@pytest.mark.parametrize(
    ("message", "before"),
    [
        pytest.param(STOPPED, [], id="a plain stop"),
        pytest.param(NOT_WRITTEN, [NOT_WRITTEN], id="a checkpoint that could not be written"),
        pytest.param("stopped; why:\nfirst\n\nsecond", ["stopped; why:", "  first", "  second"], id="several lines"),
    ],
)
def test_an_interruption_that_lost_something_says_so(tmp_path: Path, message: str, before: list[str]) -> None:
    ended = Ended(Outcome(result=Result.INTERRUPTED, reason="Interrupted", message=message), reported=True, last_checkpoint=12)
    screen = Said()

    report_end(ended, Folders(tmp_path, tmp_path), LogTail(tmp_path / "log", 0), "finetune run job.yaml", screen)

    assert screen.lines == [*before, "interrupted after the checkpoint at step 12; continue with: finetune run job.yaml"]
