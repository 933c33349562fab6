"""`finetune explain` answers without a cluster and without the trainer's packages."""

import subprocess
import sys

import pytest

from finetune.cli.command import run_command


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def test_a_field_is_printed_with_type_default_and_limits(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["explain", "training.learningRate"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "KIND:     FineTuneJob",
        "VERSION:  finetune.dev/v1alpha1",
        "FIELD:    spec.training.learningRate <number>",
        "",
        "Peak learning rate.",
        "",
        "Default: 0.0002",
        "Allowed: more than 0, at most 1",
    ]


def test_an_object_is_printed_with_its_rules_and_members(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["explain", "spec.data.train"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "FIELD:    spec.data.train <[]Object> -required-" in lines
    assert "Rule: source: give exactly one of huggingFace, persistentVolumeClaim, configMap, path" in lines
    assert "  columns <Object>" in lines
    assert max(map(len, lines)) <= 100


def test_the_claim_for_the_output_is_required_on_a_cluster_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["explain", "output"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "FIELD:    spec.output <Object> -required on a cluster-" in lines
    assert "  persistentVolumeClaim <Object> -required on a cluster-" in lines


def test_without_a_field_all_sections_of_a_job_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["explain"]) == 0
    printed = capsys.readouterr().out
    assert "    task <string> -required-" in printed
    assert "    runPolicy <Object>" in printed


def test_recursive_lists_every_field_below(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["explain", "distributed", "--recursive"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "distributed <Object>",
        "  workers <integer>",
        "  deepspeed <Object>",
        "    zeroStage <integer>",
        "    offload <Object>",
        "      optimizer <boolean>",
        "      parameters <boolean>",
    ]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("training.learning_rate", "spec.training.learning_rate: there is no such field; did you mean learningRate?"),
        (
            "learningRate",
            "spec.learningRate: there is no such field; it belongs at spec.training.learningRate or"
            " spec.domainAdaptation.corpus.learningRate",
        ),
        ("lr", "spec.lr: there is no such field; the closest here is spec.training.learningRate"),
        ("data.train[0].colums", "spec.data.train[].colums: there is no such field; did you mean columns?"),
        ("status.progress.stp", "status.progress.stp: there is no such field; did you mean step?"),
        ("training.seed.x", "spec.training.seed.x: there is no such field; spec.training.seed is of type integer and has no fields"),
        ("metadata.name", "metadata.name: is a field of every Kubernetes object; with a cluster: kubectl explain ftj.metadata.name"),
    ],
)
def test_an_unknown_field_ends_with_2_and_the_one_that_is_meant(asked: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["explain", asked]) == 2
    assert capsys.readouterr().err == f"{said}\n"


def test_the_packages_of_the_trainer_are_not_needed() -> None:
    program = "import sys; sys.modules['torch'] = sys.modules['ray'] = None; from finetune.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", program, "explain", "task"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Allowed: chat | text-generation" in done.stdout
