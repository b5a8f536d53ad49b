import json
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as oracle

from intarsia.formats.coco import coco

LABELS = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 3))
NAMES = {1: "one", 2: "two", 3: "three"}


def decoded(annotation: Any) -> np.ndarray:
    return np.asarray(oracle.decode(annotation["segmentation"])).astype(bool)


@given(LABELS)
def test_pycocotools_reads_what_was_written(labels: np.ndarray) -> None:
    found = json.loads(json.dumps(coco("a.png", labels, NAMES)))["annotations"]
    assert [each["id"] for each in found] == sorted({*labels.ravel().tolist()} - {0})
    for each in found:
        assert (decoded(each) == (labels == each["id"])).all()
        assert each["name"] == NAMES[each["id"]]
        assert each["area"] == oracle.area(each["segmentation"])
        assert each["bbox"] == oracle.toBbox(each["segmentation"]).tolist()
        known = oracle.encode(np.asfortranarray(labels == each["id"], np.uint8))
        assert each["segmentation"]["counts"] == known["counts"].decode()


def test_long_runs() -> None:
    """Differences of many digits, of both signs."""
    labels = np.zeros((1000, 1200), np.uint8)
    labels[:3, 100:] = labels[700:, :1] = labels[5:900, 800:1000:3] = 1
    (found,) = coco("a.png", labels, {1: "one"})["annotations"]
    assert (decoded(found) == labels.astype(bool)).all()


def test_picture_is_described() -> None:
    found = coco("a.png", np.zeros((2, 3), np.uint8), {1: "one"})
    assert found["images"] == [{"id": 1, "file_name": "a.png", "width": 3, "height": 2}]
    assert found["annotations"] == []
