"""Checks a job file as `finetune check` does, within this process, and asks what it found."""

from dataclasses import dataclass
from pathlib import Path

from finetune.api.errors import BadInputError, InputError
from finetune.api.trainconfig import TrainConfig
from finetune.cli.jobfile.reading import read_job_file
from finetune.cli.local.configuration import Folders, plan_local_run, prepare
from finetune.cli.local.machine import Machine
from tests.trainer.fixtures.examples import tokenize
from trainer.chat.tokens import prompt_and_reference
from trainer.data.datafolder import DataFolder
from trainer.data.rows import Sample
from trainer.preflight.inputs import Inputs, check_inputs


@dataclass(frozen=True)
class Checked:
    """What the check of a job came to: either `error`, in the words that a user reads, or the inputs of a run."""

    error: str = ""
    config: TrainConfig | None = None
    inputs: Inputs | None = None

    @property
    def findings(self) -> str:
        assert self.inputs is not None, f"refused: {self.error}"
        return "\n".join(self.inputs.findings)

    def train_rows(self) -> list[Sample]:
        """Return the training rows of a chat in tokens, as the model sees them."""
        assert self.inputs is not None, f"refused: {self.error}"
        assert self.config is not None
        length = self.config.training.max_sequence_length
        return [tokenize(example, self.inputs.tokenizer, length) for example in self.inputs.dataset.train]

    def learned(self) -> list[str]:
        """Return the text with loss of each training row, with its special tokens."""
        assert self.inputs is not None, f"refused: {self.error}"
        tokenizer = self.inputs.tokenizer
        return [
            tokenizer.decode([token for token, learned in zip(row.input_ids, row.loss_mask, strict=True) if learned])
            for row in self.train_rows()
        ]

    def prompts(self) -> list[str]:
        """Return what an answer to each training row would be generated from, with its special tokens."""
        assert self.inputs is not None, f"refused: {self.error}"
        tokenizer = self.inputs.tokenizer
        return [tokenizer.decode(prompt_and_reference(example, tokenizer)[0]) for example in self.inputs.dataset.train]

    def conversations(self) -> list[list[tuple[str, str]]]:
        """Return role and words of each turn of the training rows."""
        assert self.inputs is not None, f"refused: {self.error}"
        return [[(turn.role, turn.content) for turn in example.messages] for example in self.inputs.dataset.train]


def check(job: Path, scratch: Path) -> Checked:
    """Check a job; writes to `scratch` alone."""
    folders = Folders(scratch / "output", scratch / "private")
    try:
        local_run = plan_local_run(read_job_file(job), folders, {}, Machine.here())
        prepare(folders, local_run)
        inputs = check_inputs(local_run.config, DataFolder(scratch / "data", scratch / "data" / "start-0"), rehearse_here=True)
    except (BadInputError, InputError) as error:
        return Checked(error=str(error))
    return Checked(config=local_run.config, inputs=inputs)
