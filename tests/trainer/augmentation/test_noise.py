"""Wrong characters are those of a keyboard or of a scanner, as asked."""

import random

from finetune.api.augmentation import NoiseKind
from trainer.augmentation.noise import CONFUSED, NEIGHBORS, make_errors
from trainer.augmentation.words import cut, join


def made(text: str, kind: NoiseKind, seed: int, probability: float = 0.5) -> str:
    pieces = cut(text)
    make_errors(probability, kind)(pieces, random.Random(seed))
    return join(pieces)


def test_the_neighbors_of_a_key_are_those_around_it() -> None:
    assert set(NEIGHBORS["g"]) == set("fhtyvb")
    assert set(NEIGHBORS["q"]) == set("wa")
    assert set(NEIGHBORS["p"]) == set("ol")
    assert all(letter in NEIGHBORS[other] for letter, others in NEIGHBORS.items() for other in others)


def test_typing_errors_of_a_keyboard_hold_neighbors_alone() -> None:
    found = {made("gg", NoiseKind.KEYBOARD, seed) for seed in range(300)}
    assert set("".join(found)) == set("gfhtyvb")
    assert set("".join(made("GG", NoiseKind.KEYBOARD, seed) for seed in range(300))) == set("GFHTYVB")


def test_a_scanner_confuses_what_looks_alike_and_nothing_else() -> None:
    assert made("modern", NoiseKind.OCR, 1, 1.0) != "modern"
    assert {made("rn", NoiseKind.OCR, seed, 1.0) for seed in range(20)} == {"m"}
    assert {made("l", NoiseKind.OCR, seed, 1.0) for seed in range(50)} == {"1", "I"}
    assert {made("O", NoiseKind.OCR, seed, 1.0) for seed in range(50)} == {"0", "Q"}
    assert made("xyjk", NoiseKind.OCR, 1, 1.0) == "xyjk"
    assert all(read not in wrong for read, wrong in CONFUSED.items())


def test_no_error_makes_a_negation() -> None:
    for kind in NoiseKind:
        found = {made("know note", kind, seed) for seed in range(2000)}
        assert len(found) > (1 if kind is NoiseKind.OCR else 100)
        assert not any(word in ("no", "not") for text in found for word in text.split()), kind
