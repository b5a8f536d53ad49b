import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from intarsia.engine import CHECKPOINT, LOG, finished
from intarsia.errors import InputError
from intarsia.model import Model
from intarsia.recipes.file import load_recipe, save_recipe
from intarsia.recipes.options import Options
from intarsia.recipes.settings import STAGES, Recipe, planned
from intarsia.stages import train
from intarsia.stages.scenes import TrainingScenes
from intarsia.weights import RECIPE, WEIGHTS
from tests.stages.toys import ONE_THREAD, TINY, TOY, TOYS, log_of

ROOT = Path(__file__).parents[2]

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


def in_steps(recipe: Recipe, **steps: int) -> Recipe:
    """The recipe with other numbers of steps of some stages."""
    return dataclasses.replace(
        recipe, **{stage: dataclasses.replace(getattr(recipe, stage), steps=count) for stage, count in steps.items()}
    )


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
    log = folder / stage / LOG
    while not (log.is_file() and len(log.read_text().splitlines()) >= after_steps):
        assert process.poll() is None, process.communicate()[0]
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
    folder, chance = tmp_path / "run", random.Random(0)
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

    for stage in planned(TINY):
        assert_same_weights(folder / stage, unbroken / stage)
        assert_same_state(torch.load(folder / stage / CHECKPOINT), torch.load(unbroken / stage / CHECKPOINT))
        trimmed = [
            [{k: v for k, v in line.items() if k != "seconds"} for line in log_of(run / stage)] for run in (folder, unbroken)
        ]
        assert trimmed[0] == trimmed[1]
        assert not [path for path in (folder / stage).iterdir() if path.name.startswith(".")]


def test_a_complete_run_is_read_not_trained(unbroken):
    before = {path: path.stat().st_mtime_ns for path in unbroken.rglob("*") if path.is_file()}
    model = train(TINY, unbroken, ONE_THREAD)
    assert {path: path.stat().st_mtime_ns for path in unbroken.rglob("*") if path.is_file()} == before
    expected = Model.load(unbroken / "consistency").state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_every_folder_holds_what_others_read(unbroken):
    assert load_recipe(unbroken / RECIPE) == TINY
    for stage in planned(TINY):
        assert {RECIPE, WEIGHTS, CHECKPOINT, LOG} <= {path.name for path in (unbroken / stage).iterdir()}
        assert [line["step"] for line in log_of(unbroken / stage)] == list(range(1, getattr(TINY, stage).steps + 1))
    names = {name for line in log_of(unbroken / "separation") for name in line}
    assert {"step", "seconds", "inpainting_loss", "separation_loss"} <= names


def test_separation_starts_from_the_inpainter_of_stage_one_and_leaves_it_there(unbroken):
    first, second = Model.load(unbroken / "inpainting"), Model.load(unbroken / "separation")
    initial, trained = Model(TINY).segmenter.state_dict(), second.segmenter.state_dict()
    assert all(torch.equal(first.segmenter.state_dict()[name], value) for name, value in initial.items())  # not in stage 1
    assert not any(torch.equal(trained[name], value) for name, value in initial.items() if value.dim() == 4)


def test_vaes_leave_segmenter_and_inpainter_alone(unbroken):
    before, after = Model.load(unbroken / "separation").state_dict(), Model.load(unbroken / "vaes").state_dict()
    initial = Model(TINY).state_dict()
    assert all(torch.equal(before[name], initial[name]) for name in before if name.startswith("autoencoder."))
    changed = [name for name, value in after.items() if not torch.equal(value, before[name])]
    assert all(name.startswith("autoencoder.") for name in changed)
    assert {name.split(".")[1] for name in changed} == {"texture", "shape", "background", "object_fusion", "scene_fusion"}


LOSSES = {"loss", "inpainting_loss", "separation_loss", "box_error", "shape_error", "texture_error", "scene_error"}
LOSSES |= {"description_loss"}


def test_two_processes_give_the_losses_of_one_with_the_double_batch(tmp_path):
    """Step by step over 20 steps of each stage, to 1e-3 of the loss: rounding differs and Adam enlarges it."""
    recipe = in_steps(TINY, **dict.fromkeys(planned(TINY), 20))
    both = tmp_path / "both"
    process = start(both, recipe, devices=2, show_every=10)
    train(recipe, tmp_path / "one", dataclasses.replace(ONE_THREAD, show_every=10))
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    worst = 0.0
    for stage in planned(TINY):
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


