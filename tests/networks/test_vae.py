"""VAEs and fusion: what they promise, and that they compute what the original does."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn

from intarsia.interop.names import original_names
from intarsia.manipulation import most_informative, traverse
from intarsia.model import Model
from intarsia.networks.autoencoder import Codes, Reconstruction, SceneAutoencoder, parts
from intarsia.networks.fusion import SceneFusion, TextureShapeFusion
from intarsia.networks.vae import VAE
from intarsia.objectives import capacity_loss, divergence, shape_error
from intarsia.pictures import read_picture
from intarsia.recipes import RECIPES
from intarsia.recipes.settings import Fusion, Recipe, Vae
from intarsia.rendering import Renderer
from intarsia.stages.codes import errors_of, vae_loss
from tests.recorded import GRADIENTS, VALUES, assert_close, fill, images_first, original_layout


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=Generator().manual_seed(seed))


def filled(objects: int) -> SceneAutoencoder:
    """The scene autoencoder of 64x64 pixels with the recordings' weights."""
    autoencoder = SceneAutoencoder(64, 64, objects)
    fill(autoencoder)
    return autoencoder


def recorded_inputs(recorded) -> tuple[Tensor, Tensor]:
    """Images and masks; the recordings hold the objects' masks alone."""
    images, masks = images_first(recorded["image"]), images_first(recorded["masks"]).squeeze(2)
    return images, torch.cat([masks, 1 - masks.sum(1, keepdim=True)], 1)


def test_the_weight_recipe_gives_its_check_values():
    autoencoder = filled(4)
    expected = torch.tensor([0.059575092, 0.019862032, -0.014155412])
    assert torch.allclose(autoencoder.texture.encoder.dense[0].bias[:3], expected, atol=1e-8)
    assert sum(value.numel() for value in autoencoder.parameters()) == 1_367_157  # as the list of variables says
    assert len(list(autoencoder.parameters())) == 98


@pytest.mark.parametrize(("name", "count"), [("vae_b3", 2), ("vae_b5", 4)])
def test_the_autoencoder_computes_what_the_original_does(reference, name, count):
    recorded = reference(name)
    images, masks = recorded_inputs(recorded)
    found = filled(count)(images, masks)
    for part, key in (("texture", "tex"), ("shape", "mask")):
        assert_close(getattr(found.mean, part).transpose(0, 1), torch.from_numpy(recorded[f"latent/{key}"]))
        assert_close(getattr(found.mean, part)[:, 0], torch.from_numpy(recorded[f"enc_{key}0/mean"]))
        assert_close(getattr(found.log_variance, part)[:, 0], torch.from_numpy(recorded[f"enc_{key}0/log_sigma_sq"]))
        nats = divergence(getattr(found.mean, part), getattr(found.log_variance, part))
        assert_close(nats.mean((0, 1)), torch.from_numpy(recorded[f"loss/{key}_kl"]))
    first = divergence(found.mean.texture[:, 0], found.log_variance.texture[:, 0])
    assert_close(first, torch.from_numpy(recorded["kl_tex0"]))
    nats = divergence(found.mean.background, found.log_variance.background)
    assert_close(nats, torch.from_numpy(recorded["kl_bg"]))
    assert_close(nats.mean(0), torch.from_numpy(recorded["loss/bg_kl"]))
    assert_close(found.mean.background, torch.from_numpy(recorded["latent/bg"]))
    assert_close(found.mean.background, torch.from_numpy(recorded["enc_bg/mean"]))
    assert_close(found.log_variance.background, torch.from_numpy(recorded["enc_bg/log_sigma_sq"]))
    assert_close(found.shape_logits.sigmoid(), images_first(recorded["out/out_masks"]).squeeze(2))
    assert_close(found.textures, images_first(recorded["out/out_texes"]))
    assert_close(found.background, images_first(recorded["out/out_bg"]))
    assert_close(found.object_logits.sigmoid(), images_first(recorded["out/out_fusion"]))
    assert_close(found.images, images_first(recorded["fusion_output"]))


