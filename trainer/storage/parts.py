"""One rank's part of a checkpoint: written into a folder that all ranks share, and verified by who wrote it.

Several ranks write into one folder, each files of its own; only rank 0 publishes or removes it.
Test: tests/trainer/storage/test_parts.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from finetune.system.files import drop_cached, sync
from trainer.storage.digest import sha256_of
from trainer.storage.tensors import Part, Range, part_file, write_tensors


@dataclass(frozen=True)
class WrittenPart:
    """What a rank tells rank 0 of its files."""

    ranges: Mapping[str, Range]
    digests: Mapping[str, str] = field(default_factory=dict)
    """sha256 by file name, as read back from the disk."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """In bytes, by file name."""
    fault: str | None = None
    """Why it could not write them."""

    def check(self) -> None:
        """Raise OSError if the rank could not write its files."""
        if self.fault is not None:
            raise OSError(self.fault)

    def found_in(self, folder: Path) -> Mapping[str, str]:
        """Return the digests, if rank 0 sees the files in their size. Raises OSError when the rank wrote elsewhere."""
        for name, size in self.sizes.items():
            if not (folder / name).is_file() or (folder / name).stat().st_size != size:
                raise OSError(f"rank 0 does not find {name} in {folder}, where another rank wrote it: all nodes need the same volume there")
        return self.digests


def write_part(folder: Path, part: Part, rank: int, world_size: int) -> WrittenPart:
    """Write one rank's files, a group each, sync them and compare what the disk gives back; what goes wrong is in the result."""
    digests, sizes = {}, {}
    try:
        for group, tensors in part.groups.items():
            file = folder / part_file(group, rank, world_size)
            write_tensors(file, tensors)
            written = sha256_of(file)
            sync(file)
            drop_cached(file)
            if sha256_of(file) != written:
                raise OSError(f"{file.name} is not what was written (sha256 differs)")
            digests[file.name], sizes[file.name] = written, file.stat().st_size
    except OSError as error:
        return WrittenPart(part.ranges, fault=str(error))
    return WrittenPart(part.ranges, digests, sizes)
