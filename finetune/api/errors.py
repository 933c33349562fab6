"""The exceptions that end a run: each class carries the reason that the record and the status give for it.

They travel from a worker to the driver, so they must survive pickling: a subclass takes one message, or defines __reduce__. The
command collects what is wrong with a job in a BadInputError before it starts anything.
Test: tests/finetune/api/test_errors.py.
"""

from collections.abc import Callable, Iterable
from typing import ClassVar

from finetune.api.record import REASON_GENERIC


class RunError(Exception):
    """A fault that ends a run, with a message that a user can act on."""

    reason: ClassVar[str] = REASON_GENERIC
    """CamelCase, as in a condition; the controller decides by it whether another attempt may succeed."""

    def reword(self, change: Callable[[str], str]) -> None:
        """Change the words of its message, in place: an error of workers is inside another, and keeps its traceback."""
        self.args = tuple(change(arg) if isinstance(arg, str) else arg for arg in self.args)


class InputError(RunError):
    """The user's input is invalid; trying again cannot help.

    `field` is the path in the job file (`data.train[1].columns.prompt`), `problem` says what is wrong with it, `fix` what
    to do about it. The trainer exits with code 2 on it, the controller does not retry.
    """

    reason = "InputInvalid"

    def __init__(self, field: str, problem: str, fix: str = "") -> None:
        self.field, self.problem, self.fix = field, problem, fix
        super().__init__(f"{field}: {problem}" + (f"; {fix}" if fix else ""))

    def reword(self, change: Callable[[str], str]) -> None:
        """Change field, problem and fix, too."""
        self.field, self.problem, self.fix = map(change, (self.field, self.problem, self.fix))
        super().reword(change)

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str, str]]:
        """Let the error travel between processes: Ray pickles what a worker raises."""
        return type(self), (self.field, self.problem, self.fix)


class BadInputError(Exception):
    """Several mistakes of the user at once, so that they can all be fixed at once."""

    def __init__(self, errors: Iterable[InputError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))
