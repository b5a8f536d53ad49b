import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from intarsia.errors import InputError
from intarsia.evaluation.codes import find
from intarsia.files import is_unfinished
from intarsia.manipulation import composite, recolour, shift_code, traverse
from intarsia.masks import edge_map
from intarsia.model import Model, load
from intarsia.objectives import divergence
from intarsia.recipes import RECIPES
from intarsia.recipes.settings import Fusion, Inpainter, Recipe, Segmenter, Vae, Vaes
from intarsia.rendering import Renderer
from intarsia.scene import Parts, Scene
from intarsia.weights import PICTURES, RECIPE, WEIGHTS, has_codes, latest, shipped, weights_sha256

TINY = Recipe(
    "multi_dsprites",
    edge_threshold=1e-4,
    segments=3,
    inpainter=Inpainter(channels=4),
    segmenter=Segmenter(channels=8, dimension=4),
)


def weights(model: Model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(first: Model, second: Model) -> None:
    one, other = first.state_dict(), second.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def folder(tmp_path):
    Model(TINY).save(tmp_path / "model")
    return tmp_path / "model"


def test_same_seed_same_weights_and_no_trace_in_the_global_state():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = Model(TINY)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert_same(first, Model(TINY))
    other = Model(dataclasses.replace(TINY, seed=1))
    drawn = [name for name, value in first.named_parameters() if value.dim() == 4 and value.any()]
    assert not any(torch.equal(first.get_parameter(name), other.get_parameter(name)) for name in drawn)


def test_saved_and_loaded_bitwise(tmp_path):
    model = Model(TINY)
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(torch.rand_like(value) + 0.5)
    model.save(tmp_path / "a" / "model")
    loaded = Model.load(tmp_path / "a" / "model")
    assert_same(loaded, model)
    assert loaded.recipe == TINY
    assert all(value.requires_grad for value in loaded.parameters())
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(loaded.segment(images), model.segment(images))
    assert sorted(path.name for path in (tmp_path / "a" / "model").iterdir()) == [RECIPE, WEIGHTS]
    assert weights_sha256(tmp_path / "a" / "model") == hashlib.sha256((tmp_path / "a/model" / WEIGHTS).read_bytes()).hexdigest()


def test_segment_gives_masks_and_chunks_do_not_matter():
    model, images = Model(TINY), torch.rand(5, 3, 64, 64)
    masks = model.segment(images)
    assert masks.shape == (5, 3, 64, 64) and not masks.requires_grad
    assert torch.allclose(masks.sum(1), torch.ones(5, 64, 64), atol=1e-6)
    assert torch.allclose(model.segment(images, chunk=2), masks, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_segment_computes_in_evaluation_mode_and_keeps_the_mode(training):
    """In training mode the segmenter of this recipe would learn from the images."""
    model = Model(dataclasses.replace(TINY, segmenter=dataclasses.replace(TINY.segmenter, learn_channels=True))).train(training)
    before, modes = weights(model), {name: module.training for name, module in model.named_modules()}
    model.segment(torch.rand(2, 3, 64, 64))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert {name: module.training for name, module in model.named_modules()} == modes and model.training == training


def test_one_image_and_eight_bits_give_the_same_masks_and_codes():
    model, levels = Model(TINY), torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    images = levels.float() / 255
    masks = model.segment(images)
    for same in (levels, images.double(), images + 1e-6 * (images == 1)):  # the last beyond 1, as interpolations round
        assert torch.allclose(model.segment(same), masks, atol=1e-6)
    assert torch.allclose(model.segment(images[1]), masks[1], atol=1e-6)
    scene = model.encode(levels[0])
    assert torch.equal(scene.image, images[0])
    assert torch.allclose(scene.shape, model.encode(images).shape[0], atol=1e-5)


GOOD = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (GOOD * 255, r"2 3 64 64 \(float32\) range from .* to 25[45]"),
        (GOOD - 0.5, "range from -0.4"),
        (GOOD.log(), "range from -"),
        (torch.where(GOOD > 0.5, GOOD, torch.nan), "range from nan to nan"),
        (torch.where(GOOD > 0.5, GOOD, torch.inf), "to inf"),
        (GOOD.mul(255).int(), "of type int32"),
        (GOOD > 0.5, "of type bool"),
        (GOOD.to(torch.complex64), "of type complex64"),
        (GOOD.movedim(1, -1), r"are 2 64 64 3 \(float32\)"),
        (GOOD[:, :, :32], "are 2 3 32 64 "),
        (GOOD[:, :1], "are 2 1 64 64 "),
        (GOOD[0, 0], "are 64 64 "),
        (GOOD[None], "are 1 2 3 64 64 "),
        (GOOD[:0], "are 0 3 64 64 "),
        (torch.tensor(0.5), "a single number"),
        (GOOD.numpy(), "of type ndarray"),
        (None, "of type NoneType"),
    ],
)
def test_images_that_do_not_fit_are_refused(images, found):
    """The message says what they are and what is wanted."""
    wanted = r"; wanted are images b 3 64 64 or one image 3 64 64: floats in \[0, 1\] or uint8"
    model = Model(TINY)
    for door in (model.segment, model.encode):
        with pytest.raises(InputError, match=f"{found}.*{wanted}"):
            door(images)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e300])
