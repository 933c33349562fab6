"""What a chat template shows of a row: refuses rows of which it ignores calls, thoughts or tools.

Tests: tests/trainer/chat/test_calls.py, tests/trainer/chat/test_turns.py.
"""

import re
from collections import Counter
from typing import Any

from finetune.api.errors import InputError
from trainer.chat.example import ChatExample
from trainer.chat.marking import Draw, Marker, Written
from trainer.chat.template import render
from trainer.chat.turnend import ending_of


def check_ids(example: ChatExample, controls: re.Pattern[str]) -> None:
    """Raise InputError for an id of a call with the name of a control token: ids are not marked, because templates count their letters."""
    for index, message in enumerate(example.messages):
        ids = [*(call.id for call in message.calls), message.call_id]
        found = next((name for given in ids if given is not None and (name := controls.search(given))), None)
        if found is not None:
            problem = f"messages[{index}] has an id of a call that holds {found[0]!r}, the name of a control token"
            raise InputError(example.origin, problem, "write ids of letters and digits")


def drop_repeats(written: Written, marker: Marker, draw: Draw) -> None:
    """Remove places of calls behind their turn: a template may name the tool again where it shows its answer."""
    for turn in sorted({piece.turn for piece in marker.pieces if piece.call is not None and piece.turn + 1 < len(marker.turns)}):
        try:
            until = marker.write(draw, until=turn + 1)
        except InputError:  # the template accepts the turn only with what follows it
            continue
        most = Counter(id(stretch.piece) for stretch in until.of_turn(turn))
        seen: Counter[int] = Counter()
        kept = []
        for stretch in written.stretches:
            seen[id(stretch.piece)] += 1
            if stretch.piece.call is None or stretch.piece.turn != turn or seen[id(stretch.piece)] <= most[id(stretch.piece)]:
                kept.append(stretch)
        written.stretches = kept


def check_what_is_shown(example: ChatExample, written: Written, marker: Marker, tokenizer: Any) -> None:
    """Raise InputError for a row whose thoughts, calls or tools the template ignores: the model would not learn them."""
    messages = example.messages
    seen = {id(stretch.piece) for stretch in written.stretches}
    unseen_call = next((piece for piece in marker.pieces if piece.call is not None and id(piece) not in seen), None)
    if unseen_call is not None:
        which = f"messages[{unseen_call.turn}] has tool_calls"
        which = f"{which}, and [{unseen_call.number}] is one" if unseen_call.number else which
        problem = f"{which}, which the model's chat template does not show"
        raise InputError(example.origin, problem, "use a model whose template shows calls of tools, or write them into content as text")
    thoughtful = [index for index, message in enumerate(messages) if message.reasoning and message.learned]
    unseen = [index for index in thoughtful if all(stretch.piece.part != "reasoning_content" for stretch in written.of_turn(index))]
    if unseen and (unseen[-1] == len(messages) - 1 or not ending_of(tokenizer).shows_thoughts):
        problem = f"messages[{unseen[-1]}] has reasoning_content, which the model's chat template does not show"
        raise InputError(example.origin, problem, "put the thoughts into content as the model should write them, or leave them out")
    if example.tools is not None and render(example, marker.turns, None, tokenizer) == written.text:
        raise InputError(
            example.origin,
            "the row has tools, which the model's chat template does not show",
            "use a model whose template shows tools, write them into a system message, or leave the column out",
        )
