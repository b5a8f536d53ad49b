"""What all tests share: the recorded inputs and outputs of the original, and what is needed to draw rooms."""

import ctypes.util
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

Recording = Mapping[str, np.ndarray]

REFERENCE = Path(__file__).parent / "reference"


@pytest.fixture(scope="session")
def drawing() -> None:
    """Skips the test where MuJoCo can't draw."""
    if not importlib.util.find_spec("mujoco"):  # only looked for: the first import settles how a process draws
        pytest.skip("the extra `rooms` is not installed")
    if not any(map(ctypes.util.find_library, ("EGL", "OSMesa"))):
        pytest.skip("neither EGL nor OSMesa is installed")


@pytest.fixture(scope="session")
def reference() -> Callable[[str], Recording]:
    """`reference("permute_iou")` is that recording of the original, key to array, channels last."""

    def load(name: str) -> Recording:
        with np.load(REFERENCE / f"{name}.npz") as arrays:
            return dict(arrays)

    return load


@pytest.fixture(scope="session")
def original_pictures() -> Path:
    """The folder of the original's pictures. They carry no licence and can't ship: without them the test is skipped."""
    folder = REFERENCE.parents[2] / "shared" / "original"
    if not folder.is_dir():
        pytest.skip("the original's pictures, which carry no licence, are not in shared/original beside the repository")
    return folder
