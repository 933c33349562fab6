"""`finetune chat`: talks to a model on this terminal. Tests: tests/finetune/cli/test_using.py."""

import argparse
import os

from finetune.api.using import Chat
from finetune.cli.usingprogram import Start, chosen_model, decoding, use


def chat(options: argparse.Namespace, start: Start = os.execve) -> int:
    """Start the program that talks, in place of this one; BadInputError for the user's mistakes."""
    request = Chat(
        model=chosen_model(options), base=options.base, system=options.system, decoding=decoding(options),
        max_new_tokens=options.max_new_tokens,
    )  # fmt: skip
    return use("chat", request, start)
