"""One rank on this machine runs inside the trainer: chosen, prepared, stopped and ended as with Ray."""

import contextlib
import errno
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from finetune.api.errors import InputError
from finetune.api.record import EXIT_FAILURE, EXIT_INPUT, EXIT_INTERRUPTED, Stage
from finetune.api.trainconfig import TrainConfig
from tests.builders import REMOVED, train_config
from tests.repository import REPOSITORY
from tests.trainer.fixtures.learning import learner_with_rows
from tests.trainer.fixtures.programs import (
    config,
    figures,
    finish,
    record,
    stages_timed,
    start,
    steps_logged,
    wait_until,
)
from tests.trainer.fixtures.stored import data_folder
from trainer.driver.attempt import attempt
from trainer.driver.exits import exit_of
from trainer.driver.here import DirectSender, fit_here, prepare_environment, process_group, runs_here, stdout_in_the_log
from trainer.driver.stopping import StopRequest
from trainer.driver.workers import Workers
from trainer.model.exporter import ExportMismatchError
from trainer.preflight.inputs import check_inputs
from trainer.reporting.stageclock import StageClock
from trainer.storage.ownership import Ownership

CLUSTER = {"progress": {"configMap": "progress", "namespace": "default"}}


@pytest.mark.parametrize(
    ("changes", "here"),
    [
        pytest.param({"workers": {"workers": 1}}, True, id="one worker"),
        pytest.param({"workers": {"workers": 1, "gpusPerWorker": 1}}, True, id="one GPU"),
        pytest.param({"workers": {"workers": 1, "gpusPerWorker": 2}}, False, id="two GPUs are two ranks"),
        pytest.param({"workers": {"workers": 2}}, False, id="two workers"),
        pytest.param({"workers": {"workers": 1}, "dashboard": True}, False, id="one worker on Ray's dashboard"),
        pytest.param({"workers": {"workers": 1}} | CLUSTER, False, id="a cluster"),
    ],
)
def test_one_rank_on_this_machine_needs_no_ray(changes: dict[str, Any], here: bool) -> None:
    assert runs_here(train_config(**changes)) is here


@pytest.mark.parametrize(
    ("gpus", "visible", "seen"),
    [
        pytest.param(0, None, "", id="no GPU"),
        pytest.param(0, "0,1", "", id="no GPU beside GPUs of others"),
        pytest.param(1, None, "0", id="the first of all"),
        pytest.param(1, "3,5", "3", id="the first of those given"),
        pytest.param(1, "GPU-8f2a, GPU-11", "GPU-8f2a", id="by UUID"),
    ],
)
def test_the_rank_sees_what_a_worker_of_ray_sees(monkeypatch: pytest.MonkeyPatch, gpus: int, visible: str | None, seen: str) -> None:
    monkeypatch.setattr(os, "environ", {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    prepare_environment(train_config(workers={"workers": 1, "cpusPerWorker": 6, "gpusPerWorker": gpus}))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == seen
    assert os.environ["OMP_NUM_THREADS"] == "6"
    assert os.environ["GOMP_SPINCOUNT"] == "1000"
    assert {name: os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE")} == {
        "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_SIZE": "1",
    }  # fmt: skip


def test_threads_that_the_user_has_set_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"OMP_NUM_THREADS": "3", "GOMP_SPINCOUNT": "7"})
    prepare_environment(train_config(workers={"workers": 1, "cpusPerWorker": 6}))
    assert (os.environ["OMP_NUM_THREADS"], os.environ["GOMP_SPINCOUNT"]) == ("3", "7")


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="a file of Linux")
def test_the_trainer_is_the_first_that_goes_when_memory_runs_out() -> None:
    program = "from trainer.driver.here import go_first; go_first(); print(open('/proc/self/oom_score_adj').read())"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-P", "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1000"


