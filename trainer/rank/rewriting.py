"""Has models write variants of training texts before training begins: each rank those of its share, all in one table.

The models are loaded before the one that is trained, and freed before it is loaded: memory holds at most one operation's models at once.
What is written is a function of (seed, text, number of the variant), up to rounding: texts that are written at once are padded alike, and
a tie between two tokens may fall otherwise. So the table is what counts: it is written once, and all ranks and attempts read it.
Test: tests/trainer/rank/test_rewriting.py.
"""

import gc
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from finetune.api.augmentation import PLACEHOLDER, Augmentation, AugmentationOperation, Rewriting
from finetune.api.errors import InputError
from finetune.api.record import Stage
from finetune.api.tasks import ModelFamily
from finetune.api.using import Decoding
from trainer.augmentation.protection import Protection
from trainer.augmentation.rewritten import (
    FILE,
    NONE,
    Key,
    Rewritten,
    Variants,
    add,
    chosen,
    digest_of,
    head_of,
    read,
    replace_unless_whole,
)
from trainer.data.sampler import random_for
from trainer.engine.aside import RanksAside
from trainer.engine.inference import OneProcess
from trainer.evaluation.beginning import is_seq2seq
from trainer.evaluation.generation import Generated, generate
from trainer.model.load import load_model
from trainer.model.spill import give_back_freed_memory
from trainer.model.tokenizer import load_tokenizer
from trainer.objectives.family import CAUSAL_LM
from trainer.objectives.seq2seq import SEQ2SEQ_LM
from trainer.preflight.rewriters import Rewriter, located_at
from trainer.rank.assignment import Assignment
from trainer.rank.outbox import Outbox
from trainer.reporting.messages import Silent

logger = logging.getLogger(__name__)

AT_ONCE = 8
"""Texts that a model writes variants of at once."""
ROUND = 32
"""Texts of each rank after which what was written is stored: as many are lost when the run is stopped."""


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Writer:
    """A model that writes, on this rank's device."""

    engine: OneProcess
    tokenizer: Any
    prompt: str
    gets_on: Callable[[], None] = _nothing
    """Called after each batch."""

    def write(self, texts: Sequence[str], settings: Rewriting, seed: int) -> list[Generated]:
        """Return what it writes for each text; the same for a text whatever the others are."""
        prompts = [self._ids(self.prompt.replace(PLACEHOLDER, text)) for text in texts]
        decoding = Decoding(temperature=settings.temperature, seed=seed)
        return generate(self.engine.model, self.tokenizer, prompts, settings.max_new_tokens, AT_ONCE, decoding=decoding,
                        between=self.gets_on)  # fmt: skip

    def _ids(self, prompt: str) -> list[int]:
        if self.tokenizer.chat_template is None or is_seq2seq(self.engine.model):
            return list(self.tokenizer(prompt)["input_ids"])
        turns = [{"role": "user", "content": prompt}]
        written = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        return list(self.tokenizer(written, add_special_tokens=False)["input_ids"])


def rewrite(work: Assignment, ranks: RanksAside | None = None) -> Rewritten:
    """Return what models write for the training texts of a run, on every rank."""
    config = work.config.augmentation
    if config is None or not work.inputs.rewriters:
        return NONE
    ranks = ranks or RanksAside.of(int(os.environ.get("RANK", "0")), work.config.workers.world_size)
    path, head = work.directory / FILE, head_of(made_with(config, work.inputs.rewriters, work.config.training.seed))
    found: dict[Key, Variants] = ranks.broadcast(_read(work, path, head) if ranks.rank == 0 else None)
    if work.only_results:
        return found
    if ranks.rank == 0:
        replace_unless_whole(path, head, found)
    texts = texts_of(work)
    missing = {
        index: [text for text in texts if (index, text) not in found]
        for index, operation in enumerate(config.operations)
        if operation.rewriting is not None
    }
    if not any(missing.values()):
        return found
    for index, operation in enumerate(config.operations):
        if missing.get(index):
            _write_all(work, ranks, index, operation, missing[index], found)
    return found


def _read(work: Assignment, path: Path, head: str) -> dict[Key, Variants]:
    """Return what was written before: of this run, or of the one that it is a control run of or goes on from."""
    derived, continued = work.config.derived, work.config.continue_from
    folders = [derived.main] if derived is not None else []
    folders += [continued.fine_tune_job.path] if continued is not None else []
    return next((found for place in (path, *(Path(folder) / FILE for folder in folders)) if (found := read(place, head))), {})


