"""The sections of a job that controller and trainer both read: how to train, regularize, augment, evaluate, checkpoint.

They stand in the FineTuneJob's spec as the user wrote them and go into TrainConfig unchanged. A sentence under each field
is its documentation: it appears in the CRD and so in `kubectl explain`.
"""

import re
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from trainer.config.base import Model, Rule, at_most_one, exactly_one

Probability = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0.001, le=0.5)]
PositiveInt = Annotated[int, Field(ge=1)]


class Task(StrEnum):
    """What the model learns to do; decides how a row becomes tokens and which of them bear loss."""

    CHAT = "chat"
    LANGUAGE_MODELING = "language-modeling"


OBJECT_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
"""Names of claims, ConfigMaps and Secrets; a claim's and a ConfigMap's name also becomes part of a mount path."""
MODEL_NAME = r"^[A-Za-z0-9][-._A-Za-z0-9]*(/[A-Za-z0-9][-._A-Za-z0-9]*)?$"

INSIDE_CLAIM = Rule(
    "!self.path.startsWith('/') && !self.path.matches('(^|/)[.][.](/|$)')",
    lambda claim: not (claim.path.startswith("/") or ".." in claim.path.split("/")),
    "path: a path inside the claim is relative and has no '..'",
)


class Columns(Model):
    """Which columns of a source hold what. A chat source has `messages`, or `prompt` and `completion`; text has `text`."""

    prompt: str | None = Field(None, min_length=1, max_length=256, description="Column with what the user says. Default: prompt.")
    completion: str | None = Field(
        None, min_length=1, max_length=256, description="Column with what the model should answer. Default: completion."
    )
    system: str | None = Field(None, min_length=1, max_length=256, description="Column with the system message of the row. Default: none.")
    messages: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        description="Column with a list of {role, content} messages, instead of prompt and completion."
        " Default: messages, where the rows have such a column and none named prompt.",
    )
    text: str | None = Field(
        None, min_length=1, max_length=256, description="Column with plain text, for task language-modeling. Default: text."
    )

    rules = (
        at_most_one("messages", "prompt", what="columns"),
        at_most_one("text", "prompt", what="columns"),
        at_most_one("text", "messages", what="columns"),
    )


class Precision(StrEnum):
    """Arithmetic of forward and backward; auto is bfloat16 where the device has it, else float32."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class DataFormat(StrEnum):
    """File formats a source may have."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    TEXT = "text"


class HuggingFaceDataset(Model):
    """A data set on the Hugging Face hub."""

    name: str = Field(min_length=1, max_length=200, description="Name on the hub, such as org/set.")
    split: str = Field("train", min_length=1, max_length=200, description="Split to read.")
    config: str | None = Field(None, min_length=1, max_length=200, description="Configuration (subset) of the data set.")
    revision: str | None = Field(
        None, min_length=1, max_length=200, description="Commit to read; without it the newest is read, and its commit is recorded."
    )


class ClaimPath(Model):
    """A file or folder on a PersistentVolumeClaim of the job's namespace."""

    claim_name: str = Field(max_length=253, pattern=OBJECT_NAME, description="Name of the PersistentVolumeClaim.")
    path: str = Field("", max_length=1024, description="Path inside the claim, relative to its root.")

    rules = (INSIDE_CLAIM,)


class ConfigMapKey(Model):
    """One key of a ConfigMap of the job's namespace."""

    name: str = Field(max_length=253, pattern=OBJECT_NAME, description="Name of the ConfigMap.")
    key: str = Field(
        min_length=1,
        max_length=253,
        pattern=r"^[-._a-zA-Z0-9]+$",
        description="Key in it; its ending tells the format.",
    )


class SecretKey(Model):
    """One key of a Secret of the job's namespace. Only the kubelet reads it."""

    name: str = Field(max_length=253, pattern=OBJECT_NAME, description="Name of the Secret.")
    key: str = Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$", description="Key in it.")


class Source(Model):
    """Rows from one place. Exactly one of huggingFace, persistentVolumeClaim, configMap, path."""

    hugging_face: HuggingFaceDataset | None = Field(None, description="A data set on the Hugging Face hub.")
    persistent_volume_claim: ClaimPath | None = Field(None, description="A file on a claim.")
    config_map: ConfigMapKey | None = Field(None, description="A key of a ConfigMap.")
    path: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="A local file, relative to the job file; for `finetune run` only.",
    )
    format: DataFormat | None = Field(
        None,
        description="Format of the file; default: from the ending of its name."
        " In jsonl each line is an object; csv has a header and commas; in text a row is a paragraph, up to a blank line.",
    )
    columns: Columns | None = Field(None, description="Which columns hold what.")

    rules = (exactly_one("hugging_face", "persistent_volume_claim", "config_map", "path", what="source"),)


