"""Which kind of place takes a job's results. Test: tests/trainer/storage/test_kinds.py."""

from pathlib import Path

from finetune.api.trainconfig import OutputFolder
from trainer.storage.localfolder import LocalFolder
from trainer.storage.place import Place


def output_place(output: OutputFolder) -> Place:
    """Return the place that a job's results go to: today always a folder, that of a laptop or a claim mounted in the pod."""
    return LocalFolder(Path(output.directory), output.uri)
