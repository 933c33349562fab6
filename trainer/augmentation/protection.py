"""What of a text augmentation leaves as it is: numbers, addresses, code, placeholders, the user's phrases, and negations.

Code is what is marked as such, and what prose does not look like: paths, names in snake_case and camelCase, and calls, but for those with
plain words alone between their parentheses.

Pure. Test: tests/trainer/augmentation/test_protection.py.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence

from trainer.text.words import WORD

_NAME = r"\.?[\w@~+-]++(?:\.[\w@~+-]++)*+"
"""Of a file or folder in a path."""
_PROSE = r"(?:[^\W\d_]|[\s/-]){1,200}"
"""Between parentheses in prose: item(s), child(ren), and a remark that lacks its space."""
# Every part reads a text once: it begins where its kind of characters does, and gives none back.
_PATTERNS = (
    r"```.*?(?:```|\Z)",  # a fenced block, also one that does not end
    r"`[^`\n]+`",
    r"\{\{.{0,200}?\}\}",
    r"[$#]?\{[^{}\n]{0,200}\}",
    r"%\(\w{1,64}\)[a-zA-Z]|%[-+#0]?[a-zA-Z](?!\w)",
    r"<\|[^|<>\n]{1,64}\|>(?:system|user|assistant|tool|developer)?",
    r"<<[^<>\n]{1,64}>>|>>\w{1,64}<<",
    r"</?[^\W\d_][^<>\n]{0,200}>|<[^<>\s]{1,64}>",
    r"\[/?[A-Z][A-Z_]{1,30}\d{0,4}\]",  # [MASK], [INST]
    r"(?:https?|ftp|file|mailto)://?\S+|(?<![\w.])www\.\S+",
    r"(?<![\w.+-])[\w.+-]++@[\w-]++(?:\.[\w-]++)*",
    r"(?<![\w.-])(?:[\w-]{1,63}\.)+(?:com|org|net|edu|gov|io|dev|de|uk|fr|es|it|eu|co|info)(?![\w-])(?:/\S*)?",
    rf"(?<![\w/.~])(?:~|\.{{1,2}})(?:/{_NAME})++/?|(?<![\w/.~])(?:/{_NAME}){{2,}}+/?",  # ~/notes, ../src, /usr/local/bin
    r"(?<!\w)[A-Za-z]:\\[^\s:*?\"<>|,;]*+",  # C:\Users\x
    rf"(?<![\w.'’-])[^\W\d][\w.]{{0,99}}+\((?!{_PROSE}\))(?:[^()\n]|\([^()\n]{{0,200}}\)){{0,200}}+\)",  # open("a.txt", 3)
    r"(?<!\w)_{0,2}[^\W_]++(?:_++[^\W_]++)++_{0,2}(?!\w)",  # snake_case
    r"(?<![\w'’-])[a-z][a-z0-9]*+[A-Z][A-Za-z0-9]*+(?!\w)",  # camelCase
    r"[-+−±]?[$€£¥]?\d++(?:[.,:/’'-]?\d++)*+(?:\s?%(?![\w(]))?",
)
_ALWAYS = "|".join(_PATTERNS)

_NEGATIONS = {
    "English": """no nope nah nay not never none nobody noone no-one nothing nowhere neither nor naught nought without cannot cant
        dont doesnt didnt isnt arent wasnt werent wont wouldnt shouldnt couldnt hasnt havent hadnt mustnt neednt mightnt oughtnt
        shant darent aint lack lacks lacked lacking""",
    "German": """nein nee nö kein keine keinen keinem keiner keines keins keinerlei keineswegs nicht nichts nix nie niemals nimmer
        niemand niemanden niemandem niemandes nirgends nirgendwo nirgendwohin mitnichten weder ohne""",
    "Dutch": "nee neen niet niets niks geen geeneen nooit nimmer niemand nergens noch evenmin zonder",
    "Swedish": "nej nä inte ingen inget inga ingens ingendera aldrig ingenting ingenstans varken utan icke ej",
    "Danish": "nej ikke ingen intet ingens aldrig ingenting ingenlunde uden hverken",
    "Norwegian": "nei ikke ikkje ingen inga intet aldri ingenting uten verken hverken",
    "French": "non ne pas jamais rien personne aucun aucune aucuns aucunes aucunement nul nulle nuls nulles nullement sans guère ni",
    "Spanish": "no ni nunca jamás nadie nada ningún ninguno ninguna ningunos ningunas sin tampoco",
    "Portuguese": "não nao nem nunca jamais ninguém ninguem nada nenhum nenhuma nenhuns nenhumas sem tampouco sequer",
    "Italian": "no non né mai niente nulla nessun nessuno nessuna senza mica neanche neppure nemmeno",
    "Polish": """nie nigdy nic niczego niczemu niczym nikt nikogo nikomu nikim żaden żadna żadne żadni żadnego żadnej żadnemu żadną
        żadnym żadnych żadnymi nigdzie bez ani""",
    "Russian": """не нет нету ни никогда никто никого никому никем ничего ничто ничему ничем нигде никуда никак никакой никакая
        никакое никакие никакого никакую никаким никаких никакими без нельзя""",
    "Finnish": "en et ei emme ette eivät enkä etkä eikä emmekä ettekä eivätkä ellei älä älkää ilman koskaan",
}
_RARELY = {
    "English": "hardly barely scarcely rarely seldom unless except",
    "German": "kaum selten fehlt fehlen fehlte fehlten",
    "Dutch": "nauwelijks amper zelden ontbreekt ontbreken ontbrak",
    "Swedish": "knappt knappast sällan saknar saknas saknade saknades",
    "Danish": "næppe sjældent mangler manglede",
    "Norwegian": "neppe knapt sjelden mangler manglet",
    "French": "rarement manque manquent manquait",
    "Spanish": "apenas raramente falta faltan faltaba carece carecen",
    "Portuguese": "raramente falta faltam faltava carece carecem",
    "Italian": "raramente manca mancano mancava",
    "Polish": "ledwo ledwie rzadko brak brakuje brakowało",
    "Russian": "едва редко",
    "Finnish": "tuskin harvoin puuttuu puuttuvat puuttui",
}
NEGATIONS = frozenset(word for words in _NEGATIONS.values() for word in words.split())
"""Words that negate, of which a variant has as many as its text; those that end in n't, or begin with n' or nessun', besides."""
PROTECTED = NEGATIONS.union(word for words in _RARELY.values() for word in words.split())
"""These, and words that say that something is rare or missing: no edit of single words touches them, but who writes a text anew may say
`not` instead."""
AMBIGUOUS = frozenset("en et ne ni mai sin nei nah noch nul personne".split())  # noqa: SIM905
"""Of these, words that are common in another of these languages and negate nothing there: Spanish, French and Danish `en`, French `et`,
Italian `ne` and `nei`, Swedish `ni`, French and German `mai`, Danish and Swedish `sin`, German `nah` and `noch`, Dutch and Danish
`nul`; and French `personne`, which is a person, too. Italian `mai` has a second negation beside it, which counts."""
WITH_NE = frozenset(
    """pas jamais rien personne aucun aucune aucuns aucunes aucunement nul nulle nuls nulles nullement guère ni plus point""".split()  # noqa: SIM905
)
"""What negates together with French `ne`, however many of them: `Nul ne vient`, `il ne dit jamais rien`."""
_CLAUSE_END = re.compile(r"[.,;:!?()\n]")
_APOSTROPHES = str.maketrans("’´ʼ＇", "''''")


