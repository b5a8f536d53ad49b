import dataclasses
from functools import partial

import numpy as np
import pytest
import torch

from intarsia.masks import (
    background_last,
    background_last_order,
    downsample,
    edge_map,
    mattes,
    normalise_contrast,
    open_masks,
    partition,
    signed_edge_map,
    upsample,
    visible_shapes,
    weight_objects,
)
from intarsia.model import Model
from intarsia.recipes import RECIPES

THRESHOLDS = {"multi_texture": 0.5, "multi_dsprites": 0.0001, "objects_room": 0.2}

both_rules = pytest.mark.parametrize("edges", [partial(edge_map, threshold=0.3), signed_edge_map], ids=["map", "signed"])


def grey(rows) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32).expand(1, 3, -1, -1)


def eight_bit(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random multiples of 1/256, so that all sums are exact."""
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed)) / 256


def channels_first(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).movedim(-1, 1)


def test_a_step_between_two_columns_by_hand():
    step = grey([[0, 0, 1, 1]] * 4)  # dx = x[j+1] - x[j-1], 4 times, mirrored borders: 0 4 4 0
    expected = torch.zeros(1, 2, 4, 4)
    expected[:, 1, :, 1:3] = 1
    assert torch.equal(edge_map(step, 0.5), expected)
    assert torch.equal(edge_map(step.mT, 0.5), expected.flip(1).mT)
    assert torch.equal(signed_edge_map(step), expected)


def test_borders_are_mirrored_by_hand():
    border = grey([[1, 0, 0, 0]] * 4)  # dx: x[1] - x[1] = 0, x[2] - x[0] = -1, 0, 0
    for edges in (edge_map(border, 0.5), signed_edge_map(border)):
        assert edges[0, 1].tolist() == [[0, 1, 0, 0]] * 4
        assert not edges[0, 0].any()


def test_each_direction_has_its_own_maximum_by_hand():
    step = grey([[0, 0, 1, 1]] * 4)
    dy, dx = edge_map(step + step.mT / 8, 0.5)[0]  # |dx| up to 4, |dy| up to 4 / 8
    assert dx.tolist() == [[0, 1, 1, 0]] * 4
    assert torch.equal(dy, dx.mT)


def test_the_threshold_is_strict_by_hand():
    ramp = grey([[0, 0, 0.5, 1, 1]] * 5)  # of the strongest dx: 0 1/2 1 1/2 0
    assert edge_map(ramp, 0.5)[0, 1].tolist() == [[0, 0, 1, 0, 0]] * 5
    assert edge_map(ramp, 0.49)[0, 1].tolist() == [[0, 1, 1, 1, 0]] * 5
    assert signed_edge_map(ramp, 0.4)[0, 1].tolist() == [[0, 0, 1, 0, 0]] * 5  # 3 colours * 4 * (0.5, 1) / 15 = 0.4, 0.8
    assert signed_edge_map(ramp, 0.39)[0, 1].tolist() == [[0, 1, 1, 1, 0]] * 5


def test_one_bright_pixel_by_hand():
    images = torch.zeros(1, 3, 5, 5)
    images[0, 1, 2, 2] = 1  # |dy| around it: 1 2 1, 0 0 0, 1 2 1
    dy = edge_map(images, 0.5)[0, 0]
    assert dy.nonzero().tolist() == [[1, 2], [3, 2]]
    assert edge_map(images, 0.4)[0, 0].nonzero().tolist() == [[1, 1], [1, 2], [1, 3], [3, 1], [3, 2], [3, 3]]


def test_only_the_signed_rule_lets_colours_cancel_and_sees_contrast():
    step = grey([[0, 0, 1, 1]] * 4)
    opposite = torch.stack((step[0, 0], 1 - step[0, 0], torch.zeros(4, 4)))[None]
    assert not signed_edge_map(opposite).any()
    assert torch.equal(edge_map(opposite, 0.5), edge_map(step, 0.5))
    faint, visible = step / 32, step / 16  # 12/32/15 = 0.025, 12/16/15 = 0.05
    assert not signed_edge_map(faint).any()
    assert torch.equal(signed_edge_map(visible), signed_edge_map(step))


def test_neither_contrast_nor_brightness_matters_to_edge_map():
    images = eight_bit(2, 3, 16, 12)
    assert 0.1 < edge_map(images, 0.3).mean() < 0.9
    assert torch.equal(edge_map(images / 4 + 0.5, 0.3), edge_map(images, 0.3))


@both_rules
def test_transposing_the_image_exchanges_the_directions(edges):
    images = eight_bit(2, 3, 16, 12)
    assert torch.equal(edges(images.mT), edges(images).flip(1).mT)


@both_rules
@pytest.mark.parametrize("colour", [(0.0, 0.0, 0.0), (0.1, 0.7, 1 / 3)])
def test_a_constant_image_has_no_edges(edges, colour):
    images = torch.tensor(colour)[:, None, None].expand(2, 3, 9, 7)
    assert torch.equal(edges(images), torch.zeros(2, 2, 9, 7))


def test_rounding_errors_are_no_edges():
    stripes = torch.rand(1, 3, 1, 64, generator=torch.Generator().manual_seed(0)).expand(-1, -1, 64, -1)
    dy, dx = edge_map(stripes, 0.0001)[0]
    assert not dy.any()
    assert dx.mean() > 0.9


@both_rules
def test_images_of_a_batch_do_not_affect_each_other(edges):
    images = eight_bit(4, 3, 16, 16) * torch.tensor([1, 1 / 2, 1 / 8, 0])[:, None, None, None]
    assert torch.equal(edges(images), torch.cat([edges(image[None]) for image in images]))


@both_rules
def test_edges_are_binary_float32_without_gradient_also_under_autocast(edges):
    images = eight_bit(2, 3, 32, 32, seed=1)
    plain = edges(images.requires_grad_())
    assert plain.dtype == torch.float32 and not plain.requires_grad
    assert plain.unique().tolist() == [0, 1]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(edges(images), plain)


@pytest.mark.parametrize("dataset", THRESHOLDS)
def test_edge_map_is_the_originals(reference, dataset):
    recorded = reference("edge_maps_64")
    names = [key.removesuffix("/image") for key in recorded if key.startswith(dataset) and key.endswith("/image")]
    assert names == [f"{dataset}/random"]
    for name in names:
        edges = edge_map(channels_first(recorded[f"{name}/image"]), THRESHOLDS[dataset])
        assert torch.equal(edges, channels_first(recorded[f"{name}/edge"]).float()), name


def test_signed_edge_map_is_the_originals(reference):
    recorded = reference("edge_maps_flying")
    names = [key.removesuffix("/image") for key in recorded if key.endswith("/image")]
    assert len(names) == 2
    for name in names:
        edges = signed_edge_map(channels_first(recorded[f"{name}/image"]))
        assert torch.equal(edges, channels_first(recorded[f"{name}/edge"]).float()), name


@pytest.mark.parametrize("threshold", [0.03, 0.1, 0.25, 0.4])
def test_other_thresholds_agree_with_the_originals_sobel_response(reference, threshold):
    recorded = reference("sobel_normalize")
    images, response = channels_first(recorded["image"]), torch.from_numpy(recorded["sobel_dydx"]).double()
    strength = response.abs().sum(3)
    weakest, strongest = strength.amin((1, 2)), strength.amax((1, 2))
    expected = (strength - weakest) / (strongest - weakest) > threshold
    assert (edge_map(images, threshold) != expected.movedim(-1, 1)).sum() <= 4  # float64 rounds ties differently
    expected = response.sum(3).abs() / 15 > threshold
    assert (signed_edge_map(images, threshold) != expected.movedim(-1, 1)).sum() <= 8


def recorded_masks(array: np.ndarray) -> torch.Tensor:
    """Masks `b h w 1 k` to `b k h w`."""
    return torch.from_numpy(array).squeeze(3).permute(0, 3, 1, 2).float()


def test_objects_weigh_more_than_the_background():
    """The first segment is the largest. With weight 2 a pixel is its own only where it is twice as likely as an object."""
    masks = torch.tensor([[0.9, 0.6, 0.6, 0.5], [0.1, 0.3, 0.4, 0.25], [0.0, 0.1, 0.0, 0.25]]).view(1, 3, 2, 2)
    found = weight_objects(masks, 2.0)
    assert found.argmax(1).flatten().tolist() == [0, 0, 1, 0]
    by_hand = torch.tensor([[0.9 / 1.1, 0.6 / 1.4, 0.6 / 1.4, 0.5 / 1.5], [0.2 / 1.1, 0.6 / 1.4, 0.8 / 1.4, 0.5 / 1.5]])
    torch.testing.assert_close(found[0, :2].flatten(1), by_hand)
    torch.testing.assert_close(found.sum(1), torch.ones(1, 2, 2))
    other_order = weight_objects(masks[:, [2, 0, 1]], 2.0)  # the background has no place of its own
    torch.testing.assert_close(other_order, found[:, [2, 0, 1]])
    of_two = weight_objects(masks, 2.0, backgrounds=2)  # the second segment is background too
    torch.testing.assert_close(of_two[0, 1].flatten(), torch.tensor([0.1, 0.3 / 1.1, 0.4, 0.25 / 1.25]))


def test_a_model_weighs_objects_if_its_recipe_says_so():
    recipe = RECIPES["multi_texture"]["compact"]
    plain, weighing = (
        Model(dataclasses.replace(recipe, segmenter=dataclasses.replace(recipe.segmenter, votes=0, object_weight=weight)))
        for weight in (1.0, 3.0)
    )
    masks = torch.rand(2, 5, 64, 64, generator=torch.Generator().manual_seed(0)).softmax(1)
    images = torch.zeros(2, 3, 64, 64)
    assert torch.equal(plain.final_masks(masks, images), masks)
    assert torch.equal(weighing.final_masks(masks, images), weight_objects(masks, 3.0))


def test_opening_by_hand():
    """A square of 3x3 in the corner stays; a line two pixels wide goes; a dent in a plateau is not filled."""
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :3, :3] = 0.7
    mask[..., 6:, 4] = 1  # two pixels at the border: what is outside does not erode, but its neighbours do
    expected = torch.zeros(1, 1, 8, 8)
    expected[..., :3, :3] = 0.7
    assert torch.equal(open_masks(mask), expected)
    dented = torch.ones(1, 1, 7, 7)
    dented[..., 3, 3] = 0.25
    assert torch.equal(open_masks(dented), dented)


def test_opening_bounds():
    masks = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    once = open_masks(masks)
    assert (once <= masks).all() and (once < masks).any()
    assert torch.equal(open_masks(once), once)
    assert torch.equal(open_masks(masks[1:, 2:])[0, 0], once[1, 2])  # images and channels are kept apart
    everything = torch.ones(1, 1, 5, 5)
    assert torch.equal(open_masks(everything), everything)  # nor does the outside win at a border


def bar() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A white bar on grey of 0.2 whose borders cover 0.3 of a column on the left and 0.6 on the right: masks, image, fractions.

    The bar has both columns in the masks.
    """
    fractions = torch.zeros(8, 16)
    fractions[:, 5:11], fractions[:, 4], fractions[:, 11] = 1, 0.3, 0.6
    hard = (fractions > 0).float()
    return torch.stack([hard, 1 - hard])[None], (0.2 + 0.8 * fractions).expand(1, 3, 8, 16), fractions


def test_borders_of_objects_are_as_soft_as_the_images():
    masks, image, fractions = bar()
    found = mattes(masks, image)
    torch.testing.assert_close(found, torch.stack([fractions, 1 - fractions])[None])
    tinted = image * torch.tensor([1.0, 0.5, 0.0])[:, None, None]
    torch.testing.assert_close(mattes(masks, tinted), found)
    torch.testing.assert_close(mattes(0.5 * masks + 0.2, image), found)  # the largest mask counts


def test_a_border_between_objects_is_shared_by_them_and_pixels_of_the_background_stay():
    masks, image, fractions = bar()
    nothing = torch.zeros_like(masks[:, :1])
    bar_and_other, ground_and_bar = torch.cat([masks, nothing], 1), masks.flip(1)
    found = mattes(bar_and_other, image)
    torch.testing.assert_close(found[0, :2], torch.stack([fractions, 1 - fractions]))
    assert torch.equal(mattes(ground_and_bar, image), ground_and_bar)  # here the bar is the background


def test_a_pixel_beyond_both_colours_belongs_to_one_segment():
    masks, image, fractions = bar()
    image = image.clone()
    image[..., 4], image[..., 11] = 0.1, 1.2
    fractions[:, 4], fractions[:, 11] = 0, 1
    torch.testing.assert_close(mattes(masks, image)[0, 0], fractions)


def test_borders_stay_where_colours_are_alike_or_a_segment_has_no_core():
    masks, image, _ = bar()
    assert torch.equal(mattes(masks, 0.02 * image), masks)
    thin = torch.zeros(1, 2, 8, 16)
    thin[:, 0, :, 4:6] = 1
    thin[:, 1] = 1 - thin[:, 0]
    assert torch.equal(mattes(thin, image), thin)


def test_what_opening_removed_is_background():
    masks = torch.tensor([0.5, 0.2, 0.1])[None, :, None, None].expand(1, 3, 2, 2)
    assert partition(masks)[0, :, 0, 0].tolist() == pytest.approx([0.5, 0.2, 0.3])


def test_background_last_by_hand():
    """Channels 0, 1, 2 of constant value; the first image's largest is 1, the second's 0."""
    masks = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])[:, :, None, None].expand(2, 3, 4, 4)
    assert background_last(masks)[:, :, 0, 0].tolist() == torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.3, 0.6]]).tolist()
    # Over the batch channel 0 has 0.8 and wins.
    together = background_last(masks, per_batch=True)[:, :, 0, 0]
    assert together.tolist() == torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]]).tolist()
    assert torch.equal(background_last(masks[:1]), background_last(masks)[:1])  # company does not matter