class FileSource(Model):
    """One file from one place. Exactly one of persistentVolumeClaim, configMap, path."""

    persistent_volume_claim: ClaimPath | None = Field(None, description="A file on a claim.")
    config_map: ConfigMapKey | None = Field(None, description="A key of a ConfigMap.")
    path: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="A local file, relative to the job file; for `finetune run` only.",
    )

    rules = (exactly_one("persistent_volume_claim", "config_map", "path", what="source"),)


class ModelSource(Model):
    """The pre-trained model. Exactly one of name, persistentVolumeClaim, path."""

    name: str | None = Field(
        None,
        max_length=200,
        description="Name on the Hugging Face hub.",
    )
    persistent_volume_claim: ClaimPath | None = Field(None, description="A folder on a claim, in the layout of save_pretrained.")
    path: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        description="A local folder, relative to the job file; for `finetune run` only.",
    )
    revision: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="Commit on the hub; with it the model comes from the hub and nowhere else.",
    )
    token_secret: SecretKey | None = Field(None, description="Secret with a hub token, for gated models.")

    rules = (
        exactly_one("name", "persistent_volume_claim", "path", what="model"),
        Rule(
            f"!has(self.name) || self.name.matches('{MODEL_NAME}')",
            lambda m: m.name is None or re.search(MODEL_NAME, m.name) is not None,
            "model.name: give the name as the hub shows it, organisation/model, such as HuggingFaceTB/SmolLM2-135M-Instruct;"
            " for a folder use model.persistentVolumeClaim or model.path",
        ),
        Rule(
            "!has(self.revision) || has(self.name)",
            lambda m: m.revision is None or m.name is not None,
            "model.revision: only a model with a name has one",
        ),
        Rule(
            "!has(self.tokenSecret) || has(self.name)",
            lambda m: m.token_secret is None or m.name is not None,
            "model.tokenSecret: only a model with a name needs one",
        ),
    )


class Data(Model):
    """Rows to train on and rows to measure on. Rows that are equal always fall on the same side of a split."""

    train: list[Source] = Field(min_length=1, max_length=64, description="Sources of training rows.")
    validation: list[Source] | None = Field(None, min_length=1, max_length=64, description="Sources of validation rows.")
    validation_fraction: Fraction | None = Field(
        None, description="Share of the training rows held out for validation instead, by content hash."
    )
    test: list[Source] | None = Field(None, min_length=1, max_length=64, description="Sources of test rows.")
    test_fraction: Fraction | None = Field(None, description="Share of the training rows held out for the test instead, by content hash.")

    rules = (
        at_most_one("validation", "validation_fraction", what="data"),
        at_most_one("test", "test_fraction", what="data"),
    )


class SynonymReplacement(Model):
    """Replace words by WordNet synonyms (after Wei and Zou 2019, arXiv:1901.11196)."""

    probability: Probability = Field(0.1, description="Chance of each word that has a synonym.")
    dictionary: FileSource | None = Field(
        None,
        description="Own table: a line per word, the word, a tab, its synonyms with commas between. Default: WordNet.",
    )


class WordDropout(Model):
    """Leave words out."""

    probability: Probability = Field(0.05, description="Chance of each word; one word always stays.")


class WordSwap(Model):
    """Swap a word with the one after it."""

    probability: Probability = Field(0.05, description="Chance of each word.")


class CharacterNoise(Model):
    """Insert, delete, replace or swap a character, as typing errors do."""

    probability: Probability = Field(0.02, description="Chance of each letter; numbers are left alone.")


class AugmentationOperation(Model):
    """One way of changing a text; operations are applied in the order of the list."""

    synonym_replacement: SynonymReplacement | None = Field(None, description="Replace words by synonyms.")
    word_dropout: WordDropout | None = Field(None, description="Leave words out.")
    word_swap: WordSwap | None = Field(None, description="Swap neighbouring words.")
    character_noise: CharacterNoise | None = Field(None, description="Make typing errors.")

    rules = (exactly_one("synonym_replacement", "word_dropout", "word_swap", "character_noise", what="augmentation.operations"),)


class Augmentation(Model):
    """Change training texts anew in every epoch: of a chat the user's turns, never the answers; of a text the text."""

    operations: list[AugmentationOperation] = Field(min_length=1, max_length=16, description="What is done to a text, in order.")
    augmented_share: Probability = Field(0.3, description="Share of the training rows that are changed in an epoch.")


class LoraMethod(Model):
    """Train low-rank adapters beside frozen weights (Hu et al. 2021, arXiv:2106.09685)."""

    rank: Annotated[int, Field(ge=1, le=1024)] = Field(16, description="Rank of the adapter matrices.")
    alpha: Annotated[float, Field(gt=0)] = Field(32, description="Scale: the adapter's output is multiplied by alpha / rank.")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="Dropout on the adapter's input.")
    target_modules: list[Annotated[str, Field(min_length=1, max_length=200)]] | None = Field(
        None,
        min_length=1,
        max_length=32,
        description="Names of the modules that get an adapter. Default: every linear layer but the output layer.",
    )


