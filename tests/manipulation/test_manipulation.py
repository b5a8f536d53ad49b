"""Edits, compositing and traversals; what searches for a code has a decoder made by hand to search in."""

import dataclasses
import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor, nn

from intarsia.errors import InputError
from intarsia.manipulation import (
    composite,
    copy,
    most_informative,
    move,
    placements,
    recolour,
    remove,
    reorder,
    scale,
    set_code,
    shift_code,
    swap_texture,
    to_back,
    to_front,
    traverse,
)
from intarsia.manipulation.compositing import REACH, changed_region, over
from intarsia.manipulation.layers import layers
from intarsia.model import Model
from intarsia.recipes.settings import Fusion, Inpainter, Recipe, Segmenter, Vae
from intarsia.rendering import Renderer
from intarsia.scene import Scene

TINY = Recipe(
    "multi_dsprites",
    height=32,
    width=64,
    segments=4,
    inpainter=Inpainter(channels=4),
    segmenter=Segmenter(channels=8, dimension=4),
    vae=Vae(channels=4, hidden=16, window=0),  # the decoders made here draw the whole image
    fusion=Fusion(channels=4),
)


class Discs(nn.Module):
    """A shape decoder: soft discs whose place and size lie somewhere among the numbers of a code, in no axis of it."""

    def __init__(self, dimension: int = 10) -> None:
        super().__init__()
        mixed = torch.randn(dimension, dimension, generator=Generator().manual_seed(0))
        self.mixing = torch.linalg.qr(mixed)[0]

    def forward(self, codes: Tensor) -> Tensor:
        x, y, size = (codes @ self.mixing)[:, :3].T[..., None, None]
        down, across = torch.meshgrid(torch.arange(32.0), torch.arange(64.0), indexing="ij")
        distance = ((across - 31.5 - 12 * x).square() + (down - 15.5 - 6 * y).square() + 1e-3).sqrt()
        return 2 * (5 * torch.exp(0.5 * size) - distance)[:, None]

    def code(self, x: float, y: float, radius: float = 5.0) -> Tensor:
        """Of a disc with its centre at a pixel."""
        plain = torch.zeros(len(self.mixing))
        plain[:3] = torch.tensor([(x - 31.5) / 12, (y - 15.5) / 6, 2 * math.log(radius / 5)])
        return self.mixing @ plain


class Paint(nn.Module):
    """A texture or background decoder: one colour, from the first three numbers of a code."""

    def forward(self, codes: Tensor) -> Tensor:
        return (2 * codes[:, :3, None, None]).expand(-1, -1, 32, 64)


@pytest.fixture(scope="module")
def model() -> Model:
    """With decoders made by hand; all else at random."""
    made = Model(TINY)
    made.autoencoder.shape.decoder = Discs()
    made.autoencoder.texture.decoder = Paint()
    made.autoencoder.background.decoder = Paint()
    return made


@pytest.fixture(scope="module")
def renderer(model: Model) -> Renderer:
    return Renderer(model)


def coloured(*numbers: float) -> Tensor:
    return torch.tensor([*numbers, 0.0, 0.0])


@pytest.fixture(scope="module")
def scene(renderer: Renderer) -> Scene:
    """Discs at (15, 16) in red, and (45, 16) in blue; the third object is outside the image."""
    discs = renderer.model.autoencoder.shape.decoder
    shape = torch.stack([discs.code(15, 16), discs.code(45, 16), discs.code(200, 16)])
    shapes = discs(shape)[:, 0].sigmoid()
    return Scene(
        image=torch.rand(3, 32, 64, generator=Generator().manual_seed(1)),
        masks=torch.cat([shapes, 1 - shapes.sum(0, keepdim=True)]),
        shape=shape,
        texture=torch.stack([coloured(1, -1, -1), coloured(-1, -1, 1), coloured(0, 0, 0)]),
        background=coloured(0.2, 0.2, 0.2),
        shape_kl=torch.arange(30.0).view(3, 10),
        texture_kl=torch.arange(15.0).view(3, 5),
        background_kl=torch.arange(5.0),
    )


def fields(scene: Scene) -> dict[str, Tensor]:
    return {item.name: getattr(scene, item.name) for item in dataclasses.fields(scene) if item.name != "origins"}


