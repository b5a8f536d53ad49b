"""Pictures of animals and landscapes from Debian's packages, a stand-in for those of Flying Animals.

The packages are downloaded and unpacked, never installed. The pictures have free licences (the animals the GPL, 2 or later),
which are written beside the arrays; they are not part of Intarsia. Debian 12 gives 121 animals, and 132 crops of 33
photographs. A fifth of the animals and of the photographs are only for tests.
"""

import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps
from scipy.ndimage import distance_transform_edt

from intarsia.data.arrays import Material
from intarsia.data.cutouts import Bytes, Pictures, material_of
from intarsia.data.flying_animals import HEIGHT, WIDTH
from intarsia.data.random import scene_keys, uniform
from intarsia.errors import InputError

NAME = "flying_animals_debian"
ANIMALS = "tuxpaint-stamps-default"
DRAWINGS = r"cartoon|toys|hedgehog|/bee|/fly|Woodlouse|abalone|mussel"  # and what hardly looks like an animal
# Photographs without a dominant object, by package.
PHOTOGRAPHS = {
    "tuxpaint-data": r"templates/(burnt_bark|cliff|corn_maze|mossy_log|mudstone|ocean_splash|ocean_waves|redwoods_above|rocks"
    r"|sun_behind_clouds|sun_behind_leaves|trees_above|trees_at_dusk)\.jpg",
    "lomiri-wallpapers-16.04": r"backgrounds/(Bridge|Dragonfly|aitzgorri|life|picosdeeuropa|sunset)_by_\w+\.jpg",
    "mate-backgrounds": r"nature/(Blinds|Dune|GreenMeadow|RainDrops|Storm|Wood)\.jpg",
    "plasma-workspace-wallpapers": r"wallpapers/"
    r"(Autumn|BytheWater|ColdRipple|DarkestHour|EveningGlow|OneStandsOut|Path|summer_1am)/contents/images/2560x1600\.jpg",
}
PACKAGES = (ANIMALS, *PHOTOGRAPHS)
SIZE = 325  # MB of all packages, in Debian 12
CROPS = (1.0, 0.8, 0.65, 0.5)  # of each photograph: sizes as fractions of the largest crop with the right proportions
AREA, LONGEST = 2200, 100  # of an animal: its pixels, and the largest length of its longer side in px
TEST_EVERY = 5  # every fifth picture is for the tests
FEWEST = 100  # animals, and crops


def material(source: Path | None) -> Material:
    """The arrays to write: animals and crops from the `.deb` files in a folder; without a folder they are downloaded.

    Raises:
        InputError: if there is no such package, or the packages hold too few pictures.
    """
    for program in ("dpkg-deb", *(() if source else ("apt-get",))):
        if not shutil.which(program):
            raise InputError(f"{NAME} is made of Debian's packages and needs {program}, which is not on this machine.")
    with tempfile.TemporaryDirectory() as folder:
        files = _packages(Path(folder) if source is None else source, download=source is None)
        cut, cropped, texts = _unpacked(files)
    if min(len(cut), len(cropped) * len(CROPS)) < FEWEST:
        raise InputError(f"The packages hold {len(cut)} animals and {len(cropped)} photographs; too few to make scenes of.")
    images, masks = (np.stack(parts) for parts in zip(*cut, strict=True))
    backgrounds = np.concatenate(cropped)
    no_animal = np.zeros(backgrounds.shape[:3], np.uint8)
    versions = ", ".join(path.name.removesuffix("_all.deb").replace("_", " ").replace("%3a", ":") for path in files)
    return material_of(
        NAME,
        f"Debian: {versions}",
        Pictures(backgrounds, no_animal, _uses(len(cropped), len(CROPS))),
        Pictures(images, masks, _uses(len(images), 1)),
        texts,
    )


