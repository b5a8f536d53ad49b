"""The compact segmenter's options: all segments seeded alike, and a backbone's maps."""

import pytest
import torch
from torch import Generator, Tensor

from intarsia.model import Model
from intarsia.networks.segmenter import LEAST_LOGIT, CompactSegmenter
from intarsia.recipes.settings import Content, Inpainter, Recipe, Segmenter

CHANNELS = (24, 40, 112)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=Generator().manual_seed(seed))


def maps_of(count: int, height: int, width: int, seed: int = 0) -> list[Tensor]:
    return [draw(count, c, height // s, width // s, seed=seed + s) for c, s in zip(CHANNELS, (4, 8, 16), strict=True)]


def built(seed: int = 0, **options) -> CompactSegmenter:
    torch.manual_seed(seed)
    return CompactSegmenter(**({"height": 64, "width": 64, "segments": 4, "channels": 8, "dimension": 4} | options)).eval()


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(64, 64), (192, 256)])
@pytest.mark.parametrize("backbone", [(), CHANNELS], ids=["alone", "backbone"])
@pytest.mark.parametrize("background_first", [True, False])
def test_logits_have_the_image_s_size(height, width, backbone, background_first):
    segmenter = built(height=height, width=width, backbone=backbone, background_first=background_first, span=8.0)
    logits = segmenter(draw(2, 3, height, width), *(maps_of(2, height, width) if backbone else []))
    assert logits.shape == (2, 4, height, width) and logits.isfinite().all()


@torch.no_grad()
def test_masks_of_segments_that_are_seeded_alike_sum_to_one():
    masks = built(background_first=False)(draw(3, 3, 64, 64)).softmax(1)
    torch.testing.assert_close(masks.sum(1), torch.ones(3, 64, 64))


def test_each_segment_has_a_seed():
    """Four quarters of an image, embedded apart: without a background each becomes a segment, and the first is one of them."""
    quarters = torch.zeros(16, 16, dtype=torch.int64)
    quarters[:, 8:] += 1
    quarters[8:] += 2
    embedding = 8 * torch.eye(4)[quarters]
    segmenter = built(background_first=False)
    ground = torch.full((16, 16, 1), 20.0)  # it would all be background
    coarse = segmenter._coarse_logits(torch.cat([ground, embedding], -1)[None])[0]
    owners = coarse.argmax(0)
    assert len(torch.unique(10 * owners + quarters)) == 4 == len(owners.unique())
    assert coarse.min() >= LEAST_LOGIT and (coarse.amax((1, 2)) > -1e-3).all()  # each takes all that there is at its seed
    first = built()._coarse_logits(torch.cat([ground, embedding], -1)[None])[0]
    assert not first.argmax(0).any()


@torch.no_grad()
def test_the_backbone_s_maps_change_the_logits():
    segmenter, images, maps = built(backbone=CHANNELS), draw(2, 3, 64, 64), maps_of(2, 64, 64)
    logits = segmenter(images, *maps)
    for level in range(3):
        other = [each + (number == level) * draw(*each.shape, seed=9) for number, each in enumerate(maps)]
        assert not torch.allclose(segmenter(images, *other), logits, atol=1e-4)
    second = [torch.cat([each[:1], draw(1, *each.shape[1:], seed=9)]) for each in maps]
    assert torch.allclose(segmenter(images, *second)[0], logits[0], atol=1e-5)  # images stay apart


def test_all_that_takes_maps_learns():
    segmenter = built(backbone=CHANNELS).train()
    logits = segmenter(draw(2, 3, 64, 64), *maps_of(2, 64, 64))
    (logits * draw(*logits.shape, seed=3)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in segmenter.add.parameters())


@torch.no_grad()
@pytest.mark.parametrize(("of_content", "of_segmenter"), [(True, False), (False, True), (True, True)])
def test_content_and_segmenter_take_the_backbone_s_maps_each_for_itself(of_content, of_segmenter):
    """Either alone needs the backbone; the other must not be given its maps."""
    content = Content("features", (4, 8), (6, 4), grid=8) if of_content else Content("means", (2, 4), (3, 3))
    recipe = Recipe(
        "multi_dsprites",
        content=content,
        inpainter=Inpainter(channels=4),
        segmenter=Segmenter(channels=8, dimension=4, backbone=of_segmenter),
    )
    model, images = Model(recipe), draw(2, 3, 64, 64)
    assert model.segment(images).shape == (2, 5, 64, 64)
    assert len(model.maps(images)) == 3 * of_segmenter and len(model.content_maps(images)) == 3 * of_content
    assert [each.shape[2] for each in model.contents(images)] == ([16, 8] if of_content else [32, 16])
