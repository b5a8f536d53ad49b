"""The studio in a real browser, Debian's chromium: what a person does there, and what then happens."""

import dataclasses
import json
import os
import shutil
import socket
import warnings
from base64 import b64decode
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from intarsia.commands.edit_flags import EditFlags
from intarsia.commands.manipulate import manipulate
from intarsia.model import Model
from intarsia.studio import server
from intarsia.studio.models import named
from intarsia.studio.server import create_app
from tests.halves import RECIPE, Gap, by_hand, model_of_halves
from tests.studio.film import HEIGHT, WIDTH, Film, session
from tests.studio.serving import photo, pixels, running

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install 'intarsia[dev]'")
Page = playwright.Page
expect = playwright.expect
expect.set_options(timeout=60_000)  # the machine may be busy with other things
SIZE = 64  # px, of the pictures: there are random scenes of that size


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    found = shutil.which("chromium")
    if found is None:
        reason = "THE STUDIO'S PAGE IS NOT TESTED: there is no chromium; as root, `apt-get install chromium` gets it"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    with playwright.sync_playwright() as started:
        running_browser = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield running_browser
        running_browser.close()


@pytest.fixture(scope="module")
def model() -> Model:
    """Whose model the page shows: two objects in the lower half."""
    return model_of_halves(size=SIZE)


@pytest.fixture(scope="module")
def port(model: Model) -> Iterator[int]:
    with running(create_app(model)) as port:
        yield port


