"""The known mistakes that `benchmarks/judge.py` judges, drawn by hand, and its tables."""

import pytest
import torch
from torch import Generator, Tensor

from benchmarks.judge import TRUTH, by_area, cases, cut, judged, larger, main, merged, smaller, verdict, without_smallest
from intarsia.errors import InputError
from intarsia.model import Model
from tests.stages.toys import TINY


def labels_of(rows: list[str]) -> Tensor:
    """Labels `1 h w` of a picture drawn in digits; '.' stands for 0."""
    return torch.tensor([[int(cell.replace(".", "0")) for cell in row] for row in rows])[None]


def drawn(labels: Tensor) -> list[str]:
    return ["".join(str(cell) for cell in row).replace("0", ".") for row in labels[0].tolist()]


TWO = [
    "........",
    ".111....",
    ".111....",
    ".111..22",
    "......22",
    "........",
    "........",
    "........",
]
ROOM = ["........", *["22222333"] * 4, *["11111111"] * 3]  # sky, two objects that touch, and floor


def test_larger_objects_take_background_up_to_a_distance():
    assert drawn(larger(labels_of(TWO), 1, 1)) == [
        ".111....",
        "11111...",
        "11111.22",
        "11111222",
        ".111.222",
        "......22",
        "........",
        "........",
    ]


def test_smaller_objects_give_way_to_the_background_next_to_them():
    found = drawn(smaller(labels_of(TWO), 1, 1))
    assert found == ["........", "........", "..1.....", *["........"] * 5]  # the other object lies at the image's edge
    assert not smaller(labels_of(TWO), 2, 1).any()
    assert drawn(smaller(labels_of(ROOM), 1, 2)) == ["........", "........", ROOM[2], ROOM[3], *["11111111"] * 4]


def test_the_two_largest_objects_are_merged():
    assert drawn(merged(labels_of(TWO), 1)) == [row.replace("2", "1") for row in TWO]
    alone = labels_of([row.replace("2", ".") for row in TWO])
    assert torch.equal(merged(alone, 1), alone)
    assert torch.equal(merged(torch.zeros_like(alone), 1), torch.zeros_like(alone))


def test_the_largest_of_some_segments_is_cut_through_its_centre():
    down = torch.full((1, 1), 1.5)  # the line is almost a row, a little higher at the right; the side below it is taken
    assert drawn(cut(labels_of(TWO), range(1, 3), 3, down)) == [*TWO[:2], ".113....", ".333..22", *TWO[4:]]
    ground = cut(labels_of(TWO), range(1), 3, down)
    assert torch.equal(ground[0, :3], labels_of(TWO)[0, :3]) and (ground[0, 6:] == 3).all()
    room = cut(labels_of(ROOM), range(2), 4, down)
    assert drawn(room)[:6] == [*ROOM[:5], "11111111"] and drawn(room)[7] == "44444444"  # the floor is larger than the sky


def test_the_smallest_object_goes_to_the_nearest_background():
    assert drawn(without_smallest(labels_of(TWO), 1)) == [row.replace("2", ".") for row in TWO]
    assert drawn(without_smallest(labels_of(ROOM), 2)) == [ROOM[0], *["22222..."] * 2, *["22222111"] * 2, *ROOM[5:]]
    assert not without_smallest(torch.zeros(1, 8, 8, dtype=torch.int64), 1).any()
    assert by_area(labels_of(ROOM)[0], 2) == [2, 3]


def test_every_case_is_a_change_of_at_most_one_segment_more():
    found = cases(torch.cat([labels_of(TWO), torch.zeros(1, 8, 8, dtype=torch.int64)]), 3, 1, Generator().manual_seed(0))
    assert next(iter(found)) == TRUTH and len(found) == 14
    for name, labels in found.items():
        assert labels.shape == (2, 8, 8) and labels.dtype == torch.int64 and labels.min() >= 0 and labels.max() <= 3
        assert torch.equal(labels[0], found[TRUTH][0]) == (name == TRUTH)
        assert not labels[1].any() or "the background cut" in name  # a scene without objects


def test_borders_move_in_proportion_to_the_image():
    names = cases(torch.zeros(1, 192, 256, dtype=torch.int64), 3, 1, Generator().manual_seed(0)).keys()
    assert {"objects 2 px larger", "objects 4 px larger", "objects 8 px smaller"} <= names


def test_the_verdict_names_what_is_lower():
    losses = {TRUTH: torch.tensor([[1.0, 2.0], [1.0, 1.0]]), "all one": torch.tensor([[1.0, 1.0], [3.0, 2.0]])}
    assert verdict(losses, (5.0, 10.0)) == "epsilon 5: lower than the truth: all one; epsilon 10: the truth is the lowest."


def test_scenes_are_judged_alike_each_time(tmp_path, capsys):
    model = Model(TINY)
    losses, changed = judged(model, 10, (30.0, 100.0), 1)
    again, _ = judged(model, 10, (100.0,), 1)
    for name, each in losses.items():
        assert each.shape == (2, 10) and changed[name].shape == (10,)
        assert torch.equal(each[1:], again[name])
        assert torch.equal(each[:, ~changed[name]], losses[TRUTH][:, ~changed[name]])
    assert changed["all one"].all() and not changed[TRUTH].any()
    model.save(tmp_path)
    main((tmp_path,), (100.0,), scenes=10, margin=1)
    *_, last = capsys.readouterr().out.splitlines()
    assert last == verdict(again, (100.0,))


def test_unknown_numbers_are_refused():
    for wrong in ({"scenes": 0}, {"epsilon": (5.0, 0.0)}, {"margin": -1}):
        with pytest.raises(InputError, match="must be at least 1"):
            main((), **wrong)
