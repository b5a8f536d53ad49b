"""Models of checkpoints: whole, partial, wrong; and slim's ResNet-50 as a start."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from intarsia import commands as cli
from intarsia.errors import InputError
from intarsia.interop import importing
from intarsia.interop.checkpoint import Variable
from intarsia.interop.names import original_names, original_shape
from intarsia.model import Model
from intarsia.networks.resnet import Unit
from intarsia.recipes import RECIPES
from intarsia.recipes.file import save_recipe
from intarsia.recipes.settings import Fusion, Inpainter, Recipe, Segmenter
from intarsia.stages.starting import started_from
from intarsia.weights import has_codes
from tests.conftest import REFERENCE
from tests.recorded import recipe_weight

# The networks of the original's VAE stage, with small ones beside them that it knows nothing of.
RECIPE = dataclasses.replace(
    RECIPES["multi_texture"]["pixels"],
    segments=3,
    inpainter=Inpainter(channels=2),
    segmenter=Segmenter(channels=8, dimension=4),
    separation=dataclasses.replace(RECIPES["multi_texture"]["pixels"].separation, sampled_segments=3),
    fusion=Fusion(channels=32, residual=False),
)


def checkpoint_of(network: nn.Module) -> dict[str, np.ndarray]:
    """The network's variables as a checkpoint holds them, with values of the recordings' recipe."""
    state = network.state_dict()
    return {
        theirs: recipe_weight(theirs, state[ours].shape).permute(2, 3, 1, 0).numpy()
        if state[ours].dim() == 4
        else recipe_weight(theirs, state[ours].shape).mT.numpy()
        if state[ours].dim() == 2
        else recipe_weight(theirs, state[ours].shape).numpy()
        for ours, theirs in original_names(network).items()
    }


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """What the checkpoint holds that is read next."""
    values: dict[str, np.ndarray] = {}

    def read(prefix: Path) -> dict[str, Variable]:
        return {name: Variable(value.shape, lambda value=value: value) for name, value in values.items()}

    monkeypatch.setattr(importing, "read_checkpoint", read)
    return values


def imported(recipe: Recipe = RECIPE, **options: bool) -> tuple[Model, list[str]]:
    return importing.import_tf1(Path("x"), recipe, **options)


def test_a_part_of_the_original_becomes_a_part_of_a_model(held: dict[str, np.ndarray]) -> None:
    held |= checkpoint_of(Model(RECIPE).autoencoder)
    counters = ["VAE//fusion/conv1/weights/Adam", "VAE//fusion/conv1/weights/Adam_1", "train_op/beta1_power_2"]
    held |= dict.fromkeys([*counters, "train_op/vae_global_step", "summary_vars/x"], np.zeros(7))
    model, lines = imported()
    initial = Model(RECIPE).state_dict()
    names = original_names(model.autoencoder)
    for name, value in model.state_dict().items():
        part, _, own = name.partition(".")
        expected = recipe_weight(names[own], value.shape) if part == "autoencoder" else initial[name]
        assert torch.equal(value, expected)
    assert lines == [
        "inpainter: initial values, the checkpoint holds nothing of it",
        "segmenter: initial values, the checkpoint holds nothing of it",
        "autoencoder: 98 variables",
        "left out: 5 variables of optimizers and counters",
    ]


def without(name: str) -> Callable[[dict], object]:
    return lambda held: held.pop(name)


def with_(name: str, *shape: int) -> Callable[[dict], object]:
    return lambda held: held.update({name: np.zeros(shape, np.float32)})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (without("Fusion//conv4/biases"), "1 missing: Fusion//conv4/biases"),
        (with_("Fusion//conv5/weights", 1), "1 surplus: Fusion//conv5/weights"),
        (with_("VAE//fusion/conv1/biases", 5), r"1 of the wrong shape: VAE//fusion/conv1/biases is \(5,\), not \(32,\)"),
        (with_("other", 1), "1 surplus: other"),
    ],
)
def test_what_does_not_fit_is_named(held: dict[str, np.ndarray], change: Callable[[dict], object], complaint: str) -> None:
    held |= checkpoint_of(Model(RECIPE).autoencoder)
    change(held)
    with pytest.raises(InputError, match=rf"^x does not fit the recipe\. Of its variables, {complaint}\.$"):
        imported()


def test_many_names_are_counted(held: dict[str, np.ndarray]) -> None:
    held |= {"VAE//other": np.zeros(1)}
    with pytest.raises(
        InputError, match=r"98 missing: VAE//separate/texVAE/conv1/weights, .*, and 68 more; 1 surplus: VAE//other"
    ):
        imported()


def test_networks_of_the_original_need_a_recipe_that_has_them(held: dict[str, np.ndarray]) -> None:
    held |= {"Inpainter//aconv1/weights": np.zeros((7, 7, 2, 32))}
    with pytest.raises(InputError, match="The original has no CompactInpainter"):
        imported()


def test_a_foreign_checkpoint_is_refused(held: dict[str, np.ndarray]) -> None:
    held |= {"dense/kernel": np.zeros((2, 2))}
    with pytest.raises(InputError, match="x holds none of Inpainter//, Generator//, VAE//, Fusion//: dense/kernel"):
        imported()


def test_a_file_becomes_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The real checkpoint, by the command."""
    prefix = str(REFERENCE / "tf1_checkpoint/vae_fusion-0.index").removesuffix(".index")
    save_recipe(RECIPE, tmp_path / "recipe.json")
    command = ["import-tf1", prefix, "--recipe", str(tmp_path / "recipe.json"), "--out", str(tmp_path / "model")]
    assert cli.main(command) == 0
    assert "autoencoder: 98 variables" in capsys.readouterr().out
    model = Model.load(tmp_path / "model")
    name = "VAE//separate/texVAE/fc1/bias"
    assert torch.equal(model.autoencoder.texture.encoder.dense[0].bias, recipe_weight(name, torch.Size([256])))
    before = (tmp_path / "model" / "weights.safetensors").read_bytes()
    assert has_codes(tmp_path / "model")
    assert cli.main(command) == 2
    assert "exists; give a new or empty folder" in capsys.readouterr().err
    assert (tmp_path / "model" / "weights.safetensors").read_bytes() == before