def wait_for_steps(process: subprocess.Popen, folder: Path, steps: int) -> None:
    """Wait until a stage has logged so many steps."""
    while not ((folder / LOG).is_file() and len((folder / LOG).read_text().splitlines()) >= steps):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def test_two_processes_are_one_holder_and_stop_at_one_step(tmp_path):
    """A signal to the first process alone stops both, and the step that it stops at is saved."""
    recipe, folder = in_steps(TINY, inpainting=100_000), tmp_path / "run"
    process = start(folder, recipe, devices=2)
    wait_for_steps(process, folder / "inpainting", 5)
    with pytest.raises(InputError, match=rf"run is in use by process {process.pid} on .* since .*\. Wait for it to end"):
        train(recipe, folder, ONE_THREAD)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode != 0 and output.count("KeyboardInterrupt") >= 1, output
    step = torch.load(folder / "inpainting" / CHECKPOINT)["step"]
    assert [line["step"] for line in log_of(folder / "inpainting")] == list(range(1, step + 1))
    assert not list(folder.glob(".*"))


def test_batch_must_be_shared_evenly(tmp_path):
    with pytest.raises(InputError, match=r"inpainting\.batch is 4; it must be a multiple of the 3 processes"):
        train(TINY, tmp_path / "run", Options(devices=3, accelerator="cpu"))
    with pytest.raises(InputError, match=r"separation\.batch is \d; it must be a multiple of the 3 processes"):
        train(in_steps(TINY, inpainting=0), tmp_path / "run", Options(devices=3, accelerator="cpu"))  # leaves it out


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_folder_of_another_recipe_is_left_alone(unbroken):
    before = files(unbroken)
    for other, odd in (
        (dataclasses.replace(TINY, seed=1), "seed is 1 here, 0 there"),
        (in_steps(TINY, inpainting=101), r"inpainting\.steps is 101 here, 100 there"),
    ):
        with pytest.raises(InputError, match=rf"holds a run with other settings \({odd}\)") as caught:
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
    for folder in (path, path / "below"):
        with pytest.raises(InputError, match="Can't make the folder"):
            train(TINY, folder, ONE_THREAD)
    assert path.read_text() == "mine"


def test_killed_before_the_recipe_had_its_name(tmp_path):
    (tmp_path / f".{RECIPE}.123.unfinished").write_text("{")
    short = in_steps(TINY, **dict.fromkeys(planned(TINY), 1))
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
    recipe = in_steps(TINY, inpainting=1, separation=0, vaes=0)
    train(recipe, tmp_path / "run", ONE_THREAD)
    assert not any((tmp_path / "run" / stage).exists() for stage in list(STAGES)[1:])
    with pytest.raises(InputError, match=r"'vaes' is skipped by this recipe \(--vaes.steps 0\); choose one of inpainting\."):
        train(recipe, tmp_path / "run", ONE_THREAD, stage="vaes")
    with pytest.raises(InputError, match=r"Stage 'end_to_end' is skipped by this recipe \(--vaes.steps 0\)"):
        train(recipe, tmp_path / "run", ONE_THREAD, stage="end_to_end")  # it has steps, but nothing to build on
    recipe = in_steps(TINY, end_to_end=0)
    with pytest.raises(InputError, match=r"Stage 'end_to_end' is skipped by this recipe \(--end-to-end.steps 0\)"):
        train(recipe, tmp_path / "run", ONE_THREAD, stage="end_to_end")


def test_scenes_from_outside_are_trained_on(tmp_path):
    drawn = []
    scenes = dataclasses.replace(TOYS, draw=lambda indices: drawn.extend(indices.tolist()) or TOYS.draw(indices))
    recipe = in_steps(TOY, inpainting=2, separation=0, vaes=0)
    train(recipe, tmp_path / "run", ONE_THREAD, scenes=TrainingScenes(scenes, TOYS))
    assert drawn == list(range(2 * recipe.inpainting.batch))
    larger = dataclasses.replace(recipe, height=64)
    with pytest.raises(InputError, match="is for images of 64 x 32 pixels, but those of multi_dsprites have 32 x 32"):
        train(larger, tmp_path / "larger", ONE_THREAD, scenes=TrainingScenes(TOYS, TOYS))
