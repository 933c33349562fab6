"""The order in which the hooks of a step run, which is part of the design. Test: tests/trainer/rank/test_hooks.py."""

from dataclasses import dataclass

from trainer.rank.hooks.checkpoints import SaveCheckpoints
from trainer.rank.hooks.figures import LogFigures
from trainer.rank.hooks.general import MeasureTexts
from trainer.rank.hooks.stop import StopOnRequest
from trainer.rank.hooks.validation import Validate
from trainer.rank.ledger import Ledger
from trainer.training.figures import StepResult
from trainer.training.loop import Hook, Progress, Supervision


@dataclass(frozen=True)
class Hooks:
    """What may end training comes first, checkpoints last: they save the results of the others."""

    figures: LogFigures | None
    """On rank 0 only."""
    validation: Validate | None
    """None without validation rows."""
    stop: StopOnRequest
    checkpoints: SaveCheckpoints
    texts: MeasureTexts | None = None
    """Before the validation: it says which weights may be the best. None without plain texts."""

    def supervision(self) -> Supervision:
        """Return what the loop calls, with the existing hooks in the order in which they act after a step."""
        hooks: list[Hook] = [hook for hook in (self.texts, self.validation, self.stop, self.checkpoints) if hook is not None]
        return Supervision(self._note, self.stop.asked, hooks)

    def _note(self, result: StepResult) -> None:
        if self.figures is not None:
            self.figures.note(result)
        self.checkpoints.look()

    def make_up(self, ledger: Ledger, progress: Progress) -> None:
        """Run the validation that a stop interrupted, and save its score with the checkpoint unless it is interrupted again."""
        made_up = self.texts is not None and self.texts.make_up(progress)
        if ledger.owes_validation and self.validation is not None:
            self.validation.validate(progress)
            made_up = True
        if made_up and not ledger.owes_validation and not ledger.adaptation.owed:
            self.checkpoints.save(progress)
