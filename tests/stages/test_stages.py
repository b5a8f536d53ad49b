import dataclasses
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Generator, Tensor

from intarsia.data import open_dataset, scenes_of
from intarsia.data.scenes import SceneSample
from intarsia.engine import CHECKPOINT, LOG, Run, finished, start_fabric
from intarsia.errors import InputError
from intarsia.masks import normalise_contrast
from intarsia.metrics import best_overlap_iou, psnr
from intarsia.model import Model
from intarsia.networks.tensorflow import BatchNorm
from intarsia.objectives import hidden_error
from intarsia.recipes.file import load_recipe, save_recipe
from intarsia.recipes.options import Options
from intarsia.recipes.settings import (
    Consistency,
    EndToEnd,
    Fusion,
    Inpainter,
    Inpainting,
    Recipe,
    Regions,
    Regrouping,
    Segmenter,
    Separation,
    Vae,
    Vaes,
)
from intarsia.stages import STAGES, train
from intarsia.stages.consistency import consistency, error_of_changes
from intarsia.stages.end_to_end import description_of, end_to_end
from intarsia.stages.inpainting import inpainting, random_regions, set_learning_rate
from intarsia.stages.regions import boxes
from intarsia.stages.separation import epsilon_at, follow, hardened, hidden_regions, play, propose, segment_scores, separation
from intarsia.stages.vaes import capacity_at, price_at, ramp_at, vaes
from intarsia.weights import RECIPE, WEIGHTS

ROOT = Path(__file__).parents[2]
ONE_THREAD = Options(precision="32-true", accelerator="cpu", threads=1, save_every=7, show_every=1000)

# Regrouping takes part from the first step: whatever has a state has to survive.
TINY = Recipe(
    "multi_dsprites",
    edge_threshold=1e-4,
    inpainter=Inpainter(channels=4),
    segmenter=Segmenter(channels=8, dimension=4),
    vae=Vae(texture_dimension=2, shape_dimension=3, background_dimension=2, channels=4, hidden=8, window=0),
    fusion=Fusion(channels=3),
    inpainting=Inpainting(steps=100, batch=4, warmup_steps=10, propagation_fraction=0.5),
    separation=Separation(
        steps=100,
        batch=4,
        sampled_segments=2,
        epsilon_hold_steps=20,
        epsilon_ramp_steps=50,
        hard_from_step=6,
        propagation_from_step=9,
        regrouping=Regrouping(from_step=0, tolerance=1000.0),
    ),
    vaes=Vaes(steps=20, batch=4, warmup_steps=10, beta_ramp_steps=50, capacity_ramp_steps=50, max_shift=10.0),
    end_to_end=EndToEnd(steps=20, batch=4, warmup_steps=10),
    consistency=Consistency(steps=20, batch=4, variations=2, canonical=True),
)

# Each process of several runs it from the start; the last line tells what each of them ends with.
PROGRAM = """
import os, sys
from pathlib import Path
from intarsia.recipes.options import Options
from intarsia.recipes.file import load_recipe
from intarsia.stages import train

recipe, folder, devices, show_every = sys.argv[1:]
options = Options(
    precision="32-true", accelerator="cpu", devices=int(devices), threads=1, save_every=7, show_every=int(show_every)
)
model = train(load_recipe(Path(recipe)), Path(folder), options)
model.save(Path(f"{folder}-process-{os.environ.get('LOCAL_RANK', 0)}"))
"""


def log_of(stage_folder: Path) -> list[dict]:
    return [json.loads(line) for line in (stage_folder / LOG).read_text().splitlines()]


def assert_same_weights(first: Path, second: Path) -> None:
    one, other = Model.load(first).state_dict(), Model.load(second).state_dict()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different


def assert_same_state(first: object, second: object, name: str = "") -> None:
    """Compare checkpoints to the last bit; time spent aside."""
    if isinstance(first, dict):
        assert first.keys() == second.keys(), name
        for key in first.keys() - {"seconds"}:
            assert_same_state(first[key], second[key], f"{name}/{key}")
    elif isinstance(first, Tensor):
        assert torch.equal(first, second), name
    else:
        assert first == second, name


def start(folder: Path, recipe: Recipe, *, devices: int = 1, show_every: int = 1000) -> subprocess.Popen:
    program, settings = folder.parent / "program.py", folder.parent / f"{folder.name}.json"
    program.write_text(PROGRAM)
    save_recipe(recipe, settings)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, program, settings, folder, str(devices), str(show_every)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def stop(folder: Path, stage: str, after_steps: int, number: signal.Signals, pause: float = 0.0) -> int:
    """Train in a process of its own, send it a signal once the log has so many steps, and return how it ended."""
    process = start(folder, TINY)
    log, deadline = folder / stage / LOG, time.monotonic() + 90
    while not (log.is_file() and len(log.read_text().splitlines()) >= after_steps):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.005)
    time.sleep(pause)
    process.send_signal(number)
    process.communicate(timeout=60)
    return process.returncode


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    train(TINY, folder, dataclasses.replace(ONE_THREAD, save_every=1000))
    return folder


