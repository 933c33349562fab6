"""Fetches a data set of the Hugging Face hub at one commit, with clear errors and bounded waits.

What the user must change (no such set, no access, no such split) is an InputError; a hub that does not answer or fails is
HubUnavailable, as for models. Test: tests/trainer/hub/test_datasets.py.
"""

import os
from typing import Any, NoReturn

from finetune.api.errors import InputError
from finetune.api.sources import HuggingFaceDataset
from trainer.hub.connection import HubUnavailable, hub_timeout_seconds


def load_rows(field: str, source: HuggingFaceDataset) -> tuple[Any, str | None]:
    """Return a split, whose rows are on this disk, and the commit that they belong to, if it is known.

    Reads HF_TOKEN and HF_ENDPOINT.
    """
    from huggingface_hub import constants

    token = os.environ.get("HF_TOKEN") or None
    try:
        # Offline, only what the cache has can be read, at the revision asked for.
        commit = source.revision if constants.HF_HUB_OFFLINE else _commit(source, token)
        return _load(source, commit, token), commit
    except Exception as error:
        _raise_as_ours(error, field, source, constants.ENDPOINT, token)


def _commit(source: HuggingFaceDataset, token: str | None) -> str | None:
    from huggingface_hub import HfApi

    return HfApi(token=token).dataset_info(source.name, revision=source.revision, timeout=hub_timeout_seconds()).sha


def _load(source: HuggingFaceDataset, commit: str | None, token: str | None) -> Any:
    from datasets import load_dataset
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    return load_dataset(source.name, source.config, split=source.split, revision=commit, token=token)


def _raise_as_ours(error: Exception, field: str, source: HuggingFaceDataset, endpoint: str, token: str | None) -> NoReturn:
    """Raise the hub client's error as InputError or HubUnavailable, in words a user can act on."""
    from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RevisionNotFoundError

    where, with_token = f"the hub at {endpoint}", "with the token given" if token else "without a token"
    causes = _causes(error)
    said = (str(causes[-1]).strip().splitlines() or [type(error).__name__])[0]
    status = next(
        (cause.response.status_code for cause in causes if isinstance(cause, HfHubHTTPError) and cause.response is not None), None
    )
    # `datasets` hides the hub client's error behind its own words.
    if isinstance(error, GatedRepoError) or "is a gated dataset" in str(error):
        fix = f"accept its terms on {endpoint}/datasets/{source.name} and give a token of that account in HF_TOKEN"
        raise InputError(f"{field}.name", f"{source.name} is gated, and {where} refuses it {with_token}", fix) from error
    if isinstance(error, RevisionNotFoundError):
        raise InputError(
            f"{field}.revision", f"{source.name} has no commit {source.revision} on {where}", "give one of its history"
        ) from error
    if status in (401, 403, 404) or isinstance(error, DatasetNotFoundError | HFValidationError):
        fix = "check the name; a private set needs a token in HF_TOKEN"
        raise InputError(f"{field}.name", f"there is no data set {source.name} on {where} that can be read {with_token}", fix) from error
    if status is None and isinstance(error, ValueError | RuntimeError | DatasetGenerationError):
        # An unknown split or configuration, a broken file, or a set that is a program: the message of `datasets` says which.
        name = "split" if "split" in said.lower() else "config" if "config" in said.lower() else "name"
        raise InputError(f"{field}.{name}", f"{source.name} cannot be read: {said}", "see the set's page for what it has") from error
    message = f"{field}: {where} cannot be asked for {source.name}: {said}"
    raise HubUnavailable(f"{message}; check HF_ENDPOINT and the proxy, or try again") from error


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error and those that led to it, the first one last."""
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    return causes
