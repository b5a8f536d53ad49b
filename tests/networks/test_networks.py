"""What every inpainter and every segmenter promises, whatever is inside."""

import math

import pytest
import torch
from torch import Generator, Tensor
from torch.utils.flop_counter import FlopCounterMode

from intarsia.model import Model
from intarsia.networks.inpainter import CompactInpainter, propagate_colours
from intarsia.networks.segmenter import LEAST_LOGIT, CompactSegmenter, best_order, reorder_objects, smoothed
from intarsia.recipes.settings import Inpainter, Recipe, Segmenter
from intarsia.testing import InpainterContract, SegmenterContract
from intarsia.testing.networks import draw, hidden_boxes, scene

SIZES = [(64, 64), (32, 96)]
SEGMENTS = 4


@pytest.fixture(params=SIZES, ids=["square", "wide"])
def size(request) -> tuple[int, int]:
    return request.param


@pytest.fixture(params=[12, 0], ids=["patches", "no_patches"])
def model(request, size) -> Model:
    small = {"inpainter": Inpainter(channels=4, patches=request.param), "segmenter": Segmenter(channels=8, dimension=8)}
    return Model(Recipe("multi_dsprites", height=size[0], width=size[1], segments=SEGMENTS, **small))


class TestSegmenter(SegmenterContract):
    pass


class TestInpainter(InpainterContract):
    pass


@torch.no_grad()
def test_edges_cost_once_per_image_not_once_per_region(model):
    images, edges = scene(2, model)

    def operations(regions: int) -> int:
        with FlopCounterMode(display=False) as counter:
            model.inpainter(images, hidden_boxes(2, regions, model), edges)
        return counter.get_total_flops()

    one, two, three = operations(1), operations(2), operations(3)
    assert three - two == two - one  # every further region costs the same
    assert 2 * one - two > 0.2 * (two - one)  # and less than the first, with which the edges come


def test_colours_propagate_over_their_patch_and_no_further():
    """Two patches, left and right, of 2x4 folded pixels each; in the left one, one folded pixel is seen, and half of one."""
    patches = torch.zeros(1, 2, 2, 8)
    patches[:, 0, :, :4], patches[:, 1, :, 4:] = 1, 1
    seen = torch.zeros(1, 1, 4, 4, 16)
    seen[0, 0, :, 0:2, 0:2] = torch.tensor([0.4, -0.2, 0.0, 1.0])[:, None, None]
    seen[0, 0, :, 2:3, 6:8] = torch.tensor([0.1, 0.1, 0.1, 1.0])[:, None, None]
    propagated = propagate_colours(seen, patches)[0, 0]
    mean = [(0.4 + 0.05) / 1.51, (-0.2 + 0.05) / 1.51, 0.05 / 1.51, 1.5 / 8]
    for pixel in propagated[:, :, :4].flatten(1).T:
        assert pixel.tolist() == pytest.approx(mean)
    assert not propagated[:, :, 4:].any()  # of the right patch nothing is seen


def test_propagation_can_be_switched_off():
    """Without it the patches have no effect; with it they have."""
    inpainter = CompactInpainter(64, 64, channels=4, patches=12)
    images, hidden, edges = torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64), torch.rand(1, 2, 64, 64).round()
    hidden[..., :32] = 1
    without, propagated = (inpainter(images, hidden, edges, propagate) for propagate in (False, True))
    torch.nn.init.normal_(inpainter.patches.assign.weight)
    assert torch.equal(inpainter(images, hidden, edges, False), without)
    assert not torch.equal(inpainter(images, hidden, edges, True), propagated)


def test_soft_patches_mix_colours_by_membership():
    patches = torch.tensor([0.75, 0.25])[None, :, None, None].expand(1, 2, 3, 3).clone()
    patches[0, :, 0, 0] = torch.tensor([0.0, 1.0])
    seen = torch.zeros(1, 1, 4, 6, 6)
    seen[0, 0, :, :2, :2] = torch.tensor([0.5, 0.5, 0.5, 1.0])[:, None, None]  # the pixel that is of the second patch alone
    visibility = propagate_colours(seen, patches)[0, 0, 3]
    assert visibility[0, 0].item() == pytest.approx(1 / (1 + 8 * 0.25))
    assert visibility[1, 1].item() == pytest.approx(0.25 / (0.75 * 8 * 0.75 + 0.25 * (1 + 8 * 0.25)))


@pytest.mark.parametrize(("times", "beside", "odd"), [(1.0, 3 / 4, 1 / 4), (3.0, 27 / 28, 1 / 28)])
def test_smoothing_by_hand(times: float, beside: float, odd: float):
    """Of two hard segments side by side, a pixel at the border has a quarter on the other side; an odd one three."""
    halves = torch.zeros(1, 2, 5, 8)
    halves[:, 0, :, :4] = halves[:, 1, :, 4:] = 40
    masks = smoothed(halves, times).softmax(1)[0, 0]
    assert masks[2].tolist() == pytest.approx([1, 1, 1, beside, 1 - beside, 0, 0, 0], abs=2e-4)
    alone = torch.zeros(1, 2, 5, 5)
    alone[:, 0], alone[0, :, 2, 2] = 40, torch.tensor([0.0, 40])
    assert float(smoothed(alone, times).softmax(1)[0, 1, 2, 2]) == pytest.approx(odd, abs=1e-6)


