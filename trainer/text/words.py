"""What a word is, in any script. Tests: tests/trainer/augmentation/test_augmenter.py, tests/trainer/preflight/test_doctor.py."""

import re
import string

# Anything but spaces and punctuation, so that vowel signs of scripts such as Devanagari stay in their word; apostrophes and
# hyphens inside a word belong to it.
_LETTERS = f"[^\\s{re.escape(string.punctuation.replace('_', '') + '«»“”„‘’‚…–—¿¡。、，！？：；（）「」')}]+"
WORD = re.compile(f"{_LETTERS}(?:['’-]{_LETTERS})*")


def bare(text: str) -> str:
    """Return the words of a text in lower case, with single spaces between: what stays the same when punctuation changes."""
    return " ".join(WORD.findall(text.casefold()))
