"""Histories: as JSON and back, what is refused, and that replaying them is what the edits themselves do."""

import dataclasses
import json
import math
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from intarsia.errors import InputError, one_line
from intarsia.manipulation import composite, copy, move, recolour, remove, scale, set_code, swap_texture, to_back
from intarsia.manipulation.history import (
    Edit,
    Edits,
    History,
    Move,
    Order,
    Paste,
    Recolour,
    Remove,
    Scale,
    SetCode,
    SwapTexture,
    read_history,
)
from intarsia.manipulation.replay import begin, check_history, copied, model_sha256, picture_sha256, replay
from intarsia.model import Model
from intarsia.pictures import cutout_png
from intarsia.rendering import Renderer
from intarsia.scene import Scene
from intarsia.weights import WEIGHTS, weights_sha256
from tests.halves import HEIGHT, WIDTH, model_of_halves

CODES = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=12).map(tuple)
WHOLE, REAL = st.integers(0, 99), st.floats(-1e6, 1e6)
EDITS = st.one_of(
    st.builds(Move, WHOLE, REAL, REAL),
    st.builds(Scale, WHOLE, st.floats(0.125, 8)),
    st.builds(Recolour, WHOLE, st.from_regex(r"#[0-9a-f]{6}", fullmatch=True)),
    st.builds(Remove, WHOLE),
    st.builds(SwapTexture, WHOLE, WHOLE),
    st.builds(Order, WHOLE, WHOLE),
    st.builds(SetCode, st.none() | WHOLE, st.sampled_from(["shape", "texture", "background"]), WHOLE, st.floats(-20, 20)),
    st.builds(Paste, CODES, CODES, CODES, CODES, st.tuples(st.floats(0.01, 100), REAL, REAL), st.none() | st.text(max_size=9)),
)


@pytest.fixture(scope="module")
def model() -> Model:
    return model_of_halves()


@pytest.fixture(scope="module")
def scene(model: Model) -> Scene:
    return model.encode(torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)))


def same(first: Scene, second: Scene) -> bool:
    tensors = [item.name for item in dataclasses.fields(Scene) if item.name != "origins"]
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in tensors)


# As JSON.


@settings(deadline=None)
@given(EDITS)
def test_edits_come_back_from_json(edit: Edit) -> None:
    found = TypeAdapter(Edits).validate_json(json.dumps([dataclasses.asdict(edit)]))
    assert found == (edit,) and hash(found) == hash((edit,))


def test_history_comes_back_from_a_file(tmp_path: Path) -> None:
    history = History(1, "a" * 64, "b" * 64, (Move(1, 2.0, -3.5), SetCode(None, "background", 1, 0.1)))
    (tmp_path / "edits.json").write_text(json.dumps(dataclasses.asdict(history)))
    assert read_history(tmp_path / "edits.json") == history


REST = {"texture": [1], "shape_kl": [1], "texture_kl": [1]}
WRONG: dict[str, Any] = {
    """0 is {"edit": "fly"}; it must hold 'edit' with one of 'move', 'scale', 'recolour'""": {"edit": "fly"},
    "0 is []; it must be": [],
    """0: Unable to extract tag using discriminator 'edit'.""": {},
    """0 is {"edit": ["move"]}; it must hold 'edit'""": {"edit": ["move"]},
    "0.move.dy: Field required.": {"edit": "move", "object": 1, "dx": 2},
    "0.move.dz is 4; it must be left out": {"edit": "move", "object": 1, "dx": 2, "dy": 3, "dz": 4},
    "dx is NaN; it must be a finite number.": {"edit": "move", "object": 1, "dx": math.nan, "dy": 0},
    "dx is Infinity; it must be a finite number.": {"edit": "move", "object": 1, "dx": math.inf, "dy": 0},
    "dy is true; it must be a number.": {"edit": "move", "object": 1, "dx": 0, "dy": True},
    'dy is "1"; it must be a number.': {"edit": "move", "object": 1, "dx": 0, "dy": "1"},
    "0.remove.object is -1; it must be at least 0.": {"edit": "remove", "object": -1},
    "object is 4294967296; it must be at most": {"edit": "remove", "object": 2**32},
    "object is 1.5; it must be a whole number.": {"edit": "remove", "object": 1.5},
    "object is true; it must be a whole number.": {"edit": "remove", "object": True},
    "object is null; it must be a whole number.": {"edit": "remove", "object": None},
    "factor is 0; it must be at least 0.125.": {"edit": "scale", "object": 1, "factor": 0},
    "factor is 9; it must be at most 8.": {"edit": "scale", "object": 1, "factor": 9},
    """colour is "red"; it must match pattern '^#""": {"edit": "recolour", "object": 1, "colour": "red"},
    "value is 1e+30; it must be": {"edit": "set_code", "object": 1, "part": "shape", "dimension": 0, "value": 1e30},
    """part is "x"; it must be 'shape', 'texture' or""": {
        "edit": "set_code", "object": 1, "part": "x", "dimension": 0, "value": 1,
    },
    'shape is "x"; it must be a valid array.': {"edit": "paste", "shape": "x", **REST},
    "shape is []; it must have at least 1 item, not 0.": {"edit": "paste", "shape": [], **REST},
    "it must have at most 1000 items": {"edit": "paste", "shape": [0] * 1001, **REST},
    'shape.0 is "x"; it must be a number.': {"edit": "paste", "shape": ["x"], **REST},
}  # fmt: skip