def test_objects_go_to_the_channels_that_they_resemble_together_most():
    """The second object is the most like the first channel; all three come to the most as 2, 3, 1 (9 + 7 + 8)."""
    similarity = torch.tensor([[[0.0, 0, 8], [9, 8, 0], [1, 7, 0]], [[0.0, 0, 0], [0, 0, 0], [0, 0, 0]]])
    order = best_order(similarity)
    assert order.tolist() == [[1, 2, 0], [0, 1, 2]]  # where all are alike, they stay
    logits = draw(2, 4, 2, 3)
    ordered = reorder_objects(logits, order)
    assert torch.equal(ordered[0], logits[0, [0, 2, 3, 1]]) and torch.equal(ordered[1], logits[1])


@torch.no_grad()
def test_objects_are_known_again_by_what_was_seen_in_training():
    """Two squares, one dark and one light; the same image with their places exchanged."""
    segmenter = CompactSegmenter(64, 64, 3, channels=8, dimension=4, learn_channels=True)
    appearance = torch.zeros(2, 8, 32, 32)
    appearance[0, :, 4:10, 4:10] = appearance[1, :, 20:26, 20:26] = torch.linspace(0, 1, 8)[:, None, None]
    appearance[0, :, 20:26, 20:26] = appearance[1, :, 4:10, 4:10] = torch.linspace(1, 0, 8)[:, None, None]
    coarse = torch.full((2, 3, 32, 32), -9.0)
    coarse[:, 0], coarse[:, 1, 4:10, 4:10], coarse[:, 2, 20:26, 20:26] = 0, 9, 9  # by their places

    assert segmenter.eval()._channel_order(coarse, appearance).tolist() == [[0, 1], [0, 1]] and not segmenter.looks.any()
    segmenter.train()._channel_order(coarse[:1], appearance[:1])
    assert torch.allclose(segmenter.looks[0], 0.01 * torch.linspace(0, 1, 8), atol=1e-3)
    remembered = segmenter.looks.clone()
    assert segmenter.eval()._channel_order(coarse, appearance).tolist() == [[0, 1], [1, 0]]
    assert torch.equal(segmenter.looks, remembered)
    assert segmenter.train()._channel_order(coarse[1:], appearance[1:]).tolist() == [[1, 0]]
    assert torch.allclose(segmenter.looks, 1.99 * remembered, atol=1e-3)  # each channel has seen the same object twice


def test_learned_channels_change_the_order_alone():
    segmenter = CompactSegmenter(64, 64, 3, channels=8, dimension=4, learn_channels=True)
    fixed = CompactSegmenter(64, 64, 3, channels=8, dimension=4)
    fixed.load_state_dict({key: value for key, value in segmenter.state_dict().items() if key != "looks"})
    images = draw(2, 3, 64, 64)
    assert torch.equal(segmenter(images), fixed(images))


@torch.no_grad()
def test_appearances_are_the_same_at_every_place():
    segmenter = CompactSegmenter(64, 64, 3, channels=8, dimension=4, learn_channels=True)
    image, moved = torch.full((2, 1, 3, 64, 64), 0.3)
    image[..., 8:24, 10:26] = moved[..., 36:52, 30:46] = draw(3, 16, 16)
    appearance, there = segmenter._features(image)[1], segmenter._features(moved)[1]
    assert torch.allclose(appearance[..., 3:13, 4:14], there[..., 17:27, 14:24], atol=1e-5)
    assert not torch.allclose(appearance[..., 3:13, 4:14], appearance[..., 17:27, 14:24], atol=0.1)


def coarse_logits_of(ground: Tensor, embedding: Tensor, segments: int, span: float = 0.0) -> Tensor:
    """The coarse logits `k h w` of a segmenter of so many segments, given background logits `h w` and embeddings `h w d`."""
    height, width = ground.shape
    segmenter = CompactSegmenter(2 * height, 2 * width, segments, channels=8, dimension=embedding.shape[-1], span=span)
    return segmenter._coarse_logits(torch.cat([ground[..., None], embedding], -1)[None])[0]


