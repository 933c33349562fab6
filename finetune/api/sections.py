"""The sections of a job that controller and trainer both read: how to train, regularize, augment, evaluate, checkpoint.

They are in the FineTuneJob's spec as the user wrote them and go into TrainConfig unchanged. A sentence under each field
is its documentation: it appears in the CRD and so in `kubectl explain`. Where model and rows come from is in sources.py.
Tests: tests/finetune/api/test_schema.py, tests/integration/test_malformed_jobs.py.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from finetune.api.base import Rule, WireModel, exactly_one
from finetune.api.metrics import METRICS, MetricName, Needs, OneOf
from finetune.api.sources import FileSource
from finetune.api.tasks import METRICS_OF_TASKS, VALIDATED_METRICS, Route, in_words, per_task, scores

Probability = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]


class Precision(StrEnum):
    """Arithmetic of forward and backward."""

    AUTO = "auto"
    FLOAT32 = "float32"
    TF32 = "tf32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class SynonymReplacement(WireModel):
    """Replace words by WordNet synonyms (after Wei and Zou 2019, arXiv:1901.11196)."""

    probability: Probability = Field(0.1, description="Chance of each word that has a synonym.")
    dictionary: FileSource | None = Field(
        None,
        description="Own table: one line per word: the word, a tab, and its synonyms separated by commas. Default: WordNet.",
    )


class WordDropout(WireModel):
    """Leave words out."""

    probability: Probability = Field(0.05, description="Chance of each word; one word always stays.")


class WordSwap(WireModel):
    """Swap a word with the one after it."""

    probability: Probability = Field(0.05, description="Chance of each word.")


class CharacterNoise(WireModel):
    """Insert, delete, replace or swap a character, as typing errors do."""

    probability: Probability = Field(0.02, description="Chance of each letter; numbers are left alone.")


class AugmentationOperation(WireModel):
    """One way of changing a text; operations are applied in the order of the list."""

    synonym_replacement: SynonymReplacement | None = Field(None, description="Replace words by synonyms.")
    word_dropout: WordDropout | None = Field(None, description="Leave words out.")
    word_swap: WordSwap | None = Field(None, description="Swap neighboring words.")
    character_noise: CharacterNoise | None = Field(None, description="Make typing errors.")

    rules = (exactly_one("synonym_replacement", "word_dropout", "word_swap", "character_noise", what="augmentation.operations"),)


class Augmentation(WireModel):
    """Change training texts differently in every epoch: the user's turns of a chat, never the answers; all of a plain text."""

    operations: list[AugmentationOperation] = Field(min_length=1, max_length=16, description="What is done to a text, in order.")
    augmented_share: Probability = Field(0.3, description="Share of the training rows that are changed in an epoch.")


class QuantizationType(StrEnum):
    """Sets of 16 values to which a weight of 4 bits is rounded."""

    NF4 = "nf4"
    FP4 = "fp4"


class Quantization(WireModel):
    """Hold the frozen weights of linear layers in 4 bits while adapters are trained (QLoRA; Dettmers et al. 2023, arXiv:2305.14314)."""

    type: QuantizationType = Field(QuantizationType.NF4, description="Data type: nf4 fits normally distributed weights; fp4 is a float.")
    double_quantization: bool = Field(True, description="Quantize the scales of the 4-bit blocks too: 0.4 bits less for each weight.")


class LoraMethod(WireModel):
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
    quantization: Quantization | None = Field(
        None,
        description="Hold the base model in 4 bits, computing in training.precision. Needs bitsandbytes (the extra qlora). Base and tuned"
        " model are measured in 4 bits; a merged export has the original weights with the adapter added.",
    )


class FullMethod(WireModel):
    """Train every weight of the model."""


class Method(WireModel):
    """Which weights are trained."""

    lora: LoraMethod | None = Field(None, description="Low-rank adapters.")
    full: FullMethod | None = Field(None, description="All weights.")

    rules = (exactly_one("lora", "full", what="method"),)


class Scheduler(StrEnum):
    """Learning-rate schedules; all begin with a linear warm-up."""

    COSINE = "cosine"
    LINEAR = "linear"
    CONSTANT = "constant"


