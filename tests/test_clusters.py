"""Clusters of an image's own pixels, and their votes on masks."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Generator

from intarsia.clusters import connected_pieces, one_piece_each, snap_to_colours, vote
from intarsia.model import Model
from intarsia.recipes import RECIPES
from intarsia.shapes import one_hot


def squares(noise: float = 0.02) -> tuple[torch.Tensor, torch.Tensor]:
    """An image of a grey ground with a red and a blue square, and the labels of its pixels."""
    labels = torch.zeros(1, 32, 32, dtype=torch.long)
    labels[0, 4:14, 4:14], labels[0, 18:28, 16:28] = 1, 2
    colours = torch.tensor([[0.5, 0.5, 0.5], [0.9, 0.1, 0.1], [0.1, 0.1, 0.9]])
    pixels = noise * torch.rand(1, 3, 32, 32, generator=Generator().manual_seed(0))
    return colours[labels].permute(0, 3, 1, 2) + pixels, labels


def test_pieces_of_one_label_that_do_not_touch_are_told_apart():
    labels = np.array([[0, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 0]])
    assert connected_pieces(labels).tolist() == [[0, 0, 2, 1], [0, 2, 2, 1], [3, 1, 1, 1]]


def in_pieces() -> torch.Tensor:
    """Labels of a ground that a wall cuts in two, an object in three pieces of 36, 16 and 3 pixels, and another object."""
    labels = torch.zeros(1, 32, 32, dtype=torch.long)
    labels[0, :, 20:24] = 1
    labels[0, 2:8, 2:8] = labels[0, 12:16, 2:6] = labels[0, 20, 2:5] = 2
    labels[0, 22:30, 10:18] = 3
    return labels


def test_the_larger_pieces_of_an_object_move_to_empty_segments():
    labels = in_pieces()
    apart = labels.clone()
    apart[0, 12:16, 2:6] = 4
    assert torch.equal(one_piece_each(one_hot(labels, 5), backgrounds=2), one_hot(apart, 5))
    assert torch.equal(one_piece_each(one_hot(labels, 4), backgrounds=2), one_hot(labels, 4))  # no segment is empty
    both = one_piece_each(one_hot(labels, 6), backgrounds=1)  # then the wall cuts nothing, as it is in one piece itself
    assert torch.equal(both, one_hot(apart, 6))


def test_the_largest_piece_gets_the_only_empty_segment():
    labels = in_pieces()
    labels[0, 10:15, 10:15] = 3
    apart = labels.clone()
    apart[0, 10:15, 10:15] = 4  # 25 pixels, and 16 of the other object
    assert torch.equal(one_piece_each(one_hot(labels, 5), backgrounds=2), one_hot(apart, 5))


def test_faint_masks_move_with_the_piece_that_they_are_nearest_to():
    labels = in_pieces()
    masks = 0.9 * one_hot(labels, 5)
    masks[:, 2] += 0.1  # the object is faintly everywhere
    found = one_piece_each(masks, backgrounds=2)
    assert torch.allclose(found.sum(1), torch.ones(1, 32, 32)) and torch.equal(found[:, :2], masks[:, :2])
    assert found[0, 4, 13, 9] == masks[0, 2, 13, 9] and found[0, 2, 13, 9] == 0
    assert found[0, 2, 4, 9] == masks[0, 2, 4, 9] and found[0, 4, 4, 9] == 0


def test_a_model_separates_pieces_if_its_recipe_says_so():
    recipe = RECIPES["multi_texture"]["compact"]
    together, apart = (
        Model(dataclasses.replace(recipe, segmenter=dataclasses.replace(recipe.segmenter, votes=0, one_piece=one_piece)))
        for one_piece in (False, True)
    )
    masks = one_hot(in_pieces(), 5).repeat_interleave(2, 2).repeat_interleave(2, 3)
    images = torch.zeros(1, 3, 64, 64)
    assert torch.equal(together.final_masks(masks, images), masks)
    separated = apart.final_masks(masks, images)
    assert torch.equal(separated, one_piece_each(masks, 1)) and not torch.equal(separated, masks)


def test_votes_give_masks_the_borders_of_the_colours():
    image, labels = squares()
    masks = one_hot(labels.roll((1, -1), (1, 2)), 3)  # a pixel too far down and to the left
    found = vote(masks, image, clusters=3, votes=2)
    assert torch.equal(found, one_hot(labels, 3))


def test_rows_of_mixed_colours_do_not_vote_for_themselves():
    """A square on a ground of another colour, with a rim of the mean colour that a third segment has taken."""
    image, truth = torch.zeros(1, 3, 20, 20), torch.zeros(1, 20, 20, dtype=torch.long)
    image[..., 4:16, 4:16], image[..., 5:15, 5:15] = 0.5, 1.0
    truth[:, 4:16, 4:16] = 1
    with_rim = truth.clone()
    with_rim[:, 4:16, 4:16] = 2
    with_rim[:, 5:15, 5:15] = 1
    masks = one_hot(with_rim, 3)
    assert torch.equal(vote(masks, image, clusters=3, votes=1), masks)
    assert torch.equal(vote(masks, image, clusters=3, votes=1, mixed_borders=True), one_hot(truth, 3))


def test_voted_masks_sum_to_one_and_are_the_same_every_time():
    rng = Generator().manual_seed(0)
    masks, image = torch.rand(2, 4, 16, 16, generator=rng).softmax(1), torch.rand(2, 3, 16, 16, generator=rng)
    found = vote(masks, image, clusters=5, votes=3)
    assert torch.allclose(found.sum(1), torch.ones(2, 16, 16)) and torch.equal(found, vote(masks, image, clusters=5, votes=3))


def test_an_image_of_one_colour_goes_to_the_largest_segment():
    masks = torch.full((1, 2, 8, 8), 0.4)
    masks[:, 1] = 0.6
    assert torch.equal(vote(masks, torch.zeros(1, 3, 8, 8), clusters=8, votes=1)[0, 1], torch.ones(8, 8))


def test_a_model_lets_pixels_vote_as_often_as_its_recipe_says():
    recipe = RECIPES["multi_texture"]["compact"]
    model, images = Model(recipe), torch.rand(2, 3, 64, 64, generator=Generator().manual_seed(0))
    plain = Model(dataclasses.replace(recipe, segmenter=dataclasses.replace(recipe.segmenter, votes=0)))
    masks = plain.segment(images)
    assert torch.equal(model.segment(images), vote(masks, images, recipe.segmenter.clusters, recipe.segmenter.votes))
    assert not torch.equal(model.segment(images), masks)


@pytest.mark.parametrize("window", [0, 8, 64])
def test_borders_snap_to_where_the_colours_change(window):
    image, labels = squares(noise=0.0)
    wide = labels.clone()
    wide[0, 2:16, 2:16], wide[0, 16:30, 14:30] = 1, 2  # both objects 2 px too large
    before, after = ((found != labels).sum() for found in (wide, snap_to_colours(wide, 3, image, 12, 3, window, seeds=[0])))
    assert before == 14 * 14 - 100 + 14 * 16 - 120 and after < before / 4
    # The mean over 3x3 pixels rounds corners.
    assert (snap_to_colours(labels, 3, image, 12, 3, window, seeds=[0]) != labels).sum() <= 8


def test_a_window_tells_what_is_common_around_a_pixel_from_what_is_common_in_the_image():
    """A square, found 2 px too large, on one of four fields: its rim has more of its colour than the whole ground has."""
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    labels[0, 10:22, 10:22] = 1
    fields = torch.tensor([[0.0, 0.2], [0.4, 0.6]]).repeat_interleave(32, 0).repeat_interleave(32, 1)
    image = torch.where(labels == 1, 1.0, fields)[None].repeat(1, 3, 1, 1)
    wide = labels.clone()
    wide[0, 8:24, 8:24] = 1
    wrong = {window: int((snap_to_colours(wide, 2, image, 12, 4, window, [0]) != labels).sum()) for window in (0, 16, 64)}
    assert wrong[0] == wrong[64] >= 100 and wrong[16] <= 8


def test_a_model_moves_borders_as_far_as_its_recipe_says():
    recipe = RECIPES["multi_texture"]["compact"]
    images = torch.rand(2, 3, 64, 64, generator=Generator().manual_seed(0))
    plain, snapped = (
        Model(dataclasses.replace(recipe, segmenter=dataclasses.replace(recipe.segmenter, votes=0, border_radius=radius)))
        for radius in (0, 2)
    )
    labels = snap_to_colours(plain.segment(images).argmax(1), 5, images, recipe.segmenter.border_colours, 2, 16, [0, 0])
    assert torch.equal(snapped.segment(images), one_hot(labels, 5))
