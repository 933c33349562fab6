"""evaluation.ablations: which control runs there are, and jobs that have nothing to leave out.

Whole runs: tests/finetune/cli/test_ablations.py.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from finetune.api.errors import InputError
from finetune.api.metrics import MetricName
from finetune.api.trainconfig import TrainConfig
from tests.builders import train_config
from tests.trainer.fixtures.causal import tiny_tokenizer
from tests.trainer.fixtures.encoders import tiny_encoder
from tests.trainer.fixtures.examples import chat
from tests.trainer.fixtures.stored import stored
from trainer.data.rows import Dataset
from trainer.data.sampler import steps_total
from trainer.driver.ablations import ablation_plan
from trainer.driver.derived import OWN, Done
from trainer.text.label import LabelExample

EVERYTHING = {
    "regularization": {"weightDecay": 0.1, "dropout": 0.2, "earlyStopping": {"metric": "bleu", "patience": 2}},
    "method": {"lora": {"rank": 4, "dropout": 0.3}},
    "augmentation": {"operations": [{"wordDropout": {}}]},
}


def controls(*ablations: str, **changes: Any) -> tuple[TrainConfig, list[TrainConfig]]:
    main = train_config(**{**EVERYTHING, **changes}, evaluation__ablations=list(ablations))
    done = {OWN: Done(main, {"data": {"train": 301}})}
    return main, [planned.configure(main, done) for planned in ablation_plan(main).after]


def differences(main: TrainConfig, control: TrainConfig) -> dict[str, Any]:
    """Return the sections of the control run's lineage that differ from the job's."""
    before, after = main.lineage(), control.lineage()
    return {name: after[name] for name in before if before[name] != after[name]}


def test_each_control_run_lacks_its_part_and_nothing_else() -> None:
    main, found = controls("augmentation", "weightDecay", "dropout", "earlyStopping")
    whole = main.lineage()
    assert [differences(main, control) for control in found] == [
        {"augmentation": None},
        {"regularization": whole["regularization"] | {"weightDecay": 0.0}},
        {"regularization": whole["regularization"] | {"dropout": 0.0}, "method": {"lora": whole["method"]["lora"] | {"dropout": 0.0}}},
        {
            "regularization": {name: value for name, value in whole["regularization"].items() if name != "earlyStopping"},
            "evaluation": whole["evaluation"] | {"bestMetric": "bleu"},
        },
    ]
    assert [control.derived.last_weights for control in found if control.derived] == [False, False, False, True]
    assert found[-1].evaluation.best_metric is MetricName.BLEU, "early stopping said by what the job is judged"


COPIES = {"augmentation": {"operations": [{"wordDropout": {}}], "copiesPerRow": 3}}


def without_copies(training: dict[str, Any], **changes: Any) -> tuple[TrainConfig, TrainConfig]:
    """Return a job of 100 rows with three copies of each, planned for 2 epochs of 400 / 8 steps, and its control run without them."""
    main = train_config(**COPIES, **{"training": training, "evaluation": {"ablations": ["augmentation"]}, **changes})
    done = {OWN: Done(main, {"training": {"steps": 75, "totalSteps": 100, "epochs": 1.5}})}
    [planned] = ablation_plan(main).after
    return main, planned.configure(main, done)


def test_a_control_run_without_copies_of_rows_trains_for_as_many_steps_and_is_validated_as_often() -> None:
    main, control = without_copies({"epochs": 2, "globalBatchSize": 8})
    training = main.lineage()["training"]
    del training["epochs"]
    assert differences(main, control) == {
        "augmentation": None,
        "training": training | {"maxSteps": 100},
        "evaluation": main.lineage()["evaluation"] | {"everySteps": 50},
    }
    assert steps_total(100, control.training) == steps_total(400, main.training) == 100


def test_a_control_run_without_copies_keeps_steps_and_validations_that_the_job_gives() -> None:
    main, control = without_copies({"maxSteps": 100}, evaluation={"ablations": ["augmentation"], "everySteps": 7})
    assert differences(main, control) == {"augmentation": None}


def test_without_pretraining_all_weights_begin_at_random() -> None:
    main, [control] = controls("pretraining", method={"full": {}})
    assert differences(main, control) == {"model": {"initialization": "random"}}


@pytest.mark.parametrize("changes", [{}, {"method": {"full": {"freeze": {"embeddings": True}}}}], ids=["adapters", "frozen weights"])
def test_random_weights_that_are_not_trained_are_no_control(changes: dict[str, Any]) -> None:
    with pytest.raises(
        InputError, match=r"^evaluation\.ablations\[0\]: this ablation needs method\.full without freeze and a pre-trained model; remove"
    ):
        controls("pretraining", **changes)


def test_data_is_learned_in_two_shares_of_the_rows() -> None:
    _, found = controls("data")
    assert [control.data.max_train_rows for control in found] == [76, 151]
    assert [control.output.directory for control in found] == [f"/nowhere/out/ablations/data-{share}" for share in (25, 50)]


@pytest.mark.parametrize(
    ("ablation", "missing"),
    [
        ("augmentation", "the job has no augmentation to leave out"),
        ("weightDecay", "the job has no weight decay to leave out"),
        ("dropout", "the job sets no dropout to ablate"),
        ("earlyStopping", "the job has no early stopping to leave out"),
    ],
)
def test_what_a_job_does_not_use_cannot_be_left_out(ablation: str, missing: str) -> None:
    with pytest.raises(InputError) as refused:
        ablation_plan(train_config(evaluation__ablations=["data", ablation]))
    assert str(refused.value).startswith(f"evaluation.ablations[1]: {missing}; remove {ablation} from the list")


@dataclass
class Checked:
    """Valid inputs, as far as plans look at them."""

    dataset: Dataset
    findings: tuple[str, ...] = field(default=())


def checked(ablations: list[str], train: list[Any], test: list[Any]) -> None:
    config = train_config(evaluation__ablations=ablations, regularization={"weightDecay": 0.1})
    ablation_plan(config).check(config, Checked(Dataset(stored(train), (), stored(test))))  # type: ignore[arg-type]


def test_without_test_rows_runs_cannot_be_compared() -> None:
    rows = [chat(f"question {number}", "yes") for number in range(8)]
    checked(["weightDecay", "data"], rows[:4], rows[4:])
    with pytest.raises(InputError, match=r"^evaluation\.ablations: there are no test rows to compare runs on; give data\.test or"):
        checked(["weightDecay"], rows, [])


def test_a_quarter_of_the_rows_must_have_all_classes() -> None:
    rows = [LabelExample.of(f"line {number}", f"text {number}", [f"class {number % 3}"]) for number in range(13)]
    checked(["data"], rows[:12], rows[12:])
    problem = (
        r"^evaluation\.ablations\[1\]: 25 % of the 8 training rows are 2, too few for each class to have one, which takes 3; give more"
    )
    with pytest.raises(InputError, match=problem):
        checked(["weightDecay", "data"], rows[:8], rows[8:])


@pytest.mark.parametrize(("own", "refused"), [(0.0, True), (0.1, False)], ids=["no dropout of its own", "dropout of its own"])
def test_a_control_run_that_r_drop_would_refuse_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: float, refused: bool
) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    tiny_encoder("AutoModel", "modernbert", mlp_dropout=own).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    rows = [LabelExample.of(f"line {number}", f"text {number}", [f"class {number % 2}"]) for number in range(8)]
    config = train_config(
        tmp_path, task="text-classification", method={"full": {}}, regularization={"rDropAlpha": 1, "dropout": 0.1},
        evaluation={"ablations": ["dropout"]},
    )  # fmt: skip
    inputs: Any = Checked(Dataset(stored(rows[:6]), (), stored(rows[6:])))
    if not refused:
        ablation_plan(config).check(config, inputs)
        return
    says = r"^evaluation\.ablations\[0\]: without dropout regularization\.rDropAlpha has no effect: nothing .*; remove dropout from"
    with pytest.raises(InputError, match=says):
        ablation_plan(config).check(config, inputs)
