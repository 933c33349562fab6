"""`python -m bench.examples FOLDER`: real rows for the jobs in bench/jobs, from packages that anyone can fetch.

translation: paragraphs of the Debian Reference, English and German, whose HTML has the same elements in both languages (GPL).
conversations: the English part of chatterbot-corpus (BSD). Fetched with apt-get and uv, nothing is installed. Needs Debian and a
network. Test: tests/bench/test_examples.py.
"""

import html
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

CORPUS = "chatterbot-corpus==1.3.3"
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
    [folder] = map(Path, sys.argv[1:] if arguments is None else arguments)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as fetched:
        pages = _debian_reference(Path(fetched))
        corpora = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in _chatterbot_corpus(Path(fetched))]
    for name, rows in (("translation.jsonl", translations(pages)), ("conversations.jsonl", conversations(corpora))):
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{folder / name}: {len(rows)} rows")


def _debian_reference(folder: Path) -> list[tuple[str, str]]:
    subprocess.run(["apt-get", "download", "debian-reference-en", "debian-reference-de"], cwd=folder, check=True, capture_output=True)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder / "files"], check=True)
    english = sorted((folder / "files" / "usr/share/debian-reference").glob("*.en.html"))
    return [(page.read_text(), page.with_name(page.name.replace(".en.", ".de.")).read_text()) for page in english]


def _chatterbot_corpus(folder: Path) -> list[Path]:
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "corpus"), CORPUS]
    subprocess.run(command, check=True)
    return sorted((folder / "corpus" / "chatterbot_corpus/data/english").glob("*.yml"))


if __name__ == "__main__":
    main()
