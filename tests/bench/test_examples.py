"""Real rows are cut from packages as anyone would find them there."""

from bench.domains import articles, divided, entries, number, reviews
from bench.examples import conversations, paragraphs, translations

SAME = "<p>Same in both of the languages.</p>"
ENGLISH = f"<p class='a'>The <em>tall</em> house &amp; the boat.</p><p></p><p>One two three four five six.</p>{SAME}"
GERMAN = f"<p>Das hohe Haus und das Boot.</p><p></p><p>Eins zwei\n drei vier fünf sechs.</p>{SAME}"


def test_a_paragraph_is_its_text_without_markup() -> None:
    assert paragraphs(ENGLISH)[:2] == ["The tall house & the boat.", ""]


def test_paragraphs_in_the_same_place_are_a_row_unless_they_are_equal() -> None:
    assert translations([(ENGLISH, GERMAN)]) == [
        {"source": "The tall house & the boat.", "target": "Das hohe Haus und das Boot."},
        {"source": "One two three four five six.", "target": "Eins zwei drei vier fünf sechs."},
    ]


def test_a_page_that_differs_in_its_paragraphs_is_left_out() -> None:
    assert translations([(ENGLISH, GERMAN + "<p>Noch ein Satz, der dort nicht ist.</p>")]) == []


def test_the_first_answer_to_a_prompt_is_its_completion() -> None:
    corpus = {"conversations": [["What is it?", "A boat.", "Where?"], ["What is it?", "A house."], ["Alone"]]}
    assert conversations([corpus]) == [{"prompt": "What is it?\n", "completion": "A boat."}]


def test_an_entry_of_a_dictionary_is_cut_by_its_index_and_written_in_paragraphs() -> None:
    content = b"xx\nfoo\n //, n.\n\n    A {sample\n    name}. See { bar}.\n\n    More.\n"
    index = "00-database-utf8\tA\tB\nfoo\tD\t9\nfu\tD\t9\n"
    assert entries(index, content) == {"foo": "foo //, n.\nA sample name. See bar.\nMore."}
    assert number("BA") == 64


def test_rows_of_a_name_are_all_on_one_side() -> None:
    rows = [(f"review {number % 20}", {"text": str(number)}) for number in range(100)]
    found = divided(rows, {"test": 0.5, "train": 0.5})
    names = [{int(row["text"]) % 20 for row in side} for side in found.values()]
    assert not names[0] & names[1]
    assert sorted(map(bool, names)) == [True, True]
    assert sum(map(len, names)) == 20


def test_only_clear_sentences_of_reviews_have_a_label() -> None:
    table = "1_1\t-1.5\tit broke .\r\n1_2\t0.4\tit is a player .\r\n2_1\t2.25\ti love it !\r\n"
    assert reviews(table) == [("1", {"text": "it broke .", "label": "negative"}), ("2", {"text": "i love it !", "label": "positive"})]


def test_a_paragraph_of_an_article_is_a_text() -> None:
    xquad = {"data": [{"title": "One", "paragraphs": [{"context": "A.", "qas": []}, {"context": "B.", "qas": []}]}]}
    assert articles(xquad) == [("One", {"text": "A."}), ("One", {"text": "B."})]
