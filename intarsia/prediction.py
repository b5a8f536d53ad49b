"""Predictions: one image and the segments that a model finds in it."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from intarsia.errors import InputError
from intarsia.model import Model
from intarsia.pictures import Gallery, read_picture
from intarsia.shapes import checked_images


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """An image and its segments. A notebook shows the image, the segments in colour, and each segment alone."""

    image: Tensor
    """`3 h w` in [0, 1], of the model's size."""
    masks: Tensor
    """`k h w` in [0, 1]: how much each pixel belongs to each segment; sums to 1 over the segments."""
    notices: tuple[str, ...] = ()
    """What was done to the image file to make it fit, one sentence each."""

    @property
    def labels(self) -> Tensor:
        """`h w`, int64: the segment with the largest mask at each pixel."""
        return self.masks.argmax(0)

    def __repr__(self) -> str:
        height, width = self.labels.shape
        found = len(self.labels.unique())
        return f"Prediction({height}x{width} pixels, {found} of {len(self.masks)} segments have pixels)"

    def _repr_html_(self) -> str:
        return self._gallery()._repr_html_()

    def _repr_png_(self) -> bytes:
        return self._gallery()._repr_png_()

    def _gallery(self) -> Gallery:
        return Gallery.of_segments(self.image, self.masks, [*map("segment {}".format, range(len(self.masks)))])


def predict(model: Model, image: Tensor | str | Path) -> Prediction:
    """Find the segments of one image.

    Args:
        model: From `intarsia.load`.
        image: An image file of any size, which is resized to the model's; or an image `3 h w` as `Model.segment` takes it.

    Returns:
        The image and its masks, on the CPU.

    Raises:
        InputError: if the file can't be read, or the image does not fit.
    """
    height, width = model.recipe.height, model.recipe.width
    if isinstance(image, str | Path):
        picture = read_picture(Path(image), height, width)
        pixels, notices = picture.pixels, picture.notices
    else:
        images, notices = checked_images(image, height, width), []
        if len(images) > 1:
            raise InputError(f"{len(images)} images are given; predict takes one. Model.segment takes many.")
        pixels = images[0].cpu()
    return Prediction(pixels, model.segment(pixels).cpu(), tuple(notices))
