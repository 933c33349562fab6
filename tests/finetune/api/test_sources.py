"""Which revisions of the hub and which paths inside a claim are taken: what git and file systems have, but nothing that misleads."""

import pytest
from pydantic import ValidationError

from finetune.api.sources import ClaimPath, HuggingFaceDataset, ModelSource
from tests.finetune.api.hubandpaths import MISLEADING, NOT_REVISIONS, REVISIONS, WORDS


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_name_of_a_commit_branch_or_tag_is_taken(revision: str) -> None:
    assert ModelSource(name="org/model", revision=revision).revision == revision
    assert HuggingFaceDataset(name="org/set", revision=revision).revision == revision


@pytest.mark.parametrize("revision", NOT_REVISIONS, ids=ascii)
def test_what_would_leave_its_folder_or_mislead_is_no_revision(revision: str) -> None:
    with pytest.raises(ValidationError, match="revision"):
        ModelSource(name="org/model", revision=revision)


@pytest.mark.parametrize("path", WORDS, ids=ascii)
def test_a_path_may_be_in_any_script(path: str) -> None:
    assert ClaimPath(claim_name="models", path=path).path == path


@pytest.mark.parametrize("character", MISLEADING, ids=ascii)
def test_a_path_has_nothing_that_acts_on_a_terminal_breaks_reorders_or_hides_a_line(character: str) -> None:
    with pytest.raises(ValidationError, match="no control characters"):
        ClaimPath(claim_name="models", path=f"a{character}b")
