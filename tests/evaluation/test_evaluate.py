import dataclasses
import json
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console

from intarsia.data import open_dataset
from intarsia.errors import InputError
from intarsia.evaluation import evaluate_run, table
from intarsia.evaluation.segments import evaluate, examples, figures, score, segments_sheet
from intarsia.metrics import hard
from intarsia.model import Model
from intarsia.recipes import RECIPES
from intarsia.recipes.settings import Inpainter, Recipe, Segmenter, Vaes
from intarsia.records.scores import Codes, Examples, FactorScore, Figures, MeanAndStd, NumberScore, Scores
from intarsia.weights import weights_sha256

TINY = dataclasses.replace(
    RECIPES["multi_dsprites"]["pixels"],
    inpainter=Inpainter(channels=2),
    segmenter=Segmenter(channels=8, dimension=4),
    vaes=Vaes(steps=0),
    seed=3,
)


class Oracle(Model):
    """A model that knows the test scenes: it finds their true segments in another order."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        images, masks = open_dataset(recipe.dataset, 0, "test")(range(20))
        self.known = dict(zip((image.numpy().tobytes() for image in images), masks, strict=True))

    def segment(self, images: torch.Tensor, chunk: int = 50) -> torch.Tensor:
        return torch.stack([self.known[image.numpy().tobytes()] for image in images])[:, [2, 0, 4, 1, 3]]


def test_perfect_masks_score_one() -> None:
    model = Oracle(TINY)
    found = figures(evaluate(model, open_dataset(TINY.dataset, 0, "test"), 20))
    assert found.iou.mean == pytest.approx(1) and found.iou.std == pytest.approx(0, abs=1e-6)
    assert found == Figures(found.iou, *[1] * 6)


def test_one_segment_for_everything() -> None:
    """By hand: an object of a quarter of the image, and one segment of all pixels."""
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    labels[:, :2, :2] = 1
    true = F.one_hot(labels, 2).permute(0, 3, 1, 2).float()
    everything = torch.stack([torch.ones(1, 4, 4), torch.zeros(1, 4, 4)], 1)
    found = {name: float(value) for name, value in score(true, everything).items()}
    assert found["miou"] == pytest.approx(0.75 / 2)  # one of the two goes without a match
    assert found["miou_objects"] == pytest.approx(0.25)
    assert found["mbo"] == pytest.approx((0.75 + 0.25) / 2)
    assert found["iou"] == pytest.approx(0.75)  # an object of 4 pixels is too small to count
    assert found["mbo_objects"] == pytest.approx(0.25)
    assert found["ari"] == 0
    assert found["fg_ari"] == 1


def test_protocol_by_hand() -> None:
    """Ten consecutive subsets of two: their means are 0.05, 0.15, ... 0.95."""
    iou = torch.arange(20).double() / 20
    subset_means = [(2 * i + 0.5) / 20 for i in range(10)]
    others = dict.fromkeys(
        ("miou", "miou_objects", "mbo", "mbo_objects", "ari", "fg_ari"), torch.tensor([0.25, 0.75, torch.nan])
    )
    found = figures({"iou": iou} | others)
    assert found.iou.mean == pytest.approx(0.475)
    assert found.iou.std == pytest.approx(statistics.stdev(subset_means), abs=1e-6)
    assert found.miou == 0.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    Model(TINY).save(folder)
    return folder


def test_scores_are_written(folder: Path) -> None:
    scores = evaluate_run(folder, folder, scenes=10)
    content = json.loads((folder / "scores.json").read_text())
    assert Scores.load(folder) == scores
    assert content["recipe"] == json.loads((folder / "recipe.json").read_text())
    assert content["weights_sha256"] == weights_sha256(folder)
    assert [content[key] for key in ("dataset", "seed", "test_seed", "test_images")] == ["multi_dsprites", 3, 0, 10]
    assert set(content["figures"]) == {"iou", "miou", "miou_objects", "mbo", "mbo_objects", "ari", "fg_ari"}
    assert content["codes"] is None
    shown = content["examples"]
    assert {name: len(indices) for name, indices in shown.items()} == {"best": 4, "median": 4, "worst": 4}
    with Image.open(folder / "segments.png") as picture:
        assert picture.size == (3 * (2 * 64 + 4), 8 * (2 * 64 + 4))
    assert evaluate_run(folder, folder, scenes=10) == scores
    assert not list(folder.glob(".*"))


def test_the_hash_is_that_of_the_weights_that_were_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training puts other weights in their place meanwhile."""
    Model(TINY).save(tmp_path)
    before = weights_sha256(tmp_path)

    def replaced(*args: object) -> dict[str, torch.Tensor]:
        Model(dataclasses.replace(TINY, seed=4)).save(tmp_path)
        return evaluate(*args)

    monkeypatch.setattr("intarsia.evaluation.evaluate.evaluate", replaced)
    assert evaluate_run(tmp_path, tmp_path, scenes=10).weights_sha256 == before != weights_sha256(tmp_path)
    with pytest.raises(InputError, match="is of other weights"):
        Scores.load(tmp_path)


