"""Evidence is the same after a checkpoint, and small in it."""

import json

import numpy as np
import pytest

from finetune.api.evaluation import TextNormalization
from tests.trainer.evaluation.metrics.builders import answers_to
from trainer.evaluation.metrics.evidence import Classified, ClassPrediction, Evidence, Tags, TokenRows

COUNT = 1000
ROWS = TokenRows(
    np.random.default_rng(1).random(COUNT) * 100, np.arange(COUNT), np.arange(COUNT) * 4,
    Tags.of(f"data.test[{row % 2}]" for row in range(COUNT)), Tags.of([""] * COUNT),
)  # fmt: skip
CLASSES = Classified(
    ("bad", "good"), (ClassPrediction((0, 1), (1 / 3, 0.5), "data.test[0]"), ClassPrediction((), (0.2, 0.1), group="en")), several=True
)
ANSWERS = answers_to(["a", ["b", "c"]], ["x", "y"], ["en-de", "de-en"], TextNormalization.NONE)


@pytest.mark.parametrize("found", [ROWS, CLASSES, ANSWERS], ids=["tokens", "classes", "answers"])
def test_evidence_is_exactly_the_same_after_a_checkpoint(found: Evidence) -> None:
    assert type(found).from_state(json.loads(json.dumps(found.to_state()))) == found


def test_a_row_of_token_sums_takes_few_bytes_of_a_checkpoint() -> None:
    assert len(json.dumps(ROWS.to_state())) < 20 * COUNT


def test_rows_are_divided_by_their_tags_unless_all_are_alike() -> None:
    assert {name: rows.tolist() for name, rows in Tags.of(["b", "a", "b"]).parts().items()} == {"b": [0, 2], "a": [1]}
    assert Tags.of(["b", "b"]).parts() == Tags.of([]).parts() == Tags().parts() == {}


def test_a_model_chooses_the_likeliest_class_or_all_that_are_likelier_than_not() -> None:
    rows = (ClassPrediction((0,), (0.2, 0.3, 0.5)), ClassPrediction((1,), (0.6, 0.4, 0.0)))
    assert Classified(("a", "b", "c"), rows).chosen.tolist() == [[False, False, True], [True, False, False]]
    assert Classified(("a", "b", "c"), rows, several=True).chosen.tolist() == [[False, False, True], [True, False, False]]
    assert CLASSES.chosen.tolist() == [[False, True], [False, False]]
    assert CLASSES.right.tolist() == [[True, True], [False, False]]
