"""Distil the English synonym table of trainer/augmentation/synonyms from the files of WordNet 3.0.

    apt-get download wordnet-base && dpkg -x wordnet-base_*.deb wordnet
    python scripts/distill_wordnet.py wordnet/usr/share/wordnet trainer/augmentation/synonyms/wordnet.tsv.gz

A word is in the table only if one part of speech, and one sense of it, is by far its most common one: nothing tells whether «like» is
a verb in a text. It keeps the synonyms of that sense, and of those the ones for which that sense is common too: «bank» becomes no slope.
The result is the same byte for byte each time. Test: tests/trainer/augmentation/test_synonyms.py.
"""

import argparse
import gzip
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

PARTS_OF_SPEECH = {"noun": "1", "verb": "2", "adj": "3", "adv": "4"}
"""Endings of the files, and the number of the part of speech in a sense key. Adjective satellites (5) are adjectives."""
SHORTEST_WORD = 3
MOST_SYNONYMS = 4
COMMON_SENSES = 2
"""A synonym's first two senses count as common."""
BY_FAR = 0.75
"""Share of a word's occurrences that have its most common part of speech."""
MOST = 0.5
"""Share of those that have its most common sense."""
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


def part_of(word: str, parts: Iterable[str], frequencies: Mapping[tuple[str, str], Mapping[int, int]]) -> str | None:
    """Return the part of speech that a word nearly always has in its first sense; None if a text leaves that open.

    A word that the tagged texts do not hold must have only one.
    """
    counts = {part: sum(frequencies.get((word, part), {}).values()) for part in parts}
    best = max(counts, key=lambda part: counts[part])
    if not counts[best]:
        return best if len(counts) == 1 else None
    first = frequencies[word, best].get(1, 0)
    return best if counts[best] >= BY_FAR * sum(counts.values()) and first >= MOST * counts[best] else None


def distil(folder: Path) -> dict[str, tuple[str, list[str]]]:
    """Return word -> part of speech and synonyms, all single words in lower case."""
    senses, synsets, frequencies = read_senses(folder), read_synsets(folder), read_frequencies(folder)
    table = {}
    for word, by_part in senses.items():
        part = part_of(word, by_part, frequencies) if _usable(word) else None
        if part is None:
            continue
        synset = by_part[part][0]
        others = [
            other
            for other in synsets[part, synset]
            if other != word and _usable(other) and synset in senses[other].get(part, [])[:COMMON_SENSES]
        ]
        if others:
            table[word] = part, others[:MOST_SYNONYMS]
    return table


def write(table: dict[str, tuple[str, list[str]]], path: Path) -> None:
    """Write the table: word, tab, synonyms with commas between, tab, part of speech."""
    lines = "".join(f"{word}\t{','.join(synonyms)}\t{part}\n" for word, (part, synonyms) in sorted(table.items()))
    # Without a time stamp or name inside, equal tables are equal files.
    with path.open("wb") as file, gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=9, mtime=0) as packed:
        packed.write(lines.encode())


def _rows(path: Path) -> list[list[str]]:
    """Return the fields of each line but those of the license, which begin with two spaces."""
    return [line.split(" | ")[0].split() for line in path.read_text().splitlines() if not line.startswith("  ")]


def _usable(word: str) -> bool:
    return len(word) >= SHORTEST_WORD and word.isascii() and word.isalpha() and word.islower() and word not in FUNCTION_WORDS


def main() -> None:
    """Read the arguments and write the table."""
    parser = argparse.ArgumentParser(description="Distil the synonym table from WordNet.")
    parser.add_argument("wordnet", type=Path, help="folder with data.noun, index.noun, cntlist.rev, …")
    parser.add_argument("table", type=Path, help="file to write, .tsv.gz")
    arguments = parser.parse_args()
    table = distil(arguments.wordnet)
    write(table, arguments.table)
    print(f"{len(table)} words in {arguments.table} ({arguments.table.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
