"""Which format a file has by the ending of its name. The trainer reads by it, `finetune init` looks by it.

Tests: tests/trainer/data/test_formats.py, tests/finetune/cli/test_datafile.py.
"""

from pathlib import Path

from finetune.api.sources import DataFormat

ENDINGS = {
    ".jsonl": DataFormat.JSONL,
    ".ndjson": DataFormat.JSONL,
    ".json": DataFormat.JSON,
    ".csv": DataFormat.CSV,
    ".tsv": DataFormat.TSV,
    ".tab": DataFormat.TSV,
    ".parquet": DataFormat.PARQUET,
    ".txt": DataFormat.TEXT,
    ".text": DataFormat.TEXT,
    ".md": DataFormat.TEXT,
}
PACKED_ENDINGS = (".gz", ".gzip", ".zst", ".zstd", ".bz2", ".xz")


def known_format(path: Path) -> DataFormat | None:
    """Return the format that the ending of a file's name says, before that of what it is packed with."""
    name = path.name.lower()
    ending = Path(name).suffix
    if ending in PACKED_ENDINGS:
        ending = Path(name.removesuffix(ending)).suffix
    return ENDINGS.get(ending)
