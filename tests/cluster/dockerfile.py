"""Tells which files decide what a Dockerfile's target becomes, so that only a change of those causes a new build."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

STAGE = re.compile(r"^FROM\s+(?:--\S+\s+)*(?P<source>\S+)(?:\s+AS\s+(?P<name>\S+))?\s*$", re.IGNORECASE)
COPY = re.compile(r"^(?:COPY|ADD)\s+(?P<words>.*)$", re.IGNORECASE)
FROM_STAGE = re.compile(r"--(?:from|mount=\S*from)=([^\s,]+)")
IGNORED_PARTS = {"__pycache__", ".git", ".venv"}


def target_digest(context: Path, target: str) -> str:
    """Digest of the instructions that lead to a target, and of every file that they copy."""
    stages = _stages((context / "Dockerfile").read_text())
    if target not in stages:
        raise ValueError(f"{context / 'Dockerfile'} has no target {target} (it has: {', '.join(stages)})")
    content = hashlib.sha256()
    for name in sorted(_reachable(stages, target)):
        for line in stages[name]:
            content.update(line.encode())
            for path in _copied(context, line):
                content.update(str(path.relative_to(context)).encode() + b"\0" + path.read_bytes())
    return content.hexdigest()


def _stages(dockerfile: str) -> dict[str, list[str]]:
    """The instructions of each stage by its name, or by its number where it has none; "" holds what precedes."""
    stages: dict[str, list[str]] = {"": []}
    lines = stages[""]
    for line in dockerfile.replace("\\\n", " ").splitlines():
        if found := STAGE.match(line.strip()):
            lines = stages.setdefault(found["name"] or str(len(stages) - 1), [])
        if line.strip() and not line.lstrip().startswith("#"):
            lines.append(line.strip())
    return stages


def _reachable(stages: dict[str, list[str]], target: str) -> set[str]:
    found: set[str] = set()
    waiting = ["", target]
    while waiting:
        name = waiting.pop()
        if name in stages and name not in found:
            found.add(name)
            for line in stages[name]:
                waiting += FROM_STAGE.findall(line)
                if start := STAGE.match(line):
                    waiting.append(start["source"])
    return found


def _copied(context: Path, line: str) -> list[Path]:
    instruction = COPY.match(line)
    if instruction is None or "--from=" in line:
        return []
    words = re.sub(r'[\[\]",]', " ", instruction["words"]).split()
    files: set[Path] = set()
    for source in [word for word in words if not word.startswith("--")][:-1]:
        for path in context.glob(source.removeprefix("./").strip("/") or "*"):
            candidates = path.rglob("*") if path.is_dir() else [path]
            files.update(entry for entry in candidates if entry.is_file() and not IGNORED_PARTS & set(entry.parts))
    return sorted(files)
