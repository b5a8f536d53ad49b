"""How `benchmarks/baselines.py` chooses among trainings, and goes on after it was stopped."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import baselines
from intarsia.baselines import slot_attention
from intarsia.baselines.slot_attention import SlotAttention
from intarsia.baselines.training import Trained
from intarsia.errors import InputError
from intarsia.recipes import RECIPES

RECIPE = RECIPES["multi_texture"]["compact"]
TRIES = baselines.Tries(batches=(8,), rates=(1e-3, 1e-2))


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The rates of the trainings so far, none of which takes any time."""
    rates: list[float] = []

    def train(scenes: Any, *, learning_rate: float, features: int, seed: int, **settings: Any) -> Trained[SlotAttention]:
        rates.append(learning_rate)
        return Trained(SlotAttention(scenes.segments, len(rates), features), 60.0, [0.5, 0.25])

    monkeypatch.setattr(slot_attention, "train", train)
    monkeypatch.setattr(baselines, "VALIDATION", 10)
    monkeypatch.setattr(baselines, "FITTED", 5)
    return rates


@pytest.mark.parametrize("method", ["Slot Attention", "Slot Attention over features"])
def test_the_best_training_is_kept(trainings: list[float], tmp_path: Path, method: Any) -> None:
    arguments = (method, RECIPE, TRIES, 1.0, 4, baselines.start_fabric(baselines.Options(precision="32-true")), tmp_path)
    segment, told = baselines.trained(*arguments)
    assert trainings == [1e-3, 1e-2]
    assert [one["learning_rate"] for one in told["tries"]] == trainings
    sums = [one["val_ari"] + one["val_fg_ari"] for one in told["tries"]]
    assert told["val_ari"] + told["val_fg_ari"] == max(sums) != min(sums)
    assert (told["steps"], told["train_minutes"], told["last_loss"]) == (2, 1.0, 0.375)

    again, same = baselines.trained(*arguments)
    assert len(trainings) == 2 and same == told
    images = torch.rand(2, 3, 64, 64)
    assert segment(images).shape == (2, 5, 64, 64)
    assert torch.equal(segment(images), again(images))


def test_a_record_grows_method_by_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "record.json"
    baselines.main("multi_texture", methods=("colour k-means",), test_images=10, out=out)
    first = json.loads(out.read_text())
    monkeypatch.setattr(baselines, "FITTED", 5)
    baselines.main("multi_texture", methods=("colour k-means", "normalised cut"), test_images=20, out=out)
    second = json.loads(out.read_text())
    assert second["methods"]["colour k-means"] == first["methods"]["colour k-means"]
    assert second["methods"]["normalised cut"]["test_images"] == 20


def test_features_of_large_images_have_a_coarser_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "FITTED", 2)
    monkeypatch.setattr(baselines, "CELLS", 100)
    assert baselines.features_of(RECIPE).stride == 8
    monkeypatch.setattr(baselines, "CELLS", 256)
    assert baselines.features_of(RECIPE).stride == 4
    monkeypatch.setattr(baselines, "CELLS", 10)
    with pytest.raises(InputError, match="64x64"):
        baselines.features_of(replace(RECIPE, seed=1))


@pytest.mark.parametrize(
    ("settings", "match"),
    [({"test_images": 15}, "multiple of 10"), ({"dataset": "folder"}, "no compact recipe over content for 'folder'")],
)
def test_bad_input_is_refused(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        baselines.main(**settings)
