import json
import math
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intarsia.data.arrays import Contents, Material, Rows, begun, open_arrays, split_range, stored_scenes, write
from intarsia.errors import InputError

CONTENTS = Contents("rooms", "rooms.tfrecords", 4, 6, 3, {"test": 4, "val": 3, "train": None})
SCENES = 20


def row(number: int) -> Rows:
    """A scene whose number is in its first pixel, and is the number of pixels of segment 2."""
    images = np.full((4, 6, 3), 9, np.uint8)
    images[0, 0] = number
    masks = np.zeros(24, np.uint8)
    masks[:number] = 2
    return {"images": images, "masks": masks.reshape(4, 6)}


def rows_from(start: int) -> Iterator[Rows]:
    """Pieces of 3 scenes."""
    for first in range(start, SCENES, 3):
        rows = [row(number) for number in range(first, min(first + 3, SCENES))]
        yield {name: np.stack([row[name] for row in rows]) for name in ("images", "masks")}


MATERIAL = Material(CONTENTS, rows_from, SCENES)


class Killed(Exception):
    pass


def killed_after(pieces: int) -> Material:
    def some(start: int) -> Iterator[Rows]:
        for number, piece in enumerate(rows_from(start)):
            if number == pieces:
                raise Killed
            yield piece

    return Material(CONTENTS, some, SCENES)


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert write(tmp_path / "new", MATERIAL) == SCENES
    stored = open_arrays(tmp_path / "new", "rooms")
    assert (stored.contents, stored.rows) == (CONTENTS, SCENES)
    for name in ("images", "masks"):
        assert isinstance(stored.arrays[name], np.memmap)
        assert np.array_equal(stored.arrays[name], np.load(tmp_path / "new" / f"{name}.npy"))
        assert np.array_equal(stored.arrays[name], np.stack([row(number)[name] for number in range(SCENES)]))


def test_an_interrupted_writing_goes_on_where_it_stopped(tmp_path: Path) -> None:
    write(tmp_path / "whole", MATERIAL)
    with pytest.raises(Killed):
        write(tmp_path / "parts", killed_after(2))
    assert begun(tmp_path / "parts", CONTENTS) == (6, False)
    with (tmp_path / "parts" / "images.npy").open("ab") as file:
        file.write(b"half a row that was being written")
    seen: list[int] = []
    assert write(tmp_path / "parts", MATERIAL, advance=seen.append) == SCENES
    assert seen[:3] == [6, 9, 12]
    assert written(tmp_path / "parts") == written(tmp_path / "whole")


def test_a_limit_can_be_raised_later(tmp_path: Path) -> None:
    assert write(tmp_path, MATERIAL, limit=7) == 7
    assert write(tmp_path, MATERIAL, limit=5) == 7
    assert write(tmp_path, MATERIAL, limit=11) == 11
    assert len(open_arrays(tmp_path, "rooms").arrays["images"]) == 11
    assert write(tmp_path, MATERIAL) == write(tmp_path, MATERIAL) == SCENES
    with pytest.raises(InputError, match="limit is 0"):
        write(tmp_path, MATERIAL, limit=0)


def test_splits_are_those_of_the_file(tmp_path: Path) -> None:
    write(tmp_path, MATERIAL)
    stored = open_arrays(tmp_path, "rooms")
    assert [split_range(stored, split) for split in ("test", "val", "train")] == [range(4), range(4, 7), range(7, 20)]
    images, masks = stored_scenes(tmp_path, "rooms", 0, "val")([2, 0])
    assert images[:, 0, 0, 0].mul(255).round().tolist() == [6, 4]
    assert masks.sum((2, 3)).tolist() == [[18, 0, 6], [20, 0, 4]]
    assert images[0, 0, 1, 1] == pytest.approx(9 / 255)


def numbers(seed: int, indices: range, folder: Path) -> list[int]:
    return stored_scenes(folder, "rooms", seed, "train")(indices).images[:, 0, 0, 0].mul(255).round().int().tolist()


def test_training_goes_through_all_scenes_in_another_order_each_time(tmp_path: Path) -> None:
    write(tmp_path, MATERIAL)
    rounds = [numbers(0, range(first, first + 13), tmp_path) for first in (0, 13, 26)]
    assert [sorted(each) for each in rounds] == [list(range(7, 20))] * 3
    assert rounds[0] != rounds[1] != rounds[2] != rounds[0]
    assert numbers(1, range(13), tmp_path) != rounds[0]
    test = [stored_scenes(tmp_path, "rooms", seed, "test")(range(4)).images for seed in (0, 1)]
    assert torch.equal(*test)


def test_a_folder_travels_to_other_processes_by_its_name(tmp_path: Path) -> None:
    write(tmp_path, MATERIAL)
    travelling = pickle.dumps(stored_scenes(tmp_path, "rooms", 0, "train"))
    assert np.load(tmp_path / "images.npy").tobytes()[-100:] not in travelling
    assert torch.equal(pickle.loads(travelling)([3]).images, stored_scenes(tmp_path, "rooms", 0, "train")([3]).images)


