"""What the quickstart's answers say is what the code says: names, allowed values, defaults, and what does not exist.

A name in backticks is looked up in the schema or in the short list of commands and files below. A default that an answer
states is compared with the default of the models. That the sentences around them are true is for a reader to judge.
"""

import re
import types
from collections.abc import Iterator
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from finetune.api import record, sections
from finetune.api import spec as api
from finetune.api.spec import FineTuneJobSpec
from finetune.api.status import ConditionType, FineTuneJobStatus

Row = dict[str, str]

NAMES_BESIDE_THE_SCHEMA = {
    *("ftj", "finetune.dev", "v1alpha1", "apiVersion: finetune.dev/v1alpha1", "python -m finetune.api.crd --check"),
    *("finetune", "finetune run", "finetune check", "finetune run JOB.yaml --output DIR", "finetune check JOB.yaml"),
    *("--output", "--overwrite", "--verbose", "--claim NAME=DIR", "resumed from step N"),
    *("make setup", "make run", "make test", "make lint", "make cluster", "make cluster-down", "make e2e", "make bench"),
    *("kubectl apply", "kubectl explain", "kubectl cp", "kubectl get ftj", "kubectl get finetunejobs", "kubectl get ftj NAME -o yaml"),
    *("kubectl apply -f manifests/samples/quickstart.yaml", "kubectl wait --for=condition=Succeeded ftj/NAME"),
    *(
        "helm install",
        "helm uninstall",
        "HF_ENDPOINT",
        "HF_TOKEN",
        "FINETUNE_MODEL_STORE",
        ".venv",
        "runs/quickstart",
        "charts/finetune-operator",
        "manifests",
    ),
    *("checkpoints", "checkpoints/step-40", "model", "model/adapter", "model/merged"),
    *("report.json", "metrics.jsonl", "status.json", "run.json", "trainer.log", "tensorboard"),
    *("watchNamespace", "trainer.env"),  # values of the chart
    *("controller", "trainer"),  # targets of the Dockerfile
}

NOT_SUPPORTED = (
    r"packing|qlora|neftune|deadline|time to live|\bs3\b|kueue|offload|elastic|float16|more weight|translation|amd gpu|\bserved\b"
)
"""What users ask for and the schema does not have."""

NUMBER = r"(\d[\d.]*(?:e-\d+)?(?:[KMGT]i)?)(?<!\.)"
TRAINING = sections.Training(epochs=1)

DEFAULTS: list[tuple[str, object]] = [
    ("The default of `method.lora.rank` is #", sections.LoraMethod().rank),
    ("the factor is alpha / rank. The default is #", sections.LoraMethod().alpha),
    ("the default of `method.lora.dropout` is #. When", sections.LoraMethod().dropout),
    ("over all workers and accumulation. The default is #", TRAINING.global_batch_size),
    ("rows per forward pass of one rank. The default is #", TRAINING.micro_batch_size),
    ("The default of `training.learningRate` is #", TRAINING.learning_rate),
    ("learning rate rises from 0. The default is #", TRAINING.warmup_ratio),
    ("The default of `training.maxSequenceLength` is #", TRAINING.max_sequence_length),
    ("clipped to `training.gradientClipping`. The default is #", TRAINING.gradient_clipping),
    ("order of rows, augmentation and dropout. The default is #", TRAINING.seed),
    ("decoupled weight decay of AdamW. The default is #", sections.Regularization().weight_decay),
    ("the default of `regularization.dropout` is #", sections.Regularization().dropout),
    ("training loss only; the default is #", sections.Regularization().label_smoothing),
    ("The default of `regularization.earlyStopping.patience` is #", sections.EarlyStopping().patience),
    ("counts as an improvement. The default is #", sections.EarlyStopping().min_delta),
    ("changed in an epoch. The default is #", sections.Augmentation.model_fields["augmented_share"].default),
    ("The default of `synonymReplacement.probability` is #", sections.SynonymReplacement().probability),
    ("with a chance of # by default", sections.WordDropout().probability),
    ("The default chance of each word is #", sections.WordSwap().probability),
    ("The default chance of each letter is #", sections.CharacterNoise().probability),
    ("the first ones of the set. The default is #", sections.Generation().samples),
    ("`evaluation.generation.maxNewTokens` tokens. The default is #", sections.Generation().max_new_tokens),
    ("the number of workers. The default is #", api.Distributed().workers),
    ("The default of `distributed.deepspeed.zeroStage` is #", sections.Deepspeed().zero_stage),
    ("CPU request of one worker. The default is #", api.Resources().cpu),
    ("memory limit of one worker. The default is #", api.Resources().memory),
    ("NVIDIA GPUs of one worker. The default is #", api.Resources().gpus),
    ("The default of `resources.gpus` is #", api.Resources().gpus),
    ("optimizer steps. The default is #", sections.CheckpointPolicy().every_steps),
    ("the best one is kept besides. The default is #", sections.CheckpointPolicy().keep),
    ("With the default of # at most four checkpoints", sections.CheckpointPolicy().keep),
    ("attempts have failed. The default is #", api.RunPolicy().max_attempts),
    ("With the defaults rank # and", sections.LoraMethod().rank),
    ("The name of a job has at most # characters", api.NAME_MAX_LENGTH),
    ("Exit code # means", record.EXIT_INPUT),
]
"""Words of an answer with the sign # where it states a number, and that number in the code."""

