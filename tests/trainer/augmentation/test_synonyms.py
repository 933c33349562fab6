"""The synonym table from WordNet, the user's own table with faults told by line, and the script that distils the former."""

import gzip
import importlib.util
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import pytest

from finetune.api.errors import InputError
from tests.repository import REPOSITORY
from trainer.augmentation.synonyms import read_dictionary, wordnet

FIELD = "augmentation.operations[0].synonymReplacement.dictionary"
SCRIPT = REPOSITORY / "scripts" / "distill_wordnet.py"


def test_the_table_has_common_english_words() -> None:
    table = wordnet()
    assert len(table) >= 10_000
    assert table["car"][0] == "auto"
    assert "big" in table["large"]
    assert "purchase" in table["buy"]


def test_every_entry_of_the_table_is_a_single_word_that_differs_from_its_synonyms() -> None:
    for word, synonyms in wordnet().items():
        assert word.isalpha()
        assert word.islower()
        assert synonyms
        assert word not in synonyms
        assert all(synonym.isalpha() for synonym in synonyms)


@pytest.mark.parametrize("word", ["like", "will", "account", "change", "need", "transfer", "answer"])
def test_words_of_several_parts_of_speech_are_left_alone(word: str) -> None:
    assert word not in wordnet()


@pytest.mark.parametrize("word", ["the", "not", "who", "can", "have", "her", "one"])
def test_words_whose_work_is_grammar_are_left_alone(word: str) -> None:
    assert word not in wordnet()


def test_the_table_is_small_and_carries_its_license() -> None:
    package = files("trainer.augmentation.synonyms")
    assert len(package.joinpath("wordnet.tsv.gz").read_bytes()) < 1_000_000
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in package.joinpath("NOTICE").read_text()


def test_a_table_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    path.write_text("\ufeffKonto\tBankkonto, Girokonto\n\nkarte\tDebit Card,,Debit Card\r\n")
    assert dict(read_dictionary(FIELD, path)) == {"konto": ("Bankkonto", "Girokonto"), "karte": ("Debit Card",)}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("car\tauto\ncar auto\n", "line 2 has no tab: 'car auto'", id="no tab"),
        pytest.param("\tauto\n", "line 1 does not begin with a single word", id="no word"),
        pytest.param("credit card\tcard\n", "line 1 does not begin with a single word", id="two words"),
        pytest.param("car\t , \n", "line 1 has no synonym", id="no synonym"),
        pytest.param("car\tauto\tmachine\n", "line 1 has more than one tab", id="columns"),
        pytest.param("car\tauto\nCar\tmachine\n", "line 2 repeats a word of an earlier line", id="twice"),
        pytest.param("\n\n", "has no words", id="empty"),
        pytest.param(b"car\tauto\nK\xf6nig\tx\n", "line 2 is not UTF-8", id="Latin-1"),
    ],
)
def test_a_faulty_table_is_reported_by_line(tmp_path: Path, content: str | bytes, words: str) -> None:
    path = tmp_path / "words.tsv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError) as caught:
        read_dictionary(FIELD, path)
    assert caught.value.field == FIELD
    assert words in caught.value.problem
    assert caught.value.fix


def test_a_missing_table_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        read_dictionary(FIELD, tmp_path / "words.tsv")


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("distill_wordnet", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def small_wordnet(tmp_path: Path) -> Path:
    """A WordNet of few words, in its own file formats."""
    terms = "  1 This software and database is provided …\n"
    contents = {
        "index.noun": (
            "bank n 2 1 @ 2 1 00000001 00000002\nshore n 1 0 1 0 00000002\ndepository n 1 0 1 0 00000001\nhe n 1 0 1 0 00000003\n"
        ),
        "data.noun": (
            "00000001 14 n 03 bank 0 depository 0 Credit_Union 0 000 | a place for money\n"
            "00000002 17 n 02 bank 1 shore 0 000 | sloping land\n"
            "00000003 27 n 02 he 0 helium 0 000 | a gas\n"
        ),
        "index.adj": "quick a 1 0 1 0 00000004\nspeedy a 1 0 1 0 00000004\n",
        "data.adj": "00000004 00 s 02 quick(p) 0 speedy 0 000 | fast\n",
        "index.verb": "bank v 1 0 1 0 00000005\nrely v 1 0 1 0 00000005\n",
        "data.verb": "00000005 31 v 02 bank 0 rely 0 000 | trust\n",
        "index.adv": "",
        "data.adv": "",
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(terms + content)
    (tmp_path / "cntlist.rev").write_text("bank%1:14:00:: 1 20\nbank%1:17:01:: 2 5\nbank%2:31:00:: 1 2\nquick%5:00:00:fast:01 1 3\n")
    return tmp_path


def test_a_word_keeps_the_synonyms_of_its_most_frequent_sense(script: ModuleType, small_wordnet: Path) -> None:
    table = script.distil(small_wordnet)
    assert table == {
        "bank": ("noun", ["depository"]),
        "depository": ("noun", ["bank"]),
        "shore": ("noun", ["bank"]),
        "quick": ("adj", ["speedy"]),
        "speedy": ("adj", ["quick"]),
        "rely": ("verb", ["bank"]),
    }


@pytest.mark.parametrize(
    ("counts", "kept"),
    [
        pytest.param("bank%1:14:00:: 1 20\nbank%2:31:00:: 1 6\n", True, id="a noun by far"),
        pytest.param("bank%1:14:00:: 1 20\nbank%2:31:00:: 1 8\n", False, id="often a verb"),
        pytest.param("bank%1:14:00:: 1 5\nbank%1:17:01:: 2 6\n", False, id="another sense is as common"),
        pytest.param("", False, id="unknown"),
    ],
)
def test_a_word_is_left_alone_whose_part_of_speech_or_sense_a_text_leaves_open(
    script: ModuleType, small_wordnet: Path, counts: str, kept: bool
) -> None:
    (small_wordnet / "cntlist.rev").write_text(counts)
    assert ("bank" in script.distil(small_wordnet)) == kept


def test_distilling_twice_gives_the_same_bytes(small_wordnet: Path) -> None:
    outputs = []
    for name in ("a.tsv.gz", "b.tsv.gz"):
        path = small_wordnet / name
        subprocess.run([sys.executable, str(SCRIPT), str(small_wordnet), str(path)], check=True, capture_output=True, timeout=60)
        outputs.append(path.read_bytes())
    assert outputs[0] == outputs[1]
    assert gzip.decompress(outputs[0]).decode().startswith("bank\tdepository\tnoun\n")
