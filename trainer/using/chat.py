"""`finetune chat`: a conversation on a terminal, or in lines of a pipe, of which each is a turn.

Answers are written as they are made. Ctrl-C ends an answer, or what is being typed, never the program.
Tests: tests/trainer/using/test_chat.py, tests/trainer/using/test_main.py.
"""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from finetune.api.errors import InputError
from finetune.api.using import SAID_TOKENS, Chat
from trainer.evaluation.beginning import context_length
from trainer.evaluation.generation import AnswerForm, Generated, generate_one, text_of
from trainer.tasks.base import Generate, Task
from trainer.using.asking import ask
from trainer.using.conversation import Conversation, Turn
from trainer.using.loading import Loaded, Side, new_tokens

HELP = "/system TEXT sets the system message, /reset forgets what was said, /save FILE adds it to FILE as a row for training, /exit leaves"
UNLEARNED = "nothing is saved: no answer came to its end, so there is none to learn from"
PROMPT = "> "
SIGNAL_SECONDS = 0.5
Say = Callable[[str], None]
"""Tells the user something that is no answer."""


class Interrupt:
    """Ctrl-C while an answer is made: it ends the answer. At other times it is Python's KeyboardInterrupt."""

    def __init__(self) -> None:
        self.stopped = False
        self._answering = False
        signal.signal(signal.SIGINT, self._handle)

    @contextlib.contextmanager
    def while_answering(self) -> Iterator[None]:
        """Catch the signal in this block."""
        self.stopped, self._answering = False, True
        try:
            yield
        finally:
            self._answering = False

    def _handle(self, *_: Any) -> None:
        if not self._answering:
            raise KeyboardInterrupt
        self.stopped = True


class Talk:
    """The conversation with one model."""

    def __init__(self, wanted: Chat, loaded: Loaded, out: TextIO, say: Say, interrupt: Interrupt) -> None:
        self._wanted, self._task, self._tokenizer = wanted, loaded.task, loaded.tokenizer
        self._side: Side = loaded.base if wanted.base and loaded.base is not None else loaded.tuned
        self._out, self._tell, self._interrupt = out, say, interrupt
        model = self._side.engine.model
        self._new_tokens = new_tokens(model, wanted.max_new_tokens, SAID_TOKENS)
        self._room = context_length(model) - self._new_tokens
        self.conversation = Conversation(wanted.system)

    def line(self, line: str) -> bool:
        """Take what the user wrote; return False when it ends the conversation."""
        if line.startswith("/") and not line.startswith("//"):
            return self._command(*line[1:].partition(" ")[::2])
        text = line.removeprefix("/") if line.startswith("//") else line
        if text.strip():
            self.conversation.say("user", text)
            with self._interrupt.while_answering():
                self._answer()
        return True

    def _command(self, name: str, rest: str) -> bool:
        if name in ("exit", "quit"):
            return False
        if name == "reset":
            self.conversation.reset()
            self._tell("forgotten")
        elif name == "system":
            self.conversation.system = rest.strip() or None
            self._tell("the system message is set" if rest.strip() else "there is no system message")
        elif name == "save" and rest.strip():
            self._save(Path(rest.strip()).expanduser())
        else:
            self._tell(f"{HELP}; // begins a message with a slash")
        return True

    def _save(self, file: Path) -> None:
        if not self.conversation.turns:
            self._tell("nothing was said yet")
            return
        if not self.conversation.has_answer_to_learn:
            self._tell(UNLEARNED)
            return
        try:
            with file.open("a", encoding="utf-8") as stream:
                stream.write(self.conversation.to_row() + "\n")
        except OSError as error:
            self._tell(f"{file} cannot be written ({error.strerror})")
        else:
            self._tell(f"added to {file}: {len(self.conversation.turns)} messages, as a row for training")

    def _answer(self) -> None:
        try:
            forgotten = self.conversation.shorten(lambda turns: len(self._question(turns).prompt) <= self._room)
            asked = self._question(self.conversation.given())
        except InputError as error:  # such as a template that refuses a system message
            self.conversation.take_back()
            self._tell(error.problem)
            return
        if forgotten:
            self._tell(f"the conversation is longer than the model reads; its {forgotten} oldest messages are left out from here on")
        if len(asked.prompt) > self._room:
            self._tell("the message is longer than the model reads; its beginning is left out")
        with self._side.within():
            answer = self._streamed(asked)
        if self._interrupt.stopped:
            self._tell("stopped")
        elif answer.cut:
            self._tell(f"cut after {self._new_tokens} tokens (--max-new-tokens)")
        if answer.text:
            self.conversation.say("assistant", answer.text, learned=not (self._interrupt.stopped or answer.cut))
        else:
            self.conversation.take_back()

    def _question(self, turns: list[Turn]) -> Generate:
        request = ask(self._task, self._tokenizer, {"messages": turns}).request
        if not isinstance(request, Generate):
            raise InputError("messages", "ask for nothing")
        return request

    def _streamed(self, asked: Generate) -> Generated:
        form = AnswerForm(asked.stops, asked.opening)
        stream = Stream(self._tokenizer, form, self._out.write)

        def watch(tokens: list[int]) -> bool:
            stream.show(tokens)
            self._out.flush()
            return self._interrupt.stopped

        answer = generate_one(self._side.engine.model, self._tokenizer, asked.prompt, self._new_tokens, form, self._wanted.decoding, watch)
        stream.end(answer.text)
        self._out.flush()
        return answer


