import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from intarsia.data import Scenes, SceneSample
from intarsia.metrics.locality import Change, Changed, Changes, Found, measure, move
from intarsia.shapes import one_hot

RED, GREEN = (0, slice(0, 5), slice(0, 5)), (1, slice(7, 12), slice(7, 12))  # 25 px each, in their own colour alone


def scene() -> SceneSample:
    """A red square in the upper left, and a green one in the lower right, on black."""
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
    """Changes of a single version."""
    return lambda images: (images[None], [Change(segment, partial(pick, after)) for segment, after in changed])


def pick(after: Tensor, rows: Tensor) -> Changed:
    return Changed(after[None, rows], None)


def with_values(*values: tuple[tuple, float]) -> Tensor:
    image = scene().images.clone()
    for place, value in values:
        image[0][place] = value
    return image


def down(image: Tensor, pixels: int) -> Tensor:
    """The red square, moved down by some pixels."""
    moved = image.clone()
    moved[:, 0] = image[:, 0].roll(pixels, 1)
    return moved


def test_changes_of_an_object_by_hand() -> None:
    speck = (2, 6, 6)  # a blue pixel of the background: it stays background
    darker, spilling = with_values((RED, 0.5)), with_values((RED, 0.5), (speck, 0.5))
    away = down(scene().images, 2)
    found = move(*scene(), changed_to((2, darker), (2, spilling), (2, away), (0, darker)), find)
    # 25 pixels by 0.5, of a sum of 12.5, and then 13; the moved square fills its new region; green is not meant to turn red.
    assert found.locality.tolist() == [[pytest.approx([1, 12.5 / 13, 1, 0])]]
    assert found.others.tolist() == [pytest.approx([0, 0, 0, 0.5])]


def test_a_soft_border_belongs_to_its_object() -> None:
    """Pixels with a mask of 0.2 belong to the red square; those with a mask of 0.03 don't."""
    images, true = scene()
    darker = with_values((RED, 0.5), ((2, slice(0, 5), slice(5, 7)), 0.5))  # 12.5 inside, 5 in two columns beside it
    for fraction, local in ((0.2, 1), (0.03, 12.5 / 17.5)):
        true[:, 1, :5, 5:7], true[:, 0, :5, 5:7] = fraction, 1 - fraction
        assert move(images, true, changed_to((2, darker)), find).locality.tolist() == [[[pytest.approx(local)]]]


def test_where_an_object_is_drawn_is_its_place() -> None:
    """The red square becomes green, 5 rows lower: `find` takes it for the other object, but the model knows its place."""
    image, place = scene().images.clone(), torch.zeros(1, 12, 12, dtype=torch.bool)
    image[0][RED], place[:, 5:10, 0:5] = 0, True
    image[:, 1][place] = 1
    for region, fraction in ((None, 0.5), (place, 1), (place & (torch.arange(12) < 2), 0.7)):
        changes = partial(Changed, image[None])
        found = move(*scene(), lambda images: (images[None], [Change(2, lambda rows: changes(region))]), find)  # noqa: B023
        assert found.locality.tolist() == [[[pytest.approx(fraction)]]]


def test_a_change_of_no_object_is_credited_to_the_best_one() -> None:
    both = with_values((RED, 0.5), (GREEN, 0.8))  # by 12.5 and by 5
    found = move(*scene(), changed_to((None, both), (2, both), (0, both)), find)
    assert found.locality.tolist() == [[pytest.approx([12.5 / 17.5, 12.5 / 17.5, 5 / 17.5])]]
    assert found.others.tolist() == [pytest.approx([0.2, 0.2, 0.5])]


def test_a_change_of_the_background_is_local_to_no_object() -> None:
    image = scene().images.clone()
    image[:, 2] = 0.5 * find(image).masks[:, 1]
    found = move(*scene(), changed_to((None, image), (1, image)), find)
    assert found.locality[0, 0, 0] == 0 and found.locality[0, 0, 1].isnan()  # segment 1 is no object: it does not count
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
    assert found.locality[0, 0].tolist() == pytest.approx([math.nan, 0], nan_ok=True)
    assert found.others.isnan().all()  # there is no other that counts


