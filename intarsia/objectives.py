"""The losses of the method, in the paper's order. Plain tensors in, plain tensors out."""

from torch import Tensor

from intarsia.shapes import Guesses, Images, Masks, PerImage, PerSegment


def hidden_error(images: Images, hidden: Masks, guesses: Guesses) -> PerSegment:
    """Sum over colours and pixels of |guess - image|, weighted by the hidden region: `b k`, in intensity units.

    The negative logarithm of a Laplace likelihood up to constants; the quantity E of the original.
    """
    return ((guesses - images[:, None]).abs() * hidden[:, :, None]).sum((2, 3, 4))


def inpainting_loss(images: Images, hidden: Masks, guesses: Guesses) -> Tensor:
    """What the inpainter minimises: the error inside the hidden regions, summed over regions, per image value.

    As in the original: mean over the batch, divided by the number of values of an image (h w 3), neither by the number of
    regions nor by their area. For regions that partition the image this is the mean absolute error of a pixel's colour.
    """
    return hidden_error(images, hidden, guesses).sum(1).mean() / images[0].numel()


def separation_loss(images: Images, masks: Masks, guesses: Guesses, prior: Images, epsilon: float) -> PerImage:
    """What the segmenter minimises: how well each segment can be guessed from the rest, relative to not seeing the rest.

    The empirical form of the coefficient of constraint that Contextual Information Separation bounds: for each segment
    1 - E(guess) / (epsilon + E(prior)), summed over the segments (original's code; in the paper, the CIS objective).

    Args:
        images: `b 3 h w`.
        masks: `b k h w`, the segments.
        guesses: `b k 3 h w`, the guess of each segment from the rest.
        prior: `b 3 h w`, the unconditional guess, made with everything hidden.
        epsilon: Summed absolute error (intensity units) added to the denominator: how large a segment must be to count.

    Returns:
        `b`; its mean is the loss. Lower is better; every segment that cannot be guessed at all contributes about 0.
    """
    conditional = hidden_error(images, masks, guesses)
    unconditional = hidden_error(images, masks, prior[:, None].expand_as(guesses))
    return (1 - conditional / (epsilon + unconditional)).sum(1)
