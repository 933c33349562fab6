"""How far the trainer's reports were taken over, as it is in status: `attempt/cluster/sequence`.

Pure. Test: tests/finetune/api/test_folding.py.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cursor:
    """Which report was taken over last; a later one of the same attempt and cluster has a higher sequence number."""

    attempt: int
    cluster: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.attempt}/{self.cluster}/{self.sequence}"

    @classmethod
    def parse(cls, text: str | None) -> "Cursor | None":
        """Read what `str` wrote; None for anything else."""
        parts = (text or "").split("/")
        if len(parts) != 3 or not (parts[0].isdecimal() and parts[2].isdecimal()):
            return None
        return cls(int(parts[0]), parts[1], int(parts[2]))
