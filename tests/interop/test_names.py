"""The mapping of names, against every list of the original's variables."""

import json

import pytest
import torch
from torch import nn

from intarsia.errors import InputError
from intarsia.interop.checkpoint import read_checkpoint
from intarsia.interop.names import from_original, original_names, original_shape
from intarsia.networks.autoencoder import SceneAutoencoder
from intarsia.networks.inpainter import CompactInpainter
from intarsia.networks.reference import ReferenceInpainter
from intarsia.networks.resnet import ResNet50
from intarsia.networks.segnet import SegNet
from tests.conftest import REFERENCE
from tests.recorded import recipe_weight

INPAINTER = ReferenceInpainter
LISTS = {
    "full_multi_texture": [INPAINTER, lambda: ResNet50(5), lambda: SceneAutoencoder(64, 64, 4)],
    "full_multi_dsprites": [INPAINTER, lambda: ResNet50(5), lambda: SceneAutoencoder(64, 64, 4)],
    "full_objects_room": [INPAINTER, lambda: ResNet50(6), lambda: SceneAutoencoder(64, 64, 3)],
    "full_flying_animals": [INPAINTER, lambda: ResNet50(6), lambda: SceneAutoencoder(96, 128, 5, 20, 20, 30)],
    "full_multi_texture_pc_segnet": [INPAINTER, lambda: SegNet(3), lambda: SceneAutoencoder(64, 64, 2)],
    "generator_resnet_c5": [lambda: ResNet50(5)],
    "generator_resnet_c6": [lambda: ResNet50(6)],
    "generator_segnet_c3": [lambda: SegNet(3)],
    "generator_segnet_c5": [lambda: SegNet(5)],
    "inpainter": [INPAINTER],
    "vae_fusion_b3": [lambda: SceneAutoencoder(64, 64, 2)],
    "vae_fusion_b5": [lambda: SceneAutoencoder(64, 64, 4)],
}


@pytest.mark.parametrize("name", LISTS)
def test_every_variable_of_the_original_is_mapped(name: str) -> None:
    listed = json.loads((REFERENCE / f"variables_{name}.json").read_text())
    with torch.device("meta"):
        networks = [network() for network in LISTS[name]]
    found = {}
    for network in networks:
        names, state = original_names(network), network.state_dict()
        assert names.keys() == state.keys()
        assert len(set(names.values())) == len(names)
        trainable = dict(network.named_parameters())
        found |= {theirs: (original_shape(state[ours]), ours in trainable) for ours, theirs in names.items()}
    assert found == {each["name"]: (tuple(each["shape"]), each["trainable"]) for each in listed}


def test_values_are_laid_out_as_ours() -> None:
    """All of a real checkpoint against the recordings' weights, which fit our networks' shapes."""
    variables = read_checkpoint(REFERENCE / "tf1_checkpoint/vae_fusion-0.index")
    state = SceneAutoencoder(64, 64, 2).state_dict()
    for ours, theirs in original_names(SceneAutoencoder(64, 64, 2)).items():
        assert torch.equal(from_original(variables[theirs].read(), theirs), recipe_weight(theirs, state[ours].shape))


@pytest.mark.parametrize("shape", [(), (3,), (2, 5), (4, 3, 2, 5)])
def test_layouts_by_hand(shape: tuple[int, ...]) -> None:
    theirs = torch.arange(float(torch.Size(shape).numel())).view(shape)
    ours = from_original(theirs.numpy(), "")
    assert original_shape(ours) == shape
    if len(shape) == 4:
        assert ours[4, 1, 3, 0] == theirs[3, 0, 1, 4]
    if len(shape) == 2:
        assert ours[4, 1] == theirs[1, 4]


@pytest.mark.parametrize("network", [nn.Linear(1, 1), CompactInpainter(32, 32, 4, 0)], ids=["Linear", "CompactInpainter"])
def test_a_network_that_the_original_lacks_is_refused(network: nn.Module) -> None:
    with pytest.raises(InputError, match=f"The original has no {type(network).__name__}"):
        original_names(network)
