from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import shift

from intarsia.data import open_dataset
from intarsia.data.multi_texture import Parameters, components, draw_parameters, render, shift_hue
from intarsia.data.pictures import draw as own
from intarsia.data.random import scene_keys
from intarsia.errors import InputError

Reference = Callable[[str], Mapping[str, np.ndarray]]
N = 20_000


@pytest.fixture(scope="module")
def parameters() -> Parameters:
    return draw_parameters(scene_keys(0, "train", range(N)))


def test_numbers_of_objects(parameters: Parameters) -> None:
    fraction = np.bincount(parameters.number, minlength=5) / N
    assert fraction == pytest.approx([0, 0.03, 0.07, 0.1, 0.8], abs=5 * np.sqrt(0.16 / N))
    assert fraction[0] == 0


def test_shapes_and_hues(parameters: Parameters) -> None:
    assert parameters.shape_index.mean() == pytest.approx(0.5, abs=0.01)
    assert set(np.unique(parameters.shape_index)) == {0, 1}
    assert parameters.hue.shape == (N, 5)
    assert np.abs(parameters.hue).max() == pytest.approx(0.45, abs=1e-3) and np.abs(parameters.hue).max() <= 0.45
    assert parameters.hue.var() == pytest.approx(0.9**2 / 12, rel=0.02)


def test_objects_keep_their_distance(parameters: Parameters) -> None:
    place = np.stack([parameters.dr, parameters.dc], axis=-1)
    distance = np.abs(place[:, :, None] - place[:, None]).sum(-1)[:, *np.triu_indices(4, 1)]
    assert distance.min() > 10
    assert distance.min() < 10.1  # and no more than that
    assert np.abs(place).max() <= 32
    assert place[:, 0].var() == pytest.approx(64**2 / 12, rel=0.03)


def test_redraws_do_not_depend_on_the_batch(parameters: Parameters) -> None:
    alone = draw_parameters(scene_keys(0, "train", [N - 1]))
    assert all(np.array_equal(one[0], many[-1]) for one, many in zip(alone, parameters, strict=True))


def one_object(shape: int, dr: float, dc: float) -> torch.Tensor:
    """The mask of a single object, `h w`."""
    place = (np.array([[value]]) for value in (dr, dc))
    return render(components(), np.array([1]), np.array([[shape]]), *place, np.zeros((1, 2))).masks[0, 1]


@pytest.mark.parametrize("name", ["ellipse_2.png", "square_2.png"])
@pytest.mark.parametrize(("dr", "dc"), [(0.0, 0.0), (5.0, -7.0), (0.5, 0.25), (-31.9, 31.9), (29.3, 8.7), (-32.0, 0.1)])
def test_shapes_move_as_scipys_spline_does(name: str, dr: float, dc: float) -> None:
    shape = own.PICTURES[name]() / 255
    expected = np.clip(shift(shape, (-dr, -dc), order=3, mode="constant"), 0, 1)
    mask = one_object(["ellipse_2.png", "square_2.png"].index(name), dr, dc)
    np.testing.assert_allclose(mask, expected, rtol=0, atol=2e-6)


def test_absent_objects_are_empty_and_the_nearest_is_fully_visible() -> None:
    number, shape = np.array([1, 2]), np.ones((2, 2), np.int64)
    masks = render(components(), number, shape, np.zeros((2, 2)), np.array([[0.0, 6], [0, 6]]), np.zeros((2, 3))).masks
    area = masks.sum((2, 3))
    # A square of 13 px; the second stands 6 px to the left of it, so 6 of its 13 columns are seen.
    torch.testing.assert_close(area[:, 1:], torch.tensor([[169.0, 0], [169, 78]]), rtol=0, atol=1e-2)