def test_stopped_by_kill_and_ctrl_c_and_resumed_the_weights_are_bitwise_the_same(unbroken, tmp_path):
    folder, chance = tmp_path / "run", random.Random()
    moments = [chance.randint(5, 90), chance.randint(5, 45), chance.randint(60, 90), *(chance.randint(2, 12) for _ in range(2))]
    pause = chance.random() * 0.1
    print(
        f"stopped in inpainting after {moments[0]} steps, in separation after {moments[1:3]}, in vaes after {moments[3]}, "
        f"in end_to_end after {moments[4]}, {pause:.4f} s into the next step"
    )

    assert stop(folder, "inpainting", moments[0], signal.SIGKILL, pause) == -signal.SIGKILL
    assert not finished(folder / "inpainting", TINY.inpainting.steps)
    assert stop(folder, "separation", moments[1], signal.SIGINT, pause) == -signal.SIGINT
    step = torch.load(folder / "separation" / CHECKPOINT)["step"]
    assert step == log_of(folder / "separation")[-1]["step"] >= moments[1]  # Ctrl-C loses no step
    assert stop(folder, "separation", moments[2], signal.SIGKILL, pause) == -signal.SIGKILL
    assert stop(folder, "vaes", moments[3], signal.SIGKILL, pause) == -signal.SIGKILL
    assert stop(folder, "end_to_end", moments[4], signal.SIGKILL, pause) == -signal.SIGKILL
    train(TINY, folder, ONE_THREAD)

    for stage in STAGES:
        assert_same_weights(folder / stage, unbroken / stage)
        assert_same_state(torch.load(folder / stage / CHECKPOINT), torch.load(unbroken / stage / CHECKPOINT))
        trimmed = [
            [{k: v for k, v in line.items() if k != "seconds"} for line in log_of(run / stage)] for run in (folder, unbroken)
        ]
        assert trimmed[0] == trimmed[1]
        assert not [path for path in (folder / stage).iterdir() if path.name.startswith(".")]


def test_regrouping_took_part(tmp_path):
    """What the test above relies on: without it, the end differs."""
    ends = []
    for name, regrouping in {"with": TINY.separation.regrouping, "without": Regrouping(weight=0.0)}.items():
        model = Model(
            dataclasses.replace(TINY, separation=dataclasses.replace(TINY.separation, steps=12, regrouping=regrouping))
        )
        separation(model, Run(tmp_path / name / "separation", start_fabric(ONE_THREAD), ONE_THREAD, 0))
        ends.append(model.segmenter.state_dict())
    assert any(not torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_complete_run_is_read_not_trained(unbroken):
    before = {path: path.stat().st_mtime_ns for path in unbroken.rglob("*") if path.is_file()}
    model = train(TINY, unbroken, ONE_THREAD)
    assert {path: path.stat().st_mtime_ns for path in unbroken.rglob("*") if path.is_file()} == before
    expected = Model.load(unbroken / "consistency").state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_every_folder_holds_what_others_read(unbroken):
    assert load_recipe(unbroken / RECIPE) == TINY
    for stage in STAGES:
        assert {RECIPE, WEIGHTS, CHECKPOINT, LOG} <= {path.name for path in (unbroken / stage).iterdir()}
        assert [line["step"] for line in log_of(unbroken / stage)] == list(range(1, getattr(TINY, stage).steps + 1))
    names = {name for line in log_of(unbroken / "separation") for name in line}
    assert {"step", "seconds", "inpainting_loss", "separation_loss"} <= names


def test_separation_starts_from_the_inpainter_of_stage_one_and_leaves_it_there(unbroken):
    first, second = Model.load(unbroken / "inpainting"), Model.load(unbroken / "separation")
    initial, trained = Model(TINY).segmenter.state_dict(), second.segmenter.state_dict()
    assert all(torch.equal(first.segmenter.state_dict()[name], value) for name, value in initial.items())  # not in stage 1
    assert not any(torch.equal(trained[name], value) for name, value in initial.items() if value.dim() == 4)


LOSSES = {"loss", "inpainting_loss", "separation_loss", "box_error", "shape_error", "texture_error", "scene_error"}
LOSSES |= {"description_loss"}


def test_two_processes_give_the_losses_of_one_with_the_double_batch(tmp_path):
    """Step by step over 20 steps of each stage, to 1e-3 of the loss: rounding differs and Adam enlarges it."""
    recipe = dataclasses.replace(
        TINY,
        inpainting=dataclasses.replace(TINY.inpainting, steps=20),
        separation=dataclasses.replace(TINY.separation, steps=20),
        vaes=dataclasses.replace(TINY.vaes, steps=20),
        end_to_end=dataclasses.replace(TINY.end_to_end, steps=20),
        consistency=dataclasses.replace(TINY.consistency, steps=20),
    )
    both = tmp_path / "both"
    process = start(both, recipe, devices=2, show_every=10)
    train(recipe, tmp_path / "one", dataclasses.replace(ONE_THREAD, show_every=10))
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    worst = 0.0
    for stage in STAGES:
        one, two = log_of(tmp_path / "one" / stage), log_of(both / stage)
        assert len(one) == len(two) == 20
        for expected, found in zip(one, two, strict=True):
            assert found.keys() == expected.keys()
            for name in expected.keys() & LOSSES:
                worst = max(worst, abs(found[name] / expected[name] - 1))
                assert found[name] == pytest.approx(expected[name], rel=1e-3), (stage, expected["step"], name)
        assert {"box_error", "iou", "psnr"} & two[9].keys()  # the first process validates while the other waits
    print(f"largest relative difference {worst:.1e}")
    assert_same_weights(tmp_path / "both-process-0", tmp_path / "both-process-1")


def test_batch_must_be_shared_evenly(tmp_path):
    with pytest.raises(InputError, match=r"inpainting\.batch is 4; it must be a multiple of the 3 processes"):
        train(TINY, tmp_path / "run", Options(devices=3, accelerator="cpu"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_folder_of_another_recipe_is_left_alone(unbroken):
    before = files(unbroken)
    for other in (dataclasses.replace(TINY, seed=1), dataclasses.replace(TINY, inpainting=Inpainting(steps=101, batch=4))):
        with pytest.raises(
            InputError, match=r"holds a run with other settings \((seed is 1 here, 0 there|inpainting is .*)\)"
        ) as caught:
            train(other, unbroken, ONE_THREAD)
        assert "\n" not in str(caught.value)
    assert files(unbroken) == before


@pytest.mark.parametrize("name", ["notes.txt", "inpainting/checkpoint.pt", ".hidden"])
def test_folder_with_foreign_files_is_left_alone(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="exists and is not a run; give a new or empty folder"):
        train(TINY, tmp_path, ONE_THREAD)
    assert files(tmp_path) == {name: b"mine"}


def test_a_file_in_place_of_the_folder_is_left_alone(tmp_path):
    path = tmp_path / "run"
    path.write_text("mine")
    with pytest.raises(InputError, match="exists and is not a run"):
        train(TINY, path, ONE_THREAD)
    with pytest.raises(InputError, match="Can't make the folder"):
        train(TINY, path / "below", ONE_THREAD)
    assert path.read_text() == "mine"


def test_killed_before_the_recipe_had_its_name(tmp_path):
    (tmp_path / f".{RECIPE}.123.unfinished").write_text("{")
    short = dataclasses.replace(
        TINY,
        inpainting=dataclasses.replace(TINY.inpainting, steps=1),
        separation=dataclasses.replace(TINY.separation, steps=1),
        vaes=dataclasses.replace(TINY.vaes, steps=1),
        end_to_end=dataclasses.replace(TINY.end_to_end, steps=1),
    )
    train(short, tmp_path, ONE_THREAD)
    assert load_recipe(tmp_path / RECIPE) == short


@pytest.mark.parametrize("spoilt", [CHECKPOINT, WEIGHTS])
def test_a_stage_that_is_corrupt(unbroken, tmp_path, spoilt):
    for name, content in files(unbroken).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    path = tmp_path / "inpainting" / spoilt
    path.write_bytes(path.read_bytes()[:-100])
    before = files(tmp_path)
    with pytest.raises(InputError, match=f"inpainting.{spoilt} is corrupt") as caught:
        train(TINY, tmp_path, ONE_THREAD)
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == before


def test_learning_rate_rises_and_falls():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))])
    rates = []
    for step in range(1000):
        set_learning_rate(optimizer, 1.0, step, 1000, 100)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(0.01)
    assert rates[49] == pytest.approx(0.5 * 0.5 * (1 + math.cos(math.pi * 0.049)))
    assert rates[500] == pytest.approx(0.5)
    assert rates[999] < 1e-5
    assert max(rates) <= 1 and rates.index(max(rates)) in (98, 99)