def test_what_the_vaes_see_lies_on_black_or_on_its_mean_colour():
    images = torch.tensor([0.2, 0.6, 1.0]).expand(1, 3, 1, 3)
    masks = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]).view(1, 2, 1, 3)
    for fill_with_mean, object_row, ground_row in (
        (False, (0.2, 0.3, 0.0), (0.0, 0.3, 1.0)),
        (True, (0.2, 7 / 15, 1 / 3), (13 / 15, 11 / 15, 1.0)),
    ):
        objects, shapes, ground = parts(images, masks, fill_with_mean)  # mean colours 0.5 / 1.5 and 1.3 / 1.5
        assert torch.allclose(objects[0, 0, :, 0], torch.tensor(object_row).expand(3, 3))
        assert torch.allclose(ground[0, :, 0], torch.tensor(ground_row).expand(3, 3))
        assert torch.equal(shapes[0, 0], masks[0, :1])
    assert not parts(images, torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 1, 3), True)[0].any()  # an empty object


@torch.no_grad()
def test_decoders_and_fusion_compute_what_the_originals_do(reference):
    recorded = reference("vae_pieces")
    autoencoder = filled(2)
    for part, key in (("texture", "tex"), ("shape", "mask"), ("background", "bg")):
        logits = autoencoder.get_submodule(part).decoder(torch.from_numpy(recorded[f"z_{key}"]))
        assert_close(logits, images_first(recorded[f"dec_{key}/logits"]))
    logits = autoencoder.object_fusion(images_first(recorded["tex_in"]), images_first(recorded["mask_in"]))
    assert_close(logits, images_first(recorded["tex_mask_fusion/logits"]))
    assert_close(logits.sigmoid(), images_first(recorded["tex_mask_fusion/out"]))


@torch.no_grad()
def test_scene_fusion_sees_colour_by_colour(reference):
    """Its recorded input has channel colour * layers + layer."""
    recorded = reference("vae_b3")
    fusion, interleaved = filled(2).scene_fusion, images_first(recorded["fusion_input"])
    layers = torch.stack([interleaved[:, layer::3] for layer in range(3)], 1)
    assert_close(fusion(layers), images_first(recorded["fusion_output"]))


# What holds whatever the weights and sizes.
SIZES = [(64, 64), (32, 96)]


@pytest.fixture(params=SIZES, ids=["square", "wide"])
def size(request) -> tuple[int, int]:
    return request.param


def small(size: tuple[int, int], objects: int = 3) -> SceneAutoencoder:
    torch.manual_seed(0)
    return SceneAutoencoder(
        *size, objects, texture_dimension=2, shape_dimension=4, background_dimension=3, channels=6, hidden=12, fusion_channels=5
    )


def scene(count: int, size: tuple[int, int], segments: int = 4) -> tuple[Tensor, Tensor]:
    return draw(count, 3, *size), (4 * draw(count, segments, *size, seed=1)).softmax(1)


def noise_of(count: int, objects: int = 3, seed: int = 2) -> Codes:
    return Codes(
        normal(count, objects, 2, seed=seed), normal(count, objects, 4, seed=seed + 1), normal(count, 3, seed=seed + 2)
    )


@torch.no_grad()
def test_shapes_ranges_and_precision(size):
    autoencoder, (images, masks) = small(size), scene(2, size)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = autoencoder(images, masks, noise_of(2))
    for found in (autoencoder(images, masks), coarse):
        assert [part.shape for part in found.mean] == [part.shape for part in noise_of(2)]
        assert [part.shape for part in found.log_variance] == [part.shape for part in noise_of(2)]
        assert found.textures.shape == found.object_logits.shape == (2, 3, 3, *size)
        assert found.shape_logits.shape == (2, 3, *size)
        assert found.background.shape == found.images.shape == images.shape
        for part in (*found.mean, *found.log_variance, *found[2:-1], *found.shape_examples):
            assert part.dtype == torch.float32 and part.isfinite().all()
        for part in (found.textures, found.background, found.images):
            assert part.min() >= 0 and part.max() <= 1


