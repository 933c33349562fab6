"""What of a conversation the model is given, and how it is saved."""

import json

from trainer.using.conversation import Conversation


def talk(questions: int, system: str | None = None) -> Conversation:
    """Return a conversation that ends with an unanswered question."""
    conversation = Conversation(system)
    for number in range(questions):
        if number:
            conversation.say("assistant", f"answer {number}")
        conversation.say("user", f"question {number + 1}")
    return conversation


def contents(conversation: Conversation) -> list[str]:
    return [turn["content"] for turn in conversation.given()]


def test_what_does_not_fit_is_forgotten_oldest_first_with_its_answer() -> None:
    conversation = talk(3, "Be brief.")

    assert conversation.shorten(lambda turns: len(turns) <= 4) == 2
    assert contents(conversation) == ["Be brief.", "question 2", "answer 2", "question 3"]


def test_the_last_question_is_never_forgotten() -> None:
    conversation = talk(2)

    assert conversation.shorten(lambda turns: False) == 2
    assert contents(conversation) == ["question 2"]


def test_what_was_forgotten_is_saved_all_the_same() -> None:
    conversation = talk(3, "Be brief.")
    conversation.say("assistant", "answer 3")
    conversation.shorten(lambda turns: len(turns) <= 3)

    saved = json.loads(conversation.to_row())["messages"]

    assert [turn["role"] for turn in saved] == ["system", *["user", "assistant"] * 3]


def test_a_reset_keeps_the_system_message() -> None:
    conversation = talk(2, "Be brief.")
    conversation.shorten(lambda turns: False)

    conversation.reset()
    conversation.say("user", "again")

    assert contents(conversation) == ["Be brief.", "again"]
