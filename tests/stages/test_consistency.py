"""Stage 5: what it computes is what the original computes; which numbers change, and what is demanded."""

import dataclasses

import pytest
import torch
from torch import Generator, Tensor

from intarsia.interop.names import original_names
from intarsia.masks import background_last_order, edge_map, open_masks, reorder_channels, translate
from intarsia.model import Model
from intarsia.networks.autoencoder import SceneAutoencoder
from intarsia.networks.reference import ReferenceInpainter
from intarsia.networks.segnet import SegNet
from intarsia.objectives import consistency_error, divergence
from intarsia.recipes import RECIPES
from intarsia.stages.consistency import changed_codes, changed_scenes, draw_change, met
from intarsia.stages.separation import play
from tests.recorded import GRADIENTS, VALUES, assert_close, fill, images_first, masks_first, original_layout


def filled(network):
    fill(network)
    return network


def varied(recorded, key: str) -> Tensor:
    """`v b h w c` or `v b h w 1 k` to `(v b) c h w`."""
    found = torch.from_numpy(recorded[key]).flatten(0, 1)
    return (found.squeeze(3) if found.dim() == 5 else found).permute(0, 3, 1, 2)


def test_the_whole_chain_is_the_originals(reference):
    """Segments, codes, changed images, demanded and found masks, losses, and the gradients of the consistency error."""
    recorded = reference("perceptual_consistency_k0")
    segmenter, autoencoder = filled(SegNet(3)), filled(SceneAutoencoder(64, 64, 2)).requires_grad_(False)
    images = images_first(recorded["image"])
    logits = segmenter(images)
    masks = open_masks(logits.softmax(1))
    clean = reorder_channels(masks, background_last_order(masks, per_batch=True))
    assert_close(clean, masks_first(recorded["filtered_masks"]))

    copies = clean[:, :-1].repeat(4, 1, 1, 1).flatten(0, 1)[:, None]
    right, down = torch.from_numpy(recorded["dx"]), torch.from_numpy(recorded["dy"])
    practice = translate(copies, right, down)[torch.from_numpy(recorded["perm"]).long()][:8].view(2, 4, 64, 64)
    found = autoencoder(images, clean, example_masks=practice)
    assert_close(found.shape_logits.sigmoid(), masks_first(recorded["out_masks"]))
    nats = divergence(found.shape_examples.mean, found.shape_examples.log_variance).mean((0, 1))
    assert_close(nats, torch.from_numpy(recorded["mask_kl"]))
    dimensions = nats.topk(2).indices.sort().values
    assert dimensions.tolist() == recorded["mask_top_dims"].tolist()

    number, values = int(recorded["k"]), torch.from_numpy(recorded["new_xy"]).squeeze(3).transpose(1, 2)
    codes = changed_codes(found, number, dimensions, values)
    changed, demanded = changed_scenes(autoencoder, found, number, codes, in_order=False, sharpness=1.0)
    assert_close(changed, varied(recorded, "new_images"))
    assert_close(demanded, varied(recorded, "new_labels"))
    again = segmenter(changed)
    assert_close(again.softmax(1), varied(recorded, "new_masks"))
    error = consistency_error(demanded, again) / len(images)
    assert_close(error.view(6, 2), torch.from_numpy(recorded["pc_per_variation"]))

    assert float(error.mean().detach()) == pytest.approx(float(recorded["loss_pc"]), rel=VALUES)

    inpainter = filled(ReferenceInpainter()).requires_grad_(False)
    separation = play(inpainter, images, edge_map(images, 0.5), float(recorded["epsilon"]), True, logits.softmax(1)).mean()
    assert_close(separation, torch.from_numpy(recorded["loss_cis"]))
    total = separation + float(recorded["ita"]) * error.mean()
    assert float(total.detach()) == pytest.approx(float(recorded["loss_total"]), rel=VALUES)

    total_gradients = torch.autograd.grad(total, list(segmenter.parameters()), retain_graph=True)
    error.mean().backward()
    for key, gradients in (("total", total_gradients), ("pc", [each.grad for each in segmenter.parameters()])):
        norm = float(torch.cat([each.flatten() for each in gradients]).norm())
        assert norm == pytest.approx(float(recorded[f"{key}_grad_global_norm"]), rel=GRADIENTS)
    ours = {theirs: name for name, theirs in original_names(segmenter).items()}
    keys = [key for key in recorded if key.startswith("d_pc_d_weight/")]
    assert len(keys) == 3
    for key in keys:
        name = ours[key.partition("/")[2].replace("|", "/")]
        assert_close(segmenter.get_parameter(name).grad, original_layout(recorded[key]), GRADIENTS)


