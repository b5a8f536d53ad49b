import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.errors import InputError
from intarsia.pictures import (
    PALETTE,
    coloured,
    game_sheet,
    overlay,
    read_picture,
    sheet,
    write_gif,
    write_mp4,
    write_picture,
    zoom_for,
)


def test_colours_mix_where_masks_are_soft() -> None:
    masks = torch.tensor([[[[1.0, 0.0, 0.25]], [[0.0, 1.0, 0.75]]]])  # 1 2 1 3
    colours = coloured(masks)
    assert colours.shape == (1, 3, 1, 3)
    torch.testing.assert_close(colours[0, :, 0, 0], torch.tensor([230, 159, 0]) / 255)
    torch.testing.assert_close(colours[0, :, 0, 1], torch.tensor([86, 180, 233]) / 255)
    torch.testing.assert_close(colours[0, :, 0, 2], torch.tensor([122.0, 174.75, 174.75]) / 255)


def test_colours_start_over_after_the_last() -> None:
    masks = torch.zeros(1, len(PALETTE) + 1, 1, 1)
    masks[0, -1] = 1
    torch.testing.assert_close(coloured(masks)[0, :, 0, 0], PALETTE[0])


def test_no_two_colours_are_alike() -> None:
    assert len(PALETTE.unique(dim=0)) == len(PALETTE)


def test_overlay_takes_the_strongest_segment() -> None:
    masks = torch.tensor([[[[0.4, 0.6]], [[0.6, 0.4]]]])
    shown = overlay(torch.ones(1, 3, 1, 2), masks, strength=0.5)
    torch.testing.assert_close(shown[0, :, 0, 0], 0.5 + 0.5 * PALETTE[1])
    torch.testing.assert_close(shown[0, :, 0, 1], 0.5 + 0.5 * PALETTE[0])


def test_overlay_without_strength_is_the_image() -> None:
    images = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(overlay(images, torch.rand(2, 3, 4, 5), strength=0.0), images)


def test_sheet_lays_out_images_in_rows() -> None:
    pictures = torch.tensor([0.0, 0.5]).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    grey = torch.tensor([1.0, 2.0]).view(2, 1, 1)  # 2 is cut to 1
    grid = sheet([pictures, grey], zoom=1, gap=1)
    assert grid.shape == (4, 4, 3)
    assert grid.dtype == np.uint8
    assert (grid == grid[..., :1]).all()
    assert grid[..., 0].tolist() == [[0, 255, 255, 255], [255] * 4, [128, 255, 255, 255], [255] * 4]


def test_sheet_enlarges_by_whole_pixels() -> None:
    grid = sheet([torch.tensor([[[0.0, 1.0]]])], zoom=2, gap=0)
    assert grid[..., 0].tolist() == [[0, 0, 255, 255]] * 2


def test_game_sheet_fills_hidden_segments_with_guesses() -> None:
    images, masks = torch.zeros(1, 3, 1, 1), torch.tensor([0.25, 0.75]).view(1, 2, 1, 1)
    grid = game_sheet(images, masks, torch.ones(1, 2, 3, 1, 1))
    # Image, hard segments, two masks, two images of which the hidden fraction is guessed as 1; each 2 px and a gap of 2.
    assert grid.shape == (4, 24, 3)
    assert grid[0, ::4].tolist() == [[0, 0, 0], [86, 180, 233], [64] * 3, [191] * 3, [64] * 3, [191] * 3]


# Reading.


def centre(picture: torch.Tensor) -> list[float]:
    return [round(float(value), 3) for value in picture[:, 32, 32]]


