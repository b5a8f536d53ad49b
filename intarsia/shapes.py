"""Axis letters, ranges and units, in one place.

b images, k segments, n objects (segments without those of the background), c channels or colours, d numbers of a code, h rows,
w columns. Images are float32 in [0, 1]. Masks are float32 in [0, 1] and sum to 1 over k; segment 0 of *true* masks is the
background, and pixels whose segment is not known, *void* ones, sum to 0. Errors are sums of absolute differences in the images'
units. Positions and lengths are in pixels. The tests check the aliases at run time (jaxtyping and beartype); otherwise they are
plain tensors.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from intarsia.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor as Edges
    from torch import Tensor as Guesses
    from torch import Tensor as Images
    from torch import Tensor as Labels
    from torch import Tensor as Logits
    from torch import Tensor as Maps
    from torch import Tensor as Masks
    from torch import Tensor as Objects
    from torch import Tensor as PerImage
    from torch import Tensor as PerSegment
    from torch import Tensor as Regions
    from torch import Tensor as Vectors
else:
    from jaxtyping import Float, Int
    from torch import Tensor

    Images = Float[Tensor, "b 3 h w"]
    Masks = Float[Tensor, "b k h w"]
    Logits = Float[Tensor, "b k h w"]
    Edges = Float[Tensor, "b 2 h w"]
    Guesses = Float[Tensor, "b k 3 h w"]
    Maps = Float[Tensor, "b c h w"]
    Objects = Float[Tensor, "b n 3 h w"]
    Vectors = Float[Tensor, "b d"]
    Labels = Int[Tensor, "b h w"]
    PerImage = Float[Tensor, "b"]
    PerSegment = Float[Tensor, "b k"]
    Regions = Float[Tensor, "b h w"]

ROUNDING = 1e-3

__all__ = [
    "Edges", "Guesses", "Images", "Labels", "Logits", "Maps", "Masks", "Objects", "PerImage", "PerSegment", "Regions",
    "Vectors", "checked_images", "one_hot",
]  # fmt: skip


def one_hot(labels: Labels, segments: int) -> Masks:
    """Labels `b h w` in -1..segments-1 as hard masks `b segments h w` of zeros and ones; -1 (void) is in none of them."""
    known = (labels >= 0)[..., None]
    return (F.one_hot(labels.clamp(min=0), segments) * known).permute(0, 3, 1, 2).float()


def checked_images(images: "torch.Tensor", height: int, width: int) -> Images:
    """Images `b 3 h w` from a user, or one image `3 h w`, as `b 3 h w` float32 in [0, 1].

    Raises:
        InputError: unless they are of this size, and finite floats in [0, 1] or uint8. Rounding errors of an interpolation,
            up to 0.001 beyond the range, are clipped.
    """
    wanted = f"wanted are images b 3 {height} {width} or one image 3 {height} {width}: floats in [0, 1] or uint8"
    if not isinstance(images, torch.Tensor):
        raise InputError(f"The images are of type {type(images).__name__}; {wanted}, as a PyTorch tensor.")
    kind, shape = str(images.dtype).removeprefix("torch."), " ".join(map(str, images.shape)) or "a single number"
    if images.dim() not in (3, 4) or images.shape[-3:] != (3, height, width) or not len(images):
        raise InputError(f"The images are {shape} ({kind}); {wanted}.")
    if images.dtype == torch.uint8:
        scaled = images.float() / 255
    elif images.dtype.is_floating_point:
        scaled = images.float()
        low, high = map(float, scaled.aminmax())
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):
            raise InputError(f"The images {shape} ({kind}) range from {low:g} to {high:g}; {wanted}.")
        scaled = scaled.clamp(0, 1)
    else:
        raise InputError(f"The images {shape} are of type {kind}; {wanted}.")
    return scaled if images.dim() == 4 else scaled[None]
