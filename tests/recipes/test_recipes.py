import dataclasses
import json
import math
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.data import DATASETS
from intarsia.errors import InputError
from intarsia.masks import signed_edge_map
from intarsia.model import Model
from intarsia.recipes import RECIPES, STARTS, train_command
from intarsia.recipes.file import check_recipe, load_recipe, save_recipe
from intarsia.recipes.settings import Epsilon, Recipe, Schedule, flatten, planned
from intarsia.stages.game import INPAINTER_LEARNING_RATE
from intarsia.stages.regions import random_regions
from intarsia.stages.schedules import capacity_at, epsilon_at, learning_rate_at
from intarsia.stages.starting import started_from
from intarsia.testing import RecipeContract

SHIPPED = [(dataset, variant) for dataset, variants in RECIPES.items() for variant in variants]
RECIPE = RECIPES["multi_texture"]["pixels"]


def changed(recipe: Recipe, name: str, value: Any) -> Any:
    """The recipe with another value under a dotted name."""
    first, _, rest = name.partition(".")
    inner = changed(getattr(recipe, first), rest, value) if rest else value
    return dataclasses.replace(recipe, **{first: inner})


@pytest.fixture(params=SHIPPED, ids="/".join)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    dataset, variant = request.param
    return RECIPES[dataset][variant]


class TestShippedRecipes(RecipeContract):
    pass


def test_every_dataset_has_a_recipe_and_every_stage_settings() -> None:
    assert RECIPES.keys() == DATASETS.keys()
    assert all(recipe.dataset == dataset for dataset, variants in RECIPES.items() for recipe in variants.values())
    assert planned(RECIPES["multi_texture"]["pixels"]) == [
        "inpainting",
        "separation",
        "vaes",
        "end_to_end",
    ]
    assert planned(RECIPES["multi_texture_pair"]["pixels"]) == ["vaes", "consistency"]


def test_recipes_without_the_first_stages_start_from_a_model_that_ships() -> None:
    without = {
        (dataset, variant)
        for dataset, variant in SHIPPED
        if not (RECIPES[dataset][variant].separation.steps or RECIPES[dataset][variant].distillation.steps)
    }
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
    recipe = RECIPES[dataset]["reference"]
    first_rate, second_rate, turns, epsilon, batches, betas, nats, segments, backgrounds, lengths = PUBLISHED[dataset]
    game, codes = recipe.separation, recipe.vaes
    stages = [(recipe.inpainting, first_rate), (game, second_rate), (codes, 1e-4)]
    if recipe.consistency.steps:
        stages.append((recipe.consistency, 3e-5))
    for step in (0, 40_000):
        for stage, published in stages:
            assert learning_rate_at(step, stage.learning_rate, stage.steps) == pytest.approx(published)
        assert epsilon_at(step, game.epsilon, game.steps) == epsilon
        assert capacity_at(step, codes) == pytest.approx(nats * step)
    assert INPAINTER_LEARNING_RATE == 1e-4 and game.segmenter_turns == turns
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
    reduced, masks = model.autoencoder_images(images), model.downsample(torch.rand(1, 6, 192, 256))
    assert reduced.shape == (1, 3, 96, 128) and masks.shape == (1, 6, 96, 128)
    assert reduced.amin() >= 0 and reduced.amax() <= 1
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


# Recipes of the models that came with version 0.1.0, as its files have them.
SHIPPED_BEFORE = Path(__file__).with_name("multi_texture_0.1.0.json")


def before(**changes: Any) -> str:
    """The text of an old file with some settings changed, by their old dotted names."""
    content = json.loads(SHIPPED_BEFORE.read_text())
    for name, value in changes.items():
        stage, setting = name.split("__")
        content[stage][setting] = value
    return json.dumps(content)


def test_a_file_of_an_earlier_version_loads() -> None:
    assert load_recipe(SHIPPED_BEFORE) == dataclasses.replace(RECIPES["multi_texture"]["pixels"], seed=1)