def test_epsilon_is_held_then_rises_then_falls():
    settings = Separation(
        steps=1100, epsilon_start=30.0, epsilon=330.0, epsilon_end=130.0, epsilon_hold_steps=100, epsilon_ramp_steps=200
    )
    assert [epsilon_at(step, settings) for step in (0, 100, 200, 300, 700, 1100)] == [30, 30, 180, 330, 230, 130]
    at_once = dataclasses.replace(settings, epsilon_hold_steps=0, epsilon_ramp_steps=0)
    assert [epsilon_at(step, at_once) for step in (0, 550)] == [330, 230]
    short = dataclasses.replace(settings, steps=200)
    assert epsilon_at(199, short) == pytest.approx(178.5)


@pytest.mark.parametrize("kind", [item.name for item in dataclasses.fields(Regions)])
def test_every_kind_of_region_can_be_asked_for(kind):
    none = dict.fromkeys((item.name for item in dataclasses.fields(Regions)), 0.0)
    recipe = dataclasses.replace(TINY, inpainting=Inpainting(regions=Regions(**none | {kind: 1.0})))
    hidden = random_regions(4, recipe, Generator().manual_seed(0))
    assert hidden.shape[0] == 4 and hidden.shape[2:] == (TINY.height, TINY.width)
    assert torch.allclose(hidden.sum(1), torch.ones(4, TINY.height, TINY.width), atol=1e-5)


def test_hardened_masks_are_one_hot_with_the_gradient_of_the_soft():
    logits = torch.randn(2, 4, 5, 6, generator=Generator().manual_seed(0))
    weights = torch.randn(2, 4, 5, 6, generator=Generator().manual_seed(1))
    one, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    masks = hardened(one)
    assert (masks == 1).sum(1).eq(1).all() and (masks == 0).sum(1).eq(3).all()
    assert torch.equal(masks.argmax(1), logits.argmax(1))
    (masks * weights).sum().backward()
    (other.softmax(1) * weights).sum().backward()
    assert other.grad.abs().max() > 0.1
    torch.testing.assert_close(one.grad, other.grad)


