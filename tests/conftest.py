"""What all tests share: the recorded inputs and outputs of the original."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

Recording = Mapping[str, np.ndarray]

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def reference() -> Callable[[str], Recording]:
    """`reference("permute_iou")` is that recording, key to array, channels last; where it's absent the test is skipped.

    Recordings are sought in the folder that INTARSIA_REFERENCE names, else in `shared/reference` beside the repository.
    """
    folder = Path(os.environ.get("INTARSIA_REFERENCE") or ROOT.parent / "shared" / "reference")

    def load(name: str) -> Recording:
        path = folder / f"{name}.npz"
        if not path.is_file():
            pytest.skip(f"no recorded reference {path.name}: set INTARSIA_REFERENCE to the folder that holds it")
        with np.load(path) as arrays:
            return dict(arrays)

    return load
