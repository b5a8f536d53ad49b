"""The settings of the networks, and the ranges that all settings use.

A recipe may come from anywhere, with its weights: what it can ask for is bounded.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval, MultipleOf
from tyro.conf import arg

Count = Annotated[int, Interval(ge=0, le=10**9)]
Size = Annotated[int, Interval(ge=1, le=10**9)]
Width = Annotated[int, Interval(ge=1, le=4096)]  # channels, units, numbers of a code
Rounds = Annotated[int, Interval(ge=0, le=1000)]
Factor = Annotated[int, Interval(ge=1, le=64)]
Pixels = Annotated[int, Interval(ge=32, le=4096), MultipleOf(32)]
Amount = Annotated[float, Interval(ge=0, le=1e9)]
Fraction = Annotated[float, Interval(ge=0, le=1)]

SEGMENTERS, INPAINTERS = ("compact", "segnet", "resnet50"), ("compact", "reference")
OUTSIDE = "PACKAGE:NAME"  # what a network is called that is not of this package


def _network(own: tuple[str, ...]) -> object:
    return arg(metavar=f"{{{','.join((*own, OUTSIDE))}}}")


@dataclass(frozen=True)
class Content:
    """What the inpainter guesses: the pixels, as in the paper, or slow statistics of them on coarser grids."""

    kind: Literal["pixels", "means", "chromaticity", "statistics", "features"] = "pixels"
    """Means are of colours. Chromaticity is colour without brightness. Statistics are colours, chromaticity, deviations and
    gradients. Features are of the backbone."""
    strides: tuple[Width, Width] = (1, 4)
    """Pixels from cell to cell of the fine and of the coarse map. Not for pixels."""
    factors: tuple[Width, Width] = (3, 3)
    """Maximum autocorrelation factors that each map keeps. Not for pixels."""
    grid: Width = 4
    """Side of a cell at the inpainter's own resolution, in pixels. Not for pixels."""


@dataclass(frozen=True)
class Inpainter:
    """The network that guesses what is hidden."""

    network: Annotated[str, _network(INPAINTERS)] = "compact"
    """Ours, the original's, which has no sizes to set, or one of another package."""
    channels: Width = 16
    """Channels at half size; deeper levels have up to 8 times as many. Compact."""
    patches: Annotated[int, Interval(ge=0, le=4096)] = 96
    """Soft patches over which visible colours propagate; 0 for none. Compact, pixels."""
    propagation: Rounds = 12
    """Rounds in which visible content propagates to neighbouring cells, up to the next edge; 0 for none. Compact, no pixels."""


@dataclass(frozen=True)
class Segmenter:
    """The network that splits an image into segments."""

    network: Annotated[str, _network(SEGMENTERS)] = "compact"
    """Ours, one of the original's two, or one of another package."""
    channels: Annotated[int, Interval(ge=8, le=4096)] = 32
    """Channels at half size; deeper levels have 2 and 4 times as many. Compact."""
    dimension: Width = 16
    """Length of a pixel's embedding. Compact."""
    span: Amount = 0.0
    """Length of the longer side of the image in the space of embeddings: 8 for segments that stay in one place. With 0 the
    embedding leaves the position out. Compact."""
    smoothing: Amount = 0.0
    """Weight of the neighbouring pixels' masks: 3 for borders that are soft over a pixel, 0 to leave them out. Compact."""
    learn_channels: bool = False
    """Learn from an object's appearance which channel it gets: for scenes of the same few objects. Compact."""
    backbone: bool = False
    """See the maps of a frozen network that was trained on photographs (EfficientNet-Lite0). Compact, or of another package."""
    background_first: bool = True
    """Let the first segment claim the background. Without it all segments are seeded alike: walls and floors. Compact."""
    object_weight: Annotated[float, Interval(ge=1e-3, le=1e3)] = 1.0
    """Weight of the objects' masks in the final masks: with 2, a pixel is background only where that is twice as likely as any
    object. The larger it is, the less objects lose to the background, and the more they take from it."""
    votes: Rounds = 0
    """Clusterings of an image's own pixels that vote on the final masks: every connected piece of a cluster belongs to one
    segment. Pixels have their content, or their colours where the content is coarser. 0 leaves the network's masks."""
    clusters: Width = 8
    """Clusters in each vote."""
    mixed_borders: bool = False
    """Parts of clusters narrower than 3 pixels join their neighbours before the vote: for images whose borders mix the colours
    of both sides, as rendered ones do."""
    border_radius: Rounds = 0
    """Pixels by which the borders of the final masks may move to where the colours change; 0 leaves them where they are."""
    border_colours: Width = 48
    """Colours that are told apart in an image when borders move."""
    border_window: Rounds = 0
    """Pixels to each side of a pixel within which a segment's colours count when borders move; 0 counts the whole image's."""
    one_piece: bool = False
    """In the final masks, give the further pieces of an object in several pieces to empty segments: for scenes in which two
    objects of one colour are commoner than an object that another one cuts in two."""
    upsampling: Factor = 2
    """Factor by which the image is enlarged first. ResNet-50."""
    dilation: Factor = 2
    """Smallest dilation of the last four convolutions. ResNet-50."""


@dataclass(frozen=True)
class Vae:
    """The networks that turn objects and background into codes and back."""

    texture_dimension: Width = 5
    """Length of an object's texture code."""
    shape_dimension: Width = 10
    """Length of an object's shape code."""
    background_dimension: Width = 5
    """Length of the background's code."""
    channels: Width = 32
    """Channels of every convolution."""
    hidden: Width = 256
    """Width of the dense layers."""
    thumbnail: Literal[0, 2, 4, 8, 16] = 0
    """Rows and columns of a reduced picture that the dense layers of texture and background VAE see and draw directly; with 0
    they see the convolutions' output alone, as in the original."""
    mattes: bool = False
    """Soften the borders of objects by the image's colours: a pixel of an object that mixes two colours belongs to both."""
    fill_with_mean: bool = True
    """Show textures and background on their own mean colour; the original shows them on black."""
    window: Annotated[int, Interval(ge=0, le=4096)] = 64
    """Side, in pixels, of a window that follows each object; the shape VAE sees and draws the window alone. With 0 it sees the
    whole image, as in the original."""
    sharpness: Amount = 8.0
    """Factor of the shape logits in a rendered scene: a larger one gives sharper borders. With 1 they are as soft as in
    training: the original's way."""
    downsampling: Factor = 1
    """Factor by which images are reduced before the VAEs and fusion networks; their output is enlarged again."""
    normalise_contrast: bool = False
    """Stretch the colours of each image to [0, 1] in training."""
    glorot: bool = False
    """Initialise VAEs and fusion networks by Glorot's rule, as the original does, instead of He's."""


@dataclass(frozen=True)
class Fusion:
    """The networks that put textures, shapes and background together."""

    channels: Width = 16
    """Channels of every convolution; 32 in the original."""
    residual: bool = True
    """Learn a correction of the plain composition. Without it the networks make every pixel anew, as in the original."""