class Stream:
    """Writes an answer as its tokens come: only what later tokens cannot change."""

    def __init__(self, tokenizer: Any, form: AnswerForm, write: Callable[[str], object]) -> None:
        self._tokenizer, self._form, self._write = tokenizer, form, write
        self._written = ""

    def show(self, tokens: list[int]) -> None:
        """Write what is new, given the tokens so far."""
        opening = self._form.opening
        if len(tokens) <= len(opening) and tuple(tokens) == opening[: len(tokens)]:
            return  # it may be the opening, which is no part of the answer
        text = text_of(tokens, self._tokenizer, self._form)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):  # half of a character
            self._go_on(text)

    def end(self, text: str) -> None:
        """Write the rest of the whole answer, and end the line."""
        self._go_on(text)
        self._write("\n")

    def _go_on(self, text: str) -> None:
        if text.startswith(self._written):
            self._write(text[len(self._written) :])
            self._written = text


def check_task(task: Task[Any], field: str) -> None:
    """Raise InputError for a model that was trained for something else than conversations."""
    if "messages" not in task.facts.columns:
        problem = f"the model is used for {task.facts.name}, which has no conversations"
        raise InputError(field, problem, "use finetune predict, or --task chat")


def chat(wanted: Chat, loaded: Loaded, say: Say) -> None:
    """Talk until the user leaves, or the input ends."""
    talk = Talk(wanted, loaded, sys.stdout, say, Interrupt())
    for line in typed(say) if sys.stdin.isatty() else sys.stdin:
        if not talk.line(line.rstrip("\r\n")):
            return


@contextlib.contextmanager
def noticing_signals() -> Iterator[None]:
    """Interrupt the main thread's system calls every SIGNAL_SECONDS, so that a handler in Python runs.

    `input` waits in select. A signal that comes just before it waits, or that the system hands to another thread, does not interrupt
    that: Python would run its handler only after the next key.
    """
    earlier = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, SIGNAL_SECONDS, SIGNAL_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)


def typed(say: Say) -> Iterator[str]:
    """Yield the lines that are typed on a terminal, with a history of lines; Ctrl-D ends them, Ctrl-C what is being typed.

    Signals take effect within SIGNAL_SECONDS. It is to be called in the main thread.
    """
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  gives `input` its editing
    say(f"{HELP}; Ctrl-C stops an answer")
    while True:
        try:
            with noticing_signals():
                line = input(PROMPT)
            yield line
        except EOFError:
            return
        except KeyboardInterrupt:
            say("\n/exit or Ctrl-D leaves")
