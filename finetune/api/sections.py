"""The sections of a job that controller and trainer both read: what to train and how, regularize, shard, checkpoint, export.

They are in the FineTuneJob's spec as the user wrote them and go into TrainConfig unchanged. A sentence under each field
is its documentation: it appears in the CRD and so in `kubectl explain`. Where model and rows come from is in sources.py, how rows
are varied in augmentation.py, what is measured in evaluation.py. Tests: tests/finetune/api/test_schema.py,
tests/integration/test_malformed_jobs.py.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from finetune.api.base import Rule, WireModel, exactly_one
from finetune.api.evaluation import EarlyStopping
from finetune.api.method import Freeze, OsfMethod


class Precision(StrEnum):
    """Arithmetic of forward and backward."""

    AUTO = "auto"
    FLOAT32 = "float32"
    TF32 = "tf32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


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
    alpha: Annotated[float, Field(gt=0)] = Field(
        32, description="Scale: the adapter's output is multiplied by alpha / rank, under useRslora by alpha / sqrt(rank)."
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="Dropout on the adapter's input.")
    target_modules: list[Annotated[str, Field(min_length=1, max_length=200)]] | None = Field(
        None,
        min_length=1,
        max_length=32,
        description="Names of the modules that get an adapter. Default: every linear layer but the output layer.",
    )
    use_rslora: bool = Field(
        False,
        description="Scale by alpha / sqrt(rank), so that high ranks learn as fast as low ones (Kalajdzievski 2023, arXiv:2312.03732).",
    )
    use_dora: bool = Field(
        False,
        description="Learn the length of each row of a weight matrix beside its direction, to which the adapter is added (DoRA; Liu et al."
        " 2024, arXiv:2402.09353). Each step takes longer than with plain LoRA. Not with quantization.",
    )
    quantization: Quantization | None = Field(
        None,
        description="Hold the base model in 4 bits, computing in training.precision. Needs bitsandbytes (the extra qlora). Base and tuned"
        " model are measured in 4 bits; a merged export has the original weights with the adapter added.",
    )


class FullMethod(WireModel):
    """Train every weight of the model, but for those that are frozen."""

    freeze: Freeze | None = Field(None, description="Weights that stay as they are.")


class Method(WireModel):
    """Which weights are trained."""

    lora: LoraMethod | None = Field(None, description="Low-rank adapters.")
    full: FullMethod | None = Field(None, description="All weights.")
    osf: OsfMethod | None = Field(
        None, description="Orthogonal subspace fine-tuning: trains the smallest singular directions of each matrix and keeps the largest."
    )

    rules = (exactly_one("lora", "full", "osf", what="method"),)

    @property
    def adapts(self) -> bool:
        """Whether the base model's weights stay as they are, and what is trained is kept beside them and can be switched off."""
        return self.full is None


DECAY_RATIO = 0.2
"""Share of the steps over which warmupStableDecay falls: Hägele et al. 2024 find 10 % to 20 % as good as a cosine."""


class Scheduler(StrEnum):
    """Learning-rate schedules; all begin with a linear warm-up."""

    COSINE = "cosine"
    LINEAR = "linear"
    CONSTANT = "constant"
    WARMUP_STABLE_DECAY = "warmupStableDecay"


