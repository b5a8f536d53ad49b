"""Fixtures of the tests of datasets."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def original_pictures() -> Path:
    """The original's four pictures, beside the folder INTARSIA_REFERENCE, or in `shared` beside the repository."""
    reference = Path(os.environ.get("INTARSIA_REFERENCE") or ROOT.parent / "shared" / "reference")
    folder = reference.parent / "original" / "multi_texture"
    if not folder.is_dir():
        pytest.skip(f"the original's pictures are not in {folder}")
    return folder
