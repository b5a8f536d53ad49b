"""Rendering with a memo: what it saves, what it drops, and that the pictures stay the same, bit by bit."""

import dataclasses

import pytest
import torch
from torch import Tensor

from intarsia.errors import InputError
from intarsia.manipulation import composite, set_code, to_back
from intarsia.model import Model
from intarsia.rendering import Memo, Renderer
from intarsia.scene import Scene
from tests.halves import RECIPE, model_of_halves


@pytest.fixture(scope="module")
def model() -> Model:
    return model_of_halves()


@pytest.fixture(scope="module")
def scene(model: Model) -> Scene:
    """Two squares that overlap."""
    scene = model.encode(torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)))
    shape = torch.zeros_like(scene.shape)
    shape[1, 0] = 0.5
    return dataclasses.replace(scene, shape=shape)


@pytest.mark.parametrize("part", ["shape", "texture", "background"])
def test_a_scene_of_another_model_is_refused(part: str, model: Model, scene: Scene) -> None:
    codes = getattr(scene, part)
    longer = dataclasses.replace(scene, **{part: torch.cat([codes, codes[..., :1]], -1)})
    count = codes.shape[-1]
    with pytest.raises(InputError, match=f"{part} codes have {count + 1} numbers; those of the model have {count}"):
        model.render(longer)


def test_the_same_is_made_once() -> None:
    made: list[float] = []

    def doubled(given: Tensor) -> Tensor:
        made.append(float(given))
        return 2 * given

    memo = Memo(2 * 4)  # two numbers of 4 bytes
    for value, name in ((1, "a"), (2, "a"), (1, "a"), (3, "a"), (2, "a"), (2, "b")):
        assert memo(name, doubled, torch.tensor([float(value)])) == 2 * value
        assert memo.bytes <= 8
    assert made == [1, 2, 3, 2, 2]  # 1 was used after 2, so 3 drove 2 out; another name is another thing


EDITS = {
    "texture": (lambda scene: set_code(scene, "texture", 0, 2.0, 0), {"texture": 1, "object": 1}),
    "background": (lambda scene: set_code(scene, "background", 0, 2.0), {"background": 1}),
    "shape in front": (lambda scene: set_code(scene, "shape", 1, 2.0, 0), {"shape": 1, "object": 2}),
    "shape behind": (lambda scene: set_code(scene, "shape", 1, 2.0, 1), {"shape": 1, "object": 1}),
    "order": (lambda scene: to_back(scene, 0), {"object": 2}),
}


@pytest.mark.parametrize("name", EDITS)
def test_only_what_changes_is_made_again(name: str, model: Model, scene: Scene) -> None:
    made: list[str] = []

    class Counting(Memo):
        def __call__(self, name, make, *given):  # type: ignore[no-untyped-def]
            return super().__call__(name, lambda *each: made.append(name) or make(*each), *given)

    renderer, (edit, expected) = Renderer(model, Counting()), EDITS[name]
    renderer.render(scene)
    made.clear()
    edited = edit(scene)
    shown = composite(renderer, scene, edited, raw=True)
    assert {kind: made.count(kind) for kind in made} == expected
    assert torch.equal(shown, model.render(edited))
    assert torch.equal(composite(renderer, scene, edited), composite(Renderer(model), scene, edited))


def test_a_code_has_the_same_picture_in_every_company() -> None:
    model = Model(dataclasses.replace(RECIPE, segments=6))
    scene = model.encode(torch.rand(3, 32, 32))
    renderer = Renderer(model)
    parts = renderer.decode(scene)
    for row in range(5):
        alone = renderer.decode(
            dataclasses.replace(scene, shape=scene.shape[[row]], texture=scene.texture[[row]], transform=scene.transform[[row]])
        )
        assert torch.equal(alone.shapes[0], parts.shapes[row]) and torch.equal(alone.textures[0], parts.textures[row])