def test_several_backgrounds_by_hand():
    """The two largest of four channels, added up; over the batch (.3 .7 .5 .5), as the original: the largest and the last."""
    masks = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.2, 0.5, 0.2, 0.1]])[:, :, None, None].expand(2, 4, 3, 3)
    each = background_last(masks, backgrounds=2)[:, :, 0, 0].tolist()
    assert each == [pytest.approx([0.1, 0.2, 0.7]), pytest.approx([0.2, 0.1, 0.7])]
    assert background_last_order(masks, backgrounds=2).tolist() == [[0, 1, 2, 3], [2, 3, 0, 1]]
    together = background_last(masks, per_batch=True, backgrounds=2)[:, :, 0, 0].tolist()
    assert together == [pytest.approx([0.1, 0.3, 0.6]), pytest.approx([0.2, 0.2, 0.6])]


def test_opening_and_background_are_the_originals(reference):
    recorded = reference("mask_ops")
    for kind in ("soft", "onehot"):
        masks = recorded_masks(recorded[kind])
        assert torch.equal(open_masks(masks), recorded_masks(recorded[f"{kind}_erode_dilate"]))
        assert torch.equal(background_last(masks, per_batch=True), recorded_masks(recorded[f"{kind}_reordered"]))
    both = background_last(open_masks(recorded_masks(recorded["soft"])), per_batch=True)
    assert torch.equal(both, recorded_masks(recorded["soft_erode_dilate_reordered"]))