def test_weights_that_are_not_finite_are_refused(folder, value):
    """Also those that only float64 can hold."""
    tensors = load_file(folder / WEIGHTS)
    name = sorted(tensors)[3]
    tensors[name] = tensors[name].double()
    tensors[name].view(-1)[-1] = value
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(InputError, match=rf"can't be used: {name} holds numbers that are not finite \(1 of"):
        Model.load(folder)


def test_a_recipe_of_far_larger_networks_than_its_weights_takes_no_memory(folder):
    """The sizes are compared before any network is made: one of this recipe would have gigabytes."""
    resource = pytest.importorskip("resource")
    content = json.loads((folder / RECIPE).read_text())
    content["segmenter"]["channels"] = content["inpainter"]["channels"] = content["vae"]["channels"] = 1024
    (folder / RECIPE).write_text(json.dumps(content))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="does not fit its recipe"):
        Model.load(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize("device", ["gpu", "cuda:99", ""])
def test_a_device_that_is_none_is_refused(folder, device):
    with pytest.raises(InputError, match=f"can't be put on the device '{device}'"):
        Model.load(folder, device)


def test_models_are_loaded_where_they_are_wanted(folder):
    assert Model.load(folder).device == torch.device("cpu")
    assert load(folder).device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert load(folder, "meta").device == torch.device("meta")


def test_edges_are_the_recipes():
    images = torch.rand(2, 3, 64, 64)
    for threshold in (1e-4, 0.5):
        model = Model(dataclasses.replace(TINY, edge_threshold=threshold))
        assert torch.equal(model.edges(images), edge_map(images, threshold))


@pytest.mark.parametrize("keep", [0, 5, 1000, -1])
def test_corrupt_weights(folder, keep):
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:keep])
    with pytest.raises(InputError, match=f"{WEIGHTS} is corrupt") as caught:
        Model.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit_the_recipe(folder, change):
    tensors = load_file(folder / WEIGHTS)
    name = sorted(tensors)[0]
    if change == "missing":
        del tensors[name]
    elif change == "extra":
        name = "another"
        tensors[name] = torch.zeros(1)
    else:
        tensors[name] = torch.zeros(1, 2, 3)
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(InputError, match=f"does not fit its recipe: {name} is .*1 of ") as caught:
        Model.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [RECIPE, WEIGHTS])
def test_folder_without_a_model(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"holds no {name}"):
        Model.load(folder)


def test_recipe_that_is_none(folder):
    (folder / RECIPE).write_text("{}")
    with pytest.raises(InputError, match="is not a recipe"):
        Model.load(folder)


def test_latest_is_the_last_stage_with_a_model(tmp_path):
    with pytest.raises(InputError, match="neither a run nor a model"):
        latest(tmp_path)
    Model(TINY).save(tmp_path / "inpainting")
    assert latest(tmp_path) == tmp_path / "inpainting"
    later = Model(dataclasses.replace(TINY, seed=1))
    later.save(tmp_path / "separation")
    assert latest(tmp_path) == tmp_path / "separation"
    assert latest(tmp_path / "inpainting") == tmp_path / "inpainting"
    assert_same(load(str(tmp_path)), later)


