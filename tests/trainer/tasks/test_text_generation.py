"""Text generation writes rows as they are, and asks for a completion with the tokens that training has before it."""

from tests.trainer.fixtures.stored import examples_of
from tests.trainer.fixtures.tokenizers import byte_tokenizer
from trainer.data.records import Record
from trainer.tasks.registry import reader_of

TASK = reader_of("text-generation")


def test_nothing_is_put_between_prompt_and_completion() -> None:
    ((example,), _), tokenizer = (
        examples_of([Record("line 1", {"prompt": "Q: where?\nA:", "completion": " Here."})], task=TASK),
        byte_tokenizer(),
    )
    (piece,) = TASK.encode(example, tokenizer, 1000)
    assert tokenizer.decode(piece.tokens.input_ids, skip_special_tokens=True) == "Q: where?\nA: Here."


def test_what_is_asked_is_what_training_has_before_the_completion() -> None:
    ((example,), _), tokenizer = (
        examples_of([Record("line 1", {"prompt": "Q: where?\nA:", "completion": " Here."})], task=TASK),
        byte_tokenizer(),
    )
    (piece,), request = TASK.encode(example, tokenizer, 1000), TASK.request(example, tokenizer)
    assert list(request.prompt) == [token for token, loss in zip(piece.tokens.input_ids, piece.tokens.loss_mask, strict=True) if not loss]
    assert request.references == ("Here.",)


def test_the_input_of_an_instruction_is_written_after_it() -> None:
    row = {"instruction": "Say it shorter.", "input": "It is the case that boats float.", "output": "Boats float."}
    (example,), noticed = examples_of([Record("line 1", row)], task=TASK)
    assert example.given == "Say it shorter.\n\nIt is the case that boats float."
    assert any("'input' is written after 'instruction'" in finding for finding in noticed.findings("data.train[0]"))
