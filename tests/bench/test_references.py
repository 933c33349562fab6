"""All programs of the bench compute the same: otherwise their figures could not be compared.

A tiny random model in float32 without dropout, in this process; two ranks are two processes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.figures import lines_of
from bench.scenarios import REFERENCES
from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from tests.repository import REPOSITORY
from tests.trainer.fixtures.learning import learner_with_rows
from tests.trainer.fixtures.stored import data_folder
from trainer.reporting.messages import Silent

STEPS = 4
METHODS: dict[str, dict[str, Any]] = {"lora": {"lora": {"rank": 4, "alpha": 8}}, "full": {"full": {}}}

pytestmark = [
    pytest.mark.xdist_group("ranks"),
    pytest.mark.filterwarnings("ignore"),  # of the programs that the product is compared with
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learner_with_rows(tmp_path_factory.mktemp("base"), train=20)


def config(base: Path, output: Path, method: str, *, packed: bool, workers: int = 1) -> TrainConfig:
    training = {
        "maxSteps": STEPS, "globalBatchSize": 8, "microBatchSize": 4, "learningRate": 0.01, "maxSequenceLength": 128,
        "precision": "float32", "scheduler": "constant", "warmupRatio": 0, "packing": "always" if packed else "never",
    }  # fmt: skip
    return train_config(
        base, method=METHODS[method], training=training, regularization={"weightDecay": 0.01}, workers={"workers": workers},
        output={"directory": str(output), "export": ["adapter" if method == "lora" else "merged"]}, checkpoint={"everySteps": 1000},
    )  # fmt: skip


def run_ours(wanted: TrainConfig) -> list[dict[str, Any]]:
    from trainer.preflight.inputs import check_inputs
    from trainer.rank.assignment import Assignment
    from trainer.rank.run import execute
    from trainer.storage.ownership import Ownership

    output = Path(wanted.output.directory)
    data = data_folder(output / ".finetune")
    inputs = check_inputs(wanted, data, rehearse_here=True).with_tokens(wanted, data)
    ownership = Ownership.of(wanted, inputs.digests(wanted))
    ownership.write(finished=False)
    execute(Assignment(wanted, inputs, ownership.owner, Silent()))
    return lines_of(output / "metrics.jsonl")


def run_reference(name: str, wanted: TrainConfig, output: Path, *, packed: bool) -> list[dict[str, Any]]:
    import importlib

    import torch

    from bench.references.__main__ import PROGRAMS
    from bench.references.work import work_of

    output.mkdir()
    importlib.import_module(PROGRAMS[name]).train(work_of(wanted, output, packed=packed, device=torch.device("cpu")))
    return lines_of(output / "metrics.jsonl")


@pytest.fixture(scope="module", params=[(method, packed) for method in METHODS for packed in (False, True)], ids=str)
def trained(request: pytest.FixtureRequest, base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the product did, and how to do the same with a reference."""
    method, packed = request.param
    folder = tmp_path_factory.mktemp("trained")
    wanted = config(base, folder / "ours", method, packed=packed)
    return {"config": wanted, "packed": packed, "folder": folder, "lines": run_ours(wanted)}


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_sees_the_tokens_and_has_the_losses_of_the_product(name: str, trained: dict[str, Any]) -> None:
    if name == "trl":
        pytest.importorskip("trl")
    lines = run_reference(name, trained["config"], trained["folder"] / name, packed=trained["packed"])
    assert [line["tokensSeen"] for line in lines] == [line["tokensSeen"] for line in trained["lines"]]
    ours = [line["trainLoss"] for line in trained["lines"]]
    assert [line["trainLoss"] for line in lines] == pytest.approx(ours, rel=1e-4)
    assert len(lines) == STEPS
    assert ours[0] > 1.02 * ours[-1], "a model that does not learn would agree with any other"


@pytest.mark.parametrize("name", [name for name in REFERENCES if name != "trl"])
def test_two_ranks_of_a_reference_do_what_one_does(name: str, base: Path, tmp_path: Path) -> None:
    one = run_reference(name, config(base, tmp_path, "lora", packed=False), tmp_path / "one", packed=False)
    file, output = tmp_path / "config.json", tmp_path / "two"
    file.write_text(json.dumps(config(base, tmp_path, "lora", packed=False, workers=2).to_wire()))
    output.mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "bench.references", name]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([*command, "--config", str(file), "--output", str(output)], cwd=REPOSITORY, env=environment,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    two = lines_of(output / "metrics.jsonl")
    assert [line["tokensSeen"] for line in two] == [line["tokensSeen"] for line in one]
    # Micro-batches are others, so sums are taken in another order.
    assert [line["trainLoss"] for line in two] == pytest.approx([line["trainLoss"] for line in one], rel=1e-4)