def test_shipped_models_have_names_and_folders_come_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("intarsia.weights.SHIPPED", tmp_path / "package")
    with pytest.raises(InputError, match=r"tiny is neither a run nor a model.*comes with no models"):
        load("tiny")
    packed = dataclasses.replace(TINY, seed=1)
    Model(packed).save(tmp_path / "package" / "tiny")
    Model(dataclasses.replace(packed, vaes=Vaes(steps=0))).save(tmp_path / "package" / "other")
    (tmp_path / "package" / "notes").mkdir()
    assert list(shipped()) == ["other", "tiny"]
    assert_same(load("tiny"), Model(packed))
    assert latest(Path("tiny")) == tmp_path / "package" / "tiny"
    assert has_codes(latest(Path("tiny"))) and not has_codes(latest(Path("other")))
    for name in ("tinny", "package/tiny/..", "notes"):
        with pytest.raises(InputError, match=r"neither a run nor a model.*comes with other, tiny"):
            load(name)
    Path("tiny").mkdir()  # such as a run that has no model yet
    with pytest.raises(InputError, match="tiny is neither a run nor a model"):
        load("tiny")
    Model(TINY).save(Path("tiny"))
    assert_same(load("tiny"), Model(TINY))
    (tmp_path / "package" / "other" / PICTURES).touch()
    assert list(shipped()) == ["tiny", "other"]  # one whose scenes need others' pictures is not the first


def test_what_a_kill_leaves_behind_is_known_as_such(tmp_path, monkeypatch):
    """The half-written weights have a name that the next run removes; those of safetensors' `save_file` have not."""
    write_bytes, seen = Path.write_bytes, []

    def watched(path: Path, values: bytes) -> int:
        written = write_bytes(path, values)
        seen.extend(tmp_path.iterdir())
        return written

    monkeypatch.setattr(Path, "write_bytes", watched)
    Model(TINY).save(tmp_path)
    assert sorted(path.name for path in seen if not is_unfinished(path)) == [RECIPE]
    assert sum(is_unfinished(path) for path in seen) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [RECIPE, WEIGHTS]


def test_full_disk_keeps_the_old_model(folder):
    resource = pytest.importorskip("resource")
    model = Model(TINY)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # to the writer like a full disk
    try:
        with pytest.raises(InputError, match=f"Can't write .*{WEIGHTS}") as caught:
            model.save(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert_same(Model.load(folder), Model(TINY))
    assert sorted(path.name for path in folder.iterdir()) == [RECIPE, WEIGHTS]


# Scenes. Weights are those of chance; what is tested holds for any.


def image_of(seed: int = 0) -> torch.Tensor:
    return torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(seed))


def test_a_later_network_does_not_change_the_first_weights_of_an_earlier_one():
    """Recorded results depend on them: the autoencoder's are drawn last."""
    first, other = Model(TINY), Model(dataclasses.replace(TINY, vae=Vae(channels=3), fusion=Fusion(channels=3)))
    for name, value in first.state_dict().items():
        assert name.startswith("autoencoder.") or torch.equal(value, other.state_dict()[name])


def test_a_scene_is_the_image_taken_apart():
    model, image = Model(TINY), image_of()
    scene = model.encode(image)
    assert torch.equal(scene.image, image)
    assert scene.masks.shape == (3, 64, 64) and scene.masks.sum((1, 2)).argmax() == 2  # the background is last
    assert scene.shape.shape == scene.shape_kl.shape == (2, 10)
    assert scene.texture.shape == scene.texture_kl.shape == (2, 5)
    assert scene.background.shape == scene.background_kl.shape == (5,)
    found = model.autoencoder(image[None], scene.masks[None])
    assert torch.allclose(scene.shape, found.mean.shape[0], atol=1e-6)
    assert torch.allclose(scene.background_kl, divergence(found.mean.background, found.log_variance.background)[0], atol=1e-6)
    for item in dataclasses.fields(scene):
        assert item.name == "origins" or not getattr(scene, item.name).requires_grad
    assert [torch.equal(origin.mask, mask) for origin, mask in zip(scene.origins, scene.masks, strict=False)] == [True, True]
    with pytest.raises(dataclasses.FrozenInstanceError):
        scene.shape = scene.texture
    again = model.encode(image)
    assert torch.equal(again.shape, scene.shape) and torch.equal(again.texture, scene.texture)  # nothing is drawn


