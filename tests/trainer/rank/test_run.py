"""The trainer as a program on a real local Ray: a whole run, and a run that is killed and started again."""

import json
import signal
import time
from pathlib import Path

import pytest

from finetune.api.tasks import TASKS, ModelFamily, TaskName
from tests.trainer.fixtures.learning import learner_with_rows
from tests.trainer.fixtures.programs import (
    config,
    figures,
    finish,
    kill_tree,
    record,
    stages_timed,
    start,
    steps_logged,
    wait_until,
)
from trainer.logs.following import END_OF_LOG

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("training")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learner_with_rows(tmp_path_factory.mktemp("runs"), train=96, validation=12, test=10)


@pytest.fixture(scope="module")
def unbroken(folder: Path) -> Path:
    path = config(folder, "unbroken")
    finish(start(path), path)
    return folder / "unbroken"


def test_a_run_leaves_report_checkpoints_model_and_a_last_record(folder: Path, unbroken: Path) -> None:
    baseline, final = figures(folder, "unbroken")
    assert set(baseline) == set(final) == set(TASKS[TaskName.CHAT].on(ModelFamily.CAUSAL).by_default)
    assert final["perplexity"]["value"] < baseline["perplexity"]["value"]
    assert sorted(path.name for path in (unbroken / "checkpoints").iterdir()) == ["step-12", "step-4", "step-8"]
    last = record(folder, "unbroken")
    assert last["outcome"]["result"] == "Succeeded"
    assert (last["progress"]["step"], last["progress"]["totalSteps"], last["resumedFromStep"]) == (12, 12, 0)
    assert {("Ray", "driver"), ("workers", "rank 0"), ("load", "rank 0")} < set(stages_timed(unbroken))
    assert [checkpoint["verified"] for checkpoint in last["checkpoints"]] == [True, True, True]
    assert [line["step"] for line in map(json.loads, (unbroken / "metrics.jsonl").read_text().splitlines()) if "trainLoss" in line] == list(
        range(1, 13)
    )


def test_a_run_that_ends_well_leaves_the_logs_of_its_ranks_to_their_ends(unbroken: Path) -> None:
    logs = unbroken / "logs" / "attempt-1"
    deadline = time.monotonic() + 30
    while not all((logs / f"rank-{rank}.log").read_text().splitlines()[-1].startswith(END_OF_LOG) for rank in (0, 1)):
        assert time.monotonic() < deadline, "a follower was ended before it had copied all, or never ended"
        time.sleep(0.1)
    assert "step 12/12" in (logs / "rank-0.log").read_text()
    assert "Z rank 1: export\n" in (logs / "rank-1.log").read_text()


def test_the_report_says_how_far_each_export_is_from_the_model_measured_and_with_which_settings_it_was_trained(unbroken: Path) -> None:
    report = json.loads((unbroken / "report.json").read_text())
    assert [entry["form"] for entry in report["exports"]] == ["adapter", "merged"]
    for entry in report["exports"]:
        assert Path(entry["path"]).is_dir()
        assert entry["step"] == report["best"]["step"]
        assert 0 <= entry["logitDifference"] <= entry["tolerance"] == 1e-3
    settings = report["hyperparameters"]
    assert (settings["training"]["seed"], settings["training"]["precision"]) == (42, "float32")
    assert settings["distributed"]["deepspeed"]["zeroStage"] == 2


# peft asks transformers by a name that transformers has replaced.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_plain_peft_and_transformers_load_what_was_exported(folder: Path, unbroken: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder / "model"), unbroken / "model" / "adapter")
    merged = AutoModelForCausalLM.from_pretrained(unbroken / "model" / "merged")
    base = AutoModelForCausalLM.from_pretrained(folder / "model")
    ids = torch.tensor([[5, 40, 60, 70]])
    with torch.no_grad():
        assert torch.allclose(adapted(ids).logits, merged(ids).logits, atol=1e-5)
        assert not torch.allclose(base(ids).logits, merged(ids).logits, atol=1e-3)


def test_a_run_killed_half_way_goes_on_and_ends_where_the_unbroken_one_did(folder: Path, unbroken: Path) -> None:
    path = config(folder, "killed")
    process = start(path)
    wait_until(lambda: list((folder / "killed" / "checkpoints").glob("step-*")), process, path)
    kill_tree(process)
    finish(start(path), path)
    assert record(folder, "killed")["resumedFromStep"] in (4, 8)
    assert figures(folder, "killed") == figures(folder, "unbroken")


def test_sigterm_writes_a_checkpoint_and_exits_with_a_code_of_its_own(folder: Path, unbroken: Path) -> None:
    path = config(folder, "stopped", steps=4000, checkpoint={"everySteps": 3999, "keep": 1}, data={
        "train": [{"path": str(folder / "train.jsonl")}], "test": [{"path": str(folder / "test.jsonl")}],
    })  # fmt: skip
    process = start(path)
    wait_until(lambda: steps_logged(folder / "stopped") > 3, process, path)
    process.send_signal(signal.SIGTERM)
    finish(process, path, expected=3)
    last = record(folder, "stopped")
    assert last["outcome"]["result"] == "Interrupted"
    assert last["checkpoints"][-1]["step"] == last["progress"]["step"] > 3


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "zero_stage"), [(2, None), (2, 0), (2, 1), (2, 3)])
def test_every_engine_takes_a_run_to_its_end(folder: Path, workers: int, zero_stage: int | None) -> None:
    output = f"engine-{workers}-{zero_stage}"
    path = config(folder, output, workers=workers, zero_stage=zero_stage, steps=6, method={"full": {}}, export=["merged"])
    finish(start(path), path)
    baseline, final = figures(folder, output)
    assert final["perplexity"]["value"] < baseline["perplexity"]["value"]
    assert (folder / output / "model" / "merged" / "model.safetensors").is_file()