def assert_same(first: Scene, second: Scene, *but: str) -> None:
    assert first.origins == second.origins
    for name, value in fields(first).items():
        assert name in but or torch.equal(value, getattr(second, name)), name


@pytest.fixture(autouse=True)
def unchanged(scene: Scene):
    before = {name: value.clone() for name, value in fields(scene).items()}
    yield
    assert all(torch.equal(value, getattr(scene, name)) for name, value in before.items())


# Codes, objects, order.


def test_one_number_is_set_or_shifted(scene):
    changed = set_code(scene, "shape", 3, 1.5, object=1)
    assert_same(changed, scene, "shape")
    assert changed.shape[1, 3] == 1.5
    assert (changed.shape != scene.shape).sum() == 1
    changed = shift_code(scene, "texture", 0, -0.25, object=0)
    assert_same(changed, scene, "texture")
    assert changed.texture[0].tolist() == [0.75, -1, -1, 0, 0]
    changed = shift_code(scene, "background", 4, 2)
    assert_same(changed, scene, "background")
    assert changed.background[4] == 2
    assert_same(set_code(changed, "background", 4, 0), scene)


def test_removed_object_takes_its_rows_along(scene):
    left = remove(scene, 0)
    assert [len(value) for value in (left.masks, left.shape, left.texture, left.shape_kl)] == [3, 2, 2, 2]
    assert torch.equal(left.texture, scene.texture[1:])
    assert torch.equal(left.masks, scene.masks[1:])
    assert left.origins == scene.origins[1:]
    assert len(remove(remove(left, 0), 0).shape) == 0


def test_swapped_textures(scene):
    swapped = swap_texture(scene, 0, 1)
    assert_same(swapped, scene, "texture", "texture_kl")
    assert torch.equal(swapped.texture, scene.texture[[1, 0, 2]])
    assert torch.equal(swapped.texture_kl, scene.texture_kl[[1, 0, 2]])
    assert_same(swap_texture(swapped, 1, 0), scene)


def test_order(scene):
    assert torch.equal(to_front(scene, 2).shape, scene.shape[[2, 0, 1]])
    assert torch.equal(to_back(scene, 0).shape, scene.shape[[1, 2, 0]])
    turned = reorder(scene, [2, 1, 0])
    assert torch.equal(turned.masks, scene.masks[[2, 1, 0, 3]])
    assert_same(reorder(turned, [2, 1, 0]), scene)


def test_copy_takes_the_place_of_an_empty_object(renderer, scene):
    other = move(renderer, shift_code(scene, "texture", 0, -3, object=1), 1, 2, 0)
    copied = copy(renderer, scene, other, 1)
    assert torch.equal(copied.shape, scene.shape[[1, 0, 1]])
    assert torch.equal(copied.texture, torch.stack([other.texture[1], *scene.texture[:2]]))
    assert not copied.masks[0].any()
    assert copied.origins == (other.origins[1], *scene.origins[:2]) and copied.transform[0].tolist() == [1, 2, 0]
    with pytest.raises(InputError, match=r"no room for one more object: the model has 3 places\. Remove an object first"):
        copy(renderer, copied, other, 0)
    assert len(copy(renderer, remove(copied, 2), other, 0).shape) == 3


