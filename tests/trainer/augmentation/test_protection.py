"""Numbers, addresses, code, placeholders, negations and the user's phrases survive all operations."""

import itertools
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.api.augmentation import Augmentation
from tests.trainer.fixtures.examples import text
from trainer.augmentation.augmenter import Augmenter
from trainer.augmentation.protection import Protection, negates, negations
from trainer.tasks.language_modeling import LANGUAGE_MODELING

ALL = [
    {"synonymReplacement": {"probability": 0.7}},
    {"wordInsertion": {"probability": 0.5}},
    {"wordSwap": {"probability": 0.7}},
    {"wordSwap": {"probability": 0.7, "kind": "any"}},
    {"characterNoise": {"probability": 0.5}},
    {"characterNoise": {"probability": 0.5, "kind": "keyboard"}},
    {"punctuationInsertion": {"probability": 0.5}},
    {"wordDropout": {"probability": 0.7}},
]
SCANNER = {"characterNoise": {"probability": 0.5, "kind": "ocr"}}
KEPT = (
    "42", "3.14", "$1,234.50", "20%", "2024-05-06", "12:30", "covid19", "5pm", "A4", "https://example.org/a?b=c", "www.example.com",
    "jane.doe@mail.example.org", "shop.example.com/cart", "`print(x)`", "```\nmake all\n```", "{name}", "{{account_id}}", "${HOME}",
    "<tag>", "</s>", "<br />", "%s", "%(count)d", "[MASK]", "[INST]", "<|im_start|>user", "<extra_id_0>", "Gold Card", "gold  card", "ACME",
    "/usr/local/bin", "~/notes.txt", "../src/main", "C:\\Users\\x", "snake_case", "camelCase", "getHTTPResponse",
    'open("a.txt", 3)', "os.path.join(a, b)", "run()",
)  # fmt: skip
PROSE = (
    "and/or", "he/she/they", "w/o", "e.g.", "i.e.", "o'clock", "don't", "l'Oréal", "d’Artagnan", "O'Neil", "rock'n'roll", "item(s)",
    "child(ren)", "Lehrer(innen)", "(see below)", "McDonald", "NATO", "A", "well-known", "/kæt/", "_so_", "___", "C:", "yes/no/maybe.",
    "...", "Well,", "etc.",
)  # fmt: skip
NEGATED = ("not", "no", "never", "don't", "isn’t", "without", "cannot", "Nobody", "nicht", "sin")
WORDS = ("please", "show", "the", "large", "car", "know", "note", "answer", "buy", "big", "ist", "gold", "quick", "reply", "-", "and")


def varied(words: str, *operations: dict[str, object], epoch: int = 0) -> str:
    section = {"operations": list(operations), "copiesPerRow": 1, "protected": ["gold card", "Acme"]}
    return Augmenter(Augmentation.model_validate(section), 1).augment(text(words), epoch, LANGUAGE_MODELING.vary, 1)[0].text


def in_order(parts: list[str], whole: str) -> bool:
    place = 0
    for part in parts:
        place = whole.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return True


@settings(max_examples=400)
@given(parts=st.lists(st.sampled_from((*KEPT, *NEGATED, *WORDS)), min_size=1, max_size=12), epoch=st.integers(0, 5))
@pytest.mark.parametrize("scanned", [False, True])
def test_what_is_protected_survives_in_its_order(scanned: bool, parts: list[str], epoch: int) -> None:
    result = varied(" ".join(parts), *ALL, *([SCANNER] if scanned else []), epoch=epoch)
    assert in_order([part for part in parts if part in KEPT or part in NEGATED], result)
    pattern = r"(?<!\w)(?:not|no|never|without|cannot|nobody|nicht|sin)(?!\w)|n['’]t(?!\w)"
    assert len(re.findall(pattern, result, re.I)) == sum(part in NEGATED for part in parts)
    if not scanned:  # a scanner takes an O for a 0
        assert re.findall(r"\d", result) == re.findall(r"\d", " ".join(parts))


@settings(max_examples=300)
@given(words=st.text(st.sampled_from("ab no`{}<>|[]%@.:/3,'’- \nA_"), max_size=40), epoch=st.integers(0, 3))
def test_every_protected_part_of_any_text_is_found_again(words: str, epoch: int) -> None:
    spans = Protection(["gold card", "Acme"]).spans(words)
    assert in_order([words[start:end] for start, end in spans], varied(words, *ALL, epoch=epoch))
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))


@pytest.mark.parametrize("part", KEPT)
def test_a_protected_part_is_one_span(part: str) -> None:
    whole = f"see {part} there"
    assert [whole[start:end].strip() for start, end in Protection(["gold card", "Acme"]).spans(whole)] == [part]


