"""Distil the English synonym table of trainer/data/synonyms from the files of WordNet 3.0.

    apt-get download wordnet-base && dpkg -x wordnet-base_*.deb wordnet
    python scripts/distill_wordnet.py wordnet/usr/share/wordnet trainer/data/synonyms/wordnet.tsv.gz

A word keeps the synonyms of its most frequent sense only, and of those the ones for which that sense is common too:
«bank» becomes no slope. The result is the same byte for byte each time. Test: tests/trainer/augmentation/test_synonyms.py.
"""

import argparse
import gzip
from collections import defaultdict
from pathlib import Path

PARTS_OF_SPEECH = {"noun": "1", "verb": "2", "adj": "3", "adv": "4"}
"""Endings of the files, and the number of the part of speech in a sense key. Adjective satellites (5) are adjectives."""
SHORTEST_WORD = 3
MOST_SYNONYMS = 4
COMMON_SENSES = 2
"""A synonym's first two senses count as common."""
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


def read_frequencies(folder: Path) -> dict[tuple[str, str], int]:
    """Return (word, part of speech) -> how often the tagged texts of WordNet hold it."""
    by_number = {number: part for part, number in PARTS_OF_SPEECH.items()} | {"5": "adj"}
    frequencies: dict[tuple[str, str], int] = defaultdict(int)
    for line in (folder / "cntlist.rev").read_text().splitlines():
        sense_key, _, count = line.split()
        word, _, rest = sense_key.partition("%")
        frequencies[word, by_number[rest[0]]] += int(count)
    return frequencies


def distil(folder: Path) -> dict[str, list[str]]:
    """Return word -> synonyms, both single words in lower case."""
    senses, synsets, frequencies = read_senses(folder), read_synsets(folder), read_frequencies(folder)
    table = {}
    for word, by_part in senses.items():
        if not _usable(word):
            continue
        part = max(by_part, key=lambda name: (frequencies[word, name], -list(PARTS_OF_SPEECH).index(name)))
        synset = by_part[part][0]
        others = [
            other
            for other in synsets[part, synset]
            if other != word and _usable(other) and synset in senses[other].get(part, [])[:COMMON_SENSES]
        ]
        if others:
            table[word] = others[:MOST_SYNONYMS]
    return table


def write(table: dict[str, list[str]], path: Path) -> None:
    """Write the table in the form of a user's own dictionary: word, tab, synonyms with commas between."""
    lines = "".join(f"{word}\t{','.join(table[word])}\n" for word in sorted(table))
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
