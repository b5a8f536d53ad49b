import base64
import dataclasses
import io
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.errors import InputError
from intarsia.evaluation import evaluate_run
from intarsia.evaluation.curves import HEIGHT, POINTS, WIDTH, curve, curves
from intarsia.evaluation.embedded import animation, still
from intarsia.evaluation.means import number
from intarsia.evaluation.page import TEMPLATES
from intarsia.evaluation.report import report
from intarsia.model import Model
from intarsia.recipes.file import save_recipe
from intarsia.recipes.settings import Fusion, Inpainter, Recipe, Segmenter, Vae, Vaes
from intarsia.shapes import one_hot
from intarsia.weights import shipped
from tests.trained import write_progress

TINY = Recipe(
    "multi_dsprites",
    seed=6,
    inpainter=Inpainter(channels=2),
    segmenter=Segmenter(channels=8, dimension=4),
    vae=Vae(channels=4, hidden=16, window=0, shape_dimension=3, texture_dimension=2),
    fusion=Fusion(channels=4),
    vaes=Vaes(steps=5),
)
MACROS = TEMPLATES.get_template("macros.html").module
VOID = {"meta", "img", "source", "line", "path", "br"}


class Page(HTMLParser):
    """A parser that checks that all tags are closed, and keeps tags, texts and the addresses of loaded files."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.texts, self.loaded = list[str](), list[str](), list[str](), list[str]()
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "srcset", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(" ".join(data.split()))  # as browsers show it


def opened(data: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data.partition("base64,")[2])))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluated run with a trained stage vaes and a log of three steps."""
    run = tmp_path_factory.mktemp("runs") / "a <b> run"
    Model(TINY).save(run / "vaes")
    save_recipe(TINY, run / "recipe.json")
    lines = [
        {"step": step, "seconds": 60.0 * step, "loss": 3.0 / step, "psnr": None if step == 1 else 9.5} for step in (1, 2, 3)
    ]
    write_progress(run / "vaes", lines)
    (run / "machine.json").write_text(json.dumps({"processor": "Abacus & Sons", "threads": 1}))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Model, "masks", by_brightness)  # an untrained segmenter finds no object whose codes could be scored
        evaluate_run(run, run, scenes=20)
    return run


def by_brightness(model: Model, images: torch.Tensor, chunk: int = 50) -> torch.Tensor:
    return one_hot((images.mean(1) * TINY.segments).long().clamp(max=TINY.segments - 1), TINY.segments)


@pytest.fixture
def run(evaluated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(evaluated, tmp_path / evaluated.name))


def test_the_page_is_complete_and_needs_no_other_file(run: Path) -> None:
    scores = json.loads((run / "scores.json").read_text())
    path = report(run, run)
    assert path == run / "report.html" and path.stat().st_size < 6e6
    page = Page(path.read_text())
    assert "script" not in page.tags and "link" not in page.tags
    assert page.loaded and all(address.startswith("data:image/") for address in page.loaded)
    assert "url(" not in path.read_text() and "@import" not in path.read_text()
    text = " ".join(page.texts)
    for shown in (
        "multi_dsprites, seed 6",
        "Abacus & Sons",
        "a <b> run",
        "3 steps in 3.0 minutes on 1 thread",
        "--vae.hidden 16",
    ):
        assert shown in text
    for name in ("fg_ari", "miou", "psnr", "ssim", "ari", "mbo_objects"):
        assert number(scores["figures"][name], 2 if name == "psnr" else 3) in text
    assert all(f"Scene {index}" in text for indices in scores["examples"].values() for index in indices)
    assert "No number does" in text and "angle sin" in text and "shape_gamma" in text


def test_pictures_and_animations_of_the_page(run: Path) -> None:
    stills = [opened(data) for data in Page(report(run, run).read_text()).loaded if data.startswith("data:image/png")]
    moving = [opened(data) for data in Page(report(run, run).read_text()).loaded if data.startswith("data:image/webp")]
    assert all(image.size == (64, 64) for image in stills + moving)
    assert len(stills) == 12 * 4 + len(moving)  # image, truth, found, rendered of each scene; and a still of each animation
    assert moving and any(image.n_frames > 1 for image in moving)


def test_changes_of_numbers_and_the_baseline_are_shown(run: Path) -> None:
    scores = json.loads((run / "scores.json").read_text())
    scores["codes"]["numbers"][1] |= {"nats": 2.34, "locality": 0.876, "locality_composited": 0.987, "others_moved": 0.123}
    (run / "scores.json").write_text(json.dumps(scores))
    baseline = {"figures": {"locality": 0.321}, "code_length": 25, "steps": 1234, "test_images": 200}
    (run / "whole_image_vae.json").write_text(json.dumps(baseline | {"weights_sha256": scores["weights_sha256"]}))
    text = " ".join(Page(report(run, run).read_text()).texts)
    for shown in ("shape 1", "2.34", "0.876", "0.987", "0.123", "whole-image VAE", "0.321", "25 numbers", "1,234 steps"):
        assert shown in text


