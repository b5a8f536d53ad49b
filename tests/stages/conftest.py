"""Models that tests of several stages start from; a test that changes one copies it first."""

from pathlib import Path

import pytest

from intarsia.data import open_dataset
from intarsia.model import Model
from intarsia.shapes import Images
from intarsia.stages.inpainting import inpainting
from intarsia.stages.scenes import TrainingScenes
from intarsia.stages.vaes import vaes
from tests.stages.toys import LEARNS, TOY, TOYS, GreySegmenter, run_stage


@pytest.fixture(scope="session")
def images() -> Images:
    """Scenes that `inpainted` has not seen."""
    return open_dataset(LEARNS.dataset, 0, "val")(range(32)).images


@pytest.fixture(scope="session")
def inpainted(tmp_path_factory) -> Model:
    """A model after stage 1."""
    model = Model(LEARNS)
    run_stage(inpainting, model, tmp_path_factory.mktemp("learns"))
    return model


@pytest.fixture(scope="session")
def toy(tmp_path_factory) -> tuple[Model, Path]:
    """A model after stage 3 with true masks in place of the segmenter's, and the stage's folder."""
    model = Model(TOY)
    model.segmenter = GreySegmenter()
    return model, run_stage(vaes, model, tmp_path_factory.mktemp("toy"), TrainingScenes(TOYS, TOYS))


@pytest.fixture
def coded(toy) -> Model:
    """A model whose codes are those of `toy`, with a segmenter that has learned nothing."""
    model = Model(TOY)
    model.autoencoder.load_state_dict(toy[0].autoencoder.state_dict())
    return model
