import dataclasses
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch

from intarsia.commands import parse
from intarsia.data import open_dataset
from intarsia.data.scenes import Scenes
from intarsia.engine import Run, start_fabric
from intarsia.errors import InputError
from intarsia.recipes.options import Options, check_options
from intarsia.stages.scenes import StepImages, workers_for
from tests.stages.toys import ONE_THREAD, TOYS

BATCH, STEPS = 4, 6


def images_of(folder: Path, scenes: Scenes, workers: int, period: int | None = None) -> StepImages:
    options = dataclasses.replace(ONE_THREAD, workers=workers)
    return StepImages(scenes, Run(folder / "toy", start_fabric(options), options, 0), BATCH, STEPS, period)


@pytest.mark.parametrize("workers", [0, 2])
def test_images_are_those_of_the_steps_in_order_from_any_step(tmp_path, workers):
    scenes = open_dataset("multi_texture_pair")
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for first, period in ((0, None), (3, None), (1, 2)):
        images = images_of(tmp_path, scenes, workers, period)
        for step in range(first, STEPS):
            place = step % (period or STEPS)
            assert torch.equal(images(step), scenes(range(place * BATCH, (place + 1) * BATCH)).images)
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_leave_signals_to_the_training_and_end_with_it(tmp_path):
    images = images_of(tmp_path, TOYS, 2)
    images(0)
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    for worker in workers:
        assert worker.pid
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(worker.pid, number)
    for step in range(1, STEPS):
        assert len(images(step)) == BATCH
    del images
    for worker in workers:
        worker.join(10)
        assert worker.exitcode == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_images_that_cannot_be_read_are_the_same_input_error(tmp_path, workers):
    images = images_of(tmp_path, dataclasses.replace(TOYS, size=6), workers)
    assert len(images(0)) == BATCH
    with pytest.raises(InputError, match=r"^toys: there is no scene 6; indices go from 0 to 5\.$"):
        images(1)


def test_workers_are_there_for_a_gpu_unless_told_otherwise():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert workers_for(Options(), cpu) == 0
    assert 1 <= workers_for(Options(), gpu) <= 4
    assert workers_for(Options(devices=1024), gpu) == 1
    assert workers_for(Options(workers=3), cpu) == workers_for(Options(workers=3), gpu) == 3


@pytest.mark.parametrize(("given", "expected"), [("auto", "auto"), ("0", 0), ("7", 7)])
def test_workers_on_the_command_line(given, expected):
    assert parse(["train", "multi_dsprites/pixels", "--workers", given]).options == Options(workers=expected)


@pytest.mark.parametrize(("workers", "limit"), [(-1, "at least 0"), (1025, "at most 1024")])
def test_numbers_of_workers_that_no_run_could_use(workers, limit):
    with pytest.raises(InputError, match=rf"^--workers is {workers}; it must be {limit}\.$"):
        check_options(Options(workers=workers))
