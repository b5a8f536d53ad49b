"""The inpainter of content: what it sees, what it must not see, and how content is propagated."""

import pytest
import torch
from torch import Generator

from intarsia.networks.content_inpainter import ContentInpainter, propagate_within_edges
from intarsia.stages.regions import hidden_cells


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=Generator().manual_seed(seed))


@pytest.mark.parametrize(("height", "width", "strides", "counts", "grid"), [
    (64, 64, (1, 4), (3, 3), 4), (64, 64, (2, 4), (6, 6), 4), (192, 256, (4, 8), (12, 8), 8),
])  # fmt: skip
@pytest.mark.parametrize("propagation", [0, 4])
def test_guesses_have_the_shapes_of_the_content(height, width, strides, counts, grid, propagation):
    torch.manual_seed(0)
    net = ContentInpainter(height, width, strides, counts, grid, 8, propagation)
    contents = [draw(2, count, height // stride, width // stride) for stride, count in zip(strides, counts, strict=True)]
    hidden = hidden_cells((draw(2, 3, height // strides[0], width // strides[0]) > 0.5).float(), contents, 1)
    guesses = net(contents, hidden, torch.zeros(2, 2, height, width))
    assert [each.shape for each in guesses] == [(2, 3, *content.shape[1:]) for content in contents]


@pytest.mark.parametrize("propagation", [0, 6])
def test_hidden_content_is_not_seen(propagation):
    torch.manual_seed(0)
    net = ContentInpainter(64, 64, (1, 4), (3, 3), 4, 8, propagation)
    mask = torch.zeros(1, 1, 64, 64)
    mask[:, :, 8:40, 12:36] = 1
    contents = [draw(1, 3, 64, 64), draw(1, 3, 16, 16)]
    hidden, edges = hidden_cells(mask, contents, 0), (draw(1, 2, 64, 64) > 0.8).float()
    others = [torch.where(h > 0, draw(*c.shape, seed=1), c) for c, h in zip(contents, hidden, strict=True)]
    for one, two in zip(net(contents, hidden, edges), net(others, hidden, edges), strict=True):
        torch.testing.assert_close(one, two)


def test_a_margin_hides_more_and_gives_no_gradient():
    mask = torch.zeros(1, 1, 8, 8)
    mask[0, 0, 3, 3] = 1
    mask.requires_grad_(True)
    fine, coarse = hidden_cells(mask, [torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 2, 2)], 1)
    assert fine.sum() == 9 and fine[0, 0, 2:5, 2:5].sum() == 9
    assert coarse[0, 0].tolist() == [[1, 1], [1, 1]]  # the margin touches all four cells
    fine.sum().backward()
    assert torch.equal(mask.grad, torch.ones_like(mask))


def test_content_is_propagated_up_to_the_edges():
    """A room of 6 x 6 cells with a wall in the middle; one cell is seen at the left, with the content 5."""
    content, shown, edges = torch.zeros(1, 1, 1, 6, 7), torch.zeros(1, 1, 1, 6, 7), torch.zeros(1, 2, 6, 7)
    edges[..., 3] = 1
    content[..., 2, 1], shown[..., 2, 1] = 5, 1
    found = propagate_within_edges(content, shown, edges, 8)[0, 0]
    assert torch.allclose(found[0, :, :3], torch.tensor(5.0)) and (found[1, :, :3] == 1).all()
    # The last two rounds pass the wall: its own cells, and those behind it.
    assert torch.allclose(found[0, :, 3], torch.tensor(5.0))
    assert (found[1, :, 5:] == 0).all() and (found[0, :, 5:] == 0).all()


def test_what_is_seen_stays_as_it_is():
    content, shown = draw(2, 3, 4, 8, 8), (draw(2, 3, 1, 8, 8, seed=1) > 0.5).float()
    found = propagate_within_edges(content, shown, torch.zeros(2, 2, 16, 16), 3)
    assert torch.equal(found[:, :, :-1] * shown, content * shown)
    assert ((found[:, :, :-1] >= 0) & (found[:, :, :-1] <= 1)).all()


@pytest.mark.parametrize("strides", [(1, 4), (2, 4)])
def test_soft_regions_propagate_no_more_than_there_is(strides):
    """Cells that are visible in part must not gain weight from round to round."""
    net = ContentInpainter(64, 64, strides, (3, 3), 4, 8, 12)
    hidden = draw(2, 3, 64 // strides[0], 64 // strides[0], seed=1)
    content = draw(2, 3, 64 // strides[0], 64 // strides[0])
    found = net._propagated(content, hidden, torch.zeros(2, 2, 64, 64))
    assert found.shape == (2, 3, 4, 32, 32) and found.min() >= 0 and found.max() <= 1 + 1e-5