def texts_of(work: Assignment) -> list[str]:
    """Return the texts of the training rows that augmentation may touch, each once, in the order of the rows."""
    found: dict[str, None] = {}

    def note(text: str) -> str:
        if text.strip():
            found[text] = None
        return text

    for example in work.inputs.dataset.train:
        work.inputs.task.vary(example, note)
    return list(found)


def made_with(config: Augmentation, rewriters: Mapping[str, Rewriter], seed: int) -> dict[str, Any]:
    """Return all that decides what is written for a text, and what of it is used."""
    operations = {
        str(index): {
            name: value for name, value in operation.rewriting.to_wire().items() if name not in ("model", "there", "back", "probability")
        }
        for index, operation in enumerate(config.operations)
        if operation.rewriting is not None
    }
    models = {field: rewriter.digest for field, rewriter in rewriters.items()}
    return {"operations": operations, "models": models, "seed": seed, "protected": config.protected or []}


def check_same(recorded: str, found: Rewritten) -> None:
    """Raise InputError if a checkpoint was trained on other variants than there are."""
    if recorded and recorded != digest_of(found):
        problem = f"the variants of texts in {FILE} are not those that the checkpoint was trained on"
        raise InputError("augmentation.operations", problem, "restore that file, or start a new run")


def _write_all(
    work: Assignment, ranks: RanksAside, index: int, operation: AugmentationOperation, texts: Sequence[str], found: dict[Key, Variants]
) -> None:
    """Add what one operation's models write for these texts."""
    augmentation, settings = work.config.augmentation, operation.rewriting
    if augmentation is None or settings is None:
        return
    protection = Protection(augmentation.protected or ())
    outbox = Outbox(work.sender if ranks.rank == 0 else Silent())
    writers = list(_writers(work, index, operation, outbox.gets_on))
    # Only from here on do batches give signs of life; a model that is loaded is one of the stages that give none.
    outbox.send(stage=Stage.REWRITING)
    for start in range(0, len(texts), ROUND * ranks.world_size):
        own = texts[start : start + ROUND * ranks.world_size][ranks.rank :: ranks.world_size]
        made = variants_of(own, writers, settings, work.config.training.seed, index, protection) if own else {}
        new = {(index, text): variants for part in ranks.gather(made) for text, variants in part.items()}
        found.update(new)
        if ranks.rank == 0:
            add(work.directory / FILE, new)
            logger.info("%s: %d of %d texts written", operation.name, min(start + ROUND * ranks.world_size, len(texts)), len(texts))
    outbox.send(stage=Stage.STARTING)
    writers.clear()
    gc.collect()
    give_back_freed_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def variants_of(
    texts: Sequence[str], writers: Sequence[Writer], settings: Rewriting, seed: int, index: int, protection: Protection
) -> dict[str, Variants]:
    """Return the variants of each text: what the writers make of it, one after the other, drawn anew for each variant."""
    written: dict[str, list[tuple[str, bool]]] = {text: [] for text in texts}
    for number in range(settings.variants):
        now, cut = list(texts), [False] * len(texts)
        for place, writer in enumerate(writers):
            left = [row for row, text in enumerate(now) if text.strip()]  # no model reads an empty text
            draws = random_for("rewrite", seed, index, number, place).getrandbits(31)
            for row, answer in zip(left, writer.write([now[row] for row in left], settings, draws), strict=True):
                now[row], cut[row] = answer.text, cut[row] or answer.cut
        for text, variant, was_cut in zip(texts, now, cut, strict=True):
            written[text].append((variant, was_cut))
    return {text: chosen(text, variants, protection) for text, variants in written.items()}


def _writers(work: Assignment, index: int, operation: AugmentationOperation, gets_on: Callable[[], None] = _nothing) -> Iterable[Writer]:
    on_gpu = work.config.workers.gpus_per_worker > 0
    device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
    dtype = torch.bfloat16 if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    for member, _ in operation.models():
        field = f"augmentation.operations[{index}].{operation.name}.{member}"
        rewriter = work.inputs.rewriters[field]
        located = located_at(field, rewriter.located.pinned())
        model = load_model(located, dtype, CAUSAL_LM if rewriter.kind is ModelFamily.CAUSAL else SEQ2SEQ_LM)
        prompt = operation.paraphrase.prompt if operation.paraphrase is not None else PLACEHOLDER
        logger.info("%s is written by %s, from %s", operation.name, located.name, located.source)
        yield Writer(OneProcess(model, device), load_tokenizer(located), prompt, gets_on)
