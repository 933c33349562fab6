"""Two lineages differ by the first field that is not the same."""

from typing import Any

import pytest

from finetune.api.lineage import differing_field


@pytest.mark.parametrize(
    ("recorded", "wanted", "field"),
    [
        pytest.param({"task": "chat"}, {"task": "chat"}, None, id="equal"),
        pytest.param({"task": "chat"}, {"task": "chat", "augmentation": None}, None, id="absent-equals-null"),
        pytest.param({"training": {"seed": 1}}, {"training": {"seed": 2}}, "training.seed", id="nested"),
        pytest.param({"training": {"seed": 1, "epochs": 1}}, {"training": {"seed": 1}}, "training.epochs", id="removed"),
        pytest.param({"training": {"seed": 1}}, {"training": {"seed": 1, "epochs": 1}}, "training.epochs", id="added"),
        pytest.param({"data": {"train": [{"path": "/a"}]}}, {"data": {"train": [{"path": "/b"}]}}, "data.train[0].path", id="list"),
        pytest.param({"data": {"train": [1]}}, {"data": {"train": [1, 2]}}, "data.train", id="list-length"),
        pytest.param({"task": "chat", "rows": "digest"}, {"task": "chat"}, None, id="record-holds-more"),
    ],
)
def test_the_first_differing_field_is_named(recorded: dict[str, Any], wanted: dict[str, Any], field: str | None) -> None:
    assert differing_field(recorded, wanted) == field