def test_a_folder_that_takes_no_files_is_refused_before_scoring(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intarsia.evaluation.evaluate.evaluate", pytest.fail)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Can't make the folder"):
        evaluate_run(folder, tmp_path / "file" / "below", scenes=10)


def test_table_shows_every_figure(folder: Path) -> None:
    scores = dataclasses.replace(
        evaluate_run(folder, folder, scenes=10),
        figures=Figures(MeanAndStd(0.11, 0.012), miou=0.2, miou_objects=0.3, mbo=0.4, mbo_objects=0.5, ari=0.6, fg_ari=0.7),
    )
    console = Console(width=80)
    with console.capture() as capture:
        console.print(table(scores))
    for shown in ("multi_dsprites", "seed 3", "10 test scenes", "0.110 ± 0.012", *(f"0.{i}00" for i in range(2, 8))):
        assert shown in capture.get()


def test_table_shows_a_dash_where_rooms_hold_no_object_to_score(folder: Path) -> None:
    masks = F.one_hot(torch.arange(3).repeat_interleave(16).expand(10, 48).view(10, 12, 4), 4).permute(0, 3, 1, 2).float()
    found = figures(score(masks, masks, backgrounds=3))
    scores = dataclasses.replace(evaluate_run(folder, folder, scenes=10), figures=found)
    console = Console(width=80)
    with console.capture() as capture:
        console.print(table(scores))
    rows = {line.split("│")[1].strip(): line.split("│")[3].strip() for line in capture.get().splitlines() if "│" in line}
    assert rows["mIoU, matched one-to-one"] == rows["mBO, best overlap"] == "–"


def test_examples_by_hand() -> None:
    scores = torch.tensor([0.5, 0.9, float("nan"), 0.1, 0.8, 0.7, 0.2, 0.3, 0.6, 0.4])
    assert examples(scores) == Examples(best=[1, 4, 5, 8], median=[8, 0, 9, 7], worst=[7, 6, 3, 2])


def test_table_shows_the_codes(folder: Path) -> None:
    figures = {
        "mse": 0.0125,
        "psnr": 19.031,
        "ssim": 0.71,
        "locality": 0.912,
        "locality_composited": 0.987,
        "others_moved": None,
    }
    figures |= {"factor_r2": 0.61, "factor_r2_single": 0.42, "dci_disentanglement": 0.31, "dci_completeness": 0.33, "mig": 0.21}
    numbers = [NumberScore("shape", 0, 1.0, locality, locality, None) for locality in (0.9, None, 0.8)]
    codes = Codes(25, 10, numbers, dict.fromkeys(("row", "scale"), FactorScore(0.6, 0.3, 0.2, [0.1, 0.2, 0.3])))
    scores = evaluate_run(folder, folder, scenes=10)
    console = Console(width=100)
    with console.capture() as capture:
        console.print(table(dataclasses.replace(scores, figures=dataclasses.replace(scores.figures, **figures), codes=codes)))
    shown = capture.get()
    for text in (
        "codes of 25 objects",
        "19.03",
        "0.0125",
        "2 informative numbers",
        "2 true factors",
        "0.912",
        "0.987",
        "0.21",
        "–",
    ):
        assert text in shown
    for value in (0.71, 0.61, 0.42, 0.31, 0.33, 0.21):
        assert f"{value:.3f}" in shown


def test_batches_do_not_change_the_figures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, test = Model.load(folder), open_dataset(TINY.dataset, 0, "test")
    at_once = evaluate(model, test, 10)
    monkeypatch.setattr("intarsia.evaluation.segments.AT_ONCE", 3)
    for name, values in evaluate(model, test, 10).items():
        torch.testing.assert_close(values, at_once[name])


def test_found_segments_have_the_colours_of_the_true_ones() -> None:
    columns = np.split(segments_sheet(Oracle(TINY), open_dataset(TINY.dataset, 0, "test")), 3, axis=1)
    truth = open_dataset(TINY.dataset, 0, "test")(range(8)).masks
    assert (columns[1] == columns[2]).all()
    assert len(np.unique(columns[1].reshape(-1, 3), axis=0)) == 1 + len(hard(truth).unique())  # and the gaps


@pytest.mark.parametrize("scenes", [0, 5, 15, 2010, -10])
def test_odd_number_of_scenes_is_refused(scenes: int, folder: Path) -> None:
    with pytest.raises(InputError, match=rf"scenes is {scenes}; it must be a multiple of 10 from 10 to 2000"):
        evaluate_run(folder, folder, scenes)


def test_model_of_another_size_is_refused() -> None:
    model = Model(dataclasses.replace(TINY, height=32))
    with pytest.raises(InputError, match="takes images of 64x32 pixels, but the scenes of multi_dsprites have 64x64"):
        evaluate(model, open_dataset(TINY.dataset, 0, "test"), 10)
