"""What all tests share: the recorded inputs and outputs of the original, and what is needed to draw rooms."""

import ctypes.util
import importlib.util
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

Recording = Mapping[str, np.ndarray]

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def reference_file() -> Callable[[str], Path]:
    """`reference_file("adam.npz")` is that file of the recorded reference; where it's absent the test is skipped.

    It is sought in the folder that INTARSIA_REFERENCE names, else in `shared/reference` beside the repository.
    """
    folder = Path(os.environ.get("INTARSIA_REFERENCE") or ROOT.parent / "shared" / "reference")

    def find(name: str) -> Path:
        if not (folder / name).is_file():
            pytest.skip(f"no recorded reference {name}: set INTARSIA_REFERENCE to the folder that holds it")
        return folder / name

    return find


@pytest.fixture(scope="session")
def drawing() -> None:
    """Skips the test where MuJoCo can't draw."""
    if not importlib.util.find_spec("mujoco"):  # only looked for: the first import settles how a process draws
        pytest.skip("the extra `rooms` is not installed")
    if not any(map(ctypes.util.find_library, ("EGL", "OSMesa"))):
        pytest.skip("neither EGL nor OSMesa is installed")


@pytest.fixture(scope="session")
def reference(reference_file: Callable[[str], Path]) -> Callable[[str], Recording]:
    """`reference("permute_iou")` is that recording, key to array, channels last; where it's absent the test is skipped."""

    def load(name: str) -> Recording:
        with np.load(reference_file(f"{name}.npz")) as arrays:
            return dict(arrays)

    return load
