"""Every kind of image file is read as the 8-bit picture that it shows."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from intarsia.data.folder import fitted
from intarsia.errors import InputError
from intarsia.formats.image_file import TURNS, read_photo, read_stored
from intarsia.pictures import read_picture
from intarsia.studio.uploads import picture_of

HEIGHT, WIDTH = 6, 10
Bytes = NDArray[np.uint8]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(kind: int, bits: int, values: NDArray, *before: bytes) -> bytes:
    """A PNG file written by hand: Pillow writes few of the kinds that it reads. Values are `h w` or `h w c`."""
    rows = values.astype(">u2" if bits == 16 else np.uint8).reshape(len(values), -1)
    if bits < 8:
        rows = np.packbits(np.unpackbits(rows[..., None], axis=2)[..., 8 - bits :].reshape(len(rows), -1), axis=1)
    header = struct.pack(">IIBBBBB", values.shape[1], len(values), bits, kind, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(before) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def on_white(colours: Bytes, alpha: Bytes) -> Bytes:
    opaque = alpha[..., None] / 255
    return (colours * opaque + 255 * (1 - opaque)).round().astype(np.uint8)


def repeated(grey: NDArray) -> Bytes:
    return np.repeat(grey.astype(np.uint8)[..., None], 3, 2)


def kinds(seed: int) -> dict[str, tuple[bytes, Bytes]]:
    """Files of every kind, and the 8-bit picture `h w 3` that each shows."""
    rng = np.random.default_rng(seed)
    grey, alpha = rng.integers(0, 256, (2, HEIGHT, WIDTH), np.uint8)
    colours = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    black_white, few = grey % 2, grey % 16
    palette, alphas = rng.integers(0, 256, (16, 3), np.uint8), rng.integers(0, 256, 16, np.uint8)
    plte, trns = chunk(b"PLTE", palette.tobytes()), chunk(b"tRNS", alphas.tobytes())
    keyed = chunk(b"tRNS", struct.pack(">H", 257 * int(grey[0, 0])))
    rgb = Image.fromarray(colours)
    return {
        "1 bit": (png(0, 1, black_white), repeated(255 * black_white)),
        "2 bits": (png(0, 2, grey % 4), repeated(85 * (grey % 4))),
        "4 bits": (png(0, 4, few), repeated(17 * few)),
        "8 bits": (png(0, 8, grey), repeated(grey)),
        "16 bits": (png(0, 16, 257 * grey.astype(int)), repeated(grey)),
        "1 bit, a transparent one": (png(0, 1, black_white, chunk(b"tRNS", b"\0\0")), repeated(np.full_like(grey, 255))),
        "4 bits, a transparent one": (
            png(0, 4, few, chunk(b"tRNS", b"\0\3")),
            on_white(repeated(17 * few), np.where(few == 3, 0, 255)),
        ),
        "16 bits, a transparent one": (
            png(0, 16, 257 * grey.astype(int), keyed),
            on_white(repeated(grey), np.where(grey == grey[0, 0], 0, 255)),
        ),
        "grey with alpha": (png(4, 8, np.dstack([grey, alpha])), on_white(repeated(grey), alpha)),
        "grey with alpha, 16 bits": (png(4, 16, 257 * np.dstack([grey, alpha]).astype(int)), on_white(repeated(grey), alpha)),
        "palette": (png(3, 8, few, plte), palette[few]),
        "palette, 4 bits": (png(3, 4, few, plte), palette[few]),
        "palette with alpha": (png(3, 8, few, plte, trns), on_white(palette[few], alphas[few])),
        "colours": (png(2, 8, colours), colours),
        "colours, 16 bits": (png(2, 16, 257 * colours.astype(int)), colours),
        "colours with alpha": (png(6, 8, np.dstack([colours, alpha])), on_white(colours, alpha)),
        "colours with alpha, 16 bits": (png(6, 16, 257 * np.dstack([colours, alpha]).astype(int)), on_white(colours, alpha)),
        "WebP": (saved(rgb, "webp", lossless=True), colours),
        "BMP": (saved(rgb, "bmp"), colours),
        "BMP with palette": (saved(Image.fromarray(grey), "bmp"), repeated(grey)),
        "TIFF": (saved(rgb, "tiff", compression="tiff_lzw"), colours),
        "TIFF, 16 bits": (saved(Image.fromarray(257 * grey.astype(np.uint16)), "tiff"), repeated(grey)),
        "TIFF, CMYK": (saved(Image.fromarray(np.dstack([255 - colours, 0 * grey]), "CMYK"), "tiff"), colours),
        "TIFF, 1 bit": (saved(Image.fromarray(255 * black_white).convert("1"), "tiff"), repeated(255 * black_white)),
    }


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_reader_sees_the_8_bit_picture(seed: int) -> None:
    """A picture given to `predict`, one of a folder, and one sent to the studio."""
    for name, (content, shown) in kinds(seed).items():
        path = Path(name)
        pixels = read_picture(path, HEIGHT, WIDTH, content).pixels
        np.testing.assert_array_equal((pixels.permute(1, 2, 0).numpy() * 255).round(), shown, name)
        assert picture_of(content, HEIGHT, WIDTH).pixels.equal(pixels), name
        np.testing.assert_array_equal(fitted(read_photo(path, content).image, HEIGHT, WIDTH), shown, name)


@pytest.mark.parametrize(("kind", "image"), [("jpeg", "RGB"), ("jpeg", "L"), ("jpeg", "CMYK"), ("avif", "RGB")])
def test_lossy_files_show_almost_the_8_bit_picture(kind: str, image: str) -> None:
    colours = np.kron(np.array([[30, 200], [120, 90]], np.uint8), np.ones((16, 16), np.uint8))
    given = Image.fromarray(colours).convert(image)
    shown = np.asarray(read_photo(Path("a"), saved(given, kind, quality=95)).image)
    assert np.abs(shown.astype(int) - colours[..., None]).max() < 6


def test_values_that_are_no_colours_are_refused() -> None:
    for values in (np.zeros((4, 4), np.float32), np.zeros((4, 4), np.int32)):
        with pytest.raises(InputError, match="32 bits or a sign"):
            read_photo(Path("a.tif"), saved(Image.fromarray(values), "tiff"))
    inverted = saved(Image.fromarray(np.zeros((4, 4), np.uint16)), "tiff", tiffinfo={262: 0})
    with pytest.raises(InputError, match="0 is white"):
        read_photo(Path("a.tif"), inverted)


# EXIF.

CORNER = np.zeros((16, 24, 3), np.uint8)
CORNER[:8, :12] = (255, 0, 0)  # each turn puts it, or the long side, elsewhere
TYPES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # of TIFF, with their bytes
STRUCTURE = {254, 256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 284, 317, 320, 330, 338, 339}  # needed to decode a TIFF
Tags = dict[int, tuple[int, bytes]]


def directory(tags: Tags, start: int) -> bytes:
    """A TIFF directory at a place in a file: tags with type and content, in little-endian order."""
    entries, behind = b"", b""
    for tag, (type_, content) in sorted(tags.items()):
        place = start + 2 + 12 * len(tags) + 4 + len(behind)
        entries += struct.pack("<HHL", tag, type_, len(content) // TYPES[type_])
        entries += content.ljust(4, b"\0") if len(content) <= 4 else struct.pack("<L", place)
        behind += content if len(content) > 4 else b""
    return struct.pack("<H", len(tags)) + entries + bytes(4) + behind


def with_tags(kind: str, tags: Tags) -> bytes:
    """The picture `CORNER` in a file with these tags, whose types may be wrong."""
    content = saved(Image.fromarray(CORNER), kind, **({"quality": 95} if kind == "jpeg" else {}))
    exif = b"II*\0" + struct.pack("<L", 8) + directory(tags, 8)
    if kind == "jpeg":
        exif = b"Exif\0\0" + exif
        return content[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + content[2:]
    if kind == "png":
        return content[:33] + chunk(b"eXIf", exif) + content[33:]
    if kind == "webp":
        return saved(Image.fromarray(CORNER), kind, lossless=True, exif=exif)
    (start,) = struct.unpack("<L", content[4:8])  # TIFF: the picture's own directory moves behind it
    (count,) = struct.unpack("<H", content[start : start + 2])
    for entry in struct.iter_unpack("<HHL4s", content[start + 2 : start + 2 + 12 * count]):
        tag, type_, number, value = entry
        size = number * TYPES[type_]
        (place,) = struct.unpack("<L", value)
        tags = {tag: (type_, value[:size] if size <= 4 else content[place : place + size]), **tags}
    return content[:4] + struct.pack("<L", len(content)) + content[8:] + directory(tags, len(content))


def wrong_tags() -> st.SearchStrategy[Tags]:
    numbers = st.sampled_from([256, 257, 271, 272, 282, 283, 296, 305, 306, 315, 700, 33432, 34665, 34853, 36864, 37500, 37510])
    types = st.sampled_from(sorted(TYPES))
    value = types.flatmap(lambda type_: st.tuples(st.just(type_), st.binary(min_size=8, max_size=16)))
    return st.dictionaries(numbers, value.map(lambda each: (each[0], each[1][: len(each[1]) // 8 * 8])), max_size=5)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
@settings(max_examples=40, deadline=None)
@given(tags=wrong_tags(), orientation=st.integers(1, 8))
def test_pictures_with_tags_of_wrong_types_are_read_and_turned(kind: str, tags: Tags, orientation: int) -> None:
    tags = {tag: value for tag, value in tags.items() if kind != "tiff" or tag not in STRUCTURE}
    photo = read_photo(Path("a"), with_tags(kind, tags | {274: (3, struct.pack("<H", orientation))}))
    turned = Image.fromarray(CORNER)
    if orientation != 1:
        turned = turned.transpose(TURNS[orientation])
    assert photo.size == photo.image.size == turned.size
    assert np.abs(np.asarray(photo.image).astype(int) - np.asarray(turned)).mean() < 6  # JPEG blurs the colours of edges


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
@pytest.mark.parametrize(
    ("value", "size"),
    [
        ((2, b"6\0"), (16, 24)),  # as text
        ((5, struct.pack("<LL", 6, 1)), (16, 24)),  # as a fraction
        ((1, b"\6"), (16, 24)),
        ((2, b"left\0"), (24, 16)),  # what can't be told leaves the picture as it is
        ((5, struct.pack("<LL", 6, 0)), (24, 16)),
        ((3, struct.pack("<H", 9)), (24, 16)),
        ((12, struct.pack("<d", float("inf"))), (24, 16)),
    ],
)
def test_orientation_of_a_wrong_type_turns_where_it_can_be_told(
    kind: str, value: tuple[int, bytes], size: tuple[int, int]
) -> None:
    assert read_photo(Path("a"), with_tags(kind, {274: value})).image.size == size


def test_turning_is_that_of_pillow() -> None:
    for orientation in range(1, 9):
        content = with_tags("png", {274: (3, struct.pack("<H", orientation))})
        expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
        assert np.array_equal(np.asarray(read_photo(Path("a"), content).image), np.asarray(expected))


# Damage and size.


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "bmp", "tiff", "avif"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_files_are_read_or_refused(kind: str, data: st.DataObject) -> None:
    """Never another exception than the package's own."""
    content = bytearray(saved(Image.fromarray(CORNER), kind))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    cut = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    try:
        assert read_photo(Path("a"), bytes(cut)).image.mode == "RGB"
    except InputError as error:
        assert str(error).startswith("a ") and "\n" not in str(error)


def test_too_many_pixels_are_refused_with_the_limit() -> None:
    content = png(0, 8, np.zeros((20, 30), np.uint8))
    assert read_photo(Path("a"), content, most=600).size == (30, 20)
    for read in (read_photo, read_stored):
        with pytest.raises(InputError, match=r"a has 30x20 pixels, 0\.0 million; at most 0\.000599 million are read"):
            read(Path("a"), content, most=599)


def test_large_jpegs_are_decoded_at_a_fraction_and_keep_their_size() -> None:
    content = saved(Image.linear_gradient("L").resize((2000, 1600)), "jpeg", quality=95)
    photo = read_photo(Path("a"), content, least=100)
    assert photo.image.size == (250, 200) and photo.size == (2000, 1600)
    whole = read_picture(Path("a"), 80, 100, content)
    assert "from 2000x1600 to 100x80 pixels" in whole.notices[0]
    expected = np.asarray(read_photo(Path("a"), content).image.resize((100, 80), Image.Resampling.BICUBIC))
    assert np.abs(whole.pixels.permute(1, 2, 0).numpy() * 255 - expected).max() < 2