def _packages(folder: Path, download: bool) -> list[Path]:
    """The file of each package in a folder, to which they are downloaded first if wanted."""
    if download:
        print(f"Downloading {SIZE} MB from Debian: {', '.join(PACKAGES)}.", file=sys.stderr)
        done = subprocess.run(["apt-get", "download", "-q", *PACKAGES], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise InputError(f"apt-get can't download {', '.join(PACKAGES)}: {done.stderr.strip()} (apt-get update may help).")
    found = []
    for package in PACKAGES:
        files = sorted(folder.glob(f"{package}_*.deb"))
        if not files:
            raise InputError(f"{folder} holds no {package}_*.deb; `apt-get download {' '.join(PACKAGES)}` puts all there.")
        found.append(files[-1])
    return found


def _unpacked(files: list[Path]) -> tuple[list[tuple[Bytes, Bytes]], list[Bytes], dict[str, str]]:
    """The animals (pictures with masks), the crops of each photograph, and the licences."""
    cut: list[tuple[Bytes, Bytes]] = []
    cropped: list[Bytes] = []
    texts: dict[str, str] = {}
    for package, file in zip(PACKAGES, files, strict=True):
        wanted = PHOTOGRAPHS.get(package, r"stamps/animals/.*\.png")
        licence = f"usr/share/doc/{package}/copyright"
        for name, content in sorted(_members(file, f"{wanted}|{licence}")):
            try:
                if name.endswith(licence):
                    texts[f"{package}-copyright.txt"] = content.decode()
                elif package != ANIMALS:
                    cropped.append(_crops(content, len(cropped)))
                elif not re.search(DRAWINGS, name) and (found := _cut_out(content)):
                    cut.append(found)
            except (OSError, UnicodeError) as error:
                raise InputError(f"{name} in {file.name} can't be read: {error}.") from error
        if f"{package}-copyright.txt" not in texts:
            raise InputError(f"{file.name} holds no {licence}: its pictures may not be passed on.")
    return cut, cropped, texts


def _members(file: Path, pattern: str) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of those files in a package whose names end with the pattern."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", file], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as unpacking:
        stream: IO[bytes] | None = unpacking.stdout
        try:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    if member.isfile() and re.search(f"({pattern})$", member.name):
                        content = archive.extractfile(member)
                        assert content
                        yield member.name, content.read()
        except tarfile.TarError as error:
            raise InputError(f"{file} is no Debian package: {error}.") from error


def _cut_out(content: bytes) -> tuple[Bytes, Bytes] | None:
    """An animal in the middle of a picture, and its mask; None if the file has no transparent pixels around it."""
    with Image.open(io.BytesIO(content)) as opened:
        picture = opened.convert("RGBA")
    solid = np.asarray(picture)[..., 3] > 127
    if solid.mean() > 0.95 or not solid.any():
        return None
    rows, columns = np.nonzero(solid)
    picture = picture.crop((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    scale = min(np.sqrt(AREA / solid.sum()), LONGEST / max(picture.size))
    width, height = (max(1, round(length * scale)) for length in picture.size)
    # Resized with premultiplied alpha, so that the colours of transparent pixels have no effect.
    small = np.asarray(picture.convert("RGBa").resize((width, height), Image.Resampling.LANCZOS).convert("RGBA"))
    canvas, mask = np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    top, left = (HEIGHT - height) // 2, (WIDTH - width) // 2
    canvas[top : top + height, left : left + width] = small[..., :3]
    mask[top : top + height, left : left + width] = small[..., 3] > 127
    # The colours continue outside of the mask, since interpolation mixes the border with the pixels around it.
    nearest = distance_transform_edt(mask == 0, return_distances=False, return_indices=True)
    return canvas[tuple(nearest)], mask


def _crops(content: bytes, number: int) -> Bytes:
    """Crops of a photograph, `n h w 3`; their random places depend on its number."""
    with Image.open(io.BytesIO(content)) as opened:
        opened.draft("RGB", (1600, 1200))  # decodes a large JPEG at a fraction of its size
        photograph = ImageOps.exif_transpose(opened.convert("RGB"))
    largest = min(photograph.width / WIDTH, photograph.height / HEIGHT)
    places = uniform(scene_keys(number, "crops", range(len(CROPS))), [0, 1])
    crops = []
    for fraction, (right, down) in zip(CROPS, places, strict=True):
        width, height = fraction * largest * WIDTH, fraction * largest * HEIGHT
        left, top = right * (photograph.width - width), down * (photograph.height - height)
        box = (left, top, left + width, top + height)
        crops.append(np.asarray(photograph.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS, box=box)))
    return np.stack(crops)


def _uses(groups: int, each: int) -> dict[str, list[int]]:
    """The indices of the pictures for each use. Pictures of one group, such as the crops of a photograph, have the same use."""
    test = [i for i in range(groups * each) if i // each % TEST_EVERY == TEST_EVERY - 1]
    return {"train": sorted(set(range(groups * each)) - set(test)), "both": [], "test": test}
