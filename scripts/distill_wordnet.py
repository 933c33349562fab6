"""Distil the English synonym table of trainer/augmentation/synonyms from the files of WordNet 3.0.

    apt-get download wordnet-base && dpkg -x wordnet-base_*.deb wordnet
    python scripts/distill_wordnet.py wordnet/usr/share/wordnet trainer/augmentation/synonyms/wordnet.tsv.gz

A wrong word is worse than none: nothing tells in a text whether «like» is a verb. So a word is in the table only if the tagged texts of
WordNet (SemCor) hold it, nearly always as one part of speech and mostly in one sense. Of the synonyms of that sense it keeps those that
the texts hold in it too, not much more rarely than the word, and not mostly in another one: «week» becomes no «hebdomad». Forms of other
words (checked, an adjective) and negations, abbreviations and names (ATM, John) are left out, and what a reader of the whole table found
wrong. Plurals and forms of verbs follow the words where they are regular: «cars» become «automobiles», and «bought» becomes «purchased».
The result is the same byte for byte each time. Test: tests/trainer/augmentation/test_synonyms.py.
"""

import argparse
import gzip
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from trainer.augmentation.protection import negates

PARTS_OF_SPEECH = {"noun": "1", "verb": "2", "adj": "3", "adv": "4"}
"""Endings of the files, and the number of the part of speech in a sense key. Adjective satellites (5) are adjectives."""
SHORTEST_WORD = 3
MOST_SYNONYMS = 4
BY_FAR = 0.9
"""Share of a word's occurrences that have its most common part of speech."""
MOST = 0.6
"""Share that has, besides, its most common sense."""
OFTEN = 0.4
"""Share of a synonym's occurrences that have this sense."""
LEAST_COUNT, LEAST_SYNONYM_COUNT = 4, 2
"""Occurrences of a word in its sense, and of a synonym in it: fewer tell nothing of shares."""
MUCH_RARER = 0.08
"""Occurrences of a synonym in that sense, as a share of those of the word."""
ITS_OWN = 3
"""Times that a word which may be a form of another one is as common as that one: news, not needs."""
# How a form of a word ends, and the word instead.
ENDINGS = {
    "noun": (("s", ""), ("es", ""), ("ies", "y"), ("men", "man")),
    "verb": (("s", ""), ("es", ""), ("ies", "y"), ("ed", ""), ("ed", "e"), ("ied", "y"), ("ing", ""), ("ing", "e")),
    "adj": (("er", ""), ("er", "e"), ("ier", "y"), ("est", ""), ("est", "e"), ("iest", "y")),
    "adv": (),
}
KINDS = {"noun": ("s",), "verb": ("s", "ing", "ed")}
"""Forms that synonyms can follow: their endings where they are regular."""
# Words whose work is grammar: WordNet knows some of them as rare nouns (he: helium; or: Oregon).
FUNCTION_WORDS = frozenset(
    """
    about above after again against all also although always among and another any anybody anyone anything are around because been
    before being below between both but can cannot could did does doing done down during each either else ever every everybody everyone
    everything few for from get gets getting got had has have having her here hers him his how into its itself just least less let like
    many may maybe might more most much must neither never nobody none nor not nothing now off often once one only other others our ours
    out over own per please quite rather same shall she should since some somebody someone something somewhere still such than that the
    their theirs them then there these they this those though through till too toward towards two three four five six seven eight nine
    ten under until upon very was well were what whatever when where whether which while who whom whose why will with within without
    would yes yet you your yours
    """.split()  # noqa: SIM905 - a list literal would fill a screen
)


# Found by reading the table that the rules above give. The tagged texts are of 1961: a process was not processed, a theme was not dark,
# no code was merged. Others fit the sense and not the place: require no «necessitate», percent no «percentage».
NEVER_REPLACED = frozenset(
    """
    absolutely adopt agency altogether apparatus approve assurance authority babe badly battle beset build career cattle commission
    committee comprehend computing confirm conquer consistently constantly contradict controversy cowboy crawl curtain darned definitely
    defy destine director discrepancy dismiss distort district doctrine earnings element employ enact encompass encourage enroll ensure
    enterprise everyday examination exceed extra extremely facility fairly financial foliage forever frustrate glue goddamn gravely
    guardian haired hence highly household however idiot imitate impression inevitably inhibit injury instal install instance integrate
    invariably involvement irony isolate jimdandy ketosis kind lash leaf lid majority mamma manifest manners merge mix mode objection
    opinion oxen packet pant pecs penalty percent percentage perish pertain pitcher populate prescribe presently process promote promotion
    publicity publish purely puzzle queer rattlesnake reactivity recommend recreate religious remarkable remarkably reporter require
    resign respective rip saloon satire scheme scope seriously shuffle silently simulate soil soon sort sprinkle static strategy strictly
    style suppress swear teen tend theme toad tub underground understandable unity visualize vivid war warfare withstand
    """.split()  # noqa: SIM905
)
NEVER_INSTEAD = frozenset(
    """
    altogether babe bask beast blithely chief commit drapery gay ginmill insure ism mode observe plain pretty puncher queer quitted style
    """.split()  # noqa: SIM905
)
NEVER = {"help": {"assist"}}  # «I need help» has a noun


