import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from intarsia.data import SceneSample, open_dataset
from intarsia.evaluation import evaluate_run
from intarsia.evaluation.codes import (
    CodedObjects,
    changes,
    evaluate_codes,
    factor_scores,
    find,
    inspect,
    reconstruction,
    summary_of,
)
from intarsia.manipulation import shift_code
from intarsia.masks import visible_shapes
from intarsia.metrics.locality import Movement
from intarsia.model import Model
from intarsia.recipes.settings import Fusion, Inpainter, Recipe, Segmenter, Vae, Vaes
from intarsia.records import Scores
from intarsia.rendering import Renderer
from intarsia.scene import Scene

TINY = Recipe(
    "multi_dsprites",
    inpainter=Inpainter(channels=2),
    segmenter=Segmenter(channels=8, dimension=4),
    vae=Vae(channels=4, hidden=16, window=0, shape_dimension=2, texture_dimension=1),
    fusion=Fusion(channels=4),
    vaes=Vaes(steps=5),
)
TEST = open_dataset("multi_dsprites", 0, "test")


class Oracle(Model):
    """A model that knows the first test scenes: it has their true segments in another order, and codes of the true places."""

    order = (3, 1, 4, 2, 0)  # the background last

    def encode(self, image: Tensor) -> Scene:
        scene = super().encode(image)
        count = len(image)
        factors = TEST.factors(range(count))
        places = np.stack([factors["row"], factors["column"]], -1)[:, [number - 1 for number in self.order[:-1]]]
        masks = TEST(range(count)).masks[:, self.order]
        return dataclasses.replace(scene, masks=masks, shape=torch.from_numpy(places).nan_to_num(0).float())


@pytest.fixture(scope="module")
def model() -> Model:
    """A model with initial weights changed so that its images depend more on the codes."""
    made = Model(TINY)
    with torch.no_grad():
        for name in ("shape", "texture", "background"):
            made.autoencoder.get_submodule(f"{name}.decoder").dense[0].weight.mul_(20)
        for name, weights in made.autoencoder.named_parameters():
            if "fusion" in name and name.endswith("bias"):
                weights.fill_(0.3)
    return made


def images_of(count: int) -> Tensor:
    return TEST(range(count)).images


@pytest.mark.parametrize(("object", "number"), [(0, 0), (1, 1), (1, 2)])
def test_changes_are_those_of_the_edits(object: int, number: int, model: Model) -> None:
    """Changes of a batch are the same as those of single scenes by `manipulation`."""
    images = images_of(3)
    before, changed = changes(model, [2, 0, 1], images)
    segment, render = changed[3 * object + [2, 0, 1].index(number)]
    assert segment == object and torch.equal(before[1], images)
    (raw, composited), region = render(torch.tensor([0, 2]))
    for row, image in enumerate(images[[0, 2]]):
        scene = model.encode(image)
        part, dimension = ("texture", 0) if number == 2 else ("shape", number)
        edited = shift_code(scene, part, dimension, 1.0, object)
        torch.testing.assert_close(raw[row], model.render(edited), rtol=0, atol=1e-5)
        was, now = (visible_shapes(Renderer(model).shapes(each)) for each in (scene, edited))
        place = torch.cat([was[[object]], now[[object]], scene.masks[[object]], (was - now).abs()]).amax(0) > 0.1
        torch.testing.assert_close(composited[row][:, place], raw[row][:, place], rtol=0, atol=1e-5)
        far = F.max_pool2d(place[None].float(), 5, 1, 2)[0] == 0
        assert torch.equal(composited[row][:, far], image[:, far])
        torch.testing.assert_close(before[0, 2 * row], model.render(scene), rtol=0, atol=1e-5)
        assert (raw[row] - before[0, 2 * row]).abs().max() > 1e-3  # it is a change
        visible = visible_shapes(Renderer(model).decode(edited).shapes[None])[0]
        assert torch.equal(region[row], (visible[object] > (1 - visible.sum(0))) & (visible.argmax(0) == object))


def test_what_is_found_are_the_scenes_own_codes(model: Model) -> None:
    images = images_of(4)
    masks, codes = find(model, images)
    scene = model.encode(images)
    torch.testing.assert_close(masks.sum(1), torch.ones(4, 64, 64))
    assert torch.equal(masks[:, :-1], scene.masks[:, :-1])
    torch.testing.assert_close(codes[:, :-1], torch.cat([scene.shape, scene.texture], 2), rtol=0, atol=1e-5)