def test_the_originals_way_to_stretch_and_to_make_smaller(reference):
    recorded = reference("sobel_normalize")
    expected = channels_first(recorded["normalized"])
    assert torch.allclose(normalise_contrast(channels_first(recorded["image"])), expected, atol=1e-6)
    recorded = reference("mask_ops")
    small = downsample(recorded_masks(recorded["flying"]), 2)
    assert torch.equal(small, recorded_masks(recorded["resized_half"]))
    assert torch.equal(upsample(small, 2)[..., :64, :64], recorded_masks(recorded["resized_half_back"]))
    assert torch.equal(downsample(upsample(small, 3), 3), small)


def test_a_colour_that_is_the_same_all_over_is_stretched_to_nothing():
    images = torch.full((2, 3, 2, 2), 0.25)
    images[1, 2] = torch.tensor([[0.2, 0.3], [0.25, 0.3]])
    found = normalise_contrast(images)
    assert not found[0].any() and not found[1, :2].any()
    assert torch.allclose(found[1, 2], torch.tensor([[0.0, 1.0], [0.5, 1.0]]), atol=1e-6)


def test_layers_by_hand():
    shapes = torch.tensor([[0.5, 1.0, 0.0, 0.6], [0.5, 0.4, 0.0, 0.3], [0.0, 0.4, 0.2, 0.3]])[:, None]
    expected = torch.tensor([[0.5, 1.0, 0.0, 0.6], [0.5, 0.0, 0.0, 0.3], [0.0, 0.0, 0.2, 0.1]])[:, None]
    assert torch.allclose(visible_shapes(shapes), expected)
    assert torch.allclose(visible_shapes(shapes.expand(2, 3, 1, 4)), expected.expand(2, 3, 1, 4))


def test_layers_of_shapes_apart_are_the_shapes():
    shapes = torch.rand(2, 5, 6, 6, generator=torch.Generator().manual_seed(0)).softmax(1)
    apart = 0.99 * shapes
    assert torch.equal(visible_shapes(apart), apart)
    over = visible_shapes(3 * shapes)
    assert (over >= 0).all() and over.sum(1).max() <= 1 + 1e-6
    assert torch.equal(over[:, :2], visible_shapes(3 * shapes[:, :2]))  # what lies behind does not matter
