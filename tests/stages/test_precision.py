import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from intarsia.engine import start_fabric
from intarsia.errors import InputError
from intarsia.model import Model
from intarsia.recipes.file import save_recipe
from intarsia.recipes.settings import planned
from intarsia.stages import precision, train
from intarsia.stages.precision import in_run_precision, loss_of_all_networks, seconds_of_step
from tests.stages.toys import CONTENT, ONE_THREAD, TINY

ROOT = Path(__file__).parents[2]
AUTO = dataclasses.replace(ONE_THREAD, precision="auto")
SHORT = dataclasses.replace(
    TINY, **{stage: dataclasses.replace(getattr(TINY, stage), steps=int(stage == "inpainting")) for stage in planned(TINY)}
)
LONGER = dataclasses.replace(SHORT, separation=dataclasses.replace(SHORT.separation, steps=1))
FLOAT32_IS_FASTER = {"32-true": 1.0, "bf16-mixed": 1.5}
BF16_IS_FASTER = {"32-true": 0.3, "bf16-mixed": 0.2}

# Each process of two runs it from the start. The second one is not asked.
PROGRAM = """
import dataclasses, os, sys
from pathlib import Path
import torch
from intarsia.engine import start_fabric
from intarsia.model import Model
from intarsia.recipes.file import load_recipe
from intarsia.recipes.options import Options
from intarsia.stages import precision

process = os.environ.get("LOCAL_RANK", "0")
found = {"0": {"32-true": 2.0, "bf16-mixed": 1.0}}
precision.seconds_of_step = lambda *_: found[process]
folder, options = Path(sys.argv[1]), Options(accelerator="cpu", devices=2, threads=1)
model = Model(load_recipe(folder / "recipe.json"))
fabric = precision.in_run_precision(folder, model, options, start_fabric(options))
total = float(fabric.all_reduce(torch.tensor(float(process)), reduce_op="sum"))
(folder / f"process-{process}").write_text(f"{fabric.strategy.precision.precision} {total}")
"""


class Steps:
    """Steps that take given seconds by a clock of their own: float32 and bf16 in turn."""

    def __init__(self, *seconds: float) -> None:
        self.seconds, self.now, self.in_bf16 = list(seconds), 0.0, list[bool]()

    def __call__(self) -> Tensor:
        self.in_bf16.append((torch.ones(1, 1) @ torch.ones(1, 1)).dtype == torch.bfloat16)
        self.now += self.seconds.pop(0)
        return torch.ones((), requires_grad=True)

    def clock(self) -> float:
        return self.now


def test_steps_are_timed_in_turn_for_a_second_and_the_fastest_counts():
    steps = Steps(0.9, 0.03, 0.02, 0.01, 0.01, 0.04, 9, 9)
    assert seconds_of_step(steps, "cpu", steps.clock) == pytest.approx({"32-true": 0.01, "bf16-mixed": 0.01})
    assert steps.in_bf16 == [False, True] * 3
    assert steps.seconds == [9, 9]  # 1.01 seconds are over


def test_long_steps_are_timed_twice():
    steps = Steps(7, 4, 6, 3, 1, 1)
    assert seconds_of_step(steps, "cpu", steps.clock) == {"32-true": 6, "bf16-mixed": 3}
    assert steps.seconds == [1, 1]


@pytest.mark.parametrize("recipe", [TINY, CONTENT], ids=["pixels", "content"])
def test_the_timed_loss_is_one_of_every_network_that_the_recipe_trains(recipe):
    recipe = dataclasses.replace(recipe, vaes=dataclasses.replace(recipe.vaes, steps=0 if recipe is CONTENT else 1))
    model = Model(recipe)
    loss_of_all_networks(model, torch.rand(2, 3, recipe.height, recipe.width)).backward()
    trained = {name.split(".")[0] for name, value in model.named_parameters() if value.grad is not None and value.grad.any()}
    assert trained == {"inpainter", "segmenter"} | ({"autoencoder"} if recipe.vaes.steps else set())


