"""What a finished run lacks is made from its checkpoints, and what is written is the model that was measured.

One rank in this process, without Ray: what a worker does.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jiwer
import pytest
from huggingface_hub import ModelCard

from finetune.api.errors import InputError
from finetune.api.metrics import METRICS, MetricName, Needs
from finetune.api.record import Metrics
from finetune.api.trainconfig import TrainConfig
from finetune.system.memory import peak_bytes
from tests.builders import train_config
from tests.repository import REPOSITORY
from tests.trainer.fixtures.causal import tiny_learner
from tests.trainer.fixtures.rows import COLORS, write_rows
from tests.trainer.fixtures.stored import data_folder
from trainer.evaluation.metrics.evidence import Answers, Prediction
from trainer.evaluation.metrics.registry import compute
from trainer.model.verification import ExportMismatchError, Probe
from trainer.preflight.inputs import check_inputs
from trainer.rank.assignment import Assignment
from trainer.rank.run import execute
from trainer.storage.ownership import Ownership

OWNER = "owner"


class Sent:
    """Keeps what a run reports."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}

    def send(self, **fields: Any) -> None:
        self.fields |= fields

    def stop_requested(self, wait_seconds: float = 0.0) -> bool:
        return False


def config(folder: Path, *, export: tuple[str, ...] = ("adapter",), **changes: Any) -> TrainConfig:
    content = {
        "model": {"path": str(folder / "base")},
        "data": {name: [{"path": str(folder / f"{name}.jsonl")}] for name in ("train", "validation", "test")},
        "training": {"maxSteps": 3, "globalBatchSize": 4, "microBatchSize": 4, "learningRate": 0.02, "maxSequenceLength": 128},
        "evaluation": {"everySteps": 1, "metrics": ["perplexity"]},
        "checkpoint": {"everySteps": 1, "keep": 3},
        "output": {"directory": str(folder / "run"), "export": list(export)},
    }
    return train_config(folder, **(content | changes))


def run(wanted: TrainConfig, *, only_results: bool = False) -> Sent:
    """Do what a worker of one rank does."""
    sent, data = Sent(), data_folder(Path(wanted.output.directory) / f".finetune-{os.environ.get('RANK', '0')}")
    inputs = check_inputs(wanted, data, rehearse_here=True).with_tokens(wanted, data)
    ownership = Ownership.of(wanted, inputs.digests(wanted))
    if os.environ.get("RANK", "0") == "0":  # as one driver does for all ranks
        ownership.write(finished=only_results)
    execute(Assignment(wanted, inputs, ownership.owner, sent, only_results=only_results))
    return sent


def report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run" / "report.json").read_text())