def test_reconstruction_by_hand() -> None:
    images = torch.zeros(2, 3, 16, 16)
    rendered = images.clone()
    rendered[1] += 0.1
    found = reconstruction(images, rendered)
    assert found["mse"].tolist() == pytest.approx([0, 0.01])
    assert found["psnr"].tolist() == pytest.approx([math.inf, 20])
    assert found["ssim"].tolist() == pytest.approx([1, 1e-4 / (0.01 + 1e-4)])


def test_inspection_is_of_the_rendered_scene(model: Model) -> None:
    per_image, _ = inspect(model, TEST, [range(2), range(2, 3)])
    for number, image in enumerate(images_of(3)):
        alone = reconstruction(image[None], model.render(model.encode(image))[None])
        for name, values in per_image.items():
            assert float(values[number]) == pytest.approx(float(alone[name]), abs=1e-5), name


def test_codes_stand_beside_their_own_objects_factors() -> None:
    _, objects = inspect(Oracle(TINY), TEST, [range(12)])
    names = list(TEST.factors([0]))
    assert torch.equal(objects.codes[:, 0], objects.factors[:, names.index("row")].float())
    assert torch.equal(objects.codes[:, 1], objects.factors[:, names.index("column")].float())
    seen = (TEST(range(12)).masks[:, 1:] > 0.5).sum((2, 3)) >= 20
    assert len(objects.codes) == len(objects.kl) == len(objects.factors) == int(seen.sum())
    summary, factors = factor_scores(objects, names)
    assert factors["row"].r2 == factors["column"].r2 == pytest.approx(1, abs=1e-4)
    assert factors["row"].single[0] == factors["column"].single[1] == pytest.approx(1, abs=1e-4)
    assert factors["row"].single[1] < 0.5 and factors["column"].single[2] < 0.5
    assert summary["factor_r2_single"] == pytest.approx(np.mean([max(values.single) for values in factors.values()]), abs=1e-5)


class OneSegment(Oracle):
    """A model that finds the first object, and takes all others for background."""

    def encode(self, image: Tensor) -> Scene:
        scene = super().encode(image)
        masks = torch.zeros_like(scene.masks)
        masks[:, 1], masks[:, -1] = scene.masks[:, 1], 1 - scene.masks[:, 1]
        return dataclasses.replace(scene, masks=masks)


def test_objects_without_a_segment_have_no_code() -> None:
    """Three of the four segments are spare: they belong to nobody."""
    _, objects = inspect(OneSegment(TINY), TEST, [range(12)])
    seen = (TEST(range(12)).masks[:, OneSegment.order[1]] > 0.5).sum((1, 2)) >= 20
    assert len(objects.codes) == int(seen.sum()) > 0
    names = list(TEST.factors([0]))
    assert torch.equal(objects.codes[:, 0], objects.factors[:, names.index("row")].float())


