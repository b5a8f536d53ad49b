import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from intarsia.recipes.settings import Inpainting, Recipe, Regions
from intarsia.stages.regions import (
    boxes,
    everything,
    fields,
    one_side,
    random_angles,
    random_regions,
    shared_box,
    slivers,
    with_margin,
)

SIZES = [(64, 64), (32, 96)]

KINDS = {
    "shared_box": lambda count, height, width, rng: shared_box(count, height, width, rng),
    "boxes": boxes,
    "fields": lambda count, height, width, rng: fields(count, 3, height, width, rng),
    "slivers": slivers,
    "everything": lambda count, height, width, rng: everything(count, height, width),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def interval(inside: Tensor) -> tuple[int, int]:
    """First and last position of a row of zeros and ones whose ones are adjacent."""
    (where,) = inside.nonzero(as_tuple=True)
    first, last = int(where[0]), int(where[-1])
    assert len(where) == last - first + 1
    return first, last


@every_kind
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_regions_partition_every_image(kind, height, width):
    for seed in range(5):
        hidden = kind(3, height, width, seeded(seed))
        assert hidden.shape[0] == 3 and hidden.shape[2:] == (height, width)
        assert hidden.dtype == torch.float32
        assert hidden.min() >= 0 and hidden.max() <= 1
        assert torch.allclose(hidden.sum(1), torch.ones(3, height, width), atol=1e-5)


@every_kind
def test_all_draws_come_from_the_rng(kind):
    before = torch.get_rng_state()
    first, again = kind(4, 64, 64, seeded(3)), kind(4, 64, 64, seeded(3))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)
    if kind is not KINDS["everything"]:
        assert not torch.equal(first, kind(4, 64, 64, seeded(4)))


@pytest.mark.parametrize("kind", [item.name for item in dataclasses.fields(Regions) if item.name != "clusters"])
def test_every_kind_of_region_can_be_asked_for(kind):
    none = dict.fromkeys((item.name for item in dataclasses.fields(Regions)), 0.0)
    recipe = Recipe("any", height=32, width=64, inpainting=Inpainting(regions=Regions(**none | {kind: 1.0})))
    hidden = random_regions(4, recipe, seeded())
    assert hidden.shape[0] == 4 and hidden.shape[2:] == (32, 64)
    if kind in ("ellipses", "partitions"):  # two regions, which leave something to be seen
        assert hidden.shape[1] == 2 and set(hidden.unique().tolist()) == {0.0, 1.0} and hidden.mean() < 0.5
    else:
        assert torch.allclose(hidden.sum(1), torch.ones(4, 32, 64), atol=1e-5)


def test_shared_box_keeps_the_originals_limits():
    height, width = 64, 96
    tops, lowest = set(), set()
    for seed in range(2000):
        box, outside = shared_box(2, height, width, seeded(seed)).unbind(1)
        assert torch.equal(box[0], box[1]) and torch.equal(box, 1 - outside)
        assert set(box.unique().tolist()) == {0.0, 1.0}
        (top, bottom), (left, right) = interval(box[0].amax(1)), interval(box[0].amax(0))
        assert box[0].sum() == (bottom - top + 1) * (right - left + 1)
        # In rows: r1 in 0 .. 41, r2 in r1 + 12 .. 62, rows r1 .. r2 - 1 hidden; in columns 0 .. 63, c1 + 19 .. 94.
        assert 0 <= top <= 41 and top + 12 <= bottom + 1 <= 62
        assert 0 <= left <= 63 and left + 19 <= right + 1 <= 94
        tops.add(top)
        lowest.add(bottom + 1)
    assert {0, 41} <= tops and 62 in lowest  # both ends of the limits are reached


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_boxes_are_boxes_of_every_image_s_own(height, width):
    inside = boxes(500, height, width, seeded())[:, 0]
    sides = {0: [], 1: []}
    for box in inside:
        (top, bottom), (left, right) = interval(box.amax(1)), interval(box.amax(0))
        assert box.sum() == (bottom - top + 1) * (right - left + 1)
        sides[0].append((bottom - top + 1) / height)
        sides[1].append((right - left + 1) / width)
    for axis, size in enumerate((height, width)):
        assert min(sides[axis]) >= 0.1 - 1 / size and max(sides[axis]) <= 0.93 + 1 / size
        assert min(sides[axis]) < 0.15 and max(sides[axis]) > 0.88
    assert len(inside.flatten(1).unique(dim=0)) > 490
    middle = inside.mean(0)  # no side is favoured
    assert torch.allclose(middle, middle.flip(0), atol=0.12) and torch.allclose(middle, middle.flip(1), atol=0.12)


