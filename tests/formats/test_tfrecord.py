"""Files of an independent writer, the package tfrecord, read by ours."""

import gzip
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from tfrecord.writer import TFRecordWriter

from intarsia.data import PREPARED, open_dataset
from intarsia.data.arrays import open_arrays, write
from intarsia.data.multi_dsprites import LAYOUTS as SPRITES
from intarsia.data.multi_objects import Layout
from intarsia.data.objects_room import LAYOUTS as ROOMS
from intarsia.errors import InputError
from intarsia.formats.tfrecord import byte_values, features, records

SCENES = 40


def drawn(layout: Layout, count: int = SCENES) -> tuple[np.ndarray, np.ndarray]:
    """Random images `n h w c` and the entity of each pixel `n h w`."""
    random = np.random.default_rng(3)
    images = random.integers(0, 256, (count, 64, 64, layout.colours), np.uint8)
    return images, random.integers(0, len(layout.segments), (count, 64, 64))


def examples(layout: Layout, images: np.ndarray, entities: np.ndarray, path: Path) -> Path:
    """A plain file of some scenes in the format of the published ones."""
    return written(layout, images, 255 * (entities[..., None] == np.arange(len(layout.segments))).astype(np.uint8), path)


def written(layout: Layout, images: np.ndarray, masks: np.ndarray, path: Path) -> Path:
    """A plain file of scenes with masks `n h w e`: one string per byte, and other features."""
    if layout.entities_first:
        masks = np.moveaxis(masks, 3, 1)
    writer = TFRecordWriter(str(path))
    for image, mask in zip(images, masks, strict=True):
        values = {
            name: ([bytes([byte]) for byte in part.tobytes()], "byte") for name, part in (("image", image), ("mask", mask))
        }
        writer.write({"x": ([0.25] * 5, "float"), **values, "shape": ([1, 2, 300], "int"), "empty": ([], "float")})
    writer.close()
    return path


@pytest.fixture(scope="session")
def sprites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layout = SPRITES["colored_on_colored"]
    return examples(layout, *drawn(layout), tmp_path_factory.mktemp("sprites") / "sprites.tfrecords")


def zipped(plain: Path, path: Path, times: int = 1) -> Path:
    path.write_bytes(gzip.compress(plain.read_bytes(), 1) * times)
    return path


VARIANTS = [("multi_dsprites", layout) for layout in SPRITES.values()] + [("objects_room", layout) for layout in ROOMS.values()]


@pytest.mark.parametrize(("name", "layout"), VARIANTS)
def test_every_variant_is_recognised_by_its_sizes_and_converted(name: str, layout: Layout, tmp_path: Path) -> None:
    images, entities = drawn(layout, 6)
    file = zipped(examples(layout, images, entities, tmp_path / "plain"), tmp_path / "scenes.tfrecords")
    material = PREPARED[name](file)
    assert (material.count, material.contents.source) == (6, "scenes.tfrecords")
    assert write(tmp_path / "out", material) == 6
    stored = open_arrays(tmp_path / "out", name)
    expected = images if layout.colours == 3 else np.repeat(np.where(images > 0, 255, 0), 3, axis=3)
    assert np.array_equal(stored.arrays["images"], expected)
    assert np.array_equal(stored.arrays["masks"], np.array(layout.segments)[entities])
    assert stored.contents.segments == max(layout.segments) + 1


@pytest.mark.parametrize(("name", "layout"), VARIANTS)
def test_a_pixel_belongs_to_the_largest_mask_the_first_of_equals(name: str, layout: Layout, tmp_path: Path) -> None:
    images, _ = drawn(layout, 2)
    masks = np.random.default_rng(4).choice(np.array([0, 1, 127, 128, 254, 255], np.uint8), (2, 64, 64, len(layout.segments)))
    write(tmp_path / "out", PREPARED[name](written(layout, images, masks, tmp_path / "plain")))
    stored = open_arrays(tmp_path / "out", name).arrays["masks"]
    assert np.array_equal(stored, np.array(layout.segments)[masks.argmax(3)])


def test_the_parts_of_the_walls_become_one_segment() -> None:
    assert ROOMS["train"].segments == (0, 1, 2, 2, 3, 4, 5)
    assert ROOMS["train"].backgrounds == 3


def test_twenty_thousand_records(sprites: Path, tmp_path: Path) -> None:
    """The same 40 scenes 500 times, in as many gzip members; converted in two calls, the second from the middle on."""
    file = zipped(sprites, tmp_path / "many.tfrecords", 500)
    material = PREPARED["multi_dsprites"](file)
    assert material.count == pytest.approx(20_000, rel=0.1)
    assert write(tmp_path / "out", material, limit=11_111) == 11_111
    assert write(tmp_path / "out", material) == 20_000
    images, entities = drawn(SPRITES["colored_on_colored"])
    scenes = {split: open_dataset("multi_dsprites", 0, split, tmp_path / "out") for split in ("test", "val", "train")}
    assert (scenes["test"].size, scenes["val"].size) == (2000, 1000)
    found, masks = scenes["test"]([1999, 41, 0])
    assert np.array_equal(found.mul(255).round().byte().permute(0, 2, 3, 1), images[[39, 1, 0]])
    assert np.array_equal(masks.argmax(1), entities[[39, 1, 0]])
    stored = open_arrays(tmp_path / "out", "multi_dsprites").arrays["images"]
    assert np.array_equal(stored[11_100:11_140], np.roll(images, -11_100 % 40 * -1, axis=0))
    assert scenes["train"]([10**9]).images.shape == (1, 3, 64, 64)