@torch.no_grad()
def test_images_and_objects_are_kept_apart(size):
    autoencoder, (images, masks) = small(size), scene(3, size)
    together = autoencoder(images, masks)
    alone = autoencoder(images[1:2], masks[1:2])
    for whole, part in zip(together[2:-1], alone[2:-1], strict=True):
        assert torch.allclose(whole[1:2], part, atol=1e-5)
    swapped = autoencoder(images, masks[:, [1, 0, 2, 3]])
    assert torch.allclose(swapped.mean.shape, together.mean.shape[:, [1, 0, 2]], atol=1e-6)
    assert torch.allclose(swapped.textures, together.textures[:, [1, 0, 2]], atol=1e-6)


@torch.no_grad()
def test_an_object_is_seen_through_its_mask_alone(size):
    autoencoder, (images, masks) = small(size), scene(1, size)
    masks = torch.zeros_like(masks)
    masks[:, 0, :16], masks[:, 3, 16:] = 1, 1
    changed = images.clone()
    changed[:, :, 16:] = 1 - changed[:, :, 16:]
    before, after = autoencoder(images, masks), autoencoder(changed, masks)
    assert torch.equal(before.mean.texture, after.mean.texture)
    assert torch.equal(before.mean.shape, after.mean.shape)
    assert not torch.allclose(before.mean.background, after.mean.background)


@torch.no_grad()
def test_codes_are_drawn_with_the_noise_given():
    """With weights of 0 and biases set, mean 1 and standard deviation 0.5: noise 2 gives the code 2."""
    vae = VAE(32, 32, 1, 1, channels=4, hidden=8)
    for layer in (vae.encoder.mean, vae.encoder.log_variance):
        nn.init.zeros_(layer.weight)
    nn.init.constant_(vae.encoder.mean.bias, 1.0)
    nn.init.constant_(vae.encoder.log_variance.bias, float(np.log(0.25)))
    x = draw(1, 1, 32, 32)
    assert torch.allclose(vae(x, torch.tensor([[2.0]]))[2], vae.decoder(torch.tensor([[2.0]])))
    assert torch.allclose(vae(x)[2], vae.decoder(torch.tensor([[1.0]])))


@torch.no_grad()
def test_thumbnail_is_seen_and_drawn_by_linear_maps():
    """Without convolutions, one cell of the thumbnail changes one number of the code, and that number one place."""
    vae = VAE(32, 32, 1, 4, channels=4, hidden=4, thumbnail=2)
    for layer in vae.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    for layer in (vae.encoder.thumbnail, vae.encoder.dense[1], vae.encoder.mean, vae.decoder.thumbnail):
        nn.init.eye_(layer.weight)
    x = torch.full((1, 1, 32, 32), 0.5)
    x[:, :, 16:, :16] = 1.0  # the third of four cells
    mean, _ = vae.encode(x)
    assert mean.tolist() == [[0, 0, 2, 0]]  # four times the distance from 1/2
    drawn = vae.decode(mean)[0, 0]
    assert drawn[-1, 0] == 2 and drawn[0, 0] == drawn[0, -1] == drawn[-1, -1] == 0


def test_no_gradient_crosses_a_border(size):
    """Each error trains its own network, all of it, and no other."""
    autoencoder, (images, masks) = small(size), scene(2, size)

    def trained(error) -> set[str]:
        found: Reconstruction = autoencoder(images, masks, noise_of(2))
        autoencoder.zero_grad(set_to_none=True)
        (error(found) * 1.0).backward()
        learning = {name for name, value in autoencoder.named_parameters() if value.grad is not None}
        idle = [name for name in learning if not autoencoder.get_parameter(name).grad.any()]
        assert not idle
        networks = {name.partition(".")[0] for name in learning}
        every = {name for name, _ in autoencoder.named_parameters() if name.partition(".")[0] in networks}
        assert learning == every
        return networks

    weights = draw(2, 3, *size, seed=7)
    assert trained(lambda found: (found.textures * weights[:, None]).sum()) == {"texture"}
    assert trained(lambda found: (found.shape_logits * weights).sum()) == {"shape"}
    assert trained(lambda found: (found.background * weights).sum()) == {"background"}
    assert trained(lambda found: (found.object_logits * weights[:, None]).sum()) == {"object_fusion"}
    assert trained(lambda found: (found.images * weights).sum()) == {"scene_fusion"}


