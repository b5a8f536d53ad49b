from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch

from intarsia.data.flying_animals import (
    Animals,
    Parameters,
    composed_scenes,
    cut_out,
    draw_parameters,
    reduced,
    render,
)
from intarsia.data.random import scene_keys

Reference = Callable[[str], Mapping[str, np.ndarray]]
N = 20_000
HEIGHT, WIDTH = 192, 256


@pytest.fixture(scope="module")
def parameters() -> Parameters:
    return draw_parameters(scene_keys(0, "train", range(N)), 100, 240)


def test_numbers_of_animals(parameters: Parameters) -> None:
    fraction = np.bincount(parameters.number, minlength=6) / N
    assert fraction == pytest.approx([0, 0.01, 0.03, 0.06, 0.1, 0.8], abs=5 * np.sqrt(0.16 / N))
    assert fraction[0] == 0


def test_every_background_and_animal_is_as_likely(parameters: Parameters) -> None:
    for drawn, kinds in (parameters.background, 100), (parameters.animal.ravel(), 240):
        fraction = np.bincount(drawn, minlength=kinds) / drawn.size
        assert len(fraction) == kinds
        assert np.abs(fraction - 1 / kinds).max() < 5 / np.sqrt(kinds * drawn.size)


def test_zoom_and_brightness(parameters: Parameters) -> None:
    for values, low, high in (parameters.zoom, 0.9, 1.2), (parameters.brightness, -0.36, 0.36):
        assert low <= values.min() < low + 1e-3 and high - 1e-3 < values.max() <= high
        assert values.var() == pytest.approx((high - low) ** 2 / 12, rel=0.02)
    assert parameters.brightness.shape == (N, 6)  # every animal's and the background's, each for itself


