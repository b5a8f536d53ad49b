"""The losses of the method, in the paper's order. Plain tensors in, plain tensors out."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.shapes import Guesses, Images, Logits, Masks, Objects, PerImage, PerSegment

FINEST_SCALE = 1 / 255  # of the colours' distribution: one step of an 8-bit image
LEAST_PRIOR = math.log(1e-3)  # of a pixel: no decoded shape is surer than this


def hidden_error(images: Images, hidden: Masks, guesses: Guesses) -> PerSegment:
    """Sum over colours and pixels of |guess - image|, weighted by the hidden region: `b k`, in intensity units.

    It is the quantity E of the original: the negative logarithm of a Laplace likelihood, up to constants. The texture and
    background VAEs minimise it too: the region is the object or the background then, and the guess is what they decode.
    """
    return ((guesses - images[:, None]).abs() * hidden[:, :, None]).sum((2, 3, 4))


def inpainting_loss(images: Images, hidden: Masks, guesses: Guesses) -> Tensor:
    """What the inpainter minimises: the error inside the hidden regions, summed over regions, per image value.

    As in the original, the mean over the batch is divided by the number of values of an image (h w 3), not by the number of
    regions or their area. For regions that partition the image it is the mean absolute error of a pixel's colour.
    """
    return hidden_error(images, hidden, guesses).sum(1).mean() / images[0].numel()


def content_error(contents: Sequence[Tensor], hidden: Sequence[Tensor], guesses: Sequence[Tensor]) -> PerSegment:
    """Summed squared error of guessed content inside hidden regions: `b k`, in cells of the coarsest map.

    The counterpart of `hidden_error` for content on several grids. Each map counts by area, and as if it had as many channels
    as the widest one: a region of one coarse cell, of which nothing can be told, has an error of about so many per map.

    Args:
        contents: `b c h w` for each grid, of unit variance.
        hidden: `b k h w` in [0, 1] for each grid.
        guesses: `b k c h w` for each grid.
    """
    total = [
        ((guess - content[:, None]).square().sum(2) * mask).sum((2, 3)) * weight
        for content, mask, guess, weight in zip(contents, hidden, guesses, _weights(contents), strict=True)
    ]
    return torch.stack(total).sum(0)


def most_content_error(contents: Sequence[Tensor], hidden: Sequence[Tensor]) -> Tensor:
    """The expected `content_error` of guesses of 0, summed over all regions."""
    areas = [mask.sum() * content.shape[1] for content, mask in zip(contents, hidden, strict=True)]
    return torch.stack([weight * area for weight, area in zip(_weights(contents), areas, strict=True)]).sum()


def content_loss(
    contents: Sequence[Tensor],
    hidden: Sequence[Tensor],
    guesses: Sequence[Tensor],
    most: Tensor | None = None,
    processes: int = 1,
) -> Tensor:
    """What the inpainter of content minimises: `content_error` of all regions, relative to that of guesses of 0.

    If several processes share a batch, `most` is the mean of their `most_content_error`. It makes the mean of their losses and
    gradients that of the whole batch.
    """
    most = most_content_error(contents, hidden) if most is None else most
    return content_error(contents, hidden, guesses).sum() / (most + 1 / processes)


def _weights(contents: Sequence[Tensor]) -> list[float]:
    """How much a squared error counts in each map."""
    most, coarse = max(content.shape[1] for content in contents), contents[-1][0, 0].numel()
    return [coarse / content[0, 0].numel() * most / content.shape[1] for content in contents]


def separation_loss(conditional: PerSegment, unconditional: PerSegment, epsilon: float, empty: float = 1.0) -> PerImage:
    """What the segmenter minimises: how well each segment can be guessed from the rest, compared with not seeing the rest.

    It is 1 - E(guess) / (epsilon + E(prior)), summed over the segments: the original's code for the objective of Contextual
    Information Separation in the paper, an empirical coefficient of constraint. It is the same for every kind of content.

    Args:
        conditional: `b k`, the error of each segment guessed from the rest: `hidden_error` or `content_error`.
        unconditional: `b k`, the error of the guess that is made with everything hidden.
        epsilon: Added to the denominator, in the errors' unit: segments that hide much less error than this hardly count.
        empty: What a segment that hides nothing contributes. 1 is the original's. With less, an image of few objects can leave
            segments empty instead of cutting its background (docs/notes/008-content.md).

    Returns:
        `b`; its mean is the loss. Lower is better. A segment that can't be guessed at all contributes about 0.
    """
    return (1 - (conditional + (1 - empty) * epsilon) / (epsilon + unconditional)).sum(1)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of a Gaussian from the standard normal for each dimension, in nats: any shape, at least 0.

    References:
        Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014, appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def capacity_loss(nats: Tensor, capacity: float, batch_nats: float | None = None) -> Tensor:
    """The distance of the shape codes' divergence from the nats that they should carry: |nats - capacity|, as in the original.

    If several processes share a batch, `batch_nats` is the mean of their `nats`. It gives the sign for all of them, so that the
    mean of their losses and gradients is that of the whole batch.

    References:
        Burgess et al., Understanding disentangling in beta-VAE, 2018, section 5.
    """
    above = (nats.detach() if batch_nats is None else torch.as_tensor(batch_nats)) - capacity
    return (nats - capacity) * above.sign()


def shape_error(masks: Masks, logits: Masks) -> PerSegment:
    """What the shape VAE minimises beside its divergence: cross-entropy of masks and decoded logits, in nats.

    It is summed over pixels. Soft masks count as probabilities. The least possible value is their entropy, 0 for hard masks.
    """
    return F.binary_cross_entropy_with_logits(logits, masks, reduction="none").sum((2, 3))


def description_loss(images: Images, masks: Masks, pictures: Guesses, shape_logits: Tensor) -> PerImage:
    """What the segmenter minimises in stage 4 beside the separation loss: the nats that describe a pixel, given the codes.

    A pixel is described by its segment, whose prior probability comes from the decoded shapes, and by its colour, which has a
    Laplace distribution around the segment's picture. The scale of that distribution is the likeliest one, the image's own
    mean error: colours count more, the better the pictures are. It is the masks' part in a scene autoencoder's loss, without
    gradients for pictures and shapes (docs/notes/005-end-to-end.md). The original's code for it never ran.

    Args:
        images: `b 3 h w` in [0, 1].
        masks: `b k h w`, which sum to 1 over k; the background last.
        pictures: `b k 3 h w` in [0, 1], the decoded picture of each segment.
        shape_logits: `b k-1 h w`, of the objects' decoded shapes.

    Returns:
        `b`, in nats per pixel; its mean is the loss. It is negative for pictures that are almost exact.

    References:
        Burgess et al., MONet: Unsupervised scene decomposition and representation, 2019, equation 3.
    """
    scale = hidden_error(images, masks, pictures).sum(1) / images[0].numel()
    prior = F.log_softmax(F.pad(shape_logits, (0, 0, 0, 0, 0, 1)), 1).clamp(min=LEAST_PRIOR)
    return 3 * torch.log(2 * math.e * (scale + FINEST_SCALE)) - (masks * prior).sum(1).mean((1, 2))


def object_error(images: Images, masks: Masks, logits: Objects) -> PerSegment:
    """What the fusion of textures and shapes minimises: summed cross-entropy of the object on black, in nats.

    The target is the image times the object's mask. As in the original, intensities count as probabilities.
    """
    target = images[:, None] * masks[:, :, None]
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum((2, 3, 4))


def consistency_error(demanded: Masks, logits: Logits) -> PerImage:
    """What the segmenter minimises in stage 5: cross-entropy of its logits with demanded masks, in nats: `b`.

    It is summed over pixels. The demanded masks sum to 1 over k; the least possible value is their entropy. As in the original.
    """
    return F.cross_entropy(logits, demanded, reduction="none").sum((1, 2))


def scene_error(images: Images, fused: Images) -> PerImage:
    """What the scene fusion minimises: sum over colours and pixels of |fused - image|, in intensity units."""
    return (fused - images).abs().sum((1, 2, 3))