class Published:
    """A publisher that keeps what changes."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}

    def update(self, **fields: object) -> None:
        self.fields |= fields

    def on_stop(self, stop: Callable[[], None]) -> None:
        """Nobody asks to stop."""


def test_what_the_rank_sends_is_published_and_its_stage_decides_what_a_signal_means() -> None:
    published, stop = Published(), StopRequest()
    sender = DirectSender(published, stop)
    sender.send(stage=Stage.TRAINING, warnings=["one row is long"])
    assert published.fields == {"stage": Stage.TRAINING, "warnings": ["one row is long"]}
    assert not sender.stop_requested(0.2)
    stop._handle(signal.SIGTERM, None)
    assert sender.stop_requested()
    assert not stop.due, "the rank trains: a checkpoint comes first"
    sender.send(stage=Stage.FINAL)
    assert stop.due


@pytest.mark.parametrize(
    ("error", "code", "reason", "words"),
    [
        pytest.param(InputError("model", "is of another kind", "take another"), EXIT_INPUT, "InputInvalid", "model: is of", id="input"),
        pytest.param(MemoryError("no room"), EXIT_FAILURE, "OutOfMemory", "MemoryError: no room", id="memory"),
        pytest.param(torch.OutOfMemoryError("no room"), EXIT_FAILURE, "OutOfMemory", "OutOfMemoryError: no room", id="memory of a GPU"),
        pytest.param(OSError(errno.ENOSPC, "No space left"), EXIT_FAILURE, "StorageFailed", "No space left", id="a full disk"),
        pytest.param(ExportMismatchError("differs"), EXIT_FAILURE, "ExportMismatch", "differs", id="a reason of its own"),
        pytest.param(ZeroDivisionError("oops"), EXIT_FAILURE, "TrainingError", "ZeroDivisionError: oops", id="anything"),
    ],
)
def test_what_the_rank_raises_ends_the_run_with_the_reason_that_it_has_with_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, reason: str, words: str
) -> None:
    def execute(_: object) -> None:
        raise error

    monkeypatch.setattr("trainer.rank.run.execute", execute)
    one = train_config(tmp_path, workers={"workers": 1})
    with threads_kept():
        end = exit_of(lambda: str(fit_here(one, None, Ownership.of(one, {}), Published(), StopRequest(), StageClock("driver", 0.0))))
    assert (end.exit_code, end.outcome.reason) == (code, reason)
    assert words in end.outcome.message


@contextlib.contextmanager
def threads_kept() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_what_libraries_write_to_stdout_goes_to_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        os.write(1, b"from below Python\n")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), stdout_in_the_log():
        fail()
    os.write(1, b"for the user\n")
    assert capfd.readouterr() == ("for the user\n", "from below Python\n")


@pytest.mark.parametrize("deepspeed", [{"zeroStage": 2}, REMOVED], ids=["DeepSpeed", "DistributedDataParallel"])
def test_there_is_a_process_group_where_deepspeed_asks_for_one_and_none_afterwards(deepspeed: object) -> None:
    asked = deepspeed is not REMOVED
    one = train_config(workers={"workers": 1, **({"deepspeed": deepspeed} if asked else {})})
    with process_group(one):
        assert torch.distributed.is_initialized() is asked
        if asked:
            total = torch.tensor([3.0])
            torch.distributed.all_reduce(total)
            assert total.item() == 3.0
    assert not torch.distributed.is_initialized()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learner_with_rows(tmp_path_factory.mktemp("here"), train=96, validation=12, test=10)


def test_an_attempt_trains_in_this_program_and_publishes_what_its_rank_says(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = config(folder, "inside", workers=1, zero_stage=None, steps=2, evaluation={"everySteps": 2, "metrics": ["perplexity"]})
    one, published = TrainConfig.model_validate_json(path.read_text()), Published()
    with threads_kept():
        clock = StageClock("driver", 0.0)
        assert attempt(one, published, StopRequest(), clock, Workers(one, clock)) == "the model is trained, measured and written"
    assert published.fields["progress"].step == 2
    assert published.fields["stage"] is Stage.EXPORTING
    assert published.fields["output"].report_uri
    said = capfd.readouterr().out
    assert "Perplexity" in said
    assert "step 2/2" not in said
    assert stages_timed(folder / "inside") == [
        *((stage, "driver") for stage in ("start", "rows", "model", "doctor", "tokens")),
        *((stage, "rank 0") for stage in ("load", "resume", "first step", "training", "validation", "checkpoints", "saving")),
        *((stage, "rank 0") for stage in ("final model", "base model", "export")),
    ]


ALONE = """
import os, pickle, sys
from pathlib import Path
from finetune.api.trainconfig import TrainConfig
from trainer.rank.launch import set_environment, use_threads

set_environment(rank=0, world_size=1, local_rank=0, local_size=1, gpu=False)
use_threads()
from trainer.rank.assignment import Assignment
from trainer.rank.run import execute
from trainer.reporting.messages import Silent

