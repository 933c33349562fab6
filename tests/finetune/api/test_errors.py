"""The exception for what the user got wrong."""

import pickle

from finetune.api.errors import InputError


def test_an_input_error_arrives_from_a_worker_with_the_field_to_fix() -> None:
    arrived = pickle.loads(pickle.dumps(InputError("model.name", "is gated", "give model.tokenSecret")))
    assert (arrived.field, arrived.problem, arrived.fix) == ("model.name", "is gated", "give model.tokenSecret")
    assert arrived.reason == "InputInvalid"
    assert str(arrived) == "model.name: is gated; give model.tokenSecret"
    arrived.reword(lambda text: text.replace("model", "base"))
    again = pickle.loads(pickle.dumps(arrived))
    assert (again.field, again.fix, str(again), str(arrived)) == (
        "base.name", "give base.tokenSecret", *["base.name: is gated; give base.tokenSecret"] * 2
    )  # fmt: skip