@pytest.mark.parametrize("channels", [4, 32])
def test_fusion_sizes(channels):
    fused = TextureShapeFusion(channels)(draw(2, 3, 16, 24), draw(2, 1, 16, 24))
    assert fused.shape == (2, 3, 16, 24)
    assert SceneFusion(2, channels)(draw(2, 3, 3, 16, 24)).shape == (2, 3, 16, 24)


@pytest.mark.parametrize(("name", "count"), [("vae_b3", 2), ("vae_b5", 4)])
def test_losses_and_gradients_are_the_originals(reference, name, count):
    """One backward pass through the sum gives what the original's three optimizers got, each for its own variables."""
    recorded = reference(name)
    images, masks = recorded_inputs(recorded)
    autoencoder = filled(count)
    errors = errors_of(autoencoder(images, masks), images, masks)
    expected = {
        "texture_error": recorded["loss/tex_error"],
        "texture_nats": recorded["loss/tex_kl"].sum(),
        "shape_error": recorded["loss/mask_error"],
        "shape_nats": recorded["loss/mask_kl"].sum(),
        "background_error": recorded["loss/bg_error"],
        "background_nats": recorded["loss/bg_kl"].sum(),
        "object_error": recorded["loss/fusion_error"],
        "scene_error": recorded["loss/Fusion"],
    }
    assert {key: float(value.detach()) for key, value in errors.items()} == pytest.approx(
        {key: float(value) for key, value in expected.items()}, rel=VALUES
    )
    distance = capacity_loss(errors["shape_nats"], float(recorded["param/mask_capacity"]))
    parts_of_it = {
        "mask_kl_abs": distance,
        "maskVAE": errors["shape_error"] + float(recorded["param/mask_gamma"]) * distance,
        "texVAE": errors["texture_error"] + float(recorded["param/tex_beta"]) * errors["texture_nats"],
        "bgVAE": errors["background_error"] + float(recorded["param/bg_beta"]) * errors["background_nats"],
        "fusion": errors["object_error"],
    }
    for name, value in parts_of_it.items():
        assert float(value.detach()) == pytest.approx(float(recorded[f"total/{name}"]), rel=VALUES), name

    settings = dataclasses.replace(  # its capacity is that of a later step
        RECIPES["multi_texture"]["reference"].vaes, capacity=float(recorded["param/mask_capacity"]), capacity_ramp_steps=0
    )
    loss = vae_loss(errors, settings, 0, SimpleNamespace(mean_over_processes=lambda nats: float(nats.detach())))
    total = sum(float(recorded[key]) for key in ("total/separate", "total/fusion", "loss/Fusion"))
    assert float(loss.detach()) == pytest.approx(total, rel=1e-5)  # the reference recipe's from its first step on
    loss.backward()
    compared = 0
    for ours, theirs in original_names(autoencoder).items():
        for scope in ("separate", "fusion", "Fusion"):
            key = f"d_{scope}/{theirs.replace('/', '|')}"
            if key in recorded:
                assert_close(autoencoder.get_parameter(ours).grad, original_layout(recorded[key]), GRADIENTS)
                compared += 1
    assert compared == 10
    norms = {
        "VAE||separate": ("texture", "shape", "background"),
        "VAE||fusion": ("object_fusion",),
        "Fusion": ("scene_fusion",),
    }
    for scope, networks in norms.items():
        gradients = [value.grad.flatten() for network in networks for value in autoencoder.get_submodule(network).parameters()]
        assert float(torch.cat(gradients).norm()) == pytest.approx(float(recorded[f"grad_global_norm/{scope}"]), rel=GRADIENTS)