class FullMethod(Model):
    """Train every weight of the model."""


class Method(Model):
    """Which weights are trained."""

    lora: LoraMethod | None = Field(None, description="Low-rank adapters.")
    full: FullMethod | None = Field(None, description="All weights.")

    rules = (exactly_one("lora", "full", what="method"),)


class Scheduler(StrEnum):
    """Learning-rate schedules; all begin with a linear warm-up."""

    COSINE = "cosine"
    LINEAR = "linear"
    CONSTANT = "constant"


class Training(Model):
    """How long and how to train."""

    epochs: Annotated[float, Field(gt=0, le=1000)] | None = Field(None, description="Passes over the training rows.")
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(None, description="Optimizer steps, instead of epochs.")
    global_batch_size: Annotated[int, Field(ge=1, le=65536)] = Field(
        32, description="Rows per optimizer step, over all workers and accumulation."
    )
    micro_batch_size: Annotated[int, Field(ge=1, le=4096)] = Field(
        4, description="Rows per forward pass of one rank; the loss does not depend on it."
    )
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(2e-4, description="Peak learning rate.")
    scheduler: Scheduler = Field(Scheduler.COSINE, description="Learning-rate schedule after warm-up.")
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.03, description="Share of the steps over which the learning rate rises from 0."
    )
    max_sequence_length: Annotated[int, Field(ge=8, le=1_048_576)] = Field(
        1024, description="Tokens per row; longer rows are cut and counted."
    )
    precision: Precision = Field(Precision.AUTO, description="Arithmetic of forward and backward.")
    gradient_clipping: Annotated[float, Field(ge=0)] = Field(
        1.0, description="Largest norm of the whole gradient; 0 switches clipping off."
    )
    gradient_checkpointing: bool = Field(False, description="Recompute activations in backward: less memory, about a third more time.")
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(42, description="Seed of every random choice.")

    rules = (exactly_one("epochs", "max_steps", what="training"),)


class EarlyStopping(Model):
    """Stop when the validation rows stop improving."""

    metric: Literal["perplexity"] = Field("perplexity", description="Figure that is watched, on the validation rows.")
    patience: PositiveInt = Field(3, description="Evaluations in a row without improvement before training stops.")
    min_delta: Annotated[float, Field(ge=0)] = Field(0.0, description="Smallest decrease that counts as an improvement.")


class Regularization(Model):
    """What keeps the model from learning the training rows by heart."""

    weight_decay: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="Decoupled weight decay of AdamW; biases and norms are exempt."
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Dropout on the output of every attention and feed-forward block."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Probability mass spread evenly over the vocabulary; training loss only."
    )
    early_stopping: EarlyStopping | None = Field(None, description="Stop when validation stops improving.")


class Generation(Model):
    """Greedy generation for the text metrics."""

    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = Field(128, description="Tokens generated at most for one answer.")
    samples: PositiveInt = Field(
        200,
        description="Test rows that are answered, the first ones in the set's order; perplexity always uses all rows.",
    )


class Evaluation(Model):
    """What is measured on the held-out rows: before training (the base model), during it, and after."""

    every_steps: PositiveInt | None = Field(None, description="Optimizer steps between validations. Default: once an epoch.")
    metrics: list[Literal["perplexity", "bleu", "chrf", "wer"]] | None = Field(
        None,
        min_length=1,
        max_length=8,
        description="Figures on the test rows. Default: perplexity, and for task chat also bleu, chrf and wer.",
    )
    generation: Generation | None = Field(None, description="How answers are generated for bleu, chrf and wer.")


class Deepspeed(Model):
    """Shard training state over the ranks with DeepSpeed ZeRO (Rajbhandari et al. 2020, arXiv:1910.02054)."""

    zero_stage: Literal[0, 1, 2, 3] = Field(2, description="0 shards nothing, 1 optimizer state, 2 also gradients, 3 also parameters.")


class CheckpointPolicy(Model):
    """When training state is saved and how much of it is kept."""

    every_steps: PositiveInt = Field(100, description="Optimizer steps between checkpoints; the last step always has one.")
    keep: Annotated[int, Field(ge=1, le=50)] = Field(3, description="Checkpoints kept: the newest ones; the best is kept besides.")


class Export(StrEnum):
    """Forms in which the tuned model is written."""

    ADAPTER = "adapter"
    MERGED = "merged"


# Rules shared by a whole spec and a whole TrainConfig live with those models.
ADAPTER_NEEDS_LORA = Rule(
    "!has(self.output.export) || !self.output.export.exists(e, e == 'adapter') || has(self.method.lora)",
    lambda value: value.output.export is None or Export.ADAPTER not in value.output.export or value.method.lora is not None,
    "output.export: adapter needs method.lora; with method.full export merged",
)