WRONG = {
    "There is no object 3; the scene holds objects 0 to 2": lambda scene: remove(scene, 3),
    "There is no object -1; the scene": lambda scene: to_front(scene, -1),
    "There is no object 7; the scene": lambda scene: swap_texture(scene, 0, 7),
    "There is no object None; the scene": lambda scene: set_code(scene, "shape", 0, 0.0),
    "There is no object 0; the scene holds no objects": lambda scene: to_back(remove(remove(remove(scene, 0), 0), 0), 0),
    "There is no dimension 10 of shape; choose one of 0 to 9": lambda scene: shift_code(scene, "shape", 10, 0.0, 1),
    "There is no dimension 5 of background; choose one of 0 to 4": lambda scene: set_code(scene, "background", 5, 0.0),
    "There is no part 'colour'; choose one of shape, texture, background": lambda scene: set_code(scene, "colour", 0, 0.0, 0),
    "The background's code belongs to no object": lambda scene: set_code(scene, "background", 0, 0.0, 0),
    "must name each of objects 0 to 2 once": lambda scene: reorder(scene, [0, 1, 1]),
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_not_there_is_named_with_what_is(said, scene):
    with pytest.raises(InputError) as error:
        WRONG[said](scene)
    assert said in str(error.value)


# Moving, scaling, colouring.


def places(renderer, scene):
    return placements(layers(renderer, scene).opacities)


def test_placement_of_a_square():
    mask = torch.zeros(2, 8, 10)
    mask[0, 2:4, 5:9] = 0.5
    square, nothing = placements(mask)
    assert square == (4, 6.5, 2.5)
    assert nothing.area == 0 and math.isnan(nothing.x)


@pytest.mark.parametrize(("dx", "dy"), [(5, 0), (-3, 4), (20, -5.5), (0.25, 0), (0, 0)])
@pytest.mark.parametrize("decoded", [False, True])
def test_object_moves_by_so_many_pixels(renderer, scene, dx, dy, decoded):
    start = shift_code(scene, "texture", 0, 0.1, 0) if decoded else scene
    moved = move(renderer, start, 0, dx, dy)
    assert_same(moved, start, "transform")
    before, after = places(renderer, start)[0], places(renderer, moved)[0]
    assert (after.x - before.x, after.y - before.y) == pytest.approx((dx, dy), abs=0.05)
    assert after.area == pytest.approx(before.area, rel=0.02)
    raw = [placements(renderer.shapes(each))[0] for each in (start, moved)]
    assert (raw[1].x - raw[0].x, raw[1].y - raw[0].y) == pytest.approx((dx, dy), abs=0.05)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.6])
def test_object_grows_about_its_centre(renderer, scene, factor):
    start = move(renderer, scene, 1, -3, 1.5)
    before, after = (places(renderer, each)[1] for each in (start, scale(renderer, start, 1, factor)))
    assert math.sqrt(after.area / before.area) == pytest.approx(factor, rel=0.02)
    assert after[1:] == pytest.approx(before[1:], abs=0.2)


def test_moves_and_changes_of_codes_commute(renderer, scene):
    there = set_code(move(renderer, move(renderer, scene, 0, 2.3, 1), 0, 3, -4.1), "texture", 1, 0.7, 0)
    here = move(renderer, set_code(scene, "texture", 1, 0.7, 0), 0, 5.3, -3.1)
    assert_same(there, here)
    assert torch.equal(composite(renderer, scene, there), composite(renderer, scene, here))


def test_object_comes_back_to_exactly_its_place(renderer, scene):
    away = scale(renderer, move(renderer, scene, 0, 0.1, 0.7), 0, 1.7)
    back = move(renderer, move(renderer, scale(renderer, away, 0, 1 / 1.7), 0, 0.2, 0), 0, -0.3, -0.7)
    assert torch.equal(composite(renderer, scene, back), scene.image)


@pytest.mark.parametrize("colour", [(0.2, 0.9, 0.5), (0.73, 0.27, 0.27)])
def test_object_takes_a_colour(renderer, scene, colour):
    painted = recolour(renderer, scene, 0, colour)
    assert_same(painted, scene, "texture")
    assert renderer.decode(painted).textures[0, :, 5, 5].tolist() == pytest.approx(colour, abs=0.02)
    assert torch.equal(painted.texture[:, 3:], scene.texture[:, 3:])  # numbers without effect stay
    assert torch.equal(painted.texture[1:], scene.texture[1:])


def test_codes_stay_plausible(renderer, scene):
    black = recolour(renderer, scene, 1, (0, 0, 0))
    assert black.texture[1].abs().max() <= 3


def test_search_works_with_the_real_decoder():
    real = Renderer(Model(TINY))
    scene = real.model.encode(torch.rand(3, 32, 64))
    scene = dataclasses.replace(scene, shape=torch.randn(3, 10, generator=Generator().manual_seed(0)))
    changed = recolour(real, scene, 0, (0.4, 0.5, 0.6))
    assert changed.texture.isfinite().all() and not changed.texture.requires_grad


