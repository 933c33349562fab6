"""A run can be watched on a terminal and read in a log file."""

import io

from rich.console import Console

from finetune.api.record import Stage
from finetune.cli.local.screen import BarScreen, PlainScreen
from tests.finetune.cli.records import record


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_without_a_terminal_a_line_comes_every_few_seconds_and_at_the_last_step() -> None:
    stream, clock = io.StringIO(), Clock()
    screen = PlainScreen(stream, clock)
    for step, now in [(1, 0.0), (2, 5.0), (3, 11.0), (3, 30.0), (9, 31.0), (10, 32.0)]:
        clock.now = now
        screen.show(record(step=step))
    assert [line.split(" · ")[0] for line in stream.getvalue().splitlines()] == ["step 1/10", "step 3/10", "step 9/10", "step 10/10"]


def test_other_stages_than_training_have_no_progress_lines() -> None:
    stream = io.StringIO()
    PlainScreen(stream).show(record(Stage.FINAL, step=10))
    assert stream.getvalue() == ""


def test_a_reader_that_is_gone_does_not_end_the_run() -> None:
    written = []

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            raise BrokenPipeError

    PlainScreen(Gone()).say("a line")
    assert written == ["a line\n"], "the reader was written to, and its absence ended nothing"


def test_on_a_terminal_lines_stand_above_the_bar_and_keep_their_colors() -> None:
    stream = io.StringIO()
    screen = BarScreen(Console(file=stream, force_terminal=True, width=100, color_system="standard"))
    screen.show(record(step=3))
    screen.say("\x1b[31mred\x1b[0m [not markup]")
    screen.close()
    assert "\x1b[31mred\x1b[0m [not markup]" in stream.getvalue()
    assert "step 3/10" in stream.getvalue()


def test_the_words_beside_the_bar_are_no_markup() -> None:
    stream = io.StringIO()
    screen = BarScreen(Console(file=stream, force_terminal=True, width=100))
    shown = record(step=3)
    assert shown.progress is not None
    screen.show(shown.model_copy(update={"progress": shown.progress.model_copy(update={"run": "[/INST]"})}))
    screen.close()
    assert "[/INST]: training" in stream.getvalue()


def test_the_time_goes_on_after_the_last_step() -> None:
    stream, clock = io.StringIO(), Clock()
    screen = BarScreen(Console(file=stream, force_terminal=True, width=100), clock)
    clock.now = 65.0
    screen.show(record(step=10))
    clock.now = 3725.0
    screen.show(record(Stage.EXPORTING, step=10))
    screen.close()
    assert "1:02:05" in stream.getvalue()
