"""The reference networks compute what the original's do: values, losses, gradients and optimizer steps."""

import math
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.masks import edge_map
from intarsia.networks import segnet
from intarsia.networks.reference import ReferenceInpainter
from intarsia.networks.resnet import ResNet50
from intarsia.networks.segnet import SegNet
from intarsia.networks.tensorflow import Adam
from intarsia.objectives import hidden_error, inpainting_loss
from intarsia.stages.game import judge
from intarsia.stages.schedules import StepRules
from tests.conftest import Recording
from tests.recorded import (
    GRADIENTS,
    VALUES,
    assert_close,
    fill,
    images_first,
    masks_first,
    original_layout,
)

STRIDE = 3e-4  # along the gradient
# One unit of that recording lies 3e-8 from the kink of its leaky ReLU: the order of a sum decides on which side it falls, and
# the number of threads decides the order. On the other side, gradients of the layers before it differ by 1.3e-3.
KINK = 3e-3


def reference_inpainter() -> tuple[ReferenceInpainter, dict[str, str]]:
    inpainter = ReferenceInpainter()
    return inpainter, fill(inpainter)


def reference_segnet(segments: int) -> tuple[SegNet, dict[str, str]]:
    segmenter = SegNet(segments)
    return segmenter, fill(segmenter)


@pytest.mark.parametrize(
    ("network", "count"),
    [(ReferenceInpainter, 13_513_615), (partial(SegNet, 3), 5_783_817), (partial(SegNet, 5), 5_784_399),
     (partial(ResNet50, 5), 23_865_300), (partial(ResNet50, 6), 23_939_032)],
)  # fmt: skip
def test_as_many_trainable_numbers_as_the_original(network, count):
    assert sum(parameter.numel() for parameter in network().parameters()) == count


@torch.no_grad()
def test_inpainter_is_the_originals(reference):
    recorded = reference("inpainter_64")
    masks = masks_first(recorded["masks"])
    hidden, edges = torch.cat([masks, torch.ones_like(masks[:, :1])], 1), images_first(recorded["edge"]).float()
    guesses = reference_inpainter()[0](images_first(recorded["image"]), hidden, edges)
    assert_close(guesses[:, :-1], images_first(recorded["pred_intensities"]))
    assert_close(guesses[:, -1], images_first(recorded["unconditioned_mean"]))


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 32), (32, 96), (64, 160)])
def test_inpainter_takes_other_sizes(size):
    """Also those whose last two levels are a pixel each."""
    images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    hidden = torch.ones(1, 2, *size)
    hidden[:, 0, :16] = 0
    inpainter = ReferenceInpainter()
    guesses = inpainter(images, hidden, edge_map(images, 0.5))
    assert guesses.shape == (1, 2, 3, *size)
    levels = inpainter.tower(torch.rand(1, 5, *size))
    assert [level.shape[1] for level in levels] == [32, 64, 128, 256, 256, 256]


@pytest.mark.parametrize("segments", [3, 5])
@torch.no_grad()
def test_small_segmenter_is_the_originals(reference, segments):
    recorded = reference(f"generator_segnet_c{segments}")
    logits = reference_segnet(segments)[0](images_first(recorded["image"]))
    assert_close(logits, masks_first(recorded["logits"]))
    assert_close(logits.softmax(1), masks_first(recorded["masks"]))


def test_large_segmenter_is_the_originals(reference):
    recorded = reference("generator_resnet_c5")
    segmenter, images = ResNet50(5), images_first(recorded["image"])
    names = fill(segmenter)
    with torch.no_grad():
        for mode, training in (("eval", False), ("train", True)):
            logits = segmenter.train(training)(images)
            assert_close(logits, masks_first(recorded[f"logits_{mode}"]))
            assert_close(logits.softmax(1), masks_first(recorded[f"masks_{mode}"]))
    ours, compared = {theirs: mine for mine, theirs in names.items()}, 0
    segmenter(images)  # with gradients: the averages follow
    for key, expected in recorded.items():
        if key.startswith("after_one_update/"):
            name = ours[key.partition("/")[2].replace("|", "/")]
            assert_close(segmenter.get_buffer(name), torch.from_numpy(expected), 1e-5)
            compared += 1
    assert compared == 6


