"""Words for the numbers of an object's codes: what each of them does, as far as that was measured.

`intarsia evaluate` measures how well each number alone predicts each true factor, where the generated scenes know them. A
number that predicts one well has that factor's name. The first three numbers of a shape VAE with a window are place and size,
since the VAE is built so. All other numbers are counted, from 0, as on the command line.
"""

from collections import Counter
from collections.abc import Mapping
from typing import get_args

from intarsia.manipulation import Part
from intarsia.recipes.settings import Vae
from intarsia.records.scores import Codes

LEAST_R2 = 0.4  # of a factor, predicted by one number alone; what predicts it worse has no name
ACROSS, DOWN, SIZE, FORM, ANGLE, HUE = "Place across", "Place down", "Size", "Form", "Angle", "Hue"
POSE = ACROSS, DOWN, SIZE  # what the first numbers are, if the shape VAE has a window
FACTORS = {
    "shape": {
        "column": ACROSS, "row": DOWN, "scale": SIZE, "angle_sin": ANGLE, "angle_cos": ANGLE, "square": FORM, "ellipse": FORM,
        "heart": FORM,
    },
    "texture": {"hue_sin": HUE, "hue_cos": HUE, "saturation": "Saturation", "brightness": "Brightness"},
}  # fmt: skip


def words_of(sizes: Vae, codes: Codes | None) -> dict[str, list[str]]:
    """A word for each number of each part's code; `codes` are the model's scores, None if it was not evaluated."""
    lengths = {part: getattr(sizes, f"{part}_dimension") for part in get_args(Part)}
    found: dict[str, list[str | None]] = {part: [None] * length for part, length in lengths.items()}
    if sizes.window:
        found["shape"][: len(POSE)] = POSE
    for number, score in enumerate(codes.numbers if codes else ()):
        single = {name: factor.single[number] or 0.0 for name, factor in codes.factors.items()} if codes else {}
        word = _word(FACTORS[score.part], single)
        if word and score.dimension < lengths[score.part]:
            found[score.part][score.dimension] = word
    return {part: _distinct(part, words) for part, words in found.items()}


def _word(words: Mapping[str, str], single: Mapping[str, float]) -> str | None:
    """The word of the factor that is predicted best, of those that the part can show."""
    best = max(words.keys() & single.keys(), key=lambda name: single[name], default="")
    return words[best] if best and single[best] >= LEAST_R2 else None


def _distinct(part: str, words: list[str | None]) -> list[str]:
    """The words, those that stand for several numbers counted from 1; the part and the number where there is none."""
    often, seen = Counter(words), Counter[str]()
    named = []
    for number, word in enumerate(words):
        if word is None:
            named.append(f"{part.capitalize()} {number}")
            continue
        seen[word] += 1
        named.append(f"{word} {seen[word]}" if often[word] > 1 else word)
    return named
