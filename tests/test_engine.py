import errno
import io
import itertools
import json
import os
import re
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from torch import Tensor, nn
from torch.optim import Adam

from intarsia import engine
from intarsia.checkpoints import read_checkpoint
from intarsia.engine import CHECKPOINT, LOG, PICTURES, Run, descend, finished, is_first_process, start_fabric
from intarsia.errors import InputError
from intarsia.recipes.options import Options, check_options

OPTIONS = Options(precision="32-true", accelerator="cpu", save_every=4, show_every=5)
TOTAL = 10


@pytest.fixture(scope="module")
def fabric():
    return start_fabric(OPTIONS)


class Stop(Exception):
    """What breaks into a run."""


class Stage:
    """A stage small enough to look at: a layer learns to copy noise, with an average that follows it."""

    def __init__(self, fabric, folder: Path, *, total: int = TOTAL, seed: int = 0, options: Options = OPTIONS, width: int = 4):
        self.run, self.total, self.saved = Run(folder, fabric, options, seed), total, folder / "saved.pt"
        torch.manual_seed(0)
        layer = nn.Linear(width, width)
        self.layer, self.optimizer = fabric.setup(layer, Adam(layer.parameters(), 0.1))
        self.state = {"layer": self.layer, "optimizer": self.optimizer, "average": torch.zeros(())}

    def __iter__(self):
        return self.run.steps(self.state, self.total, self.save)

    def save(self, folder: Path) -> None:
        torch.save(self.layer.state_dict(), self.saved)

    def train(self, before_step=lambda step: None, after_log=lambda step: None) -> "Stage":
        for step in self:
            before_step(step)
            noise = torch.randn(8, self.layer.weight.shape[1], generator=self.run.rng(step=step))
            loss = (self.layer(noise) - noise).square().mean()
            descend(self.run.fabric, loss, self.optimizer)
            self.state["average"] = self.state["average"].lerp(self.layer.weight.detach().mean(), 0.1)
            self.run.log(step, loss=loss, kind="toy")
            after_log(step)
        return self


def steps_logged(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / LOG).read_text().splitlines()]


def losses_logged(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / LOG).read_text().splitlines()]


def outcome(stage: Stage) -> list[Tensor]:
    moments = [value for state in stage.optimizer.state_dict()["state"].values() for value in state.values()]
    return [*stage.layer.state_dict().values(), *moments, stage.state["average"]]


def assert_same(stage: Stage, other: Stage) -> None:
    assert all(map(torch.equal, outcome(stage), outcome(other)))
    assert losses_logged(stage.run.folder) == losses_logged(other.run.folder)


def stop_at(moment: int, error: BaseException):
    def stop(step: int) -> None:
        if step == moment:
            raise error

    return stop


@pytest.fixture
def unbroken(fabric, tmp_path) -> Stage:
    return Stage(fabric, tmp_path / "unbroken" / "toy").train()


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "toy"


