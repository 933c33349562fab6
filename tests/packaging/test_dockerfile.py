"""What the Dockerfile promises and no build is needed to see; that the images work is what the tests on the node show."""

import re

import pytest

from tests.repository import REPOSITORY

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
STAGES = {stage.split()[3]: stage for stage in re.split(r"^(?=FROM )", DOCKERFILE, flags=re.MULTILINE)[1:]}
TARGETS = ("controller", "trainer")


@pytest.mark.parametrize("target", TARGETS)
def test_image_runs_as_a_numbered_user_so_that_kubernetes_can_tell_that_it_is_not_root(target: str) -> None:
    assert re.findall(r"^USER (.*)$", STAGES[target], re.MULTILINE) == ["1000:1000"]


@pytest.mark.parametrize("target", TARGETS)
def test_image_begins_at_the_base_so_that_installer_and_caches_are_not_in_it(target: str) -> None:
    assert STAGES[target].startswith(f"FROM base AS {target}\n")


def test_no_compiler_is_installed() -> None:
    assert not re.search(r"apt-get|build-essential|g\+\+", DOCKERFILE.replace("no compiler", ""))


def test_no_index_certificate_or_proxy_is_built_in() -> None:
    arguments = re.findall(r"^ARG (.*)$", DOCKERFILE, re.MULTILINE)
    assert arguments
    assert [argument for argument in arguments if "=" in argument] == []
    assert "://" not in DOCKERFILE


def test_only_what_the_dockerfile_copies_is_sent_to_the_builder() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    sent = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {
        source.removeprefix("./")
        for words in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in words.split()[:-1]
    }
    assert "*" in ignored
    assert copied == sent