@pytest.mark.parametrize("order", [(3, 1, 4, 2), (1, 2, 3, 4), (4, 2, 1, 3)])
def test_the_numbers_of_objects_change_no_figure(order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the model's segments, and those of the true ones, which get one more that is empty."""
    expected = inspect(Oracle(TINY), TEST, [range(12)])[1]

    def renumbered(indices: range) -> SceneSample:
        images, masks = TEST(indices)
        return SceneSample(images, torch.cat([masks, torch.zeros_like(masks[:, :1])], 1)[:, [0, *order, 5]])

    def described(indices: range) -> dict[str, np.ndarray]:
        absent = np.full((len(indices), 1), np.nan)
        places = [*(number - 1 for number in order), 4]
        return {name: np.concatenate([values, absent], 1)[:, places] for name, values in TEST.factors(indices).items()}

    monkeypatch.setattr(Oracle, "order", (*order, 0))
    scenes = dataclasses.replace(TEST, draw=renumbered, describe=described, segments=6)
    found = inspect(Oracle(TINY), scenes, [range(12)])[1]
    assert torch.equal(found.codes[:, :2], expected.codes[:, :2])  # the places, row by row: so all scores are the same
    assert torch.equal(found.factors, expected.factors)


def test_numbers_that_are_the_factors_are_perfectly_apart() -> None:
    values = torch.rand(400, 3, generator=Generator().manual_seed(0))
    summary, factors = factor_scores(CodedObjects(values[:, [2, 0, 1]], values, values.double()), ["a", "b", "c"])
    assert [factors[name].single.index(max(factors[name].single)) for name in "abc"] == [1, 2, 0]
    for name in ("factor_r2", "factor_r2_single"):
        assert summary[name] == pytest.approx(1, abs=1e-6)
    assert min(summary["dci_disentanglement"], summary["dci_completeness"]) > 0.9 and summary["mig"] > 0.8
    mixed = values @ torch.tensor([[1.0, 1, 1], [1, -1, 1], [1, 1, -1]])
    entangled, _ = factor_scores(CodedObjects(mixed, values, values.double()), ["a", "b", "c"])
    assert entangled["factor_r2"] == pytest.approx(1, abs=1e-6)
    assert all(entangled[name] < summary[name] - 0.2 for name in summary if name != "factor_r2")


def test_too_few_objects_or_unknown_factors_have_no_scores() -> None:
    few = torch.rand(9, 3, generator=Generator().manual_seed(0))
    assert factor_scores(CodedObjects(few, few, few), ["a", "b", "c"]) == ({}, {})
    assert factor_scores(CodedObjects(few.repeat(4, 1), few, torch.empty(36, 0)), []) == ({}, {})


def test_summary_by_hand() -> None:
    local = torch.tensor([[[1.0, 0.5], [torch.nan, 0.6]], [[1.0, 1.0], [torch.nan, 0.4]]])
    found = summary_of(Movement(local, torch.tensor([[0.1, torch.nan], [torch.nan, 0.3]])))
    assert found == {"locality": 0.7, "locality_composited": 0.8, "others_moved": 0.2}
    assert summary_of(None) == {"locality": None, "locality_composited": None, "others_moved": None}


@pytest.mark.parametrize("informative", [[2, 0], []])
def test_every_figure_and_what_it_is_the_mean_of(informative: list[int], model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia.evaluation.codes.dimensions_in_use", lambda kl: informative)
    monkeypatch.setattr("intarsia.evaluation.codes.LOCALITY_SCENES", 3)
    monkeypatch.setattr("intarsia.evaluation.codes.find", truly)
    knowing = Oracle(TINY)
    knowing.load_state_dict(model.state_dict())
    figures, codes = evaluate_codes(knowing, TEST, 10)
    json.dumps([figures, dataclasses.asdict(codes)], allow_nan=False)
    assert list(figures)[:6] == ["mse", "psnr", "ssim", "locality", "locality_composited", "others_moved"]
    assert codes.locality_images == 3
    named = [(row.part, row.dimension) for row in codes.numbers]
    assert named == [("shape", 0), ("shape", 1), ("texture", 0)]
    assert [row.locality is not None for row in codes.numbers] == [number in informative for number in range(3)]
    if informative:
        # Every number counts for the same objects of the same scenes, but where it changes nothing at all.
        assert figures["locality"] == pytest.approx(np.mean([codes.numbers[n].locality for n in informative]), rel=0.01)
        assert all(0 < figures[name] <= 1 for name in ("locality", "locality_composited"))
    else:
        assert figures["locality"] is figures["others_moved"] is None


def truly(model: Model, images: Tensor) -> object:
    """Find the true segments of the first three scenes in any images."""
    found = find(model, images)
    return found._replace(masks=TEST(range(3)).masks[: len(images), [1, 2, 3, 4, 0]])


def test_scenes_without_known_factors(model: Model) -> None:
    unknown = dataclasses.replace(TEST, describe=None)
    figures, codes = evaluate_codes(model, unknown, 2)
    assert codes.factors == {} and "mig" not in figures and figures["psnr"] > 0


def test_no_part_of_the_background_is_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first object of each scene is background here, as the walls of a room are."""
    monkeypatch.setattr("intarsia.evaluation.codes.LOCALITY_SCENES", 2)
    _, codes = evaluate_codes(Oracle(TINY), dataclasses.replace(TEST, describe=None, backgrounds=2), 12)
    seen = (TEST(range(12)).masks[:, 1:] > 0.5).sum((2, 3)) >= 20
    assert codes.objects == int(seen[:, 1:].sum()) < int(seen.sum())


@pytest.mark.parametrize("segments", [3, 7])
def test_a_model_of_more_or_fewer_segments_than_the_scenes(segments: int) -> None:
    model = Model(dataclasses.replace(TINY, segments=segments))
    figures, codes = evaluate_codes(model, TEST, 2)
    assert figures["psnr"] > 0 and codes.objects <= 2 * (segments - 1)


def test_a_run_with_codes_has_their_figures(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "vaes")
    scores = evaluate_run(tmp_path / "vaes", tmp_path / "vaes", scenes=10)
    assert scores.codes and scores.figures.psnr > 0 and scores.figures.fg_ari is not None
    assert Scores.load(tmp_path / "vaes") == scores
    model.save(tmp_path / "separation")
    assert evaluate_run(tmp_path / "separation", tmp_path / "separation", scenes=10).codes is None