@pytest.mark.parametrize("said", WRONG)
def test_what_is_no_edit_is_refused(said: str) -> None:
    with pytest.raises(ValidationError) as error:
        TypeAdapter(Edits).validate_json(json.dumps([WRONG[said]]))
    assert said in one_line(error.value)


@pytest.mark.parametrize(
    "edit", [{"edit": "x\n" * 99_999}, {"edit": "remove", "object": 1, "x\n" * 99_999: 1}, ["x\n"] * 99_999]
)
def test_whatever_is_refused_is_named_in_a_short_line(edit: Any) -> None:
    with pytest.raises(ValidationError) as error:
        TypeAdapter(Edits).validate_json(json.dumps([edit] * 9))
    assert len(one_line(error.value)) < 300 and "\n" not in one_line(error.value)


@pytest.mark.parametrize("number", ["1e999", "1" + "0" * 400, "1" + "0" * 9999])
def test_numbers_beyond_all_are_refused(number: str) -> None:
    with pytest.raises(ValidationError) as error:
        TypeAdapter(Edits).validate_json(f'[{{"edit": "move", "object": 1, "dx": {number}, "dy": 0}}]')
    assert "finite number" in one_line(error.value) or "out of range" in one_line(error.value)


GOOD = {"version": 1, "picture_sha256": "", "model_sha256": "", "edits": []}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "edits.json: Invalid JSON: EOF while parsing"),
        ("[" * 100_000, "edits.json: Invalid JSON: recursion limit exceeded"),
        ("[]", "edits.json: The input is []; it must be an object."),
        ("{}", "edits.json: version: Field required."),
        (json.dumps(GOOD | {"version": 2}), "edits.json: version is 2; it must be 1."),
        (json.dumps(GOOD | {"edits": {}}), "edits is {}; it must be a valid array."),
        (json.dumps(GOOD | {"picture_sha256": 1}), "picture_sha256 is 1; it must be text."),
        (json.dumps(GOOD | {"edits": [{"edit": "fly"}]}), 'edits.json: edits.0 is {"edit": "fly"}; it must hold'),
        (
            json.dumps(GOOD | {"edits": [{"edit": "remove", "object": 1}] * 1001}),
            "it must have at most 1000 items, not 1001.",
        ),
    ],
)
def test_file_that_holds_no_edits_is_refused(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "edits.json").write_text(content)
    with pytest.raises(InputError) as error:
        read_history(tmp_path / "edits.json")
    assert said in str(error.value)
    with pytest.raises(InputError, match="There is no file"):
        read_history(tmp_path / "gone.json")


# Replayed.


def test_replay_does_what_the_edits_do(model: Model, scene: Scene) -> None:
    edits = (
        Move(2, -3.0, 1.5),
        Scale(2, 1.2),
        Recolour(1, "#336699"),
        SwapTexture(1, 2),
        Order(1, 1),  # 2 is in front now
        SetCode(2, "shape", 0, 0.5),
        SetCode(None, "background", 1, -1.0),
        Remove(1),
    )
    by_hand = scale(Renderer(model), move(Renderer(model), scene, 1, -3.0, 1.5), 1, 1.2)
    by_hand = recolour(Renderer(model), by_hand, 0, [0x33 / 255, 0x66 / 255, 0x99 / 255])
    by_hand = to_back(swap_texture(by_hand, 0, 1), 0)
    by_hand = remove(set_code(set_code(by_hand, "shape", 0, 0.5, 0), "background", 1, -1.0), 1)
    edited = replay(Renderer(model), begin(scene), edits)
    assert same(edited.scene, by_hand)
    assert edited.numbers == (2,)
    assert torch.equal(model.render(edited.scene), model.render(by_hand))


def test_replay_in_parts_is_replay_in_one_go(model: Model, scene: Scene) -> None:
    renderer = Renderer(model)
    edits = (
        Move(1, 2.0, 0.25), Remove(2), copied(renderer, scene, 1), SetCode(3, "texture", 0, 1.0), Order(3, 1), Scale(1, 0.8),
        Move(1, 1.1, 0.0),
    )  # fmt: skip
    whole = replay(renderer, begin(scene), edits)
    for cut in range(len(edits) + 1):
        parts = replay(renderer, replay(renderer, begin(scene), edits[:cut]), edits[cut:])
        assert same(whole.scene, parts.scene) and whole.numbers == parts.numbers == (1, 3)
        assert torch.equal(composite(renderer, scene, whole.scene), composite(Renderer(model), scene, parts.scene))