def outputs(layers: Mapping[str, nn.Module], run: Callable[[], object]) -> dict[str, Tensor]:
    """What layers give while something runs, by their names."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda layer, given, result: found.update({name: result.clone()})

    hooks = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]
    run()
    for hook in hooks:
        hook.remove()
    return found


@torch.no_grad()
def test_layers_of_the_inpainter_are_the_originals(reference):
    """Those of the first mask; the edges' tower runs once per image, and what a layer gives is not yet activated."""
    run, recorded = reference("inpainter_64"), reference("inpainter_64_activations")
    inpainter, names = reference_inpainter()
    layers = {theirs.split("/")[2]: inpainter.get_submodule(ours.rpartition(".")[0]) for ours, theirs in names.items()}
    hidden, edges = masks_first(run["masks"])[:, :1], images_first(run["edge"]).float()
    found = outputs(layers, lambda: inpainter(images_first(run["image"]), hidden, edges))
    assert len(recorded) == 14
    for key, expected in recorded.items():
        name = key.removeprefix("act/")
        own = found[name] if "intensity" in name else F.leaky_relu(found[name], 0.2)
        assert_close(own, images_first(expected))


@torch.no_grad()
def test_layers_of_the_small_segmenter_are_the_originals(reference, monkeypatch):
    run, recorded = reference("generator_segnet_c3"), reference("generator_segnet_c3_activations")
    segmenter, _ = reference_segnet(3)
    places = {"conv1": 0, "conv2_downsample": 1, "conv7_atrous": 6, "conv11_before_skip": 10}
    doubled: list[Tensor] = []
    own = segnet._doubled
    monkeypatch.setattr(segnet, "_doubled", lambda *given: doubled.append(own(*given)) or doubled[-1])
    found = outputs(
        {name: segmenter.layers[place] for name, place in places.items()}, lambda: segmenter(images_first(run["image"]))
    )
    found = {name: F.elu(value) for name, value in found.items()} | {"conv13_upsample": doubled[0]}
    assert {key.removeprefix("act/") for key in recorded} == found.keys()
    for name, value in found.items():
        assert_close(value[:1], images_first(recorded[f"act/{name}"]))


@torch.no_grad()
def test_layers_of_the_large_segmenter_are_the_originals(reference):
    run, recorded = reference("generator_resnet_c5"), reference("generator_resnet_c5_activations")
    segmenter = ResNet50(5).eval()
    fill(segmenter)
    units = {"block1_unit1": 0, "block1_unit3": 2, "block2_unit1": 3, "block4_unit3": 15}
    layers = {name: segmenter.units[place] for name, place in units.items()}
    seen: dict[str, Tensor] = {}
    segmenter.stem.register_forward_pre_hook(lambda _, given: seen.update({"input": given[0]}))
    segmenter.units[0].register_forward_pre_hook(lambda _, given: seen.update({"pool1": given[0]}))
    layers |= {"conv1": segmenter.stem, "postnorm": segmenter.norm}
    found = outputs(layers, lambda: segmenter(images_first(run["image"]))) | seen
    found["postnorm"] = F.relu(found["postnorm"])
    assert {key.split("/")[1].split("[")[0] for key in recorded} == found.keys()
    for name, value in found.items():
        count, height, width, channels = recorded[f"act/{name}/shape"].tolist()
        assert value.shape == (count, channels, height, width)
        assert float(value.abs().mean()) == pytest.approx(float(recorded[f"act/{name}/mean_abs"]), rel=VALUES)
        expected = torch.from_numpy(recorded[f"act/{name}[0,:,:,:16]"]).permute(2, 0, 1)
        assert_close(value[0, :16], expected)


