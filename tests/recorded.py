"""The recorded weights and layouts of the original, in ours."""

import zlib

import numpy as np
import torch
from torch import Tensor, nn

from intarsia.interop.names import original_names

VALUES, GRADIENTS = 1e-4, 1e-3  # of the largest value; the recording's own advice


def original_layout(array: np.ndarray) -> Tensor:
    """Weights of the original in our layout: `h w in out` to `out in h w`, and `in out` to `out in`."""
    tensor = torch.from_numpy(array)
    return tensor.permute(3, 2, 0, 1) if tensor.dim() == 4 else tensor.mT if tensor.dim() == 2 else tensor


def recipe_weight(name: str, shape: torch.Size) -> Tensor:
    """A weight of the recordings: noise that depends on its name alone (the recordings' README), given our shape."""
    theirs = [shape[i] for i in {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[len(shape)]]
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(theirs).astype(np.float32)
    if len(theirs) == 1:
        small = values * np.float32(0.05)
        leaf = name.rpartition("/")[2]
        return torch.from_numpy({"gamma": 1 + small, "moving_variance": 1 + abs(small)}.get(leaf, small))
    fans = theirs[:2] if len(theirs) == 2 else (np.prod(theirs[:3]), theirs[0] * theirs[1] * theirs[3])
    return original_layout(values * np.float32(np.sqrt(2 / sum(fans))))


def images_first(array: np.ndarray) -> Tensor:
    """`b h w c` to `b c h w`; masks `b h w 1 k` to `b k 1 h w`, guesses `b h w c k` to `b k c h w`."""
    tensor = torch.from_numpy(array)
    return tensor.permute(0, 3, 1, 2) if tensor.dim() == 4 else tensor.permute(0, 4, 3, 1, 2)


def masks_first(array: np.ndarray) -> Tensor:
    """`b h w 1 k` to `b k h w`."""
    return images_first(array).squeeze(2)


def assert_close(found: Tensor, expected: Tensor, tolerance: float = VALUES) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@torch.no_grad()
def fill(network: nn.Module) -> dict[str, str]:
    """Give a network the recordings' weights; returns `original_names`."""
    names, state = original_names(network), network.state_dict()
    assert names.keys() == state.keys()
    network.load_state_dict({ours: recipe_weight(theirs, state[ours].shape) for ours, theirs in names.items()})
    return names