STATED_DEFAULT = re.compile(rf"default[^.?]*?\bis {NUMBER}|with the defaults? [^.]*?{NUMBER}|chance of {NUMBER} by default", re.IGNORECASE)


def plain_types(annotation: Any) -> Iterator[Any]:
    """Yield the types that an annotation is made of, through lists, unions and Annotated; a Literal stays whole."""
    if get_origin(annotation) in (list, dict, Union, types.UnionType):
        for argument in get_args(annotation):
            yield from plain_types(argument)
    elif hasattr(annotation, "__metadata__"):
        yield from plain_types(get_args(annotation)[0])
    else:
        yield annotation


def field_paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the path on the wire of every field below `model`: training, training.epochs, …"""
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        yield path
        for kind in plain_types(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from field_paths(kind, f"{path}.")


def allowed_values(model: type[BaseModel]) -> Iterator[str]:
    """Yield every value of the enumerations below `model`."""
    for field in model.model_fields.values():
        for kind in plain_types(field.annotation):
            if get_origin(kind) is Literal:
                yield from map(str, get_args(kind))
            elif isinstance(kind, type) and issubclass(kind, Enum):
                yield from (str(member.value) for member in kind)
            elif isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from allowed_values(kind)


@pytest.fixture(scope="module")
def fields() -> set[str]:
    """Every field of spec and status by its whole path and by each end of it: checkpoint.keep, keep."""
    whole = [*field_paths(FineTuneJobSpec), *field_paths(FineTuneJobStatus, "status.")]
    return {".".join(path.split(".")[start:]) for path in whole for start in range(path.count(".") + 1)}


def test_every_name_in_backticks_is_a_field_a_value_a_command_or_a_file(every_quickstart_row: list[Row], fields: set[str]) -> None:
    known = fields | set(allowed_values(FineTuneJobSpec)) | {each.value for each in ConditionType} | NAMES_BESIDE_THE_SCHEMA
    for row in every_quickstart_row:
        assert row["completion"].count("`") % 2 == 0, row
        for name in re.findall(r"`([^`]+)`", row["completion"]):
            assert name in known, f"{name!r} is not known: {row}"


def test_every_camel_case_word_is_a_field(every_quickstart_row: list[Row], fields: set[str]) -> None:
    known = {part for path in fields for part in path.split(".")} | NAMES_BESIDE_THE_SCHEMA | {"apiVersion", "chrF"}
    for row in every_quickstart_row:
        for word in re.findall(r"(?<![A-Za-z])[a-z]+[A-Z][A-Za-z]*", " ".join(row.values())):
            assert word in known, f"{word!r} is not a field: {row}"


def test_every_dotted_word_of_a_question_is_a_field(every_quickstart_row: list[Row], fields: set[str]) -> None:
    known = fields | {"report.json", "metrics.jsonl", "status.json", "run.json", "ftj.spec.training"}
    for row in every_quickstart_row:
        for word in re.findall(r"[a-z]\w*(?:\.[a-z]\w*)+", row["prompt"]):
            assert word in known, f"{word!r} is not a field: {row}"


def test_a_question_for_what_the_schema_lacks_is_answered_so(every_quickstart_row: list[Row]) -> None:
    asked = [row for row in every_quickstart_row if re.search(NOT_SUPPORTED, row["prompt"], re.IGNORECASE)]
    assert len(asked) > 10
    for row in asked:
        assert re.search(r"not supported|There is no ", row["completion"]), row


@pytest.mark.parametrize(("words", "value"), DEFAULTS, ids=[words for words, _ in DEFAULTS])
def test_a_number_in_an_answer_is_the_number_in_the_code(every_quickstart_row: list[Row], words: str, value: object) -> None:
    pattern = re.compile(re.escape(words).replace(r"\#", NUMBER), re.IGNORECASE)
    stated = [found for row in every_quickstart_row for found in pattern.findall(row["completion"])]
    assert stated, "no answer has these words"
    for number in stated:
        assert number == value if isinstance(value, str) else float(number) == value


def test_every_default_that_an_answer_states_is_in_the_table(every_quickstart_row: list[Row]) -> None:
    patterns = [re.compile(re.escape(words).replace(r"\#", NUMBER), re.IGNORECASE) for words, _ in DEFAULTS]
    for row in every_quickstart_row:
        if STATED_DEFAULT.search(row["completion"]):
            assert any(pattern.search(row["completion"]) for pattern in patterns), f"add it to DEFAULTS: {row}"
