"""The picture of the terminal in the README shows a run of this version, and loads nothing from elsewhere."""

import re
import xml.etree.ElementTree as ElementTree

from finetune.api.metrics import METRICS
from finetune.api.tasks import TASKS, ModelFamily, TaskName
from finetune.cli.jobfile.reading import read_job_file
from scripts.draw_terminal import drawing, lasting_lines
from tests.repository import REPOSITORY

PICTURE = (REPOSITORY / "docs/terminal.svg").read_text()


def shown(picture: str) -> str:
    """Return the text of a picture, with plain blanks."""
    return " ".join("".join(ElementTree.fromstring(picture).itertext()).split())  # noqa: S314 our own file


def test_a_line_that_was_drawn_over_is_shown_as_it_was_left() -> None:
    capture = "\x1b[?25lstarting ━━\r\x1b[2Ktraining\r\nstarting ━\r\x1b[2Kdone ━━\r\nRay dashboard: http://127.0.0.1\r\n"
    assert lasting_lines(capture) == ["training", "done ━━"]


def test_the_picture_has_the_command_and_what_it_printed() -> None:
    text = shown(drawing("\x1b[32mtraining\x1b[0m\r\n", "make run"))
    assert "$ make run" in text
    assert "training" in text


def test_the_committed_picture_shows_every_metric_of_the_quickstart_under_its_heading() -> None:
    text = shown(PICTURE)
    evaluation = read_job_file(REPOSITORY / "manifests/samples/quickstart.yaml").spec.evaluation
    assert all(METRICS[name].heading in text for name in evaluation.metrics_of(TASKS[TaskName.CHAT].on(ModelFamily.CAUSAL)))
    assert "$ make run" in text


def test_the_committed_picture_loads_nothing_and_names_no_folder_outside_the_checkout() -> None:
    assert re.findall(r"(?:href|src|url)\s*[=(]\s*[\"']?(?!#)(\S+)", PICTURE.replace("url(#", "")) == []
    assert not re.search(r"/(tmp|root|home|work)/", shown(PICTURE))