KINDS = {
    "red.png": (Image.new("RGB", (64, 64), (255, 0, 0)), [1, 0, 0]),
    "grey.png": (Image.new("L", (64, 64), 51), [0.2, 0.2, 0.2]),
    "deep_grey.png": (Image.fromarray(np.full((64, 64), 51 * 257, np.uint16)), [0.2, 0.2, 0.2]),
    "black_white.png": (Image.new("1", (64, 64), 1), [1, 1, 1]),
    "palette.png": (Image.new("RGB", (64, 64), (0, 0, 255)).convert("P", palette=Image.Palette.ADAPTIVE), [0, 0, 1]),
    "clear.png": (Image.new("RGBA", (64, 64), (255, 0, 0, 0)), [1, 1, 1]),
    "half.png": (Image.new("RGBA", (64, 64), (0, 0, 0, 51)), [0.8, 0.8, 0.8]),
    "grey_half.png": (Image.new("LA", (64, 64), (0, 51)), [0.8, 0.8, 0.8]),
    "grey.jpg": (Image.new("L", (64, 64), 51), [0.2, 0.2, 0.2]),
    "print.jpeg": (Image.new("CMYK", (64, 64), (0, 0, 0, 204)), [0.2, 0.2, 0.2]),
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_files(name: str, tmp_path: Path) -> None:
    content, colour = KINDS[name]
    content.save(tmp_path / name)
    picture = read_picture(tmp_path / name, 64, 64)
    assert (picture.pixels.shape, picture.pixels.dtype) == ((3, 64, 64), torch.float32)
    assert centre(picture.pixels) == pytest.approx(colour, abs=0.005)
    transparent = any(part in name for part in ("clear", "half"))
    assert picture.notices == ([f"{tmp_path / name}: its transparent parts are shown on white."] if transparent else [])


def test_opaque_picture_with_opacity_has_no_transparent_parts(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (9, 99, 199, 255)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", 8, 8).notices == []


def test_transparent_palette_is_shown_on_white(tmp_path: Path) -> None:
    Image.new("P", (64, 64), 0).save(tmp_path / "a.png", transparency=0)
    assert centre(read_picture(tmp_path / "a.png", 64, 64).pixels) == [1, 1, 1]


def test_picture_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    picture = read_picture(tmp_path / "a.jpg", 64, 64).pixels
    assert picture[:, :30].max() < 0.1
    assert picture[:, 34:].min() > 0.9


@pytest.mark.parametrize(
    ("size", "notice"),
    [
        ((128, 128), "resized from 128x128 to 64x64 pixels, the size the model takes."),
        ((100, 50), "resized from 100x50 to 64x64 pixels, the size the model takes, which changes its proportions."),
        ((1, 1), "resized from 1x1 to 64x64 pixels, the size the model takes."),
    ],
)
def test_other_sizes_are_resized_with_a_notice(size: tuple[int, int], notice: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", size, (255, 0, 0)).save(path)
    picture = read_picture(path, 64, 64)
    assert picture.notices == [f"{path}: {notice}"]
    assert picture.pixels.shape == (3, 64, 64)
    assert centre(picture.pixels) == [1, 0, 0]


def test_shrinking_averages(tmp_path: Path) -> None:
    chequers = np.indices((256, 256)).sum(0) % 2 * 255
    Image.fromarray(chequers.astype(np.uint8)).save(tmp_path / "a.png")
    assert centre(read_picture(tmp_path / "a.png", 64, 64).pixels) == pytest.approx([0.5] * 3, abs=0.02)


# Writing.


def ball(frames: int = 12) -> torch.Tensor:
    """A red square that moves over a background of many colours; `f 3 64 64`."""
    down, across = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    images = torch.stack([down, across, 1 - down]).repeat(frames, 1, 1, 1) * 0.6
    for number, image in enumerate(images):
        image[:, 20:30, 4 * number : 4 * number + 10] = torch.tensor([1.0, 0, 0])[:, None, None]
    return images


def test_small_pictures_are_enlarged_by_whole_factors() -> None:
    assert [zoom_for(torch.zeros(3, 8, size)) for size in (64, 100, 300)] == [4, 2, 1]


def test_picture_is_written_exactly(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_picture(tmp_path / "a.png", pixels)
    assert (np.asarray(Image.open(tmp_path / "a.png")) == pixels).all()


def test_gif_shows_the_frames_and_what_stands_still_does_not_flicker(tmp_path: Path) -> None:
    images = ball()
    write_gif(tmp_path / "a.gif", images)
    with Image.open(tmp_path / "a.gif") as file:
        assert (file.n_frames, file.size, file.info["duration"], file.info["loop"]) == (12, (256, 256), 30, 0)
        frames = []
        for number in range(12):
            file.seek(number)
            frames.append(np.asarray(file.convert("RGB")))
    shown = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[..., 2::4, 2::4] / 255
    assert (shown - images).abs().mean() < 0.02
    assert (shown - images).abs().max() < 0.12  # 256 colours are shared by all frames
    assert (shown[:, :, 40:] == shown[:1, :, 40:]).all()


def test_mp4_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(InputError, match=r"pip install 'intarsia\[video\]'"):
        write_mp4(tmp_path / "a.mp4", ball())
    assert not list(tmp_path.iterdir())


def test_mp4_shows_the_frames(tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    write_mp4(tmp_path / "a.mp4", ball())
    frames = ffmpeg.read_frames(str(tmp_path / "a.mp4"))
    about = next(frames)
    assert (about["size"], about["fps"]) == ((256, 256), 30)
    shown = np.stack([np.frombuffer(frame, np.uint8).reshape(256, 256, 3) for frame in frames])
    assert len(shown) == 12
    assert np.abs(shown[:, 2::4, 2::4] / 255 - ball().permute(0, 2, 3, 1).numpy()).mean() < 0.05
