"""Contract tests, for Intarsia's own datasets, networks and recipes and for those of others. They need pytest.

A test file derives a class from one of these and provides the fixture that its docstring names. pytest then finds the tests.
"""

import pytest

pytest.register_assert_rewrite("intarsia.testing.datasets", "intarsia.testing.networks", "intarsia.testing.recipes")

from intarsia.testing.datasets import DatasetContract  # noqa: E402
from intarsia.testing.networks import InpainterContract, SegmenterContract  # noqa: E402
from intarsia.testing.recipes import RecipeContract  # noqa: E402

__all__ = ["DatasetContract", "InpainterContract", "RecipeContract", "SegmenterContract"]
