"""Checkpoints that TensorFlow wrote (`make_checkpoints.py`), damaged ones, and tables with what TensorFlow rarely writes."""

import json
import math
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from google_crc32c import value as crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.errors import InputError
from intarsia.formats.sstable import entries
from intarsia.formats.tfrecord import masked_crc32c
from intarsia.interop.checkpoint import TYPES, read_checkpoint
from tests.conftest import REFERENCE

FOLDER = Path(__file__).parent / "checkpoints"
COUNT = np.arange(24, dtype=np.float32)
EXPECTED = {
    "Scope//conv1/weights": (COUNT / 7 - 1).reshape(2, 3, 1, 4),
    "Scope//conv1/weights/Adam": np.zeros((2, 3, 1, 4), np.float32),
    "Scope//conv1/biases": np.array([1e-30, -1.5, np.inf], np.float32),
    "Scope//double": np.array([[0.1, -1e300]]),
    "train_op/global_step": np.array(-3, np.int64),
    "train_op/small": np.array([7, -(2**31), 2**31 - 1], np.int32),
    "train_op/beta1_power": np.array(0.9, np.float32),
    "empty": np.zeros((0, 3), np.float32),
}


def assert_as_expected(prefix: Path) -> None:
    found = read_checkpoint(prefix)
    assert {name: variable.shape for name, variable in found.items()} == {k: v.shape for k, v in EXPECTED.items()}
    for name, variable in found.items():
        values = variable.read()
        assert values.dtype == EXPECTED[name].dtype
        assert values.shape == EXPECTED[name].shape
        assert values.tobytes() == EXPECTED[name].tobytes()


@pytest.mark.parametrize("name", ["one", "two-files", "single-file", "one.index", "two-files.data-00001-of-00002"])
def test_what_tensorflow_wrote_is_read(name: str) -> None:
    assert_as_expected(FOLDER / name)


def test_a_real_checkpoint_of_the_original_is_read() -> None:
    """`tests/interop/test_names.py` compares all its values with the recordings' weights."""
    found = read_checkpoint(REFERENCE / "tf1_checkpoint/vae_fusion-0.index")
    listed = json.loads((REFERENCE / "variables_vae_fusion_b3.json").read_text())
    assert {name: variable.shape for name, variable in found.items()} == {v["name"]: tuple(v["shape"]) for v in listed}
    bias = found["VAE//separate/texVAE/fc1/bias"].read()
    assert np.allclose(bias[:3], [0.059575092, 0.019862032, -0.014155412], atol=1e-9, rtol=0)


def reads(prefix: Path) -> bool:
    """Whether a checkpoint reads as written; False where an `InputError` says that it can't be read."""
    try:
        assert_as_expected(prefix)
    except InputError as error:
        assert "\n" not in str(error)
        return False
    return True


@pytest.mark.parametrize(("name", "damaged"), [("single-file", ""), ("one", ".index"), ("one", ".data-00000-of-00001")])
def test_no_damaged_byte_goes_unnoticed(name: str, damaged: str, tmp_path: Path) -> None:
    """Every byte of every file, with one bit flipped: the values read are right or none."""
    for path in FOLDER.glob(f"{name}*"):
        shutil.copy(path, tmp_path)
    path = tmp_path / f"{name}{damaged}"
    whole = path.read_bytes()
    harmless = 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        harmless += reads(tmp_path / name)
    # Only a table's footer has bytes that mean nothing: what the places of its two indices leave of 40.
    assert harmless < (1 if damaged.startswith(".data") else 40)


@pytest.mark.parametrize(("name", "cut"), [("single-file", ""), ("one", ".index"), ("one", ".data-00000-of-00001")])
def test_a_file_cut_short_is_refused(name: str, cut: str, tmp_path: Path) -> None:
    for path in FOLDER.glob(f"{name}*"):
        shutil.copy(path, tmp_path)
    path = tmp_path / f"{name}{cut}"
    whole = path.read_bytes()
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        assert not reads(tmp_path / name)