def test_pasted_object_is_a_copy_with_the_next_number(model: Model, scene: Scene) -> None:
    renderer, left, moved = Renderer(model), remove(scene, 0), move(Renderer(model), scene, 0, -3.5, 2)
    pasted = TypeAdapter(Edits).validate_json(json.dumps([dataclasses.asdict(copied(renderer, moved, 0))]))
    twice = replay(renderer, begin(scene), (Remove(1), *pasted, Remove(3), *pasted))
    assert twice.numbers == (4, 2)
    expected = copy(renderer, left, moved, 0)
    assert same(twice.scene, expected)
    shown = (composite(renderer, scene, each) for each in (twice.scene, expected))
    torch.testing.assert_close(*shown, atol=2 / 255, rtol=0)  # a PNG holds 8 bits


def test_copy_of_a_changed_object_is_decoded(model: Model, scene: Scene) -> None:
    renderer, changed = Renderer(model), set_code(scene, "texture", 0, 1.0, 0)
    paste = copied(renderer, changed, 0)
    assert paste.cutout is None
    pasted = replay(renderer, begin(remove(scene, 0)), [paste]).scene
    assert torch.equal(composite(renderer, scene, pasted), composite(renderer, scene, changed))


def test_pasted_object_takes_the_place_of_an_empty_one(model: Model, scene: Scene) -> None:
    gone = SetCode(1, "shape", 2, -9.0)  # its size: nothing is left of it
    edited = replay(Renderer(model), begin(scene), (gone, copied(Renderer(model), scene, 0)))
    assert edited.numbers == (3, 2)


PASTED = Paste((0.0,) * 10, (0.0,) * 5, (0.0,) * 10, (0.0,) * 5)
SMALL = b64encode(cutout_png(torch.ones(4, 8, 8))).decode()
IMPOSSIBLE: dict[str, tuple[Edit, ...]] = {
    "There is no object 3; those left are 1, 2.": (Move(3, 0.0, 0.0),),
    "Edit 3 of 3: There is no object 1; those left are none.": (Remove(1), Remove(2), Remove(1)),
    "There is no object 9; those left are 1, 2.": (SwapTexture(1, 9),),
    "There is no dimension 99 of shape": (SetCode(1, "shape", 99, 0.0),),
    "There is no room for one more object": (Paste((0.0,) * 10, (0.0,) * 5, (0.0,) * 10, (0.0,) * 5),),
    "The pasted object's cut-out is not in Base64": (Remove(1), replace(PASTED, cutout="!")),
    "The cut-out is no PNG file": (Remove(1), replace(PASTED, cutout="QUJD")),
    "The cut-out is 8x8 in RGBA; it must be 32x32 in RGBA": (Remove(1), replace(PASTED, cutout=SMALL)),
    "The pasted object's shape holds 1 numbers; it must be 10": (Paste((0.0,), (0.0,) * 5, (0.0,) * 10, (0.0,) * 5),),
    "The distance is (1000.0, 0.0); the picture is": (Move(1, 1000.0, 0.0),),
    "There is no object None; the scene holds": (SetCode(None, "shape", 0, 0.0),),
}


@pytest.mark.parametrize("said", IMPOSSIBLE)
def test_impossible_edit_is_named(said: str, model: Model, scene: Scene) -> None:
    with pytest.raises(InputError) as error:
        replay(Renderer(model), begin(scene), IMPOSSIBLE[said])
    assert said in str(error.value)


def test_history_belongs_to_its_picture_and_model(model: Model, scene: Scene, tmp_path: Path) -> None:
    history = History(1, picture_sha256(scene.image), model_sha256(model), ())
    check_history(history, model, scene.image)
    with pytest.raises(InputError, match="for another picture"):
        check_history(history, model, 1 - scene.image)
    other = model_of_halves(seed=1)
    with pytest.raises(InputError, match="for another model"):
        check_history(history, other, scene.image)


def test_digests_are_those_of_the_file_and_of_eight_bits(tmp_path: Path) -> None:
    model = model_of_halves()
    model.save(tmp_path)
    assert (tmp_path / WEIGHTS).is_file() and model_sha256(model) == weights_sha256(tmp_path)
    image: Tensor = torch.rand(3, 4, 6)
    eight = (image * 255).round() / 255
    assert picture_sha256(image) == picture_sha256(eight) != picture_sha256(eight.flip(2))
    assert picture_sha256(torch.zeros(3, 4, 6)) != picture_sha256(torch.zeros(3, 6, 4))


@pytest.mark.parametrize("number", [10**310, -(10**310), 10**5000], ids=["long", "negative", "longest"])
def test_numbers_of_any_length_are_refused_in_one_line(number: int) -> None:
    for make in (
        lambda: Move(1, number, 0.0),
        lambda: Move(number, 1.0, 0.0),
        lambda: Scale(1, number),
        lambda: Remove(number),
    ):
        with pytest.raises(ValidationError) as error:
            make()
        assert len(one_line(error.value)) < 300 and "it must be" in one_line(error.value)