def test_the_inpainter_sees_hard_masks_from_their_step_on(tmp_path, monkeypatch):
    settings = dataclasses.replace(TINY.separation, steps=12, hard_from_step=6, regrouping=Regrouping(weight=0.0))
    confidences = []

    def watched(*given, margin):
        confidences.append(float(given[-1].detach().amax(1).mean()))
        assert given[-1].requires_grad
        return play(*given, margin=margin)

    monkeypatch.setitem(separation.__globals__, "play", watched)
    recipe = dataclasses.replace(TINY, separation=settings)
    separation(Model(recipe), Run(tmp_path / "separation", start_fabric(ONE_THREAD), ONE_THREAD, 0))
    assert [confidence > 0.9999 for confidence in confidences] == 4 * [False] + 4 * [True]  # two turns of every three steps


def test_the_inpainter_gets_stronger_at_its_step(tmp_path):
    settings = dataclasses.replace(TINY.separation, steps=6, propagation_from_step=3, regrouping=Regrouping(weight=0.0))
    recipe = dataclasses.replace(TINY, inpainter=dataclasses.replace(TINY.inpainter, patches=4), separation=settings)
    model, seen = Model(recipe), []
    model.inpainter.register_forward_pre_hook(lambda _, given: seen.extend(given[3:]))
    separation(model, Run(tmp_path / "separation", start_fabric(ONE_THREAD), ONE_THREAD, 0))
    assert seen == [False] * 3 + [True] * 3


def test_the_inpainter_practises_for_later(tmp_path):
    settings = dataclasses.replace(
        TINY.separation, steps=6, propagation_from_step=5, propagation_practice=1.0, regrouping=Regrouping(weight=0.0)
    )
    model, seen = Model(dataclasses.replace(TINY, separation=settings)), []
    model.inpainter.register_forward_pre_hook(lambda _, given: seen.extend(given[3:]))
    separation(model, Run(tmp_path / "separation", start_fabric(ONE_THREAD), ONE_THREAD, 0))
    assert seen == [True, False, False, True, False, True]  # its own turn, then two of the segmenter's; all from step 5 on


@torch.no_grad()
def test_what_lies_in_the_margin_is_not_seen():
    model, generator = Model(TINY), Generator().manual_seed(0)
    images = torch.rand(1, 3, TINY.height, TINY.width, generator=generator)
    edges, box = model.edges(images), torch.zeros(1, 1, TINY.height, TINY.width)
    box[..., 4:10, 4:10] = 1
    other = images.clone()
    other[..., 3:11, 3:11] = torch.where(box[..., 3:11, 3:11] > 0, images[..., 3:11, 3:11], 1 - images[..., 3:11, 3:11])
    for margin, blind in ((0, False), (1, True)):
        losses = [play(model.inpainter, seen, edges, 30.0, True, box, margin=margin) for seen in (images, other)]
        assert torch.equal(*losses) == blind


def test_the_margin_goes_when_the_inpainter_gets_stronger(tmp_path):
    settings = dataclasses.replace(
        TINY.separation,
        steps=6,
        propagation_from_step=3,
        margin=1,
        random_region_fraction=0.0,
        regrouping=Regrouping(weight=0.0),
    )
    model, overlaps, k = Model(dataclasses.replace(TINY, separation=settings)), [], TINY.segments
    model.inpainter.register_forward_pre_hook(lambda _, given: overlaps.append(float(given[1][:, :k].sum(1).max().detach())))
    separation(model, Run(tmp_path / "separation", start_fabric(ONE_THREAD), ONE_THREAD, 0))
    assert min(overlaps[1:3]) > 1.001 and max(overlaps[4:6]) < 1.0001  # the segmenter's turns, all segments


def test_the_inpainter_practises_halves(tmp_path):
    """The same segments are drawn with and without; cut, they lose some of themselves, and nothing else."""
    found = []
    for split_fraction in (0.0, 1.0):
        recipe = dataclasses.replace(
            TINY, separation=dataclasses.replace(TINY.separation, random_region_fraction=0.0, split_fraction=split_fraction)
        )
        model, images = Model(recipe), torch.rand(4, 3, TINY.height, TINY.width, generator=Generator().manual_seed(0))
        found.append(hidden_regions(model.segmenter, images, recipe, 4, slice(None), Generator().manual_seed(1)))
    whole, half = found
    assert torch.equal(half, torch.where(half > 0, whole, 0))
    assert 0.2 < float(half.sum() / whole.sum()) < 0.8
    shared = hidden_regions(model.segmenter, images[2:], recipe, 4, slice(2, 4), Generator().manual_seed(1))
    torch.testing.assert_close(shared, half[2:])  # as the second of two processes would cut them


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, {False}), (0.5, {False, True}), (1.0, {True})])
def test_the_inpainter_practises_with_and_without_propagated_colours(tmp_path, fraction, expected):
    recipe = dataclasses.replace(TINY, inpainting=dataclasses.replace(TINY.inpainting, steps=12, propagation_fraction=fraction))
    model, seen = Model(recipe), []
    model.inpainter.register_forward_pre_hook(lambda _, given: seen.extend(given[3:]))
    inpainting(model, Run(tmp_path / "inpainting", start_fabric(ONE_THREAD), ONE_THREAD, 0))
    assert set(seen) == expected


