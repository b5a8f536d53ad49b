"""Cutouts, filled holes and resampled pictures, each against a picture that is known."""

import dataclasses

import pytest
import torch
from torch import Generator, Tensor

from intarsia.errors import InputError
from intarsia.manipulation.cutouts import cut_out, widened
from intarsia.manipulation.filling import fill
from intarsia.manipulation.layers import appearance, backdrop
from intarsia.masks import resample
from intarsia.pictures import cutout_png, read_cutout
from intarsia.rendering import Renderer
from tests.halves import model_of_halves

SIZE = 32
NONE = torch.zeros(SIZE, SIZE)


def disc(x: float, y: float, radius: float) -> Tensor:
    """The part of each pixel that a disc covers, nearly."""
    down, across = torch.meshgrid(torch.arange(float(SIZE)), torch.arange(float(SIZE)), indexing="ij")
    return (radius - ((across - x).square() + (down - y).square()).sqrt() + 0.5).clamp(0, 1)


def transform(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.double)


# Cutouts.


def test_colours_decide_how_opaque_a_border_is():
    """The true opacity and colour come back from a mask that is hard, or a pixel too small."""
    true = disc(15.3, 14.8, 7)
    own, behind = torch.tensor([0.9, 0.2, 0.1])[:, None, None], torch.tensor([0.1, 0.3, 0.8])[:, None, None]
    image = true * own + (1 - true) * behind
    for radius in (6, 7):
        cutout = cut_out(image, (disc(15.3, 14.8, radius) > 0.5).float(), NONE)
        torch.testing.assert_close(cutout[3], true, atol=0.02, rtol=0)
        shown = cutout[3] > 0.05
        torch.testing.assert_close(cutout[:3, shown], own.expand_as(image)[:, shown], atol=0.02, rtol=0)


def test_mask_decides_where_the_colours_are_alike():
    mask = disc(15, 15, 6.3)
    grey = torch.full((3, SIZE, SIZE), 0.5)
    inside = widened(1 - mask, 1) == 0
    torch.testing.assert_close(cut_out(grey, mask, NONE)[3][~inside], mask[~inside], atol=0.1, rtol=0)


def test_what_is_another_objects_stays_its_own():
    image, left = torch.rand(3, SIZE, SIZE, generator=Generator().manual_seed(0)), torch.zeros(SIZE, SIZE)
    left[8:24, 4:16] = 1
    assert not cut_out(image, left, left.flip(1))[3, 8:24, 16:].any()


def test_object_has_its_own_pixels_inside():
    image, mask = torch.rand(3, SIZE, SIZE, generator=Generator().manual_seed(0)), disc(15, 15, 6)
    cutout = cut_out(image, mask, NONE)
    inside, far = disc(15, 15, 4) > 0, disc(15, 15, 10) == 0
    assert torch.equal(cutout[:3, inside], image[:, inside]) and (cutout[3, inside] == 1).all() and not cutout[3, far].any()
    assert not cut_out(image, NONE, NONE)[3].any()


def test_hidden_part_is_decoded():
    model = model_of_halves()
    scene = model.encode(torch.rand(3, 32, 32, generator=Generator().manual_seed(0)))
    assert not appearance(Renderer(model), scene, 0)[3, 18:, 19:].any()
    shape = torch.tensor([0.5, 1.6, 1.0, *[0.0] * 7])  # a square round (16, 24.8) with half a side of 6: partly behind object 1
    hidden = dataclasses.replace(scene, shape=torch.stack([shape, scene.shape[1]]), origins=None)
    cutout = appearance(Renderer(model), hidden, 0)
    assert (cutout[3, 20:30, 18:21] > 0.9).all() and not cutout[3, :, 24:].any()
    torch.testing.assert_close(cutout[:3, 20:30, 3:13], scene.image[:, 20:30, 3:13])