@torch.no_grad()
def test_losses_of_moved_masks_are_the_originals(reference):
    """The original's masks of the consistency experiment: the shape VAE's errors on them, and those of all else unchanged."""
    recorded = reference("vae_mask_augmentation")
    autoencoder, masks = filled(2), images_first(recorded["shuffled"])[:8]
    mean, log_variance, logits = autoencoder.shape(masks)
    assert float(shape_error(masks, logits).mean()) == pytest.approx(float(recorded["loss/mask_error"]), rel=VALUES)
    assert_close(divergence(mean, log_variance).mean(0), torch.from_numpy(recorded["loss/mask_kl"]))
    errors = errors_of(autoencoder(*recorded_inputs(recorded)), *recorded_inputs(recorded))
    for name, theirs in (("texture_error", "tex_error"), ("background_error", "bg_error"), ("object_error", "fusion_error"),
                         ("texture_nats", "tex_kl"), ("background_nats", "bg_kl")):  # fmt: skip
        assert float(errors[name]) == pytest.approx(float(recorded[f"loss/{theirs}"].sum()), rel=VALUES)


@torch.no_grad()
@pytest.mark.parametrize("part", ["texture", "background"])
def test_traversals_are_the_originals(reference, original_pictures, monkeypatch, part):
    recorded = reference({"texture": "traverse_multi_texture_tex", "background": "traverse_multi_texture_bg"}[part])
    sizes = Vae(fill_with_mean=False, window=0, sharpness=1.0)
    model = Model(Recipe("multi_texture", vae=sizes, fusion=Fusion(channels=32, residual=False)))
    fill(model.autoencoder)
    monkeypatch.setattr(model, "ordered_masks", lambda images: images_first(recorded["masks"]).squeeze(2))
    sample = read_picture(original_pictures / "samples/multi_texture/01.png", 64, 64)
    renderer, scene = Renderer(model), model.encode(sample.pixels)
    rows, columns = recorded["places"].T
    offsets = torch.from_numpy(recorded["values"])
    mean = scene.texture if part == "texture" else scene.background[None]
    assert_close(mean, torch.from_numpy(recorded["z_mean"])[:, 0])
    objects, _, ground = parts(scene.image[None], scene.masks[None], fill_with_mean=False)
    encode, seen = (
        (model.autoencoder.texture.encode, objects[0]) if part == "texture" else (model.autoencoder.background.encode, ground)
    )
    assert_close(encode(seen)[1], torch.from_numpy(recorded["z_log_sigma_sq"])[:, 0])
    assert_close(renderer.decode(scene).background, images_first(recorded["out_bg"])[0])
    for results, kl, top, branch in zip(*(recorded[key] for key in ("results", "kl", "top_dims", "branches")), strict=True):
        object = None if part == "background" else int(branch)
        nats = scene.background_kl if object is None else scene.texture_kl[object]
        assert_close(nats, torch.from_numpy(kl[0]))
        assert most_informative(nats, len(top)) == top.tolist()
        for dimension, expected in zip(top, torch.from_numpy(results).mT, strict=True):
            found = traverse(renderer, scene, part, int(dimension), offsets, object, raw=True)[:, :, rows, columns]
            assert_close(found, expected)
            assert_close(found - found[1], expected - expected[1], 1e-3)


def test_corrective_fusion_starts_from_the_plain_composition():
    """Untrained it is texture times shape, and the sum of the layers, to half a step of 8 bits; what it adds is learned."""
    torch.manual_seed(0)
    textures, shapes, layers = torch.rand(2, 3, 16, 16), torch.rand(2, 1, 16, 16), torch.rand(2, 4, 3, 16, 16) / 4
    layers[0, :, :, :8] = 0
    objects, scene = TextureShapeFusion(8, residual=True), SceneFusion(3, 8, residual=True)
    assert torch.allclose(objects(textures, shapes).sigmoid(), textures * shapes, atol=0.5 / 255 + 1e-6)
    assert torch.allclose(scene(layers), layers.sum(1), atol=0.5 / 255 + 1e-6)
    error = (scene(layers) - 1).abs().sum() + (objects(textures, shapes).sigmoid() - 1).abs().sum()
    error.backward()
    assert all(network.convolve[-1].weight.grad.abs().sum() > 0 for network in (objects, scene))
