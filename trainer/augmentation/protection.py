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

_BY_LANGUAGE = {
    "English": """no nope nah nay not never none nobody noone no-one nothing nowhere neither nor naught nought without cannot cant dont
        doesnt didnt isnt arent wasnt werent wont wouldnt shouldnt couldnt hasnt havent hadnt mustnt neednt mightnt oughtnt shant darent
        aint hardly barely scarcely rarely seldom unless except lack lacks lacked lacking""",
    "German": """nein nee nö kein keine keinen keinem keiner keines keins keinerlei keineswegs nicht nichts nix nie niemals nimmer niemand
        niemanden niemandem niemandes nirgends nirgendwo nirgendwohin mitnichten weder ohne kaum selten fehlt fehlen fehlte fehlten""",
    "Dutch": """nee neen niet niets niks geen geeneen nooit nimmer niemand nergens noch evenmin zonder nauwelijks amper zelden ontbreekt
        ontbreken ontbrak""",
    "Swedish": """nej nä inte ingen inget inga ingens ingendera aldrig ingenting ingenstans varken utan icke ej knappt knappast sällan
        saknar saknas saknade saknades""",
    "Danish": "nej ikke ingen intet ingens aldrig ingenting ingenlunde uden hverken næppe sjældent mangler manglede",
    "Norwegian": "nei ikke ikkje ingen inga intet aldri ingenting uten verken hverken neppe knapt sjelden mangler manglet",
    "French": """non ne pas jamais rien personne aucun aucune aucuns aucunes aucunement nul nulle nuls nulles nullement sans guère ni
        rarement manque manquent manquait""",
    "Spanish": """no ni nunca jamás nadie nada ningún ninguno ninguna ningunos ningunas sin tampoco apenas raramente falta faltan faltaba
        carece carecen""",
    "Portuguese": """não nao nem nunca jamais ninguém ninguem nada nenhum nenhuma nenhuns nenhumas sem tampouco sequer raramente falta
        faltam faltava carece carecem""",
    "Italian": """no non né mai niente nulla nessun nessuno nessuna senza mica neanche neppure nemmeno raramente manca mancano
        mancava""",
    "Polish": """nie nigdy nic niczego niczemu niczym nikt nikogo nikomu nikim żaden żadna żadne żadni żadnego żadnej żadnemu żadną żadnym
        żadnych żadnymi nigdzie bez ani ledwo ledwie rzadko brak brakuje brakowało""",
    "Russian": """не нет нету ни никогда никто никого никому никем ничего ничто ничему ничем нигде никуда никак никакой никакая никакое
        никакие никакого никакую никаким никаких никакими без нельзя едва редко""",
    "Finnish": """en et ei emme ette eivät enkä etkä eikä emmekä ettekä eivätkä ellei älä älkää ilman koskaan tuskin harvoin puuttuu
        puuttuvat puuttui""",
}
NEGATIONS = frozenset(word for words in _BY_LANGUAGE.values() for word in words.split())
"""Words that negate, or say that something is rare or missing; those that end in n't, or begin with n' or nessun', besides."""
AMBIGUOUS = frozenset("en et ne ni mai sin nei nah lack noch nul apenas".split())  # noqa: SIM905
"""Of these, words that are common in another of these languages and negate nothing there: Spanish, French and Danish `en`, French `et`,
Italian `ne` and `nei`, Swedish `ni`, French and German `mai`, Danish and Swedish `sin`, German `nah`, `Lack` and `noch`, Dutch and Danish
`nul`, Portuguese `apenas`. French `ne` and Italian `mai` have a second negation beside them, which counts."""
_APOSTROPHES = str.maketrans("’´ʼ＇", "''''")


def negates(word: str) -> bool:
    """Return whether a word, in one of these languages, may turn what is said into its opposite."""
    plain = _plain(word)
    return plain in NEGATIONS or plain.endswith("n't") or plain.startswith(("n'", "nessun'"))


def negations(text: str) -> int:
    """Return how many words of a text negate, without those that may mean something else."""
    found = (_plain(word) for word in WORD.findall(text))
    return sum((word in NEGATIONS and word not in AMBIGUOUS) or word.endswith("n't") or word.startswith("nessun'") for word in found)


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
