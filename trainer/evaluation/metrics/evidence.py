"""What metrics are computed from: per held-out row, what the model said and what was right. Each kind of evidence serves some Needs.

A row is a row of the data: the pieces of a long text count as one. Kept compact, because there may be many rows, and written into
checkpoints, so that base and tuned model are compared row by row after a resume too. No torch.
Test: tests/trainer/evaluation/metrics/test_evidence.py.
"""

import base64
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from finetune.api.evaluation import TextNormalization
from finetune.api.metrics import Needs

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
HALF = 0.5
"""Probability from which on a class applies, where a row may have several."""


@dataclass(frozen=True, eq=False)
class Tags:
    """One word per row, such as its source: the few different words, and which of them each row has (rows,)."""

    names: tuple[str, ...] = ()
    which: Integers = field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def of(cls, words: Iterable[str]) -> Self:
        """Return the tags of rows with these words, in the order of their first appearance."""
        numbers: dict[str, int] = {}
        which = np.fromiter((numbers.setdefault(word, len(numbers)) for word in words), np.int64)
        return cls(tuple(numbers), which)

    def parts(self) -> dict[str, Integers]:
        """Return the indices of the rows of each word; nothing where all rows have the same."""
        if len(self.names) < 2:
            return {}
        return {name: np.flatnonzero(self.which == number) for number, name in enumerate(self.names)}

    def at(self, rows: Integers) -> Self:
        """Return the tags of these rows; none where there are none."""
        return type(self).of(self.names[number] for number in self.which[rows]) if len(self.which) else self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tags) and self.names == other.names and np.array_equal(self.which, other.which)

    def __hash__(self) -> int:
        return hash(self.names)

    def to_state(self) -> Any:
        """Return JSON that `from_state` reads."""
        return {"names": list(self.names), "which": _packed(self.which)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the tags that `to_state` saved."""
        return cls(tuple(state["names"]), _unpacked(state["which"]))


class Evidence(Protocol):
    """Rows that some kind of metrics is computed from."""

    @property
    def source(self) -> Tags:
        """The data source of each row."""

    @property
    def group(self) -> Tags:
        """The group of each row, such as its pair of languages."""

    def __len__(self) -> int: ...

    def at(self, rows: Integers) -> Self:
        """Return the evidence of these rows alone."""

    def to_state(self) -> dict[str, Any]:
        """Return the JSON that a checkpoint stores."""

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the evidence that `to_state` saved."""


@dataclass(frozen=True)
class TokenSums:
    """Sums over tokens with loss: negative log-likelihood in nats, number of tokens, UTF-8 bytes of their text."""

    nll_sum: float = 0.0
    tokens: int = 0
    bytes: int = 0


@dataclass(frozen=True, eq=False)
class TokenRows:
    """For Needs.TOKEN_SUMS and Needs.MASKED_SUMS: the sums over the tokens of each row, each (rows,)."""

    nll: Floats
    """Negative log-likelihood of the row's tokens with loss, in nats."""
    tokens: Integers
    """Number of them."""
    bytes: Integers
    """UTF-8 bytes of their text."""
    source: Tags = field(default_factory=Tags)
    group: Tags = field(default_factory=Tags)

    @property
    def sums(self) -> TokenSums:
        """The sums over all rows."""
        return TokenSums(float(self.nll.sum()), int(self.tokens.sum()), int(self.bytes.sum()))

    def __len__(self) -> int:
        return len(self.nll)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenRows) and self.to_state() == other.to_state()

    def __hash__(self) -> int:
        return hash(self.sums)

    def at(self, rows: Integers) -> Self:
        """Return the sums of these rows alone."""
        return type(self)(self.nll[rows], self.tokens[rows], self.bytes[rows], self.source.at(rows), self.group.at(rows))

    def to_state(self) -> dict[str, Any]:
        """Return the arrays, compressed."""
        arrays = {name: _packed(getattr(self, name)) for name in ("nll", "tokens", "bytes")}
        return arrays | {"source": self.source.to_state(), "group": self.group.to_state()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the rows that `to_state` saved."""
        nll, tokens, size = (_unpacked(state[name]) for name in ("nll", "tokens", "bytes"))
        return cls(nll, tokens, size, Tags.from_state(state["source"]), Tags.from_state(state["group"]))


@dataclass(frozen=True)
class Prediction:
    """One held-out row that asks for text, and the model's answer."""

    prompt: str
    """The question in readable form, for reports."""
    references: tuple[str, ...]
    """The right answers. Of a span: none, or only empty ones, where the question cannot be answered."""
    answer: str
    """Of a span: empty where the model says that there is no answer."""
    cut: bool = False
    """Whether the token limit cut the answer."""
    source: str = ""
    """The data source of the row, such as data.test[0]."""
    group: str = ""
    """What figures are also given for apart, such as a pair of languages."""


@dataclass(frozen=True)
class ClassPrediction:
    """One held-out row with its right class, and the model's probability of each class."""

    gold: tuple[int, ...]
    """Indices of the right classes: one, or of rows with several labels any number."""
    probabilities: tuple[float, ...]
    """One for each class; of rows with one label they sum to 1."""
    source: str = ""
    group: str = ""


class Predicted:
    """Evidence of which each row is a prediction."""

    predictions: Sequence[Prediction | ClassPrediction]

    @cached_property
    def source(self) -> Tags:
        """The data source of each row."""
        return Tags.of(prediction.source for prediction in self.predictions)

    @cached_property
    def group(self) -> Tags:
        """The group of each row."""
        return Tags.of(prediction.group for prediction in self.predictions)

    def __len__(self) -> int:
        return len(self.predictions)


@dataclass(frozen=True)
class Answers(Predicted):
    """For Needs.GENERATED_TEXT and Needs.SPANS: the answers in text."""

    predictions: tuple[Prediction, ...] = ()
    normalization: TextNormalization = TextNormalization.BASIC
    """What counts as the same word in word and character error rates."""

    @property
    def references(self) -> tuple[tuple[str, ...], ...]:
        """The references of each row."""
        return tuple(prediction.references for prediction in self.predictions)

    def at(self, rows: Integers) -> Self:
        """Return the answers to these rows alone."""
        return replace(self, predictions=tuple(self.predictions[row] for row in rows))

    def to_state(self) -> dict[str, Any]:
        """Return the predictions, and how they are compared."""
        return {"predictions": [asdict(prediction) for prediction in self.predictions], "normalization": self.normalization.value}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the answers that `to_state` saved."""
        rows = (dict(row) | {"references": tuple(row["references"])} for row in state["predictions"])
        return cls(tuple(Prediction(**row) for row in rows), TextNormalization(state["normalization"]))


@dataclass(frozen=True)
class Classified(Predicted):
    """For Needs.CLASSES."""

    names: tuple[str, ...]
    """The classes, by index."""
    predictions: tuple[ClassPrediction, ...] = ()
    several: bool = False
    """Whether a row may have several labels, or none: each class is then decided for itself."""

    @cached_property
    def probabilities(self) -> Floats:
        """The model's probabilities: (rows, classes)."""
        found: Sequence[tuple[float, ...]] = [prediction.probabilities for prediction in self.predictions]
        return np.array(found, np.float64).reshape(len(found), len(self.names))

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Whether each class is right: (rows, classes)."""
        found = np.zeros((len(self.predictions), len(self.names)), np.bool_)
        for row, prediction in enumerate(self.predictions):
            found[row, list(prediction.gold)] = True
        return found

    @cached_property
    def chosen(self) -> NDArray[np.bool_]:
        """Whether the model chooses each class, the most probable one or all of at least one half: (rows, classes)."""
        if self.several:
            return self.probabilities >= HALF
        found = np.zeros_like(self.right)
        if len(found):
            found[np.arange(len(found)), self.probabilities.argmax(axis=1)] = True
        return found

    def at(self, rows: Integers) -> Self:
        """Return these rows alone."""
        return replace(self, predictions=tuple(self.predictions[row] for row in rows))

    def to_state(self) -> dict[str, Any]:
        """Return classes and rows; the probabilities compressed."""
        return {
            "names": list(self.names),
            "several": self.several,
            "gold": [list(prediction.gold) for prediction in self.predictions],
            "probabilities": _packed(self.probabilities),
            "source": self.source.to_state(),
            "group": self.group.to_state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the rows that `to_state` saved."""
        source, group = (Tags.from_state(state[name]) for name in ("source", "group"))
        columns = zip(state["gold"], _unpacked(state["probabilities"]), source.which, group.which, strict=True)
        rows = (
            ClassPrediction(tuple(gold), tuple(found.tolist()), source.names[whence], group.names[whose])
            for gold, found, whence, whose in columns
        )
        return cls(tuple(state["names"]), tuple(rows), bool(state["several"]))


EVIDENCE: Mapping[Needs, type[Evidence]] = {
    Needs.TOKEN_SUMS: TokenRows,
    Needs.MASKED_SUMS: TokenRows,
    Needs.GENERATED_TEXT: Answers,
    Needs.SPANS: Answers,
    Needs.CLASSES: Classified,
}
"""The kind of evidence of all that metrics can need on held-out rows."""


def _packed(array: NDArray[Any]) -> dict[str, Any]:
    """Return an array as compressed base64, exactly as it is."""
    content = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes())).decode()
    return {"dtype": array.dtype.str, "shape": list(array.shape), "zlib": content}


def _unpacked(state: Mapping[str, Any]) -> NDArray[Any]:
    content = zlib.decompress(base64.b64decode(state["zlib"]))
    return np.frombuffer(content, np.dtype(state["dtype"])).reshape(state["shape"])