class Studio:
    """A page, the answers that it got, and what its user looks at."""

    def __init__(self, page: Any, port: int) -> None:
        self.page = page
        self.addresses: list[str] = []
        self.views: list[tuple[Any, Any]] = []  # edits and answer
        self.errors: list[str] = []
        page.set_default_timeout(90_000)
        page.on("request", lambda request: self.addresses.append(request.url))
        page.on("requestfinished", self._note)
        page.on("requestfailed", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("body[data-ready]")

    def _note(self, request: Any) -> None:
        if request.url.endswith("/view"):
            self.views.append((json.loads(request.post_data)["edits"], request))

    def open(self, content: bytes, name: str = "noise.png") -> None:
        self.page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": content})
        self.page.wait_for_selector("#objects button")
        self.settle()

    def settle(self) -> None:
        """Waits until nothing is on its way."""
        self.page.wait_for_selector("#stage[aria-busy=false]")
        while len(self.views) < sum(address.endswith("/view") for address in self.addresses):
            self.page.wait_for_timeout(10)
        assert self.errors == []

    @property
    def edits(self) -> Any:
        self.settle()
        return self.views[-1][0]

    @property
    def view(self) -> Any:
        self.settle()
        return self.views[-1][1].response().json()

    def object(self, number: int) -> Any:
        return next(each for each in self.view["objects"] if each["number"] == number)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the picture is on the screen."""
        box = self.page.locator("#overlay").bounding_box()
        return box["x"] + (x + 0.5) * box["width"] / SIZE, box["y"] + (y + 0.5) * box["height"] / SIZE

    def shown(self, canvas: str = "picture") -> np.ndarray:
        """The pixels of a canvas."""
        data = self.page.evaluate("name => document.getElementById(name).toDataURL()", canvas)
        return pixels(b64decode(data.partition(",")[2]))[..., :3]

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        mouse = self.page.mouse
        mouse.move(*self.at(*start))
        mouse.down()
        mouse.move(*self.at(*end), steps=4)
        mouse.up()

    def saved(self, button: str) -> bytes:
        self.page.click("#export summary")
        with self.page.expect_download() as download:
            self.page.click(button)
        return Path(download.value.path()).read_bytes()


@pytest.fixture
def studio(browser: Any, port: int) -> Iterator[Callable[..., Studio]]:
    """Opens pages; `studio()` is one with a picture."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})

    def opened(content: bytes | None = photo(0, (SIZE, SIZE))) -> Studio:
        found = Studio(context.new_page(), port)
        if content:
            found.open(content)
        return found

    yield opened
    context.close()


LEFT, RIGHT, ABOVE = (16, 50), (48, 50), (32, 10)  # px: in the first object, the second, the background


def test_a_picture_comes_apart(studio: Callable[..., Studio]) -> None:
    one = studio()
    assert (one.shown() == pixels(photo(0, (SIZE, SIZE)))).all()
    expect(one.page.locator("#objects button")).to_have_text(["Object 1", "Object 2", "Background"])
    quiet = one.shown("overlay")
    one.page.mouse.move(*one.at(*LEFT))
    assert (one.shown("overlay") != quiet).any()
    one.page.mouse.click(*one.at(*LEFT))
    expect(one.page.locator("#subject")).to_have_text("Object 1")
    assert one.page.locator(".slider").count() == 15
    titles = one.page.locator(".slider").evaluate_all("all => all.map(each => each.title)")
    nats = [float(title.split(" nats")[0].split()[-1]) for title in titles][:4]
    assert nats == sorted(nats, reverse=True)
    one.page.mouse.click(*one.at(*ABOVE))
    expect(one.page.locator("#subject")).to_have_text("Background")
    expect(one.page.locator("#objects button[aria-pressed=true]")).to_have_text("Background")
    assert all(
        address.startswith((f"http://127.0.0.1:{one.page.url.split(':')[2]}", "blob:", "data:")) for address in one.addresses
    )


def test_a_random_scene_and_the_mask_view(studio: Callable[..., Studio]) -> None:
    one = studio(None)
    one.page.click("#random-2")
    one.page.wait_for_selector("#objects button")
    one.settle()
    picture = one.shown()
    one.page.select_option("#view", "masks")
    assert len(np.unique(one.shown().reshape(-1, 3), axis=0)) == 3
    assert (pixels(one.saved("#export-png"))[..., :3] == one.shown()).all()
    one.page.select_option("#view", "picture")
    one.page.click("#details summary")
    one.page.check("#raw")
    one.settle()
    assert (one.shown() != picture).any()


def test_random_scenes_are_offered_where_there_are_some(studio: Callable[..., Studio], browser: Any) -> None:
    expect(studio(None).page.locator("#random")).to_be_visible()
    with running(create_app(model_of_halves(size=32))) as port:
        one = Studio(browser.new_page(), port)
        expect(one.page.locator("#random, #random-2")).to_have_count(2)
        assert one.page.locator("#random:visible, #random-2:visible").count() == 0
        expect(one.page.locator("#hint")).to_contain_text("There are no random scenes: they have 64x64 pixels")
        one.page.close()


def test_drag_scale_undo_and_compare(studio: Callable[..., Studio]) -> None:
    one = studio()
    before = one.shown()
    one.drag(LEFT, (22, 42))
    (edit,) = one.edits
    assert edit["edit"] == "move" and (edit["dx"], edit["dy"]) == (pytest.approx(6, abs=0.2), pytest.approx(-8, abs=0.2))
    one.page.keyboard.press("+")
    one.page.keyboard.press("+")
    assert one.edits[1] == {"edit": "scale", "object": 1, "factor": pytest.approx(1.21)}
    after = one.shown()
    assert (after != before).any()
    one.page.keyboard.down("b")
    assert (one.shown() == before).all()
    one.page.keyboard.up("b")
    assert (one.shown() == after).all()
    one.page.locator("#compare").focus()
    one.page.keyboard.down("Space")
    assert (one.shown() == before).all()
    one.page.keyboard.up("Space")
    assert (one.shown() == after).all()
    one.page.keyboard.press("Control+z")
    one.page.keyboard.press("Control+z")
    assert one.edits == [] and (one.shown() == before).all()
    one.page.keyboard.press("Control+y")
    one.page.keyboard.press("Control+y")
    assert len(one.edits) == 2 and (one.shown() == after).all()
    one.page.click("#reset")
    assert one.edits == []
    one.page.click("#redo")
    assert [each["edit"] for each in one.edits] == ["move"]


def test_escape_closes_the_menu_before_it_deselects(studio: Callable[..., Studio]) -> None:
    one = studio()
    one.page.mouse.click(*one.at(*LEFT))
    one.page.click("#export summary")
    one.page.keyboard.press("Escape")
    expect(one.page.locator("#export-png")).to_be_hidden()
    expect(one.page.locator("#export summary")).to_be_focused()
    expect(one.page.locator("#subject")).to_have_text("Object 1")
    one.page.keyboard.press("Escape")
    expect(one.page.locator("#subject")).to_have_text("Background")


def test_a_corner_scales(studio: Callable[..., Studio]) -> None:
    one = studio()
    one.page.mouse.click(*one.at(*LEFT))
    left, top, right, bottom = one.object(1)["box"]
    one.drag(
        (right - 0.5, top - 0.5), ((left + right) / 2 + (right - left) / 4 - 0.5, (top + bottom) / 2 - (bottom - top) / 4 - 0.5)
    )
    (edit,) = one.edits
    assert edit == {"edit": "scale", "object": 1, "factor": pytest.approx(0.5, abs=0.02)}
    one.page.mouse.move(*one.at(1, 1))
    cursor = "document.getElementById('overlay').style.cursor"
    left, top, right, bottom = one.object(1)["box"]
    for x, y, shape in ((left, top, "nwse"), (right, top, "nesw"), (left, bottom, "nesw"), (right, bottom, "nwse")):
        one.page.mouse.move(*one.at(x - 0.5, y - 0.5))
        assert one.page.evaluate(cursor) == f"{shape}-resize"


def test_an_object_hardly_larger_than_its_handles_is_dragged(studio: Callable[..., Studio]) -> None:
    one = studio()
    one.page.mouse.click(*one.at(*LEFT))
    for _ in range(20):
        one.page.keyboard.press("-")
    one.page.set_viewport_size({"width": 360, "height": 300})
    one.page.locator("#overlay").scroll_into_view_if_needed()
    left, top, right, bottom = one.object(1)["box"]
    assert (right - left) * (one.at(1, 0)[0] - one.at(0, 0)[0]) <= 32  # px
    inside = (left + 0.3 * (right - left) - 0.5, top + 0.3 * (bottom - top) - 0.5)  # 14 px from a corner, 9 from the middle
    one.drag(inside, (inside[0] + 10, inside[1] - 10))
    assert [each["edit"] for each in one.edits] == ["scale", "move"]


def test_a_slider_sets_a_number(studio: Callable[..., Studio]) -> None:
    one = studio()
    one.page.mouse.click(*one.at(*RIGHT))
    slider = one.page.locator(".slider input").first
    part, dimension = slider.get_attribute("id").split("-")
    slider.focus()
    for _ in range(6):
        one.page.keyboard.press("ArrowRight")
    (edit,) = one.edits  # presses in a row are one step
    assert (edit["object"], edit["part"], edit["dimension"]) == (2, part, int(dimension))
    assert one.object(2)[part][int(dimension)] == pytest.approx(float(slider.input_value()))
    assert one.page.evaluate("performance.getEntriesByName('edit-to-picture').length") > 0
    one.page.locator(".strip[src]").first.wait_for()
    expect(slider).to_be_focused()
    one.page.keyboard.press("Delete")  # of the keys, a slider has but the arrows for itself
    assert one.edits[-1] == {"edit": "remove", "object": 2}


def test_every_kind_of_edit_by_its_control(studio: Callable[..., Studio]) -> None:
    one = studio()
    one.page.mouse.click(*one.at(*LEFT))
    one.page.locator("#colour").evaluate(
        "input => { input.value = '#40c080'; for (const kind of ['input', 'change']) input.dispatchEvent(new Event(kind)); }"
    )
    one.page.click("#backward")
    one.page.click("#swap")
    one.page.mouse.click(*one.at(*RIGHT))
    one.page.keyboard.press("Shift+ArrowUp")
    one.page.keyboard.press("ArrowLeft")
    one.page.keyboard.press("Control+c")
    one.page.keyboard.press("Delete")
    one.page.keyboard.press("Control+v")
    edits = one.edits
    assert [each["edit"] for each in edits] == ["recolour", "order", "swap_texture", "move", "remove", "paste"]
    assert edits[0]["colour"] == "#40c080" and edits[1]["place"] == 1
    assert edits[2]["object"] == 1 and edits[2]["other"] == 2
    assert (edits[3]["dx"], edits[3]["dy"]) == (-1, -5)
    assert [each["number"] for each in one.view["objects"]] == [3, 2]
    expect(one.page.locator("#subject")).to_have_text("Object 3")


def test_export_is_replayed_to_the_same_pixels(
    studio: Callable[..., Studio], model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = studio()
    one.drag(LEFT, (20, 45))
    one.page.keyboard.press("Control+c")
    one.page.mouse.click(*one.at(*RIGHT))
    one.page.keyboard.press("Delete")
    one.page.keyboard.press("Control+v")
    one.settle()
    shown = pixels(one.saved("#export-png"))[..., :3]
    assert (shown == one.shown()).all()
    (tmp_path / "edits.json").write_bytes(one.saved("#export-json"))
    (tmp_path / "noise.png").write_bytes(one.saved("#export-original"))
    (tmp_path / "edits.gif").write_bytes(one.saved("#export-gif"))
    assert Image.open(tmp_path / "edits.gif").n_frames == len(one.edits) + 1  # type: ignore[attr-defined]
    Model(RECIPE).save(tmp_path / "run" / "vaes")
    monkeypatch.setattr(Model, "load", lambda *given: model)
    _, files = manipulate(tmp_path / "run", tmp_path / "noise.png", EditFlags(edits=tmp_path / "edits.json"), tmp_path / "out")
    assert (np.asarray(Image.open(files[0])) == shown).all()
    again = studio()
    again.page.set_input_files("#file", tmp_path / "edits.json")
    again.page.wait_for_selector("#undo:enabled")
    again.settle()
    assert (again.shown() == shown).all()


def test_exports_have_the_size_of_the_file(studio: Callable[..., Studio]) -> None:
    """What the page opened, edited, is saved at the file's own size, crop or not; and its masks and cut-outs."""
    one, content = studio(None), BytesIO()
    large = np.kron(pixels(photo(3, (SIZE, SIZE))), np.ones((3, 4, 1))).astype(np.uint8)
    Image.fromarray(large).save(content, "png")
    for name in ("picture", "masks", "coco", "cutouts"):
        assert one.page.is_disabled(f"#export-{name}")
    one.page.set_input_files("#file", {"name": "my large.png", "mimeType": "image/png", "buffer": content.getvalue()})
    one.page.click("#crop-use")  # the largest square, from column 32 on
    one.page.wait_for_selector("#objects button")
    one.settle()
    assert (pixels(one.saved("#export-picture")) == large).all()
    one.page.click("#objects button >> nth=0")
    one.drag((16, 50), (21, 47))
    one.settle()
    saved = pixels(one.saved("#export-picture"))
    assert saved.shape == (3 * SIZE, 4 * SIZE, 3) and (saved[:60] == large[:60]).all()
    edit = one.edits[-1]
    right, down = round(3 * edit["dx"]), round(3 * edit["dy"])
    inside = large[126:168, 50:110].astype(int)
    moved = saved[126 + down : 168 + down, 50 + right : 110 + right]
    assert right > 10 and down < -4 and np.median(abs(moved - inside)) <= 12  # of noise, resampled by parts of a pixel
    expect(one.page.locator("#status")).to_have_text("Saved.")
    with Image.open(BytesIO(one.saved("#export-masks"))) as file:
        assert (file.mode, file.size) == ("P", (4 * SIZE, 3 * SIZE))
        labels = np.asarray(file)
    found = json.loads(one.saved("#export-coco"))
    assert found["images"][0]["file_name"] == "my large.png"
    assert {each["id"]: each["area"] for each in found["annotations"]} == {n: int((labels == n).sum()) for n in (1, 2)}
    with ZipFile(BytesIO(one.saved("#export-cutouts"))) as archive:
        assert pixels(archive.read("object-1.png")).shape[2] == 4
    # A page that was loaded again holds no file.
    one.page.reload()
    one.page.wait_for_selector("#objects button")
    one.settle()
    assert pixels(one.saved("#export-picture")).shape == (SIZE, SIZE, 3)
    expect(one.page.locator("#status")).to_contain_text("the page holds no file of this picture")


def test_bad_files_are_told(studio: Callable[..., Studio]) -> None:
    one = studio()
    before = one.shown()
    one.page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"})
    expect(one.page.locator("#status.bad")).to_contain_text("can't be read as an image")
    for name, content in (("a.json", b"{}"), ("b.json", b"null")):
        one.page.set_input_files("#file", {"name": name, "mimeType": "application/json", "buffer": content})
        expect(one.page.locator("#status.bad")).to_have_text(f"{name} holds no edits.")
    for kind, said in (
        ("paste", "There is no picture and no copied object to paste."),
        ("drop", "What was dropped is no file;"),
    ):
        hand_over(one, kind, [])
        expect(one.page.locator("#status.bad")).to_contain_text(said)
    assert (one.shown() == before).all()


def test_an_edit_that_is_not_possible_is_told_and_taken_back(studio: Callable[..., Studio]) -> None:
    one = studio()
    one.page.mouse.click(*one.at(*LEFT))
    one.page.keyboard.press("Control+c")
    one.page.keyboard.press("Control+v")
    expect(one.page.locator("#status.bad")).to_contain_text("There is no room for one more object")
    assert one.edits == [] and one.page.locator("#undo").is_disabled()


def test_a_lost_server_loses_nothing(browser: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    small = model_of_halves(size=SIZE)
    with running(create_app(small), port):
        one = Studio(browser.new_page(), port)
        one.open(photo(0, (SIZE, SIZE)))
        one.drag(LEFT, (22, 45))
        moved = one.edits
    one.page.click("#larger")
    expect(one.page.locator("#status.bad")).to_contain_text("The server does not answer. Your edits are kept here")
    with running(create_app(small), port):  # another one, which knows nothing
        one.page.wait_for_selector("#stage[aria-busy=false] ~ #status:not(.bad)", state="attached")
        assert [each["edit"] for each in one.edits] == ["move", "scale"] and one.edits[0] == moved[0]
        assert one.object(1)["box"] != [0, 36, 32, 64]
    one.page.close()


def test_two_tabs_do_not_mix_and_share_what_is_copied(studio: Callable[..., Studio]) -> None:
    one, two = studio(), studio()
    one.drag(LEFT, (20, 45))
    two.page.mouse.click(*two.at(*RIGHT))
    two.page.keyboard.press("Delete")
    assert [each["edit"] for each in one.edits] == ["move"] and [each["edit"] for each in two.edits] == ["remove"]
    one.page.bring_to_front()
    one.page.keyboard.press("Control+c")
    expect(one.page.locator("#status")).to_have_text("Copied object 1.")
    two.page.bring_to_front()
    two.page.keyboard.press("Control+v")
    assert [each["edit"] for each in two.edits] == ["remove", "paste"]
    assert two.object(3)["shape"] == one.object(1)["shape"]


def test_pasting_into_another_picture(studio: Callable[..., Studio]) -> None:
    one = studio()
    one.page.mouse.click(*one.at(*LEFT))
    one.page.keyboard.press("Control+c")
    one.page.set_input_files("#file", {"name": "b.png", "mimeType": "image/png", "buffer": photo(1, (SIZE, SIZE))})
    expect(one.page.locator("#pictures button")).to_have_count(2)
    one.settle()
    one.page.mouse.click(*one.at(*LEFT))
    one.page.keyboard.press("Delete")
    one.page.keyboard.press("Control+v")
    assert [each["edit"] for each in one.edits] == ["remove", "paste"]
    one.page.locator("#pictures button").first.focus()
    one.page.keyboard.press("Enter")
    assert one.edits == []  # the first picture is as it was
    expect(one.page.locator("#pictures button").first).to_be_focused()
    one.page.keyboard.press("Tab")
    one.page.keyboard.press("Enter")
    assert len(one.edits) == 2


def test_a_picture_on_its_way_gets_no_edits_and_the_one_before_none_by_key(studio: Callable[..., Studio]) -> None:
    one = studio()
    one.drag(LEFT, (22, 45))
    held: list[Any] = []
    one.page.route("**/api/scenes*", lambda route: held.append(route))
    one.page.mouse.move(*one.at(*RIGHT))
    one.page.mouse.down()
    one.page.mouse.move(*one.at(RIGHT[0] - 6, RIGHT[1]))
    one.page.set_input_files("#file", {"name": "b.png", "mimeType": "image/png", "buffer": photo(1, (SIZE, SIZE))})
    one.page.wait_for_timeout(100)
    for key in ("Delete", "ArrowUp", "+", "Control+z", "Control+v"):
        one.page.keyboard.press(key)
    held[0].continue_()
    expect(one.page.locator("#pictures button")).to_have_count(2)
    one.page.mouse.move(*one.at(4, 50))  # still held, but what it held is out of sight
    one.page.mouse.up()
    assert one.edits == []
    expect(one.page.locator("#undo")).to_be_disabled()
    one.page.locator("#pictures button").first.click()
    first, second = one.edits
    assert (first["edit"], first["object"], second["edit"], second["object"]) == ("move", 1, "move", 2)
    assert second["dx"] == pytest.approx(-6, abs=0.2)
    expect(one.page.locator("#objects button")).to_have_count(3)


def test_late_answers_never_replace_newer_ones(studio: Callable[..., Studio]) -> None:
    one = studio()
    one.page.mouse.click(*one.at(*LEFT))
    held: list[Any] = []
    one.page.route("**/view", lambda route: held.append(route) if not held else route.continue_())
    slider = one.page.locator(".slider input").first
    for value in (0.5, 1.0, 1.5, 2.0):
        slider.evaluate("(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value)
    one.page.wait_for_timeout(300)
    assert one.page.locator("body.busy").count() == 1
    expect(one.page.locator("#status")).to_have_text("Working…")
    sent = len(one.views)
    held[0].continue_()
    one.page.wait_for_selector("#stage[aria-busy=false]")
    assert [edits[0]["value"] for edits, _ in one.views[sent:]] == [0.5, 2.0]  # what lay between was never sent
    data = one.page.evaluate("document.getElementById('picture').toDataURL()")
    assert (pixels(b64decode(data.partition(",")[2]))[..., :3] == pixels(b64decode(one.view["picture"]))).all()


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (800, "dark"), (1400, "light")])
def test_fits_every_screen_and_every_control_has_a_name(browser: Any, port: int, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 740}, color_scheme=scheme, has_touch=width == 360)
    one = Studio(context.new_page(), port)
    one.open(photo(0, (SIZE, SIZE)))
    one.page.locator("#objects button").first.focus()
    one.page.keyboard.press("Enter")
    expect(one.page.locator("#subject")).to_have_text("Object 1")
    one.page.click("#export summary")
    menu = one.page.locator("#export > div").bounding_box()
    assert menu["x"] >= 0 and menu["x"] + menu["width"] <= width
    one.page.keyboard.press("Escape")
    assert one.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    one.page.locator(".slider input:visible").last.scroll_into_view_if_needed()
    expect(one.page.locator("#picture")).to_be_in_viewport(ratio=0.9)  # what the sliders do is seen
    if width == 360:
        heights = one.page.locator("button:visible, summary:visible, select:visible").evaluate_all(
            "all => all.map(each => each.getBoundingClientRect().height)"
        )
        assert min(heights) >= 40  # px, for a finger
    background = one.page.evaluate("getComputedStyle(document.body).backgroundColor").removeprefix("rgb(").rstrip(")")
    assert (sum(map(int, background.split(","))) < 200) == (scheme == "dark")
    unnamed = one.page.evaluate(
        "[...document.querySelectorAll('button, input, select, canvas, summary')].filter(each => !each.textContent.trim()"
        " && !each.ariaLabel && !each.labels?.length && !each.querySelector('img[alt]')).map(each => each.outerHTML)"
    )
    assert unnamed == []
    context.close()


def test_a_reload_keeps_pictures_and_edits(studio: Callable[..., Studio]) -> None:
    one = studio()
    one.page.mouse.click(*one.at(*LEFT))
    one.page.keyboard.press("Control+c")
    one.page.keyboard.press("Delete")
    one.page.keyboard.press("Control+v")
    one.settle()
    one.page.keyboard.press("ArrowRight")
    one.page.keyboard.press("Control+z")
    edits, shown = one.edits, one.shown()
    one.page.reload()
    one.page.wait_for_selector("#objects button")
    assert one.edits == edits and (one.shown() == shown).all()
    expect(one.page.locator("#subject")).to_have_text("Object 3")
    one.page.keyboard.press("Control+y")
    assert [each["edit"] for each in one.edits] == ["remove", "paste", "move"]
    one.page.click("#reset")
    assert one.edits == [] and (one.shown() == pixels(photo(0, (SIZE, SIZE)))).all()
    fresh = studio(None)
    assert fresh.page.locator("#objects button").count() == 0  # another tab begins anew


def hand_over(one: Studio, kind: str, files: list[bytes]) -> None:
    """Paste or drop, with files or without."""
    one.page.evaluate(
        """([kind, files]) => {
          const data = new DataTransfer();
          for (const bytes of files) data.items.add(new File([Uint8Array.from(bytes)], "b.png", { type: "image/png" }));
          const event = kind === "paste" ? new ClipboardEvent(kind, { clipboardData: data, bubbles: true, cancelable: true })
            : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
          document.getElementById("stage").dispatchEvent(event);
        }""",
        [kind, [list(content) for content in files]],
    )


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_a_picture_comes_by_clipboard_or_is_dropped(kind: str, studio: Callable[..., Studio]) -> None:
    one = studio(None)
    hand_over(one, kind, [photo(1, (SIZE, SIZE))])
    one.page.wait_for_selector("#objects button")
    one.settle()
    assert (one.shown() == pixels(photo(1, (SIZE, SIZE)))).all()
    expect(one.page.locator("#status")).to_have_text("Opened b.png.")


def test_a_finger_drags_an_object(browser: Any, port: int) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    one = Studio(context.new_page(), port)
    one.open(photo(0, (SIZE, SIZE)))
    fingers = context.new_cdp_session(one.page)

    def touch(kind: str, *place: float) -> None:
        points = [dict(zip("xy", one.at(*place), strict=True))] if place else []
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    top = one.page.evaluate("scrollY")
    touch("touchStart", *LEFT)
    for step in range(1, 5):
        touch("touchMove", LEFT[0] + 1.5 * step, LEFT[1] - 2 * step)
    touch("touchEnd")
    (edit,) = one.edits
    assert edit["edit"] == "move" and (edit["dx"], edit["dy"]) == (pytest.approx(6, abs=0.3), pytest.approx(-8, abs=0.3))
    assert one.page.evaluate("scrollY") == top  # the page stayed where it was
    context.close()


@pytest.fixture(scope="module")
def shelf(model: Model) -> Iterator[int]:
    """A server of several models: two of halves, and one without codes."""
    plain = by_hand(Model(dataclasses.replace(model.recipe, seed=1, vaes=dataclasses.replace(RECIPE.vaes, steps=0))))
    assert not plain.has_codes
    with running(create_app({"first": model, "second": model_of_halves(1, size=32), "plain": plain})) as port:
        yield port


@pytest.fixture
def several(browser: Any, shelf: int) -> Iterator[Studio]:
    """A page of that server."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    yield Studio(context.new_page(), shelf)
    context.close()


def test_it_opens_with_scenes_to_begin_with(studio: Callable[..., Studio]) -> None:
    one = studio(None)
    scenes = one.page.locator("#gallery img")
    expect(scenes).to_have_count(6)
    for id in ("undo", "redo", "remove", "export-png", "scenes", "colour", "copy", "paste", "compare", "view"):
        assert one.page.locator(f"#{id}").is_disabled()
    one.page.locator("#export summary").focus()
    one.page.keyboard.press("Enter")
    expect(one.page.locator("#export-png")).to_be_hidden()  # an empty state has no menu
    shown = pixels(b64decode(scenes.nth(2).get_attribute("src").partition(",")[2]))
    assert scenes.nth(2).get_attribute("alt").endswith("2 objects")
    one.page.locator("#gallery button").nth(2).focus()
    one.page.keyboard.press("Enter")
    one.page.wait_for_selector("#objects button")
    one.settle()
    assert (one.shown() == shown).all()
    one.page.click("#scenes")
    expect(scenes).to_have_count(6)
    one.page.locator("#pictures button").click()  # the picture is still there
    expect(one.page.locator("#objects button")).to_have_count(3)


def test_another_model_is_chosen_without_a_restart(several: Studio) -> None:
    several.open(photo(0, (SIZE, SIZE)))
    several.page.select_option("#model", "second")
    expect(several.page.locator("#status")).to_have_text("The model is second now.")
    expect(several.page.locator("#hint")).to_contain_text("There are no random scenes: they have 64x64 pixels")
    several.page.set_input_files("#file", {"name": "b.png", "mimeType": "image/png", "buffer": photo(1)})
    expect(several.page.locator("#pictures button")).to_have_count(2)
    several.settle()
    assert several.shown().shape == (32, 32, 3)
    several.page.locator("#pictures button").first.click()  # a picture goes with its model
    expect(several.page.locator("#model")).to_have_value("first")
    several.settle()
    assert (several.shown() == pixels(photo(0, (SIZE, SIZE)))).all()
    several.page.reload()
    expect(several.page.locator("#pictures button")).to_have_count(2)
    expect(several.page.locator("#model")).to_have_value("first")


def test_a_model_without_codes_moves_scales_copies_orders_and_removes(several: Studio) -> None:
    several.page.select_option("#model", "plain")
    expect(several.page.locator("#status")).to_have_text("The model is plain now.")
    several.open(photo(0, (SIZE, SIZE)))
    several.drag(LEFT, (20, 45))
    expect(several.page.locator("#hint")).to_contain_text("This model has no codes")
    assert several.page.locator(".slider").count() == 0
    for id in ("swatch", "swap", "raw-choice"):
        expect(several.page.locator(f"#{id}")).to_be_hidden()
    for key in ("+", "[", "Control+c", "Delete", "t"):
        several.page.keyboard.press(key)
    expect(several.page.locator("#paste")).to_be_enabled()
    several.page.click("#paste")
    assert [each["edit"] for each in several.edits] == ["move", "scale", "order", "remove", "paste"]
    assert several.object(3)["shape"] == []


def test_a_dragged_object_follows_the_pointer_before_the_server_answers(studio: Callable[..., Studio]) -> None:
    one = studio()
    with one.page.expect_response("**/pieces"):
        one.page.mouse.click(*one.at(*LEFT))
    one.page.wait_for_timeout(300)  # for its pictures to be decoded
    before, held = one.shown().astype(float), list[Any]()
    over: list[bool] = []
    one.page.route("**/view", lambda route: route.continue_() if over else held.append(route))
    one.page.mouse.move(*one.at(*LEFT))
    one.page.mouse.down()
    one.page.mouse.move(*one.at(LEFT[0] + 16, LEFT[1] - 20), steps=3)
    at_once = one.shown().astype(float)
    one.page.mouse.up()
    assert (one.shown() == at_once).all() and held
    over.append(True)
    for route in held:
        route.continue_()
    one.settle()
    served = one.shown().astype(float)
    assert abs(before - served).mean() > 10  # of 255: the object went far
    assert abs(at_once - served).mean() < 1
    assert (at_once != served).any()  # what is seen now is the server's


def test_objects_are_numbered_without_gaps(studio: Callable[..., Studio], browser: Any) -> None:
    full = Model(dataclasses.replace(RECIPE, height=SIZE, width=SIZE, segments=5))
    with running(create_app(by_hand(full, Gap()))) as port:
        one = Studio(browser.new_page(), port)
        one.open(photo(0, (SIZE, SIZE)))
        assert [each["number"] for each in one.view["objects"] if not each["empty"]] == [1, 3]
        expect(one.page.locator("#objects button")).to_have_text(["Object 1", "Object 2", "Background"])
        one.page.close()


def test_sliders_are_called_by_what_they_do(browser: Any) -> None:
    with running(create_app({"multi_dsprites": Path("multi_dsprites")})) as port:
        one = Studio(browser.new_page(), port)
        one.page.locator("#gallery button:enabled").first.click()
        one.page.locator("#objects button").first.click()
        names = one.page.locator("#sliders label").all_text_contents()
        assert {"Place across", "Place down", "Size", "Shape 3", "Hue 1", "Hue 2", "Brightness"} <= set(names)
        one.page.close()


def test_a_photograph_is_cropped_and_not_squashed(studio: Callable[..., Studio]) -> None:
    one = studio(None)
    wide = np.zeros((200, 400, 3), np.uint8)
    wide[:, 200:] = [0, 0, 255]
    wide[:, :200] = [255, 0, 0]
    content = BytesIO()
    Image.fromarray(wide).save(content, "png")
    given = {"name": "wide.png", "mimeType": "image/png", "buffer": content.getvalue()}
    told = one.page.locator("#crop-told")
    one.page.set_input_files("#file", given)
    expect(told).to_have_text("200×200 of 400×200 pixels, 100 from the left, 0 from the top")
    one.page.keyboard.press("Escape")
    expect(one.page.locator("#status")).to_have_text("Did not open wide.png.")
    one.page.set_input_files("#file", given)
    one.page.locator("#crop-area").focus()
    one.page.keyboard.press("-")
    for _ in range(9):
        one.page.keyboard.press("Shift+ArrowRight")
    expect(told).to_have_text("196×196 of 400×200 pixels, 204 from the left, 2 from the top")
    one.page.keyboard.press("Enter")
    one.page.wait_for_selector("#objects button")
    one.settle()
    assert (one.shown() == [0, 0, 255]).all() and one.shown().shape == (SIZE, SIZE, 3)
    one.page.set_input_files("#file", given)
    box = one.page.locator("#crop-area").bounding_box()
    one.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    one.page.mouse.down()
    one.page.mouse.move(box["x"] + box["width"] / 8, box["y"] + box["height"] / 2, steps=4)
    one.page.mouse.up()
    expect(told).to_contain_text(", 0 from the left")
    one.page.click("#crop-use")
    expect(one.page.locator("#pictures button")).to_have_count(2)
    one.settle()
    assert (one.shown() == [255, 0, 0]).all()
    assert one.page.locator("#notices p").all_inner_texts() == [
        "The picture: resized from 200x200 to 64x64 pixels, the size the model takes."
    ]


def test_a_picture_that_the_model_does_not_know_opens_with_the_one_for_photographs(
    several: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlike = "It is unlike those."
    monkeypatch.setattr(server, "notice", lambda model, image, name: unlike if model.recipe.width == SIZE else "")
    monkeypatch.setattr(server, "model_for_photographs", lambda model: "elsewhere")
    several.open(photo(0, (SIZE, SIZE)))
    expect(several.page.locator("#notices p")).to_have_text([unlike])
    expect(several.page.get_by_role("button", name="Open it with")).to_have_count(0)  # it is not served
    monkeypatch.setattr(server, "model_for_photographs", lambda model: "second")
    several.open(photo(0, (SIZE, SIZE)))
    several.page.get_by_role("button", name="Open it with second").click()
    several.page.click("#crop-use")  # which part, as the model takes pictures of another size
    expect(several.page.locator("#pictures button")).to_have_count(3)
    expect(several.page.locator("#model")).to_have_value("second")
    several.settle()
    assert several.shown().shape == (32, 32, 3)
    expect(several.page.get_by_role("button", name="Open it with")).to_have_count(0)


def test_a_phone_has_a_bar_at_the_bottom_and_a_short_page(browser: Any, port: int) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    one = Studio(context.new_page(), port)
    assert one.page.evaluate("document.documentElement.scrollHeight <= innerHeight")  # at the start nothing is to be scrolled
    one.open(photo(0, (SIZE, SIZE)))
    one.page.locator("#objects button").first.tap()
    assert one.page.evaluate("document.documentElement.scrollHeight") < 2.3 * 844
    one.page.evaluate("scrollTo(0, document.body.scrollHeight)")
    for id in ("undo", "redo", "remove", "export"):
        box = one.page.locator(f"#{id}").bounding_box()
        assert box["y"] > 844 - 80 and box["y"] + box["height"] <= 844
    expect(one.page.locator("#picture")).to_be_in_viewport(ratio=0.9)
    one.page.locator("#export summary").tap()
    expect(one.page.locator("#export-png")).to_be_in_viewport(ratio=1)
    one.page.locator("#remove").tap()
    assert one.edits == [{"edit": "remove", "object": 1}]
    one.page.locator("#undo").tap()
    assert one.edits == []
    context.close()


def test_a_session_is_filmed(browser: Any, tmp_path: Path) -> None:
    """The README's animation is this session: `INTARSIA_FILM=docs/images pytest tests/studio/test_page.py -k filmed`."""
    path = Path(os.environ.get("INTARSIA_FILM") or tmp_path) / "studio.gif"
    with running(create_app(named([]))) as port:
        one = Studio(browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}), port)
        film = Film(one.page)
        session(one.page, film, 12)
        assert [each["edit"] for each in one.edits] == ["move", "set_code", "set_code", "recolour", "paste", "move"]
        one.page.close()
    film.save(path)
    assert Image.open(path).n_frames > 20  # type: ignore[attr-defined]  # frames that show the same become one
    assert path.stat().st_size < 2_000_000
