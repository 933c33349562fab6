import re
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from finetune.api.errors import InputError
from finetune.api.sources import REVISION
from tests.trainer.model.hub_server import COMMIT, GOOD_TOKEN, NAME, Behavior, HubServer, hub_server
from trainer.hub.connection import HubUnavailable
from trainer.hub.models import HubSettings, fetch


def settings(server: HubServer, cache: Path, token: str | None = None) -> HubSettings:
    return HubSettings(server.endpoint, token, cache, timeout_seconds=1.0)


def test_the_needed_files_come_at_one_recorded_commit(saved_model: Path, tmp_path: Path) -> None:
    with hub_server(saved_model) as server:
        snapshot = fetch(NAME, None, settings(server, tmp_path))

    assert snapshot.commit == COMMIT
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (snapshot.path / name).read_bytes() == (saved_model / name).read_bytes()


def test_files_that_training_does_not_need_are_left_on_the_hub(saved_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    for file in saved_model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    for name in ("pytorch_model.bin", "README.md", "model.gguf", "modeling_evil.py"):
        (folder / name).write_text("not wanted")
    with hub_server(folder) as server:
        snapshot = fetch(NAME, None, settings(server, tmp_path / "cache"))

    assert {file.name for file in snapshot.path.iterdir()} == {file.name for file in saved_model.iterdir()}


def test_without_weights_only_small_files_are_fetched(saved_model: Path, tmp_path: Path) -> None:
    with hub_server(saved_model) as server:
        snapshot = fetch(NAME, None, settings(server, tmp_path), weights=False)

    assert (snapshot.path / "tokenizer.json").is_file()
    assert not (snapshot.path / "model.safetensors").exists()


@pytest.mark.parametrize("name", ["global_step=1000", "feature/#12", "a/b@c", "v2,final", "exp(1)", "50%25", "wow!", "1.0+cu128"])
def test_a_branch_is_asked_for_by_its_very_name_and_stays_in_its_cache(name: str, saved_model: Path, tmp_path: Path) -> None:
    assert re.fullmatch(REVISION, name)
    with hub_server(saved_model) as server:
        server.main, server.names[name] = "f" * 40, COMMIT
        snapshot = fetch(NAME, name, settings(server, tmp_path))

    assert snapshot.commit == COMMIT
    assert (tmp_path / "models--acme--tiny" / "refs" / name).read_text() == COMMIT


def test_a_pinned_commit_that_is_complete_in_the_cache_is_not_asked_for_again(saved_model: Path, tmp_path: Path) -> None:
    with hub_server(saved_model) as server:
        first = fetch(NAME, "main", settings(server, tmp_path))
        asked = len(server.requests)
        again = fetch(NAME, first.commit, settings(server, tmp_path))

        assert len(server.requests) == asked
    assert again.path == first.path
    assert "cached" in again.source


def test_a_cache_with_small_files_alone_does_not_pass_for_the_whole_model(saved_model: Path, tmp_path: Path) -> None:
    with hub_server(saved_model) as server:
        fetch(NAME, None, settings(server, tmp_path), weights=False)
        snapshot = fetch(NAME, COMMIT, settings(server, tmp_path))

    assert (snapshot.path / "model.safetensors").is_file()


def test_a_gated_model_is_refused_with_the_way_to_get_in(saved_model: Path, tmp_path: Path) -> None:
    with hub_server(saved_model, Behavior.GATED) as server, pytest.raises(InputError) as refused:
        fetch(NAME, None, settings(server, tmp_path))

    assert refused.value.field == "model.name"
    assert "gated" in refused.value.problem
    assert "model.tokenSecret" in refused.value.fix


@pytest.mark.parametrize("behavior", [Behavior.GATED, Behavior.PRIVATE])
def test_a_good_token_opens_gated_and_private_models(saved_model: Path, tmp_path: Path, behavior: Behavior) -> None:
    with hub_server(saved_model, behavior) as server:
        snapshot = fetch(NAME, None, settings(server, tmp_path, GOOD_TOKEN))

    assert (snapshot.path / "model.safetensors").is_file()


def test_a_bad_token_is_reported_by_its_field_and_never_shown(saved_model: Path, tmp_path: Path) -> None:
    with hub_server(saved_model, Behavior.PRIVATE) as server, pytest.raises(InputError) as refused:
        fetch(NAME, None, settings(server, tmp_path, "hf_expired"))

    assert refused.value.field == "model.tokenSecret"
    assert "401" in refused.value.problem
    assert "hf_expired" not in str(refused.value)


def test_a_private_model_without_a_token_asks_for_one(saved_model: Path, tmp_path: Path) -> None:
    with hub_server(saved_model, Behavior.PRIVATE) as server, pytest.raises(InputError, match=r"model\.name: .*without a token"):
        fetch(NAME, None, settings(server, tmp_path))


def test_an_unknown_model_and_an_unknown_revision_name_their_fields(saved_model: Path, tmp_path: Path) -> None:
    with hub_server(saved_model) as server:
        with pytest.raises(InputError, match=r"model\.name: there is no model acme/other"):
            fetch("acme/other", None, settings(server, tmp_path))
        with pytest.raises(InputError, match=r"model\.revision: acme/tiny has no commit f{40}"):
            fetch(NAME, "f" * 40, settings(server, tmp_path))


def test_a_model_without_safetensors_is_refused_before_anything_is_fetched(saved_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_text("pickle")
    with hub_server(folder) as server:
        with pytest.raises(InputError, match="only as pickle"):
            fetch(NAME, None, settings(server, tmp_path / "cache"))

        assert server.requests == [f"GET /api/models/{NAME}"]


def test_a_silent_hub_ends_in_a_clear_error_in_bounded_time(saved_model: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    with hub_server(saved_model, Behavior.SILENT) as server, pytest.raises(HubUnavailable, match=r"did not answer within 1 s") as raised:
        fetch(NAME, None, settings(server, tmp_path))

    assert time.monotonic() - started < 5
    assert "HF_ENDPOINT" in str(raised.value)


def test_a_failing_hub_may_be_tried_again(saved_model: Path, tmp_path: Path) -> None:
    with hub_server(saved_model, Behavior.FAILING) as server, pytest.raises(HubUnavailable, match="503"):
        fetch(NAME, None, settings(server, tmp_path))


def test_a_refused_connection_may_be_tried_again(saved_model: Path, tmp_path: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{bound.getsockname()[1]}"
    with pytest.raises(HubUnavailable, match="cannot be asked"):
        fetch(NAME, None, HubSettings(endpoint, None, tmp_path, timeout_seconds=1.0))


@pytest.mark.parametrize("behavior", [Behavior.SILENT, Behavior.FAILING])
def test_what_is_cached_serves_when_the_hub_is_away_and_the_source_says_so(saved_model: Path, tmp_path: Path, behavior: Behavior) -> None:
    with hub_server(saved_model) as server:
        options = settings(server, tmp_path)
        fetch(NAME, "main", options)
        server.behavior = behavior

        snapshot = fetch(NAME, None, replace(options, timeout_seconds=0.5))

    assert snapshot.commit == COMMIT
    assert "the hub itself was not reached" in snapshot.source


def test_lost_access_is_not_hidden_by_the_cache(saved_model: Path, tmp_path: Path) -> None:
    with hub_server(saved_model) as server:
        fetch(NAME, "main", settings(server, tmp_path))
        server.behavior = Behavior.GATED

        with pytest.raises(InputError, match="gated"):
            fetch(NAME, None, settings(server, tmp_path))
