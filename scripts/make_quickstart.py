"""Choose the quickstart's rows from the banking77 data set, and write them into the sample.

    python scripts/make_quickstart.py path/to/banking77 manifests/samples/quickstart.yaml

The folder holds train.csv and test.csv with the columns text and category, as in the repository PolyAI-LDN/task-specific-datasets
(Casanueva et al. 2020, «Efficient Intent Detection with Dual Sentence Encoders», CC BY 4.0; see manifests/samples/NOTICE).
The result is the same byte for byte each time. Needs the standard library only. Test: tests/contract/test_quickstart_data.py.
"""

import argparse
import csv
import hashlib
import io
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

INTENTS = (
    "age_limit",
    "apple_pay_or_google_pay",
    "card_about_to_expire",
    "edit_personal_details",
    "lost_or_stolen_card",
    "passcode_forgotten",
    "terminate_account",
    "top_up_by_cash_or_cheque",
    "transaction_charged_twice",
    "transfer_not_received_by_recipient",
    "verify_source_of_funds",
    "wrong_amount_of_cash_received",
)
"""Intents that a reader can distinguish by their names; most names have the four words that BLEU needs."""
ROWS_OF_AN_INTENT = {"train": 25, "validation": 4, "test": 6}
LENGTHS = range(20, 71)
"""Characters of a message: short rows train fast, and of a few words the intent is often unclear."""


class Row(NamedTuple):
    """A message of a customer and what it is about, in words."""

    message: str
    intent: str


def choose(folder: Path) -> dict[str, list[Row]]:
    """Return the rows of each part: test rows from test.csv, the others from train.csv, and no message twice."""
    taken: set[str] = set()
    parts: dict[str, list[Row]] = {}
    for part, file in (("test", "test.csv"), ("validation", "train.csv"), ("train", "train.csv")):
        rows = []
        for intent in INTENTS:
            candidates = (row for row in _shuffled(folder / file, intent) if _words(row.message) not in taken)
            for row in islice(_usable(candidates), ROWS_OF_AN_INTENT[part]):
                taken.add(_words(row.message))
                rows.append(row)
        parts[part] = sorted(rows, key=_rank)
    return {part: parts[part] for part in ROWS_OF_AN_INTENT}


def write_csv(rows: list[Row]) -> str:
    """Return the rows as a CSV file with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows(rows)
    return text.getvalue()


def with_rows(sample: str, parts: dict[str, list[Row]]) -> str:
    """Return the sample with its ConfigMap's data, which ends the first document, replaced by these rows."""
    head, _, rest = sample.partition("\ndata:")
    documents = rest.partition("\n---\n")[2]
    data = "".join(f"  {part}.csv: |\n{_indented(write_csv(rows))}" for part, rows in parts.items())
    return f"{head}\ndata:\n{data}---\n{documents}"


def _shuffled(file: Path, intent: str) -> list[Row]:
    """Return the rows of an intent in an order that has nothing to do with their text, but is always the same."""
    with file.open(encoding="utf-8", newline="") as stream:
        messages = [record["text"] for record in csv.DictReader(stream) if record["category"] == intent]
    return sorted((Row(" ".join(message.split()), intent.replace("_", " ")) for message in messages), key=_rank)


def _rank(row: Row) -> str:
    return hashlib.sha256(row.message.encode()).hexdigest()


def _usable(rows: Iterator[Row]) -> Iterator[Row]:
    return (row for row in rows if len(row.message) in LENGTHS and row.message.isascii())


def _words(message: str) -> str:
    """Return what two spellings of the same message share."""
    return " ".join(re.findall(r"[a-z0-9]+", message.lower()))


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def main() -> None:
    """Rewrite the sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with banking77's train.csv and test.csv")
    parser.add_argument("sample", type=Path, help="job file whose ConfigMap takes the rows")
    options = parser.parse_args()
    options.sample.write_text(with_rows(options.sample.read_text(encoding="utf-8"), choose(options.folder)), encoding="utf-8")


if __name__ == "__main__":
    main()