def test_the_better_proposal_is_taken_for_each_image():
    rows = torch.zeros(2, 8, 8, dtype=torch.int64)
    rows[:, 2:6, 1:4], rows[:, 2:6, 4:7] = 1, 2  # two objects that touch
    logits = 5 * torch.nn.functional.one_hot(rows, 3).permute(0, 3, 1, 2).float()
    losses = iter([torch.tensor([1.0, 0.0]), torch.tensor([0.5, 2.0])])  # of whole pieces, then of pieces by segment
    labels, promise = propose(lambda _: logits, torch.rand(2, 3, 8, 8), lambda _: next(losses), 12, False)
    assert torch.equal(labels[0], rows[0])  # by segment
    assert labels[1].unique().numel() == 2  # whole: one piece
    assert promise.tolist() == [0.5, 0.0]


def test_no_part_of_a_background_scores_as_an_object(tmp_path, monkeypatch):
    scenes = dataclasses.replace(scenes_of(TINY, "val", seed=0), backgrounds=2)
    monkeypatch.setitem(segment_scores.__globals__, "scenes_of", lambda *_, **__: scenes)
    model, masks = Model(TINY), scenes.first(200).masks.clone()
    masks[:, 0] += masks[:, 1]  # all is found, but the background's two parts are one
    masks[:, 1] = 0
    monkeypatch.setattr(model, "segment", lambda _: masks)
    scores = segment_scores(model, Run(tmp_path / "separation", start_fabric(ONE_THREAD), ONE_THREAD, 0), 0)
    assert scores["fg_ari"] == 1 > scores["ari"]


def test_the_average_starts_as_a_mean_and_follows():
    average, player = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    torch.nn.init.constant_(player.weight, 3.0)
    follow(average, player, 0.995, 0)
    assert average.weight.item() == 3.0  # the first has no past
    torch.nn.init.constant_(player.weight, 6.0)
    follow(average, player, 0.995, 10**6)
    assert average.weight.item() == pytest.approx(3.015)


def test_the_average_takes_over_statistics_as_they_are():
    average, player = BatchNorm(2), BatchNorm(2)
    player(torch.arange(8.0).view(1, 2, 2, 2))
    follow(average, player, 0.995, 10**6)
    assert average.mean.any() and torch.equal(average.mean, player.mean) and torch.equal(average.variance, player.variance)


# Learning. Large enough to learn in seconds, small enough to fail if gradients, signs or turns are wrong.
LEARNS = Recipe(
    "multi_texture",
    inpainter=Inpainter(channels=8),
    segmenter=Segmenter(channels=16, dimension=8),
    inpainting=Inpainting(steps=100, batch=6, warmup_steps=10, learning_rate=2e-3),
    separation=Separation(
        steps=90,
        batch=6,
        segmenter_learning_rate=2e-3,
        warmup_steps=5,
        epsilon_start=30.0,
        epsilon=30.0,
        ema_decay=0.9,
    ),
)


@pytest.fixture(scope="module")
def scenes():
    return open_dataset(LEARNS.dataset, 0, "val")(range(32)).images


@pytest.fixture(scope="module")
def inpainted(tmp_path_factory) -> Model:
    model = Model(LEARNS)
    inpainting(model, Run(tmp_path_factory.mktemp("learns") / "inpainting", start_fabric(ONE_THREAD), ONE_THREAD, 0))
    return model


@torch.no_grad()
def box_error(model: Model, images: Tensor) -> float:
    """Mean absolute error inside random boxes."""
    hidden = boxes(len(images), *images.shape[2:], Generator().manual_seed(0))[:, :1]
    return float(hidden_error(images, hidden, model.inpainter(images, hidden, model.edges(images))).sum() / hidden.sum() / 3)


@torch.no_grad()
def separation_of(model: Model, inpainter: torch.nn.Module, images: Tensor) -> float:
    return float(play(inpainter, images, model.edges(images), 30.0, True, model.segment(images)).mean())


def test_inpainting_learns(inpainted, scenes):
    before, after = box_error(Model(LEARNS), scenes), box_error(inpainted, scenes)
    best_constant = float((scenes - scenes.mean((0, 2, 3), keepdim=True)).abs().mean())
    print(f"error in boxes: {before:.3f} before, {after:.3f} after; the mean colour of all images has {best_constant:.3f}")
    assert after < 0.7 * before
    assert after < 0.85 * best_constant  # so it looks at the image


def test_separation_learns(inpainted, scenes, tmp_path):
    model = Model(LEARNS)
    model.load_state_dict(inpainted.state_dict())
    separation(model, Run(tmp_path / "separation", start_fabric(ONE_THREAD), ONE_THREAD, 0))
    # Either inpainter judges: the segmenter of the end against that of the start.
    for judge in (inpainted, model):
        before, after = (separation_of(player, judge.inpainter, scenes) for player in (inpainted, model))
        print(f"separation loss: {before:.3f} before, {after:.3f} after")
        assert after < before - 0.15
    # The inpainter keeps learning too, and does not forget boxes.
    assert any(
        not torch.equal(a, b) for a, b in zip(inpainted.inpainter.parameters(), model.inpainter.parameters(), strict=True)
    )
    assert box_error(model, scenes) < 1.2 * box_error(inpainted, scenes)


