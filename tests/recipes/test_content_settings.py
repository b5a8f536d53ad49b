"""The settings of content and of the search: which go together, and what files from before stand for."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from intarsia.errors import InputError
from intarsia.recipes import RECIPES
from intarsia.recipes.file import check_recipe, load_recipe, save_recipe
from intarsia.recipes.settings import Content, Distillation, Inpainter, Inpainting, Recipe, Regions, Segmenter, Vaes

RECIPE = Recipe(
    "multi_texture",
    content=Content("statistics", (2, 4), (6, 6)),
    inpainting=Inpainting(regions=Regions(ellipses=1.0, partitions=1.0, clusters=1.0)),
    distillation=Distillation(steps=400, batch=12, scenes=1200),
)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"content": Content()}, "content.kind is 'pixels'; inpainting.regions.clusters and distillation.steps must be 0 then"),
        (
            {"content": Content(), "inpainting": Inpainting()},
            "content.kind is 'pixels'; inpainting.regions.clusters and distillation.steps must be 0 then",
        ),
        (
            {"inpainter": Inpainter(network="reference")},
            "content.kind is 'statistics'; inpainter.network must be 'compact' then",
        ),
        ({"content": Content("means", (3, 4))}, "content.strides are 3 and 4, and content.grid is 4"),
        ({"content": Content("means", (4, 2))}, "content.strides are 4 and 2, and content.grid is 4"),
        ({"content": Content("means", (1, 8))}, "content.strides are 1 and 8, and content.grid is 4"),
        ({"content": Content("means", (4, 8), grid=32)}, "content.strides are 4 and 8, and content.grid is 32"),
        ({"content": Content("features", (2, 4))}, "content.strides are 2 and 4; the backbone's features have 4 and 8"),
        ({"content": Content("means", (1, 1), grid=1)}, "content.grid is 1; it must be even for content.strides from 1"),
        (
            {"segmenter": Segmenter(network="segnet", backbone=True)},
            "segmenter.network is 'segnet'; segmenter.backbone needs 'compact'",
        ),
        (
            {"distillation": Distillation(steps=400, batch=12, scenes=1201)},
            r"distillation.scenes is 1201; it must be a multiple of distillation.batch \(12\)",
        ),
        (
            {"distillation": Distillation(steps=100, batch=12, scenes=1200)},
            "leave some of the 100 steps for learning",
        ),
        ({"vaes": Vaes(batch=8, scenes=100)}, r"vaes.scenes is 100; it must be a multiple of vaes.batch \(8\)"),
        (
            {"inpainting": Inpainting(regions=Regions(boxes=0.0, fields=0.0, slivers=0.0, everything=0.0, clusters=1.0))},
            "All weights of inpainting.regions but clusters are 0",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        check_recipe(dataclasses.replace(RECIPE, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"content": Content("means", (1, 4))},
        {"content": Content("chromaticity", (4, 4))},
        {"content": Content("features", (4, 8), (12, 8), grid=8), "segmenter": Segmenter(backbone=True)},
        {"content": Content("means", (1, 1), grid=1), "inpainter": Inpainter(propagation=0)},
        {"content": Content(), "inpainting": Inpainting(regions=Regions(ellipses=1.0)), "distillation": Distillation()},
        {"height": 192, "width": 256, "content": Content("statistics", (4, 8), grid=8)},
    ],
)
def test_what_goes_together_survives_saving(changes: dict[str, Any], tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, **changes)
    check_recipe(recipe)
    save_recipe(recipe, tmp_path / "recipe.json")
    assert load_recipe(tmp_path / "recipe.json") == recipe


@pytest.mark.parametrize(
    "content", [{"kind": "colours"}, {"strides": [1, 2, 4]}, {"strides": [0, 4]}, {"factors": [3]}, {"grid": 0}]
)
def test_odd_content_is_refused(content: dict[str, Any], tmp_path: Path) -> None:
    values = dataclasses.asdict(RECIPE)
    values["content"] |= content
    (tmp_path / "recipe.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=rf"content\.{next(iter(content))}"):
        load_recipe(tmp_path / "recipe.json")


def test_a_file_from_before_content_plays_over_pixels(tmp_path: Path) -> None:
    recipe = RECIPES["multi_dsprites"]["reference"]
    values = dataclasses.asdict(recipe)
    del values["content"], values["distillation"], values["inpainter"]["propagation"]
    for name in ("backbone", "background_first"):
        del values["segmenter"][name]
    for name in ("ellipses", "partitions", "clusters"):
        del values["inpainting"]["regions"][name]
    (tmp_path / "recipe.json").write_text(json.dumps(values))
    assert load_recipe(tmp_path / "recipe.json") == recipe
    assert recipe.content.kind == "pixels" and recipe.distillation.steps == 0
