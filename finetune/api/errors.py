"""InputError: the one exception for what the user got wrong, so that every part says it in the same form."""


class InputError(Exception):
    """The user's input is at fault; trying again cannot help.

    `field` is the path in the job file (`data.train[1].columns.prompt`), `problem` says what is wrong with it, `fix` what
    to do about it. The trainer exits with code 2 on it, the controller does not retry.
    """

    def __init__(self, field: str, problem: str, fix: str = "") -> None:
        self.field, self.problem, self.fix = field, problem, fix
        super().__init__(f"{field}: {problem}" + (f"; {fix}" if fix else ""))

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str, str]]:
        """Let the error travel between processes: Ray pickles what a worker raises."""
        return type(self), (self.field, self.problem, self.fix)
