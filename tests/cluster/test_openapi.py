"""Documents of the API are downloaded once, checked by their hash, and nothing else of their module stays."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.cluster import openapi
from tests.cluster.openapi import DocumentUnavailableError, document, download_all
from tests.cluster.toolchain import BuildError

TEXT = '{"definitions": {}}'
VERSION = "v1.99.0"
GO = f"""#!/bin/sh
[ "$1" = version ] && echo go version go1.26.0 linux/amd64 && exit
echo "$*" >> "$FINETUNE_CACHE/asked"
mkdir -p "$GOMODCACHE/module/api/openapi-spec" && touch "$GOMODCACHE/module/large"
printf '%s' '{TEXT}' > "$GOMODCACHE/module/api/openapi-spec/swagger.json"
printf '{{"Dir": "%s/module"}}' "$GOMODCACHE"
"""
NO_GO = """#!/bin/sh
[ "$1" = version ] && echo go version go1.26.0 linux/amd64 && exit
echo '{"Error": "no such host"}'; exit 1
"""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of go, which answers as it does; what it was asked is in `asked` of the cache."""
    program = tmp_path / "bin" / "go"
    program.parent.mkdir()
    program.write_text(GO)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(openapi, "DOCUMENTS", {VERSION: hashlib.sha256(TEXT.encode()).hexdigest()})
    return program


def kept(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache" / "openapi").iterdir())


def test_a_document_is_downloaded_once_and_nothing_else_stays(go: Path, tmp_path: Path) -> None:
    found = document(VERSION)
    assert found.read_text() == TEXT
    assert document(VERSION) == found
    assert kept(tmp_path) == [found]
    assert (tmp_path / "cache" / "asked").read_text() == f"mod download -json k8s.io/kubernetes@{VERSION}\n"


def test_another_document_than_the_pinned_one_is_an_error_and_does_not_stay(
    go: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openapi, "DOCUMENTS", {VERSION: "0" * 64})
    with pytest.raises(BuildError, match="has another hash") as raised:
        download_all()
    assert not isinstance(raised.value, DocumentUnavailableError), "tests would be skipped"
    assert kept(tmp_path) == []


def test_without_a_network_the_build_goes_on_and_says_what_will_be_skipped(go: Path, capfd: pytest.CaptureFixture[str]) -> None:
    go.write_text(NO_GO)
    with pytest.raises(DocumentUnavailableError, match="could not be downloaded: no such host"):
        document(VERSION)
    download_all()
    assert "tests of objects against other versions of Kubernetes will be skipped" in capfd.readouterr().err
