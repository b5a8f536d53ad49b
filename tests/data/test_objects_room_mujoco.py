import ctypes.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from intarsia.data import open_dataset
from intarsia.data.arrays import write
from intarsia.data.objects_room_mujoco import _mujoco, material, render
from intarsia.data.random import scene_keys
from intarsia.data.rooms import REACH, VARIANTS, draw_rooms
from intarsia.errors import InputError

N = 1000


@pytest.mark.parametrize("variant", VARIANTS)
def test_objects_stand_apart_in_the_room_and_before_the_camera(variant: str) -> None:
    rooms = draw_rooms(scene_keys(0, "rooms", range(N)), variant)
    fewest, most = VARIANTS[variant]
    assert set(rooms.number.tolist()) == set(range(fewest, most + 1))
    present = np.arange(most) < rooms.number[:, None]
    away = np.linalg.norm(rooms.place[:, :, None] - rooms.place[:, None], axis=-1)
    free = away - rooms.radius[:, :, None] - rooms.radius[:, None]
    pairs = present[:, :, None] & present[:, None] & ~np.eye(most, dtype=bool)
    assert not pairs.any() or free[pairs].min() > 0.1
    assert np.all((np.abs(rooms.place).max(-1) + rooms.radius < REACH) | ~present)
    before = rooms.place - rooms.eye[:, None, :2]
    assert np.all(np.diff(np.where(present, np.hypot(*np.moveaxis(before, -1, 0)), 99), axis=1) >= 0)  # nearest first
    angle = np.arctan2(before[..., 0], before[..., 1]) - rooms.turn[:, None]
    assert np.all((np.abs(angle) < np.deg2rad(27.1)) | ~present)
    assert rooms.colours.min() >= 0 and rooms.colours.max() <= 1
    np.testing.assert_allclose(np.linalg.norm(rooms.light, axis=1), 1)


def test_a_room_does_not_depend_on_its_batch() -> None:
    keys = scene_keys(0, "rooms", range(50))
    for alone, many in zip(draw_rooms(keys[[33]], "six_objects"), draw_rooms(keys, "six_objects"), strict=True):
        assert np.array_equal(alone[0], many[33])


def test_identical_colours_are_identical_and_others_are_not() -> None:
    keys = scene_keys(0, "rooms", range(100))
    same, other = (draw_rooms(keys, variant).colours[:, 3:] for variant in ("identical_color", "six_objects"))
    assert np.ptp(same, axis=1).max() == 0
    assert np.ptp(other, axis=1).max(axis=1).min() > 0.05


@pytest.mark.usefixtures("drawing")
def test_pictures_show_what_the_segments_say() -> None:
    images, masks = render("six_objects", np.arange(20))
    rooms = draw_rooms(scene_keys(2, "rooms", range(20)), "six_objects")
    assert images.shape == (20, 64, 64, 3) and masks.shape == (20, 64, 64)
    for image, mask, colours, number in zip(images / 255, masks, rooms.colours, rooms.number, strict=True):
        assert set(np.unique(mask)) <= set(range(3 + number))
        assert mask[0].max() in (0, 2, 3, 4, 5, 6, 7, 8) and mask[0, 0] in (0, 2)  # above the horizon is no floor
        assert (mask[-1] != 0).all()  # and below it no sky
        inside = np.ones_like(mask, bool)  # away from borders, where colours mix
        inside[1:-1, 1:-1] = [[np.ptp(mask[r - 1 : r + 2, c - 1 : c + 2]) == 0 for c in range(1, 63)] for r in range(1, 63)]
        sky = image[inside & (mask == 0)]
        np.testing.assert_allclose(np.median(sky, axis=0), colours[0], rtol=0, atol=0.01)
        for segment in range(1, 3 + number):
            seen = image[inside & (mask == segment)]
            if len(seen) < 9:
                continue
            # Light makes a colour brighter or darker and adds a little white: its direction stays.
            cosine = seen @ colours[segment] / np.linalg.norm(seen, axis=1) / np.linalg.norm(colours[segment])
            assert np.median(cosine) > 0.99


@pytest.mark.usefixtures("drawing")
def test_drawing_again_gives_the_same_whatever_was_drawn_before() -> None:
    images, masks = render("train", np.arange(12))
    again, masks_again = render("train", np.array([7, 2]))
    assert np.array_equal(masks_again, masks[[7, 2]])
    assert np.abs(again.astype(int) - images[[7, 2]]).max() <= 1
    _, empty = render("empty_room", np.arange(5))
    assert set(np.unique(empty)) == {0, 1, 2}


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize("name", ["objects_room_mujoco", "objects_room"])
def test_rooms_are_written_by_other_processes_and_only_the_published_ones_are_darkened_in_training(
    name: str, tmp_path: Path
) -> None:
    made = material("train", None)
    splits = made.contents.splits | {"test": 2, "val": 2}
    made = replace(made, contents=replace(made.contents, name=name, splits=splits))
    assert write(tmp_path, made, limit=8) == 8
    images, masks = render("train", np.arange(8))
    test, train = (open_dataset(name, 0, split, tmp_path) for split in ("test", "train"))
    assert (test.segments, test.backgrounds, test.size) == (6, 3, 2)
    found = test([0, 1])
    assert torch.equal(found.masks.argmax(1), torch.from_numpy(masks[:2]).long())
    np.testing.assert_allclose(found.images.permute(0, 2, 3, 1), images[:2] / 255, rtol=0, atol=1.01 / 255)
    factors = []
    for image, mask in zip(*train(range(4)), strict=True):
        sky = mask[0] > 0
        drawn = next(i for i in range(4, 8) if np.array_equal(masks[i], mask.argmax(0)))
        original = torch.from_numpy(images[drawn] / 255).permute(2, 0, 1).float()
        torch.testing.assert_close(image[:, ~sky], original[:, ~sky], rtol=0, atol=0.01)
        factors.append(float(image[:, sky].sum() / original[:, sky].sum()))
    if name == "objects_room":  # as in the original, which takes the true mask of the sky
        assert all(0.2 <= factor < 0.999 for factor in factors) and len(set(factors)) == 4
    else:
        assert factors == pytest.approx([1] * 4, abs=0.01)


def test_what_cannot_be_drawn_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="from no file: leave out --from x"):
        material("train", Path("x"))
    with pytest.raises(InputError, match=r"intarsia prepare objects_room_mujoco.*--data-root"):
        open_dataset("objects_room_mujoco")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    with pytest.raises(InputError, match=r"neither EGL nor OSMesa.*libegl1 or libosmesa6"):
        _mujoco()


@pytest.mark.usefixtures("drawing")
def test_a_window_without_a_screen_is_refused(tmp_path: Path) -> None:
    """In a process of its own: the first import of MuJoCo settles how it draws."""
    pytest.importorskip("glfw")
    unseen = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-W", "ignore", "-m", "intarsia", "prepare", "objects_room_mujoco", "--out", tmp_path / "rooms"]
    done = subprocess.run([*command, "--limit", "1"], env=unseen | {"MUJOCO_GL": "glfw"}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("intarsia: MuJoCo can't draw with glfw (")
    assert "set MUJOCO_GL to egl or osmesa" in done.stderr and "Traceback" not in done.stderr
