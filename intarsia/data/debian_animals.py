"""Pictures of animals and landscapes from Debian's packages, a stand-in for those of Flying Animals.

The packages are downloaded and unpacked, never installed. The pictures have free licences (the animals the GPL, 2 or later),
which are written beside the arrays; they are not part of Intarsia. Debian 12 gives 121 animals, and 132 crops of 33
photographs. A fifth of the animals and of the photographs are only for tests.
"""

import re
from pathlib import Path

import numpy as np

from intarsia.data.arrays import Material
from intarsia.data.cutouts import Pictures, material_of
from intarsia.data.cutting import Bytes, centred_cut_out, crops
from intarsia.data.flying_animals import HEIGHT, WIDTH
from intarsia.data.packages import members, package_files, reading, versions
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
    with package_files(NAME, source, SIZE, PACKAGES) as files:
        cut, cropped, texts = _unpacked(files)
        made_of = versions(files)
    if min(len(cut), len(cropped) * len(CROPS)) < FEWEST:
        raise InputError(f"The packages hold {len(cut)} animals and {len(cropped)} photographs; too few to make scenes of.")
    images, masks = (np.stack(parts) for parts in zip(*cut, strict=True))
    backgrounds = np.concatenate(cropped)
    no_animal = np.zeros(backgrounds.shape[:3], np.uint8)
    return material_of(
        NAME,
        f"Debian: {made_of}",
        Pictures(backgrounds, no_animal, _uses(len(cropped), len(CROPS))),
        Pictures(images, masks, _uses(len(images), 1)),
        texts,
    )


def _unpacked(files: dict[str, Path]) -> tuple[list[tuple[Bytes, Bytes]], list[Bytes], dict[str, str]]:
    """The animals (pictures with masks), the crops of each photograph, and the licences."""
    cut: list[tuple[Bytes, Bytes]] = []
    cropped: list[Bytes] = []
    texts: dict[str, str] = {}
    for package, file in files.items():
        wanted = PHOTOGRAPHS.get(package, r"stamps/animals/.*\.png")
        licence = f"usr/share/doc/{package}/copyright"
        for name, content in members(file, f"{wanted}|{licence}"):
            with reading(name, file):
                if name.endswith(licence):
                    texts[f"{package}-copyright.txt"] = content.decode()
                elif package != ANIMALS:
                    cropped.append(crops(content, len(cropped), CROPS, (HEIGHT, WIDTH)))
                elif not re.search(DRAWINGS, name) and (found := centred_cut_out(content, (HEIGHT, WIDTH), LONGEST, AREA)):
                    cut.append((found[0], np.uint8(1) * (found[1] > 127)))
        if f"{package}-copyright.txt" not in texts:
            raise InputError(f"{file.name} holds no {licence}: its pictures may not be passed on.")
    return cut, cropped, texts


def _uses(groups: int, each: int) -> dict[str, list[int]]:
    """The indices of the pictures for each use. Pictures of one group, such as the crops of a photograph, have the same use."""
    test = [i for i in range(groups * each) if i // each % TEST_EVERY == TEST_EVERY - 1]
    return {"train": sorted(set(range(groups * each)) - set(test)), "both": [], "test": test}
