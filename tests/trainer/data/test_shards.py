"""Tokens come back from disk as they were written; a shard that is torn, or of other rows, is not taken for one."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.fixtures.examples import chat, text
from trainer.data import shards
from trainer.data.rows import Piece, Sample
from trainer.data.shards import (
    IDS,
    MANIFEST,
    Pieces,
    Samples,
    Shard,
    ShardWriter,
    TornShardError,
    by_length,
    examples_of,
    ids_of,
    lengths_of,
    loss_bytes_of,
    loss_tokens_of,
    notes_of,
    read_lengths_of,
    token_blocks,
    write_shard,
)


def sample(name: str, *ids: int, start: int = 1) -> Sample:
    return Sample(name, ids, [index >= start for index in range(len(ids))], 3 * len(ids), truncated=len(ids) > 3, tail=len(ids) - start)


EXAMPLES = [chat("a", "b"), text("one two three")]
PIECES = [
    (0, Piece(EXAMPLES[0], sample("b", 5, 6, 7, 8), note="noticed")),
    (1, Piece(EXAMPLES[1], sample("a/0", 70000, 1), last=False, end=7)),
    (1, Piece(EXAMPLES[1], sample("a/1", 1, 2, start=2), first=False, start=7, end=13)),
    (1, Piece(EXAMPLES[1], sample("a/10", 3, 4), first=False, start=7, end=13)),
]


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    write_shard(tmp_path, "key", PIECES)
    return Shard.open(tmp_path, "key")


def test_pieces_come_back_as_they_were_written(shard: Shard) -> None:
    assert list(Pieces(shard, EXAMPLES)) == [piece for _, piece in PIECES]
    assert list(Samples(shard)) == [piece.tokens for _, piece in PIECES]


def test_a_slice_reads_nothing_until_a_member_is_asked_for(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    some = Samples(shard)[1:]
    assert (len(some), some[-1].id, [row.id for row in some[:2]]) == (3, "a/10", ["a/0", "a/1"])
    with pytest.raises(IndexError):
        Samples(shard)[4]
    monkeypatch.setattr(Shard, "sample", lambda *_: pytest.fail("a row was read"))
    assert len(Pieces(shard, EXAMPLES)[:2]) == 2


COLUMNS = (lengths_of, ids_of, by_length, loss_tokens_of, loss_bytes_of, examples_of)


def test_lengths_ids_sizes_and_examples_are_those_of_rows_in_memory(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [piece.tokens for _, piece in PIECES]
    expected = [of(rows).tolist() for of in COLUMNS]
    monkeypatch.setattr(Shard, "sample", lambda *_: pytest.fail("a row was read"))
    stored = Samples(shard)
    assert [of(stored).tolist() for of in COLUMNS] == expected
    assert by_length(stored).tolist() == sorted(range(4), key=lambda index: (len(rows[index].input_ids), rows[index].id))


def test_what_follows_the_text_that_is_read_can_be_left_out(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [piece.tokens for _, piece in PIECES]
    read = [[5], [70000], [1, 2], [3]]
    assert [list(block) for block in token_blocks(rows, tails=False)] == read
    assert read_lengths_of(rows).tolist() == [1, 1, 2, 1]
    for lines in (1, 3, 100):
        monkeypatch.setattr(shards, "BUFFERED_LINES", lines)
        stored = Samples(shard)
        assert [token for block in token_blocks(stored, tails=False) for token in block.tolist()] == [5, 70000, 1, 2, 3]
        assert read_lengths_of(stored).tolist() == [1, 1, 2, 1]


def test_the_longest_piece_is_known_without_reading_any(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "array_in", lambda *_: pytest.fail("a file was read"))
    assert (shard.longest, pickle.loads(pickle.dumps(shard)).longest) == (4, 4)


def test_the_notes_of_pieces_are_those_of_pieces_in_memory(shard: Shard) -> None:
    pieces = [piece for _, piece in PIECES]
    for found in (Pieces(shard, EXAMPLES), pieces, Pieces(pickle.loads(pickle.dumps(shard)), EXAMPLES)):
        notes, which = notes_of(found)
        assert [notes[number] for number in which] == ["noticed", "", "", ""]


def test_a_shard_travels_as_a_path(shard: Shard) -> None:
    list(Samples(shard))
    sent = pickle.dumps(shard)
    assert len(sent) < 500
    assert list(Samples(pickle.loads(sent))) == list(Samples(shard))


def test_more_pieces_than_are_buffered_are_all_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "BUFFERED_LINES", 3)
    write_shard(tmp_path, "key", ((row, Piece(EXAMPLES[0], sample(str(row), *range(row)))) for row in range(1, 9)))
    assert [row.id for row in Samples(Shard.open(tmp_path, "key"))] == [str(row) for row in range(1, 9)]


def test_no_rows_are_a_shard_too(tmp_path: Path) -> None:
    write_shard(tmp_path, "key", [])
    found = Samples(Shard.open(tmp_path, "key"))
    assert (list(found), *(of(found).tolist() for of in COLUMNS)) == ([],) * (1 + len(COLUMNS))
    assert examples_of([]).tolist() == []


def tear_tokens(folder: Path) -> None:
    content = np.fromfile(folder / IDS, np.uint8)
    content[3] ^= 1
    content.tofile(folder / IDS)


def cut_off(folder: Path) -> None:
    (folder / IDS).write_bytes((folder / IDS).read_bytes()[:-4])


def no_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def half_a_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text()[:30])


def foreign_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("[]")


def other_format(folder: Path) -> None:
    (folder / MANIFEST).write_text(json.dumps(json.loads((folder / MANIFEST).read_text()) | {"format": 0}))


@pytest.mark.parametrize("harm", [tear_tokens, cut_off, no_manifest, half_a_manifest, foreign_manifest, other_format])
def test_a_torn_or_foreign_shard_is_not_opened(shard: Shard, harm) -> None:
    harm(shard.folder)
    with pytest.raises(TornShardError):
        Shard.open(shard.folder, "key")


def test_a_shard_of_other_rows_is_not_opened(shard: Shard) -> None:
    with pytest.raises(TornShardError, match="the tokens of other rows"):
        Shard.open(shard.folder, "another key")


def full_disk(folder: Path) -> ShardWriter:
    (folder / IDS).symlink_to("/dev/full")
    return ShardWriter(folder, "key")


def test_a_full_disk_leaves_no_file_open_and_no_manifest(tmp_path: Path) -> None:
    writer = full_disk(tmp_path)
    with pytest.raises(OSError, match="No space left"), writer:
        writer.append(*PIECES[0])
    assert all(file.closed for file in writer._files.values())
    assert not (tmp_path / MANIFEST).exists()


def test_a_full_disk_does_not_hide_the_error_that_came_first(tmp_path: Path) -> None:
    writer = full_disk(tmp_path)

    def stop_after_the_first() -> None:
        with writer:
            writer.append(*PIECES[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_after_the_first()
    assert all(file.closed for file in writer._files.values())


def test_a_shard_that_was_not_finished_is_torn(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        write_shard(tmp_path, "key", ((row, Piece(EXAMPLES[0], sample(str(1 // row)))) for row in (1, 0)))
    with pytest.raises(TornShardError):
        Shard.open(tmp_path, "key")
