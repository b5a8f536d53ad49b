import numpy as np
import torch

from intarsia.data.compose import paste, visible_masks


def overlapping() -> np.ndarray:
    """A near object on the upper left 2x2 pixels of 4x4, and a far one on the middle 2x2; both cover pixel (1, 1)."""
    shapes = np.zeros((1, 2, 4, 4), np.float32)
    shapes[0, 0, :2, :2] = 1
    shapes[0, 1, 1:3, 1:3] = 1
    return shapes


def test_the_nearer_object_hides_the_farther() -> None:
    _, near, far = visible_masks(overlapping())[0]
    assert near.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert far.tolist() == [[0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]


def test_the_background_is_what_is_left() -> None:
    background = visible_masks(overlapping())[0, 0]
    assert background.tolist() == [[0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]]


def test_soft_edges_let_the_farther_object_through() -> None:
    masks = visible_masks(np.array([0.25, 0.5], np.float32).reshape(1, 2, 1, 1))
    assert masks.ravel().tolist() == [0.375, 0.25, 0.375]  # 1 - .25 - .375; .25; .5 * (1 - .25)


def test_each_segment_shows_its_own_texture() -> None:
    grey = np.array([0.0, 0.5, 1.0], np.float32).reshape(3, 1, 1, 1, 1)
    images, masks = paste(overlapping(), grey)
    assert images.shape == (1, 3, 4, 4)
    expected = torch.tensor([[0.5, 0.5, 0, 0], [0.5, 0.5, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
    assert torch.equal(images[0], expected.expand(3, 4, 4))
    assert torch.equal(masks, torch.from_numpy(visible_masks(overlapping())))