def test_gzip_is_recognised_by_the_first_bytes_not_by_the_name(sprites: Path, tmp_path: Path) -> None:
    compressed = zipped(sprites, tmp_path / "sprites.tfrecords")
    plain, unpacked = ([record.data for record in records(path)] for path in (sprites, compressed))
    assert len(plain) == SCENES and plain == unpacked


def test_several_gzip_members_and_padding_after_them(sprites: Path, tmp_path: Path) -> None:
    file = zipped(sprites, tmp_path / "sprites.tfrecords", 2)
    file.write_bytes(file.read_bytes() + bytes(20))
    assert [record.data for record in records(file)] == 2 * [record.data for record in records(sprites)]


def test_values_are_what_was_written(sprites: Path) -> None:
    found = features(next(records(sprites)).data)
    assert found.keys() == {"x", "image", "mask", "shape", "empty"}
    images, _ = drawn(SPRITES["colored_on_colored"])
    assert byte_values(found["image"]).tobytes() == images[0].tobytes()


def test_bytes_may_also_be_one_string() -> None:
    values = bytes(range(200)) * 2
    assert byte_values(memoryview(b"\x0a\x90\x03" + values)).tobytes() == values
    assert byte_values(memoryview(b"\x0a\x03abc\x0a\x00\x0a\x02de")).tobytes() == b"abcde"
    assert len(byte_values(memoryview(b""))) == 0


def cut(data: bytes) -> bytes:
    return data[:-1000]


def flipped(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


LENGTH = 16 + 98304 + 120  # of a record in the file below, roughly


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (cut, r"ends within record 39, which begins at byte \d+ \(byte"),
        (flipped(3), r"is not a TFRecord file: at byte 0"),
        (flipped(9), r"is not a TFRecord file: at byte 0"),
        (flipped(5000), r"is damaged in record 0, which begins at byte 0: the data don't match"),
        (flipped(3 * LENGTH), r"is damaged in record 3, which begins at byte \d+: the data don't match"),
        (lambda data: data + data[:5], r"ends within record 40, which begins at byte"),
        (lambda data: b"<!DOCTYPE html><html>not found</html>", r"is not a TFRecord file: at byte 0 there is no record"),
        (lambda data: b"PK\x03\x04" + bytes(100), "is not a TFRecord file"),
    ],
)
def test_damaged_and_foreign_files_are_errors(
    damage: Callable[[bytes], bytes], complaint: str, sprites: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(damage(sprites.read_bytes()))
    with pytest.raises(InputError, match=complaint):
        list(records(tmp_path / "file"))


def test_the_byte_named_is_where_the_record_begins(sprites: Path, tmp_path: Path) -> None:
    data = sprites.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    second = 16 + length
    (tmp_path / "file").write_bytes(flipped(second + 20)(data))
    with pytest.raises(InputError, match=f"record 1, which begins at byte {second}:"):
        list(records(tmp_path / "file"))
    (tmp_path / "file").write_bytes(gzip.compress(flipped(second + 20)(data), 1))
    with pytest.raises(InputError, match=f"record 1, which begins at byte {second} of the uncompressed data"):
        list(records(tmp_path / "file"))


def test_a_cut_or_damaged_gzip_stream_is_an_error(sprites: Path, tmp_path: Path) -> None:
    packed = gzip.compress(sprites.read_bytes(), 1)
    half = len(packed) // 2
    damaged = packed[:half] + bytes(100) + packed[half + 100 :]
    for broken in (packed[:half], packed[:-9], damaged, packed[:10] + b"\7" + packed[10:], packed + b"more"):
        (tmp_path / "file").write_bytes(broken)
        with pytest.raises(InputError, match=r"(ends within|is damaged).* record \d+.*uncompressed data.*Fetch it again"):
            list(records(tmp_path / "file"))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_archive_is_named_as_such(mode: str, sprites: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "file", mode) as archive:  # type: ignore[call-overload]
        archive.add(sprites, "sprites.tfrecords")
    with pytest.raises(InputError, match="is a tar archive, as byte 257 says; unpack it"):
        list(records(tmp_path / "file"))


def framed(data: bytes) -> bytes:
    def masked(part: bytes) -> bytes:
        crc = google_crc32c.value(part)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (framed(b"no example at all"), "record 0 is no scene"),
        (framed(b""), "record 0 is no scene: it has no feature 'image'"),
        (framed(b"\x0a\x03\x0a\x01\x00"), "record 0 is no scene"),
    ],
)
def test_files_of_other_records_are_errors(content: bytes, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError, match=complaint):
        PREPARED["multi_dsprites"](tmp_path / "file")


def test_files_of_other_datasets_are_errors(sprites: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not objects_room: image and mask have 12288 and 20480 bytes; known are train"):
        PREPARED["objects_room"](sprites)
    with pytest.raises(InputError, match="name it with --from FILE"):
        PREPARED["objects_room"](None)
    with pytest.raises(InputError, match="can't be read: No such file"):
        PREPARED["objects_room"](tmp_path / "none")
    with pytest.raises(InputError, match="can't be read: Is a directory"):
        PREPARED["objects_room"](tmp_path)