def test_stick_breaking_by_hand():
    """A row of six pixels: three half free, two a quarter, and the freest all by itself."""
    free, embedding = torch.tensor([[0.5, 0.5, 0.5, 0.25, 0.25, 0.6]]), torch.tensor([[0.0, 0, 0, 1, 1, 2]])
    background, first, second = coarse_logits_of((1 - free).logit(), embedding[..., None], 3).exp()[:, 0].tolist()
    assert background == pytest.approx([0.5, 0.5, 0.5, 0.75, 0.75, 0.4])
    near, far = math.exp(-1), math.exp(-4)
    assert first == pytest.approx([0.5, 0.5, 0.5, 0.25 * near, 0.25 * near, 0.6 * far])  # the seed is the second pixel
    # It leaves a ten-thousandth of the first three; the last pixel is the freest, though not the one with most around it.
    left, rest = 0.5e-4, 0.25 * (1 - near)
    assert left * far < math.exp(LEAST_LOGIT)
    assert second == pytest.approx([*3 * [math.exp(LEAST_LOGIT)], rest * near, rest * near, 0.6 * (1 - far)], rel=1e-3)


def test_places_keep_objects_apart_by_hand():
    """Three pixels of a row of eight, all embedded alike: the far one is the next segment, then the rest of the near one."""
    ground = torch.full((4, 8), 20.0)
    ground[2, [1, 2, 7]] = -20.0
    coarse = coarse_logits_of(ground, torch.zeros(4, 8, 2), 4, span=8.0)[:, 2].exp()  # a pixel of embedding is 1
    assert coarse[1, [1, 2, 7]].tolist() == pytest.approx([1, math.exp(-1), math.exp(-36)], abs=1e-5)
    assert coarse[2, [1, 2, 7]].tolist() == pytest.approx([0, 0, 1], abs=1e-3)
    assert coarse[3, [1, 2, 7]].tolist() == pytest.approx([0, 1 - math.exp(-1), 0], abs=1e-3)
    assert coarse_logits_of(ground, torch.zeros(4, 8, 2), 4)[1, 2].exp()[[1, 2, 7]].tolist() == pytest.approx([1, 1, 1])


def test_a_seed_lies_in_its_segment():
    """A line one pixel wide: every 3x3 window that touches it is as free as its own."""
    ground, embedding = torch.full((9, 9), 20.0), torch.zeros(9, 9, 2)
    ground[2:7, 4], embedding[2:7, 4] = -20.0, torch.tensor([5.0, 5.0])
    assert (coarse_logits_of(ground, embedding, 5).softmax(0)[1, 2:7, 4] > 0.99).all()


@pytest.mark.parametrize("objects", range(5))
def test_every_object_gets_a_channel_and_nothing_is_left_for_the_others(objects):
    """Objects of other sizes and places, embedded apart, on ground that is embedded like the first of them."""
    places = torch.zeros(16, 24, dtype=torch.int64)
    for number in range(1, objects + 1):
        top, left = (1, 9)[number // 3], (2, 13)[number % 2]
        places[top : top + 3 + number % 3, left : left + 3 + number] = number
    embedding = torch.randn(5, 3, generator=Generator().manual_seed(3)) * 8
    embedding[0] = embedding[1]
    jitter = 0.02 * torch.randn(16, 24, 3, generator=Generator().manual_seed(4))
    coarse = coarse_logits_of(torch.where(places > 0, -20.0, 20.0), embedding[places] + jitter, 6)
    assert coarse.min() >= LEAST_LOGIT
    masks = coarse.softmax(0)
    owners = masks.argmax(0)
    assert masks.amax(0).min() > 0.9
    assert (owners[places == 0] == 0).all()
    found = [owners[places == number].unique().tolist() for number in range(1, objects + 1)]
    assert sorted(found) == [[number] for number in range(1, objects + 1)]  # one each, and those that come first
    assert not objects or masks[0][places > 0].max() < 1e-4
    assert (masks[objects + 1 :].mean((1, 2)) < 1e-3).all()


def test_segments_take_no_more_than_there_is():
    for seed in range(20):
        ground, embedding = 3 * draw(8, 8, seed=seed) - 1.5, 2 * draw(8, 8, 2, seed=seed + 100)
        coarse = coarse_logits_of(ground, embedding, 6).exp()
        assert torch.allclose(coarse[0], ground.sigmoid())
        total = coarse.cumsum(0)
        assert (total <= 1 + 1e-3).all() and total[-1].mean() > 0.8


@torch.no_grad()
def test_memory_format_is_for_speed_alone(model):
    images, edges = scene(2, model)
    hidden = hidden_boxes(2, 2, model)
    for name, parameter in model.named_parameters():
        assert parameter.dim() != 4 or parameter.is_contiguous(memory_format=torch.channels_last), name
    guesses, logits = model.inpainter(images, hidden, edges), model.segmenter(images)
    last = [part.contiguous(memory_format=torch.channels_last) for part in (images, hidden, edges)]
    assert torch.allclose(model.inpainter(*last), guesses, atol=1e-5)
    assert torch.allclose(model.segmenter(last[0]), logits, atol=1e-5)
    model.to(memory_format=torch.contiguous_format)
    assert torch.allclose(model.inpainter(images, hidden, edges), guesses, atol=1e-5)
    assert torch.allclose(model.segmenter(images), logits, atol=1e-5)
