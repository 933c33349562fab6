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
from trainer.augmentation.protection import negates
from trainer.augmentation.synonyms import read_dictionary, wordnet

FIELD = "augmentation.operations[0].synonymReplacement.dictionary"
SCRIPT = REPOSITORY / "scripts" / "distill_wordnet.py"


def test_the_table_has_common_english_words() -> None:
    table = wordnet()
    assert len(table) >= 900
    assert table["car"] == ("automobile",)
    assert "big" in table["large"]
    assert "purchase" in table["buy"]
    assert "lately" in table["recently"]


def test_the_table_has_forms_of_words_with_the_same_forms_of_their_synonyms() -> None:
    table = wordnet()
    assert table["cars"] == ("automobiles",)
    assert table["babies"] == ("infants",)
    assert table["bought"] == ("purchased",)
    assert table["occurring"] == ("happening",)
    assert table["tries"] == ("attempts",)
    assert table["provided"] == ("supplied", "furnished")


@pytest.mark.parametrize(
    "sentence",
    [
        pytest.param("using my ATM card but it is showing an error", id="forms that are rare nouns, an abbreviation"),
        pytest.param("this week, the years and a night", id="rare synonyms"),
        pytest.param("The transactions I checked are gone.", id="forms that are rare adjectives"),
        pytest.param("The server does not open the file.", id="words of computing"),
        pytest.param("John needs 5 percent of it by means of a found code", id="a name, and forms that are rare adverbs and verbs"),
        pytest.param("The process will merge the packet into a theme at an extra commission.", id="words read by hand"),
        pytest.param("However, the agency is hence beset by a doctrine", id="words whose synonyms a reader of the table refused"),
    ],
)
def test_words_that_a_synonym_would_make_wrong_stay(sentence: str) -> None:
    found = {word: wordnet().get(word.lower().strip(".,"), ()) for word in sentence.split()}
    assert {word: synonyms for word, synonyms in found.items() if synonyms} == {}


def test_no_entry_negates_or_is_a_word_of_another_register() -> None:
    words = {word for word, synonyms in wordnet().items() for word in (word, *synonyms)}
    assert {word for word in words if negates(word)} == set()
    assert words.isdisjoint({"apprehend", "bureau", "harass", "pretty", "setup", "rattler", "rattlers"})
    assert "philosophy" not in wordnet().get("doctrine", ())
    assert wordnet()["happen"] == ("occur",)


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
        "data.adj": "00000004 00 s 02 quick(p) 0 speedy 0 000 | fast\n00000007 00 a 01 other 0 000 | alone\n",
        "index.verb": "bank v 1 0 1 0 00000005\nrely v 1 0 1 0 00000005\n",
        "data.verb": "00000005 31 v 02 bank 0 rely 0 000 | trust\n00000007 00 v 01 other 0 000 | alone\n",
        "index.adv": "",
        "data.adv": "",
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(terms + content)
    for part in ("noun", "verb", "adj", "adv"):
        (tmp_path / f"{part}.exc").write_text("")
    (tmp_path / "cntlist.rev").write_text(COUNTS)
    return tmp_path


COUNTS = """\
bank%1:14:00:: 1 20
bank%1:17:01:: 2 5
bank%2:31:00:: 1 2
depository%1:14:00:: 1 4
shore%1:17:00:: 1 9
rely%2:31:00:: 1 9
quick%5:00:00:fast:01 1 6
speedy%5:00:00:fast:01 1 4
"""


def test_a_word_keeps_the_synonyms_of_its_most_frequent_sense_if_it_is_common_for_them_too(script: ModuleType, small_wordnet: Path) -> None:
    assert script.WordNet(small_wordnet).distil() == {
        "bank": ("noun", ["depository"]),
        "banks": ("noun", ["depositories"]),
        "depository": ("noun", ["bank"]),
        "depositories": ("noun", ["banks"]),
        "quick": ("adj", ["speedy"]),
        "speedy": ("adj", ["quick"]),
    }


@pytest.mark.parametrize(
    ("counts", "kept"),
    [
        pytest.param({"bank%1:14:00:: 1": 20, "bank%2:31:00:: 1": 2}, True, id="a noun by far"),
        pytest.param({"bank%1:14:00:: 1": 20, "bank%2:31:00:: 1": 3}, False, id="now and then a verb"),
        pytest.param({"bank%1:14:00:: 1": 20, "bank%1:17:01:: 2": 13}, True, id="another sense is rarer"),
        pytest.param({"bank%1:14:00:: 1": 20, "bank%1:17:01:: 2": 14}, False, id="another sense is nearly as common"),
        pytest.param({"bank%1:14:00:: 1": 3}, False, id="hardly known"),
        pytest.param({}, False, id="unknown"),
        pytest.param({"bank%1:14:00:: 1": 20, "depository%1:14:00:: 1": 1}, False, id="a synonym that is hardly known"),
        pytest.param({"bank%1:14:00:: 1": 60, "depository%1:14:00:: 1": 4}, False, id="a much rarer synonym"),
    ],
)
def test_a_word_is_left_alone_that_a_text_leaves_open_or_whose_synonym_is_rare(
    script: ModuleType, small_wordnet: Path, counts: dict[str, int], kept: bool
) -> None:
    both = {"depository%1:14:00:: 1": 4} | counts
    (small_wordnet / "cntlist.rev").write_text("".join(f"{sense} {count}\n" for sense, count in both.items()))
    assert ("bank" in script.WordNet(small_wordnet).distil()) == kept


