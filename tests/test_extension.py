"""Own networks, losses and scenes by argument, and what installed packages add by entry points."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import intarsia
from intarsia.errors import InputError
from intarsia.recipes.installed import Catalogue
from intarsia.recipes.settings import Recipe, Schedule
from tests.stages.toys import CONTENT, DISCS, ONE_THREAD, TOY, TOYS, log_of

SHORT = dataclasses.replace(
    TOY,
    dataset="toys",
    inpainting=dataclasses.replace(TOY.inpainting, steps=2),
    separation=dataclasses.replace(TOY.separation, steps=6, segmenter_turns=1),
    vaes=dataclasses.replace(TOY.vaes, steps=2),
    end_to_end=dataclasses.replace(TOY.end_to_end, steps=2),
    consistency=dataclasses.replace(TOY.consistency, steps=2),
)
SEARCHED = dataclasses.replace(CONTENT, distillation=dataclasses.replace(CONTENT.distillation, rounds=0))
SCENES = (TOYS, dataclasses.replace(TOYS, size=8))


class Brightness(nn.Module):
    """A segmenter: the brighter a pixel, the more it belongs to the second segment."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("middle", torch.tensor(0.5), persistent=False)  # in no file of weights

    def forward(self, images: Tensor) -> Tensor:
        logits = self.scale * (images.mean(1, keepdim=True) - self.middle)
        return torch.cat([-logits, logits], 1)