class GradientCheckpointing(StrEnum):
    """Whether activations are recomputed in the backward pass."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


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
        description="Draw rows of similar length for each step, among 50 batches of random rows, so that padding hardly costs time. The"
        " order of the steps is random. Steps are then less alike than those of random rows. Packed rows have no padding to save.",
    )
    learning_rate: Annotated[float, Field(gt=0, le=1)] = Field(2e-4, description="Peak learning rate.")
    scheduler: Scheduler = Field(
        Scheduler.COSINE,
        description="Learning-rate schedule after warm-up: cosine and linear fall to 0 over the rest of training, constant stays;"
        " warmupStableDecay stays, and falls linearly to 0 over the last steps (decayRatio).",
    )
    decay_ratio: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="Share of the steps over which warmupStableDecay falls to 0 (Hu et al. 2024, arXiv:2404.06395; Hägele et al. 2024,"
        " arXiv:2405.18392). Default: 0.2.",
    )
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.03, description="Share of the steps over which the learning rate rises from 0."
    )
    layerwise_learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="Factor from a layer to the one below it: what is above the layers learns at learningRate, layer i of n at"
        " learningRate * decay^(n + 1 - i), the embeddings at learningRate * decay^(n + 1) (Howard and Ruder 2018, arXiv:1801.06146; Clark"
        " et al. 2020, arXiv:2003.10555). An output layer that has the weights of the embeddings learns at their rate. Only with"
        " method.full.",
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
    gradient_checkpointing: GradientCheckpointing = Field(
        GradientCheckpointing.AUTO,
        description="Recompute activations in backward: less memory, about a third more time. auto does so on GPUs without room for the"
        " activations of the longest rows, and never on CPUs.",
    )
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(42, description="Seed of every random choice.")

    rules = (
        exactly_one("epochs", "max_steps", what="training"),
        Rule(
            "!has(self.decayRatio) || self.scheduler == 'warmupStableDecay'",
            lambda training: training.decay_ratio is None or training.scheduler is Scheduler.WARMUP_STABLE_DECAY,
            "training.decayRatio: only scheduler warmupStableDecay has a decay of its own; set scheduler to it, or leave decayRatio out",
        ),
        Rule(
            f"self.scheduler != 'warmupStableDecay' || self.warmupRatio + (has(self.decayRatio) ? self.decayRatio : {DECAY_RATIO}) <= 1.0",
            lambda training: (
                training.scheduler is not Scheduler.WARMUP_STABLE_DECAY
                or training.warmup_ratio + (DECAY_RATIO if training.decay_ratio is None else training.decay_ratio) <= 1
            ),
            f"training.decayRatio: with warmupRatio it is more than all steps (its default is {DECAY_RATIO}); give smaller shares",
        ),
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


class Regularization(WireModel):
    """Settings against overfitting."""

    weight_decay: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="Decoupled weight decay of AdamW; biases and norms are exempt. Not with method.osf."
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="Dropout on the output of every attention and feed-forward block, in addition to the model's own. Models whose blocks"
        " cannot be separated from the residual connection, such as DistilBERT, ALBERT, MPNet, MobileBERT and Bloom, are refused.",
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="Probability mass spread evenly over all choices: the vocabulary, the classes, or the positions of a text;"
        " training loss only.",
    )
    neftune_noise_alpha: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="Add uniform noise in [-1, 1] * alpha / sqrt(tokens of the row * embedding width) to the embeddings that the model, or"
        " the encoder of an encoder-decoder, reads in training (NEFTune; Jain et al. 2023, arXiv:2310.05914, which tries 5, 10 and 15)."
        " Packed rows count one by one.",
    )
    r_drop_alpha: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="Compute each training row twice, with different dropout, and add alpha times half the sum of both Kullback-Leibler"
        " divergences of the two predictions to the mean of both losses (R-Drop; Wu et al. 2021, arXiv:2106.14448). For encoders that"
        " choose classes or spans; a step takes twice the time.",
    )
    base_kl_weight: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="Add the weight times KL(base || tuned), of each prediction that is learned, to the training loss, so that the model"
        " stays near its base on the rows that it learns. The base is the model without its adapters, computed once more for each row."
        " Needs method.lora, and a head that the base has.",
    )
    early_stopping: EarlyStopping | None = Field(None, description="Stop when validation stops improving.")


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

    every_steps: Annotated[int, Field(ge=1)] = Field(100, description="Optimizer steps between checkpoints; the last step always has one.")
    keep: Annotated[int, Field(ge=1, le=50)] = Field(3, description="Checkpoints kept: the newest ones; the best is kept besides.")


class Export(StrEnum):
    """Forms in which the tuned model is written."""

    ADAPTER = "adapter"
    MERGED = "merged"