def test_scores_can_say_what_they_are_of(tmp_path: Path) -> None:
    write(tmp_path, MATERIAL, limit=10)
    assert stored_scenes(tmp_path, "rooms", 0, "test").source == "rooms.tfrecords, 10 scenes"


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "rooms", MATERIAL, limit=2)
    before = written(tmp_path / "rooms")
    other = Contents("rooms", "other.tfrecords", 4, 6, 3, {"test": None})
    with pytest.raises(InputError, match=r"holds rooms from rooms\.tfrecords; name another folder for other\.tfrecords"):
        write(tmp_path / "rooms", Material(other, rows_from, 3))
    assert written(tmp_path / "rooms") == before
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"holds thesis\.tex; name a new or an empty one"):
        write(tmp_path / "thesis", MATERIAL)


def test_a_split_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, MATERIAL, limit=7)
    with pytest.raises(InputError, match=r"no scenes for train: 7 scenes in all \(test 4, val 3, train the rest\)"):
        stored_scenes(tmp_path, "rooms", 0, "train")
    assert stored_scenes(tmp_path, "rooms", 0, "val").size == 3


def test_damaged_folders_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no dataset\.json: it was not written by `intarsia prepare rooms`"):
        open_arrays(tmp_path, "rooms")
    write(tmp_path, MATERIAL)
    with pytest.raises(InputError, match="holds rooms, not multi_dsprites"):
        open_arrays(tmp_path, "multi_dsprites")
    os.truncate(tmp_path / "images.npy", 500)
    with pytest.raises(InputError, match=r"images\.npy is damaged.*Prepare the folder again"):
        open_arrays(tmp_path, "rooms")
    np.save(tmp_path / "images.npy", np.zeros((3, 4, 6, 3), np.uint8))
    with pytest.raises(InputError, match=r"images\.npy holds 3 rows, but should hold 20"):
        open_arrays(tmp_path, "rooms")


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2}, {"rows": "many"}, {"colour": 1}, None, {"splits": [1]}, {"splits": {"test": "4"}},
        {"splits": {"test": -1}}, {"rows": math.inf}, {"rows": math.nan}, {"rows": -1}, {"rows": 10**400}, {"segments": 0},
        {"height": 10**9}, {"complete": "yes"}, {"name": None},
    ],
)  # fmt: skip
def test_odd_descriptions_are_errors(change: dict[str, object] | None, tmp_path: Path) -> None:
    write(tmp_path, MATERIAL)
    path = tmp_path / "dataset.json"
    path.write_text("[]" if change is None else json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=r"dataset\.json does not describe"):
        open_arrays(tmp_path, "rooms")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    write(folder, MATERIAL)
    return folder


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 127), st.binary(min_size=1, max_size=8), st.sampled_from(["images.npy", "masks.npy"]))
def test_a_damaged_header_is_an_error_or_leaves_the_shape(whole: Path, at: int, damage: bytes, name: str) -> None:
    path = whole / name
    intact = path.read_bytes()
    damaged = bytearray(intact)
    damaged[at : at + len(damage)] = damage
    path.write_bytes(damaged)
    try:
        stored = open_arrays(whole, "rooms")
        assert stored.arrays[name[:-4]][:SCENES].shape[1:3] == (4, 6)
    except InputError as error:
        assert "\n" not in str(error)
    finally:
        path.write_bytes(intact)


@pytest.mark.parametrize(
    "array",
    [np.zeros((20, 4, 6), np.float32), np.zeros((20, 4, 7), np.uint8), np.array(1, np.uint8), np.zeros(20, np.uint8)],
    ids=["floats", "size", "number", "flat"],
)
def test_another_array_is_an_error(array: np.ndarray, tmp_path: Path) -> None:
    write(tmp_path, MATERIAL)
    np.save(tmp_path / "masks.npy", array)
    with pytest.raises(InputError, match=r"masks\.npy is (damaged: it should hold rows of uint8|[0-9x]*; a row should be 4x6)"):
        open_arrays(tmp_path, "rooms")
    (tmp_path / "masks.npy").unlink()
    with pytest.raises(InputError, match=r"masks\.npy is missing; a row should be 4x6"):
        open_arrays(tmp_path, "rooms")


@pytest.mark.parametrize("label", [3, 255])
def test_a_segment_that_there_is_none_of_is_named(label: int, tmp_path: Path) -> None:
    write(tmp_path, MATERIAL)
    content = bytearray((tmp_path / "masks.npy").read_bytes())
    content[128 + 24 * 2 + 5] = label
    (tmp_path / "masks.npy").write_bytes(content)
    test = stored_scenes(tmp_path, "rooms", 0, "test")
    test([0, 1, 3])
    with pytest.raises(InputError, match=rf"row 2 has a pixel of segment {label}; those are 0 to 2"):
        test([1, 2])
