"""A conversation that goes on: what was said, what of it the model is still given, and how it is saved. Pure.

Test: tests/trainer/using/test_conversation.py.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Turn = dict[str, Any]


@dataclass
class Conversation:
    """The turns so far. `system` comes before them."""

    system: str | None = None
    turns: list[Turn] = field(default_factory=list)
    forgotten: int = 0
    """Turns at the beginning that the model is no longer given."""

    def say(self, role: str, content: str, *, learned: bool = True) -> None:
        """Add a turn of the user or the assistant. `learned`: False for an answer that did not come to its end."""
        self.turns.append({"role": role, "content": content} | ({} if learned else {"weight": 0}))

    @property
    def has_answer_to_learn(self) -> bool:
        """Whether some answer came to its end: without one a row has nothing to learn."""
        return any(turn["role"] == "assistant" and "weight" not in turn for turn in self.turns)

    def take_back(self) -> None:
        """Remove the last turn, which was not answered."""
        self.turns.pop()

    def reset(self) -> None:
        """Forget everything but the system message."""
        self.turns.clear()
        self.forgotten = 0

    def given(self) -> list[Turn]:
        """Return the messages that the model is given."""
        return [*self._before(), *self.turns[self.forgotten :]]

    def shorten(self, fits: Callable[[list[Turn]], bool]) -> int:
        """Forget question and answer, the oldest first, until the rest fits or only the last question is left; return how many turns."""
        before = self.forgotten
        while not fits(self.given()) and self.forgotten < len(self.turns) - 1:
            self.forgotten += 2
        return self.forgotten - before

    def to_row(self) -> str:
        """Return the whole conversation as a line of training data; it must end with an answer to be learned from."""
        return json.dumps({"messages": [*self._before(), *self.turns]}, ensure_ascii=False)

    def _before(self) -> list[Turn]:
        return [{"role": "system", "content": self.system}] if self.system else []