def scene(objects: int) -> tuple[SceneAutoencoder, Tensor, Tensor]:
    torch.manual_seed(0)
    autoencoder = SceneAutoencoder(32, 32, objects, 2, 4, 3, channels=6, hidden=12, fusion_channels=5)
    draws = Generator().manual_seed(0)
    masks = (4 * torch.rand(2, objects + 1, 32, 32, generator=draws)).softmax(1)
    return autoencoder, torch.rand(2, 3, 32, 32, generator=draws), masks


@torch.no_grad()
@pytest.mark.parametrize(("objects", "number"), [(1, 0), (2, 1), (3, 1), (4, 0)])
def test_only_the_changed_object_is_demanded_elsewhere(objects: int, number: int):
    autoencoder, images, masks = scene(objects)
    autoencoder.shape.decoder.convolve[-1].bias.fill_(-2.0)  # shapes that leave one another room
    found = autoencoder(images, masks)
    values = torch.tensor([[[2.0, -1.0]] * 2, [[0.5, 1.0]] * 2, [[0.0, 0.0]] * 2])
    codes = changed_codes(found, number, torch.tensor([1, 3]), values)
    assert codes.shape == (6, 4)
    assert torch.equal(codes[:, [1, 3]], values.flatten(0, 1))
    assert torch.equal(codes[:, [0, 2]], found.mean.shape[:, number].repeat(3, 1)[:, [0, 2]])
    changed, demanded = changed_scenes(autoencoder, found, number, codes, in_order=True, sharpness=1.0)
    assert changed.shape == (6, 3, 32, 32)
    assert demanded.shape == (6, objects + 1, 32, 32)
    assert demanded.min() >= 0
    assert torch.allclose(demanded.sum(1), torch.ones(6, 32, 32), atol=1e-6)
    others = [each for each in range(objects) if each != number]
    assert torch.equal(demanded[:2, others], demanded[4:, others])
    assert not torch.allclose(demanded[:2, number], demanded[4:, number])


@torch.no_grad()
def test_a_code_left_as_it_is_gives_the_reconstruction():
    """In the learned order, with shapes that leave one another room, nothing changed means nothing changes."""
    autoencoder, images, masks = scene(3)
    autoencoder.shape.decoder.convolve[-1].bias.fill_(-20.0)  # shapes of next to nothing
    found = autoencoder(images, masks)
    changed, _ = changed_scenes(autoencoder, found, 1, found.mean.shape[:, 1], in_order=True, sharpness=1.0)
    assert torch.allclose(changed, found.images, atol=1e-6)
    original, _ = changed_scenes(autoencoder, found, 1, found.mean.shape[:, 1], in_order=False, sharpness=1.0)
    assert not torch.allclose(original, found.images, atol=1e-6)


def test_gradients_reach_the_masks_through_images_alone():
    autoencoder, images, masks = scene(2)
    masks.requires_grad_(True)
    found = autoencoder(images, masks)
    changed, demanded = changed_scenes(autoencoder, found, 0, found.mean.shape[:, 0], in_order=True, sharpness=1.0)
    assert not demanded.requires_grad
    changed.sum().backward()
    assert masks.grad is not None and masks.grad[:, 0].any()


