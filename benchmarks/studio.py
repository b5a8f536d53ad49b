"""Milliseconds from a slider's event to the new picture, in the browser: `python benchmarks/studio.py`.

The page measures the times itself (`edit-to-picture`, User Timing), in Debian's chromium, which shares the cores with the
server. The networks are those of two recipes, untrained, which does not change the times; a hand-written segmenter finds
objects. Each value of a slider is set after the picture of the one before. A drag of 8 pixels is measured, too. The last line
is a JSON object.
"""

import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path
from statistics import median, quantiles

sys.path.insert(0, str(Path(__file__).parent.parent))  # tests/halves.py and tests/studio/serving.py

import torch
import tyro
from playwright.sync_api import Browser, Page, sync_playwright

from intarsia.model import Model
from intarsia.recipes import RECIPES
from intarsia.recipes.settings import Recipe
from intarsia.studio.server import create_app
from tests.halves import Halves
from tests.studio.serving import photo, running

SMALL = RECIPES["multi_dsprites"]["pixels"]
CASES: dict[str, tuple[Recipe, int]] = {  # with the milliseconds that a slider may take
    "64x64": (SMALL, 50),
    "192x256": (dataclasses.replace(RECIPES["flying_animals"]["pixels"], height=192, width=256), 150),
}


class Parted(Halves):
    """`Halves` with more segments, which are empty."""

    def __init__(self, segments: int) -> None:
        super().__init__()
        self.segments = segments

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        halves = super().forward(images)
        empty = halves.new_full((len(images), self.segments - 3, *halves.shape[2:]), -20)
        return torch.cat([halves, empty], 1)


def times(page: Page) -> list[float]:
    found: list[float] = page.evaluate("performance.getEntriesByName('edit-to-picture').map(each => each.duration)")
    page.evaluate("performance.clearMeasures()")
    return found


def slide(page: Page, part: str, count: int) -> list[float]:
    """Milliseconds from each of `count` values of a slider to its picture."""
    slider = page.locator(f"[id^={part}-]").first
    page.wait_for_timeout(3000)  # for the strips, which come when the server is idle
    times(page)
    for value in range(count):
        slider.evaluate("(input, v) => { input.value = v; input.dispatchEvent(new Event('input')); }", value % 40 / 10 - 2)
        page.wait_for_selector("#stage[aria-busy=false]")
        page.wait_for_timeout(20)
    slider.evaluate("input => input.dispatchEvent(new Event('change'))")
    return times(page)


def drag(page: Page) -> list[float]:
    box = page.locator("#overlay").bounding_box()
    assert box
    times(page)
    x, y = box["x"] + box["width"] / 4, box["y"] + box["height"] * 0.8
    for repetition in range(5):
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 8 * box["width"] / 64, y - 5 - repetition)
        page.wait_for_selector("#stage[aria-busy=false]")
        page.mouse.up()
        page.wait_for_selector("#stage[aria-busy=false]")
        page.keyboard.press("Control+z")
        page.wait_for_selector("#stage[aria-busy=false]")
    return times(page)


def measure(browser: Browser, recipe: Recipe, count: int) -> dict[str, list[float]]:
    """The milliseconds of each edit, by kind of edit."""
    model = Model(recipe)
    model.segmenter = Parted(recipe.segments)
    with running(create_app(model)) as port:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("body[data-ready]")
        content = photo(0, (recipe.width, recipe.height))
        page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": content})
        page.wait_for_selector("#objects button")
        found = {"background": slide(page, "background", count)}
        page.locator("#objects button").first.click()
        found |= {"shape": slide(page, "shape", count), "texture": slide(page, "texture", count), "drag": drag(page)}
        page.close()
    return found


def main(count: int = 40, threads: int = 2) -> None:
    """Measure both sizes.

    Args:
        count: The number of values of each slider.
        threads: The server's number of threads.
    """
    torch.set_num_threads(threads)
    figures: dict[str, dict[str, float]] = {}
    print(f"{'':<10}{'':<12}{'median':>8}{'90 %':>8}{'allowed':>9}   ms, {threads} threads, load {os.getloadavg()[0]:.1f}")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for size, (recipe, allowed) in CASES.items():
            for name, found in measure(browser, recipe, count).items():
                if not found:  # an untrained shape may be empty, and can't be dragged then
                    continue
                middle, high = median(found), quantiles(found, n=10)[-1] if len(found) > 1 else found[0]
                figures.setdefault(size, {})[name] = round(middle, 1)
                print(f"{size:<10}{name:<12}{middle:>8.1f}{high:>8.1f}{allowed if name != 'drag' else '':>9}")
    print(json.dumps(figures))


if __name__ == "__main__":
    tyro.cli(main)
