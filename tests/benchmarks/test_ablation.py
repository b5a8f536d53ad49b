"""What `benchmarks/ablation.py` leaves out, and that it measures each row once."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import ablation
from intarsia.data import Scenes
from intarsia.errors import InputError
from intarsia.model import Model
from intarsia.networks.content import factors
from intarsia.recipes.file import check_recipe
from intarsia.recipes.settings import Recipe, flatten, planned

DOUBLED = {
    "content.factors": (12, 12),
    "separation.epsilon.start": 20.0,  # of sums over 12 numbers instead of 6
    "separation.epsilon.highest": 60.0,
    "separation.epsilon.final": 60.0,
}
LEFT_OUT: dict[str, dict[str, Any]] = {
    "votes": {"segmenter.votes": 0},
    "margin": {"separation.margin": 0},
    "hard masks": {"separation.hard_from_step": None},
    "regrouping": {"separation.regrouping.weight": 0.0},
    "halves": {"separation.split_fraction": 0.0},
    "choice of factors": DOUBLED,
    "factors": DOUBLED,  # of what else they are, `standardised` decides
    "factors, same epsilon": {"content.factors": (12, 12)},
    "features in the segmenter": {"segmenter.backbone": False},
}


@pytest.mark.parametrize("dataset", ablation.PARTS)
def test_each_part_changes_what_it_names_and_no_number_of_steps(dataset: str) -> None:
    recipe = ablation.whole(dataset, 3, "data", started=False)
    assert planned(recipe) == ["inpainting", "separation"] and (recipe.seed, recipe.data_root) == (3, "data")
    before = flatten(recipe)
    for part, change in ablation.PARTS[dataset].items():
        changed = change(recipe)
        check_recipe(changed)
        after = flatten(changed)
        odd = {name: value for name, value in after.items() if value != before[name]}
        if not part.startswith("content"):
            assert odd == LEFT_OUT.get(part, {})
        else:
            assert after["content.kind"] == "pixels" and not any(name.endswith("steps") for name in odd)
    assert planned(ablation.whole(dataset, 0, None, started=True)) == ["separation"]


def test_standardised_values_have_unit_variance_and_stay_apart() -> None:
    maps = torch.randn(4, 3, 8, 8, dtype=torch.float64) * torch.tensor([0.1, 1.0, 5.0])[:, None, None] + 2
    maps[:, 1] += maps[:, 0]
    mean, basis = ablation.standardised(maps, 4, 3)
    values = ((maps.permute(0, 2, 3, 1) - mean) @ basis).flatten(0, 2)
    torch.testing.assert_close(values.T.corrcoef(), maps.permute(1, 0, 2, 3).flatten(1).corrcoef())
    torch.testing.assert_close(values.mean(0), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(values.std(0), torch.ones(3, dtype=torch.float64))
    assert [each.shape for each in factors(maps, 4, 3)] == [mean.shape, basis.shape]  # what it takes the place of


def test_rows_are_measured_once_and_votes_need_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[tuple[str, int, bool]] = []
    scored: list[int] = []

    def train(recipe: Recipe, run: Path, *arguments: Any, **settings: Any) -> Model:
        trained.append((run.name, recipe.segmenter.votes, ablation.content.factors is ablation.standardised))
        model = Model(recipe)
        model.save(run)
        return model

    def evaluate(model: Model, scenes: Scenes, count: int) -> dict[str, Tensor]:
        scored.append(model.recipe.segmenter.votes)
        return {
            name: torch.full((count,), 0.5) for name in ("iou", "miou", "miou_objects", "mbo", "mbo_objects", "ari", "fg_ari")
        }

    monkeypatch.setattr(ablation, "train", train)
    monkeypatch.setattr(ablation, "evaluate", evaluate)
    parts = ("nothing", "votes", "factors", "choice of factors")
    monkeypatch.setitem(ablation.PARTS, "multi_texture", {name: ablation.PARTS["multi_texture"][name] for name in parts})
    out = tmp_path / "ablation.json"
    ablation.main(seeds=(1,), scenes=10, out=out, runs=tmp_path)
    runs = ["nothing-1", "nothing-1", "factors-1", "choice_of_factors-1"]
    assert trained == [(f"multi_texture-{run}", 5, run == "factors-1") for run in runs]
    assert scored == [5, 0, 5, 5]
    first = json.loads(out.read_text())
    assert [(row["left_out"], row["miou"], row["iou"]) for row in first] == [(name, 0.5, 0.5) for name in parts]

    ablation.main(seeds=(1, 2), scenes=10, out=out, runs=tmp_path)
    rows = json.loads(out.read_text())
    assert rows[:4] == first and [(row["left_out"], row["seed"]) for row in rows[4:]] == [(name, 2) for name in parts]
    assert len(trained) == 8


@pytest.mark.parametrize(
    ("arguments", "match"), [({"scenes": 15}, "multiple of 10"), ({"dataset": "folder"}, "choose one of multi_texture")]
)
def test_bad_input_is_refused(arguments: dict[str, Any], match: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=match):
        ablation.main(**arguments, out=tmp_path / "out.json")
    assert not list(tmp_path.iterdir())
