"""Edits at the size of the picture that was given, against the picture drawn that way."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.manipulation import composite, enlarging
from intarsia.manipulation.enlarging import Bytes, Original, Region, at_once, enlarged_labels
from intarsia.manipulation.full_size import FullSize
from intarsia.manipulation.history import Edit, Move, Order, Recolour, Remove, Scale
from intarsia.manipulation.replay import begin, copied, replay
from intarsia.model import load
from intarsia.rendering import Memo, Renderer
from intarsia.scene import Scene

SIDE, SMALL = 512, 64  # px
FACTOR = SIDE // SMALL


def drawn(right: float = 0, down: float = 0, with_ellipse: bool = True, size: float = 1) -> tuple[Bytes, Bytes]:
    """A striped ellipse, moved by so many pixels and scaled, a square, and a background of slowly changing colour; its labels.

    The square is in front.
    """
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    pixels = np.stack([50 + 20 * x / SIDE, 90 + 0 * x, 130 - 20 * y / SIDE], -1)
    labels = np.zeros((SIDE, SIDE), np.uint8)
    u, v = (x - 190 - right) / size, (y - 200 - down) / size
    ellipse = (u / 66) ** 2 + (v / 45) ** 2 < 1
    if with_ellipse:
        pixels[ellipse] = np.where((u // 4 % 8 < 1)[..., None], [240, 120, 80], [215, 75, 50])[ellipse]
        labels[ellipse] = 1
    square = abs(x - 360) + abs(y - 330) < 75
    pixels[square], labels[square] = [80, 205, 80], 2
    return pixels.round().astype(np.uint8), labels


def psnr(first: np.ndarray, second: np.ndarray, where: np.ndarray) -> float:
    error = np.square(first.astype(float) - second)[where].mean()
    return float(10 * np.log10(255**2 / max(error, 1e-3)))


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(load("multi_dsprites", device="cpu"), Memo())


def encoded(renderer: Renderer, pixels: Bytes) -> Scene:
    small = np.asarray(Image.fromarray(pixels).resize((SMALL, SMALL), Image.Resampling.BICUBIC), np.float32) / 255
    return renderer.model.encode(torch.from_numpy(small).permute(2, 0, 1))


@pytest.fixture(scope="module")
def scene(renderer: Renderer) -> Scene:
    return encoded(renderer, drawn()[0])


@pytest.fixture(scope="module")
def number(scene: Scene) -> Callable[[int], int]:
    """The number of the object that the scene has where a label is."""
    small = torch.from_numpy(drawn()[1][FACTOR // 2 :: FACTOR, FACTOR // 2 :: FACTOR].astype(np.int64))
    return lambda label: 1 + int((scene.masks[:-1] * (small == label)).sum((1, 2)).argmax())


def full(renderer: Renderer, scene: Scene, edits: list[Edit], original: Original | None = None) -> FullSize:
    return FullSize(
        renderer, scene, replay(renderer, begin(scene), edits), original or Original.whole(drawn()[0], (SMALL, SMALL))
    )


def test_without_edits_nothing_changes(renderer: Renderer, scene: Scene) -> None:
    assert (at_once(full(renderer, scene, []).drawn()) == drawn()[0]).all()


@pytest.mark.parametrize(("right", "down"), [(12.0, -9.0), (0.5, 10.25)])
def test_moved_object_keeps_the_pictures_own_pixels(
    renderer: Renderer, scene: Scene, number: Callable[[int], int], right: float, down: float
) -> None:
    shown = at_once(full(renderer, scene, [Move(number(1), right, down), Order(number(1), len(scene.shape) - 1)]).drawn())
    truth, labels = drawn(right * FACTOR, down * FACTOR)
    was, now = drawn()[1] == 1, labels == 1
    assert psnr(shown, truth, now) > 35
    assert psnr(shown, truth, was & ~now) > 40
    assert psnr(shown, truth, labels >= 0) > 40
    far = np.ones((SIDE, SIDE), bool)
    for place in (was, now):
        rows, columns = np.flatnonzero(place.any(1)), np.flatnonzero(place.any(0))
        far[rows[0] - 64 : rows[-1] + 64, columns[0] - 64 : columns[-1] + 64] = False
    assert far.any() and (shown == drawn()[0])[far].all()


def test_scaled_and_removed_objects(renderer: Renderer, scene: Scene, number: Callable[[int], int]) -> None:
    for factor in (0.5, 1.25):
        shown = at_once(full(renderer, scene, [Scale(number(1), factor)]).drawn())
        truth, labels = drawn(size=factor)
        assert psnr(shown, truth, labels == 1) > 20  # the model's centre of mass is off by a part of its pixel
        assert psnr(shown, truth, labels >= 0) > 35
    assert psnr(at_once(full(renderer, scene, [Remove(number(1))]).drawn()), drawn(with_ellipse=False)[0], np.s_[:]) > 40


def test_copy_is_made_of_the_picture(renderer: Renderer, scene: Scene, number: Callable[[int], int]) -> None:
    row = number(1) - 1
    spare = next(each for each in range(1, len(scene.shape) + 1) if each not in (number(1), number(2)))
    copy = len(scene.shape) + 1
    edits = [Remove(spare), copied(renderer, scene, row), Move(copy, 10.0, -12.0)]
    shown = at_once(full(renderer, scene, edits).drawn())
    truth, labels = drawn(10 * FACTOR, -12 * FACTOR)
    assert psnr(shown, truth, labels == 1) > 35
    assert psnr(shown, drawn()[0], (drawn()[1] == 1) & (labels != 1)) > 40  # the other one stays


def test_changed_object_is_decoded_and_enlarged(renderer: Renderer, scene: Scene, number: Callable[[int], int]) -> None:
    edit = Recolour(number(1), "#2030e0")
    shown = at_once(full(renderer, scene, [edit]).drawn())
    small = composite(renderer, scene, replay(renderer, begin(scene), [edit]).scene).permute(1, 2, 0).numpy() * 255
    inside = np.zeros((SMALL, SMALL), bool)
    inside[22:28, 20:28] = True
    assert abs(shown[4::8, 4::8][inside] - small[inside]).max() < 12


def test_labels_follow_the_picture(renderer: Renderer, scene: Scene, number: Callable[[int], int]) -> None:
    truth = drawn()[1]
    found = at_once(full(renderer, scene, []).labels())
    by_masks = at_once(
        enlarged_labels(Original.whole(drawn()[0], (SMALL, SMALL)), scene.image, renderer.model.segment(scene.image))
    )
    for label in (1, 2):
        mask = np.asarray(Image.fromarray((scene.masks[number(label) - 1] > 0.5).numpy()).resize((SIDE, SIDE)))
        best = max((by_masks == each for each in range(6)), key=lambda each: overlap(each, truth == label))
        assert overlap(mask, truth == label) < 0.95
        assert overlap(found == number(label), truth == label) > 0.98
        assert overlap(best, truth == label) > 0.98


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def test_cutout_is_the_object_alone(renderer: Renderer, scene: Scene, number: Callable[[int], int]) -> None:
    found = at_once(full(renderer, scene, []).cutout(number(1) - 1))
    assert found is not None
    whole = np.zeros((SIDE, SIDE, 4), np.uint8)
    height, width = found.pixels.shape[:2]
    whole[found.top : found.top + height, found.left : found.left + width] = found.pixels
    assert overlap(whole[..., 3] > 127, drawn()[1] == 1) > 0.98
    opaque = whole[..., 3] == 255
    assert psnr(whole[..., :3], drawn()[0], opaque) > 45
    away = full(renderer, scene, [Move(number(1), -64.0, 0.0)])
    assert at_once(away.cutout(number(1) - 1)) is None


def test_region_is_all_that_changes(renderer: Renderer, scene: Scene, number: Callable[[int], int]) -> None:
    """A picture of which the model saw a part is that part edited, with the rest of the picture around."""
    rng = np.random.default_rng(0)
    around = rng.integers(0, 256, (SIDE + 70, SIDE + 90, 3), np.uint8)
    place = np.s_[30 : 30 + SIDE, 20 : 20 + SIDE]
    around[place] = drawn()[0]
    edits: list[Edit] = [Move(number(1), 7.0, 3.0), Remove(number(2))]
    part = full(renderer, scene, edits, Original(around, Region(20, 30, 20 + SIDE, 30 + SIDE), (SMALL, SMALL)))
    alone, shown = full(renderer, scene, edits), at_once(part.drawn())
    assert (abs(shown[place].astype(int) - at_once(alone.drawn())) <= 1).all()
    assert (at_once(part.labels())[place] == at_once(alone.labels())).mean() > 0.9999
    outside = np.ones(shown.shape[:2], bool)
    outside[place] = False
    assert (shown[outside] == around[outside]).all() and not at_once(part.labels())[outside].any()


def test_region_may_reach_beyond_the_picture(renderer: Renderer, scene: Scene, number: Callable[[int], int]) -> None:
    cut = np.ascontiguousarray(drawn()[0][:400, 100:])
    shown = at_once(
        full(renderer, scene, [Remove(number(1))], Original(cut, Region(-100, 0, SIDE - 100, SIDE), (SMALL, SMALL))).drawn()
    )
    assert psnr(shown, drawn(with_ellipse=False)[0][:400, 100:], np.s_[:]) > 40


def test_picture_of_the_models_size_is_the_composite(renderer: Renderer, scene: Scene, number: Callable[[int], int]) -> None:
    pixels = (scene.image.permute(1, 2, 0) * 255).round().byte().numpy()
    edited = replay(renderer, begin(scene), [Move(number(1), 3.5, 1.0)])
    shown = at_once(FullSize(renderer, scene, edited, Original.whole(pixels, (SMALL, SMALL))).drawn())
    assert (shown == (composite(renderer, scene, edited.scene) * 255).round().byte().permute(1, 2, 0).numpy()).all()


def test_result_does_not_depend_on_the_strips(
    renderer: Renderer, scene: Scene, number: Callable[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = full(renderer, scene, [Move(number(1), 2.5, 1.0), Scale(number(2), 0.6)])
    whole = at_once(made.drawn())
    monkeypatch.setattr(enlarging, "STRIP", 3000)
    steps = list(made.drawn())
    assert len(steps) > 20
    assert (abs(at_once(made.drawn()).astype(int) - whole) <= 1).all()
