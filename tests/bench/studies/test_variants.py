"""The jobs of a study differ in what the table says, and in nothing else."""

from typing import Any

import pytest

from bench.studies.__main__ import document
from bench.studies.variants import SEEDS, SIZES, STUDIES, Variant
from finetune.api.spec import FineTuneJobSpec


@pytest.mark.parametrize("study", STUDIES)
def test_every_variant_is_a_valid_job_with_a_name_of_its_own(study: str) -> None:
    names = [variant.name for variant in STUDIES[study]]
    for variant in STUDIES[study]:
        FineTuneJobSpec.model_validate(document(variant)["spec"])
    assert len(set(names)) == len(names)
    assert all(len(name) <= 40 and name.replace("-", "").isalnum() for name in names)


def test_transfer_has_every_way_at_every_size() -> None:
    rows = {variant.row for variant in STUDIES["transfer"]}
    assert rows == {"full", "frozen body", "LoRA", "random start"}
    assert len(STUDIES["transfer"]) == len(rows) * len(SIZES)


def test_ways_to_augment_see_as_many_rows_and_share_their_seeds() -> None:
    for seed in SEEDS:
        jobs = [variant.job for variant in STUDIES["augmentation"] if variant.column == f"seed {seed}"]
        assert [job["training"]["seed"] for job in jobs] == [seed] * 3
        assert len({_rows_seen(job) for job in jobs}) == 1


def _rows_seen(job: dict[str, Any]) -> float:
    copies = job.get("augmentation", {}).get("copiesPerRow", 0)
    return float(job["training"]["epochs"] * (1 + copies))


def test_a_name_has_no_character_that_a_job_may_not_have() -> None:
    assert Variant("Frozen body, twice", "seed 1", {}).name == "frozen-body-twice-seed-1"
