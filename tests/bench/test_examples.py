"""Real rows are cut from packages as anyone would find them there."""

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
