"""A run's model is written again from its checkpoints alone: no rows, no Ray, no training."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from finetune.api.errors import InputError
from finetune.api.metrics import MetricName, Score
from finetune.api.record import EXIT_INTERRUPTED
from finetune.api.sections import Export
from tests.repository import REPOSITORY
from tests.trainer.fixtures.causal import random_prompts, tiny_model
from tests.trainer.fixtures.runs import LORA, model_at, run_in
from trainer.export import ExportOptions, export_run, main
from trainer.model.lora import peft_warnings_silenced
from trainer.storage.checkpoint import CheckpointStore
from trainer.storage.localfolder import LocalFolder
from trainer.storage.ownership import Ownership

INPUT = torch.tensor(random_prompts([12]))
FULL = {"full": {}}
BOTH = (Export.ADAPTER, Export.MERGED)


def exported(run: Path, forms: tuple[Export, ...] = (Export.MERGED,), **options: Any) -> tuple[list[Path], list[str]]:
    said: list[str] = []
    written = export_run(ExportOptions(run, forms, options.pop("to", run / "model"), **options), said.append)
    return [Path(done.uri) for done in written], said


def logits(folder: Path) -> torch.Tensor:
    return AutoModelForCausalLM.from_pretrained(folder)(INPUT).logits.float()


@pytest.fixture
def base(saved_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved_model, tmp_path / "base"))


@pytest.mark.parametrize(
    ("perplexities", "step", "said"),
    [
        pytest.param({1: 9.0, 2: 5.0, 3: 7.0}, 2, "step 2, the best on the validation rows (perplexity 5.00)", id="best"),
        pytest.param({1: None, 2: None}, 2, "step 2, the newest checkpoint; none was measured on validation rows", id="newest"),
    ],
)
def test_the_best_checkpoint_is_exported_else_the_newest(
    base: Path, tmp_path: Path, perplexities: dict[int, float | None], step: int, said: str
) -> None:
    config = run_in(tmp_path / "run", base, perplexities)
    expected = model_at(base, config, step)(INPUT).logits

    (adapter, merged), words = exported(tmp_path / "run", BOTH)

    assert words == [said, *(word for word in words if word.startswith("wrote "))]
    assert [word.split()[1] for word in words[1:]] == [str(adapter), str(merged)]
    torch.testing.assert_close(logits(merged), expected, rtol=1e-4, atol=1e-4)
    with peft_warnings_silenced():
        reloaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    torch.testing.assert_close(reloaded(INPUT).logits, expected, rtol=1e-5, atol=1e-5)


def test_a_run_of_all_weights_is_exported_in_the_type_asked_for_to_the_folder_asked_for(base: Path, tmp_path: Path) -> None:
    config = run_in(tmp_path / "run", base, {3: 7.0}, FULL)

    [merged], _ = exported(tmp_path / "run", to=tmp_path / "elsewhere", dtype="bfloat16")

    assert merged == tmp_path / "elsewhere" / "merged"
    assert AutoModelForCausalLM.from_pretrained(merged).dtype is torch.bfloat16
    torch.testing.assert_close(logits(merged), model_at(base, config, 3)(INPUT).logits, rtol=0.1, atol=0.5)
    assert not (tmp_path / "run" / "model").exists()


def test_a_damaged_best_checkpoint_is_passed_over_with_a_word(base: Path, tmp_path: Path) -> None:
    config = run_in(tmp_path / "run", base, {1: 5.0, 2: 6.0, 3: 9.0})
    (tmp_path / "run" / "checkpoints" / "step-1" / "parameters.safetensors").write_bytes(b"torn")

    [merged], said = exported(tmp_path / "run")

    assert said[0].startswith("warning: the best checkpoint, of step 1, is damaged")
    torch.testing.assert_close(logits(merged), model_at(base, config, 2)(INPUT).logits, rtol=1e-4, atol=1e-4)


def test_weights_that_the_report_is_not_of_are_exported_with_a_word_and_a_mark(base: Path, tmp_path: Path) -> None:
    run_in(tmp_path / "run", base, {1: 5.0})
    (tmp_path / "run" / "report.json").write_text(json.dumps({"final": {}, "measuredStep": 3, "exports": []}))

    _, said = exported(tmp_path / "run")

    assert "warning: the figures in report.json are of step 3; what is written now, of step 1, was not measured" in said
    [entry] = json.loads((tmp_path / "run" / "report.json").read_text())["exports"]
    assert (entry["step"], entry["measured"]) == (1, False)


def test_a_run_that_was_moved_is_exported_and_its_report_tells_of_it(base: Path, tmp_path: Path) -> None:
    run_in(tmp_path / "run", base, {1: 5.0})
    (tmp_path / "run" / "report.json").write_text(json.dumps({"final": {}, "exports": [{"form": "adapter", "path": "x"}]}))
    moved = (tmp_path / "run").rename(tmp_path / "moved")

    exported(moved)

    report = json.loads((moved / "report.json").read_text())
    assert [(entry["form"], entry["path"]) for entry in report["exports"]] == [
        ("adapter", "x"),
        ("merged", str(moved / "model" / "merged")),
    ]


def test_the_base_may_be_named_where_it_was_moved(base: Path, tmp_path: Path) -> None:
    config = run_in(tmp_path / "run", base, {1: 5.0})
    expected = model_at(base, config, 1)(INPUT).logits
    moved = base.rename(tmp_path / "moved")

    [merged], _ = exported(tmp_path / "run", base=moved)

    torch.testing.assert_close(logits(merged), expected, rtol=1e-4, atol=1e-4)


def remove_base(run: Path, base: Path) -> None:
    shutil.rmtree(base)


def other_base(run: Path, base: Path) -> None:
    tiny_model(seed=99).save_pretrained(base)


def remove_checkpoints(run: Path, base: Path) -> None:
    shutil.rmtree(run / "checkpoints")


def remove_record(run: Path, base: Path) -> None:
    (run / "run.json").unlink()


def forget_place(run: Path, base: Path) -> None:
    shutil.rmtree(run / ".finetune")


def outdate_state(run: Path, base: Path) -> None:
    """Leave a valid checkpoint of a version that wrote other things into the state."""
    recorded = Ownership.recorded(LocalFolder(run))
    CheckpointStore(LocalFolder(run), recorded.owner, keep=9).save(
        {"parameters": {"a": torch.zeros(1)}},
        {"step": 2, "dtype": "float32"},
        step=2,
        attempt=1,
        score=Score.of(MetricName.PERPLEXITY, 1.0, 2),
    )


def export_before(run: Path, base: Path) -> None:
    exported(run)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(remove_base, r"model\.path: there is no folder .*; restore the base model, or name .* with --base", id="no base"),
        pytest.param(other_base, r"model\.path: the weights in .* are not those that the run was trained on", id="another base"),
        pytest.param(remove_checkpoints, r"DIR: .* has no valid checkpoint", id="no checkpoint"),
        pytest.param(remove_record, r"DIR: .* holds no run: it has no run\.json", id="no run"),
        pytest.param(forget_place, r"--base: .* does not say where the base model is; name its folder with --base", id="place unknown"),
        pytest.param(
            outdate_state, r"DIR: the state in .*step-2 is not one .* \(KeyError\('tokensSeen'\)\); export it with", id="other version"
        ),
        pytest.param(export_before, r"DIR: .*merged exists; write elsewhere with --to FOLDER, or replace it with --overwrite", id="exists"),
    ],
)
def test_what_cannot_be_exported_is_reported_with_the_fix(base: Path, tmp_path: Path, damage: Any, words: str) -> None:
    run_in(tmp_path / "run", base, {1: 5.0})
    damage(tmp_path / "run", base)

    with pytest.raises(InputError, match=words):
        exported(tmp_path / "run")


def test_an_export_is_replaced_when_that_is_asked_for_and_nothing_else_is(base: Path, tmp_path: Path) -> None:
    run_in(tmp_path / "run", base, {1: 5.0})
    [merged], _ = exported(tmp_path / "run")
    foreign = tmp_path / "own" / "merged"
    foreign.mkdir(parents=True)

    assert exported(tmp_path / "run", overwrite=True)[0] == [merged]
    with pytest.raises(InputError, match=r"--to: .*own/merged exists; give another folder, or replace it with --overwrite"):
        exported(tmp_path / "run", to=tmp_path / "own")
    with pytest.raises(InputError, match=r"--overwrite: .*own/merged is no export of finetune and is not removed"):
        exported(tmp_path / "run", to=tmp_path / "own", overwrite=True)


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        pytest.param(FULL, {"forms": BOTH}, r"--adapter: the run in .* trained all weights and has no adapter", id="no adapter"),
        pytest.param(LORA, {"forms": BOTH[:1], "dtype": "float16"}, r"--dtype: applies to a whole model", id="type of an adapter"),
    ],
)
def test_what_makes_no_sense_is_refused(base: Path, tmp_path: Path, method: dict[str, Any], options: dict[str, Any], words: str) -> None:
    run_in(tmp_path / "run", base, {1: 5.0}, method)

    with pytest.raises(InputError, match=words):
        exported(tmp_path / "run", **options)


def test_the_program_names_what_it_wrote_and_ends_with_2_for_bad_input(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    run, to = tmp_path / "run", tmp_path / "run" / "model"
    run_in(run, base, {1: 5.0})

    assert main([str(run), "--to", str(to), "--form", "merged", "--dtype", "float16"]) == 0
    assert f"wrote {to / 'merged'} (float16; read back, its logits differ by " in capsys.readouterr().out
    assert main([str(run), "--to", str(to), "--form", "merged"]) == 2
    assert capsys.readouterr().err.startswith("DIR: ")


def test_a_stop_in_the_middle_leaves_nothing_behind(base: Path, tmp_path: Path) -> None:
    run_in(tmp_path / "run", base, {1: 5.0})
    stopped_while_writing = (
        "import os, signal, sys; from trainer import export; from trainer.model import exporter;"
        "exporter.save_file = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM); sys.exit(export.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", stopped_while_writing, str(tmp_path / "run"), "--to", str(tmp_path / "to"), "--form", "adapter"]

    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == EXIT_INTERRUPTED, done.stderr
    assert not list((tmp_path / "to").iterdir())