def test_stages_of_codes_work_on_smaller_images(tmp_path):
    """Stretched images and opened masks, thinned; in stage 4, the segmenter learns from every second pixel's description."""
    sizes = dataclasses.replace(TINY.vae, downsampling=2, normalise_contrast=True)
    recipe = dataclasses.replace(
        TINY,
        vae=sizes,
        vaes=dataclasses.replace(TINY.vaes, steps=2),
        consistency=Consistency(steps=0),
        end_to_end=EndToEnd(2, 4),
    )
    model, seen = Model(recipe), []
    model.autoencoder.register_forward_pre_hook(lambda _, given: seen.append(given[:2]))
    images = open_dataset(recipe.dataset, 0, "train")(range(4)).images
    clean = model.eval().ordered(model.segmenter(images).softmax(1))
    vaes(model, Run(tmp_path / "vaes", start_fabric(ONE_THREAD), ONE_THREAD, 0))
    assert torch.equal(seen[0][0], normalise_contrast(images)[..., ::2, ::2])
    assert torch.allclose(seen[0][1], clean[..., ::2, ::2], atol=1e-6)
    end_to_end(model, Run(tmp_path / "end_to_end", start_fabric(ONE_THREAD), ONE_THREAD, 0))
    assert {each.shape[-2:] for given in seen for each in given} == {(32, 32)}


def test_capacity_rises_and_stays():
    settings = Vaes(capacity=20.0, capacity_ramp_steps=100)
    assert [capacity_at(step, settings) for step in (0, 50, 100, 9999)] == [0, 10, 20, 20]
    assert capacity_at(1, dataclasses.replace(settings, capacity_ramp_steps=0)) == 20


def test_ramps_rise_from_zero_and_stay():
    assert [ramp_at(step, 100) for step in (0, 50, 100, 9999)] == [0, 0.5, 1, 1]
    assert ramp_at(0, 0) == 1


def test_codes_are_free_at_first():
    settings = Vaes(beta_hold_steps=100, beta_ramp_steps=50)
    assert [price_at(step, settings) for step in (1, 100, 125, 150, 999)] == [0, 0, 0.5, 1, 1]
    assert [price_at(step, dataclasses.replace(settings, beta_ramp_steps=0)) for step in (100, 101)] == [0, 1]
    assert price_at(1, Vaes(beta_ramp_steps=0)) == 1


def test_learning_rate_falls_to_the_final_one():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))])
    for final, rates in ((0.2, [1.0, 0.6, 0.2]), (1.0, [1.0, 1.0, 1.0])):
        for step, rate in zip((0, 50, 100), rates, strict=True):
            set_learning_rate(optimizer, 1.0, step, 100, 0, final)
            assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_vaes_leave_segmenter_and_inpainter_alone(unbroken):
    before, after = Model.load(unbroken / "separation").state_dict(), Model.load(unbroken / "vaes").state_dict()
    initial = Model(TINY).state_dict()
    assert all(torch.equal(before[name], initial[name]) for name in before if name.startswith("autoencoder."))
    changed = [name for name, value in after.items() if not torch.equal(value, before[name])]
    assert all(name.startswith("autoencoder.") for name in changed)
    assert {name.split(".")[1] for name in changed} == {"texture", "shape", "background", "object_fusion", "scene_fusion"}


def test_a_stage_alone_needs_those_before_it(unbroken, tmp_path):
    with pytest.raises(InputError, match=r"Stage 'vaes' builds on 'inpainting', which is not finished in .*; train that first"):
        train(TINY, tmp_path / "new", ONE_THREAD, stage="vaes")
    assert not (tmp_path / "new").exists()
    for name, content in files(unbroken).items():
        if not name.startswith(("vaes", "end_to_end")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content)
    segmenting = train(TINY, tmp_path, ONE_THREAD, stage="separation")  # it is there
    assert not (tmp_path / "vaes").exists()
    assert torch.equal(segmenting.segmenter.position, Model.load(unbroken / "separation").segmenter.position)
    train(TINY, tmp_path, dataclasses.replace(ONE_THREAD, save_every=1000), stage="vaes")
    assert_same_weights(tmp_path / "vaes", unbroken / "vaes")


def test_a_stage_of_no_steps_is_skipped(tmp_path):
    recipe = dataclasses.replace(
        TINY,
        inpainting=dataclasses.replace(TINY.inpainting, steps=1),
        separation=dataclasses.replace(TINY.separation, steps=0),
        vaes=dataclasses.replace(TINY.vaes, steps=0),
    )
    train(recipe, tmp_path / "run", ONE_THREAD)
    assert not any((tmp_path / "run" / stage).exists() for stage in list(STAGES)[1:])
    with pytest.raises(InputError, match=r"'vaes' is skipped by this recipe \(--vaes.steps 0\); choose one of inpainting\."):
        train(recipe, tmp_path / "run", ONE_THREAD, stage="vaes")
    with pytest.raises(InputError, match=r"Stage 'end_to_end' is skipped by this recipe \(--vaes.steps 0\)"):
        train(recipe, tmp_path / "run", ONE_THREAD, stage="end_to_end")  # it has steps, but nothing to build on
    recipe = dataclasses.replace(TINY, end_to_end=dataclasses.replace(TINY.end_to_end, steps=0))
    with pytest.raises(InputError, match=r"Stage 'end_to_end' is skipped by this recipe \(--end-to-end.steps 0\)"):
        train(recipe, tmp_path / "run", ONE_THREAD, stage="end_to_end")


