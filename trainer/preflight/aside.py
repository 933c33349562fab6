"""Checks the model in a thread while the rows are read: finds it, dequantizes it if needed, has it rehearsed, digests its weights.

Test: tests/trainer/preflight/test_aside.py.
"""

import threading
from concurrent.futures import CancelledError, Future
from types import TracebackType
from typing import Any, Self

from finetune.api.trainconfig import TrainConfig
from trainer.model.location import LocatedModel, folder_of, locate, ready_folder
from trainer.model.weights import weights_digest
from trainer.preflight.passed import Passed, Rehearsed
from trainer.preflight.rehearsing import RehearsalProgram

STOP_SECONDS = 30.0
"""For which the end of a conversion is waited for: it stops after a tensor, but may be flushing what is written to a slow disk."""


class ModelChecks:
    """What is checked of a model beside its rows, begun at once. Leaving the block ends what is still going on.

    A program that trains later, and so has torch, rehearses the model itself (`rehearse_here`), when it is asked for the outcome.
    """

    def __init__(self, config: TrainConfig, *, rehearse_here: bool) -> None:
        self._config, self._program, self._here = config, RehearsalProgram(), rehearse_here
        self._left, self._converted = threading.Event(), threading.Event()
        self._located: Future[LocatedModel] = Future()
        self._digest: Future[str | None] = Future()
        self._findings: Future[tuple[str, ...] | None] = Future()
        """Of the rehearsal; None where it is still to be done here."""

    def __enter__(self) -> Self:
        # Not waited for when other input is invalid: a hub that does not answer takes its time.
        threading.Thread(target=self._work, name="model checks", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._program.end()
        self._left.set()
        if self._located.done():  # half a model in the cache would lie there until the next start
            self._converted.wait(STOP_SECONDS)

    def located(self) -> LocatedModel:
        """Return the model; raises what `locate` raises."""
        return self._located.result()

    def weights_digest(self) -> str | None:
        """Return the digest of its weights; None for a commit on the hub, whose weights were not fetched."""
        return self._digest.result()

    def rehearse(self) -> tuple[str, ...]:
        """Return the findings once the model has been rehearsed; raises InputError if it cannot be trained as the job asks."""
        findings = self._findings.result()
        if findings is None:
            from trainer.preflight.rehearsal import rehearse

            return self._remembered(rehearse(self.located(), self._config))
        return findings

    def _work(self) -> None:
        answers: tuple[Future[Any], ...] = (self._located, self._digest, self._findings)
        try:
            located = locate(self._config.model, weights=False)
            self._located.set_result(located)
            findings = self._found_before(located)
            elsewhere = findings is None and not self._here
            if elsewhere:
                self._program.begin()
            folder_of(located, self._go_on)  # dequantizes a GGUF file
            self._converted.set()
            self._digest.set_result(weights_digest(located) if located.revision is None else None)
            self._findings.set_result(self._remembered(self._program.rehearse(located, self._config)) if elsewhere else findings)
        except BaseException as error:  # raised again in the thread that asks
            for answer in answers:
                if not answer.done():
                    answer.set_exception(error)
        finally:
            self._converted.set()
            self._program.close()

    def _go_on(self) -> None:
        if self._left.is_set():
            raise CancelledError("nobody asks for the model any more")

    def _remembered(self, rehearsed: Rehearsed) -> tuple[str, ...]:
        if rehearsed.built:
            Passed.of(self._config, folder_of(self.located())).remember(rehearsed.findings)
        return rehearsed.findings

    def _found_before(self, located: LocatedModel) -> tuple[str, ...] | None:
        folder = ready_folder(located)
        return Passed.of(self._config, folder).findings if folder is not None else None