def test_gradients_of_the_large_segmenter_are_the_slopes_of_its_loss(reference):
    """Image to segments to guesses to the separation loss, by the batch's own statistics, and back; none are recorded of it."""
    images = images_first(reference("generator_resnet_c5")["image"])[:1, :, :32, :32]
    (inpainter, _), segmenter = reference_inpainter(), ResNet50(5).train()
    fill(segmenter)
    inpainter.requires_grad_(False)
    edges = edge_map(images, 0.5)

    def loss() -> Tensor:
        return judge(inpainter, [images], edges, segmenter(images).softmax(1), StepRules(30.0)).mean()

    loss().backward()
    for part in ("norm.bias", ""):
        own = [value for name, value in segmenter.named_parameters() if part in name]
        norm, ends = math.sqrt(sum(float(value.grad.square().sum()) for value in own)), []
        with torch.no_grad():
            for step in (1, -2):  # a stride ahead, and one back
                for value in own:
                    value.add_(value.grad, alpha=step * STRIDE / norm)
                ends.append(float(loss()))
            for value in own:
                value.add_(value.grad, alpha=STRIDE / norm)
        assert (ends[0] - ends[1]) / (2 * STRIDE) == pytest.approx(norm, rel=1e-2), part


def test_losses_and_gradients_through_the_inpainter_are_the_originals(reference):
    recorded = reference("losses_through_inpainter")
    images, logits = images_first(recorded["image"]), masks_first(recorded["logits"]).requires_grad_()
    inpainter, names = reference_inpainter()
    edges, masks = edge_map(images, 0.5), logits.softmax(1)

    separation = judge(inpainter, [images], edges, masks, StepRules(30.0)).mean()
    assert separation.item() == pytest.approx(float(recorded["generator_loss"]), abs=VALUES)
    assert_close(torch.autograd.grad(separation, logits, retain_graph=True)[0],
                 masks_first(recorded["d_generator_loss_d_logits"]), GRADIENTS)  # fmt: skip

    guesses = inpainter(images, torch.cat([masks, torch.ones_like(masks[:, :1])], 1), edges)
    errors = hidden_error(images, masks, guesses[:, :-1])
    prior = hidden_error(images, masks, guesses[:, -1:].expand_as(guesses[:, :-1]))
    assert_close(errors, torch.from_numpy(recorded["generator_numerator"]))
    assert_close(errors, torch.from_numpy(recorded["inpainter_loss_branch"]))
    assert_close(30.0 + prior, torch.from_numpy(recorded["generator_denominator"]))
    # A small difference of large numbers: 1e-4 of the ratio that is taken from 1.
    assert torch.allclose(1 - errors / (30.0 + prior), torch.from_numpy(recorded["generator_IRR"]), atol=VALUES)

    inpainting = inpainting_loss(images, masks, inpainter(images, masks, edges))
    assert inpainting.item() == pytest.approx(float(recorded["inpainter_loss"]), rel=VALUES)
    inpainting.backward()
    assert_close(logits.grad, masks_first(recorded["d_inpainter_loss_d_logits"]), GRADIENTS)
    assert compare_gradients(inpainter, names, recorded, "d_inpainter_loss_d_weight/", KINK) == 8
    assert norm_of_gradients(inpainter) == pytest.approx(float(recorded["inpainter_grad_global_norm"]), rel=GRADIENTS)


