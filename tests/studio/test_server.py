"""The studio's server: what it shows, that it is what the command line makes, and what it does not put up with."""

import dataclasses
import json
import resource
import struct
import sys
import zlib
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask

from intarsia.commands.edit_flags import EditFlags
from intarsia.commands.manipulate import manipulate
from intarsia.data import open_dataset
from intarsia.errors import InputError
from intarsia.manipulation.history import History, Move, Order, Recolour, Remove, SetCode
from intarsia.manipulation.replay import begin, model_sha256, replay
from intarsia.model import Model, load
from intarsia.pictures import read_picture
from intarsia.records.scores import Codes, FactorScore, NumberScore
from intarsia.rendering import Renderer
from intarsia.studio import exporting, models, serve, store, uploads, worker
from intarsia.studio.refusals import Refusal
from intarsia.studio.server import create_app
from intarsia.studio.store import Store
from intarsia.studio.words import words_of
from intarsia.weights import shipped
from tests.halves import RECIPE, by_hand, model_of_halves
from tests.studio.serving import ask, made_of, photo, pixels, running

EDITS = (Move(2, -3.0, 1.5), SetCode(1, "texture", 0, 2.0), Recolour(1, "#336699"), Order(2, 0))


@pytest.fixture(scope="module")
def model() -> Model:
    return model_of_halves()


@pytest.fixture(scope="module")
def port(model: Model) -> Iterator[int]:
    with running(create_app(model)) as port:
        yield port


@pytest.fixture(scope="module")
def opened(port: int) -> Any:
    status, answer = ask(port, "POST", "/api/scenes", photo())
    assert status == 200
    return answer


def view(port: int, name: str, edits: list[Any], **others: Any) -> Any:
    status, answer = ask(port, "POST", f"/api/scenes/{name}/view", {"edits": edits, **others})
    assert status == 200, answer
    return answer


def error(answer: tuple[int, Any], status: int) -> str:
    """The sentence of a request that was turned down."""
    assert answer[0] == status and answer[1].keys() == {"error"}, answer
    sentence: str = answer[1]["error"]
    assert sentence.endswith(".") and not sentence.endswith("..")
    assert not any(word in sentence for word in ("Traceback", "object at 0x", "\n"))
    return sentence


# What it shows.


def test_picture_without_edits_is_the_one_given(port: int, opened: Any) -> None:
    shown = view(port, opened["id"], [])
    assert (pixels(b64decode(shown["picture"])) == pixels(photo())).all()
    labels = np.frombuffer(b64decode(shown["labels"]), np.uint8).reshape(32, 32)
    assert (labels[19:31, 1:15] == 1).all() and (labels[19:31, 17:31] == 2).all() and not labels[:16].any()
    assert [each["number"] for each in shown["objects"]] == [1, 2]
    assert [each["empty"] for each in shown["objects"]] == [False, False]
    assert shown["objects"][0]["box"] == [0, 18, 16, 32]


def test_moved_object_is_where_it_is_seen(port: int, opened: Any) -> None:
    edits = [dataclasses.asdict(SetCode(1, "shape", number, value)) for number, value in ((0, 0.5), (1, -0.5), (2, 0.0))]
    shown = view(port, opened["id"], edits)
    assert shown["objects"][0]["box"] == [12, 4, 21, 13]  # a square round (16, 8): pixels less than 5 from there
    labels = np.frombuffer(b64decode(shown["labels"]), np.uint8).reshape(32, 32)
    assert (labels[5:12, 13:20] == 1).all() and not (labels[19:31, 1:15] == 1).any()