def pair(folder: Path, word: str, synonym: str, part: str = "noun", **extra: str) -> None:
    """Let a WordNet say that two words are synonyms, and what else is given for its files."""
    letter, number = {"noun": ("n", 1), "verb": ("v", 2), "adj": ("a", 3)}[part]
    senses = "".join(f"{name} {letter} 1 0 1 0 00000009\n" for name in (word.lower(), synonym.lower()))
    added = {
        f"index.{part}": senses,
        f"data.{part}": f"00000009 00 {letter} 02 {word} 0 {synonym} 0 000 | both\n",
        "cntlist.rev": "".join(f"{name.lower()}%{number}:00:00:: 1 20\n" for name in (word, synonym)),
    }
    for name, content in [*added.items(), *((name.replace("_", "."), content) for name, content in extra.items())]:
        with (folder / name).open("a") as file:
            file.write(content)


def test_names_and_abbreviations_are_left_out(script: ModuleType, small_wordnet: Path) -> None:
    pair(small_wordnet, "ATM", "atmosphere")
    table = script.WordNet(small_wordnet).distil()
    assert "atm" not in table
    assert "atmosphere" not in table


@pytest.mark.parametrize(
    ("count", "kept"), [pytest.param(20, False, id="its word is as common"), pytest.param(6, True, id="its word is rare")]
)
def test_a_form_of_another_word_is_left_out_unless_it_is_by_far_more_common(
    script: ModuleType, small_wordnet: Path, count: int, kept: bool
) -> None:
    known = {"index_verb": "view v 1 0 1 0 00000007\n", "cntlist_rev": f"view%2:00:00:: 1 {count}\n"}
    pair(small_wordnet, "viewing", "showcase", **known)
    assert ("viewing" in script.WordNet(small_wordnet).distil()) == kept


def test_an_irregular_form_of_another_word_is_left_out(script: ModuleType, small_wordnet: Path) -> None:
    known = {"index_verb": "think v 1 0 1 0 00000007\n", "cntlist_rev": "think%2:00:00:: 1 90\n", "verb_exc": "thought think\n"}
    pair(small_wordnet, "thought", "idea", **known)
    table = script.WordNet(small_wordnet).distil()
    assert "thought" not in table
    assert "idea" not in table


def test_forms_follow_where_those_of_the_synonym_are_known(script: ModuleType, small_wordnet: Path) -> None:
    pair(small_wordnet, "seize", "fly", "verb", verb_exc="flew fly\nflown fly\n")
    table = script.WordNet(small_wordnet).distil()
    assert {word: row[1] for word, row in table.items() if word[:2] in ("se", "fl")} == {
        "seize": ["fly"],
        "seizes": ["flies"],
        "seizing": ["flying"],
        "fly": ["seize"],
        "flies": ["seizes"],
        "flying": ["seizing"],
        "flew": ["seized"],
        "flown": ["seized"],
    }


def test_a_form_that_is_a_common_word_itself_is_left_alone(script: ModuleType, small_wordnet: Path) -> None:
    known = {"index_adj": "tired a 1 0 1 0 00000007\n", "cntlist_rev": "tired%3:00:00:: 1 9\n"}
    pair(small_wordnet, "tire", "weary", "verb", **known)
    table = script.WordNet(small_wordnet).distil()
    assert table["tires"] == ("verb", ["wearies"])
    assert table["wearied"] == ("verb", ["tired"])
    assert "tired" not in table


def test_distilling_twice_gives_the_same_bytes(small_wordnet: Path) -> None:
    outputs = []
    for name in ("a.tsv.gz", "b.tsv.gz"):
        path = small_wordnet / name
        subprocess.run([sys.executable, str(SCRIPT), str(small_wordnet), str(path)], check=True, capture_output=True, timeout=60)
        outputs.append(path.read_bytes())
    assert outputs[0] == outputs[1]
    assert gzip.decompress(outputs[0]).decode().startswith("bank\tdepository\tnoun\nbanks\tdepositories\tnoun\n")