def test_gradients_of_the_small_segmenter_are_the_originals(reference):
    """Image to segments to guesses to losses, and all the way back."""
    recorded = reference("losses_end_to_end_segnet_c3")
    images, (inpainter, _), (segmenter, names) = images_first(recorded["image"]), reference_inpainter(), reference_segnet(3)
    edges, masks = edge_map(images, 0.5), segmenter(images).softmax(1)
    inpainting = inpainting_loss(images, masks.detach(), inpainter(images, masks.detach(), edges))
    assert inpainting.item() == pytest.approx(float(recorded["inpainter_loss"]), rel=VALUES)
    inpainting.backward()
    assert norm_of_gradients(inpainter) == pytest.approx(float(recorded["inpainter_grad_global_norm"]), rel=GRADIENTS)

    inpainter.requires_grad_(False)
    separation = judge(inpainter, [images], edges, masks, StepRules(30.0)).mean()
    assert separation.item() == pytest.approx(float(recorded["generator_loss"]), abs=VALUES)
    separation.backward()
    assert compare_gradients(segmenter, names, recorded, "d_generator_loss_d_weight/") == 6
    assert norm_of_gradients(segmenter) == pytest.approx(float(recorded["generator_grad_global_norm"]), rel=GRADIENTS)
    ours = {theirs: mine for mine, theirs in names.items()}
    largest = recorded["all_generator_grad_norms"].max()
    for theirs, expected in zip(recorded["all_generator_grad_names"], recorded["all_generator_grad_norms"], strict=True):
        norm = segmenter.get_parameter(ours[str(theirs).removesuffix(":0")]).grad.norm()
        assert float(norm) == pytest.approx(float(expected), rel=GRADIENTS, abs=1e-6 * float(largest))


def test_eight_turns_of_the_game_are_the_originals(reference):
    """Both optimizers, on one batch."""
    recorded = reference("steps_cis_segnet")
    images, (inpainter, inpainter_names), (segmenter, segmenter_names) = (
        images_first(recorded["image"]), reference_inpainter(), reference_segnet(3),
    )  # fmt: skip
    inpainter_optimizer = Adam(inpainter.parameters(), float(recorded["lr_inpainter"]))
    segmenter_optimizer = Adam(segmenter.parameters(), float(recorded["lr_generator"]))
    edges, epsilon, losses = edge_map(images, 0.5), float(recorded["epsilon"]), []
    for turn in (*recorded["sequence"], None):
        masks = segmenter(images).softmax(1)
        inpainting = inpainting_loss(images, masks, inpainter(images, masks, edges))
        separation = judge(inpainter, [images], edges, masks, StepRules(epsilon)).mean()
        losses.append([inpainting.item(), separation.item()])
        if turn is not None:
            loss, optimizer = {"I": (inpainting, inpainter_optimizer), "G": (separation, segmenter_optimizer)}[str(turn)]
            inpainter.zero_grad(), segmenter.zero_grad()
            loss.backward()
            optimizer.step()
    assert np.allclose(losses, recorded["losses_inpainter_generator"], rtol=0, atol=VALUES)
    assert_close(segmenter(images), masks_first(recorded["logits_after"]), 2e-2)  # Adam makes much of gradients near 0
    for network, names in ((inpainter, inpainter_names), (segmenter, segmenter_names)):
        ours = {theirs: mine for mine, theirs in names.items()}
        for key, expected in recorded.items():
            theirs = key.removeprefix("after/").replace("|", "/")
            if theirs in ours:
                assert_close(network.get_parameter(ours[theirs]), original_layout(expected), GRADIENTS)


def compare_gradients(
    network: nn.Module, names: dict[str, str], recorded: Recording, prefix: str, tolerance: float = GRADIENTS
) -> int:
    """Compare all recorded gradients with the network's; returns how many."""
    ours = {theirs: mine for mine, theirs in names.items()}
    keys = [key for key in recorded if key.startswith(prefix)]
    for key in keys:
        gradient = network.get_parameter(ours[key.removeprefix(prefix).replace("|", "/")]).grad
        assert_close(gradient, original_layout(recorded[key]), tolerance)
    return len(keys)


def norm_of_gradients(network: nn.Module) -> float:
    return math.sqrt(sum(float(parameter.grad.square().sum()) for parameter in network.parameters()))