@pytest.mark.parametrize(
    ("seconds", "chosen", "line"),
    [
        (FLOAT32_IS_FASTER, "32-true", "Trains in float32: a step of all networks takes 1 s in float32, 1.5 s in bf16."),
        (BF16_IS_FASTER, "bf16-mixed", "Trains in bf16: a step of all networks takes 0.3 s in float32, 0.2 s in bf16."),
        ({"32-true": 1.0, "bf16-mixed": 0.96}, "32-true", "Trains in float32: "),  # not worth the digits
    ],
)
def test_auto_is_the_faster_precision_and_changes_nothing_else(monkeypatch, tmp_path, capsys, seconds, chosen, line):
    def seconds_of(loss_of, device):
        loss_of().backward()
        return seconds

    monkeypatch.setattr(precision, "seconds_of_step", seconds_of)
    found = train(SHORT, tmp_path / "auto", AUTO).state_dict()
    printed = capsys.readouterr().out
    assert printed.startswith(line)
    assert printed.count("\n") == 1
    assert json.loads((tmp_path / "auto" / "precision.json").read_text()) == {"precision": chosen}
    asked = train(SHORT, tmp_path / "asked", dataclasses.replace(ONE_THREAD, precision=chosen)).state_dict()
    assert all(torch.equal(value, asked[name]) for name, value in found.items())
    assert capsys.readouterr().out == ""


def test_a_resumed_run_keeps_its_precision(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(precision, "seconds_of_step", lambda *_: BF16_IS_FASTER)
    train(LONGER, tmp_path, AUTO, stage="inpainting")
    monkeypatch.setattr(precision, "seconds_of_step", lambda *_: pytest.fail("timed again"))
    record = tmp_path / "precision.json"
    before = record.read_text()
    resumed = train(LONGER, tmp_path, AUTO).state_dict()
    assert record.read_text() == before
    whole = train(LONGER, tmp_path / "whole", dataclasses.replace(ONE_THREAD, precision="bf16-mixed")).state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in resumed.items())
    assert capsys.readouterr().out.count("Trains in") == 1


def test_the_precision_that_is_asked_for_is_kept_as_well(monkeypatch, tmp_path):
    monkeypatch.setattr(precision, "seconds_of_step", lambda *_: pytest.fail("timed"))
    train(SHORT, tmp_path, dataclasses.replace(ONE_THREAD, precision="bf16-mixed"))
    assert json.loads((tmp_path / "precision.json").read_text()) == {"precision": "bf16-mixed"}
    for options, expected in ((AUTO, "bf16-mixed"), (ONE_THREAD, "32-true"), (AUTO, "32-true")):
        fabric = in_run_precision(tmp_path, Model(SHORT), options, start_fabric(options))
        assert fabric.strategy.precision.precision == expected


def test_a_record_that_is_no_precision(tmp_path):
    train(SHORT, tmp_path, ONE_THREAD)
    record = tmp_path / "precision.json"
    record.write_text('{"precision": "8"}')
    train(SHORT, tmp_path, AUTO)  # there is nothing left to train
    fabric = start_fabric(AUTO)
    with pytest.raises(
        InputError, match=r"precision\.json is incomplete .*'32-true' or 'bf16-mixed'.*; delete it, or correct it"
    ):
        in_run_precision(tmp_path, Model(SHORT), AUTO, fabric)
    assert record.read_text() == '{"precision": "8"}'


def test_the_first_process_decides_for_all(tmp_path):
    save_recipe(TINY, tmp_path / "recipe.json")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    output = subprocess.run(
        [sys.executable, program, tmp_path],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert output.returncode == 0, output.stderr
    assert {path.name: path.read_text() for path in tmp_path.glob("process-*")} == {
        "process-0": "bf16-mixed 1.0",
        "process-1": "bf16-mixed 1.0",
    }
    assert output.stdout.count("Trains in") == 1
