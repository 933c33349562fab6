"""A file of the Open Multilingual Wordnet is known by its first line and gives the words that mean one thing alone."""

from pathlib import Path

import pytest

from finetune.api.errors import InputError
from trainer.augmentation.synonyms import read_dictionary

FIELD = "augmentation.operations[0].synonymReplacement.dictionary"
FRENCH = """\
# Wolf\tfra\thttp://example.org\tCeCILL-C
02958343-n\tfra:lemma\tvoiture
02958343-n\tfra:lemma\tauto
02958343-n\tfra:lemma\tAuto
02958343-n\tfra:lemma\tautomobile
02958343-n\tfra:lemma\tvoiture de tourisme
02958343-n\tfra:lemma\tvoiture_à_moteur
02958343-n\tfra:def\t0\tvéhicule à quatre roues
02959942-n\tfra:lemma\tvoiture
02959942-n\tfra:lemma\twagon
01850315-v\tfra:lemma\tbouger

01850315-v\tfra:lemma\tmouvoir
00001740-n\tfra:lemma\tentité
"""


def read(folder: Path, content: str) -> dict[str, tuple[str, ...]]:
    (folder / "words.tab").write_text(content)
    return dict(read_dictionary(FIELD, folder / "words.tab"))


def test_words_of_one_meaning_have_the_other_words_of_it(tmp_path: Path) -> None:
    assert read(tmp_path, FRENCH) == {
        "auto": ("voiture", "automobile"),
        "automobile": ("voiture", "auto"),
        "wagon": ("voiture",),
        "bouger": ("mouvoir",),
        "mouvoir": ("bouger",),
    }


def test_a_file_without_languages_and_comments_is_read_and_nouns_keep_their_capitals(tmp_path: Path) -> None:
    assert read(tmp_path, "00000001-n\tlemma\tKonto\n00000001-n\tlemma\tBankkonto\n") == {"konto": ("Bankkonto",), "bankkonto": ("Konto",)}


def test_a_table_that_begins_with_a_number_is_ones_own(tmp_path: Path) -> None:
    assert read(tmp_path, "02958343\tauto, voiture\n") == {"02958343": ("auto", "voiture")}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param("00000001-n\tfra:lemma\tauto\nauto\tvoiture\n", "line 2 is not a line of the Open Multilingual Wordnet", id="mixed"),
        pytest.param("00000001-n\tfra:lemma\tauto\n00000001-n\tfra:lemma\t\n", "line 2 is not a line of the Open", id="no word"),
        pytest.param("00000001-n\tfra:lemma\tauto\n", "has no words", id="no synonym"),
    ],
)
def test_a_faulty_file_is_reported(tmp_path: Path, content: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, content)
    assert caught.value.field == FIELD
    assert problem in caught.value.problem
