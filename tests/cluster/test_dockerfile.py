"""A change rebuilds the images that it reaches, and no others: the trainer's takes minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.dockerfile import target_digest

DOCKERFILE = """\
FROM debian AS base
RUN true
FROM base AS wheels
COPY pyproject.toml ./
COPY shared ./shared
FROM base AS controller
COPY --from=wheels /out /out
COPY controller ./controller
FROM base AS trainer
RUN --mount=type=bind,from=wheels,target=/out \\
    cp -r /out /in
COPY trainer/*.py ./trainer/
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    for name in ("pyproject.toml", "shared/a", "controller/main.py", "trainer/main.py", "trainer/notes.txt", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "rebuilt"),
    [
        pytest.param("controller/main.py", {"controller"}, id="only-the-controller-copies-it"),
        pytest.param("controller/new/file.py", {"controller"}, id="a-new-file-in-a-copied-folder"),
        pytest.param("trainer/main.py", {"trainer"}, id="a-pattern-that-matches"),
        pytest.param("trainer/notes.txt", set(), id="a-pattern-that-does-not-match"),
        pytest.param("shared/a", {"controller", "trainer"}, id="a-stage-that-both-take-from"),
        pytest.param("README.md", set(), id="copied-by-nobody"),
    ],
)
def test_a_change_reaches_the_targets_that_use_it(context: Path, changed: str, rebuilt: set[str]) -> None:
    before = {target: target_digest(context, target) for target in ("controller", "trainer")}
    (context / changed).parent.mkdir(exist_ok=True)
    (context / changed).write_text("changed")
    assert {target for target, digest in before.items() if target_digest(context, target) != digest} == rebuilt


def test_an_instruction_of_one_stage_leaves_the_other_target_as_it_is(context: Path) -> None:
    before = target_digest(context, "trainer")
    (context / "Dockerfile").write_text(DOCKERFILE.replace("COPY controller ./controller", "COPY controller ./app"))
    assert target_digest(context, "trainer") == before


def test_an_unknown_target_is_refused_with_those_that_exist(context: Path) -> None:
    with pytest.raises(ValueError, match=r"no target trainr .*controller, trainer"):
        target_digest(context, "trainr")
