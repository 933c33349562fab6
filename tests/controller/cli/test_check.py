"""`finetune check` tells everything that can be told before Ray starts, and writes nothing."""

from pathlib import Path
from typing import Any

import pytest

from controller.cli.check import check
from controller.cli.machine import Machine
from controller.cli.problems import BadInputError
from tests.controller.cli.builders import CONFIG_MAP, job, standin, write


def checked(folder: Path, behaviour: str, **changes: Any) -> int:
    return check(write(folder, CONFIG_MAP, job(**changes)), {}, Machine(2, 0), standin(behaviour))


def test_a_good_job_is_told_with_what_would_be_done(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert checked(tmp_path, "found", spec__distributed={"workers": 2, "deepspeed": {"zeroStage": 2}}, spec__resources={"cpu": "1"}) == 0
    assert capfd.readouterr().out.splitlines() == [
        "job support-bot: chat, LoRA of rank 8, 1 epoch, 8 rows a step",
        "workers: 2 with 1 CPU each, DeepSpeed ZeRO-2",
        "output: adapter model, report and checkpoints, in the folder of --output",
        "warning: without effect here, they are for a cluster: spec.resources.cpu",
        "train: 3 rows",
        f"{tmp_path}/job.yaml can be run: finetune run {tmp_path}/job.yaml --output DIR",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["job.yaml"]


def test_bad_data_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"^data\.train\[0\]\.path: line 3 is no JSON; mend it$"):
        checked(tmp_path, "refuse")


def test_a_check_that_breaks_is_no_fault_of_the_user(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert checked(tmp_path, "fail") == 1
    assert "  the last words\nfailed: " in capfd.readouterr().out