def toy_scenes(indices) -> SceneSample:
    """A square, bright or dark, in one of four places, on a reddish or bluish ground; neighbours differ in all of it."""
    kinds = torch.as_tensor(list(indices)) * 7 % 16
    masks = torch.zeros(len(kinds), 1, 32, 32)
    for mask, place in zip(masks, (kinds % 4).tolist(), strict=True):
        top, left = 4 + 14 * (place // 2), 4 + 14 * (place % 2)
        mask[:, top : top + 10, left : left + 10] = 1
    grounds = torch.tensor([[0.8, 0.3, 0.3], [0.3, 0.3, 0.8]])[kinds // 4 % 2]
    squares = torch.tensor([0.05, 0.95])[kinds // 8]
    images = grounds[:, :, None, None] * (1 - masks) + squares[:, None, None, None] * masks
    return SceneSample(images, torch.cat([1 - masks, masks], 1))


@contextmanager
def toys() -> Iterator[dict[str, SceneSample]]:
    """Stages draw toy scenes meanwhile; "latest" are the ones drawn last."""
    latest = {}

    def draw(indices) -> SceneSample:
        latest["latest"] = toy_scenes(indices)
        return latest["latest"]

    first = SimpleNamespace(first=lambda count: draw(range(count)), unlabelled=None, backgrounds=1)
    with pytest.MonkeyPatch.context() as patch:
        for stage in (separation, vaes, end_to_end, consistency):
            patch.setitem(stage.__globals__, "scenes_of", lambda recipe, split, seed=None: draw if split == "train" else first)
        yield latest


TOY = dataclasses.replace(
    TINY,
    height=32,
    width=32,
    segments=2,
    vae=Vae(texture_dimension=2, shape_dimension=3, background_dimension=2, channels=16, hidden=128, window=0),
    fusion=Fusion(channels=8),
    separation=dataclasses.replace(TINY.separation, regrouping=Regrouping(weight=0.0)),
    vaes=Vaes(
        steps=220,
        batch=8,
        learning_rate=1.5e-3,
        final_learning_rate=1e-3,
        warmup_steps=10,
        texture_beta=1.0,
        background_beta=1.0,
        beta_ramp_steps=110,
        shape_gamma=50.0,
        capacity=6.0,
        capacity_ramp_steps=110,
    ),
    end_to_end=EndToEnd(
        steps=60, batch=8, segmenter_learning_rate=2e-3, warmup_steps=0, separation_weight=0.0, description_weight=1.0
    ),
)


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> tuple[Model, Path]:
    """A model after stage 3 with true masks in place of the segmenter's, and the folder of its run."""
    folder, model = tmp_path_factory.mktemp("toy") / "vaes", Model(TOY)
    with toys() as drawn, pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "segment", lambda _: drawn["latest"].masks)
        patch.setattr(model.segmenter, "forward", lambda _: drawn["latest"].masks.log())
        vaes(model, Run(folder, start_fabric(ONE_THREAD), ONE_THREAD, 0))
    return model, folder


def test_vaes_learn(toy):
    """Without codes no picture would be better than the mean of all images."""
    first, *_, last = log_of(toy[1])
    images = toy_scenes(range(32)).images
    flat = float(psnr(images, images.mean(0, keepdim=True).expand_as(images)).mean())
    print({name: (first.get(name), value) for name, value in last.items()}, f"psnr of the mean image {flat:.1f}")
    assert last["psnr"] > flat + 3
    assert last["shape_iou"] > 0.8
    assert last["shape_nats"] == pytest.approx(6.0, abs=1.5)
    for name in ("texture_error", "background_error", "shape_error", "object_error", "scene_error"):
        assert last[name] < 0.4 * first[name], name


def test_the_description_mends_masks(toy, tmp_path):
    """Without a game: the segmenter takes a rim of 2 pixels for part of the object, the VAEs know better."""
    model = Model(TOY)
    model.load_state_dict(toy[0].state_dict())
    images, truth = toy_scenes(range(16))
    wide = torch.nn.functional.max_pool2d(truth[:, 1:], 5, 1, 2)
    segmented(model, images, wide[:, 0].long(), 100)
    before = float(best_overlap_iou(truth, model.segment(images))[0].mean())
    with toys():
        end_to_end(model, Run(tmp_path / "end_to_end", start_fabric(ONE_THREAD), ONE_THREAD, 0))
    after = float(best_overlap_iou(truth, model.segment(images))[0].mean())
    print(f"IoU {before:.3f} before, {after:.3f} after")
    assert before < 0.75  # the rims are there: the object's own IoU with a rim of 2 pixels is 100 / 196
    assert after > before + 0.1


def test_changed_objects_are_found_again(toy, tmp_path):
    """Stage 5 from a segmenter that knows the squares, but has never seen another shape: of changed scenes that it is not
    trained on, the error falls, and with the error's weight at 0 it does not."""
    images, truth = toy_scenes(range(16))
    ends = {}
    for weight in (0.0, 0.1):
        settings = Consistency(30, 8, segmenter_learning_rate=3e-3, weight=weight, variations=2, reach=2.0, canonical=True)
        model = Model(dataclasses.replace(TOY, consistency=settings))
        model.load_state_dict(toy[0].state_dict())
        segmented(model, images, truth[:, 1].long(), 60)
        before = error_in_changed_scenes(model, images)
        with toys():
            consistency(model, Run(tmp_path / str(weight) / "consistency", start_fabric(ONE_THREAD), ONE_THREAD, 0))
        ends[weight] = before, error_in_changed_scenes(model, images), best_overlap_iou(truth, model.segment(images))[0].mean()
    print(f"nats per image before, after, IoU: {ends}")
    (before, after, iou), (_, without, _) = ends[0.1], ends[0.0]
    assert after < 0.6 * before and after < 0.6 * without
    assert iou > 0.75


@pytest.mark.parametrize(("weight", "learners"), [(0.0, {"segmenter"}), (1.0, {"inpainter", "segmenter"})])
def test_stage_five_goes_without_the_game_if_it_has_no_weight(tmp_path, monkeypatch, weight, learners):
    monkeypatch.setitem(consistency.__globals__, "validate", lambda *_: {})
    settings = dataclasses.replace(TINY.consistency, steps=3, separation_weight=weight)
    model = Model(dataclasses.replace(TINY, consistency=settings))
    consistency(model, Run(tmp_path / "consistency", start_fabric(ONE_THREAD), ONE_THREAD, 0))
    assert changed(model, Model(model.recipe)) == learners
    logged = [line.keys() - {"step", "seconds"} for line in log_of(tmp_path / "consistency")]
    assert all(keys == {"consistency_error"} for keys in logged) == (weight == 0)


def test_stage_fives_learning_rate_falls_along_a_cosine(tmp_path, monkeypatch):
    rates, of_the_stage = [], consistency.__globals__["set_learning_rate"]

    def noted(optimizer: torch.optim.Optimizer, *given: float) -> None:
        of_the_stage(optimizer, *given)
        rates.append(optimizer.param_groups[0]["lr"])

    monkeypatch.setitem(consistency.__globals__, "set_learning_rate", noted)
    monkeypatch.setitem(consistency.__globals__, "validate", lambda *_: {})
    settings = Consistency(4, 2, segmenter_learning_rate=4e-4, segmenter_final_learning_rate=0.0, separation_weight=0.0)
    model = Model(dataclasses.replace(TINY, consistency=settings))
    consistency(model, Run(tmp_path / "consistency", start_fabric(ONE_THREAD), ONE_THREAD, 0))
    assert rates == pytest.approx([4e-4, 2e-4 + 2e-4 / 2**0.5, 2e-4, 2e-4 - 2e-4 / 2**0.5])


def segmented(model: Model, images: Tensor, labels: Tensor, steps: int) -> None:
    """Teach a segmenter some segments."""
    optimizer = torch.optim.Adam(model.segmenter.parameters(), 5e-3)
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(model.segmenter(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def error_in_changed_scenes(model: Model, images: Tensor) -> float:
    """Nats per image, for changes that stay the same from call to call."""
    recipe = dataclasses.replace(model.recipe.consistency, batch=len(images), variations=8)
    judge = Model(dataclasses.replace(model.recipe, consistency=recipe))
    judge.load_state_dict(model.state_dict())
    judge.eval()
    draws, fabric = Generator().manual_seed(7), start_fabric(ONE_THREAD)
    return float(error_of_changes(fabric, judge, judge.segmenter, images, judge.segmenter(images), slice(None), draws))


def turns(folder: Path, steps: int, **settings: float) -> Model:
    """The networks after some steps of stage 4 from their initial values, without regrouping; the first is the inpainter's."""
    game = dataclasses.replace(TINY.separation, regrouping=Regrouping(weight=0.0))
    recipe = dataclasses.replace(TINY, separation=game, end_to_end=EndToEnd(steps=steps, batch=4, warmup_steps=0, **settings))
    model = Model(recipe)
    with pytest.MonkeyPatch.context() as patch:
        for scores in ("segment_scores", "validate"):  # which would take most of the time
            patch.setitem(end_to_end.__globals__, scores, lambda *_: {})
        end_to_end(model, Run(folder / "end_to_end", start_fabric(ONE_THREAD), ONE_THREAD, 0))
    return model


def changed(first: Model, second: Model) -> set[str]:
    """The networks in which two models differ."""
    one, other = first.state_dict(), second.state_dict()
    return {name.split(".")[0] for name in one if not torch.equal(one[name], other[name])}


def test_end_to_end_takes_turns(tmp_path):
    initial, first, second = Model(TINY), turns(tmp_path / "1", 1), turns(tmp_path / "2", 2)
    assert changed(initial, first) == {"inpainter"}
    assert changed(initial, second) == {"inpainter", "segmenter", "autoencoder"}


def test_in_stage_four_each_loss_reaches_its_own_players(tmp_path):
    """After one turn of each player: which networks end up elsewhere when only this loss is weighed differently."""
    plain = turns(tmp_path / "plain", 2)
    no_game, no_description = (turns(tmp_path / name, 2, **{f"{name}_weight": 0.0}) for name in ("separation", "description"))
    assert changed(plain, no_game) == changed(plain, no_description) == {"segmenter"}
    neither = turns(tmp_path / "neither", 2, separation_weight=0.0, description_weight=0.0)
    assert changed(Model(TINY), neither) == {"inpainter", "autoencoder"}  # the VAEs' losses leave the segmenter alone


def test_the_description_moves_masks_alone():
    model, images = Model(TINY), open_dataset(TINY.dataset, 0, "val")(range(2)).images
    masks = model.segment(images).requires_grad_()
    found = model.autoencoder(images, masks.detach())
    description_of(found, images, masks).sum().backward()
    assert masks.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in model.parameters())