class Packing(StrEnum):
    """How the rows of a forward pass are laid out."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Training(WireModel):
    """How long and how to train."""

    epochs: Annotated[float, Field(gt=0, le=1000)] | None = Field(None, description="Passes over the training rows.")
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(None, description="Optimizer steps, instead of epochs.")
    global_batch_size: Annotated[int, Field(ge=1, le=65536)] = Field(
        32, description="Rows per optimizer step, over all workers and accumulation."
    )
    micro_batch_size: Annotated[int, Field(ge=1, le=4096)] = Field(
        4, description="Rows per forward pass of one rank, on average if they are packed; the loss does not depend on it."
    )
    packing: Packing = Field(
        Packing.AUTO,
        description="auto and always put the rows of a forward pass one after the other, without padding, each computed as if alone."
        " Where a model cannot read that, auto pads its rows and always refuses it; never pads.",
    )
    group_by_length: bool = Field(
        False,
        description="Draw rows of like length for each step, among 50 batches of random rows, so that padding hardly costs time. The order"
        " of the steps is random. Steps are then less alike than those of random rows. Packed rows have no padding to save.",
    )
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(2e-4, description="Peak learning rate.")
    scheduler: Scheduler = Field(Scheduler.COSINE, description="Learning-rate schedule after warm-up.")
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.03, description="Share of the steps over which the learning rate rises from 0."
    )
    max_sequence_length: Annotated[int, Field(ge=8, le=1_048_576)] = Field(
        1024, description="Tokens per row; longer conversations are cut and counted, longer texts become several rows."
    )
    precision: Precision = Field(
        Precision.AUTO,
        description="Arithmetic of forward and backward. auto is bfloat16 on GPUs that have it, float16 on other GPUs, float32 on CPUs."
        " float16 scales the loss, and repeats a step whose gradient overflows with half the scale. tf32 is float32 whose matrix products"
        " a GPU rounds to 11 bits; where it cannot, they are exact.",
    )
    compile: bool = Field(
        False,
        description="Compile the model's layers with torch.compile, in the first steps of a run; the worker needs a compiler. Only with"
        " packing never, without distributed.deepspeed and without quantization.",
    )
    gradient_clipping: Annotated[float, Field(ge=0)] = Field(
        1.0, description="Largest norm of the whole gradient; 0 switches clipping off."
    )
    gradient_checkpointing: bool = Field(False, description="Recompute activations in backward: less memory, about a third more time.")
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(42, description="Seed of every random choice.")

    rules = (
        exactly_one("epochs", "max_steps", what="training"),
        Rule(
            "!self.compile || self.packing == 'never'",
            lambda training: not training.compile or training.packing is Packing.NEVER,
            "training.compile: packed rows would be compiled again for every batch; set packing to never, or compile to false",
        ),
        Rule(
            "!self.groupByLength || self.packing != 'always'",
            lambda training: not training.group_by_length or training.packing is not Packing.ALWAYS,
            "training.groupByLength: packed rows have no padding to save; set it to false, or packing to auto or never",
        ),
    )


class EarlyStopping(WireModel):
    """Stop when the validation rows stop improving."""

    metric: Annotated[MetricName, OneOf(METRICS_OF_TASKS)] | None = Field(
        None,
        description="Metric that is watched, on the validation rows; it also chooses the best weights, unless evaluation.bestMetric"
        f" names another. One of generated text has answers written at every validation. Default: the task's score, {per_task(scores)}.",
    )
    patience: PositiveInt = Field(3, description="Evaluations in a row without improvement before training stops.")
    min_delta: Annotated[float, Field(ge=0)] = Field(0.0, description="Smallest change for the better that counts as an improvement.")


class Regularization(WireModel):
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


class TextNormalization(StrEnum):
    """What is the same word or character in error rates."""

    NONE = "none"
    """Only what is written alike."""
    BASIC = "basic"
    """Upper and lower case, with and without punctuation."""


class Generation(WireModel):
    """Greedy generation for the text metrics."""

    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = Field(128, description="Tokens generated at most for one answer.")
    samples: PositiveInt = Field(
        200,
        description="Rows that are answered: one of each data source and pair of languages in turn, the first ones of each. They are"
        " test rows, and validation rows if a metric of generated text chooses the weights or stops early."
        " What needs no answers is measured on all rows.",
    )


TEXT_METRICS = tuple(name for name in METRICS_OF_TASKS if METRICS[name].needs is Needs.GENERATED_TEXT)


class Evaluation(WireModel):
    """What is measured on the held-out rows: validation rows during training; test rows with the base model and with the tuned one."""

    every_steps: PositiveInt | None = Field(None, description="Optimizer steps between validations. Default: once an epoch.")
    metrics: list[Annotated[MetricName, OneOf(METRICS_OF_TASKS)]] | None = Field(
        None,
        min_length=1,
        max_length=len(METRICS_OF_TASKS),
        description=f"Metrics on the test rows. {in_words(VALIDATED_METRICS)} are always measured; of {in_words(TEXT_METRICS)}"
        f" only those listed, and if none is, no answers are generated. Default: {per_task(lambda facts: in_words(facts.by_default))}."
        f" {'; '.join(f'{name}: {METRICS[name].description}' for name in METRICS_OF_TASKS)}.",
    )
    best_metric: Annotated[MetricName, OneOf(METRICS_OF_TASKS)] | None = Field(
        None,
        description="Metric that chooses the best weights, on the validation rows, and that the job is judged by. One of generated text"
        " has answers written at every validation. Default: that of regularization.earlyStopping, else the task's score.",
    )
    text_normalization: TextNormalization = Field(
        TextNormalization.BASIC,
        description="What wer and cer take for the same: basic ignores case and punctuation, none compares texts as they are written."
        " Runs of white space are one space in both.",
    )
    generation: Generation | None = Field(None, description=f"How answers are generated for {in_words(TEXT_METRICS)}.")

    def metrics_of(self, route: Route) -> tuple[MetricName, ...]:
        """What is measured on the test rows: always what costs no generation, of the rest what is listed, by default the task's own."""
        listed = route.by_default if self.metrics is None else self.metrics
        return tuple(name for name in route.metrics if name in route.validated or name in listed)


