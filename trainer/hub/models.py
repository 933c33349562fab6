"""Fetch a model from the Hugging Face hub: the files that are needed, at one commit, in bounded time, with clear errors.

What the user must change (no such model, no access) is an InputError; a hub that does not answer or fails is HubUnavailable.
Imports neither torch nor transformers. Test: tests/trainer/hub/test_models.py.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from huggingface_hub import HfApi, constants, get_hf_file_metadata, get_token, hf_hub_url, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # httpx or httpx2, as this version of the library has it

from finetune.api.errors import InputError
from finetune.system.hubaccess import closed
from trainer.hub.connection import DEFAULT_TIMEOUT_SECONDS, HubUnavailable, hub_timeout_seconds
from trainer.hub.weightnames import check_weight_names

SMALL_FILES = ["*.json", "*.jinja", "tokenizer.model", "spiece.model", "vocab.txt", "merges.txt"]
WEIGHT_FILES = ["model*.safetensors"]
MAIN = "main"
COMMIT = re.compile("[0-9a-f]{40}")
# Folders of a repository hold other forms of the model (onnx/, original/); transformers reads none of them.
NOT_NEEDED = ["*/*"]


@dataclass(frozen=True)
class HubSettings:
    """How the hub is reached. `timeout_seconds` bounds each wait for an answer."""

    endpoint: str
    token: str | None
    cache: Path
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS

    @classmethod
    def from_environment(cls) -> "HubSettings":
        """Read HF_ENDPOINT, HF_TOKEN (or what `hf auth login` left), HF_HUB_CACHE or HF_HOME, FINETUNE_HUB_TIMEOUT_SECONDS."""
        home = os.environ.get("HF_HOME")
        cache = os.environ.get("HF_HUB_CACHE") or (os.path.join(home, "hub") if home else constants.HF_HUB_CACHE)
        return cls(
            endpoint=os.environ.get("HF_ENDPOINT") or constants.ENDPOINT,
            token=None if constants.HF_HUB_OFFLINE else get_token(),
            cache=Path(cache),
            timeout_seconds=hub_timeout_seconds(),
        )


@dataclass(frozen=True)
class Snapshot:
    """A model's files in the hub's cache, and the commit that they belong to."""

    path: Path
    commit: str
    source: str


def fetch(name: str, revision: str | None, settings: HubSettings, *, weights: bool = True) -> Snapshot:
    """Return the model's files at `revision` (the newest when None); without `weights` only the small ones.

    When the hub cannot be reached, a complete copy in the hub's cache serves instead, and `source` says so.
    """
    cached_already = cached_commit(name, revision, settings, weights=weights)
    if cached_already is not None:
        return cached_already
    patterns = _patterns(weights)
    try:
        _check_access(name, revision, settings)
        # By its name, not by the commit just seen, so that the cache records which commit the name refers to.
        path = _download(name, revision or MAIN, settings, patterns)
    except InputError:
        raise
    except Exception as error:
        cached = _cached(name, revision or MAIN, settings, patterns) if _may_pass(error) else None
        if cached is None:
            _raise_as_ours(error, name, revision, settings)
        source = f"cache of the hub at {settings.cache}, commit {cached.name} (the hub itself was not reached)"
        return Snapshot(cached, cached.name, source)
    return Snapshot(path, path.name, f"hub {settings.endpoint}, commit {path.name}")


def cached_commit(name: str, revision: str | None, settings: HubSettings, *, weights: bool) -> Snapshot | None:
    """Return the files of a commit if the cache has them all: a commit never changes, and the hub need not be asked. None for a name."""
    if revision is None or not COMMIT.fullmatch(revision):
        return None
    cached = _cached(name, revision, settings, _patterns(weights))
    if cached is None:
        return None
    return Snapshot(cached, revision, f"hub {settings.endpoint}, commit {revision}, as cached in {settings.cache}")


def _patterns(weights: bool) -> list[str]:
    return SMALL_FILES + (WEIGHT_FILES if weights else [])


def _check_access(name: str, revision: str | None, settings: HubSettings) -> None:
    """Raise an error of the hub's client unless weights are there in safetensors and files may be read; asks once, no retries."""
    api = HfApi(endpoint=settings.endpoint, token=settings.token)
    info = api.model_info(name, revision=revision, timeout=settings.timeout_seconds)
    check_weight_names([file.rfilename for file in info.siblings or []], "model.name", f"{name} on the hub")
    # A gated model's description is public, its files are not.
    url = hf_hub_url(name, "config.json", revision=info.sha or revision, endpoint=settings.endpoint)
    get_hf_file_metadata(url, token=settings.token, timeout=settings.timeout_seconds, endpoint=settings.endpoint)


