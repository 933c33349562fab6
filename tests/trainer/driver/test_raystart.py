"""Ray is started with what a run needs of it, and once more when it does not come up."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune.system.interpreter import ROOT
from tests.builders import train_config
from trainer.driver.raystart import (
    RayNotStartedError,
    environment_of,
    environment_of_box,
    free_port,
    last_words,
    leave_current_folder,
    preloaded,
    start_patiently,
    workers_beforehand,
)
from trainer.rank.launch import PRELOAD_VARIABLE


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    here = Path.cwd()
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    yield
    os.chdir(here)


def failing(times: int, tries: list[int]) -> object:
    def start() -> str:
        tries.append(len(tries))
        if len(tries) <= times:
            raise TimeoutError("the node timed out during startup")
        return "started"

    return start


def test_a_ray_that_does_not_come_up_is_started_once_more() -> None:
    tries: list[int] = []
    assert start_patiently(failing(1, tries)) == "started"
    assert len(tries) == 2


def test_a_ray_that_never_comes_up_is_not_called_an_error_of_the_training() -> None:
    tries: list[int] = []
    with pytest.raises(RayNotStartedError, match=r"did not start in 2 tries, .* the node timed out during startup"):
        start_patiently(failing(9, tries))
    assert len(tries) == 2


def test_what_rays_daemons_said_last_is_kept_in_the_log(tmp_path: Path) -> None:
    logs = tmp_path / "session_latest/logs"
    logs.mkdir(parents=True)
    (logs / "gcs_server.err").write_text("".join(f"line {number}\n" for number in range(9)))
    (logs / "raylet.out").write_bytes(b"caf\xe9\n")
    (logs / "dashboard.log").touch()
    assert last_words(tmp_path).splitlines() == [*(f"gcs_server.err: line {number}" for number in range(4, 9)), "raylet.out: caf\ufffd"]
    assert last_words(tmp_path / "none") == "none"


def test_a_log_that_goes_while_it_is_read_does_not_hide_why_ray_did_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = tmp_path / "ray/session_latest/logs"
    logs.mkdir(parents=True)
    (logs / "a.err").symlink_to(logs / "gone")
    (logs / "b.err").write_text("the last word\n")
    assert last_words(tmp_path / "ray") == "b.err: the last word"
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    tries: list[int] = []
    with pytest.raises(RayNotStartedError, match="the node timed out during startup"):
        start_patiently(failing(9, tries))
    assert len(tries) == 2


ABANDONED = """
import os, sys
from pathlib import Path
from trainer.__main__ import abandon
from trainer.driver.raystart import leave_current_folder
leave_current_folder()
print(Path.cwd(), flush=True)
abandon(3)
"""


def test_a_run_that_ends_at_once_leaves_no_temporary_folder(tmp_path: Path) -> None:
    (tmp_path / "random.txt").touch()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", ABANDONED], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 3, ended.stderr
    assert ended.stdout.strip() not in ("", str(tmp_path))
    assert not Path(ended.stdout.strip()).exists()


@pytest.mark.usefixtures("restored")
def test_the_driver_goes_to_an_empty_folder_before_ray_lets_its_workers_import_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "random.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}.{os.pathsep}/opt/lib")
    leave_current_folder()
    assert list(Path.cwd().iterdir()) == []
    assert os.environ["PYTHONPATH"].split(os.pathsep) == ["/opt/lib", str(ROOT)]


@pytest.mark.parametrize(
    ("changes", "tracked"),
    [
        pytest.param({}, False, id="here, unseen"),
        pytest.param({"dashboard": True}, True, id="here, with --dashboard"),
        pytest.param({"progress": {"namespace": "default", "configMap": "bot-progress"}}, True, id="on a cluster"),
    ],
)
def test_ray_train_keeps_its_state_and_measures_only_where_a_dashboard_shows_it(changes: dict[str, object], tracked: bool) -> None:
    variables = environment_of(train_config(**changes))
    assert (variables.get("RAY_TRAIN_ENABLE_STATE_TRACKING") == "1") == tracked
    assert (variables.get("RAY_TRAIN_METRICS_ENABLED") == "0") != tracked


@pytest.mark.parametrize(
    ("changes", "beforehand", "imported"),
    [
        pytest.param({"workers": {"workers": 3, "cpusPerWorker": 2}}, 3, "torch", id="here"),
        pytest.param({"workers": {"workers": 2, "deepspeed": {"zeroStage": 2}}}, 2, "deepspeed", id="here, with DeepSpeed"),
        pytest.param({"workers": {"workers": 1, "gpusPerWorker": 2}}, 0, "", id="here, with GPUs"),
        pytest.param({"dashboard": True, "workers": {"workers": 2}}, 0, "", id="here, with --dashboard"),
        pytest.param(
            {"progress": {"namespace": "default", "configMap": "bot-progress"}, "workers": {"workers": 2}}, 0, "", id="on a cluster"
        ),
    ],
)
def test_processes_start_beforehand_for_the_ranks_of_a_local_run_without_gpus(
    changes: dict[str, object], beforehand: int, imported: str
) -> None:
    config = train_config(**changes)
    variables = environment_of(config)
    assert (workers_beforehand(config), preloaded(config)) == (beforehand, imported)
    assert variables["RAY_prestart_worker_first_driver"] == ("1" if beforehand else "0")
    assert ("RAY_preload_python_modules" in variables, "OMP_NUM_THREADS" in variables) == (bool(beforehand), bool(beforehand))
    assert environment_of_box(config) == ({PRELOAD_VARIABLE: ""} if beforehand else {}), "the box takes none of them"


def test_the_port_that_is_chosen_can_be_listened_on() -> None:
    port = free_port()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        assert listener.getsockname()[1] == port
