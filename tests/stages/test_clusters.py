"""Candidates from an image's own content: k-means, merges, thin parts, and names of channels."""

from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Generator, Tensor

from intarsia.clusters import nearest_clusters, without_thin_parts
from intarsia.metrics import adjusted_rand_index
from intarsia.shapes import one_hot
from intarsia.stages.clusters import CLUSTERINGS, Clustering, cluster_levels, cluster_regions, match_channels, piece_levels

COLOURS = torch.tensor([[0.2, 0.2, 0.2], [0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.2, 0.3, 0.9]])


def discs() -> tuple[Tensor, Tensor]:
    """A flat picture `3 32 48` of three discs on a ground, each of a colour of its own, and its labels `32 48`."""
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(48), indexing="ij")
    labels = torch.zeros(32, 48, dtype=torch.int64)
    for number, (y, x, radius) in enumerate(((9, 10, 7), (20, 26, 8), (10, 40, 5)), 1):
        labels[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = number
    return COLOURS[labels].permute(2, 0, 1), labels


def noise(seed: int = 0) -> Tensor:
    """Smooth random content `3 24 32`."""
    coarse = torch.randn(1, 3, 6, 8, generator=Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(24, 32), mode="bicubic")[0]


@pytest.mark.parametrize("way", CLUSTERINGS)
def test_each_level_has_a_segment_more_at_most(way: Clustering):
    levels = cluster_levels(noise(), 5, way, seed=1)
    assert levels.shape == (4, 24, 32) and levels.dtype == torch.int64
    for number, level in enumerate(levels, 2):
        assert level.unique().tolist() == list(range(number))


@pytest.mark.parametrize("way", CLUSTERINGS)
def test_a_level_joins_two_segments_of_the_next(way: Clustering):
    levels = cluster_levels(noise(), 5, way, seed=1)
    for level, finer in pairwise(levels):
        assert len((10 * level + finer).unique()) == len(finer.unique())


@pytest.mark.parametrize("way", CLUSTERINGS)
def test_flat_discs_are_one_of_the_levels(way: Clustering):
    picture, truth = discs()
    found = adjusted_rand_index(truth.expand(5, -1, -1), cluster_levels(picture, 6, way, seed=0))
    assert float(found.max()) == 1
    assert float(found[2]) == 1  # of four segments, and there are no more


def test_an_image_of_one_colour_stays_one_segment():
    assert not cluster_levels(torch.full((3, 8, 8), 0.4), 4, CLUSTERINGS[0], seed=0).any()


def test_levels_depend_on_the_seed_alone():
    way, before = CLUSTERINGS[1], torch.get_rng_state()
    first, again = cluster_levels(noise(), 5, way, seed=3), cluster_levels(noise(), 5, way, seed=3)
    assert torch.equal(first, again) and torch.equal(torch.get_rng_state(), before)
    assert any(not torch.equal(first, cluster_levels(noise(), 5, way, seed=seed)) for seed in range(4, 8))


def test_pieces_apart_are_merged_last_if_that_costs():
    """Two discs of one colour, and a third of a slightly different one: apart, each piece is a segment of its own."""
    picture, labels = discs()
    picture = torch.stack([torch.tensor([0.1, 0.8, 0.8, 0.9])[labels]])
    whole = cluster_levels(picture, 4, Clustering(8, 0.0, 1000.0), seed=0)[-1]
    apart = cluster_levels(picture, 4, Clustering(8, 3.0, 1000.0), seed=0)[-1]
    assert len(whole.unique()) == 3 and whole[9, 10] == whole[20, 26]
    assert len(apart.unique()) == 4 and adjusted_rand_index(labels[None], apart[None]).item() == 1
    for number in range(4):
        assert ndimage.label((apart == number).numpy())[1] == 1


def test_pieces_of_segments_are_joined_and_parted():
    """A segmenter has cut the ground in two and given two discs one segment. Both mistakes are mended at the level of four."""
    picture, labels = discs()
    wrong = labels.clone()
    wrong[labels == 2] = 1
    wrong[(labels == 0) & (torch.arange(48) < 24)] = 2
    wrong[0, 0] = 3  # a single pixel, too small a piece
    levels = piece_levels(picture, wrong, 5)
    assert levels.shape == (4, 32, 48)
    assert adjusted_rand_index(labels[None], levels[2][None]).item() == 1


def test_regions_are_two_clusters_of_each_image():
    content = torch.stack([noise(0), noise(1), noise(2)])
    regions = cluster_regions(content, [5, 6, 7])
    assert regions.shape == (3, 2, 24, 32) and regions.dtype == content.dtype
    assert set(regions.unique().tolist()) == {0.0, 1.0} and regions.sum(1).max() == 1
    assert torch.equal(regions[1:2], cluster_regions(content[1:2], [6]))  # whatever else is in the batch
    assert not torch.equal(regions, cluster_regions(content, [8, 9, 10]))


def test_the_rim_goes_to_the_smaller_neighbour():
    """A square of segment 1 on ground, with a rim of segment 2 one pixel wide between them."""
    labels = torch.zeros(1, 12, 12, dtype=torch.int64)
    labels[0, 3:9, 3:9], labels[0, 4:8, 4:8] = 2, 1
    found = without_thin_parts(labels, 3)
    assert torch.equal(found, (labels > 0).long())


def test_parts_of_three_pixels_stay():
    labels = torch.zeros(2, 12, 12, dtype=torch.int64)
    labels[:, 4:7, 2:10] = 1
    labels[1, 10, :] = 2  # a line, which is thin
    found = without_thin_parts(labels, 3)
    assert torch.equal(found[0], labels[0])
    assert torch.equal(found[1], labels[0])


def test_nearest_clusters_tell_flat_colours_apart():
    picture, labels = discs()
    found = nearest_clusters(picture.permute(1, 2, 0), 12, 2048, seed=0)
    assert adjusted_rand_index(labels[None], found[None]).item() == 1


def test_names_of_channels_are_the_best_permutation():
    rng = Generator().manual_seed(0)
    logits = 3 * torch.randn(6, 4, 5, 7, generator=rng)
    labels = torch.randint(4, (6, 5, 7), generator=rng)
    found = match_channels(labels, logits)

    def score(renamed: Tensor) -> Tensor:
        return (one_hot(renamed, 4) * logits.log_softmax(1)).sum((1, 2, 3))

    best = torch.stack([score(torch.tensor(names)[labels]) for names in permutations(range(4))]).amax(0)
    torch.testing.assert_close(score(found), best)
    for old, new in zip(labels, found, strict=True):
        assert len(np.unique(10 * old + new)) == len(old.unique())
