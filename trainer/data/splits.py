"""Drops rows that stand twice and divides rows into train, validation and test, so that no prompt stands on two sides.

The side of a row is a function of its prompt's hash alone: it does not change with the seed, the order of the file or the
other rows. Tests: tests/trainer/data/test_splits.py.
"""

from collections.abc import Sequence

from finetune.api.errors import InputError
from finetune.api.sources import Data
from trainer.data.columns import prompt_id
from trainer.data.rows import Example


def without_duplicates(name: str, examples: Sequence[Example]) -> tuple[list[Example], list[str]]:
    """Return the first of equal rows, and a finding that counts the others. `name` is the field, such as data.train."""
    first: dict[object, Example] = {}
    repeated: list[Example] = []
    for example in examples:
        if first.setdefault(example.content, example) is not example:
            repeated.append(example)
    if not repeated:
        return list(examples), []
    rows = "1 row repeats an earlier one and is" if len(repeated) == 1 else f"{len(repeated)} rows repeat earlier ones and are"
    return list(first.values()), [f"{name}: {rows} left out (the first: {repeated[0].origin})"]


def without_leakage(name: str, examples: Sequence[Example], held_out: dict[str, Sequence[Example]]) -> tuple[list[Example], list[str]]:
    """Return the rows whose prompt does not stand in the held-out sets as well, and a finding that counts the others."""
    findings: list[str] = []
    kept = list(examples)
    for other, rows in held_out.items():
        prompts = {prompt_id(example) for example in rows}
        leaking = [example for example in kept if prompt_id(example) in prompts]
        kept = [example for example in kept if prompt_id(example) not in prompts]
        if leaking and not kept:
            problem = f"no row is left: each also stands in {other}, where it would be measured by what was learnt by heart"
            raise InputError(name, problem, "give different rows, or hold some out with data.validationFraction and data.testFraction")
        if leaking:
            rows_word = "1 row was" if len(leaking) == 1 else f"{len(leaking)} rows were"
            findings.append(f"{name}: {rows_word} left out, the same prompt stands in {other} (the first: {leaking[0].origin})")
    return kept, findings


def divide(data: Data, examples: Sequence[Example]) -> tuple[list[Example], list[Example], list[Example]]:
    """Return (train, validation, test) of the training rows, as validationFraction and testFraction ask.

    Test rows have the lowest hashes and validation rows the highest, so that changing one fraction leaves the other set
    as it is. A set that chance leaves empty gets the prompt that is nearest to it.
    """
    validation_share, test_share = data.validation_fraction or 0.0, data.test_fraction or 0.0
    places = {prompt_id(example): _place(prompt_id(example)) for example in examples}
    prompts = sorted(places, key=lambda prompt: places[prompt])
    sides = 1 + (validation_share > 0) + (test_share > 0)
    if len(prompts) < sides:
        field = "data.validationFraction" if validation_share else "data.testFraction"
        raise InputError(field, f"{len(prompts)} different prompts cannot be divided into {sides} sets", "give more training rows")
    test = {prompt for prompt in prompts if places[prompt] < test_share} or set(prompts[: test_share > 0])
    others = [prompt for prompt in prompts if prompt not in test]
    validation = {prompt for prompt in others if places[prompt] >= 1 - validation_share}
    if validation_share and not validation:
        validation = set(others[-1:])
    train = [example for example in examples if prompt_id(example) not in test | validation]
    if not train:
        problem = "data.validationFraction and data.testFraction leave no row to train on"
        raise InputError("data.train", problem, "lower them or give more training rows")
    return (
        train,
        [example for example in examples if prompt_id(example) in validation],
        [example for example in examples if prompt_id(example) in test],
    )


def _place(prompt: str) -> float:
    """Return the prompt's fixed place in [0, 1)."""
    return int(prompt[:13], 16) / 16**13