def test_what_can_not_be_reached_for_is_refused(renderer, scene):
    for edit in (lambda: move(renderer, scene, 2, 1, 0), lambda: recolour(renderer, scene, 2, (0, 0, 0))):
        with pytest.raises(InputError, match="The object is empty"):
            edit()
    with pytest.raises(InputError, match="no object 3"):
        scale(renderer, scene, 3, 2)
    for factor in (0, 1e308, 10**310, math.nan, "2"):
        with pytest.raises(InputError, match=re.escape(f"The factor is {factor}; it must be from 0.01 to 100.")):
            scale(renderer, scene, 0, factor)
    for distance in (math.nan, 1e308, 10**310, "2", None):
        with pytest.raises(InputError, match=re.escape(f"The distance is ({distance}, 0); it must be two numbers")):
            move(renderer, scene, 0, distance, 0)
    for value in (math.inf, 10**310, "2", None):
        with pytest.raises(InputError, match=f"The value is {value}; it must be a finite number"):
            set_code(scene, "shape", 0, value, 0)
        with pytest.raises(InputError, match=f"The offset is {value}; it must be a finite number"):
            shift_code(scene, "shape", 0, value, 0)
    with pytest.raises(InputError, match=r"The colour is \(1000"):
        recolour(renderer, scene, 0, (10**310, 0, 0))
    with pytest.raises(InputError, match=r"The colour is \(2, 0, 0\)"):
        recolour(renderer, scene, 0, (2, 0, 0))


# Compositing.


EDITS = {
    "move": lambda renderer, scene: move(renderer, scene, 0, 2.5, -1),
    "scale": lambda renderer, scene: scale(renderer, scene, 0, 0.7),
    "shape": lambda renderer, scene: set_code(scene, "shape", 2, float(scene.shape[0, 2]) + 0.3, object=0),
    "texture": lambda renderer, scene: shift_code(scene, "texture", 0, 1, object=0),
    "remove": lambda renderer, scene: remove(scene, 0),
    "copy": lambda renderer, scene: move(renderer, copy(renderer, scene, scene, 0), 0, 3, 3),
}


@pytest.mark.parametrize("name", EDITS)
def test_pixels_that_an_edit_does_not_touch_stay_bit_by_bit(renderer, scene, name):
    edited = EDITS[name](renderer, scene)
    image = composite(renderer, scene, edited)
    assert image.shape == (3, 32, 64)
    assert torch.equal(image[:, :, 30:], scene.image[:, :, 30:])  # the other disc is there
    assert (image != scene.image).any()
    if name in ("shape", "texture"):  # what is decoded is what the fusion networks draw
        torch.testing.assert_close(image[:, 16, 15], renderer.render(edited)[:, 16, 15], atol=0.1, rtol=0)


def test_moved_object_is_its_own_pixels(renderer, scene):
    image = composite(renderer, scene, move(renderer, scene, 0, 7, 3))
    torch.testing.assert_close(image[:, 17:22, 20:25], scene.image[:, 14:19, 13:18])
    assert torch.equal(image, composite(renderer, scene, move(renderer, move(renderer, scene, 0, 4.5, 1), 0, 2.5, 2)))


def test_nobody_sees_where_an_object_stood(renderer, scene):
    """On a flat background nothing of it is left, whatever the decoded background looks like."""
    discs = scene.masks[:2, None] > 0.3
    image = torch.full((3, 32, 64), 0.3).where(~discs[0], 0.9).where(~discs[1], 0.1)
    flat = dataclasses.replace(scene, image=image, origins=None)
    for gone in (remove(flat, 0), move(renderer, flat, 0, 0, 60), scale(renderer, flat, 0, 0.01)):
        assert (composite(renderer, flat, gone)[:, :, :30] - 0.3).abs().max() < 0.005


def test_without_an_edit_the_image_is_the_one_given(renderer, scene):
    assert torch.equal(composite(renderer, scene, scene), scene.image)
    assert torch.equal(composite(renderer, scene, reorder(scene, [2, 1, 0])), scene.image)  # none hides another
    there_and_back = remove(copy(renderer, remove(scene, 2), scene, 0), 0)
    assert torch.equal(composite(renderer, scene, there_and_back), scene.image)