def test_page_and_command_line_make_the_same_pixels(
    port: int, opened: Any, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(photo())
    Model(RECIPE).save(tmp_path / "run" / "vaes")
    monkeypatch.setattr(Model, "load", lambda *given: model)
    (tmp_path / "edits.json").write_text(
        json.dumps(dataclasses.asdict(History(1, opened["picture_sha256"], model_sha256(model), EDITS)))
    )
    for raw in (False, True):
        edits = [dataclasses.asdict(edit) for edit in EDITS]
        for count in range(len(edits)):  # as a person would, one after the other
            view(port, opened["id"], edits[:count], raw=raw)
        shown = view(port, opened["id"], edits, raw=raw)
        flags = EditFlags(edits=tmp_path / "edits.json", raw=raw)
        _, files = manipulate(tmp_path / "run", tmp_path / "a.png", flags, tmp_path / "out", overwrite=True)
        assert (pixels(b64decode(shown["picture"])) == np.asarray(Image.open(files[0]))).all()


def test_strip_shows_what_a_number_does(port: int, opened: Any) -> None:
    for part, number, dimension in (("shape", 1, 0), ("texture", 2, 3), ("background", None, 4)):
        values = {"edits": [], "object": number, "part": part, "dimension": dimension}
        status, answer = ask(port, "POST", f"/api/scenes/{opened['id']}/strip", values)
        assert status == 200
        found = pixels(b64decode(answer["picture"]))
        assert found.shape == (64, 5 * 64, 3)
        assert len({frame.tobytes() for frame in np.split(found, 5, axis=1)}) > 1
    for wrong in ({"object": 9}, {"part": "colour"}, {"dimension": 99}, {"dimension": "0"}, {"object": "1"}):
        error(ask(port, "POST", f"/api/scenes/{opened['id']}/strip", values | {"part": "shape", "object": 1} | wrong), 400)


def test_copy_is_the_edit_that_adds_it(port: int, opened: Any) -> None:
    edits = [dataclasses.asdict(edit) for edit in (Move(1, 1.5, -9.0), Remove(2))]
    status, paste = ask(port, "POST", f"/api/scenes/{opened['id']}/copy", {"edits": edits, "object": 1})
    assert status == 200 and paste["edit"] == "paste" and paste["transform"] == [1, 1.5, -9]
    assert pixels(b64decode(paste["cutout"])).shape == (32, 32, 4)
    shown = view(port, opened["id"], [*edits, dataclasses.asdict(Remove(1)), paste])
    alike = pixels(b64decode(shown["picture"])) - pixels(b64decode(view(port, opened["id"], edits)["picture"])).astype(int)
    assert (abs(alike) <= 2).all()
    assert "no object 7" in error(ask(port, "POST", f"/api/scenes/{opened['id']}/copy", {"edits": [], "object": 7}), 400)


def test_animation_has_a_frame_for_each_edit_and_one_before(port: int, opened: Any) -> None:
    edits = [dataclasses.asdict(edit) for edit in EDITS[:3]]
    status, content = ask(port, "POST", f"/api/scenes/{opened['id']}/gif", {"edits": edits})
    assert status == 200 and content.startswith(b"GIF89a")
    assert Image.open(BytesIO(content)).n_frames == 4  # type: ignore[attr-defined]


def test_random_scene_is_a_test_scene() -> None:
    with running(create_app(model_of_halves(size=64))) as port:
        status, first = ask(port, "POST", "/api/scenes/random?index=3")
        assert status == 200
        drawn = open_dataset("multi_dsprites", 0, "test")([3]).images[0]
        assert (pixels(b64decode(first["picture"])) == (drawn * 255).round().permute(1, 2, 0).numpy()).all()
        assert ask(port, "POST", "/api/scenes/random?index=3")[1]["id"] == first["id"]
        assert ask(port, "POST", "/api/scenes", b64decode(first["picture"]))[1]["id"] == first["id"]
        assert "index" in error(ask(port, "POST", "/api/scenes/random?index=-1"), 400)
        assert "there is no scene 2000" in error(ask(port, "POST", "/api/scenes/random?index=2000"), 400)


def test_without_test_scenes_the_reason_is_given(port: int) -> None:
    reason = ask(port, "GET", "/api/model")[1]["no_random_scene"]
    assert reason == "There are no random scenes: they have 64x64 pixels, the model takes 32x32."
    assert error(ask(port, "POST", "/api/scenes/random"), 404) == reason


@pytest.mark.parametrize(
    ("dataset", "root", "reason"),
    [
        (
            "objects_room_mujoco",
            "data/rooms",
            "their files are not here; `intarsia prepare objects_room_mujoco --out data/rooms` writes them.",
        ),
        ("objects_room_mujoco", None, "objects_room_mujoco is drawn once: `intarsia prepare objects_room_mujoco`"),
        ("folder", "photos", "their files are not here."),
    ],
)
def test_without_the_files_of_test_scenes_the_reason_is_given(dataset: str, root: str | None, reason: str) -> None:
    recipe = dataclasses.replace(RECIPE, dataset=dataset, data_root=root)
    with running(create_app(by_hand(Model(recipe)))) as port:
        assert f"There are no random scenes: {reason}" in error(ask(port, "POST", "/api/scenes/random"), 404)
        assert ask(port, "POST", "/api/scenes", photo())[0] == 200


@pytest.fixture(scope="module")
def rooms() -> Iterator[int]:
    """A server of the shipped rooms, whose test scenes are not here: only those in the picture that was drawn of them."""
    with running(create_app({"rooms": Path("objects_room_mujoco")})) as port:
        yield port


def test_without_test_scenes_those_drawn_beside_the_model_are_left(rooms: int) -> None:
    sheet = np.asarray(Image.open(shipped()["objects_room_mujoco"] / "segments.png"))
    status, gallery = ask(rooms, "GET", "/api/gallery")
    assert status == 200 and len(gallery) == 6
    for example in gallery:
        top = 132 * example["index"]
        assert (pixels(b64decode(example["picture"])) == sheet[top : top + 128 : 2, :128:2]).all()
    opened = ask(rooms, "POST", f"/api/scenes/random?index={gallery[0]['index']}")[1]
    assert opened["picture"] == gallery[0]["picture"]
    assert ask(rooms, "GET", "/api/model")[1]["no_random_scene"] == ""
    assert "There is no scene 8; indices go from 0 to 7." in error(ask(rooms, "POST", "/api/scenes/random?index=8"), 400)


def test_gallery_has_the_scenes_with_most_objects() -> None:
    model = load("multi_dsprites")
    with running(create_app(model)) as port:
        gallery = ask(port, "GET", "/api/gallery")[1]
    scenes = open_dataset("multi_dsprites", 0, "test")(range(24))
    found = (model.ordered_masks(scenes.images)[:, :-1] > 0.5).float().mean((2, 3)) >= 0.005
    counts = found.sum(1).tolist()
    shown = {example["index"]: example["objects"] for example in gallery}
    assert len(shown) == 6 and all(counts[index] == count for index, count in shown.items())
    assert min(shown.values()) >= sorted(counts)[-6]


def test_models_are_loaded_when_asked_for_and_few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    monkeypatch.setattr(models, "load", lambda source, with_codes: loads.append(str(source)) or model_of_halves())
    monkeypatch.setattr(models, "_home", lambda source: source)
    kept = models.Models({name: Path(name) for name in "abcd"})
    assert loads == [] and kept.names == ["a", "b", "c", "d"]
    for name in "aabac":
        kept.get(name)
    assert loads == ["a", "b", "c"]
    kept.get("d")  # in the place of the one that was not asked for the longest
    kept.get("a")
    kept.get("b")
    assert loads == ["a", "b", "c", "d", "b"]
    with pytest.raises(Refusal, match="No model 'e' is served here; choose one of a, b, c, d"):
        kept.get("e")


def test_a_scene_belongs_to_its_model() -> None:
    large, small = model_of_halves(size=64), model_of_halves()
    with running(create_app({"large one": large, "small": small})) as port:
        assert ask(port, "GET", "/api/models")[1] == ["large one", "small"]
        assert [ask(port, "GET", f"/api/model?model={name}")[1]["width"] for name in ("large%20one", "small")] == [64, 32]
        names = [
            ask(port, "POST", f"/api/scenes?model={name}", photo(0, (64, 64)))[1]["id"] for name in ("large%20one", "small")
        ]
        sizes = [pixels(b64decode(view(port, name.replace(" ", "%20"), [])["picture"])).shape[0] for name in names]
        assert sizes == [64, 32]
        for path in ("/api/model", "/api/gallery"):
            assert "choose one of large one, small" in error(ask(port, "GET", f"{path}?model=../../etc"), 404)
        assert "choose one of" in error(ask(port, "POST", "/api/scenes?model=/etc/passwd", photo()), 404)


def test_runs_have_short_names_of_their_own(tmp_path: Path) -> None:
    runs = [tmp_path / "a" / "mine", tmp_path / "b" / "mine", tmp_path / "c" / "vaes", Path("multi_texture")]
    found = models.named(runs)
    assert list(found.values())[:4] == runs
    assert list(found)[:4] == ["mine", "mine-2", "c-vaes", "multi_texture"]
    assert sorted(list(found)[3:]) == sorted(shipped())


def test_pieces_put_together_are_the_picture(port: int, opened: Any) -> None:
    edits = [dataclasses.asdict(edit) for edit in (Move(2, -14.0, -2.0), Order(1, 1))]  # the second hides part of the first
    status, found = ask(port, "POST", f"/api/scenes/{opened['id']}/pieces", {"edits": edits, "object": 1})
    assert status == 200 and found["transform"] == [1, 0, 0]
    behind, own, front = (pixels(b64decode(found[name])).astype(float) for name in ("behind", "object", "front"))
    opacity, covered = own[..., 3:] / 255, front[..., 3:] / 255
    put = opacity * (covered * front[..., :3] + (1 - covered) * own[..., :3]) + (1 - opacity) * behind
    shown = pixels(b64decode(view(port, opened["id"], edits)["picture"])).astype(float)
    assert (abs(put - shown) <= 2).mean() > 0.98  # all but soft borders, which are noise here
    assert front[..., 3].any() and found["centre"] == [pytest.approx(7.5, abs=0.6), pytest.approx(24.5, abs=0.6)]
    assert "no object 7" in error(ask(port, "POST", f"/api/scenes/{opened['id']}/pieces", {"edits": [], "object": 7}), 400)


def test_strip_keeps_the_object_in_view(port: int, opened: Any) -> None:
    place = [dataclasses.asdict(SetCode(1, "shape", 0, -0.5)), dataclasses.asdict(SetCode(1, "shape", 2, -3.0))]
    values = {"edits": place, "object": 1, "part": "shape", "dimension": 0}
    found = ask(port, "POST", f"/api/scenes/{opened['id']}/strip", values)[1]["values"]
    # A square of 4 pixels, its middle at 8 times the value + 12: at -2 it is at -4, out of the picture of 32; at 2 at 28.
    assert -2 < found[0] < -1.2 and found[-1] == 2
    assert np.allclose(np.diff(found), np.diff(found)[0])
    for other in ({"part": "texture", "dimension": 0}, {"part": "background", "object": None}):
        assert ask(port, "POST", f"/api/scenes/{opened['id']}/strip", values | other)[1]["values"] == [-2, -1, 0, 1, 2]


def test_numbers_are_called_by_the_factors_that_they_predict() -> None:
    single = {
        "column": [0.9, 0.1, 0, 0.1],
        "scale": [0, 0.45, 0, 0],
        "hue_sin": [0.95, 0, 0.5, 0],
        "hue_cos": [0, 0, 0.1, 0.41],
    }
    codes = Codes(
        objects=100,
        locality_images=100,
        numbers=[NumberScore(part, number, 1.0, None, None, None) for part in ("shape", "texture") for number in (0, 1)],
        factors={name: FactorScore(None, None, None, values) for name, values in single.items()},
    )
    sizes = dataclasses.replace(RECIPE.vae, window=0, shape_dimension=2, texture_dimension=2, background_dimension=1)
    assert words_of(sizes, codes) == {
        "shape": ["Place across", "Size"],  # the first one predicts the hue better, but a shape has none
        "texture": ["Hue 1", "Hue 2"],
        "background": ["Background 0"],
    }
    assert words_of(sizes, None)["shape"] == ["Shape 0", "Shape 1"]
    windowed = dataclasses.replace(sizes, window=16, shape_dimension=4)
    assert words_of(windowed, None)["shape"] == ["Place across", "Place down", "Size", "Shape 3"]


def test_shipped_models_say_what_their_numbers_do() -> None:
    words = models.Models({"dsprites": Path("multi_dsprites")}).get("dsprites").about.words
    assert words["shape"][:4] == ["Place across", "Place down", "Size", "Shape 3"]
    assert words["texture"] == ["Texture 0", "Texture 1", "Hue 1", "Hue 2", "Brightness"]


def test_models_of_several_backgrounds_and_of_pairs_are_served() -> None:
    for segments, backgrounds in ((6, 3), (3, 1)):
        recipe = dataclasses.replace(RECIPE, segments=segments, backgrounds=backgrounds)
        with running(create_app(Model(recipe).eval())) as port:
            assert ask(port, "GET", "/api/model")[1]["room"] == segments - backgrounds
            name = ask(port, "POST", "/api/scenes", photo())[1]["id"]
            shown = view(port, name, [{"edit": "set_code", "object": 2, "part": "texture", "dimension": 0, "value": 2.0}])
            assert [each["number"] for each in shown["objects"]] == list(range(1, segments - backgrounds + 1))


def test_store_makes_one_edit_at_a_time_and_forgets(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(store, "replay", lambda *given: made.append(len(given[2])) or replay(*given))
    kept, images = Store(model, most=2), torch.rand(3, 3, 32, 32)
    names = [kept.add(image) for image in images[:2]]
    edits = [SetCode(1, "shape", 0, 0.1), SetCode(2, "shape", 0, 0.2)]
    made_of(kept.edited(names[0], edits))
    assert made == [1, 1]
    for value in range(9):  # a slider
        made_of(kept.edited(names[0], [*edits, SetCode(1, "shape", 1, value / 10)]))
    assert made == [1, 1, *(1 for _ in range(9))]
    whole = replay(Renderer(model), begin(kept.scene(names[0])), [*edits, SetCode(1, "shape", 1, 0.8)]).scene
    assert torch.equal(made_of(kept.edited(names[0], [*edits, SetCode(1, "shape", 1, 0.8)])).scene.shape, whole.shape)
    kept.add(images[2])
    assert len(kept) == 2
    with pytest.raises(Refusal, match="no longer keeps"):
        kept.scene(names[1])


# What it does not put up with.


def bomb(width: int, height: int) -> bytes:
    """A PNG file that claims so many pixels; of what it would unpack to, its beginning is enough."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(150_001)))


UPLOADS = {
    "has 9000x9000 pixels, 81.0 million; at most 80 million": bomb(9000, 9000),
    "The picture has far more than 80 million pixels": bomb(50_000, 50_000),
    "The picture can't be read as an image: it is no PNG, JPEG, WebP, BMP, TIFF or AVIF file.": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "can't be read as an image": b"",
    "The picture can't be read": photo()[:200],
    "The picture can't be read as": b"GIF89a" + bytes(99),
}


@pytest.mark.parametrize("said", UPLOADS)
def test_what_is_no_picture_is_refused(said: str, port: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert said in error(ask(port, "POST", "/api/scenes", UPLOADS[said], {"content-type": "image/png"}), 400)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KB


def test_pictures_of_other_sizes_and_kinds_fit(port: int) -> None:
    for kind in ("jpeg", "webp", "bmp", "tiff", "avif"):
        status, answer = ask(port, "POST", "/api/scenes", photo(1, (80, 40), kind))
        assert status == 200 and "resized from 80x40 to 32x32" in answer["notices"][0]
        assert pixels(b64decode(answer["picture"])).shape == (32, 32, 3)


def test_what_is_too_much_is_not_read_to_its_end(port: int) -> None:
    assert "at most 20 MB" in error(ask(port, "POST", "/api/scenes", bytes(uploads.MOST_BYTES + 1)), 413)
    assert "at most 0.5 MB" in error(ask(port, "POST", "/api/scenes/x/view", bytes(uploads.MOST_JSON + 1)), 413)


# Exports at the size of the file.


def export(port: int, scene: str, kind: str, file: bytes, **asked: Any) -> tuple[int, Any]:
    return ask(port, "POST", f"/api/scenes/{scene}/export/{kind}", json.dumps({"edits": [], **asked}).encode() + b"\n" + file)


def large(seed: int = 5) -> bytes:
    """The content of a picture's file of 160x96 pixels, each five by three of a picture of 32x32."""
    content = BytesIO()
    blocks = np.kron(pixels(photo(seed)), np.ones((3, 5, 1))).astype(np.uint8)
    Image.fromarray(blocks).save(content, "png")
    return content.getvalue()


def test_exported_picture_is_what_the_command_line_writes(port: int, model: Model, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(large())
    status, answer = ask(port, "POST", "/api/scenes", large())
    edits = [dataclasses.asdict(Move(1, 3.0, -2.0)), dataclasses.asdict(Remove(2))]
    (tmp_path / "edits.json").write_text(
        json.dumps(
            {"version": 1, "picture_sha256": answer["picture_sha256"], "model_sha256": model_sha256(model), "edits": edits}
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("intarsia.commands.manipulate.load", lambda run, with_codes: model)
        _, files = manipulate(tmp_path, tmp_path / "a.png", EditFlags(edits=tmp_path / "edits.json"), tmp_path / "out")
    status, content = export(port, answer["id"], "picture", large(), edits=edits)
    assert status == 200 and (pixels(content) == pixels(files[0].read_bytes())).all()
    assert pixels(content).shape == (96, 160, 3) and (pixels(content) != pixels(large())).any()
    status, content = export(port, answer["id"], "picture", large())
    assert (pixels(content) == pixels(large())).all()


def test_exported_masks_and_cutouts_agree(port: int) -> None:
    _, answer = ask(port, "POST", "/api/scenes", large())
    edits = [dataclasses.asdict(Order(2, 0)), dataclasses.asdict(Move(2, -6.0, 0.0))]
    status, content = export(port, answer["id"], "masks", large(), edits=edits)
    with Image.open(BytesIO(content)) as file:
        assert status == 200 and (file.mode, file.size) == ("P", (160, 96))
        labels = np.asarray(file)
    assert {*labels.ravel().tolist()} == {0, 1, 2}
    status, found = export(port, answer["id"], "coco", large(), edits=edits, name="my.png")
    assert found["images"][0]["file_name"] == "my.png"
    for each in found["annotations"]:
        assert (np.asarray(mask.decode(each["segmentation"])) == (labels == each["id"])).all()
    status, content = export(port, answer["id"], "cutouts", large(), edits=edits)
    with ZipFile(BytesIO(content)) as archive:
        assert archive.namelist() == ["object-2.png", "object-1.png", "objects.json"]
        front, *_ = json.loads(archive.read("objects.json"))
        cutout = pixels(archive.read("object-2.png"))
    assert front["file"] == "object-2.png" and cutout.shape == (front["height"], front["width"], 4)
    there = np.zeros((96, 160), np.uint8)
    there[front["top"] : front["top"] + front["height"], front["left"] : front["left"] + front["width"]] = cutout[..., 3]
    assert ((there > 160) <= (labels == 2)).all()  # the front object hides the other one, and nothing hides it


def test_exported_region_is_the_part_that_was_opened(port: int) -> None:
    around = np.zeros((120, 200, 3), np.uint8)
    around[10:106, 20:180] = pixels(large())
    content = BytesIO()
    Image.fromarray(around).save(content, "png")
    _, answer = ask(port, "POST", "/api/scenes", large())
    edits = [dataclasses.asdict(Move(1, 3.0, -2.0))]
    _, part = export(port, answer["id"], "picture", large(), edits=edits)
    _, whole = export(port, answer["id"], "picture", content.getvalue(), edits=edits, region=[20.0, 10.0, 180.0, 106.0])
    around[10:106, 20:180] = pixels(part)
    # Only at the region's border the colours beyond it count, where an object is resampled.
    assert (pixels(whole) == around).mean() > 0.99


EXPORTS: dict[str, Any] = {
    "The region is [0.0, 0.0, 0.0, 9.0]; it must be left, top, right and bottom": {"region": [0.0, 0.0, 0.0, 9.0]},
    "The region is [200.0, 0.0, 300.0, 9.0]; it must be": {"region": [200.0, 0.0, 300.0, 9.0]},
    "region.0 is": {"region": [1e9, 0.0, 2e9, 9.0]},
    "region": {"region": [1.0]},
    "There is no object 7; those left are 1, 2": {"edits": [{"edit": "remove", "object": 7}]},
    "The picture can't be read as an image": {"file": b"no picture"},
}


@pytest.mark.parametrize("said", EXPORTS)
def test_what_can_not_be_exported_is_refused(said: str, port: int) -> None:
    _, answer = ask(port, "POST", "/api/scenes", large())
    asked = {"file": large(), **EXPORTS[said]}
    assert said in error(export(port, answer["id"], "masks", asked.pop("file"), **asked), 400)


def test_exports_of_too_much_are_refused(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _, answer = ask(port, "POST", "/api/scenes", large())
    monkeypatch.setattr(exporting, "MOST_PIXELS", 15_000)
    said = error(export(port, answer["id"], "picture", large()), 400)
    assert said == "The picture has 160x96 pixels, 0.0 million; at most 0.015 million are read."
    monkeypatch.setattr(exporting, "MOST_BYTES", 1000 - uploads.MOST_JSON)
    assert "at most 0.001 MB" in error(export(port, answer["id"], "picture", large()), 413)
    assert "open it again" in error(export(port, "0" * 64, "picture", b"x"), 404)
    assert error(export(port, answer["id"], "film", large()), 400)
    assert "Invalid JSON" in error(ask(port, "POST", f"/api/scenes/{answer['id']}/export/masks", b"{"), 400)


def test_work_of_a_large_export_is_done_in_short_steps(model: Model) -> None:
    """Another page waits for a step at most: its length does not depend on the picture's size."""
    content, kept = BytesIO(), Store(model)
    Image.fromarray(np.tile(pixels(photo()), (40, 40, 1))).save(content, "png")
    name = kept.add(read_picture(Path("a"), 32, 32, content.getvalue()).pixels)
    body = json.dumps({"edits": [dataclasses.asdict(Move(1, 3.0, 0.0))]}).encode() + b"\n" + content.getvalue()
    for kind in ("picture", "masks"):
        assert len(list(exporting.exported(kept, name, kind, BytesIO(body)))) > 4  # type: ignore[arg-type]


REQUESTS: dict[str, Any] = {
    "Invalid JSON: EOF": b"{",
    "Invalid JSON: recursion limit exceeded": b"[" * 100_000,
    "The input is []; it must be an object.": b"[]",
    "edits: Field required.": b"{}",
    "edits is null; it must be a valid array.": b'{"edits": null}',
    "raw is 1; it must be true or false.": b'{"edits": [], "raw": 1}',
    "it must hold 'edit' with one of 'move'": b'{"edits": [{"edit": "fly"}]}',
    "edits.0.move.dx is NaN; it must be a finite number.": b'{"edits": [{"edit": "move", "object": 1, "dx": NaN, "dy": 0}]}',
    "the picture is 32x32 pixels": b'{"edits": [{"edit": "move", "object": 1, "dx": 1e9, "dy": 0}]}',
    "There is no object 7; those left are 1, 2": b'{"edits": [{"edit": "remove", "object": 7}]}',
}


@pytest.mark.parametrize("said", REQUESTS)
def test_bad_request_is_answered_with_a_sentence(said: str, port: int, opened: Any) -> None:
    assert said in error(ask(port, "POST", f"/api/scenes/{opened['id']}/view", REQUESTS[said]), 400)


def test_scene_that_is_not_kept_is_told(port: int) -> None:
    assert "open it again" in error(ask(port, "POST", "/api/scenes/0123/view", {"edits": []}), 404)


@pytest.mark.parametrize(
    "path", ["/../pyproject.toml", "/page/../server.py", "/page/%2e%2e%2fserver.py", "/page//etc/passwd", "/page/", "/api/x"]
)
def test_no_path_leads_to_files(path: str, port: int) -> None:
    error(ask(port, "GET", path), 404)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "", "["]
)
def test_other_names_are_not_answered(host: str, port: int) -> None:
    assert "answers to localhost" in error(ask(port, "GET", "/api/model", headers={"Host": host}), 403)


def test_own_names_are_answered_and_other_pages_not(port: int) -> None:
    for host in ("localhost", f"localhost:{port}", f"127.0.0.1:{port}", "[::1]:99"):
        assert ask(port, "GET", "/api/model", headers={"Host": host})[0] == 200
    own = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"}
    assert ask(port, "POST", "/api/scenes", photo(), own)[0] == 200
    for origin in ("http://evil.example", "null", f"http://localhost:{port + 1}"):
        assert "another page" in error(ask(port, "POST", "/api/scenes", photo(), own | {"Origin": origin}), 403)


def test_nothing_is_loaded_from_elsewhere(port: int) -> None:
    names = [item.name for item in files("intarsia.studio").joinpath("page").iterdir()]
    assert {"index.html", "main.js", "style.css"} <= set(names)
    for path in ("/", "/docs", *(f"/page/{name}" for name in names)):
        status, content = ask(port, "GET", path)
        assert status == 200
        text = content.decode().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert "http://" not in text and "https://" not in text and "url(" not in text
    status, described = ask(port, "GET", "/openapi.json")
    assert status == 200 and set(described["paths"]) >= {"/api/model", "/api/scenes", "/api/scenes/{name}/view"}


def test_kinds_of_edits_are_described(port: int) -> None:
    path = ask(port, "GET", "/openapi.json")[1]["paths"]["/api/scenes/{name}/view"]
    schema = path["post"]["requestBody"]["content"]["application/json"]["schema"]
    kinds = schema["properties"]["edits"]["items"]["oneOf"]
    assert {kind["properties"]["edit"]["const"] for kind in kinds} == {
        "move", "scale", "recolour", "remove", "swap_texture", "order", "set_code", "paste",
    }  # fmt: skip
    assert "$" not in json.dumps(kinds).replace("{6}$", "")  # nothing refers to a part that is not in the page


def test_line_has_an_end(port: int, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "MOST_WAITING", 0)
    assert "The server is busy" in error(ask(port, "POST", f"/api/scenes/{opened['id']}/view", {"edits": []}), 503)


def test_200_clients_at_once_take_bounded_memory(port: int) -> None:
    big = photo(9, (1200, 900))  # 3 MB; all at once, and unpacked, they would take more than a GB

    def client(number: int) -> int:
        status, answer = ask(port, "POST", "/api/scenes", big if number % 8 == 0 else photo(number))
        if status != 200:
            return status
        edits = [dataclasses.asdict(SetCode(1, "shape", 0, number / 100))]
        return ask(port, "POST", f"/api/scenes/{answer['id']}/view", {"edits": edits})[0]

    client(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with ThreadPoolExecutor(200) as clients:
        statuses = list(clients.map(client, range(200)))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert set(statuses) == {200}
    assert grown < 300_000  # KB, the 200 clients' own threads included


def test_serve_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(InputError, match=r"pip install 'intarsia\[studio\]'"):
        serve([tmp_path])
    monkeypatch.undo()
    with pytest.raises(InputError, match="neither a run nor a model"):
        serve([tmp_path])
    with pytest.raises(InputError, match="--port is 99999"):
        serve([], port=99999)


def test_picture_read_from_bytes_is_the_one_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(photo(3, (50, 20)))
    assert torch.equal(uploads.picture_of(photo(3, (50, 20)), 32, 32).pixels, read_picture(tmp_path / "a.png", 32, 32).pixels)
