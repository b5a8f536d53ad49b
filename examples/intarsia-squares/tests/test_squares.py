"""Intarsia's own contract tests, and a short training by the command line. They need the package to be installed."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from intarsia_squares.recipes import PALETTE
from intarsia_squares.segmenter import PaletteSegmenter

import intarsia
from intarsia.commands import main
from intarsia.testing import DatasetContract, RecipeContract, SegmenterContract

SHORT = ["--inpainting.steps", "2", "--separation.steps", "4", "--threads", "1", "--precision", "32-true"]


@pytest.fixture
def opened() -> Callable[..., intarsia.Scenes]:
    return partial(intarsia.open_dataset, "squares")


@pytest.fixture
def model() -> intarsia.Model:
    return intarsia.Model(PALETTE)


@pytest.fixture
def recipe() -> intarsia.Recipe:
    return intarsia.RECIPES["squares"]["palette"]


class TestSquares(DatasetContract):
    pass


class TestPalette(SegmenterContract):
    pass


class TestRecipe(RecipeContract):
    pass


def test_command_line_trains_and_evaluates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "squares/palette", "--run", str(tmp_path), *SHORT]) == 0
    assert main(["evaluate", str(tmp_path), "--scenes", "10"]) == 0
    assert "squares" in capsys.readouterr().out
    trained = intarsia.load(tmp_path).segmenter
    assert isinstance(trained, PaletteSegmenter)
    assert not torch.equal(trained.palette, intarsia.Model(PALETTE).segmenter.palette)
    assert torch.equal(trained.backbone.filter, PaletteSegmenter(4).backbone.filter)
