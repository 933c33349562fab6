"""What of a text augmentation leaves as it is: numbers, addresses, code, placeholders, the user's phrases, and negations.

Pure. Test: tests/trainer/augmentation/test_protection.py.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence

from trainer.text.words import WORD

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
    r"[-+−±]?[$€£¥]?\d++(?:[.,:/’'-]?\d++)*+(?:\s?%(?![\w(]))?",
)
_ALWAYS = "|".join(_PATTERNS)

NEGATIONS = frozenset(
    """
    no not never none nobody nothing nowhere neither nor without cannot cant dont doesnt didnt isnt arent wasnt werent wont wouldnt
    shouldnt couldnt hasnt havent hadnt aint hardly barely scarcely unless except lacks lacking
    kein keine keinen keinem keiner keines nicht nichts nie niemals niemand nirgends weder ohne
    ni nunca jamás nadie nada ningún ninguno ninguna sin tampoco
    ne n pas jamais rien personne aucun aucune sans guère
    non né mai niente nulla nessuno nessuna senza mica
    não nem nenhum nenhuma ninguém sem
    ei en et emme ette eivät älä ilman koskaan
    """.split()  # noqa: SIM905 - a list literal would fill a screen
)
"""Words that negate, of several languages; those that end in n't besides."""


def negates(word: str) -> bool:
    """Return whether a word turns what is said into its opposite."""
    plain = word.casefold().replace("’", "'")
    return plain in NEGATIONS or plain.endswith("n't") or plain.startswith("n'")


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
