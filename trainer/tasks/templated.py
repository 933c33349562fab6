"""What the tasks share whose rows are written with the model's chat template: what it has to be able to do, and its time.

Tests: tests/trainer/tasks/test_conformance.py, tests/trainer/chat/test_template.py.
"""

from typing import TYPE_CHECKING, Any

from finetune.api.tasks import ModelFamily
from trainer.chat.template import check_answers_end, ensure_chat_template, pin_time, reads_clock
from trainer.data.rows import E
from trainer.tasks.base import Task

if TYPE_CHECKING:
    from trainer.objectives.causal import CausalObjective


class Templated(Task[E]):
    """A task whose rows are conversations, which a causal model continues."""

    family = ModelFamily.CAUSAL

    @property
    def objective(self) -> "CausalObjective":
        """Next-token prediction; imports torch."""
        from trainer.objectives.causal import CAUSAL

        return CAUSAL

    def prepare(self, tokenizer: Any, moment: str | None) -> None:
        """Add the plain template if there is none, and fix the template's current time."""
        ensure_chat_template(tokenizer)
        pin_time(tokenizer, moment)

    def depends_on_time(self, tokenizer: Any) -> bool:
        """Return whether the template reads the clock."""
        return reads_clock(tokenizer)

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Raise InputError for a tokenizer without any token that could end an answer."""
        check_answers_end(tokenizer)
