"""What a job leaves out stands among its hyper-parameters as it took effect."""

from finetune.api.sections import Precision
from finetune.api.tasks import TASKS, ModelFamily, TaskName
from tests.builders import train_config
from trainer.reporting.hyperparameters import hyperparameters

CHAT, TEXTS = (TASKS[name].on(ModelFamily.CAUSAL) for name in (TaskName.CHAT, TaskName.LANGUAGE_MODELING))


def test_defaults_are_filled_in_and_what_was_left_to_the_machine_is_resolved() -> None:
    used = hyperparameters(train_config(), CHAT, Precision.BFLOAT16, packed=True, validation_every=7)

    assert used["training"]["seed"] == 42
    assert (used["training"]["learningRate"], used["training"]["precision"]) == (2e-4, "bfloat16")
    assert used["training"]["packing"] == "always"
    defaults = {"alpha": 32, "dropout": 0.0, "targetModules": "all-linear", "quantization": None, "useRslora": False, "useDora": False}
    assert used["method"]["lora"] == {"rank": 4, **defaults}
    assert used["regularization"]["weightDecay"] == 0.0
    assert used["evaluation"]["everySteps"] == 7
    assert {"perplexity", "bleu"} <= set(used["evaluation"]["metrics"])
    assert used["evaluation"]["generation"] == {"maxNewTokens": 128, "samples": 200}
    assert used["distributed"]["workers"] == 1
    assert used["optimizer"]["name"] == "AdamW"


def test_what_the_job_says_is_kept() -> None:
    config = train_config(
        task="language-modeling", method={"full": {}}, training={"maxSteps": 3, "seed": 5, "precision": "float32"},
        regularization={"weightDecay": 0.1, "earlyStopping": {"patience": 2}}, workers={"workers": 2, "deepspeed": {"zeroStage": 3}},
        augmentation={"operations": [{"wordDropout": {"probability": 0.1}}]},
    )  # fmt: skip

    used = hyperparameters(config, TEXTS, Precision.FLOAT32, packed=False, validation_every=None)

    assert (used["training"]["seed"], used["training"]["maxSteps"], used["training"]["precision"]) == (5, 3, "float32")
    assert used["training"]["packing"] == "never"
    assert used["regularization"]["earlyStopping"] == {"metric": "perplexity", "patience": 2, "minDelta": 0.0}
    assert used["distributed"]["deepspeed"]["zeroStage"] == 3
    assert used["augmentation"]["augmentedShare"] == 0.3
    assert used["evaluation"]["metrics"] == ["perplexity", "bitsPerByte"]