def test_a_missing_file_of_values_is_named(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "two-files.index", tmp_path)
    shutil.copy(FOLDER / "two-files.data-00000-of-00002", tmp_path)
    found = read_checkpoint(tmp_path / "two-files")
    assert found["Scope//conv1/weights"].read().shape == (2, 3, 1, 4)
    with pytest.raises(InputError, match=r"two-files\.data-00001-of-00002 is missing: it holds the values of Scope//conv1/"):
        found["Scope//conv1/weights/Adam"].read()


@pytest.mark.parametrize("content", [b"", b"text", bytes(100), b"\x89PNG" + bytes(96)], ids=len)
def test_another_file_is_refused(content: bytes, tmp_path: Path) -> None:
    for name in ("model.ckpt", "model.ckpt.index"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{name} is not a whole TensorFlow checkpoint: its last 8 of {len(content)} "):
            read_checkpoint(tmp_path / "model.ckpt")


@pytest.mark.parametrize("name", ["no-such", "", "no-such.index"])
def test_no_file_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no checkpoint .*\.index nor a file of that name exists\."):
        read_checkpoint(tmp_path / name)


@pytest.mark.parametrize("name", [".", "/", ""])
def test_a_folder_is_no_checkpoint(name: str) -> None:
    with pytest.raises(InputError, match="is a folder; give the path of a checkpoint in it"):
        read_checkpoint(Path(name))


# Tables with what TensorFlow's small files don't have.


def number(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + number(value >> 7)


def block(pairs: dict[bytes, bytes], compression: int = 0) -> bytes:
    """A block whose keys are all written whole, with one start."""
    body = b"".join(b"\0" + number(len(key)) + number(len(value)) + key + value for key, value in pairs.items())
    body += bytes(4) + (1).to_bytes(4, "little") + bytes([compression])
    return body + masked_crc32c(body).to_bytes(4, "little")


def table(*blocks: dict[bytes, bytes], compression: int = 0) -> bytes:
    """A table of several blocks, in the order given."""
    file, index = b"", {}
    for pairs in blocks:
        written = block(pairs, compression)
        index[list(pairs)[-1]] = number(len(file)) + number(len(written) - 5)
        file += written
    return finished(file, index)


def finished(blocks: bytes, index: dict[bytes, bytes]) -> bytes:
    """A table of blocks already written: an empty index of filters, the index of blocks, and where the two are."""
    filters, places = block({}), block(index)
    footer = number(len(blocks)) + number(len(filters) - 5) + number(len(blocks + filters)) + number(len(places) - 5)
    return blocks + filters + places + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def test_blocks_follow_one_another() -> None:
    pairs = {b"": b"header", b"a": b"", b"long" * 50: b"x" * 300, b"z": b"\0"}
    split = [dict(list(pairs.items())[at : at + 2]) for at in (0, 2)]
    assert {key: bytes(value) for key, value in entries(table(*split))} == pairs
    assert {key: bytes(value) for key, value in entries(table(pairs))} == pairs


def test_keys_share_their_beginnings() -> None:
    """Two entries: "abc" = "1", then 2 bytes of it and "d" = "23"."""
    body = bytes([0, 3, 1]) + b"abc1" + bytes([2, 1, 2]) + b"d23" + bytes(4) + bytes([1, 0, 0, 0]) + b"\0"
    file = body + masked_crc32c(body).to_bytes(4, "little")
    whole = finished(file, {b"abd": number(0) + number(len(file) - 5)})
    assert {key: bytes(value) for key, value in entries(whole)} == {b"abc": b"1", b"abd": b"23"}


def test_the_checksum_is_the_published_one() -> None:
    """The check value of CRC-32C (RFC 3720), rotated right by 15 and shifted by TensorFlow's constant."""
    assert crc32c(b"123456789") == 0xE3069283
    rotated = int("".join([f"{0xE3069283:032b}"[-15:], f"{0xE3069283:032b}"[:-15]]), 2)
    assert masked_crc32c(b"123456789") == (rotated + 0xA282EAD8) % 2**32


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        (table({b"": b"\x08\x01"}, compression=1), "compressed"),
        (table({b"": b"\x08\x01\x10\x01"}), "big-endian"),
        (table({b"name": b"\x08\x01"}), "does not start with a header"),
        (table({b"": b"\x0b"}), "unknown kind 3"),
        (table({b"": b"\x0a\x01\x00"}), "is not a number"),
        (table({b"": b"\x08\x01", b"x": b"\x12\xff\x01"}), "has a field up to byte"),
        (table({b"": b"\x08\x01", b"x": b"\x12" + b"\xff" * 20}), "does not end"),
    ],
    ids=["compressed", "big-endian", "no-header", "unknown-kind", "other-kind", "too-long", "endless"],
)
def test_odd_tables_are_refused(file: bytes, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "x.index").write_bytes(file)
    with pytest.raises(InputError, match=f"x.index is not a whole TensorFlow checkpoint: .*{complaint}"):
        read_checkpoint(tmp_path / "x")


