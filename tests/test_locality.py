import math

import pytest
import torch
from torch import Tensor

from intarsia.data import Scenes, SceneSample
from intarsia.locality import Changes, Found, measure, move, segment_of
from intarsia.shapes import one_hot

RED, GREEN = (0, slice(0, 5), slice(0, 5)), (1, slice(7, 12), slice(7, 12))  # 25 px each, in their own colour alone


def scene() -> SceneSample:
    """A red square above to the left, and a green one below to the right, on black."""
    image, labels = torch.zeros(1, 3, 12, 12), torch.zeros(1, 12, 12, dtype=torch.long)
    for label, place in enumerate((RED, GREEN), 1):
        image[0][place] = 1
        labels[0][place[1:]] = label
    return SceneSample(image, one_hot(labels, 3))


def find(images: Tensor) -> Found:
    """Green is segment 0, black is 1, red is 2; a code is the segment's summed colour and the sum of its rows, over 25."""
    black = torch.full_like(images[:, 0], 0.1)
    labels = torch.stack([images[:, 1], black, images[:, 0]], 1).argmax(1)
    masks = one_hot(labels, 3)
    rows = (masks * torch.arange(12.0)[:, None]).sum((2, 3))
    values = (masks * images[:, :2].sum(1, keepdim=True)).sum((2, 3))
    return Found(masks, torch.stack([values, rows], 2) / 25)


def changed_to(*changed: tuple[int | None, Tensor]) -> Changes:
    return lambda images: (images, iter(changed))


def with_values(*values: tuple[tuple, float]) -> Tensor:
    image = scene().images.clone()
    for place, value in values:
        image[0][place] = value
    return image


def down(image: Tensor, pixels: int) -> Tensor:
    """The red square, lower by so many pixels."""
    moved = image.clone()
    moved[:, 0] = image[:, 0].roll(pixels, 1)
    return moved


def test_each_object_has_a_segment_of_its_own() -> None:
    images, true = scene()
    assert segment_of(true.argmax(1), find(images).masks.argmax(1), 3).tolist() == [[2, 0]]


def test_changes_of_an_object_by_hand() -> None:
    speck = (2, 6, 6)  # a blue pixel of the background: it stays background
    darker, spilling = with_values((RED, 0.5)), with_values((RED, 0.5), (speck, 0.5))
    away = down(scene().images, 2)
    found = move(*scene(), changed_to((2, darker), (2, spilling), (2, away), (0, darker)), find)
    # 25 pixels by 0.5, of a sum of 12.5, and then 13; the moved square fills its new region; green is not meant to turn red.
    assert found.locality.tolist() == [pytest.approx([1, 12.5 / 13, 1, 0])]
    assert found.others.tolist() == [pytest.approx([0, 0, 0, 0.5])]


def test_a_change_of_no_object_is_credited_to_the_best_one() -> None:
    both = with_values((RED, 0.5), (GREEN, 0.8))  # by 12.5 and by 5
    found = move(*scene(), changed_to((None, both), (2, both), (0, both)), find)
    assert found.locality.tolist() == [pytest.approx([12.5 / 17.5, 12.5 / 17.5, 5 / 17.5])]
    assert found.others.tolist() == [pytest.approx([0.2, 0.2, 0.5])]


def test_a_change_of_the_background_is_local_to_no_object() -> None:
    image = scene().images.clone()
    image[:, 2] = 0.5 * find(image).masks[:, 1]
    found = move(*scene(), changed_to((None, image), (1, image)), find)
    assert found.locality[0, 0] == 0 and found.locality[0, 1].isnan()  # segment 1 is no object: it does not count
    assert found.others[0, 0] == 0 and found.others[0, 1].isnan()


def test_where_nothing_changes_there_is_no_locality() -> None:
    found = move(*scene(), changed_to((2, scene().images), (None, scene().images)), find)
    assert found.locality.isnan().all()
    assert found.others.tolist() == [[0, 0]]


def test_objects_that_are_hardly_seen_do_not_count() -> None:
    images, true = scene()
    true[:, 0, :2] = 1
    true[:, 1, :2] = 0  # 15 of 25 pixels are left of the red square's mask
    darker = with_values((RED, 0.5))
    found = move(images, true, changed_to((2, darker), (0, darker)), find)
    assert found.locality[0].tolist() == pytest.approx([math.nan, 0], nan_ok=True)
    assert found.others.isnan().all()  # there is no other that counts


def test_measure_takes_the_scenes_in_parts() -> None:
    def draw(indices: object) -> SceneSample:
        image, true = scene()
        count = len(indices)  # type: ignore[arg-type]
        return SceneSample(image.expand(count, 3, 12, 12), true.expand(count, 3, 12, 12))

    def changes(images: Tensor) -> tuple[Tensor, list[tuple[int | None, Tensor]]]:
        return images, [(2, images * torch.tensor([0.5, 1, 1])[:, None, None]), (0, images / 2)]

    found = measure(Scenes("squares", 150, 12, 12, 3, draw), 120, changes, find)
    assert found.locality.shape == found.others.shape == (120, 2)
    assert found.locality.mean(0).tolist() == pytest.approx([1, 0.5])
    assert found.others.mean(0).tolist() == pytest.approx([0, 0.5])
