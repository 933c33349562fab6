"""What a run has written may be changed by others before it is read again: a checkpoint at resume, an earlier job's output at its use.

The traps are of the kinds of CVE-2026-1839 (pickled state, loaded at resume) and CVE-2026-5241 and -4372 (configuration that turns
code on). That they work is tried first, the way that careless programs read such folders.
"""

import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from finetune.api.record import EXIT_INPUT, EXIT_INTERRUPTED
from tests.finetune.cli.traps import WORKING, Traps, code_in
from tests.finetune.cli.wholerun import command, environment, finetune, job_file, wait_until
from tests.trainer.fixtures.learning import learner_with_rows

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("training")]

STEPS = 150
TRAINING = {
    "globalBatchSize": 8, "microBatchSize": 8, "learningRate": 0.01, "maxSequenceLength": 128, "scheduler": "constant", "warmupRatio": 0,
}  # fmt: skip
EXPORTS = {"export": ["adapter", "merged"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = learner_with_rows(tmp_path_factory.mktemp("hostile-state"), train=64, test=4)
    (folder / "sprung").mkdir()
    return folder


@pytest.fixture(scope="module")
def traps(folder: Path) -> Traps:
    return Traps(folder / "sprung")


@pytest.fixture(scope="module")
def careful(folder: Path) -> dict[str, str]:
    """The environment of each command: what is fetched or copied goes below the folder."""
    return environment({"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "HF_MODULES_CACHE": str(folder / "modules")})


def job(folder: Path, name: str, steps: int, **changes: object) -> Path:
    """Write a job of so many steps that exports both forms."""
    options = {"training": {**TRAINING, "maxSteps": steps}, "checkpoint": {"everySteps": 10, "keep": 2}, "output": EXPORTS}
    path = job_file(folder, f"{name}.yaml", **(options | changes))
    document = yaml.safe_load(path.read_text())
    document["metadata"]["name"] = name
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope="module")
def first(folder: Path, traps: Traps, careful: dict[str, str]) -> Path:
    """The folder of the run of the job `first`, interrupted, trapped and resumed; then its model is trapped too."""
    out = folder / "first"
    path = job(folder, "first", STEPS)
    with subprocess.Popen(command("run", path, "--output", out), env=careful, stdout=subprocess.PIPE, text=True) as process:
        wait_until("at a checkpoint", lambda: list(out.glob("checkpoints/step-*/manifest.json")), process, out / "trainer.log")
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == EXIT_INTERRUPTED, said
    checkpoints = sorted(out.glob("checkpoints/step-*"))
    traps.lay(*checkpoints, out / "checkpoints", out / ".finetune", out)
    assert traps.try_out(checkpoints[-1]) >= WORKING - {"configuration_trap"}, "the traps work"

    resumed = finetune("run", path, "--output", out, env=careful, cwd=checkpoints[-1])
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "resumed from step" in resumed.stdout
    assert traps.sprung() == [], "resuming read a trap"
    assert code_in(out / "model") == [], "the model brings no trap along"

    traps.lay(*out.glob("checkpoints/step-*"), out / "model", out / "model" / "adapter", out / "model" / "merged")
    assert traps.try_out(out / "model" / "merged") >= WORKING, "the traps work"
    return out


def test_a_job_that_continues_an_earlier_one_reads_no_trap_in_its_checkpoints(
    folder: Path, first: Path, traps: Traps, careful: dict[str, str]
) -> None:
    path = job(folder, "longer", STEPS + 4, continueFrom={"fineTuneJob": "first"})
    done = finetune("run", path, "--output", folder / "longer", "--job", f"first={first}", env=careful, cwd=first / "checkpoints")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"resumed from step {STEPS} of the job first" in done.stdout
    assert traps.sprung() == []
    assert code_in(folder / "longer" / "model") == []


def test_a_job_that_begins_with_the_model_of_an_earlier_one_reads_no_trap_beside_it(
    folder: Path, first: Path, traps: Traps, careful: dict[str, str]
) -> None:
    path = job(folder, "second", 2, model={"fineTuneJob": {"name": "first"}})
    done = finetune("run", path, "--output", folder / "second", "--job", f"first={first}", env=careful, cwd=first / "model" / "merged")
    assert done.returncode == 0, done.stdout + done.stderr
    assert traps.sprung() == []
    assert code_in(folder / "second" / "model") == []


def test_exporting_and_using_a_run_read_no_trap(folder: Path, first: Path, traps: Traps, careful: dict[str, str]) -> None:
    written = finetune("export", first, "--merged", "--adapter", "--to", folder / "again", env=careful, cwd=first)
    assert written.returncode == 0, written.stdout + written.stderr
    assert code_in(folder / "again") == []
    for used in (first, first / "model" / "adapter"):  # of the run the merged model is used
        answered = finetune("predict", used, "--prompt", "a", "--max-new-tokens", "2", env=careful, cwd=first / "model" / "merged")
        assert answered.returncode == 0, answered.stdout + answered.stderr
    assert traps.sprung() == []


def test_an_adapter_whose_weights_are_a_pickle_is_refused(folder: Path, first: Path, traps: Traps, careful: dict[str, str]) -> None:
    adapter = Path(shutil.copytree(first / "model" / "adapter", folder / "pickled"))
    (adapter / "adapter_model.safetensors").unlink()
    used = finetune("predict", adapter, "--prompt", "a", env=careful, cwd=adapter)
    assert used.returncode == EXIT_INPUT, used.stdout + used.stderr
    assert f"{adapter} has weights only as pickle (adapter_model.bin)" in used.stderr
    assert traps.sprung() == []