def thin_shapes(model: Model) -> Model:
    """A model whose decoded shapes are about 1/8 everywhere, so that they add up to less than 1."""
    torch.nn.init.constant_(model.autoencoder.shape.decoder.convolve[-1].bias, -2.0)
    return model


def with_sharpness(value: float) -> Recipe:
    return dataclasses.replace(TINY, vae=dataclasses.replace(TINY.vae, sharpness=value))


@torch.no_grad()
def test_borders_of_shapes_alone_are_sharpened():
    """8 times steeper: odds of 3 to 1 become 3^8 to 1."""
    plain, sharp, code = Model(with_sharpness(1.0)), Model(with_sharpness(8.0)), torch.randn(3, TINY.vae.shape_dimension)
    odds = [shape / (1 - shape) for shape in (Renderer(model).picture("shape", code).double() for model in (plain, sharp))]
    seen = (odds[0] > 0.1) & (odds[0] < 3)  # of others the eighth power is beyond float32
    assert torch.allclose(odds[0][seen] ** 8, odds[1][seen], rtol=1e-3) and seen.any()
    for part, length in (("texture", TINY.vae.texture_dimension), ("background", TINY.vae.background_dimension)):
        assert torch.equal(*(Renderer(model).picture(part, torch.ones(1, length)) for model in (plain, sharp)))


@torch.no_grad()
def test_rendering_an_unchanged_scene_is_what_training_saw():
    model, image = thin_shapes(Model(with_sharpness(1.0))), image_of()
    scene = model.encode(image)
    rendered = model.render(scene)
    assert rendered.shape == (3, 64, 64) and rendered.min() >= 0 and rendered.max() <= 1
    found = model.autoencoder(image[None], scene.masks[None])
    assert torch.allclose(rendered, found.images[0], atol=1e-5)
    decoded = Renderer(model).decode(scene)
    assert torch.allclose(decoded.shapes, found.shape_logits[0].sigmoid(), atol=1e-6)
    assert torch.allclose(decoded.textures, found.textures[0], atol=1e-6)
    assert torch.allclose(decoded.background, found.background[0], atol=1e-6)
    assert torch.equal(Renderer(model).fuse(decoded), rendered)


def test_many_images_are_encoded_and_rendered_as_each_alone():
    model, images = Model(TINY), torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(8))
    scenes = model.encode(images)
    assert torch.equal(scenes.image, images) and scenes.shape.shape == scenes.shape_kl.shape == (3, 2, TINY.vae.shape_dimension)
    rendered = model.render(scenes)
    for number, image in enumerate(images):
        scene = model.encode(image)
        for item in dataclasses.fields(scene)[:-1]:  # without the origins, which several scenes don't have
            assert torch.allclose(getattr(scenes, item.name)[number], getattr(scene, item.name), atol=1e-5), item.name
        assert torch.allclose(rendered[number], model.render(scene), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "steps", "trained"),
    [("separation", 5, False), ("vaes", 5, True), ("vaes", 0, True), ("model", 5, True), ("model", 0, False)],
)
def test_codes_are_trained_from_stage_vaes_on(name: str, steps: int, trained: bool, tmp_path: Path):
    folder = tmp_path / name
    Model(dataclasses.replace(TINY, vaes=Vaes(steps=steps))).save(folder)
    assert has_codes(folder) == trained


def test_what_is_in_front_hides_what_is_behind():
    renderer = Renderer(Model(TINY))
    decoded = renderer.decode(renderer.model.encode(image_of()))
    shapes = torch.zeros_like(decoded.shapes)
    shapes[0, :32] = 1  # the first object covers the upper half
    alone = renderer.fuse(dataclasses.replace(decoded, shapes=shapes))
    behind = shapes.clone()
    behind[1, 10:20] = 1  # the second lies behind it
    assert torch.equal(renderer.fuse(dataclasses.replace(decoded, shapes=behind)), alone)
    behind[1, 10:40] = 1  # or sticks out
    assert not torch.equal(renderer.fuse(dataclasses.replace(decoded, shapes=behind)), alone)


