import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from intarsia.data import DATASETS
from intarsia.errors import InputError
from intarsia.masks import signed_edge_map
from intarsia.model import Model
from intarsia.recipes import RECIPES, STARTS
from intarsia.recipes.file import check_recipe, load_recipe, save_recipe
from intarsia.recipes.settings import STAGES, Recipe, planned
from intarsia.stages.inpainting import random_regions, set_learning_rate
from intarsia.stages.separation import epsilon_at
from intarsia.stages.starting import started_from
from intarsia.stages.vaes import capacity_at

SHIPPED = [(dataset, variant) for dataset, variants in RECIPES.items() for variant in variants]
RECIPE = RECIPES["multi_texture"]["compact"]


def changed(recipe: Recipe, name: str, value: Any) -> Any:
    """The recipe with another value under a dotted name."""
    first, _, rest = name.partition(".")
    inner = changed(getattr(recipe, first), rest, value) if rest else value
    return dataclasses.replace(recipe, **{first: inner})


@pytest.mark.parametrize(("dataset", "variant"), SHIPPED)
def test_shipped_recipe_builds_a_model(dataset: str, variant: str, tmp_path: Path) -> None:
    recipe = RECIPES[dataset][variant]
    assert recipe.dataset == dataset
    assert dataset in DATASETS
    check_recipe(recipe)
    Model(recipe)
    save_recipe(recipe, tmp_path / "recipe.json")
    assert load_recipe(tmp_path / "recipe.json") == recipe


def test_every_dataset_has_a_recipe_and_every_stage_settings() -> None:
    assert RECIPES.keys() == DATASETS.keys()
    assert planned(RECIPES["multi_texture"]["compact"]) == list(STAGES[:-1])
    assert planned(RECIPES["multi_texture_pair"]["compact"]) == ["vaes", "consistency"]


def test_recipes_without_the_first_stages_start_from_a_model_that_ships() -> None:
    without = {(dataset, variant) for dataset, variant in SHIPPED if not RECIPES[dataset][variant].separation.steps}
    assert without == STARTS.keys()
    for (dataset, variant), name in STARTS.items():
        assert started_from(Path(name), RECIPES[dataset][variant])[1] == ["inpainter", "segmenter"]


PUBLISHED = {  # rate of stage 1, segmenter's rate and turns, epsilon, batches of stages 1 to 3, betas, nats a step, segments,
    # of the background, lengths of the codes
    "multi_texture": (1e-4, 3e-5, 3, 30, (16, 8, 16), (4, 6), 2e-5, 5, 1, (5, 10, 5)),
    "multi_dsprites": (1e-4, 3e-5, 3, 30, (16, 8, 16), (6, 6), 2e-5, 5, 1, (5, 10, 5)),
    "objects_room": (3e-5, 3e-5, 3, 30, (16, 8, 8), (6, 6), 2e-4, 6, 3, (5, 10, 5)),
    "multi_texture_pair": (1e-4, 3e-5, 3, 50, (16, 8, 16), (4, 6), 2e-5, 3, 1, (5, 10, 5)),
    "flying_animals": (1e-4, 1e-4, 2, 100, (4, 4, 4), (4, 4), 5e-5, 6, 1, (20, 20, 30)),
}
PUBLISHED["flying_animals_debian"] = PUBLISHED["flying_animals"]


@pytest.mark.parametrize("dataset", [dataset for dataset, variant in SHIPPED if variant == "reference"])
def test_reference_recipe_is_the_published_procedure(dataset: str) -> None:
    """What the recipe says in numbers, as the stages read it at their first and at a late step."""
    recipe, optimizer = RECIPES[dataset]["reference"], torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))])
    first_rate, second_rate, turns, epsilon, batches, betas, nats, segments, backgrounds, lengths = PUBLISHED[dataset]
    game, codes = recipe.separation, recipe.vaes
    stages = [
        (recipe.inpainting, recipe.inpainting.learning_rate, recipe.inpainting.final_learning_rate, first_rate),
        (game, game.segmenter_learning_rate, game.segmenter_final_learning_rate, second_rate),
        (codes, codes.learning_rate, codes.final_learning_rate, 1e-4),
    ]
    pair = recipe.consistency
    if pair.steps:
        stages.append((pair, pair.segmenter_learning_rate, pair.segmenter_final_learning_rate, 3e-5))
    for step in (0, 40_000):
        for settings, highest, final, published in stages:
            set_learning_rate(optimizer, highest, step, settings.steps, getattr(settings, "warmup_steps", 0), final)
            assert optimizer.param_groups[0]["lr"] == pytest.approx(published)
        assert epsilon_at(step, game) == epsilon
        assert capacity_at(step, codes) == pytest.approx(nats * step)
    assert game.inpainter_learning_rate == 1e-4 and (game.inpainter_turns, game.segmenter_turns) == (1, turns)
    assert (recipe.inpainting.batch, game.batch, codes.batch) == batches
    assert (codes.texture_beta, codes.background_beta, codes.shape_gamma) == (*betas, 500)
    assert (recipe.vae.texture_dimension, recipe.vae.shape_dimension, recipe.vae.background_dimension) == lengths
    assert (recipe.segments, recipe.backgrounds) == (segments, backgrounds)
    assert game.sampled_segments == recipe.segments and not (
        game.random_region_fraction or game.regrouping.weight or game.ema_decay
    )
    hidden = random_regions(3, recipe, torch.Generator().manual_seed(0))
    assert hidden.shape[1] == 2 and (hidden == hidden[:1]).all()  # one box for all