def test_an_odd_list_of_an_older_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(table({b"": b"\x08\x01"}))
    with pytest.raises(InputError, match="is a number"):
        read_checkpoint(tmp_path / "x")
    (tmp_path / "x").write_bytes(table({b"a": b""}))
    with pytest.raises(InputError, match="does not start with a list of variables"):
        read_checkpoint(tmp_path / "x")


def test_what_is_not_a_whole_variable_of_numbers_is_refused_when_read(tmp_path: Path) -> None:
    """Text (type 7), a variable saved in parts (field 7), a size that is not the shape's."""
    shape = b"\x12\x04\x12\x02\x08\x02"  # (2,)
    pairs = {b"": b"\x08\x01", b"parts": b"\x08\x01" + shape + b"\x28\x08\x3a\x00", b"size": b"\x08\x01" + shape + b"\x28\x04"}
    (tmp_path / "x.index").write_bytes(table(pairs | {b"text": b"\x08\x07"}))
    found = read_checkpoint(tmp_path / "x")
    assert {name: variable.shape for name, variable in found.items()} == {"parts": (2,), "size": (2,), "text": ()}
    for name, variable in found.items():
        with pytest.raises(InputError, match=f"^{name} of .*x.data-00000-of-00001 is not a variable of numbers"):
            variable.read()


SIZES = st.one_of(st.integers(0, 9), st.sampled_from([2**31, 2**32, 2**62, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1))


def field(place: int, value: int | bytes) -> bytes:
    """A field of a message: a number, or bytes."""
    if isinstance(value, int):
        return number(place << 3) + number(value)
    return number(place << 3 | 2) + number(len(value)) + value


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from([*TYPES, 7]), SIZES, SIZES, st.lists(SIZES, max_size=10), st.booleans())
def test_no_size_or_place_is_too_large(kind: int, offset: int, size: int, shape: list[int], whole: bool) -> None:
    """Of a variable in a file of 16 bytes: each is read, or refused with a sentence, and no memory is taken for it first."""
    sides = b"".join(field(2, field(1, side)) for side in shape)
    size = math.prod(shape) * 4 if whole else size
    checksum = masked_crc32c(bytes(min(size, 16)))
    entry = field(1, kind) + field(2, sides) + field(4, offset) + field(5, size % 2**64) + field(6, checksum)
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "x"
        Path(f"{prefix}.data-00000-of-00001").write_bytes(bytes(16))
        Path(f"{prefix}.index").write_bytes(table({b"": b"\x08\x01", b"name": entry}))
        try:
            values = read_checkpoint(prefix)["name"].read()
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert values.nbytes == size and values.shape == tuple(shape)


def test_a_field_of_another_kind_is_refused_when_read(tmp_path: Path) -> None:
    for place in (1, 4, 5, 6):
        (tmp_path / "x.index").write_bytes(table({b"": b"\x08\x01", b"name": field(place, b"text")}))
        with pytest.raises(InputError, match="is not a variable of numbers"):
            read_checkpoint(tmp_path / "x")["name"].read()


def test_keys_that_grow_without_end_are_refused() -> None:
    """Each entry adds a byte to the key before it: a file of n bytes would hold keys of n * n / 32 bytes."""
    body = b"".join(number(shared) + bytes([1, 0]) + b"k" for shared in range(2000))
    body += bytes(4) + (1).to_bytes(4, "little") + b"\0"
    file = body + masked_crc32c(body).to_bytes(4, "little")
    with pytest.raises(ValueError, match="a key has 1001 bytes"):
        list(entries(finished(file, {b"z": number(0) + number(len(file) - 5)})))
