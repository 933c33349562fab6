"""Rows of tokens become one tensor and its mask, whatever their lengths."""

from array import array

import torch

from trainer.objectives.reading import padded


def test_rows_are_padded_on_the_right_and_masked_by_length_not_by_id() -> None:
    ids, mask = padded([[5, 0], array("i", [7, 8, 0]), ()])
    assert ids.tolist() == [[5, 0, 0], [7, 8, 0], [0, 0, 0]]
    assert mask.tolist() == [[1, 1, 0], [1, 1, 1], [0, 0, 0]]
    assert ids.dtype == mask.dtype == torch.long


def test_rows_without_tokens_have_one_position_of_padding() -> None:
    ids, mask = padded([[], []])
    assert ids.tolist() == mask.tolist() == [[0], [0]]
