"""Axis letters, ranges and units, in one place.

b images, k segments, n objects (segments without those of the background), c channels or colours, d numbers of a code, h rows,
w columns. Images are float32 in [0, 1]. Masks are float32 in [0, 1] and sum to 1 over k; segment 0 of *true* masks is the
background, and pixels whose segment is not known, *void* ones, sum to 0. Errors are sums of absolute differences in the images'
units. Positions and lengths are in pixels. The tests check the aliases at run time (jaxtyping and beartype); otherwise they are
plain tensors.
"""

from typing import TYPE_CHECKING

import torch.nn.functional as F

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

__all__ = [
    "Edges", "Guesses", "Images", "Labels", "Logits", "Maps", "Masks", "Objects", "PerImage", "PerSegment", "Regions",
    "Vectors", "one_hot",
]  # fmt: skip


def one_hot(labels: Labels, segments: int) -> Masks:
    """Labels `b h w` in -1..segments-1 as hard masks `b segments h w` of zeros and ones; -1 (void) is in none of them."""
    known = (labels >= 0)[..., None]
    return (F.one_hot(labels.clamp(min=0), segments) * known).permute(0, 3, 1, 2).float()
