"""What the commands that use a model ask of the program that does it: `finetune predict`, `chat`, `evaluate`;
or of what runs have left: `finetune compare`.

The command writes one of these as JSON, the program reads it. Test: tests/finetune/api/test_using.py.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field

from finetune.api.base import WireModel
from finetune.api.columns import Columns
from finetune.api.tasks import TaskName
from finetune.api.trainconfig import TrainConfig

PREDICTED_TOKENS, SAID_TOKENS = 256, 512
"""Tokens of an answer, at most, unless the command says otherwise: for `finetune predict`, and for `finetune chat`."""


class WeightType(StrEnum):
    """Types that a model can be held and computed in, by torch's names."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class Decoding(WireModel):
    """How the tokens of an answer are chosen: the likeliest one each time, unless more is asked for."""

    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0: the likeliest token. Above, tokens are drawn, from probabilities that it divides the logits of."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Draw from the likeliest tokens that have this probability together."""
    top_k: Annotated[int, Field(ge=1)] | None = None
    """Draw from so many likeliest tokens."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of what is drawn: an answer depends on it, on the prompt and on nothing else."""
    beams: Annotated[int, Field(ge=1)] = 1
    """Answers that are followed at once, of which the likeliest is taken."""

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn at random."""
        return self.temperature > 0


class ChosenModel(WireModel):
    """Which model is meant, and how it is held."""

    name: str
    """The folder of a run, of a model or of an adapter (absolute), or a name on the hub."""
    field: str = "DIR"
    """What the command calls it, for messages."""
    task: TaskName | None = None
    """None: the one that it was trained for."""
    base_model: Path | None = None
    """Folder of the base model, if it was moved."""
    dtype: WeightType | None = None
    """None: float32 on a CPU, 16 bits on a GPU."""


class Predict(WireModel):
    """Answer one prompt, or the rows of a file."""

    model: ChosenModel
    base: bool = False
    """Answer with the base model too."""
    prompt: str | None = None
    """Text of the task's first column."""
    beside: dict[str, str] = {}
    """Texts of other columns, by their names."""
    input: Path | None = None
    output: Path | None = None
    """JSON lines; None: standard output."""
    columns: Columns | None = None
    """Of the input; None: as in the training data, else by their names."""
    languages: tuple[str, str] | None = None
    """To translate from and into; None: those of the training data."""
    decoding: Decoding = Decoding()
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    """None: PREDICTED_TOKENS, or half of what the model reads if that is less."""
    batch_size: Annotated[int, Field(ge=1)] = 8


class Chat(WireModel):
    """Talk to the model on standard input and output."""

    model: ChosenModel
    base: bool = False
    """Talk to the base model instead."""
    system: str | None = None
    """The system message to begin with."""
    decoding: Decoding = Decoding()
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    """None: SAID_TOKENS, or half of what the model reads if that is less."""


class Evaluate(WireModel):
    """Measure the model on the test rows of a job."""

    model: ChosenModel
    base: bool = False
    """Measure the base model too."""
    job: TrainConfig
    output: Path | None = None
    """JSON file for the figures."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Test rows to measure, the first ones; None: all."""


class Compare(WireModel):
    """Show runs beside each other, by what they have left."""

    folders: list[Path]
    """Of the runs, absolute; figures are compared with those of the first."""
    plot: Path | None = None
    """File for the learning curves; its ending says which picture."""
    as_json: bool = False
    """Print JSON in place of tables."""
