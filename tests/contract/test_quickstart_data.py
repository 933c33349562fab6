"""The quickstart's job and data: valid, enough, and with a test set that does not repeat what is trained on."""

import json
import re
from itertools import combinations, product
from typing import Any

import pytest

from finetune.api.spec import GROUP, VERSION, FineTuneJobSpec

Row = dict[str, str]
Parts = dict[str, list[Row]]
Documents = dict[str, dict[str, Any]]

CLOSEST_ALLOWED = 0.6
"""Jaccard index above which two questions ask the same; a question and its paraphrase share most of their words."""

STOP_WORDS = set(
    re.findall(
        r"\w+",
        """a an the is are be was do does did has have can may must of in on at to for from with by and or not no it its my i me
        what which how when where who why if that this there after before as into than then them they one many much long often""",
    )
)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def trigrams(text: str) -> set[tuple[str, ...]]:
    tokens = words(text)
    return set(zip(tokens, tokens[1:], tokens[2:], strict=False))


def content(text: str) -> set[str]:
    """Return the words that carry meaning, with the commonest endings cut so that `trains` meets `training`."""
    return {re.sub(r"(ing|ed|es|s)$", "", word) for word in words(text) if word not in STOP_WORDS}


def jaccard(left: set[Any], right: set[Any]) -> float:
    return len(left & right) / len(left | right) if left | right else 0.0


def likeness(left: str, right: str) -> float:
    return max(jaccard(trigrams(left), trigrams(right)), jaccard(content(left), content(right)))


def closest(parts: Parts, member: str) -> tuple[float, str, str]:
    """Return the likeness and the texts of the closest pair of a test row and a row that is trained on or validated on."""
    seen = [row[member] for row in parts["train"] + parts["validation"]]
    return max((likeness(row[member], other), row[member], other) for row, other in product(parts["test"], seen))


def test_the_job_reads_every_key_of_the_config_map_and_writes_to_the_claim(quickstart_documents: Documents) -> None:
    job, config_map, claim = (quickstart_documents[kind] for kind in ("FineTuneJob", "ConfigMap", "PersistentVolumeClaim"))
    spec = FineTuneJobSpec.model_validate(job["spec"])
    assert job["apiVersion"] == f"{GROUP}/{VERSION}"
    read = {source.config_map for source in [*spec.data.train, *(spec.data.validation or []), *(spec.data.test or [])]}
    assert {(key.name, key.key) for key in read if key} == {(config_map["metadata"]["name"], key) for key in config_map["data"]}
    assert spec.output.persistent_volume_claim.claim_name == claim["metadata"]["name"]


def test_the_claim_is_of_the_default_class_and_belongs_to_nobody(quickstart_documents: Documents) -> None:
    claim = quickstart_documents["PersistentVolumeClaim"]
    assert "storageClassName" not in claim["spec"]
    assert "ownerReferences" not in claim["metadata"]


def test_the_job_draws_a_row_at_most_once_and_leaves_at_least_three_checkpoints(
    quickstart_documents: Documents, quickstart_rows: Parts
) -> None:
    spec = FineTuneJobSpec.model_validate(quickstart_documents["FineTuneJob"]["spec"])
    steps = spec.training.max_steps
    assert steps is not None
    assert spec.checkpoint is not None
    assert steps * spec.training.global_batch_size <= len(quickstart_rows["train"])
    assert steps // spec.checkpoint.every_steps >= 3
    assert spec.checkpoint.keep >= 3


def test_early_stopping_can_act_before_the_last_step(quickstart_documents: Documents) -> None:
    spec = FineTuneJobSpec.model_validate(quickstart_documents["FineTuneJob"]["spec"])
    assert spec.regularization is not None
    assert spec.regularization.early_stopping is not None
    assert spec.evaluation is not None
    validations = range(spec.evaluation.every_steps, spec.training.max_steps or 0, spec.evaluation.every_steps)
    assert len(validations) > spec.regularization.early_stopping.patience, "the first one is what the others are measured by"


def test_the_config_map_fits_into_the_annotation_that_kubectl_apply_writes(quickstart_documents: Documents) -> None:
    assert len(json.dumps(quickstart_documents["ConfigMap"])) < 250_000, "the limit for all annotations is 262144 bytes"


def test_there_are_enough_rows_and_each_is_a_question_with_a_short_answer(quickstart_rows: Parts, every_quickstart_row: list[Row]) -> None:
    assert len(quickstart_rows["train"]) >= 270
    assert len(quickstart_rows["validation"]) >= 28
    assert len(quickstart_rows["test"]) >= 32
    for row in every_quickstart_row:
        assert set(row) == {"prompt", "completion"}, row
        assert row["prompt"].endswith("?") or row["prompt"].endswith("."), row
        assert row["completion"].endswith("."), row
        assert 8 <= len(row["completion"].split()) <= 40, row
        assert (row["prompt"] + row["completion"]).isascii(), row


def test_no_question_and_no_answer_occurs_twice(every_quickstart_row: list[Row]) -> None:
    for member in ("prompt", "completion"):
        seen = [" ".join(words(row[member])) for row in every_quickstart_row]
        assert not {text for text in seen if seen.count(text) > 1}


def test_no_row_is_another_one_with_a_word_swapped(every_quickstart_row: list[Row]) -> None:
    texts = [set(words(row["prompt"])) | set(words(row["completion"])) for row in every_quickstart_row]
    for (left, row), (right, other) in combinations(zip(texts, every_quickstart_row, strict=True), 2):
        assert min(len(left - right), len(right - left)) > 2, (row, other)


def test_no_test_question_asks_what_a_known_question_asks(quickstart_rows: Parts, capsys: pytest.CaptureFixture[str]) -> None:
    value, question, known = closest(quickstart_rows, "prompt")
    with capsys.disabled():  # for people to judge, also when the test passes
        print(f"\nclosest questions ({value:.2f}): {question!r} and {known!r}")
    assert value < CLOSEST_ALLOWED


def test_no_test_answer_repeats_a_known_answer(quickstart_rows: Parts, capsys: pytest.CaptureFixture[str]) -> None:
    value, answer, known = closest(quickstart_rows, "completion")
    with capsys.disabled():
        print(f"\nclosest answers ({value:.2f}): {answer!r} and {known!r}")
    assert value < CLOSEST_ALLOWED