def _no_flag(value: Any) -> Any:
    """Refuse true and false, which count as 1 and 0 in Python and as no number to the API server."""
    if isinstance(value, bool):
        raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": "0, 1, 2 or 3"})
    return value


class Offload(WireModel):
    """Keep training state in the worker's memory (resources.memory) instead of on its GPUs (Ren et al. 2021, arXiv:2101.06840)."""

    optimizer: bool = Field(
        False, description="Optimizer state, float32 weights and gradients, about 16 bytes per trained parameter; updated on the CPU."
    )
    parameters: bool = Field(False, description="The model's weights, copied to the GPU layer by layer; zeroStage 3 only.")

    rules = (
        Rule(
            "self.optimizer || self.parameters",
            lambda offload: offload.optimizer or offload.parameters,
            "offload: set optimizer, parameters or both to true, or leave it out",
        ),
    )


class Deepspeed(WireModel):
    """Shard training state over the ranks with DeepSpeed ZeRO (Rajbhandari et al. 2020, arXiv:1910.02054)."""

    zero_stage: Annotated[Literal[0, 1, 2, 3], BeforeValidator(_no_flag)] = Field(
        2, description="0 shards nothing, 1 optimizer state, 2 also gradients, 3 also parameters."
    )
    offload: Offload | None = Field(None, description="What is kept in the worker's memory instead of on its GPUs. Slower; needs GPUs.")

    rules = (
        Rule(
            "!has(self.offload) || self.zeroStage > 0",
            lambda deepspeed: deepspeed.offload is None or deepspeed.zero_stage > 0,
            "offload: ZeRO stage 0 has nothing to offload; set zeroStage to 1, 2 or 3",
        ),
        Rule(
            "!has(self.offload) || !self.offload.parameters || self.zeroStage == 3",
            lambda deepspeed: deepspeed.offload is None or not deepspeed.offload.parameters or deepspeed.zero_stage == 3,
            "offload.parameters: only ZeRO stage 3 shards parameters, and only what is sharded can be offloaded; set zeroStage to 3",
        ),
    )


class CheckpointPolicy(WireModel):
    """When training state is saved and how much of it is kept."""

    every_steps: PositiveInt = Field(100, description="Optimizer steps between checkpoints; the last step always has one.")
    keep: Annotated[int, Field(ge=1, le=50)] = Field(3, description="Checkpoints kept: the newest ones; the best is kept besides.")


class Export(StrEnum):
    """Forms in which the tuned model is written."""

    ADAPTER = "adapter"
    MERGED = "merged"