def test_objects_show_the_texture_of_their_place() -> None:
    texture = torch.from_numpy(own.tiling().transpose(2, 0, 1) / 255).float()
    for dr, dc in ((0.0, 0.0), (3.0, -9.0)):
        place = (np.array([[value]]) for value in (dr, dc))
        images, masks = render(components(), np.array([1]), np.array([[1]]), *place, np.zeros((1, 2)))
        inside = masks[0, 1] > 0.9999
        assert inside.sum() > 100
        torch.testing.assert_close(images[0][:, inside], texture[:, inside], rtol=0, atol=2e-4)


def test_hue_turns_red_into_green_and_blue_and_leaves_grey() -> None:
    colours = np.array([[1, 0, 0], [0.3, 0.3, 0.3], [0, 0, 0], [0.8, 0.4, 0.2]], np.float32)
    third = shift_hue(colours, np.array(1 / 3))
    np.testing.assert_allclose(third, [[0, 1, 0], [0.3, 0.3, 0.3], [0, 0, 0], [0.2, 0.8, 0.4]], atol=1e-6)
    np.testing.assert_allclose(shift_hue(third, np.array(-1 / 3)), colours, atol=1e-6)
    np.testing.assert_allclose(shift_hue(colours, np.array(1.0)), colours, atol=2e-6)


def test_hue_matches_the_recording(reference: Reference) -> None:
    recorded = reference("resize_hue")
    cases = [key for key in recorded if key.startswith(("hue_-", "hue_+"))]
    assert len(cases) == 5
    for case in cases:
        turned = shift_hue(recorded["hue_in"], np.array(float(case.removeprefix("hue_"))))
        np.testing.assert_allclose(turned, recorded[case], rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["multi_texture_data_default", "multi_texture_data_pc"])
def test_scenes_match_the_recording(reference: Reference, original_pictures: Path, name: str) -> None:
    recorded = reference(name)
    drawn = [recorded[key] for key in ("shape_index", "dr", "dc", "hue")]
    number = recorded.get("number", np.full(len(drawn[0]), 2))
    images, masks = render(components(original_pictures / "multi_texture"), number, *drawn)
    rows, columns = recorded["places"].T
    np.testing.assert_allclose(images.permute(0, 2, 3, 1)[:, rows, columns], recorded["image"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(masks.permute(0, 2, 3, 1)[:, rows, columns], recorded["masks"][..., 0, :], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", own.PICTURES)
def test_the_shipped_pictures_are_those_that_are_drawn(name: str) -> None:
    with Image.open(Path(own.__file__).with_name(name)) as shipped:
        assert np.array_equal(np.asarray(shipped), own.PICTURES[name]())


def test_pictures_can_come_from_a_folder(tmp_path: Path) -> None:
    for name, picture in own.PICTURES.items():
        Image.fromarray(255 - picture() if name == "bg.png" else picture()).save(tmp_path / name)
    there = open_dataset("multi_texture", data_root=tmp_path)([0])
    here = open_dataset("multi_texture")([0])
    assert torch.equal(there.masks, here.masks) and not torch.equal(there.images, here.images)


def test_bad_pictures_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file .*bg\.png; a 64x64 picture"):
        open_dataset("multi_texture", data_root=tmp_path)
    Image.new("RGB", (32, 64)).save(tmp_path / "bg.png")
    with pytest.raises(InputError, match=r"bg\.png is 32x64; a 64x64 picture"):
        open_dataset("multi_texture", data_root=tmp_path)
    (tmp_path / "bg.png").write_text("no picture")
    with pytest.raises(InputError, match=r"bg\.png can't be read"):
        open_dataset("multi_texture", data_root=tmp_path)


def test_factors_are_the_parameters(parameters: Parameters) -> None:
    factors = open_dataset("multi_texture").factors(range(N))
    present = np.arange(4) < parameters.number[:, None]
    np.testing.assert_allclose(
        np.arctan2(factors["hue_sin"], factors["hue_cos"])[present], 2 * np.pi * parameters.hue[:, 1:][present]
    )
    assert np.array_equal(factors["square"][present], parameters.shape_index[present])
    assert np.isnan(factors["square"][~present]).all()
