"""COCO's JSON for the segments of a picture, with masks as run lengths (RLE), as `pycocotools` reads it.

A mask's pixels are read column by column. The lengths of its runs, of zeros first, are written in six bits a character; those
after the third as the difference from the last but one.

References:
    Lin et al., Microsoft COCO: Common objects in context, ECCV 2014; https://cocodataset.org/#format-data.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIRST = 48  # the code of the character for 0
BITS, MORE = 5, 32  # of a number in each character, the lowest first; is added if others follow


def coco(name: str, labels: NDArray[np.uint8], objects: Mapping[int, str]) -> dict[str, Any]:
    """The content of a COCO file for one picture: an annotation with a mask for each object that is in it.

    Args:
        name: The picture's file.
        labels: `h w`, the number of the object at each pixel; 0 for the background.
        objects: By number, what each annotation calls the object.
    """
    height, width = labels.shape
    flat = labels.ravel(order="F")
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    ends, values = np.append(starts[1:], flat.size), flat[starts]
    annotations = []
    for number, called in objects.items():
        own = values == number
        if not own.any():
            continue
        runs = np.diff(np.concatenate([[0], np.stack([starts[own], ends[own]], 1).ravel(), [flat.size]]))
        rows, columns = (np.flatnonzero((labels == number).any(axis)) for axis in (1, 0))
        annotations.append(
            {
                "id": number,
                "image_id": 1,
                "category_id": 1,
                "name": called,
                "iscrowd": 0,
                "area": int(runs[1::2].sum()),
                "bbox": [int(each) for each in (columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1)],
                "segmentation": {"size": [height, width], "counts": _written(runs if runs[-1] else runs[:-1])},
            }
        )
    return {
        "images": [{"id": 1, "file_name": name, "width": width, "height": height}],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": annotations,
    }


def _written(runs: NDArray[np.int64]) -> str:
    numbers = runs.copy()
    numbers[3:] -= runs[1:-2]
    found = bytearray()
    for number in numbers.tolist():
        while True:
            low, number = number & (MORE - 1), number >> BITS
            last = number == (-1 if low & (MORE >> 1) else 0)  # the highest bit of the last character is the sign
            found.append(FIRST + low + (0 if last else MORE))
            if last:
                break
    return found.decode()
