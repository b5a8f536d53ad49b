"""A session in the studio, filmed: what tests/studio/test_page.py does and shows, and the README's animation."""

from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from intarsia.files import replacing

WIDTH, HEIGHT, SHOWN = 1040, 640, 0.72  # px of the page, and what becomes of them
FRAME = 160  # ms


class Film:
    """Frames of a page, each with the milliseconds that it stays."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.frames: list[tuple[Image.Image, int]] = []

    def take(self, milliseconds: int = FRAME) -> None:
        self.page.wait_for_selector("#stage[aria-busy=false]", state="attached")
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


def most_telling(page: Page, kind: str, words: tuple[str, ...]) -> str:
    """The dimension of the first slider of a kind that is called by one of some words."""
    found = page.locator(f"[id^={kind}-]").evaluate_all(
        "all => all.map(each => [each.id.split('-')[1], each.labels[0].textContent])"
    )
    return next(str(dimension) for dimension, word in found if word in words)


def session(page: Page, film: Film, index: int) -> None:
    """A scene of the gallery (test scene `index`), a drag, two sliders, a colour, a copy, and a look at the picture before."""
    scene = page.locator(f"#gallery img[alt^='Scene {index}:']")
    scene.wait_for()
    film.take(1200)
    with page.expect_response("**/view") as answer:
        scene.click()
    page.wait_for_selector("#objects button")
    film.take(900)
    page.locator("#objects button").first.click()
    sliders = [
        f"#{kind}-{most_telling(page, kind, words)}"
        for kind, words in (("shape", ("Size",)), ("texture", ("Hue", "Hue 1", "Hue 2")))
    ]
    for slider in sliders:
        page.locator(f"{slider} + .strip[src]").wait_for()
    film.take(1000)
    found = next(each for each in answer.value.json()["objects"] if not each["empty"])
    left, top, right, bottom = found["box"]
    box, pixels = page.locator("#overlay").bounding_box(), page.evaluate("document.getElementById('picture').width")
    assert box
    x, y = (
        box[side] + middle * box["width"] / pixels for side, middle in (("x", (left + right) / 2), ("y", (top + bottom) / 2))
    )
    away = 1 if x < box["x"] + box["width"] / 2 else -1
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(1, 6):
        page.mouse.move(x + away * step * box["width"] / 40, y)
        film.take()
    page.mouse.up()
    film.take(700)
    for name in sliders:
        slider = page.locator(name)
        slider.scroll_into_view_if_needed()
        start = float(slider.input_value())
        for step in range(1, 7):
            value = start + (1.5 if start < 0 else -1.5) * step / 6
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