def test_twins_are_told_from_a_change(renderer, scene):
    twins = dataclasses.replace(scene, shape=scene.shape[[0, 0, 2]], texture=scene.texture[[0, 0, 2]], origins=None)
    assert torch.equal(composite(renderer, twins, twins), scene.image)


def test_order_changes_where_objects_overlap(renderer, scene):
    near = dataclasses.replace(scene, shape=torch.stack([scene.shape[0], Discs().code(21, 16), scene.shape[2]]))
    near = dataclasses.replace(near, origins=(None, None, None))  # decoded
    region = changed_region(renderer, near, to_back(near, 0))
    assert region[16, 18] > 0.9
    assert region[16, 11] < 0.01 and region[16, 25] < 0.01


def test_background_changes_behind_the_objects_alone(renderer, scene):
    image = composite(renderer, scene, shift_code(scene, "background", 0, 1))
    assert torch.equal(image[:, 16, 15], scene.image[:, 16, 15])
    assert not torch.equal(image[:, 2, 2], scene.image[:, 2, 2])


def test_removed_object_is_gone_as_far_as_its_mask_goes(renderer, scene):
    masks = scene.masks.clone()
    masks[0, 25:28, 25:28] = 1  # the decoded shape misses this
    region = changed_region(renderer, dataclasses.replace(scene, masks=masks), remove(scene, 0))
    assert region[26, 26] == 1


def test_scene_may_end_up_empty(renderer, scene):
    bare = remove(remove(remove(scene, 0), 0), 0)
    assert composite(renderer, scene, bare).shape == (3, 32, 64)
    assert torch.equal(composite(renderer, bare, bare), scene.image)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_over_keeps_what_is_beyond_its_reach(seed):
    rng = Generator().manual_seed(seed)
    image, changed = torch.rand(3, 16, 16, generator=rng), torch.rand(2, 3, 16, 16, generator=rng)
    region = torch.rand(2, 16, 16, generator=rng) * (torch.rand(2, 16, 16, generator=rng) > 0.98)
    shown, size = over(image, changed, region), 2 * REACH + 1
    near = nn.functional.max_pool2d((region > 0.1).float(), size, 1, REACH)[:, None].expand_as(shown) > 0
    assert torch.equal(shown[~near], image.expand_as(shown)[~near])
    inside = (region > 0.1)[:, None].expand_as(shown)
    torch.testing.assert_close(shown[inside], changed[inside])
    assert torch.equal(over(image, changed[0], region[0]), shown[0])


# Traversals.


def test_informative_dimensions_have_the_largest_divergence():
    kl = torch.tensor([0.1, 3, 0, 3, 5])
    assert most_informative(kl, 3) == [4, 1, 3]
    assert most_informative(kl, 5) == [4, 1, 3, 0, 2]
    for count in (0, 6):
        with pytest.raises(InputError, match=f"The number of dimensions is {count}; the code has 5"):
            most_informative(kl, count)


@pytest.mark.parametrize(("part", "object"), [("shape", 0), ("texture", 0), ("background", None)])
def test_traversal_adds_to_one_number(renderer, scene, part, object):
    offsets = torch.linspace(-1, 1, 5)
    raw = traverse(renderer, scene, part, 1, offsets, object, raw=True)
    assert raw.shape == (5, 3, 32, 64)
    changed = shift_code(scene, part, 1, 0.5, object)
    alone = traverse(renderer, changed, part, 1, torch.zeros(1), object, raw=True)
    torch.testing.assert_close(alone[0], raw[3])
    shown = traverse(renderer, scene, part, 1, offsets, object)
    kept = (shown == scene.image).all(1)
    assert torch.equal(kept[:, 16, 45], torch.tensor([True] * 5))  # the other object
    assert not kept[:, 16, 15].any() if object == 0 else kept[:, 16, 15].all()
    torch.testing.assert_close(shown[~kept.unsqueeze(1).expand_as(shown)].isfinite().all(), torch.tensor(True))


def test_traversal_of_a_scene_with_fewer_objects(renderer, scene):
    assert traverse(renderer, remove(scene, 2), "shape", 0, torch.zeros(2), 1).shape == (2, 3, 32, 64)
    with pytest.raises(InputError, match="There is no object 2"):
        traverse(renderer, remove(scene, 2), "shape", 0, torch.zeros(2), 2)
