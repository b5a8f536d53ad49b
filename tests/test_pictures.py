import numpy as np
import torch

from intarsia.pictures import PALETTE, coloured, game_sheet, overlay, sheet


def test_colours_mix_where_masks_are_soft() -> None:
    masks = torch.tensor([[[[1.0, 0.0, 0.25]], [[0.0, 1.0, 0.75]]]])  # 1 2 1 3
    colours = coloured(masks)
    assert colours.shape == (1, 3, 1, 3)
    torch.testing.assert_close(colours[0, :, 0, 0], torch.tensor([230, 159, 0]) / 255)
    torch.testing.assert_close(colours[0, :, 0, 1], torch.tensor([86, 180, 233]) / 255)
    torch.testing.assert_close(colours[0, :, 0, 2], torch.tensor([122.0, 174.75, 174.75]) / 255)


def test_colours_start_over_after_the_last() -> None:
    masks = torch.zeros(1, len(PALETTE) + 1, 1, 1)
    masks[0, -1] = 1
    torch.testing.assert_close(coloured(masks)[0, :, 0, 0], PALETTE[0])


def test_no_two_colours_are_alike() -> None:
    assert len(PALETTE.unique(dim=0)) == len(PALETTE)


def test_overlay_takes_the_strongest_segment() -> None:
    masks = torch.tensor([[[[0.4, 0.6]], [[0.6, 0.4]]]])
    shown = overlay(torch.ones(1, 3, 1, 2), masks, strength=0.5)
    torch.testing.assert_close(shown[0, :, 0, 0], 0.5 + 0.5 * PALETTE[1])
    torch.testing.assert_close(shown[0, :, 0, 1], 0.5 + 0.5 * PALETTE[0])


def test_overlay_without_strength_is_the_image() -> None:
    images = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(overlay(images, torch.rand(2, 3, 4, 5), strength=0.0), images)


def test_sheet_lays_out_images_in_rows() -> None:
    pictures = torch.tensor([0.0, 0.5]).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    grey = torch.tensor([1.0, 2.0]).view(2, 1, 1)  # 2 is cut to 1
    grid = sheet([pictures, grey], zoom=1, gap=1)
    assert grid.shape == (4, 4, 3)
    assert grid.dtype == np.uint8
    assert (grid == grid[..., :1]).all()
    assert grid[..., 0].tolist() == [[0, 255, 255, 255], [255] * 4, [128, 255, 255, 255], [255] * 4]


def test_sheet_enlarges_by_whole_pixels() -> None:
    grid = sheet([torch.tensor([[[0.0, 1.0]]])], zoom=2, gap=0)
    assert grid[..., 0].tolist() == [[0, 0, 255, 255]] * 2


def test_game_sheet_fills_hidden_segments_with_guesses() -> None:
    images, masks = torch.zeros(1, 3, 1, 1), torch.tensor([0.25, 0.75]).view(1, 2, 1, 1)
    grid = game_sheet(images, masks, torch.ones(1, 2, 3, 1, 1))
    # Image, hard segments, two masks, two images of which the hidden share is guessed as 1; each 2 px and a gap of 2.
    assert grid.shape == (4, 24, 3)
    assert grid[0, ::4].tolist() == [[0, 0, 0], [86, 180, 233], [64] * 3, [191] * 3, [64] * 3, [191] * 3]