def test_cutout_comes_back_from_a_png():
    cutout = torch.cat([torch.rand(3, 16, 24, generator=Generator().manual_seed(0)), torch.zeros(1, 16, 24)])
    cutout[3, 4:9, 5:12] = 0.7
    again = read_cutout(cutout_png(cutout), 16, 24)
    torch.testing.assert_close(again[:, 4:9, 5:12], cutout[:, 4:9, 5:12], atol=0.5 / 255 + 1e-6, rtol=0)
    assert torch.equal(again[3] > 0, cutout[3] > 0)
    with pytest.raises(InputError, match="The cut-out is 24x16 in RGBA; it must be 16x16 in RGBA"):
        read_cutout(cutout_png(cutout), 16, 16)


# Holes.


HOLE = disc(14, 17, 6) > 0


def test_flat_surroundings_go_on_whatever_the_guess_is():
    flat = torch.tensor([0.2, 0.5, 0.7])[:, None, None].expand(3, SIZE, SIZE)
    spoilt = torch.where(HOLE, 1.0, flat)
    filled = fill(spoilt, HOLE, torch.rand(3, SIZE, SIZE, generator=Generator().manual_seed(0)))
    torch.testing.assert_close(filled, flat, atol=1e-3, rtol=0)
    assert torch.equal(filled[:, ~HOLE], flat[:, ~HOLE])


def test_straight_border_goes_through_a_hole():
    two = torch.where(torch.arange(SIZE)[:, None] < 16, 0.2, 0.8).expand(3, SIZE, SIZE)
    filled = fill(torch.where(HOLE, 0.5, two), HOLE, torch.full_like(two, 0.5))
    assert ((filled - two)[:, HOLE].abs() < 0.05).float().mean() > 0.6 and (filled - two)[:, HOLE].abs().mean() < 0.05


def test_guess_with_the_right_texture_is_fitted_to_the_colours_around():
    texture = 0.1 * torch.rand(3, SIZE, SIZE, generator=Generator().manual_seed(0)) + 0.3
    filled = fill(torch.where(HOLE, 0.0, texture + 0.4), HOLE, texture)
    torch.testing.assert_close(filled, texture + 0.4, atol=1e-3, rtol=0)


def test_without_any_known_pixel_the_guess_is_taken():
    guess = torch.rand(3, SIZE, SIZE, generator=Generator().manual_seed(0))
    everywhere = torch.ones(SIZE, SIZE, dtype=torch.bool)
    torch.testing.assert_close(fill(torch.zeros_like(guess), everywhere, guess), guess)
    assert torch.equal(fill(guess, ~everywhere, 1 - guess), guess)


def test_background_keeps_its_own_pixels():
    model = model_of_halves()
    scene = model.encode(torch.rand(3, 32, 32, generator=Generator().manual_seed(0)))
    behind = backdrop(Renderer(model), scene, scene.background)
    assert torch.equal(behind[:, :15], scene.image[:, :15]) and not torch.equal(behind[:, 20:], scene.image[:, 20:])
    other = scene.background + 1
    assert torch.equal(backdrop(Renderer(model), scene, other), Renderer(model).picture("background", other[None])[0])


# Resampling.


def test_whole_pixels_are_copied():
    maps = torch.rand(4, 20, 30, generator=Generator().manual_seed(0))
    moved = resample(maps, transform(1, 7, -3), "zeros")
    torch.testing.assert_close(moved[:, :17, 7:], maps[:, 3:, :-7])
    assert moved[:, 17:].max() < 1e-5 and moved[:, :, :7].max() < 1e-5
    assert resample(maps, transform(1, 0, 0)) is maps


@pytest.mark.parametrize(("scale", "right", "down"), [(1, 2.5, -1.25), (1.7, -8, -9), (0.5, 6, 7), (0.2, 10, 12)])
def test_a_disc_is_drawn_where_the_transform_says(scale, right, down):
    found = resample(disc(14, 16, 8)[None], transform(scale, right, down))[0]
    expected = disc(scale * 14 + right, scale * 16 + down, scale * 8)
    assert (found - expected).abs().mean() < 0.03
    assert float(found.sum()) == pytest.approx(float(expected.sum()), rel=0.04, abs=1)


def test_beyond_the_border_are_zeros_or_its_pixels():
    ones = torch.ones(1, 8, 8)
    assert resample(ones, transform(1, 20, 0), "border").min() > 0.999
    assert not resample(ones, transform(1, 20, 0), "zeros").any()