def test_settings_of_an_earlier_version_have_their_places_today(tmp_path: Path) -> None:
    changes = {
        "inpainting__final_learning_rate": 2e-4,
        "separation__segmenter_learning_rate": 3e-4,
        "separation__warmup_steps": 7,
        "separation__epsilon": 80.0,
        "separation__epsilon_hold_steps": 9,
        "end_to_end__warmup_steps": 3,
        "consistency__segmenter_learning_rate": 1e-4,
    }
    path = tmp_path / "recipe.json"
    path.write_text(before(**changes))
    recipe = load_recipe(path)
    assert recipe.inpainting.learning_rate == Schedule(1e-3, 2e-4, 100)
    assert recipe.separation.learning_rate == Schedule(3e-4, 0.0, 7)
    assert recipe.separation.epsilon == Epsilon(30.0, 80.0, 50.0, 9, 300)
    assert recipe.end_to_end.learning_rate == Schedule(3e-4, 0.0, 3)
    assert recipe.consistency.learning_rate == Schedule(1e-4, 3e-5, 0)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"separation__inpainter_turns": 2},
            "separation.inpainter_turns is 2; this version has no such setting, and always takes 1",
        ),
        ({"consistency__reach": 0.5}, "consistency.reach is 0.5; this version has no such setting, and always takes 1.0"),
        (
            {"end_to_end__vae_learning_rate": 1e-3},
            "end_to_end.vae_learning_rate is 0.001, but end_to_end.learning_rate.highest is 0.0003",
        ),
    ],
)
def test_what_this_version_cannot_train_is_refused_in_training_alone(
    changes: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    (tmp_path / "recipe.json").write_text(before(**changes))
    with pytest.raises(InputError, match=re.escape(f"recipe.json is not a recipe: {complaint}")):
        load_recipe(tmp_path / "recipe.json", to_train=True)
    (tmp_path / "other.json").write_text(before())
    assert load_recipe(tmp_path / "recipe.json") == load_recipe(tmp_path / "other.json")


def test_flat_settings_have_dotted_names() -> None:
    flat = flatten(RECIPE)
    assert list(flat)[:3] == ["dataset", "data_root", "seed"]
    assert flat["separation.epsilon.highest"] == RECIPE.separation.epsilon.highest
    assert flatten(RECIPE.separation.regrouping, "x.") == {"x.weight": 0.6, "x.from_step": 150}
    assert flatten(dataclasses.asdict(RECIPE)) == flat


def test_reading_recipes_loads_neither_pytorch_nor_pydantic() -> None:
    code = "import sys, intarsia.recipes.file; print({'torch', 'pydantic'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_unknown_network_is_refused(tmp_path: Path) -> None:
    recipe = changed(RECIPE, "segmenter.network", "unet")
    with pytest.raises(InputError, match=r"^segmenter\.network is \"unet\"; it must be 'compact', 'segnet' or 'resnet50'"):
        check_recipe(recipe)
    save_recipe(recipe, tmp_path / "recipe.json")
    with pytest.raises(InputError, match=r"segmenter\.network is .unet.; it must be"):
        load_recipe(tmp_path / "recipe.json")


def test_changed_recipe_survives_saving(tmp_path: Path) -> None:
    recipe = changed(changed(RECIPE, "data_root", "pictures"), "separation.epsilon.highest", 1)  # a whole number is a float
    recipe = changed(recipe, "vaes.background_per_batch", True)
    save_recipe(recipe, tmp_path / "recipe.json")
    assert load_recipe(tmp_path / "recipe.json") == recipe


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("segments", "five", 'segments is "five"; it must be a whole number'),
        ("segments", 5.5, "segments is 5.5"),
        ("segments", True, "segments is true"),
        ("inpainting.learning_rate.highest", "fast", 'inpainting.learning_rate.highest is "fast"; it must be a number'),
        ("separation.epsilon.highest", math.inf, "separation.epsilon.highest is Infinity; it must be a finite number"),
        ("data_root", 3, "data_root is 3; it must be text"),
        ("vaes.background_per_batch", 1, "vaes.background_per_batch is 1; it must be true or false"),
        ("vaes.steps", True, "vaes.steps is true"),
        ("separation", None, "separation is null; it must be"),
        ("separation.steps", math.nan, "separation.steps is NaN; it must be a"),
        ("vae.window", {"side": 64}, 'vae.window is {"side": 64}; it must be a whole number'),
        ("separation.regrouping.often", 3, "separation.regrouping.often is 3; it must be left out"),
        ("colour", 1, "colour is 1; it must be left out"),
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


NUMBERS = st.one_of(
    st.integers(), st.floats(), st.sampled_from([2**31, 2**63 - 1, 2**63, 2**64, 10**309, -(10**309), 10**4000, 1e308])
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(flatten(RECIPE))), st.one_of(NUMBERS, st.text(), st.none(), st.booleans(), st.lists(NUMBERS)))
def test_whatever_a_setting_is_the_networks_can_be_named_or_it_is_refused(name: str, value: Any) -> None:
    """A recipe that loads has networks whose sizes fit in 64 bits: they are made here without memory."""
    content = dataclasses.asdict(RECIPE)
    *outer, last = name.split(".")
    inner = content
    for key in outer:
        inner = inner[key]
    inner[last] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.json"
        path.write_text(json.dumps(content))
        try:
            recipe = load_recipe(path)
            with torch.device("meta"):
                Model(recipe)
        except InputError as error:
            assert len(str(error)) < 500 + len(str(path))