def test_fields_range_from_soft_to_hard():
    hidden = torch.cat([fields(8, 3, 64, 64, seeded(seed)) for seed in range(10)])
    confidence = hidden.amax(1).mean((1, 2))
    assert confidence.min() < 0.6 and confidence.max() > 0.9
    assert torch.allclose(hidden.mean((0, 2, 3)), torch.full((3,), 1 / 3), atol=0.05)
    neighbours = (hidden[..., 1:] - hidden[..., :-1]).abs().mean()
    strangers = (hidden[..., 32:] - hidden[..., :32]).abs().mean()
    assert neighbours < 0.5 * strangers  # smooth


def extent(region: Tensor) -> tuple[slice, slice]:
    """Rows and columns of the smallest box around the ones of `h w`."""
    rows, columns = (region.amax(axis).nonzero() for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_slivers_hide_a_box_or_all_but_for_thin_lines(height, width):
    fractions, wholes = [], []
    for seed in range(6):  # each with lines of another grain
        hidden, seen = slivers(100, height, width, seeded(seed)).unbind(1)
        assert torch.equal(hidden, 1 - seen) and set(hidden.unique().tolist()) == {0.0, 1.0}
        inside = [region[extent(1 - region)] for region in seen]
        fat = sum(F.avg_pool2d(F.pad(region, (2, 2, 2, 2))[None], 5, 1).ge(1).sum() for region in inside)
        assert fat < 0.01 * sum(region.sum() for region in inside)  # 5x5 px without a hidden one
        whole = torch.tensor([region.shape[0] > 0.97 * height and region.shape[1] > 0.97 * width for region in inside])
        far = F.max_pool2d(seen[whole][:, None], 17, 1, 8) == 0  # nothing seen within 8 px
        assert far.float().mean() < 0.2
        lines_in_boxes = [region.mean() for region, all_of_it in zip(inside, whole, strict=True) if not all_of_it]
        assert 0.05 < sum(lines_in_boxes) / len(lines_in_boxes) < 0.5
        fractions.append(float(seen[whole].mean()))
        wholes.append(whole)
    assert 0.22 < torch.cat(wholes).float().mean() < 0.38
    assert 0.05 < min(fractions) < 0.2 and 0.25 < max(fractions) < 0.5  # from few lines to many


def test_everything_is_all_and_nothing():
    hidden = everything(2, 4, 6)
    assert hidden.shape == (2, 2, 4, 6)
    assert (hidden[:, 0] == 1).all() and (hidden[:, 1] == 0).all()


def test_one_side_is_half_of_what_is_round():
    """Whatever the angle, a line through the centre halves a disc; of nothing it makes nothing."""
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(96), indexing="ij")
    disc = ((rows - 20) ** 2 + (columns - 70) ** 2 < 15**2).float()
    regions = torch.stack([disc, torch.zeros_like(disc)])[None].expand(20, -1, -1, -1)
    sides = one_side(regions, random_angles(20, 2, seeded()))
    assert set(sides.unique().tolist()) == {0.0, 1.0}
    kept = (regions * sides).sum((2, 3))
    assert kept[:, 0] / disc.sum() == pytest.approx(0.5, abs=0.03)
    assert (kept[:, 1] == 0).all()
    below = (sides[:, 0, 63] > sides[:, 0, 0]).float().mean()  # of the angles, some turn each side down
    assert 0 < below.mean() < 1


def test_one_side_by_hand():
    """The centre of gravity of soft pixels 3 and 7, weighed 1 and 3, is 6: on either side lies one of them."""
    row = torch.zeros(1, 1, 1, 10)
    row[..., 3], row[..., 7] = 0.25, 0.75
    for seed in range(10):
        side = one_side(row, random_angles(1, 1, seeded(seed)))[0, 0, 0].tolist()
        assert side in ([0.0] * 7 + [1.0] * 3, [1.0] * 6 + [0.0] * 4)


def test_margin_by_hand():
    regions = torch.tensor([[0, 0, 0.5, 0, 0, 0, 1]])[None, None].requires_grad_()
    assert torch.equal(with_margin(regions, 0), regions)
    hidden = with_margin(regions, 1)
    assert hidden.flatten().tolist() == [0, 0.5, 0.5, 0.5, 0, 1, 1]
    assert with_margin(regions, 2).flatten().tolist() == [0.5, 0.5, 0.5, 0.5, 1, 1, 1]
    (hidden * torch.arange(7)).sum().backward()
    assert regions.grad is not None and regions.grad.flatten().tolist() == [0, 1, 2, 3, 4, 5, 6]