config = TrainConfig.model_validate_json(Path(sys.argv[1]).read_text())
execute(Assignment(config, pickle.loads(Path(sys.argv[2]).read_bytes()), "owner", Silent()))
"""


def test_what_the_program_did_before_does_not_show_in_any_figure(folder: Path) -> None:
    settings = {"workers": 1, "zero_stage": None, "steps": 3, "evaluation": {"everySteps": 2, "metrics": ["perplexity"]}}
    paths = [config(folder, name, **settings) for name in ("in-the-trainer", "alone")]
    here = TrainConfig.model_validate_json(paths[0].read_text())
    data = data_folder(folder / "tokens")
    inputs = check_inputs(here, data, rehearse_here=True).with_tokens(here, data)
    (folder / "inputs").write_bytes(pickle.dumps(inputs))
    with threads_kept():
        fit_here(here, inputs, Ownership.of(here, {}), Published(), StopRequest(), StageClock("driver", 0.0))
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    subprocess.run([sys.executable, "-P", "-c", ALONE, str(paths[1]), str(folder / "inputs")], env=environment, check=True, timeout=200)
    assert weights(folder / "in-the-trainer") == weights(folder / "alone")
    assert steps(folder / "in-the-trainer") == steps(folder / "alone")


def steps(output: Path) -> list[dict[str, float]]:
    """Return the figures of a run that do not depend on the clock."""
    lines = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name not in ("time", "tokensPerSecond")} for line in lines]


@pytest.mark.timeout(600)
@pytest.mark.xdist_group("training")
@pytest.mark.parametrize("zero_stage", [None, 2], ids=["DistributedDataParallel", "ZeRO-2"])
def test_a_run_that_is_killed_goes_on_and_ends_where_an_unbroken_one_does(folder: Path, zero_stage: int | None) -> None:
    unbroken, killed = (config(folder, f"{name}-{zero_stage}", workers=1, zero_stage=zero_stage) for name in ("unbroken", "killed"))
    finish(start(unbroken), unbroken)
    process = start(killed)
    wait_until(lambda: list((folder / killed.stem / "checkpoints").glob("step-*")), process, killed)
    assert psutil.Process(process.pid).children(recursive=True) == [], "the trainer is the only process"
    process.kill()
    process.wait()
    finish(start(killed), killed)
    assert record(folder, killed.stem)["resumedFromStep"] in (4, 8)
    assert figures(folder, killed.stem) == figures(folder, unbroken.stem)
    assert weights(folder / killed.stem) == weights(folder / unbroken.stem)


def weights(output: Path) -> bytes:
    return (output / "model" / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.mark.timeout(600)
@pytest.mark.xdist_group("training")
def test_sigterm_in_training_writes_a_checkpoint_first(folder: Path) -> None:
    rows = {name: [{"path": str(folder / f"{name}.jsonl")}] for name in ("train", "test")}
    path = config(folder, "stopped", workers=1, zero_stage=None, steps=4000, checkpoint={"everySteps": 3999, "keep": 1}, data=rows)
    process = start(path)
    wait_until(lambda: steps_logged(folder / "stopped") > 3, process, path)
    process.send_signal(signal.SIGTERM)
    finish(process, path, expected=EXIT_INTERRUPTED)
    last = record(folder, "stopped")
    assert (last["outcome"]["result"], last["outcome"]["message"]) == ("Interrupted", "stopped on request")
    assert last["checkpoints"][-1]["step"] == last["progress"]["step"] > 3


HUNG = """
import atexit, sys, threading
import trainer.rank.run
from trainer.__main__ import main

def execute(work):
    threading.Thread(target=threading.Event().wait).start()
    atexit.register(threading.Event().wait)
    print("a line of a library")
    raise MemoryError("no room")

trainer.rank.run.execute = execute
sys.exit(main(["--config", sys.argv[1]]))
"""


def test_threads_and_exit_handlers_of_libraries_do_not_keep_a_run_that_has_ended(folder: Path) -> None:
    path = config(folder, "hung", workers=1, zero_stage=None)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", HUNG, str(path)], env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == EXIT_FAILURE, done.stderr[-4000:]
    assert "a line of a library" in done.stderr
    assert "a line of a library" not in done.stdout
    outcome = json.loads((folder / "hung" / ".finetune" / "progress.json").read_text())["outcome"]
    assert (outcome["result"], outcome["reason"]) == ("Failed", "OutOfMemory")
