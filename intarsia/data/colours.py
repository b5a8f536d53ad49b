"""Hues on the colour circle."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def sixths(colours: NDArray[Any]) -> NDArray[Any]:
    """The hue (of HSV) of colours `... 3` (red, green, blue), in sixths of a turn from -1 to 5.

    Red is 0, green 2, blue 4; a grey, which has no hue, is 0.
    """
    red, green, blue = colours[..., 0], colours[..., 1], colours[..., 2]
    top, chroma = colours.max(axis=-1), np.ptp(colours, axis=-1)
    return np.where(
        top == red, green - blue, np.where(top == green, blue - red + 2 * chroma, red - green + 4 * chroma)
    ) / np.where(chroma > 0, chroma, 1)
