"""The reference networks compute what the original's do: values, losses, gradients and optimizer steps."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from intarsia.masks import edge_map
from intarsia.networks.reference import ReferenceInpainter
from intarsia.networks.resnet import ResNet50
from intarsia.networks.segnet import SegNet
from intarsia.networks.tensorflow import Adam
from intarsia.objectives import inpainting_loss
from intarsia.stages.separation import play
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


def test_losses_and_gradients_through_the_inpainter_are_the_originals(reference):
    recorded = reference("losses_through_inpainter")
    images, logits = images_first(recorded["image"]), masks_first(recorded["logits"]).requires_grad_()
    inpainter, names = reference_inpainter()
    edges, masks = edge_map(images, 0.5), logits.softmax(1)

    separation = play(inpainter, images, edges, 30.0, True, masks).mean()
    assert separation.item() == pytest.approx(float(recorded["generator_loss"]), abs=VALUES)
    assert_close(torch.autograd.grad(separation, logits, retain_graph=True)[0],
                 masks_first(recorded["d_generator_loss_d_logits"]), GRADIENTS)  # fmt: skip

    inpainting = inpainting_loss(images, masks, inpainter(images, masks, edges))
    assert inpainting.item() == pytest.approx(float(recorded["inpainter_loss"]), rel=VALUES)
    inpainting.backward()
    assert_close(logits.grad, masks_first(recorded["d_inpainter_loss_d_logits"]), GRADIENTS)
    assert compare_gradients(inpainter, names, recorded, "d_inpainter_loss_d_weight/") == 8
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
    separation = play(inpainter, images, edges, 30.0, True, masks).mean()
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
        separation = play(inpainter, images, edges, epsilon, True, masks).mean()
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


def compare_gradients(network: nn.Module, names: dict[str, str], recorded: Recording, prefix: str) -> int:
    """Compare all recorded gradients with the network's; returns how many."""
    ours = {theirs: mine for mine, theirs in names.items()}
    keys = [key for key in recorded if key.startswith(prefix)]
    for key in keys:
        gradient = network.get_parameter(ours[key.removeprefix(prefix).replace("|", "/")]).grad
        assert_close(gradient, original_layout(recorded[key]), GRADIENTS)
    return len(keys)


def norm_of_gradients(network: nn.Module) -> float:
    return math.sqrt(sum(float(parameter.grad.square().sum()) for parameter in network.parameters()))