def test_an_unbroken_run(unbroken):
    folder = unbroken.run.folder
    assert steps_logged(folder) == list(range(1, TOTAL + 1))
    losses = losses_logged(folder)
    assert losses[-1] < losses[0]
    assert json.loads((folder / LOG).read_text().splitlines()[3])["kind"] == "toy"
    assert finished(folder, TOTAL) and not finished(folder, TOTAL + 1)
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("moment", [0, 3, 4, 7, 9])
@pytest.mark.parametrize("when", ["before_step", "after_log"])
def test_resumed_after_a_break_at_any_moment(fabric, unbroken, folder, moment, when):
    with pytest.raises(Stop):
        Stage(fabric, folder).train(**{when: stop_at(moment, Stop())})
    assert not finished(folder, TOTAL)  # not even where the last step is already logged
    seen = []
    resumed = Stage(fabric, folder).train(before_step=seen.append)
    assert seen == list(range(moment // 4 * 4, TOTAL))
    assert_same(resumed, unbroken)


@pytest.mark.parametrize("call", [0, 1, 2])
@pytest.mark.parametrize("what", ["saved", "checkpoint", "rename"])
def test_resumed_after_a_break_while_saving(fabric, unbroken, folder, monkeypatch, call, what):
    """Before what others read is written, half-way through the checkpoint, and just before it gets its name."""
    calls = []

    def breaks(*args, real, **kwargs):
        if what == "checkpoint" and CHECKPOINT not in str(args[1]):
            return real(*args, **kwargs)
        if what == "rename" and Path(args[1]).name != CHECKPOINT:
            return real(*args, **kwargs)
        calls.append(1)
        if len(calls) == call + 1:
            if what == "checkpoint":
                Path(args[1]).write_bytes(b"half of i")
            raise Stop
        return real(*args, **kwargs)

    stage = Stage(fabric, folder)
    with monkeypatch.context() as patch:
        if what == "saved":
            save = stage.save
            stage.save = lambda folder: breaks(folder, real=save)
        elif what == "checkpoint":
            save = torch.save
            patch.setattr(torch, "save", lambda *args: breaks(*args, real=save))
        else:
            replace = Path.replace
            patch.setattr(Path, "replace", lambda *args: breaks(*args, real=replace))
        with pytest.raises(Stop):
            stage.train()
    assert not finished(folder, TOTAL)
    resumed = Stage(fabric, folder).train()
    assert_same(resumed, unbroken)
    kept = torch.load(resumed.saved)  # what others read is that of the last step
    assert all(torch.equal(kept[name], value) for name, value in unbroken.layer.state_dict().items())


@pytest.fixture
def keyboard():
    """Ctrl-C interrupts, also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("keyboard")
def test_ctrl_c_ends_the_step_saves_and_interrupts(fabric, unbroken, folder):
    before = signal.getsignal(signal.SIGINT)
    done = []

    def interrupt(step: int) -> None:
        if step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    stage = Stage(fabric, folder)
    with pytest.raises(KeyboardInterrupt):
        stage.train(before_step=interrupt, after_log=done.append)
    assert done == list(range(6))
    assert signal.getsignal(signal.SIGINT) is before
    assert torch.load(folder / CHECKPOINT)["step"] == 6
    assert_same(Stage(fabric, folder).train(), unbroken)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_stop_like_ctrl_c_however_often_they_come(fabric, unbroken, folder, number):
    def interrupt(step: int) -> None:
        if step == 5:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)

    before = signal.signal(number, signal.SIG_DFL)  # the tests themselves may run under nohup
    try:
        with pytest.raises(KeyboardInterrupt):
            Stage(fabric, folder).train(before_step=interrupt)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert torch.load(folder / CHECKPOINT)["step"] == 6
    assert_same(Stage(fabric, folder).train(), unbroken)


def test_a_hangup_that_nohup_ignores_is_ignored(fabric, folder):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stage = Stage(fabric, folder).train(before_step=lambda step: os.kill(os.getpid(), signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert stage.state["step"] == TOTAL


@pytest.mark.usefixtures("keyboard")
def test_the_second_ctrl_c_interrupts_at_once(fabric, unbroken, folder):
    def interrupt(step: int) -> None:
        if step == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    done = []
    with pytest.raises(KeyboardInterrupt):
        Stage(fabric, folder).train(before_step=interrupt, after_log=done.append)
    assert done == list(range(5))
    assert torch.load(folder / CHECKPOINT)["step"] == 4
    assert_same(Stage(fabric, folder).train(), unbroken)


def test_runs_outside_the_main_thread(fabric, unbroken, folder):
    stage = Stage(fabric, folder)
    thread = threading.Thread(target=stage.train)
    thread.start()
    thread.join()
    assert_same(stage, unbroken)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail] . file write failed: No space left\nat ..."),
    ],
    ids=["system", "PyTorch"],
)
def test_full_disk_keeps_the_old_checkpoint(fabric, unbroken, folder, monkeypatch, error):
    real, calls = torch.save, []

    def save(value, path):
        if CHECKPOINT in str(path):
            calls.append(1)
            if len(calls) == 2:
                Path(path).write_bytes(b"half of i")
                raise error
        real(value, path)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save)
        with pytest.raises(InputError, match=f"Can't write .*{CHECKPOINT}: .*No space left.*unchanged") as caught:
            Stage(fabric, folder).train()
    assert "\n" not in str(caught.value)
    assert torch.load(folder / CHECKPOINT)["step"] == 4
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    assert_same(Stage(fabric, folder).train(), unbroken)


class limited_file_size:
    """Within it no file grows beyond a size: the nearest thing to a full disk that needs no rights."""

    def __init__(self, size: int) -> None:
        self.size, self.resource = size, pytest.importorskip("resource")

    def __enter__(self) -> None:
        self.before = self.resource.getrlimit(self.resource.RLIMIT_FSIZE)
        self.resource.setrlimit(self.resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *error) -> None:
        self.resource.setrlimit(self.resource.RLIMIT_FSIZE, self.before)


def test_writers_that_the_system_stops(fabric, folder):
    stage = Stage(fabric, folder, width=512)  # a checkpoint of 3 MB
    with pytest.raises(Stop):
        stage.train(before_step=stop_at(5, Stop()))
    stage = Stage(fabric, folder, width=512)
    stage.save = lambda folder: None
    with pytest.raises(InputError, match=f"Can't write .*{CHECKPOINT}"), limited_file_size(1_000_000):
        stage.train()
    resumed = Stage(fabric, folder, width=512)
    seen = []
    resumed.train(before_step=seen.append)
    assert seen[0] == 4


def test_a_log_that_cannot_grow_is_an_input_error(fabric, folder):
    stage = Stage(fabric, folder).train()
    with pytest.raises(InputError, match=f"Can't write .*{LOG}"), limited_file_size((folder / LOG).stat().st_size + 5):
        stage.run.log(TOTAL, loss=1.0)
    assert not (folder / LOG).read_text().endswith("\n")  # half a line
    longer = Stage(fabric, folder, total=TOTAL + 2).train()
    assert steps_logged(longer.run.folder) == list(range(1, TOTAL + 3))


def test_leftovers_of_a_kill_are_removed(fabric, folder):
    with pytest.raises(Stop):
        Stage(fabric, folder).train(before_step=stop_at(5, Stop()))
    leftover = folder / f".{CHECKPOINT}.12345.unfinished"
    leftover.write_bytes(b"half of i")
    Stage(fabric, folder).train()
    assert not leftover.exists()


def test_log_is_cut_back_to_the_checkpoint(fabric, folder):
    with pytest.raises(Stop):
        Stage(fabric, folder).train(before_step=stop_at(7, Stop()))
    assert steps_logged(folder) == list(range(1, 8))
    with (folder / LOG).open("a") as log:
        log.write('{"step": 8, "lo')
    with pytest.raises(Stop):
        Stage(fabric, folder).train(before_step=stop_at(4, Stop()))
    assert steps_logged(folder) == list(range(1, 5))


def test_a_log_that_was_damaged_is_cut_and_mended(fabric, folder, capsys):
    with pytest.raises(Stop):
        Stage(fabric, folder).train(before_step=stop_at(7, Stop()))
    lines = (folder / LOG).read_bytes().splitlines(keepends=True)
    tail = [b'{"step": Infinity, "seconds": 1}\n', b"\xff\x00\n", b"[" * 100_000]
    (folder / LOG).write_bytes(b"".join([*lines[:2], b"\xfe\xff\n", *lines[3:], *tail]))
    Stage(fabric, folder).train()
    assert steps_logged(folder) == [1, 2, *range(4, TOTAL + 1)]
    assert "log.jsonl: the lines that are damaged are left out" in " ".join(capsys.readouterr().err.split())


def test_seconds_go_on_after_resumption(fabric, folder, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))  # every step takes a second
    with pytest.raises(Stop):
        Stage(fabric, folder).train(before_step=stop_at(5, Stop()))
    assert torch.load(folder / CHECKPOINT)["seconds"] == 4
    assert Stage(fabric, folder).train().state["seconds"] == TOTAL


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-300]),
        lambda path: path.write_text("hello"),
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save({"step": 3}, path),
    ],
    ids=["empty", "cut", "text", "list", "keys"],
)
def test_corrupt_checkpoint(fabric, folder, spoil):
    Stage(fabric, folder).train()
    spoil(folder / CHECKPOINT)
    spoilt = (folder / CHECKPOINT).read_bytes()
    with pytest.raises(InputError, match=f"{CHECKPOINT} is corrupt or not a checkpoint of this run: .*Delete it") as caught:
        Stage(fabric, folder).train()
    assert "\n" not in str(caught.value)
    assert (folder / CHECKPOINT).read_bytes() == spoilt
    assert steps_logged(folder) == list(range(1, TOTAL + 1))


@pytest.fixture(scope="module")
def checkpoint(fabric, tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("whole") / "toy"
    Stage(fabric, folder).train()
    return (folder / CHECKPOINT).read_bytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_is_found_or_changes_nothing(checkpoint, tmp_path, data):
    place, bit = data.draw(st.integers(0, len(checkpoint) - 1)), data.draw(st.integers(0, 7))
    whole, path = tmp_path / "whole", tmp_path / CHECKPOINT
    whole.write_bytes(checkpoint)
    path.write_bytes(checkpoint[:place] + bytes([checkpoint[place] ^ 1 << bit]) + checkpoint[place + 1 :])
    try:
        found = read_checkpoint(path)
    except InputError as error:
        assert "is corrupt" in str(error) and "\n" not in str(error)
    else:
        assert_same_values(found, read_checkpoint(whole))


def assert_same_values(one: object, other: object) -> None:
    if isinstance(one, dict):
        assert list(one) == list(other)
        for name in one:
            assert_same_values(one[name], other[name])
    elif isinstance(one, Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


def renamed(values: dict, old: str, new: str) -> None:
    values[new] = values.pop(old)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda state: state.update(step="9"), "its step is '9'"),
        (lambda state: state.update(step=-1), "its step is -1"),
        (lambda state: state.update(step=2.5), "its step is 2.5"),
        (lambda state: state.update(seconds=float("nan")), "its seconds is nan"),
        (lambda state: state.update(average="low"), "average"),
        (lambda state: state.update(average=torch.zeros(2)), "its average is of another shape"),
        (lambda state: state.update(layer=3), "layer|dict"),
        (lambda state: renamed(state["layer"], "weight", "wait"), "layer|weight"),
        (lambda state: state.update(optimizer={}), "optimizer|param_groups"),
        (lambda state: renamed(state["optimizer"]["state"][0], "exp_avg", "exp_age"), "an optimizer has .*exp_age"),
        (lambda state: state["optimizer"]["state"][1].pop("step"), "it lacks 'step'"),
        (lambda state: state["optimizer"]["state"][0].update(exp_avg=torch.zeros(1)), "an optimizer has"),
        (lambda state: state["optimizer"]["state"][0].update(exp_avg="text"), "an optimizer has"),
        (lambda state: state["optimizer"]["param_groups"][0].pop("betas"), "betas of an optimizer is None"),
        (lambda state: state["optimizer"]["param_groups"][0].update(lr="fast"), "lr of an optimizer is 'fast'"),
    ],
)
def test_a_checkpoint_whose_values_are_of_another_kind(fabric, folder, checkpoint, spoil, said):
    folder.mkdir()
    (folder / CHECKPOINT).write_bytes(checkpoint)
    state = torch.load(folder / CHECKPOINT)
    spoil(state)
    torch.save(state, folder / CHECKPOINT)
    with pytest.raises(InputError, match=f"not a checkpoint of this run: .*({said}).*Delete it") as caught:
        Stage(fabric, folder, total=TOTAL + 2).train()
    assert "\n" not in str(caught.value)


def test_an_optimizer_that_has_not_stepped_yet_is_restored(fabric, folder):
    stage = Stage(fabric, folder)
    for _ in stage:
        stage.run.log(0, loss=1.0)
    longer = Stage(fabric, folder, total=TOTAL + 2).train()
    assert longer.state["step"] == TOTAL + 2


def test_checkpoint_of_other_settings(fabric, folder):
    Stage(fabric, folder).train()
    with pytest.raises(InputError, match="not a checkpoint of this run") as caught:
        Stage(fabric, folder, width=5).train()
    assert "\n" not in str(caught.value)


def test_checkpoint_runs_no_code(fabric, folder):
    class Malice:
        def __reduce__(self):
            return os.mkdir, (str(folder / "owned"),)

    Stage(fabric, folder).train()
    torch.save({"layer": Malice()}, folder / CHECKPOINT)
    with pytest.raises(InputError):
        Stage(fabric, folder).train()
    assert not (folder / "owned").exists()


def test_finished_believes_the_checkpoint(fabric, folder):
    assert not finished(folder, 1)
    Stage(fabric, folder).train()
    (folder / LOG).unlink()
    assert finished(folder, TOTAL)
    (folder / CHECKPOINT).write_text("hello")
    with pytest.raises(InputError, match="is corrupt"):
        finished(folder, TOTAL)


def test_a_run_that_is_complete_has_no_steps_left(fabric, folder):
    Stage(fabric, folder).train()
    before = (folder / CHECKPOINT).read_bytes()
    assert list(Stage(fabric, folder)) == []
    assert (folder / CHECKPOINT).read_bytes() == before


def test_rng_depends_on_seed_stage_and_step_alone(fabric, tmp_path):
    def first(name: str, seed: int, step: int, parent: str = "a") -> float:
        return torch.rand((), generator=Run(tmp_path / parent / name, fabric, OPTIONS, seed).rng(step=step)).item()

    draws = [first("toy", 0, 0), first("toy", 0, 1), first("toy", 1, 0), first("other", 0, 0), first("toy", 1, 1)]
    assert len(set(draws)) == 5
    torch.manual_seed(7)
    assert first("toy", 0, 1, parent="b") == draws[1]  # in any folder, whatever was drawn before
    # Recorded: runs of today resume in the next version, on any machine.
    assert draws[0] == pytest.approx(0.66982615, abs=1e-7)


def test_every_process_has_its_share(fabric, folder):
    run = Run(folder, fabric, OPTIONS, 0)
    assert run.shard(6, step=2) == ([12, 13, 14, 15, 16, 17], slice(0, 6))

    class Second:
        world_size, global_rank, is_global_zero = 3, 1, False

    run.fabric = Second()
    assert run.shard(6, step=2) == ([14, 15], slice(2, 4))


def test_due_every_so_many_steps(fabric, folder):
    run = Run(folder, fabric, OPTIONS, 0)
    assert [step for step in range(TOTAL) if run.due(step)] == [4, 9]


@pytest.mark.parametrize("columns", [80, 120])
def test_progress_keeps_steps_and_time_left_on_a_narrow_terminal(fabric, tmp_path, monkeypatch, columns):
    """Many figures are cut off at the right."""
    shown = io.StringIO()
    monkeypatch.setattr(
        engine, "Console", lambda **_: Console(file=shown, force_terminal=True, width=columns, color_system=None)
    )
    run = Run(tmp_path / "distillation", fabric, OPTIONS, 0)
    run._latest = {f"a_loss_with_a_long_name_{i}": -1.5 for i in range(5)}
    run.state = {"step": 0}
    with run._progress(250_000) as advance:
        time.sleep(0.1)
        advance(123_456)
    lines = [re.sub(r"\x1b\[\??[0-9;]*[a-zA-Z]", "", line) for line in re.split(r"[\r\n]+", shown.getvalue())]
    last = [line for line in lines if line.strip()][-1]
    assert len(last) <= columns and re.search(
        r"distillation .* 123456/250000 .* steps/s [-\d]+:[-\d]{2}:[-\d]{2} a_loss", last
    ), last


def test_picture_is_named_after_its_step(fabric, folder):
    stage = Stage(fabric, folder).train()
    path = stage.run.picture(4, torch.zeros(2, 3, 3, dtype=torch.uint8).numpy())
    assert path == folder / PICTURES / "000005.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list((folder / PICTURES).iterdir()) == [path]


@pytest.mark.parametrize("odd", [{"devices": 0}, {"num_nodes": 0}, {"save_every": 0}, {"show_every": -1}, {"threads": -1}])
def test_options_that_no_run_could_use(odd):
    (name,) = odd
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} is {odd[name]}; it must be at least"):
        check_options(Options(**odd))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_absent_devices_are_an_input_error():
    with pytest.raises(InputError, match="Can't train on 1 x 'cuda'") as caught:
        start_fabric(Options(accelerator="cuda"))
    assert "\n" not in str(caught.value)


SLURM = {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NODEID": "0", "SLURM_LOCALID": "0", "SLURM_PROCID": "0"}


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"NODE_RANK": "1"}, False),
        ({"GROUP_RANK": "1"}, False),
        (SLURM, True),
        (SLURM | {"SLURM_LOCALID": "1", "SLURM_PROCID": "1"}, False),
        (SLURM | {"SLURM_NODEID": "1", "SLURM_PROCID": "2"}, False),
    ],
)
def test_the_first_process_is_known_before_the_others_are_started(monkeypatch, variables, first):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_first_process(Options(accelerator="cpu", devices=2, num_nodes=2)) is first


def test_each_task_that_trains_alone_is_the_first(monkeypatch):
    for name, value in (SLURM | {"SLURM_PROCID": "1", "SLURM_LOCALID": "1"}).items():
        monkeypatch.setenv(name, value)
    assert is_first_process(Options(accelerator="cpu"))


def test_another_number_of_processes_than_the_launcher_started_is_an_input_error(monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"Can't train on 3 x 'cpu': .*`--ntasks-per-node=2` does not match"):
        start_fabric(Options(accelerator="cpu", devices=3, num_nodes=2))