def read_senses(folder: Path) -> dict[str, dict[str, list[str]]]:
    """Return word -> part of speech -> its synsets, most frequent first."""
    senses: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for part in PARTS_OF_SPEECH:
        for fields in _rows(folder / f"index.{part}"):
            synset_count = int(fields[2])
            senses[fields[0]][part] = fields[-synset_count:]
    return senses


def read_synsets(folder: Path) -> dict[tuple[str, str], list[str]]:
    """Return (part of speech, synset) -> its words."""
    synsets = {}
    for part in PARTS_OF_SPEECH:
        for fields in _rows(folder / f"data.{part}"):
            word_count = int(fields[3], 16)
            # Adjectives carry their place in a sentence: galore(ip).
            synsets[part, fields[0]] = [word.split("(")[0] for word in fields[4 : 4 + 2 * word_count : 2]]
    return synsets


def read_frequencies(folder: Path) -> dict[tuple[str, str], dict[int, int]]:
    """Return (word, part of speech) -> number of the sense -> how often the tagged texts of WordNet hold it."""
    by_number = {number: part for part, number in PARTS_OF_SPEECH.items()} | {"5": "adj"}
    frequencies: dict[tuple[str, str], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for line in (folder / "cntlist.rev").read_text().splitlines():
        sense_key, number, count = line.split()
        word, _, rest = sense_key.partition("%")
        frequencies[word, by_number[rest[0]]][int(number)] += int(count)
    return frequencies


def read_exceptions(folder: Path) -> dict[tuple[str, str], set[str]]:
    """Return (part of speech, irregular form) -> the words of which it is one."""
    words = defaultdict(set)
    for part in PARTS_OF_SPEECH:
        for line in (folder / f"{part}.exc").read_text().splitlines():
            form, *bases = line.split()
            words[part, form].update(set(bases) - {form})
    return words


class WordNet:
    """What the files say of words."""

    def __init__(self, folder: Path) -> None:
        self.senses, self.synsets = read_senses(folder), read_synsets(folder)
        self._frequencies, self._exceptions = read_frequencies(folder), read_exceptions(folder)
        self._irregular = defaultdict(set)
        for (part, form), bases in self._exceptions.items():
            for base in bases:
                self._irregular[base, part].add(form)
        self._names = {word.lower() for words in self.synsets.values() for word in words if not word.islower()}

    def distil(self) -> dict[str, tuple[str, list[str]]]:
        """Return word -> part of speech and synonyms, most common first, all single words in lower case."""
        table = {}
        for word in self.senses:
            sense = self.sense_of(word) if word not in NEVER_REPLACED and self._usable(word) else None
            if sense is not None and (synonyms := self._synonyms(word, *sense)):
                table[word] = sense[0], synonyms[:MOST_SYNONYMS]
        forms = {form: row for word, (part, synonyms) in table.items() for form, row in self._forms(word, part, synonyms)}
        return forms | table

    def _forms(self, word: str, part: str, synonyms: list[str]) -> Iterator[tuple[str, tuple[str, list[str]]]]:
        """Yield the forms of a word that are hardly anything else, with those of its synonyms."""
        for kind in KINDS.get(part, ()):
            others = list(dict.fromkeys(form for synonym in synonyms if (form := self._only_form(synonym, part, kind))))
            for form in self._irregular_forms(word, part, kind) or {self._only_form(word, part, kind)}:
                if others and form is not None and self._is_form(form, word):
                    yield form, (part, others)

    def _is_form(self, form: str, word: str) -> bool:
        hardly_else = self._total(form) <= MUCH_RARER * self._total(word) and form not in self._names
        return hardly_else and self.bases(form) == {word} and form not in NEVER_REPLACED

    def _irregular_forms(self, word: str, part: str, kind: str) -> set[str]:
        """Return those that WordNet lists, which are regular ones with a doubled consonant, too."""
        forms = self._irregular[word, part]
        return forms if part == "noun" else {form for form in forms if kind != "s" and form.endswith("ing") == (kind == "ing")}

    def _only_form(self, word: str, part: str, kind: str) -> str | None:
        """Return a form of a word; None where it is irregular: the past alone does not do where the participle differs."""
        listed = self._irregular_forms(word, part, kind)
        if kind == "ed" and self._irregular[word, part] and not listed:
            return None  # besetting, and its past is beset
        forms = listed or {_inflected(word, kind)}
        only = min(forms)
        unsure = part == "noun" and (word.endswith(("man", "o")) or (word.endswith("s") and not word.endswith("ss")))
        return None if len(forms) > 1 or unsure or not only.endswith(kind) or only in NEVER_INSTEAD else only

    def sense_of(self, word: str) -> tuple[str, str] | None:
        """Return the part of speech and the synset that a word nearly always has; None if a text leaves that open."""
        part = max(self.senses[word], key=lambda part: sum(self._frequencies.get((word, part), {}).values()))
        synset = self.senses[word][part][0]
        common = sum(self._frequencies.get((word, part), {}).values()) >= BY_FAR * self._total(word)
        count = self._count(word, part, synset)
        return (part, synset) if common and count >= max(LEAST_COUNT, MOST * self._total(word)) else None

    def _synonyms(self, word: str, part: str, synset: str) -> list[str]:
        least = max(LEAST_SYNONYM_COUNT, MUCH_RARER * self._count(word, part, synset))
        counts = {
            other: self._count(other, part, synset)
            for other in self.synsets[part, synset]
            if other not in {word} | NEVER_INSTEAD | NEVER.get(word, set()) and self._usable(other)
        }
        kept = [other for other, count in counts.items() if count >= max(least, OFTEN * self._total(other))]
        return sorted(kept, key=lambda other: (-counts[other], other))

    def _usable(self, word: str) -> bool:
        """Return whether a word is one as a text has it: none of grammar, no negation, name or abbreviation, and no form of another."""
        plain = len(word) >= SHORTEST_WORD and word.isascii() and word.isalpha() and word.islower()
        if not plain or word in FUNCTION_WORDS or word in self._names or negates(word):
            return False
        return all(self._total(word) >= max(1, ITS_OWN * self._total(base)) for base in self.bases(word))

    def bases(self, word: str) -> set[str]:
        """Return the words of which this one may be a form."""
        found = {base for part in PARTS_OF_SPEECH for base in self._exceptions.get((part, word), ()) if base in self.senses}
        for part, endings in ENDINGS.items():
            found |= {
                base
                for ending, instead in endings
                if word.endswith(ending) and part in self.senses.get(base := word.removesuffix(ending) + instead, {})
            }
        return found - {word}

    def _count(self, word: str, part: str, synset: str) -> int:
        senses = self.senses.get(word, {}).get(part, [])
        return self._frequencies.get((word, part), {}).get(senses.index(synset) + 1, 0) if synset in senses else 0

    def _total(self, word: str) -> int:
        return sum(sum(self._frequencies.get((word, part), {}).values()) for part in PARTS_OF_SPEECH)


def _inflected(word: str, kind: str) -> str:
    """Return a regular form: the plural or third person (s), or the form in ing or ed."""
    after_consonant = word[-2:-1] not in "aeiou"
    if word.endswith("y") and after_consonant and kind != "ing":
        return word[:-1] + ("ies" if kind == "s" else "ied")
    if kind == "s":
        return word + ("es" if word.endswith(("s", "x", "z", "ch", "sh", "o")) else "s")
    silent = word.endswith("e") and (kind == "ed" or not word.endswith(("ee", "oe", "ye")))
    return (word[:-1] if silent else word) + kind


def write(table: dict[str, tuple[str, list[str]]], path: Path) -> None:
    """Write the table: word, tab, synonyms with commas between, tab, part of speech."""
    lines = "".join(f"{word}\t{','.join(synonyms)}\t{part}\n" for word, (part, synonyms) in sorted(table.items()))
    # Without a time stamp or name inside, equal tables are equal files.
    with path.open("wb") as file, gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=9, mtime=0) as packed:
        packed.write(lines.encode())


def _rows(path: Path) -> list[list[str]]:
    """Return the fields of each line but those of the license, which begin with two spaces."""
    return [line.split(" | ")[0].split() for line in path.read_text().splitlines() if not line.startswith("  ")]


def main() -> None:
    """Read the arguments and write the table."""
    parser = argparse.ArgumentParser(description="Distil the synonym table from WordNet.")
    parser.add_argument("wordnet", type=Path, help="folder with data.noun, index.noun, cntlist.rev, …")
    parser.add_argument("table", type=Path, help="file to write, .tsv.gz")
    arguments = parser.parse_args()
    table = WordNet(arguments.wordnet).distil()
    write(table, arguments.table)
    print(f"{len(table)} words in {arguments.table} ({arguments.table.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
