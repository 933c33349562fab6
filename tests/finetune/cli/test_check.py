"""`finetune check` says everything that can be known without training, and writes nothing."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from finetune.api.errors import BadInputError
from finetune.cli.check import check, cluster_needs
from finetune.cli.jobfile.reading import read_job_file
from finetune.cli.local.machine import Machine
from tests.builders import REMOVED
from tests.finetune.cli.builders import CONFIG_MAP, job, standin, write


def checked(folder: Path, behavior: str, **changes: Any) -> int:
    return check(write(folder, CONFIG_MAP, job(**changes)), {}, Machine(2, 0), standin(behavior))


def test_what_a_run_of_a_good_job_would_do_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert checked(tmp_path, "found", spec__distributed={"workers": 2, "deepspeed": {"zeroStage": 2}}, spec__resources={"cpu": "1"}) == 0
    assert capfd.readouterr().out.splitlines() == [
        "job support-bot: chat, LoRA of rank 8, 1 epoch, 8 rows a step",
        "workers: 2 with 1 CPU each, DeepSpeed ZeRO-2",
        "output: adapter model, report and checkpoints, in the folder of --output",
        "warning: only a cluster uses spec.resources.cpu",
        "train: 3 rows",
        f"{tmp_path}/job.yaml is valid; train with: finetune run {tmp_path}/job.yaml --output DIR",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["job.yaml"]


def test_bad_data_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"^spec\.data\.train\[0\]\.path: line 3 is not JSON; fix it$"):
        checked(tmp_path, "refuse")


def test_a_check_that_breaks_is_no_fault_of_the_user(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert checked(tmp_path, "fail") == 1
    assert capfd.readouterr().out.endswith("\nfailed (SomeReason): the loss is not a number\nat step 3\n")


def test_a_check_that_dies_without_a_word_shows_the_end_of_its_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert checked(tmp_path, "killed") == 1
    assert "  the last words\nfailed (Killed): the trainer was killed" in capfd.readouterr().out


def test_the_command_that_it_advises_can_be_copied_with_claims_and_blanks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my jobs"
    folder.mkdir()
    document = job(spec__data={"train": [{"persistentVolumeClaim": {"claimName": "rows"}}]})
    assert check(write(folder, document), {"rows": folder}, Machine(2, 0), standin("found")) == 0
    advice = capfd.readouterr().out.splitlines()[-1].partition(" is valid; train with: ")[2]
    assert shlex.split(advice) == ["finetune", "run", f"{folder}/job.yaml", "--output", "DIR", "--claim", f"rows={folder}"]


def needs(folder: Path, *documents: Any) -> list[str]:
    return cluster_needs(read_job_file(write(folder, *documents)))


def test_a_job_that_a_cluster_can_run_needs_nothing(tmp_path: Path) -> None:
    assert needs(tmp_path, CONFIG_MAP, job()) == []


def test_what_a_cluster_would_need_is_printed_for_a_job_without_an_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert checked(tmp_path, "found", spec__output=REMOVED) == 0
    line = "a cluster also needs spec.output.persistentVolumeClaim.claimName, the claim that results are written to"
    assert line in capfd.readouterr().out.splitlines()


def test_paths_of_this_machine_are_named_as_no_use_on_a_cluster(tmp_path: Path) -> None:
    sources = [{"path": "a.jsonl"}, {"persistentVolumeClaim": {"claimName": "rows", "path": "b.jsonl"}}]
    [need] = needs(tmp_path, job(spec__data__train=sources, spec__model={"path": "model"}))
    assert need == "a cluster also needs a claim, a ConfigMap or a name on the hub instead of spec.model.path, spec.data.train[0].path"


@pytest.mark.parametrize(("size", "named"), [(120_000, False), (140_000, True)])
def test_a_config_map_that_kubectl_can_only_apply_server_side_is_named(tmp_path: Path, size: int, named: bool) -> None:
    found = needs(tmp_path, {**CONFIG_MAP, "data": {"train.jsonl": '"' * size}}, job())
    expected = "a cluster also needs kubectl apply --server-side: ConfigMap pairs is too large without it"
    assert found == ([expected] if named else [])