@pytest.mark.parametrize("name", [name for name in flatten(RECIPE) if name.partition(".")[0] in ("segmenter", "vae", "fusion")])
def test_what_a_recipe_asks_for_is_bounded(name: str) -> None:
    if isinstance(flatten(RECIPE)[name], int | float) and not isinstance(flatten(RECIPE)[name], bool):
        with pytest.raises(InputError, match=f"^{name} is .*it must be (at most|0, 2, )"):
            check_recipe(changed(RECIPE, name, type(flatten(RECIPE)[name])(10**10)))


def test_commands_are_quoted_for_a_shell() -> None:
    folder = """it's a "folder" $HOME; `rm` *"""
    command = train_command(dataclasses.replace(RECIPE, data_root=folder, segments=4))
    assert shlex.split(command)[:5] == ["intarsia", "train", "multi_texture/pixels", "--data-root", folder]


def test_file_that_lacks_a_setting_is_refused(tmp_path: Path) -> None:
    content = dataclasses.asdict(RECIPE)
    del content["separation"]["epsilon"]["start"]
    (tmp_path / "recipe.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"is not a recipe: separation\.epsilon\.start is missing"):
        load_recipe(tmp_path / "recipe.json")


NESTED = ['{"a":' * depth + "1" + "}" * depth for depth in (100, 900, 5000)]


@pytest.mark.parametrize("content", ["", "[]", "3", "{", '{"dataset": "multi_texture"}', "[" * 100_000, *NESTED], ids=len)
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
        ("separation.regrouping.weight", -0.1),
        ("separation.epsilon.highest", -3.0),
        ("separation.epsilon.highest", math.nan),
        ("separation.hard_from_step", -1),
        ("vaes.learning_rate.warmup_steps", -1),
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
    with pytest.raises(InputError, match=rf"^{name} is {json.dumps(value)}"):
        check_recipe(changed(RECIPE, name, value))


def test_a_folder_whose_name_is_not_utf8_is_refused() -> None:
    with pytest.raises(InputError, match=r"^data_root is 'data/r.udce4tsel', a name that is not UTF-8"):
        check_recipe(dataclasses.replace(RECIPE, data_root=os.fsdecode(b"data/r\xe4tsel")))


def test_a_window_needs_room_for_what_it_shows() -> None:
    check_recipe(changed(RECIPE, "vae.shape_dimension", 4))
    for name, value in (("vae.shape_dimension", 3), ("vae.window", 24)):
        with pytest.raises(InputError, match=rf"{name} (is )?{value}"):
            check_recipe(changed(RECIPE, name, value))
    check_recipe(changed(changed(RECIPE, "vae.shape_dimension", 1), "vae.window", 0))


def test_a_number_that_is_none_is_refused_also_in_the_file_of_an_older_version(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    content = json.loads(json.dumps(dataclasses.asdict(RECIPES["multi_dsprites"]["pixels"])))
    content["vaes"]["shape_gamma"] = float("nan")
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="is not a recipe"):
        load_recipe(path, to_train=True)