def _download(name: str, revision: str, settings: HubSettings, patterns: list[str], *, offline: bool = False) -> Path:
    folder = snapshot_download(
        name,
        revision=revision,
        cache_dir=settings.cache,
        endpoint=settings.endpoint,
        token=settings.token,
        etag_timeout=settings.timeout_seconds,
        allow_patterns=patterns,
        ignore_patterns=NOT_NEEDED,
        local_files_only=offline,
    )
    return Path(folder)


def _cached(name: str, revision: str, settings: HubSettings, patterns: list[str]) -> Path | None:
    """Return the cache's copy of a revision if it is complete."""
    try:
        return _download(name, revision, settings, patterns, offline=True)
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None


def _may_pass(error: Exception) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500 or error.response.status_code == 429
    return isinstance(error, httpx.TransportError | OfflineModeIsEnabled | LocalEntryNotFoundError)


def _raise_as_ours(error: Exception, name: str, revision: str | None, settings: HubSettings) -> NoReturn:
    """Raise the hub client's error as InputError or HubUnavailable, in words a user can act on."""
    where = f"the hub at {settings.endpoint}"
    with_token = "with the token given" if settings.token else "without a token"
    if isinstance(error, GatedRepoError):
        fix = f"accept its terms on {settings.endpoint}/{name} and give a token of that account in model.tokenSecret (locally: HF_TOKEN)"
        raise InputError("model.name", f"{name} is gated, and {where} refuses it {with_token}", fix) from error
    if isinstance(error, RevisionNotFoundError):
        raise InputError("model.revision", f"{name} has no commit {revision} on {where}", "give one that its history shows") from error
    if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403) and settings.token:
        fix = "give a valid one that may read the model in model.tokenSecret (locally: HF_TOKEN)"
        raise InputError("model.tokenSecret", f"{where} refuses the token for {name} (HTTP {error.response.status_code})", fix) from error
    if isinstance(error, RepositoryNotFoundError) or (isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403, 404)):
        fix = "check the name; a private model needs a token in model.tokenSecret (locally: HF_TOKEN)"
        raise InputError("model.name", f"there is no model {name} on {where} that can be read {with_token}", fix) from error
    if isinstance(error, HFValidationError):
        raise InputError("model.name", f"{name} is not a name on the hub", "names look like org/model") from error
    if isinstance(error, httpx.TimeoutException):
        message = f"model.name: {where} did not answer within {settings.timeout_seconds:g} s when asked for {name}"
        raise HubUnavailable(f"{message}; check HF_ENDPOINT and the proxy, or try again") from error
    if constants.HF_HUB_OFFLINE and isinstance(error, OfflineModeIsEnabled | LocalEntryNotFoundError):
        missing = f"model.name: the files of {name} at {revision or MAIN} are not in the cache {settings.cache} of this node"
        if closed():
            raise HubUnavailable(f"{missing}, and this process asks no hub: another one fetches them before it starts") from error
        raise HubUnavailable(f"{missing}, and HF_HUB_OFFLINE=1 forbids to ask the hub; fetch them before, or unset it") from error
    if isinstance(error, httpx.TransportError | HfHubHTTPError | OfflineModeIsEnabled | LocalEntryNotFoundError):
        message = f"model.name: {where} cannot be asked for {name}: {str(error).strip().splitlines()[0]}"
        raise HubUnavailable(f"{message}; check HF_ENDPOINT and the proxy, or try again") from error
    raise error
