"""A start leaves nothing on disk unless its input has passed; tokens outlive it, rows do not."""

from pathlib import Path

from trainer.data.datafolder import FOLDER, DataFolder, data_of_a_check, data_of_a_run


def publish(data: DataFolder, name: str) -> None:
    with data.stage(name) as staged:
        (staged.folder / "file").write_text(name)
        staged.publish()


def names(output: Path) -> list[str]:
    return sorted(path.name for path in (output / FOLDER).iterdir())


def test_a_refused_start_leaves_the_disk_as_it_was(tmp_path: Path) -> None:
    output = tmp_path / "new" / "out"
    with data_of_a_run(output) as data:
        data.rows.mkdir()
        publish(data, "tokens")
    assert not (tmp_path / "new").exists()


def test_a_refused_start_leaves_the_tokens_of_earlier_ones(tmp_path: Path) -> None:
    with data_of_a_run(tmp_path) as data:
        data.keep()
        publish(data, "tokens")
    with data_of_a_run(tmp_path) as data:
        assert data.find("tokens") == tmp_path / FOLDER / "tokens"
        publish(data, "others")
    assert names(tmp_path) == ["tokens"]


def test_what_was_published_before_the_input_passed_stays_under_its_name(tmp_path: Path) -> None:
    with data_of_a_run(tmp_path) as data:
        data.rows.mkdir()
        publish(data, "tokens")
        data.keep()
        assert data.find("tokens") == tmp_path / FOLDER / "tokens"
        assert data.rows.is_dir(), "rows are read until the run ends"
    assert names(tmp_path) == ["tokens"]


def test_what_a_killed_start_left_goes_once_another_has_passed(tmp_path: Path) -> None:
    (tmp_path / FOLDER / "start-killed" / "rows").mkdir(parents=True)
    (tmp_path / FOLDER / ".tokens.finetune-staged").mkdir()
    with data_of_a_run(tmp_path):
        pass
    assert "start-killed" in names(tmp_path)
    with data_of_a_run(tmp_path) as data:
        data.keep()
    assert names(tmp_path) == []


def test_tokens_of_other_rows_are_removed_on_request(tmp_path: Path) -> None:
    with data_of_a_run(tmp_path) as data:
        data.keep()
        for name in ("a", "b"):
            publish(data, name)
        data.forget_all_but({"b"})
        assert (data.find("a"), data.rows.parent.is_dir()) == (None, True)
    assert names(tmp_path) == ["b"]


def test_a_check_finds_the_tokens_of_a_run_and_writes_elsewhere(tmp_path: Path) -> None:
    with data_of_a_run(tmp_path) as data:
        data.keep()
        publish(data, "tokens")
    with data_of_a_check(tmp_path) as data:
        assert data.find("tokens") is not None
        publish(data, "others")
        assert (folder := data.find("others")) is not None
    assert not folder.exists()
    assert names(tmp_path) == ["tokens"]