def test_bad_commands_leave_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "model"
    for recipe, prefix, complaint in (
        ("multi_texture/none", "x", "There is no recipe and no file 'multi_texture/none'; choose one of multi_"),
        ("multi_texture/pixels", str(tmp_path / "none"), "There is no checkpoint"),
        ("multi_texture/pixels", __file__, "is not a whole TensorFlow checkpoint"),
    ):
        assert cli.main(["import-tf1", prefix, "--recipe", recipe, "--out", str(out)]) == 2
        assert complaint in capsys.readouterr().err
        assert not out.exists()


# Slim's ResNet-50.


class SmallResNet(importing.ResNet50):
    """Its first unit and last normalisation alone."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.units, self.norm = nn.ModuleList([Unit(64, 64, 1)]), Unit(256, 64, 1).norm


@pytest.fixture
def trunk(held: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """A checkpoint like slim's: units without biases in their inner convolutions, which are normalised, and factors."""
    network = SmallResNet()
    names = {f"units.0.{ours}": f"Generator//resnet_v2/block1/unit_1/bottleneck_v2/{theirs}" for ours, theirs in [
        ("norm.bias", "preact/beta"), ("norm.mean", "preact/moving_mean"), ("norm.variance", "preact/moving_variance"),
        ("narrow.weight", "conv1/weights"), ("narrow.bias", "conv1/biases"), ("widen.weight", "conv3/weights"),
        ("widen.bias", "conv3/biases"),
    ]}  # fmt: skip
    monkeypatch.setattr(importing, "original_names", lambda network: names)
    state = network.state_dict()
    for ours, theirs in names.items():
        if not theirs.endswith("conv1/biases"):
            held[theirs.replace("Generator//resnet_v2/", "resnet_v2_50/")] = np.full(original_shape(state[ours]), 3, np.float32)
    held["resnet_v2_50/logits/biases"] = np.zeros(1001)
    held["resnet_v2_50/block1/unit_1/bottleneck_v2/preact/gamma"] = np.zeros(64)
    return held


@pytest.mark.parametrize("all_that_fits", [False, True])
def test_imagenet_gives_what_is_trained_and_the_averages_if_asked(trunk: dict[str, np.ndarray], all_that_fits: bool) -> None:
    network = SmallResNet()
    importing._start_from_imagenet(
        Path("x"), {n: Variable(v.shape, lambda v=v: v) for n, v in trunk.items()}, network, all_that_fits
    )
    unit = network.units[0]
    assert (unit.norm.bias == 3).all() and (unit.narrow.weight == 3).all() and (unit.widen.bias == 3).all()
    assert not (unit.narrow.bias == 3).any() and not (unit.convolve.weight == 3).any()
    assert (unit.norm.mean == (3 if all_that_fits else 0)).all()
    assert (unit.norm.variance == (3 if all_that_fits else 1)).all()


def test_a_part_without_vaes_claims_no_codes_and_starts_a_run(held: dict[str, np.ndarray], tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, inpainter=Inpainter("reference"))
    held |= checkpoint_of(Model(recipe).inpainter)
    model, _ = imported(recipe)
    model.save(tmp_path / "imported")
    assert not has_codes(tmp_path / "imported")
    started, learned = started_from(tmp_path / "imported", dataclasses.replace(recipe, seed=3))
    assert learned == ["inpainter"]
    weight = started.inpainter.tower.convolve[0].weight
    assert torch.equal(weight, recipe_weight("Inpainter//bconv1/weights", weight.shape))
    initial = Model(dataclasses.replace(recipe, seed=3)).segmenter.state_dict()
    assert all(torch.equal(value, initial[name]) for name, value in started.segmenter.state_dict().items())


def test_imagenet_of_another_size_is_refused(trunk: dict[str, np.ndarray]) -> None:
    name = "resnet_v2_50/block1/unit_1/bottleneck_v2/conv3/biases"
    held = {n: Variable(v.shape, lambda v=v: v) for n, v in (trunk | {name: np.zeros(7)}).items()}
    with pytest.raises(InputError, match=rf"{name} is \(7,\), not \(256,\)"):
        importing._start_from_imagenet(Path("x"), held, SmallResNet(), False)
    importing._start_from_imagenet(Path("x"), held, SmallResNet(), True)  # takes what fits


def test_imagenet_needs_its_network(held: dict[str, np.ndarray]) -> None:
    held |= {"resnet_v2_50/conv1/weights": np.zeros((7, 7, 3, 64))}
    with pytest.raises(InputError, match="x holds a ResNet-50, but the recipe's segmenter is none"):
        imported()