def test_a_run_without_codes(run: Path) -> None:
    (run / "vaes").rename(run / "separation")
    evaluate_run(run, run, scenes=10)
    page = Page(report(run, run).read_text())
    assert "Objects as codes" not in page.texts and "picture" not in page.tags
    assert len(page.loaded) == 12 * 3


def test_a_shipped_model_says_how_it_was_trained(tmp_path: Path) -> None:
    path = report(Path("multi_texture_pair"), tmp_path)
    assert path == tmp_path / "report.html"
    text = " ".join(Page(path.read_text()).texts)
    trained = json.loads((shipped()["multi_texture_pair"] / "training.json").read_text())
    assert trained["command"] in text and trained["processor"] in text
    assert f"{trained['steps']:,} steps in {trained['minutes']:.1f} minutes on 1 thread" in text
    assert "Scored on 6,560 test scenes" in text and "Objects as codes" in text


def test_own_images_without_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, run = tmp_path / "photos", tmp_path / "run"
    photos.mkdir()
    for seed in range(30):
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)).save(photos / f"{seed}.png")
    recipe = dataclasses.replace(TINY, dataset="folder", data_root=str(photos))
    Model(recipe).save(run / "vaes")
    save_recipe(recipe, run / "recipe.json")
    monkeypatch.setattr(Model, "masks", by_brightness)
    page = Page(report(run, run).read_text())
    text = " ".join(page.texts)
    assert "There are no scores" in text and "true segments, found" not in text and "FG-ARI" not in text
    assert "Scene 9" in text and "What the numbers do" in text and "None" not in text
    assert len([data for data in page.loaded if data.startswith("data:image/webp")]) >= 2


def test_a_run_that_was_not_evaluated_as_it_is_has_no_page(run: Path) -> None:
    scores = json.loads((run / "scores.json").read_text())
    (run / "scores.json").write_text(json.dumps({name: value for name, value in scores.items() if name != "examples"}))
    with pytest.raises(InputError, match="is incomplete"):
        report(run, run)
    (run / "scores.json").write_text(json.dumps(scores | {"weights_sha256": "other"}))
    with pytest.raises(InputError, match="is of other weights"):
        report(run, run)
    (run / "scores.json").unlink()
    with pytest.raises(InputError, match="has not been evaluated"):
        report(run, run)
    assert not (run / "report.html").exists()


def test_curve_by_hand() -> None:
    drawn = str(MACROS.curve(curve("psnr", [(10, 1.0), (20, 3.0), (30, 2.0)])))
    top, bottom = 10, HEIGHT - 10
    assert f'd="M0.0 {bottom:.1f} L{WIDTH / 2:.1f} {top:.1f} L{WIDTH:.1f} {(top + bottom) / 2:.1f}"' in drawn
    assert "psnr <b>2</b>" in drawn and ">3</text>" in drawn and ">1</text>" in drawn and "step 30" in drawn
    assert MACROS.curve(curve("a", [(1, 5.0), (2, 5.0)]))  # a constant


def test_long_logs_are_averaged_and_what_is_no_curve_is_left_out() -> None:
    log = [{"step": step, "seconds": 1.0, "loss": float(step % 2), "kl": [1, 2], "warning": None} for step in range(1, 2401)]
    (drawn,) = curves(log)
    assert drawn.path.count("L") == POINTS - 1
    assert "<b>0.5</b>" in MACROS.curve(drawn)
    assert curves([{"step": 1, "seconds": 0.0, "loss": 1.0}]) == []


def test_images_in_the_page_are_the_images() -> None:
    image = torch.rand(3, 8, 12, generator=torch.Generator().manual_seed(0))
    embedded = still(image, 'a "quoted" name')
    pixels = torch.from_numpy(np.array(opened(embedded.src))).permute(2, 0, 1)
    assert torch.equal(pixels, (image * 255).round().byte())
    shown = MACROS.image(embedded)
    assert f'src="{embedded.src}" width="12" height="8"' in shown and "a &#34;quoted&#34; name" in shown
    frames = torch.stack([image, image.flip(2), image.flip(1)])
    assert opened(animation(frames, "moves").src).n_frames == 3


def test_figures_for_people() -> None:
    assert [number(0.12345), number(0.5, 1), number(None)] == ["0.123", "0.5", "–"]


def test_recipe_settings_are_all_there(run: Path) -> None:
    text = " ".join(Page(report(run, run).read_text()).texts)
    for group in (TINY, TINY.separation, TINY.vaes, TINY.inpainting.regions):
        assert all(item.name in text for item in dataclasses.fields(group))
