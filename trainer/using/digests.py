"""Compares the weights of a base model with the digest that was recorded when it was trained on, beside other work.

On other weights an adapter gives nonsense, and says nothing. No torch. Test: tests/trainer/using/test_loading.py.
"""

from concurrent.futures import Executor, Future
from dataclasses import dataclass

from finetune.api.errors import InputError
from finetune.api.using import ChosenModel
from trainer.model.location import LocatedModel
from trainer.model.weights import weights_digest
from trainer.using.found import MOVED


@dataclass(frozen=True)
class Check:
    """A comparison that goes on."""

    located: LocatedModel
    wanted: str | None
    field: str
    found: "Future[str] | None"

    @classmethod
    def begun(cls, aside: Executor, located: LocatedModel, wanted: str | None, chosen: ChosenModel) -> "Check":
        """Begin it; with no digest to compare there is nothing to do."""
        field = MOVED if chosen.base_model is not None else chosen.field
        return cls(located, wanted, field, aside.submit(weights_digest, located) if wanted is not None else None)

    def wait(self) -> None:
        """Raise InputError if the weights are others."""
        if self.found is None or (digest := self.found.result()) == self.wanted:
            return
        problem = f"the weights in {self.located.path} ({digest}) are not those that were trained on ({self.wanted})"
        raise InputError(self.field, problem, f"name the folder of the right ones with {MOVED}")
