"""Checks the model in a thread while the rows are read: finds it, dequantizes it if needed, has it rehearsed, digests its weights.

Test: tests/trainer/preflight/test_aside.py.
"""

import sys
import threading
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from finetune.api.trainconfig import TrainConfig
from trainer.model.location import LocatedModel, folder_of, locate, ready_folder
from trainer.model.weights import weights_digest
from trainer.preflight.passed import Passed
from trainer.preflight.rehearsing import RehearsalProgram


class ModelChecks:
    """What is checked of a model beside its rows, begun at once. Leaving the block ends what is still going on.

    A program with torch, as one that trains later, rehearses the model itself, when it is asked for the outcome.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._config, self._program = config, RehearsalProgram()
        self._here = "torch" in sys.modules
        self._located: Future[LocatedModel] = Future()
        self._digest: Future[str | None] = Future()
        self._rehearsed: Future[tuple[str, ...]] = Future()

    def __enter__(self) -> Self:
        # Not waited for when other input is invalid: a hub that does not answer takes its time.
        threading.Thread(target=self._work, name="model checks", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._program.end()

    def located(self) -> LocatedModel:
        """Return the model; raises what `locate` raises."""
        return self._located.result()

    def weights_digest(self) -> str | None:
        """Return the digest of its weights; None for a commit on the hub, whose weights were not fetched."""
        return self._digest.result()

    def rehearse(self) -> tuple[str, ...]:
        """Return the findings once the model has been rehearsed; raises InputError if it cannot be trained as the job asks."""
        findings = self._rehearsed.result()
        if self._here:
            from trainer.preflight.rehearsal import rehearse

            return rehearse(self.located(), self._config).findings
        return findings

    def _work(self) -> None:
        answers: tuple[Future[Any], ...] = (self._located, self._digest, self._rehearsed)
        try:
            located = locate(self._config.model, weights=False)
            self._located.set_result(located)
            findings = () if self._here else self._found_before(located)
            if findings is None:
                self._program.begin()
            folder = folder_of(located)
            self._digest.set_result(weights_digest(located) if located.revision is None else None)
            if findings is None:
                rehearsed = self._program.rehearse(located, self._config)
                findings = rehearsed.findings
                if rehearsed.built:
                    Passed.of(self._config, folder).remember(findings)
            self._rehearsed.set_result(findings)
        except BaseException as error:  # raised again in the thread that asks
            for answer in answers:
                if not answer.done():
                    answer.set_exception(error)
        finally:
            self._program.close()

    def _found_before(self, located: LocatedModel) -> tuple[str, ...] | None:
        folder = ready_folder(located)
        return Passed.of(self._config, folder).findings if folder is not None else None