@settings(max_examples=300)
@given(words=st.lists(st.sampled_from((*PROSE, *(word for word in WORDS if word != "gold"))), min_size=1, max_size=12))
def test_prose_is_not_taken_for_code(words: list[str]) -> None:
    assert Protection().spans(" ".join(words)) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("I do not know, and never did", 2), ("Isn’t it?", 1), ("Ich weiß nicht, kein Wort", 2), ("Ik weet het niet, geen idee", 2),
        ("Jag vet inte", 1), ("Jeg ved ikke hvorfor, aldrig", 2), ("Jeg vet ikke, aldri", 2), ("Je n'ai pas le temps", 1),
        ("No lo sé, nunca", 2), ("Não sei nada", 2), ("Non ho mai tempo", 1), ("Nie wiem, nigdy", 2), ("Я не знаю, никогда", 2),
        ("Hän ei tiedä", 1),
        # Of another language, these words negate nothing.
        ("vive en Madrid", 0), ("toi et moi", 0), ("en bil", 0), ("sin bil", 0), ("im Mai, en mai", 0), ("ne parlo", 0),
        ("ni kommer", 0), ("rock 'n' roll", 0), ("nei giorni", 0), ("nah am Lack", 0), ("noch einmal", 0), ("isso é apenas um", 0),
        ("nul euro", 0),
        # Answers, rarity, lack, and what is written without an apostrophe or with another sign.
        ("nope, I cannot pay", 2), ("I mustnt and neednt", 2), ("I can´t, I donʼt", 2), ("he lacked it", 1), ("I lack funds", 1),
        ("nein, keins", 2), ("nej, ingen", 2), ("nessun'altra", 1), ("non, nulle part", 2), ("eikä mitään", 1), ("nikomu", 1),
        # French says it in two parts, of which one may stand anywhere.
        ("Nul ne vient", 1), ("Personne ne vient", 1), ("Une personne vient", 0), ("On vient", 0), ("Il n’y a jamais personne", 1),
        ("Il ne travaille plus", 1), ("Il travaille plus", 0), ("Elle n'a ni argent ni amis", 1), ("Je ne crains pas qu'il ne vienne", 1),
        ("Je ne sais pas, et je ne veux rien savoir", 2), ("Je sais pas", 1), ("Pas grave, je ne sais pas", 2),
        # Rare or missing is protected, but may be told with a negation.
        ("He rarely pays unless asked", 0), ("Mir fehlt Geld, das kommt selten vor", 0), ("Il manque une carte", 0), ("Falta una carta", 0),
        ("Brak karty", 0), ("Manca la carta", 0), ("nej, sällan", 1), ("tuskin", 0),
    ],
    ids=str,
)  # fmt: skip
def test_words_that_negate_are_counted_in_each_language(text: str, count: int) -> None:
    assert negations(text) == count
    assert all(map(negates, ("en", "sin", "n'est", "don’t", "ikke", "geen", "без"))), "what may negate is protected all the same"


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("nope nah nay noone no-one seldom rarely lack lacks lacked lacking mustnt neednt shant mightnt oughtnt", id="en"),
        pytest.param("nein nee nö keins keinerlei keineswegs kaum selten nirgendwo niemandem nix mitnichten fehlt fehlen", id="de"),
        pytest.param("nee neen niks geeneen nimmer evenmin nauwelijks amper zelden ontbreekt noch", id="nl"),
        pytest.param("nej nä knappt knappast sällan saknar saknas ingens", id="sv"),
        pytest.param("nej næppe sjældent ingenlunde mangler", id="da"),
        pytest.param("nei ikkje inga neppe knapt sjelden mangler hverken", id="no"),
        pytest.param("non nul nulle nuls nulles nullement aucunement rarement manque manquent", id="fr"),
        pytest.param("no ningunos ningunas apenas raramente falta faltan", id="es"),
        pytest.param("não nao nenhuns nenhumas raramente sequer falta faltam", id="pt"),
        pytest.param("non neanche neppure nemmeno nessun'altro nulla raramente manca mancano", id="it"),
        pytest.param("nie nikomu niczego niczym żadnego żadnej żadnych nigdzie ledwo rzadko brak brakuje", id="pl"),
        pytest.param("нет никому никем ничем никак никакой никаких никуда нету едва редко", id="ru"),
        pytest.param("ei eikä enkä eivätkä älkää ellei tuskin harvoin puuttuu", id="fi"),
    ],
)
def test_each_language_has_its_answers_pronouns_and_adverbs(words: str) -> None:
    assert [word for word in words.split() if not negates(word)] == []


@pytest.mark.parametrize("words", ["golden cards", "acmeist", "know nothings", "a < b", "per cent", "end. Next"])
def test_what_is_not_protected_may_change(words: str) -> None:
    assert Protection(["gold card", "Acme"]).spans(words) == []


def test_long_texts_are_read_in_linear_time() -> None:
    for unit in (
        "a",
        "a.",
        "{",
        "<",
        "`",
        "a@",
        "1,",
        "www.",
        "<|",
        "[A",
        "-",
        "/",
        "/a",
        "/a.",
        "../",
        "a_",
        "_",
        "a(",
        "aA",
        "(",
        "C:\\",
    ):
        Protection().spans(unit * 100_000)  # minutes, if a pattern reads the text again from each place
    rng = random.Random(1)
    Protection().spans("".join(rng.choice("ab.@{<`1 ") for _ in range(200_000)))