def test_the_reference_of_photographs_has_the_originals_sizes_and_edges() -> None:
    recipe = RECIPES["flying_animals"]["reference"]
    images = torch.rand(1, 3, 192, 256, generator=torch.Generator().manual_seed(0))
    model = Model(recipe)
    assert torch.equal(model.edges(images), signed_edge_map(images, 0.04))
    lesson, masks = model.autoencoder_input(images, torch.rand(1, 6, 192, 256))
    assert lesson.shape == (1, 3, 96, 128) and masks.shape == (1, 6, 96, 128)
    assert lesson.amin() >= 0 and lesson.amax() <= 1
    assert [layer.dilation[0] for layer in model.segmenter.classify] == [6, 12, 18, 24]
    assert model.segmenter.upsampling == 1


def test_a_file_from_before_a_setting_means_what_was_done_then(tmp_path: Path) -> None:
    content = dataclasses.asdict(RECIPE)
    del content["signed_edges"]
    for name in ("window", "sharpness", "downsampling", "normalise_contrast"):
        del content["vae"][name]
    (tmp_path / "recipe.json").write_text(json.dumps(content))
    then = changed(changed(RECIPE, "vae.window", 0), "vae.sharpness", 1.0)
    assert load_recipe(tmp_path / "recipe.json") == then != RECIPE


def test_unknown_network_is_refused(tmp_path: Path) -> None:
    recipe = changed(RECIPE, "segmenter.network", "unet")
    with pytest.raises(InputError, match=r"^segmenter\.network is 'unet'; choose one of compact, segnet, resnet50"):
        check_recipe(recipe)
    save_recipe(recipe, tmp_path / "recipe.json")
    with pytest.raises(InputError, match=r"segmenter\.network is 'unet', but should be one of"):
        load_recipe(tmp_path / "recipe.json")


def test_changed_recipe_survives_saving(tmp_path: Path) -> None:
    recipe = changed(changed(RECIPE, "data_root", "pictures"), "separation.epsilon", 1)  # a whole number is a float
    recipe = changed(recipe, "vaes.background_per_batch", True)
    save_recipe(recipe, tmp_path / "recipe.json")
    assert load_recipe(tmp_path / "recipe.json") == recipe


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("segments", "five", "segments is 'five'"),
        ("segments", 5.5, "segments is 5.5"),
        ("segments", True, "segments is True"),
        ("inpainting.learning_rate", "fast", "inpainting.learning_rate is 'fast'"),
        ("data_root", 3, "data_root is 3"),
        ("vaes.background_per_batch", 1, "vaes.background_per_batch is 1"),
        ("vaes.steps", True, "vaes.steps is True"),
        ("separation", None, "separation. holds None"),
        ("separation.regrouping.often", 3, "separation.regrouping. holds"),
        ("colour", 1, "the recipe holds"),
    ],
)
def test_odd_file_is_refused(name: str, value: Any, complaint: str, tmp_path: Path) -> None:
    content = dataclasses.asdict(RECIPE)
    *outer, last = name.split(".")
    inner = content
    for key in outer:
        inner = inner[key]
    inner[last] = value
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        load_recipe(path)
    assert str(error.value).startswith(f"{path} is not a recipe: ")
    assert complaint in str(error.value)


@pytest.mark.parametrize("content", ["", "[]", "3", "{", '{"dataset": "multi_texture"}'])
def test_file_that_is_no_recipe_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(InputError, match="is not a recipe"):
        load_recipe(tmp_path / "recipe.json")


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.json is not a recipe"):
        load_recipe(tmp_path / "no.json")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("height", 0),
        ("height", 63),
        ("width", -64),
        ("segments", 1),
        ("segmenter.channels", 4),
        ("separation.sampled_segments", 0),
        ("separation.sampled_segments", 6),
        ("separation.regrouping.tolerance", -0.1),
        ("inpainting.steps", -1),
        ("vaes.batch", 0),
        ("vae.shape_dimension", 0),
        ("vae.downsampling", 0),
        ("vae.downsampling", 3),
        ("fusion.channels", 0),
        ("separation.split_fraction", 2.0),
        ("inpainting.propagation_fraction", 1.5),
    ],
)
def test_useless_number_is_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"^{name} is {value}"):
        check_recipe(changed(RECIPE, name, value))


def test_a_window_needs_room_for_what_it_shows() -> None:
    check_recipe(changed(RECIPE, "vae.shape_dimension", 4))
    for name, value in (("vae.shape_dimension", 3), ("vae.window", 24)):
        with pytest.raises(InputError, match=rf"{name} (is )?{value}"):
            check_recipe(changed(RECIPE, name, value))
    check_recipe(changed(changed(RECIPE, "vae.shape_dimension", 1), "vae.window", 0))