def adapter(folder: Path) -> bytes:
    return (folder / "run" / "model" / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    tiny_learner(folder / "base")
    write_rows(folder / "train.jsonl", 16)
    write_rows(folder / "validation.jsonl", 4, offset=100)
    write_rows(folder / "test.jsonl", 4, offset=200)
    run(config(folder))
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run; its data and base stay where they were."""
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def test_the_report_lists_each_export_and_the_settings(finished: Path) -> None:
    written = report(finished)
    [entry] = written["exports"]
    assert (entry["form"], entry["step"]) == ("adapter", written["best"]["step"])
    assert entry["path"] == str(finished / "run" / "model" / "adapter")
    assert entry["logitDifference"] <= entry["tolerance"] == 1e-3
    assert 2**24 < written["training"]["peakMemoryBytes"] <= peak_bytes()
    assert written["hyperparameters"]["training"]["seed"] == 42
    assert written["hyperparameters"]["evaluation"]["everySteps"] == 1


def test_a_form_that_is_added_is_written_and_nothing_is_trained_or_measured_again(folder: Path) -> None:
    before, lines = report(folder), (folder / "run" / "metrics.jsonl").read_text()

    sent = run(config(folder, export=("adapter", "merged")), only_results=True)

    after = report(folder)
    assert [entry["form"] for entry in after["exports"]] == ["adapter", "merged"]
    assert after | {name: before[name] for name in ("exports", "timings")} == before
    assert not {"base model", "training"} & {timing["stage"] for timing in after["timings"]["stages"]}
    assert (folder / "run" / "model" / "merged" / "model.safetensors").is_file()
    assert (folder / "run" / "metrics.jsonl").read_text() == lines
    assert sent.fields["output"].report_uri == str(folder / "run" / "report.json")
    assert Metrics.model_validate(sent.fields["metrics"]).final["perplexity"] == before["final"]["perplexity"]["value"]


def test_results_that_were_deleted_are_made_again_as_they_were(folder: Path) -> None:
    before, weights, lines = report(folder), adapter(folder), (folder / "run" / "metrics.jsonl").read_text()
    shutil.rmtree(folder / "run" / "model")
    (folder / "run" / "report.json").unlink()

    run(config(folder), only_results=True)

    after = report(folder)
    for name in ("baseline", "final", "best", "samples", "hyperparameters"):
        assert after[name] == before[name]
    assert after["training"]["steps"] == 3
    assert adapter(folder) == weights
    assert (folder / "run" / "metrics.jsonl").read_text() == lines


def test_an_export_of_other_weights_does_not_make_the_report_one_of_theirs(folder: Path) -> None:
    written = report(folder)
    best, entry = written["best"]["step"], written["exports"][0]
    (folder / "run" / "checkpoints" / f"step-{best}" / "parameters.safetensors").write_bytes(b"torn")
    other = max(step for step in (1, 2, 3) if step != best)
    entered = [entry | {"step": step, "form": form} for step, form in ((other, "adapter"), (1, "merged"), (2, "merged"), (3, "merged"))]
    (folder / "run" / "report.json").write_text(json.dumps(written | {"exports": entered}))

    run(config(folder, export=("adapter", "merged")), only_results=True)

    assert report(folder)["measuredStep"] == report(folder)["best"]["step"] != best
    assert report(folder)["final"] != written["final"]


def test_weights_that_the_report_is_not_of_are_measured_before_they_are_written(folder: Path) -> None:
    best = report(folder)["best"]["step"]
    (folder / "run" / "checkpoints" / f"step-{best}" / "parameters.safetensors").write_bytes(b"torn")

    run(config(folder, export=("adapter", "merged")), only_results=True)

    after = report(folder)
    assert after["best"]["step"] != best
    assert [(entry["form"], entry["step"]) for entry in after["exports"]] == [
        ("adapter", after["best"]["step"]),
        ("merged", after["best"]["step"]),
    ]
    assert any(f"step-{best} is damaged" in warning or f"of step {best}, is damaged" in warning for warning in after["warnings"])


def test_a_finished_run_without_a_valid_checkpoint_is_not_silently_trained_again(folder: Path) -> None:
    shutil.rmtree(folder / "run" / "checkpoints")
    shutil.rmtree(folder / "run" / "model")

    with pytest.raises(InputError, match=r"output: the run in .* is finished, but no valid checkpoint of it is left; restore "):
        run(config(folder), only_results=True)


def test_a_run_whose_export_is_another_model_fails_and_leaves_no_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(folder / "run")
    take = Probe.take

    def of_another_model(forward: Any, rows: Any, dtype: Any, family: Any) -> Probe:
        return take(lambda **inputs: forward(**inputs).flip(-1), rows, dtype, family)

    monkeypatch.setattr(Probe, "take", of_another_model)

    with pytest.raises(ExportMismatchError, match="the adapter is not the model that was measured"):
        run(config(folder))

    assert not (folder / "run" / "report.json").exists()
    assert not list((folder / "run" / "model").iterdir())


def test_a_run_of_all_weights_in_bfloat16_is_verified_in_its_own_tolerance(folder: Path) -> None:
    shutil.rmtree(folder / "run")
    training = {"maxSteps": 2, "globalBatchSize": 4, "learningRate": 0.001, "maxSequenceLength": 128, "precision": "bfloat16"}

    run(config(folder, export=("merged",), method={"full": {}}, training=training))

    [entry] = report(folder)["exports"]
    assert (entry["form"], entry["tolerance"]) == ("merged", 0.1)
    assert report(folder)["hyperparameters"]["training"]["precision"] == "bfloat16"


@pytest.mark.slow
@pytest.mark.xdist_group("ranks")
def test_two_ranks_that_shard_parameters_add_a_form_and_make_results_again(folder: Path) -> None:
    shutil.rmtree(folder / "run")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "LOCAL_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    environment = os.environ | shared | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, str(Path(__file__).with_name("two_ranks.py")), str(folder)]
    ranks = [
        subprocess.Popen(command, env=environment | {"RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in ("0", "1")
    ]
    errors = [rank.communicate(timeout=280)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(error[-3000:] for error in errors)

    first, widened, again = (json.loads((folder / f"{name}.json").read_text()) for name in ("first", "widened", "again"))
    assert [entry["form"] for entry in widened["exports"]] == ["adapter", "merged"]
    assert all(entry["logitDifference"] <= entry["tolerance"] for entry in again["exports"])
    assert widened | {name: first[name] for name in ("exports", "timings")} == first
    assert (again["baseline"], again["final"], again["best"]) == (first["baseline"], first["final"], first["best"])


ANSWERED = {"evaluation": {"metrics": ["perplexity", "wer", "chrf", "exactMatch"], "generation": {"samples": 3, "maxNewTokens": 12}}}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "run" / "predictions.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run that has measured answers in text."""
    folder = tmp_path_factory.mktemp("answered")
    tiny_learner(folder / "base")
    for name, count, offset in (("train", 16, 0), ("validation", 4, 100), ("test", 4, 200)):
        write_rows(folder / f"{name}.jsonl", count, offset)
    run(config(folder, **ANSWERED))
    return folder


def test_the_figures_can_be_computed_again_from_the_predictions(answered: Path) -> None:
    written, rows = report(answered), lines(answered)

    assert written["predictions"] == {"path": str(answered / "run" / "predictions.jsonl"), "rows": 3}
    assert [row["input"] for row in rows] == [row["prompt"] for row in asked_rows(answered)][:3]
    assert [row["references"] for row in rows] == [[row["completion"]] for row in asked_rows(answered)][:3]
    assert {row["source"] for row in rows} == {"data.test[0]"}
    for model, figures in (("base", written["baseline"]), ("tuned", written["final"])):
        answers = Answers(tuple(Prediction(row["input"], tuple(row["references"]), row[model], row[f"{model}Cut"]) for row in rows))
        names = [MetricName(name) for name in figures if METRICS[MetricName(name)].needs is Needs.GENERATED_TEXT]
        again = compute(names, {Needs.GENERATED_TEXT: answers})
        assert {name: figure.value for name, figure in again.items()} == {name: figures[name]["value"] for name in names}


def asked_rows(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]


def test_the_card_has_the_reports_figures_and_the_digests_of_the_rows(answered: Path) -> None:
    written, card = report(answered), ModelCard.load(answered / "run" / "model" / "adapter" / "README.md")

    values = {result.metric_name: (result.metric_value, result.metric_args["base"]) for result in card.data.eval_results}
    assert values == {
        METRICS[MetricName(name)].heading: (figure["value"], written["baseline"][name]["value"])
        for name, figure in written["final"].items()
    }
    record = json.loads((answered / "run" / "run.json").read_text())
    assert written["data"]["digests"] == {side: record["digests"][side] for side in ("data.train", "data.validation", "data.test")}
    assert all(digest in card.text for digest in written["data"]["digests"].values())
    assert "`training.seed` | 42" in card.text
    assert "`predictions.jsonl` beside the run's `report.json`" in card.text


def test_predictions_that_were_deleted_are_made_again_as_they_were(answered: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(answered, tmp_path / "copy"))
    before, rows = report(folder), lines(folder)
    (folder / "run" / "predictions.jsonl").unlink()

    run(config(folder, **ANSWERED), only_results=True)

    assert lines(folder) == rows
    assert (report(folder)["final"], report(folder)["baseline"]) == (before["final"], before["baseline"])


def test_a_run_without_answers_has_no_predictions(finished: Path) -> None:
    assert report(finished)["predictions"] is None
    assert not (finished / "run" / "predictions.jsonl").exists()


def test_transcripts_are_measured_as_they_were_recognized_too(tmp_path: Path) -> None:
    tiny_learner(tmp_path / "base")
    said = [(f"the {color} lamp is of {place}", f"the {color} lamp is off {place}") for color in COLORS for place in ("today", "now")]
    said[-1] = ("", said[-1][1])
    content = [json.dumps({"hypothesis": hypothesis, "reference": reference}) for hypothesis, reference in said]
    for name, chosen in (("train", content[:8]), ("validation", content[8:12]), ("test", content[12:])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(chosen))
    generation = {"samples": 4, "maxNewTokens": 4}

    run(config(tmp_path, task="transcript-correction", evaluation={"metrics": ["wer", "cer"], "generation": generation}))

    written = report(tmp_path)
    assert written["unchanged"]["wer"]["value"] == pytest.approx(
        jiwer.wer([right for _, right in said[12:]], [text for text, _ in said[12:]])
    )
    assert [line["input"] for line in lines(tmp_path)] == [hypothesis for hypothesis, _ in said[12:]]
    assert list(written["unchanged"]) == ["wer", "cer"]
    card = (tmp_path / "run" / "model" / "adapter" / "README.md").read_text()
    assert f"| WER | {written['unchanged']['wer']['value']:.3f} |" in card
    assert "Correct this transcript:" in card


def test_a_run_beside_the_jobs_own_takes_its_base_models_figures_where_they_are_of_the_same_model_and_rows(folder: Path) -> None:
    """Altered figures are recognized: a model that was measured again has its own."""
    run(config(folder))
    file = folder / "run" / "measurement.json"
    altered = json.loads(file.read_text())
    altered["base"]["figures"]["perplexity"]["value"] = 12345.0
    file.write_text(json.dumps(altered))

    def beside(name: str, **changes: Any) -> tuple[float, list[str]]:
        derived_from = {"name": name, "main": str(folder / "run"), "figuresOnly": True}
        output = {"directory": str(folder / "run" / name), "export": []}
        run(train_config(folder, **(config(folder).to_wire() | {"derived": derived_from, "output": output} | changes)))
        there = sorted(path.name for path in (folder / "run" / name).iterdir() if not path.name.startswith("."))
        return json.loads((folder / "run" / name / "report.json").read_text())["baseline"]["perplexity"]["value"], there

    regularization = {"weightDecay": 0.5}
    taken, there = beside("same", regularization=regularization)
    assert taken == 12345.0
    assert there == ["checkpoints", "measurement.json", "metrics.jsonl", "report.json", "run.json", "tensorboard"]
    own = json.loads((folder / "run" / "report.json").read_text())["baseline"]["perplexity"]["value"]
    shorter = config(folder).to_wire()["training"] | {"maxSequenceLength": 100}
    assert beside("shorter", training=shorter)[0] == own, "measured again, because longer rows would be cut"
    (folder / "test.jsonl").write_text("".join((folder / "test.jsonl").read_text().splitlines(keepends=True)[:-1]))
    assert beside("fewer")[0] not in (12345.0, own), "of other rows"


def test_the_last_weights_are_the_result_where_a_run_says_so(folder: Path) -> None:
    """The last validation is not the best: its rows are nothing but characters that no training row has."""
    training = {"maxSteps": 8, "globalBatchSize": 4, "microBatchSize": 4, "learningRate": 0.1, "maxSequenceLength": 128}
    answers = [{"prompt": f"Question {number}?", "completion": "9876543210#$%&" * 3} for number in range(4)]
    (folder / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    run(config(folder, training=training, output={"directory": str(folder / "best"), "export": []}))
    best = json.loads((folder / "best" / "report.json").read_text())
    assert best["measuredStep"] == best["best"]["step"] < 8
    beside = {"derived": {"name": "last", "main": str(folder / "best"), "lastWeights": True}}
    beside["output"] = {"directory": str(folder / "last"), "export": []}
    run(config(folder, training=training, **beside))
    last = json.loads((folder / "last" / "report.json").read_text())
    assert (last["measuredStep"], last["best"]) == (8, best["best"])
    assert last["final"]["perplexity"]["value"] != best["final"]["perplexity"]["value"]


def test_a_measurement_that_was_deleted_is_made_again_as_it_was(folder: Path) -> None:
    run(config(folder))
    file = folder / "run" / "measurement.json"
    before = file.read_text()
    assert report(folder)["measurement"] == {"path": str(file), "bytes": file.stat().st_size}
    file.unlink()
    run(config(folder), only_results=True)
    assert file.read_text() == before