class Grey(nn.Module):
    """An inpainter: it guesses one colour that it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.colour = nn.Parameter(torch.full((3, 1, 1), 0.5))

    def forward(self, images: Tensor, hidden: Tensor, edges: Tensor, propagate: bool = True) -> Tensor:
        return self.colour.expand(*hidden.shape[:2], *images.shape[1:])


NAME = f"{__name__}:Brightness"


def test_networks_of_ones_own_are_saved_with_the_others_and_named(tmp_path: Path) -> None:
    own, guesses = Brightness(), Grey()
    model = intarsia.Model(TOY, segmenter=own, inpainter=guesses)
    assert model.segmenter is own and model.inpainter is guesses
    assert (model.recipe.segmenter.network, model.recipe.inpainter.network) == (NAME, f"{__name__}:Grey")
    with torch.no_grad():
        own.scale.fill_(7.0)
        guesses.colour.fill_(0.25)
    model.save(tmp_path)
    loaded = intarsia.load(tmp_path, "cpu", segmenter=Brightness(), inpainter=Grey())
    assert loaded.recipe == model.recipe
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded.segment(images), model.segment(images))
    assert loaded.segmenter.scale == 7 and (loaded.inpainter.colour == 0.25).all() and loaded.segmenter.middle == 0.5
    assert loaded.render(loaded.encode(images[0])).shape == (3, 32, 32)


def test_a_model_says_which_network_it_needs(tmp_path: Path) -> None:
    intarsia.Model(TOY, segmenter=Brightness()).save(tmp_path)
    with pytest.raises(InputError) as error:
        intarsia.load(tmp_path, "cpu")
    assert str(error.value) == (
        f"The model's segmenter is {NAME}, which is not of Intarsia. Install the package {__name__}, or give the network "
        "yourself: load(folder, segmenter=network)."
    )
    with pytest.raises(InputError, match=r"does not fit its recipe: segmenter\.bias is missing"):
        intarsia.load(tmp_path, "cpu", segmenter=nn.Conv2d(3, 2, 1))


def test_training_with_own_scenes_networks_and_loss_resumes(tmp_path: Path) -> None:
    seen = []

    def darkness(images: Tensor, masks: Tensor) -> Tensor:
        seen.append((images.shape, masks.shape))
        return 0 * masks[:, 0].mean((1, 2)) + 0.25

    def train(folder: Path, stage: str | None = None) -> intarsia.Model:
        torch.manual_seed(3)
        given = {"scenes": SCENES, "segmenter": Brightness(), "extra_loss": darkness}
        return intarsia.train(SHORT, str(folder), ONE_THREAD, stage=stage, **given)

    whole = train(tmp_path / "whole")
    train(tmp_path / "parts", stage="inpainting")
    train(tmp_path / "parts", stage="separation")
    parts = train(tmp_path / "parts")
    assert whole.segmenter.scale != 1
    assert all(torch.equal(value, parts.state_dict()[name]) for name, value in whole.state_dict().items())
    assert set(seen) == {((4, 3, 32, 32), (4, 2, 32, 32)), ((8, 3, 32, 32), (8, 2, 32, 32))}
    for stage, turns in {"separation": 3, "end_to_end": 1, "consistency": 1}.items():
        extra = [record["extra_loss"] for record in log_of(tmp_path / "whole" / stage) if "extra_loss" in record]
        assert extra == [0.25] * turns, stage
    with pytest.raises(InputError, match=r"run with other settings \(segmenter\.network is compact here"):
        intarsia.train(SHORT, tmp_path / "whole", ONE_THREAD, scenes=SCENES)


@pytest.mark.parametrize(("stage", "recipe", "scenes"), [("separation", SHORT, TOYS), ("distillation", SEARCHED, DISCS)])
def test_an_extra_loss_is_minimised(stage: str, recipe: Recipe, scenes: intarsia.Scenes, tmp_path: Path) -> None:
    """A loss that pulls towards the last segment makes it larger than training alone does."""
    fast = {"learning_rate": Schedule(1e-2, warmup_steps=0), "ema_decay": 0.0}
    recipe = dataclasses.replace(
        recipe,
        dataset="toys",
        inpainting=dataclasses.replace(recipe.inpainting, steps=2),
        vaes=dataclasses.replace(recipe.vaes, steps=0),
        **{stage: dataclasses.replace(getattr(recipe, stage), steps=16, **fast)},
    )

    def last_segment(name: str, extra_loss: Callable[[Tensor, Tensor], Tensor] | None) -> float:
        few = (scenes, dataclasses.replace(scenes, size=8))
        model = intarsia.train(recipe, tmp_path / name, ONE_THREAD, scenes=few, extra_loss=extra_loss)
        assert (tmp_path / name / stage).is_dir()
        return float(model.masks(scenes(range(8)).images)[:, -1].mean())

    pulled = last_segment("pulled", lambda images, masks: 50 * (1 - masks[:, -1].mean()))
    assert pulled > last_segment("alone", None) + 0.01


def test_a_run_with_own_networks_does_not_start_from_another_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't start from multi_dsprites: load its weights into them yourself"):
        intarsia.train(SHORT, tmp_path / "run", segmenter=Brightness(), start=Path("multi_dsprites"), scenes=SCENES)
    assert not (tmp_path / "run").exists()


# Entry points.


def install(folder: Path, package: str, entry_points: str, module: str = "") -> None:
    """Put a package with one module of its own name into a folder, as an installer would."""
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points)
    if module:
        (folder / f"{package}.py").write_text(module)


def test_a_catalogue_holds_its_own_things_then_those_of_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "wordy", "[things]\nb = wordy:B\na = wordy:B\nc = wordy:C\ngone = wordy:D\n", "B = 'theirs'\nC = 3\n")
    install(tmp_path, "rival", "[things]\nd = rival:D\n")
    install(tmp_path, "second", "[things]\nd = second:D\n")
    monkeypatch.syspath_prepend(tmp_path)
    things = Catalogue("things", str, {"a": "ours"})
    assert sorted(things) == ["a", "b", "c", "d", "gone"] and len(things) == 5 and next(iter(things)) == "a"
    assert "wordy" not in sys.modules
    assert (things["a"], things["b"]) == ("ours", "theirs")
    with pytest.raises(KeyError):
        things["e"]
    with pytest.raises(InputError, match=r"^wordy adds 'c' to things, but wordy:C is no str but a int\.$"):
        things["c"]
    with pytest.raises(InputError, match=r"^wordy adds 'gone' to things, but wordy:D can't be loaded: .*no attribute 'D'\.$"):
        things["gone"]
    with pytest.raises(InputError, match=r"^(rival and second|second and rival) both add 'd' to things; uninstall one"):
        things["d"]


def test_a_network_of_a_package_is_built_for_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = (
        f"from {__name__} import Brightness\ndef make(recipe): return Brightness()\ndef odd(recipe): return recipe.height\n"
    )
    install(tmp_path / "site", "glow", "[intarsia.networks]\nlight = glow:make\nodd = glow:odd\n", module)

    def named(name: str) -> Recipe:
        return dataclasses.replace(TOY, segmenter=dataclasses.replace(TOY.segmenter, network=name))

    with pytest.raises(InputError, match=r"segmenter is glow:light, which is not of Intarsia\. Install the package glow"):
        intarsia.Model(named("glow:light"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    model = intarsia.Model(named("glow:light"))
    assert isinstance(model.segmenter, Brightness) and model.recipe == named("glow:light")
    model.save(tmp_path / "model")
    loaded = intarsia.load(tmp_path / "model", "cpu").segmenter
    assert isinstance(loaded, Brightness) and loaded.middle == 0.5
    assert intarsia.Model(named("glow:light"), segmenter=Brightness()).recipe == model.recipe
    with pytest.raises(InputError, match="The segmenter glow:odd is no PyTorch module but a int"):
        intarsia.Model(named("glow:odd"))


def test_a_broken_package_is_named_and_the_command_line_works(tmp_path: Path) -> None:
    install(tmp_path, "broken", "[intarsia.recipes]\nx/y = broken:RECIPE\n", "import nothing_of_this_name\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-m", "intarsia", "train", "--help"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ended.stderr == (
        "intarsia: broken adds 'x/y' to intarsia.recipes, but broken:RECIPE can't be loaded: "
        "No module named 'nothing_of_this_name'.\n"
    )
    assert "multi_dsprites/compact" in ended.stdout and "x/y" not in ended.stdout
