"""Two processes that torchrun or SLURM started train as those do that `--devices 2` starts."""

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from intarsia.stages import train
from intarsia.stages.scenes import TrainingScenes
from tests.stages.toys import CONTENT, ONE_THREAD, TOYS, log_of

ROOT = Path(__file__).parents[2]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port")

# What is normalised over a batch takes part, and what processes gather.
STEPS = {"inpainting": 3, "distillation": 5, "vaes": 0, "end_to_end": 0, "consistency": 0}
RECIPE = dataclasses.replace(
    CONTENT, **{name: dataclasses.replace(getattr(CONTENT, name), steps=steps) for name, steps in STEPS.items()}
)
SCENES = TrainingScenes(TOYS, dataclasses.replace(TOYS, size=8))

# Each process runs it from the start. The second one is still looking into the folder when the first one would write to it.
PROGRAM = """
import sys
import time
from pathlib import Path
from intarsia import stages
from intarsia.engine import is_first_process
from intarsia.recipes.options import Options
from intarsia.stages import train
from tests.stages.test_launchers import RECIPE, SCENES


def late(function, seconds):
    def called(*given):
        time.sleep(seconds)
        return function(*given)

    return called


options = Options(precision="32-true", accelerator="cpu", devices=2, threads=1)
if is_first_process(options):
    Path(sys.argv[1]).mkdir()
    stages.save_recipe = late(stages.save_recipe, 1)
else:
    Path.iterdir = late(Path.iterdir, 3)
train(RECIPE, Path(sys.argv[1]), options, scenes=SCENES)
if is_first_process(options):
    Path(sys.argv[1], "first").open("x").close()
"""


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def start(*command: object, **variables: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | variables
    return subprocess.Popen(
        [str(part) for part in command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def start_as_slurm(program: Path, folder: Path) -> list[subprocess.Popen]:
    """Two processes with the variables that `srun` sets for two tasks on one machine."""
    common = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}
    common |= {"SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_NODELIST": "localhost", "MASTER_PORT": free_port()}
    return [
        start(sys.executable, program, folder, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank), **common) for rank in range(2)
    ]


def outputs(*processes: subprocess.Popen) -> str:
    found = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(found)
    return "\n".join(found)


def logs(folder: Path) -> list[dict]:
    records = [record for stage in ("inpainting", "distillation") for record in log_of(folder / stage)]
    return [{name: value for name, value in record.items() if name != "seconds"} for record in records]


def test_torchrun_and_slurm_train_as_two_devices_do(tmp_path):
    program, names = tmp_path / "program.py", ("devices", "torchrun", "slurm")
    program.write_text(PROGRAM)
    output = outputs(start(sys.executable, program, tmp_path / "devices"))
    output += outputs(start(*TORCHRUN, free_port(), program, tmp_path / "torchrun"))
    output += outputs(*start_as_slurm(program, tmp_path / "slurm"))
    devices, torchrun, slurm = (logs(tmp_path / name) for name in names)
    assert len(devices) == 8
    assert devices == torchrun == slurm  # each step is there once: the first process alone records
    assert all((tmp_path / name / "first").exists() for name in names)
    assert "find_unused_parameters" not in output
    assert "Warning" not in output

    train(RECIPE, tmp_path / "one", ONE_THREAD, scenes=SCENES)
    for expected, record in zip(logs(tmp_path / "one"), devices, strict=True):
        for name in expected.keys() & {"loss", "separation_loss"}:
            assert record[name] == pytest.approx(expected[name], rel=1e-5), (expected["step"], name)


def test_torchrun_passes_the_options_of_a_command_on_and_their_numbers_have_to_agree(tmp_path):
    """After `--` torchrun reads no option: else it takes --run for its own --run-path."""
    command = ("-m", "--", "intarsia", "train", "multi_dsprites/pixels", "--run", tmp_path / "run", "--accelerator", "cpu")
    process = start(*TORCHRUN, free_port(), *command)
    output = process.communicate(timeout=240)[0]
    assert process.returncode != 0
    assert "does not match the world size (2)" in output
    assert not (tmp_path / "run").exists()