def negates(word: str) -> bool:
    """Return whether a word, in one of these languages, may turn what is said into its opposite."""
    plain = _plain(word)
    return plain in PROTECTED or plain.endswith("n't") or plain.startswith(("n'", "nessun'"))


def negations(text: str) -> int:
    """Return how many words of a text negate, without those that may mean something else; French `ne` and what goes with it are one."""
    return sum(_negations_of_clause(WORD.findall(clause)) for clause in _CLAUSE_END.split(text))


def _negations_of_clause(words: Sequence[str]) -> int:
    found = [_plain(word) for word in words if word != "Lack"]  # German for varnish
    first = sum(word == "ne" or word.startswith("n'") for word in found)
    second = sum(word in WITH_NE for word in found) if first else 0
    rest = [word for word in found if not second or word not in WITH_NE]
    alone = sum((word in NEGATIONS and word not in AMBIGUOUS) or word.endswith("n't") or word.startswith("nessun'") for word in rest)
    return min(first, second) + alone


def _plain(word: str) -> str:
    return word.casefold().translate(_APOSTROPHES)


class Protection:
    """Finds what must stay as it is; `phrases` are the user's own, found as whole words in upper or lower case."""

    def __init__(self, phrases: Sequence[str] = ()) -> None:
        own = [r"[\s-]+".join(map(re.escape, phrase.split())) for phrase in sorted(phrases, key=len, reverse=True)]
        listed = rf"(?<!\w)(?i:{'|'.join(own)})(?!\w)|" if own else ""
        self._pattern = re.compile(listed + _ALWAYS, re.DOTALL)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where the protected parts begin and end, in order; a word of which a part is protected is so as a whole."""
        found = [match.span() for match in self._pattern.finditer(text) if match.end() > match.start()]
        if not found:
            return []
        words = [match.span() for match in WORD.finditer(text)]
        starts = [start for start, _ in words]
        merged: list[tuple[int, int]] = []
        for start, end in found:
            begin, until = _word_at(words, starts, start)[0], _word_at(words, starts, end - 1)[1]
            start, end = min(start, begin), max(end, until)
            if merged and start < merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((start, end))
        return merged


def _word_at(words: Sequence[tuple[int, int]], starts: Sequence[int], place: int) -> tuple[int, int]:
    """Return the word that a character is in, or the character alone."""
    index = bisect_right(starts, place) - 1
    return words[index] if index >= 0 and place < words[index][1] else (place, place + 1)
