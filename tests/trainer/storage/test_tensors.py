"""Tensors are read in the ranges that are asked for, whether one rank wrote them whole or several in parts."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from trainer.storage.tensors import SavedTensors, part_file, write_table, write_tensors

SHAPES = {"matrix": (3, 5), "vector": (7,), "scalar": ()}
GROUPS = ("parameters", "exp_avg")


def tensors(group: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(len(group))
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def part(begins: dict[str, tuple[int, int]]) -> Any:
    """Return the part of a rank that has these ranges."""
    groups = {group: {name: tensors(group)[name].flatten()[slice(*own)] for name, own in begins.items()} for group in GROUPS}
    return SimpleNamespace(shapes=SHAPES, ranges=begins, groups=groups)


PARTS = [
    part({"matrix": (0, 8)}),
    part({"matrix": (8, 15), "vector": (0, 1), "scalar": (0, 1)}),
    part({}),
    part({"vector": (1, 7)}),
]


@pytest.fixture(scope="module", params=["whole", "in parts"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SavedTensors:
    folder: Path = tmp_path_factory.mktemp("tensors")
    if request.param == "whole":
        for group in GROUPS:
            write_tensors(folder / f"{group}.safetensors", tensors(group))
        return SavedTensors(folder)
    for rank, own in enumerate(PARTS):
        for group in GROUPS:
            write_tensors(folder / part_file(group, rank, len(PARTS)), own.groups[group])
    write_table(folder, SHAPES, [own.ranges for own in PARTS])
    return SavedTensors(folder)


def test_every_group_has_all_tensors_by_name_in_their_shapes(saved: SavedTensors) -> None:
    assert {group: sorted(names) for group, names in saved.names().items()} == {group: sorted(SHAPES) for group in GROUPS}
    assert dict(saved.shapes("exp_avg")) == SHAPES


@pytest.mark.parametrize("group", GROUPS)
def test_whole_tensors_are_those_that_were_written(saved: SavedTensors, group: str) -> None:
    found = saved.whole(group)
    assert found.keys() == SHAPES.keys()
    assert all(torch.equal(found[name], value) for name, value in tensors(group).items())
    unread = saved.one_by_one(group)
    assert unread.keys() == found.keys()
    assert all(torch.equal(value, found[name]) for name, value in unread.items())
    assert len(unread) == len(SHAPES)


@given(st.integers(0, 15), st.integers(0, 15))
def test_any_range_is_that_of_the_flattened_tensor_across_parts(saved: SavedTensors, one: int, other: int) -> None:
    begin, end = sorted((one, other))
    assert torch.equal(saved.read("exp_avg", "matrix", begin, end), tensors("exp_avg")["matrix"].flatten()[begin:end])


def test_a_part_is_an_ordinary_file_of_tensors(tmp_path: Path) -> None:
    write_tensors(tmp_path / part_file("parameters", 1, 4), PARTS[1].groups["parameters"])
    found = load_file(tmp_path / "parameters-2-of-4.safetensors")
    assert torch.equal(found["matrix"], tensors("parameters")["matrix"].flatten()[8:15])


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        pytest.param([{"vector": (0, 3)}, {"vector": (4, 7)}], "no part, or two, of vector from 3 on", id="a gap"),
        pytest.param([{"vector": (0, 3)}, {"vector": (2, 7)}], "no part, or two, of vector from 2 on", id="an overlap"),
        pytest.param([{"vector": (0, 3)}, {"vector": (3, 6)}], "6 elements of vector, which has 7", id="the end is missing"),
        pytest.param([{}, {}], "0 elements of vector, which has 7", id="nobody has it"),
    ],
)
def test_parts_that_do_not_cover_each_tensor_once_are_refused(tmp_path: Path, ranges: list, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        write_table(tmp_path, {"vector": (7,)}, ranges)
    assert not list(tmp_path.iterdir())


def test_tensors_of_another_type_and_a_file_that_ends_early_are_errors(tmp_path: Path) -> None:
    write_tensors(tmp_path / "half.safetensors", {"w": torch.ones(3, dtype=torch.bfloat16)})
    with pytest.raises(ValueError, match="not float32"):
        SavedTensors(tmp_path).read("half", "w", 0, 3)
    write_tensors(tmp_path / "short.safetensors", {"w": torch.ones(3)})
    content = (tmp_path / "short.safetensors").read_bytes()
    (tmp_path / "short.safetensors").write_bytes(content[:-4])
    with pytest.raises(ValueError, match="ends before w does"):
        SavedTensors(tmp_path).read("short", "w", 0, 3)
