import colorsys

import numpy as np
import pytest
import torch

from intarsia.data import open_dataset
from intarsia.data.multi_dsprites import KINDS, OUTLINES, SYMMETRY, _sprites

N = 1000


@pytest.fixture(scope="module")
def sample() -> tuple[torch.Tensor, torch.Tensor]:
    return open_dataset("multi_dsprites")(range(N))


def test_masks_are_hard_and_segments_flat(sample: tuple[torch.Tensor, torch.Tensor]) -> None:
    images, masks = sample
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    colours = torch.einsum("bkhw,bchw->bkc", masks, images) / masks.sum((2, 3)).clamp(min=1)[..., None]
    torch.testing.assert_close(torch.einsum("bkhw,bkc->bchw", masks, colours), images, rtol=0, atol=1e-4)


def test_one_to_four_sprites_are_equally_frequent(sample: tuple[torch.Tensor, torch.Tensor]) -> None:
    # The last sprite is the farthest: one that is wholly hidden leaves a gap before it, or makes the count one too low.
    present = sample[1][:, 1:].amax((2, 3)) > 0
    number = (present * torch.arange(1, 5)).amax(1)
    fraction = torch.bincount(number, minlength=5) / N
    assert fraction[0] == 0
    assert ((fraction[1:] - 0.25).abs() < 5 * np.sqrt(0.25 * 0.75 / N)).all()


def test_colours_are_uniform(sample: tuple[torch.Tensor, torch.Tensor]) -> None:
    background = (sample[0] * sample[1][:, :1]).amax((2, 3))  # one colour per scene: its largest value is that colour
    assert ((background.mean(0) - 1 / 2).abs() < 5 * np.sqrt(1 / 12 / N)).all()
    assert ((background.var(0) - 1 / 12).abs() < 5 * np.sqrt(1 / 180 / N)).all()


def test_no_sprite_reaches_over_the_border(sample: tuple[torch.Tensor, torch.Tensor]) -> None:
    background = sample[1][:, 0]
    assert background[:, [0, -1]].min() == 1 and background[:, :, [0, -1]].min() == 1


def outline(kind: int, scale: float, angle: float) -> np.ndarray:
    _, sprites = _sprites(*(np.array([float(value)]) for value in (kind, scale, angle)), np.array([[32.0, 32.0]]))
    return sprites[0]


# At scale 1: (2 * 8.5)², pi * 12 * 7, and a square of side 12.8 with two half discs of radius 6.4.
@pytest.mark.parametrize(("kind", "area"), [(0, 289.0), (1, 263.9), (2, 163.84 + 128.7)])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_areas_are_those_of_the_figures(kind: int, area: float, scale: float) -> None:
    areas = [outline(kind, scale, angle).sum() for angle in np.linspace(0, 6, 13)]
    assert np.mean(areas) == pytest.approx(area * scale**2, rel=0.03)


def test_turning_an_ellipse_by_a_quarter_swaps_rows_and_columns() -> None:
    lying, standing = outline(1, 1.0, 0.0), outline(1, 1.0, np.pi / 2)
    assert (lying.any(0).sum(), lying.any(1).sum()) == (24, 14)
    assert np.array_equal(standing, lying.T)


@pytest.mark.parametrize("kind", range(len(OUTLINES)))
def test_a_sprite_fits_its_window_at_every_angle_and_place(kind: int) -> None:
    place = np.random.default_rng(0).uniform(12, 52, (2000, 2))
    angle = np.linspace(0, 2 * np.pi, len(place))
    full = np.ones(len(place))
    corner, sprites = _sprites(kind * full, full, angle, place)
    assert corner.min() >= 0 and corner.max() + sprites.shape[1] <= 64
    margin = np.stack([sprites[:, 0], sprites[:, -1], sprites[:, :, 0], sprites[:, :, -1]])
    assert margin.mean() < 0.02  # the outermost pixels belong to a sprite only where its edge just reaches them
    rows, columns = np.indices(sprites.shape[1:]) + 0.5
    away = np.hypot(
        rows + (corner - place)[:, 0, None, None],
        columns + (corner - place)[:, 1, None, None],
    )
    assert away[sprites].max() < 12.1  # px from the centre: the circle that the window is made for


def test_factors_agree_with_the_pixels(sample: tuple[torch.Tensor, torch.Tensor]) -> None:
    images, masks = sample
    factors = open_dataset("multi_dsprites").factors(range(N))
    area = masks[:, 1:].sum((2, 3)).numpy()
    seen = area > 0
    colours = (torch.einsum("bkhw,bchw->bkc", masks, images)[:, 1:].numpy() / np.maximum(area, 1)[..., None])[seen]
    hue, saturation, brightness = np.array([colorsys.rgb_to_hsv(*map(float, colour)) for colour in colours]).T
    coloured = saturation > 0.01
    for name, found in ("hue_sin", np.sin(2 * np.pi * hue)), ("hue_cos", np.cos(2 * np.pi * hue)):
        np.testing.assert_allclose(factors[name][seen][coloured], found[coloured], rtol=0, atol=1e-3)
    np.testing.assert_allclose(factors["saturation"][seen], saturation, rtol=0, atol=1e-5)
    np.testing.assert_allclose(factors["brightness"][seen], brightness, rtol=0, atol=1e-5)
    assert np.array_equal(sum(factors[kind] for kind in KINDS)[seen], np.ones(seen.sum()))
    nearest = factors["scale"][:, 0]  # never hidden
    for kind, full in zip(KINDS, (289.0, 263.9, 292.54), strict=True):
        own = factors[kind][:, 0] == 1
        np.testing.assert_allclose(area[own, 0], full * nearest[own] ** 2, rtol=0.12)


@pytest.mark.parametrize(("kind", "turn"), [(0, np.pi / 2), (1, np.pi)])
def test_a_turn_by_the_symmetry_changes_nothing(kind: int, turn: float) -> None:
    assert turn == pytest.approx(2 * np.pi / SYMMETRY[kind])
    assert np.array_equal(outline(kind, 0.8, 0.3), outline(kind, 0.8, 0.3 + turn))
