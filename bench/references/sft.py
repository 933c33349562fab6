"""TRL's SFTTrainer with the settings of a job. Test: tests/bench/test_references.py.

Packed means TRL's `padding_free`: its `packing` would choose other rows for a step, and then losses could not be compared.
"""

from bench.references.huggingface import Lines, Recorded, rows_of, run, settings
from bench.references.recorder import Recorder
from bench.references.work import Work, load_model


def train(work: Work) -> None:
    """Train all steps."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    class RecordedSft(Recorded, SFTTrainer):  # type: ignore[misc]
        """The SFTTrainer, recorded."""

    recorder = Recorder()
    trainer = RecordedSft(
        model=load_model(work),
        args=SFTConfig(**settings(work), max_length=None, padding_free=work.packed, dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=Dataset.from_list(rows_of(work)),
        processing_class=work.tokenizer,
        callbacks=[Lines(recorder)],
    )
    run(trainer, recorder, work.output)