def test_animals_keep_their_distance(parameters: Parameters) -> None:
    place = np.stack([parameters.dy, parameters.dx], axis=-1)
    distance = np.abs(place[:, :, None] - place[:, None]).sum(-1)[:, *np.triu_indices(5, 1)]
    assert 97 < distance.min() < 97.1
    # The limits are those of the original: 2.2 fifths of the size, either way, rounded down.
    for values, length in (parameters.dx, 256), (parameters.dy, 192):
        assert values.min() == pytest.approx(-length * 2.2 // 5, abs=0.05)
        assert values.max() == pytest.approx(length * 2.2 // 5, abs=0.05)


def test_redraws_do_not_depend_on_the_batch(parameters: Parameters) -> None:
    alone = draw_parameters(scene_keys(0, "train", [N - 1]), 100, 240)
    assert all(np.array_equal(one[0], many[-1]) for one, many in zip(alone, parameters, strict=True))


def test_scenes_match_the_recording(reference: Reference) -> None:
    recorded = reference("flying_animals_data")
    background, pictures, alpha = (
        np.rint(255 * recorded[key]).astype(np.uint8) for key in ("background", "textures", "object_masks")
    )
    there = alpha.any(axis=(1, 2, 3))  # the fifth animal is blank
    assert there.tolist() == [True] * 4 + [False]
    zoom, right, down = recorded["transforms"][:, [0, 2, 5]].T  # pixel p shows zoom * p + right, or down
    found = Parameters(
        number=np.array([4]),
        background=np.array([0]),
        animal=np.array([[0, 1, 2, 3, 0]]),
        zoom=zoom[None],
        dx=((WIDTH / 2 - right) / zoom - WIDTH / 2)[None],
        dy=((HEIGHT / 2 - down) / zoom - HEIGHT / 2)[None],
        brightness=np.append(recorded["brightness_bg"], recorded["brightness_fg"])[None],
    )
    images, masks = render(background[None], cut_out(pictures[there], alpha[there, ..., 0]), found)
    assert recorded["image"].max() > 1.2  # the original leaves it there; here images end at 1
    # Positions are float32 in both, and a rim goes from 0 to 1 within a pixel: hence no closer.
    np.testing.assert_allclose(images[0].permute(1, 2, 0), recorded["image"].clip(0, 1), rtol=0, atol=5e-5)
    np.testing.assert_allclose(masks[0].permute(1, 2, 0), recorded["masks"][..., 0, :], rtol=0, atol=5e-5)


def block(rows: slice, columns: slice, colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A picture with a block of one colour on white, and the block's mask."""
    picture, mask = np.full((HEIGHT, WIDTH, 3), 255, np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    picture[rows, columns], mask[rows, columns] = colour, 255
    return picture, mask


def blocks(factor: int = 1) -> tuple[np.ndarray, Animals]:
    """Two grey backgrounds, and a red block of 40x20 and a blue one of 20x60 px in the middle of their pictures."""
    red = block(slice(76, 116), slice(118, 138), (204, 0, 0))
    blue = block(slice(86, 106), slice(98, 158), (0, 0, 204))
    grey = np.stack([np.full((HEIGHT, WIDTH, 3), level, np.uint8) for level in (51, 102)])
    pictures, alpha = reduced(np.stack([red[0], blue[0]]), np.stack([red[1], blue[1]]), factor)
    return grey[:, ::factor, ::factor], cut_out(pictures, alpha)


def one_scene(
    number: int, dx: list[float], dy: list[float], zoom: float = 1.0, added: float = 0.0, factor: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    parameters = Parameters(
        number=np.array([number]),
        background=np.array([1]),
        animal=np.array([[0, 1]]),
        zoom=np.full((1, 2), zoom),
        dx=np.array([dx]),
        dy=np.array([dy]),
        brightness=np.array([[0.0, added, 0.0]]),
    )
    images, masks = render(*blocks(factor), parameters)
    return images[0], masks[0]


def test_animals_move_right_and_down_and_show_their_brightness() -> None:
    image, masks = one_scene(1, [20.0, 0], [-30.0, 0], added=0.1)
    rows, columns = np.nonzero(masks[1].numpy())
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (46, 85, 138, 157)
    torch.testing.assert_close(image[:, 60, 150], torch.tensor([0.9, 0.1, 0.1]))
    torch.testing.assert_close(image[:, 0, 0], torch.full((3,), 0.4))
    assert masks[2].max() == 0


def test_a_larger_zoom_makes_smaller() -> None:
    for zoom in (0.9, 1.2):
        assert one_scene(1, [10.0, 0], [5.0, 0], zoom)[1][1].sum() == pytest.approx(40 * 20 / zoom**2, rel=0.01)


def test_the_first_animal_is_in_front() -> None:
    _, masks = one_scene(2, [0.0, 0.0], [0.0, 0.0])
    assert masks[1].sum() == 40 * 20
    assert masks[2].sum() == 20 * 60 - 20 * 20  # they cross
    assert masks[0].sum() == HEIGHT * WIDTH - 40 * 20 - 20 * 60 + 20 * 20


def test_an_animal_on_the_border_is_cut() -> None:
    _, masks = one_scene(1, [-128.0, 0], [96.0, 0])  # its middle comes to lie in the lower left corner
    assert masks[1].sum() == 20 * 10
    assert masks[1, -20:, :10].min() == 1


def test_half_the_size_shows_the_same() -> None:
    _, masks = one_scene(2, [20.0, -31.0], [-30.0, 40.0])
    small_image, small_masks = one_scene(2, [20.0, -31.0], [-30.0, 40.0], factor=2)
    assert small_image.shape == (3, 96, 128)
    torch.testing.assert_close(small_masks.sum((1, 2)), masks.sum((1, 2)) / 4, rtol=0.01, atol=0)
    for mask, small in zip(masks, small_masks, strict=True):
        for axis in (0, 1):
            at, small_at = (np.average(np.arange(m.shape[axis]), weights=m.sum(1 - axis).numpy()) for m in (mask, small))
            assert (small_at + 0.5) * 2 == pytest.approx(at + 0.5, abs=0.6)
    inside = small_masks[1] > 0.999
    assert inside.sum() > 100
    red = torch.tensor([[0.8], [0], [0]]).expand(3, int(inside.sum()))
    torch.testing.assert_close(small_image[:, inside], red, rtol=0, atol=1e-3)


def test_reduction_keeps_what_lies_around_out_of_the_rim() -> None:
    picture = np.array([[[200, 0, 0], [0, 0, 0], [10, 20, 30], [30, 40, 50]]] * 2, np.uint8)[None]
    mask = np.array([[[255, 0, 0, 0]] * 2], np.uint8)
    pictures, alpha = reduced(picture, mask, 2)
    assert pictures.tolist() == [[[[200, 0, 0], [20, 30, 40]]]]  # the animal's own colour; the mean where there is none
    assert alpha.tolist() == [[[128, 0]]]
    same = reduced(picture, mask, 1)
    assert np.array_equal(same[0], picture) and np.array_equal(same[1], mask)


def test_factors_are_the_parameters_and_places_of_the_animals() -> None:
    scenes = composed_scenes("flying_animals", 0, "train", *blocks(), source="blocks")
    factors, masks = scenes.factors(range(50)), scenes(range(50)).masks
    drawn = draw_parameters(scene_keys(0, "train", range(50)), 2, 2)
    present = np.arange(5) < drawn.number[:, None]
    for name, expected in ("scale", 1 / drawn.zoom), ("brightness", drawn.brightness[:, 1:]):
        assert np.array_equal(factors[name][present], expected[present]) and np.isnan(factors[name][~present]).all()
    hue = np.where(drawn.animal == 0, 0, 4 / 6)  # of red and blue
    np.testing.assert_allclose(factors["hue_sin"][present], np.sin(2 * np.pi * hue)[present], atol=1e-12)
    nearest = masks[:, 1].double().numpy()
    inside = (nearest[:, [0, -1]].max(axis=(1, 2)) == 0) & (nearest[:, :, [0, -1]].max(axis=(1, 2)) == 0)
    assert inside.sum() > 30
    for name, axis in ("row", 2), ("column", 1):
        mass = nearest[inside].sum(axis)
        middle = mass @ (np.arange(mass.shape[1]) + 0.5) / mass.sum(1)
        np.testing.assert_allclose(factors[name][inside, 0], middle, rtol=0, atol=0.1)