def test_a_scene_may_hold_fewer_objects_but_not_more():
    model = Model(TINY)
    scene = model.encode(image_of())

    def some(indices: list[int]) -> Scene:
        rows = {name: getattr(scene, name)[indices] for name in ("shape", "texture", "transform")}
        return dataclasses.replace(scene, **rows)

    assert model.render(some([1])).shape == (3, 64, 64)
    assert model.render(some([])).shape == (3, 64, 64)
    with pytest.raises(InputError, match="The scene holds 3 objects; the model has room for 2"):
        model.render(some([0, 1, 0]))


def test_the_background_is_chosen_per_image_unless_per_batch():
    """Two images whose largest segments differ."""
    masks = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])[:, :, None, None].expand(2, 3, 64, 64)
    for per_batch, expected in ((False, [0.5, 0.7]), (True, [0.2, 0.7])):
        model = Model(dataclasses.replace(TINY, vaes=Vaes(background_per_batch=per_batch)))
        model.masks = lambda _: masks
        assert model.ordered_masks(torch.rand(2, 3, 64, 64))[:, -1, 0, 0].tolist() == pytest.approx(expected)


def test_masks_of_objects_have_the_images_soft_borders_if_the_recipe_says_so():
    masks = torch.zeros(1, 3, 64, 64)
    masks[:, 0, 20:40, 20:40] = 1
    masks[:, 2] = 1 - masks[:, 0]
    image = masks[:, :1].repeat(1, 3, 1, 1)
    image[:, :, 20:40, 20] = 0.25
    for soft, expected in ((False, 1.0), (True, 0.25)):
        model = Model(dataclasses.replace(TINY, vae=dataclasses.replace(TINY.vae, mattes=soft)))
        model.masks = lambda _: masks
        found = model.ordered_masks(image)
        assert found[0, 0, 30, 20] == expected and found[0, 0, 30, 30] == 1 and torch.equal(found.sum(1), torch.ones(1, 64, 64))


def test_codes_of_a_smaller_size_are_seen_in_the_images_size():
    """Every second row and column is coded; whoever shows, changes, animates or scores sees whole pictures."""
    sizes = dataclasses.replace(TINY.vae, window=0, downsampling=2, normalise_contrast=True)
    model, image = Model(dataclasses.replace(TINY, vae=sizes)), image_of()
    small = Model(dataclasses.replace(TINY, height=32, width=32, vae=dataclasses.replace(TINY.vae, window=0)))
    small.autoencoder.load_state_dict(model.autoencoder.state_dict())
    scene, renderer = model.encode(image), Renderer(model)
    decoded = renderer.decode(scene)
    codes = small.autoencoder.shape.encode(scene.masks[:-1, None, ::2, ::2])[0]
    assert torch.allclose(scene.shape, codes, atol=1e-6)  # of the image as it is: contrast is normalised in training alone
    halves = Parts(*(getattr(decoded, part.name)[..., ::2, ::2] for part in dataclasses.fields(decoded)))
    expected = Renderer(small).fuse(halves)
    rendered = model.render(scene)
    assert rendered.shape == image.shape
    for row, column in ((0, 0), (0, 1), (1, 1)):
        assert torch.allclose(rendered[:, row::2, column::2], expected, atol=1e-6)
    offsets = torch.tensor([0.0, 3.0])
    for part, number in (("shape", 0), ("texture", 1), ("background", None)):
        assert traverse(renderer, scene, part, 0, offsets, number, raw=True).shape == (2, *image.shape)
    assert recolour(renderer, scene, 0, (0.5, 0.4, 0.3)).texture.shape == scene.texture.shape
    assert composite(renderer, scene, shift_code(scene, "shape", 0, 1.0, 0)).shape == image.shape
    assert find(model, image[None]).masks.shape == (1, 3, 64, 64)


@pytest.mark.filterwarnings("error")
def test_a_model_with_a_backbone_is_loaded_without_a_warning(tmp_path: Path) -> None:
    recipe = RECIPES["folder"]["photos"]
    model = Model(dataclasses.replace(recipe, vae=dataclasses.replace(recipe.vae, downsampling=4)))
    model.save(tmp_path)
    loaded = Model.load(tmp_path)
    assert all(
        torch.equal(one, two) for one, two in zip(model.backbone.parameters(), loaded.backbone.parameters(), strict=True)
    )
