"""How a job says how texts are varied: what it leaves out, what it may not say together, and what earlier versions recorded."""

import pytest
from pydantic import ValidationError

from finetune.api.augmentation import OPERATIONS, Augmentation, AugmentationOperation
from finetune.api.lineage import differing_field
from finetune.api.resolve import build
from finetune.api.spec import FineTuneJobSpec
from finetune.api.tasks import TaskName
from finetune.api.trainconfig import JobIdentity, OutputFolder, ProgressTarget, TrainConfig, Workers
from tests.builders import wire_spec

SWAPS = [{"wordSwap": {"probability": 0.2}}]


def built(**section: object) -> TrainConfig:
    spec = FineTuneJobSpec.model_validate(wire_spec(augmentation={"operations": SWAPS, **section}))
    place, target = OutputFolder(directory="/out"), ProgressTarget(file="/out/progress.json")
    return build(spec, lambda reference: "/" + reference.field, job=JobIdentity(name="a"), workers=Workers(), output=place, progress=target)


def test_a_job_that_says_neither_rewrites_a_share_and_continues_a_run_of_a_version_that_had_no_copies() -> None:
    config = built()
    recorded = config.lineage()
    recorded["augmentation"] = {"operations": SWAPS, "augmentedShare": 0.3}  # as that version wrote it
    assert differing_field(recorded, config.lineage()) is None
    assert config.augmentation is not None
    assert (config.augmentation.share, config.own_rows(10)) == (0.3, 10)


def test_copies_take_the_place_of_the_share_and_make_another_run() -> None:
    config = built(copiesPerRow=4)
    assert config.augmentation is not None
    assert (config.augmentation.share, config.own_rows(10)) == (None, 50)
    assert differing_field(built().lineage(), config.lineage()) == "augmentation.copiesPerRow"
    assert differing_field(built(copiesPerRow=2).lineage(), config.lineage()) == "augmentation.copiesPerRow"


def test_a_job_may_not_ask_for_both() -> None:
    with pytest.raises(ValidationError, match="augmentation: give only one of augmentedShare, copiesPerRow"):
        Augmentation.model_validate({"operations": SWAPS, "augmentedShare": 0.3, "copiesPerRow": 1})


@pytest.mark.parametrize("phrases", [[""], [" "], ["x" * 201], ["a"] * 257, []])
def test_protected_phrases_have_words_and_bounds(phrases: list[str]) -> None:
    with pytest.raises(ValidationError, match="protected"):
        Augmentation.model_validate({"operations": SWAPS, "protected": phrases})


def test_an_unknown_kind_lists_those_there_are() -> None:
    with pytest.raises(ValidationError, match="Input should be 'random', 'keyboard' or 'ocr'"):
        Augmentation.model_validate({"operations": [{"characterNoise": {"kind": "touch"}}]})


def test_the_field_says_of_each_task_which_texts_are_varied() -> None:
    description = str(FineTuneJobSpec.model_fields["augmentation"].description)
    assert [task for task in TaskName if task not in description] == []
    assert "language-modeling: the whole text, which is then also the target" in description


def test_every_operation_has_its_name_on_the_wire() -> None:
    assert set(AugmentationOperation.model_fields) == set(OPERATIONS)
    assert AugmentationOperation.model_validate({"punctuationInsertion": {}}).name == "punctuationInsertion"
