"""Films a session in the studio: `python docs/images/studio.py RUN` makes docs/images/studio.gif, in Debian's chromium.

The session is a random scene, a drag, a slider, a colour, a copy, and a look at the picture before.
"""

import shutil
import sys
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # tests/studio.py

import tyro
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from intarsia.files import replacing
from intarsia.manipulation.opening import open_model
from intarsia.studio.server import create_app
from tests.studio import running

WIDTH, HEIGHT, SHOWN = 1040, 640, 0.72  # px of the page, and what becomes of them
FRAME = 160  # ms


class Film:
    """Frames of a page, each with the milliseconds that it stays."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.frames: list[tuple[Image.Image, int]] = []

    def take(self, milliseconds: int = FRAME) -> None:
        self.page.wait_for_selector("#stage[aria-busy=false]")
        frame = Image.open(BytesIO(self.page.screenshot())).convert("RGB")
        size = (round(WIDTH * SHOWN), round(HEIGHT * SHOWN))
        self.frames.append((frame.resize(size, Image.Resampling.LANCZOS), milliseconds))

    def save(self, path: Path) -> None:
        frames, durations = zip(*self.frames, strict=True)
        sample = Image.new("RGB", (frames[0].width, 3 * frames[0].height))
        for place, frame in enumerate((frames[0], frames[len(frames) // 2], frames[-1])):
            sample.paste(frame, (0, place * frame.height))
        palette = sample.quantize(160)
        first, *others = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
        with replacing(path) as temporary:
            first.save(temporary, "gif", save_all=True, append_images=others, duration=list(durations), loop=0, optimize=True)


def session(page: Page, film: Film, index: int) -> None:
    """What is done; the picture is test scene `index`."""
    page.route("**/api/scenes/random", lambda route: route.continue_(url=f"{route.request.url}?index={index}"))
    page.click("#random")
    page.wait_for_selector("#objects button")
    film.take(900)
    page.locator("#objects button").first.click()
    page.wait_for_timeout(6000)  # the strips
    film.take(1000)
    box = page.locator("#overlay").bounding_box()
    assert box
    labels = page.evaluate("document.getElementById('picture').width")
    name = page.locator("#objects button").first
    name.hover()
    x, y = frame_centre(page)
    x, y = box["x"] + x * box["width"] / labels, box["y"] + y * box["width"] / labels
    away = 1 if x < box["x"] + box["width"] / 2 else -1
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(1, 6):
        page.mouse.move(x + away * step * box["width"] / 40, y)
        film.take()
    page.mouse.up()
    film.take(700)
    for kind in ("shape", "texture"):
        slider = page.locator(f"[id^={kind}-]").first
        slider.scroll_into_view_if_needed()
        start = float(slider.input_value())
        for step in range(1, 7):
            value = start + (1.8 if start < 0 else -1.8) * step / 6
            slider.evaluate("(input, v) => { input.value = v; input.dispatchEvent(new Event('input')); }", value)
            film.take()
        slider.evaluate("input => input.dispatchEvent(new Event('change'))")
    page.evaluate("scrollTo(0, 0)")
    film.take(700)
    page.locator("#colour").evaluate(
        "input => { input.value = '#ffffff'; for (const kind of ['input', 'change']) input.dispatchEvent(new Event(kind)); }"
    )
    film.take(900)
    page.keyboard.press("Control+c")
    page.keyboard.press("Control+v")
    film.take(1000)
    page.keyboard.down("b")
    film.take(900)
    page.keyboard.up("b")
    film.take(1500)


def frame_centre(page: Page) -> tuple[float, float]:
    """The centre of the selected object, in pixels of the picture, from the answer that the page got last."""
    with page.expect_response("**/view") as answer:
        page.select_option("#view", "raw")
    page.select_option("#view", "picture")
    page.wait_for_selector("#stage[aria-busy=false]")
    left, top, right, bottom = answer.value.json()["objects"][0]["box"]
    return (left + right) / 2, (top + bottom) / 2


def main(run: tyro.conf.Positional[Path], index: int = 7, out: Path = Path("docs/images/studio.gif")) -> None:
    """Film.

    Args:
        run: A run whose codes are trained.
        index: Of the test scene; its first object has to be one.
        out: The file.
    """
    with running(create_app(open_model(run))) as port, sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(60_000)
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("body[data-ready]")
        film = Film(page)
        session(page, film, index)
        film.save(out)
        browser.close()
    print(f"Wrote {out}: {len(film.frames)} frames, {out.stat().st_size / 1e6:.2f} MB.")


if __name__ == "__main__":
    tyro.cli(main)