def test_changes_are_drawn_within_reach():
    recipe = RECIPES["multi_texture"]["compact"]
    recipe = dataclasses.replace(recipe, consistency=dataclasses.replace(recipe.consistency, reach=0.5, batch=50))
    drawn = [draw_change(recipe, Generator().manual_seed(seed)) for seed in range(20)]
    assert {number for number, _, _ in drawn} == {0, 1, 2, 3}
    assert {(other - number) % 4 for number, other, _ in drawn} == {1, 2, 3}
    values = torch.stack([values for _, _, values in drawn])
    assert values.shape == (20, 6, 50, 2)
    assert 0.49 < values.max() <= 0.5 and -0.5 <= values.min() < -0.49
    assert abs(values.mean()) < 0.01
    again = draw_change(recipe, Generator().manual_seed(0))
    assert again[:2] == drawn[0][:2] and torch.equal(again[2], drawn[0][2])
    assert draw_change(dataclasses.replace(recipe, segments=2), Generator())[:2] == (0, 0)  # one object meets itself


def test_objects_meet_in_some_variations():
    autoencoder, images, masks = scene(2)
    found = autoencoder(images, masks)
    values = torch.linspace(-1, 1, 3 * len(images) * 2).view(3, -1, 2)
    dimensions = torch.tensor([1, 3])
    moved = met(found, 0, dimensions, values, 2)
    there = found.mean.shape[:, 0, [1, 3]]
    assert torch.equal(moved[0], there + values[0] / 2) and torch.equal(moved[1], there + values[1] / 2)
    assert torch.equal(moved[2], values[2]) and not moved.requires_grad
    assert torch.equal(met(found, 0, dimensions, values, 0), values)


def test_consistency_error_by_hand():
    """One pixel that is demanded half by half, and found with 3 : 1: -(log 3/4 + log 1/4) / 2; two such pixels, twice that."""
    demanded, logits = torch.full((1, 2, 1, 2), 0.5), torch.tensor([3.0, 1.0]).log().view(1, 2, 1, 1).expand(1, 2, 1, 2)
    expected = -(torch.tensor(0.75).log() + torch.tensor(0.25).log())
    assert consistency_error(demanded, logits).item() == pytest.approx(float(expected))
    found = logits.double().clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: consistency_error(demanded.double(), x), [found])


def test_moved_masks_by_hand():
    masks = torch.arange(12.0).view(1, 1, 3, 4).repeat(1, 2, 1, 1)
    found = translate(masks, torch.tensor([[1.2, -2.0]]), torch.tensor([[0.0, 0.9]]))
    assert found[0, 0].tolist() == [[0, 0, 1, 2], [0, 4, 5, 6], [0, 8, 9, 10]]
    assert found[0, 1].tolist() == [[0, 0, 0, 0], [2, 3, 0, 0], [6, 7, 0, 0]]


@torch.no_grad()
def test_moved_masks_are_the_originals(reference):
    recorded = reference("vae_mask_augmentation")
    masks = masks_first(recorded["masks"]).repeat(4, 1, 1, 1).flatten(0, 1)[:, None]
    translated = translate(masks, torch.from_numpy(recorded["dx"]), torch.from_numpy(recorded["dy"]))
    assert torch.equal(translated, images_first(recorded["translated"]))


def test_the_shape_vae_practises_on_other_masks_if_given():
    """And what is shown does not change."""
    autoencoder, images, masks = scene(2)
    practice = torch.rand(2, 3, 32, 32, generator=Generator().manual_seed(1))
    plain, other = autoencoder(images, masks), autoencoder(images, masks, example_masks=practice)
    assert torch.equal(plain.images, other.images) and torch.equal(plain.shape_logits, other.shape_logits)
    assert torch.equal(other.shape_examples.masks, practice) and other.shape_examples.mean.shape == (2, 3, 4)
    assert torch.equal(plain.shape_examples.mean, plain.mean.shape) and torch.equal(
        plain.shape_examples.logits, plain.shape_logits
    )
    mean, _, logits = autoencoder.shape(practice[:, 1, None])
    assert torch.allclose(other.shape_examples.mean[:, 1], mean, atol=1e-6)
    assert torch.allclose(other.shape_examples.logits[:, 1], logits[:, 0], atol=1e-5)


def test_the_recipe_of_pairs_has_the_stage():
    recipe = RECIPES["multi_texture_pair"]["compact"]
    assert recipe.segments == 3 and recipe.consistency.steps > 0 and recipe.consistency.canonical
    Model(recipe)