def test_measure_takes_the_scenes_in_parts() -> None:
    def draw(indices: object) -> SceneSample:
        image, true = scene()
        count = len(indices)  # type: ignore[arg-type]
        return SceneSample(image.expand(count, 3, 12, 12), true.expand(count, 3, 12, 12))

    def changes(images: Tensor) -> tuple[Tensor, list[Change]]:
        darker = images * torch.tensor([0.5, 1, 1])[:, None, None], images / 2
        return images[None], [Change(segment, partial(pick, after)) for segment, after in zip((2, 0), darker, strict=True)]

    found = measure(Scenes("squares", 110, 12, 12, 3, draw), [range(25), range(25, 50), range(50, 60)], changes, find)
    assert found.locality.shape == (1, 60, 2) and found.others.shape == (60, 2)
    assert found.locality[0].mean(0).tolist() == pytest.approx([1, 0.5])
    assert found.others.mean(0).tolist() == pytest.approx([0, 0.5])


def test_another_number_of_segments_is_no_harm() -> None:
    """An additional empty segment changes nothing; with only the segment of black, no change counts."""
    darker = changed_to((2, with_values((RED, 0.5))))

    def more(images: Tensor) -> Found:
        return Found(*(torch.cat([part, torch.zeros_like(part[:, :1])], 1) for part in find(images)))

    def fewer(images: Tensor) -> Found:
        return Found(*(part[:, 1:2] for part in find(images)))

    assert move(*scene(), darker, more).locality.tolist() == move(*scene(), darker, find).locality.tolist() == [[[1]]]
    assert move(*scene(), darker, fewer).locality.isnan().all()


def test_an_object_without_a_segment_does_not_count() -> None:
    """A square of the background's colour has no segment, however many segments are spare."""
    images, true = scene()
    images[0][RED] = 0
    changed = changed_to((0, with_values((RED, 0), (GREEN, 0.5))), (2, with_values((RED, 0.5), (GREEN, 0.5))))
    found = move(images, true, changed, find)
    assert found.locality[0, 0].tolist() == pytest.approx([1, math.nan], nan_ok=True)
    assert found.others.isnan().all()  # of the hidden square, which has no code, none moved


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.permutations(range(4)), st.permutations(range(5)))
def test_the_numbers_of_segments_change_nothing(of_true: list[int], of_found: list[int]) -> None:
    """Of three true segments and three found ones, with further numbers that nothing has; the background stays 0."""
    images, true = scene()
    renamed = torch.zeros(1, 5, 12, 12)
    renamed[:, [0, *(number + 1 for number in of_true[:2])]] = true
    after = (with_values((RED, 0.5), (GREEN, 0.8)), down(images, 2), images)

    def find_renamed(images: Tensor) -> Found:
        found = find(images)
        masks, codes = torch.zeros(len(images), 5, 12, 12), torch.full((len(images), 5, 2), 9.0)
        masks[:, of_found[:3]], codes[:, of_found[:3]] = found
        return Found(masks, codes)

    changed = [(segment, image) for image in after for segment in (0, 1, 2, None)]
    once = move(images, true, changed_to(*changed), find)
    numbers = [(None if segment is None else of_found[segment], image) for segment, image in changed]
    twice = move(images, renamed, changed_to(*numbers), find_renamed)
    for own, other in zip(once, twice, strict=True):
        torch.testing.assert_close(own, other, equal_nan=True)


def test_every_version_has_its_locality_and_the_first_is_found_in() -> None:
    """Both versions darken red; the first one green as well, so that green is the other object, which moves."""
    both, red = with_values((RED, 0.5), (GREEN, 0.8)), with_values((RED, 0.5))

    def changes(images: Tensor) -> tuple[Tensor, list[Change]]:
        return images.expand(2, *images.shape), [Change(2, lambda rows: Changed(torch.stack([both, red])[:, rows], None))]

    found = move(*scene(), changes, find)
    assert found.locality[:, 0, 0].tolist() == pytest.approx([12.5 / 17.5, 1])
    assert found.others.tolist() == [pytest.approx([0.2])]


def test_only_scenes_in_which_a_change_counts_are_rendered() -> None:
    images, true = (part.expand(3, *part.shape[1:]).clone() for part in scene())
    images[1, 0], true[1, 1], true[1, 0] = 0, 0, 1 - true[1, 2]  # the second scene has no red square
    asked = list[list[int]]()

    def render(rows: Tensor) -> Changed:
        asked.append(rows.tolist())
        return Changed(images[None, rows] / 2, None)

    found = move(images, true, lambda images: (images[None], [Change(2, render)]), find)
    assert asked == [[0, 2]]
    assert found.locality[0, :, 0].isnan().tolist() == [False, True, False]
