import dataclasses
import json
import os
import shlex
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from intarsia import commands as cli
from intarsia.commands.export import export
from intarsia.commands.train import Train
from intarsia.errors import InputError
from intarsia.model import Model
from intarsia.recipes import RECIPES
from intarsia.recipes.file import load_recipe, save_recipe
from intarsia.recipes.settings import EndToEnd, Fusion, Inpainter, Recipe, Segmenter, Vae, Vaes
from intarsia.records import TRAINING
from intarsia.weights import RECIPE, WEIGHTS, has_codes, latest, weights_sha256
from tests.trained import write_progress

TINY = dataclasses.replace(
    RECIPES["multi_dsprites"]["pixels"],
    seed=4,
    inpainter=Inpainter(channels=2),
    segmenter=Segmenter(channels=8, dimension=4),
    vae=Vae(channels=2, hidden=8),
    fusion=Fusion(channels=2),
    vaes=Vaes(steps=7),
    end_to_end=EndToEnd(steps=5),
)
MINUTES = {"inpainting": 1.0, "separation": 2.5, "vaes": 3.0, "end_to_end": 0.5}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run, as training leaves it but for what resuming needs; each stage has weights of its own."""
    folder = tmp_path / "run"
    for number, (stage, minutes) in enumerate(MINUTES.items()):
        Model(dataclasses.replace(TINY, seed=number)).save(folder / stage)
        save_recipe(TINY, folder / stage / RECIPE)
        lines = [{"step": 1, "seconds": 0.5}, {"step": getattr(TINY, stage).steps, "seconds": 60 * minutes}]
        write_progress(folder / stage, lines)
    save_recipe(TINY, folder / RECIPE)
    (folder / "machine.json").write_text(json.dumps({"processor": "Abacus", "threads": 2}))
    return folder


def trains(training: dict[str, object]) -> Recipe:
    """The recipe that the recorded command asks for."""
    command = cli.parse(shlex.split(str(training["command"]))[1:])
    assert isinstance(command, Train)
    return command.recipe


def test_weights_are_rounded_to_half_the_digits(run: Path, tmp_path: Path) -> None:
    size = export(run, tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {RECIPE, WEIGHTS, TRAINING}
    kept, were = load_file(tmp_path / "model" / WEIGHTS), load_file(run / "end_to_end" / WEIGHTS)
    assert kept.keys() == were.keys()
    assert all(torch.equal(kept[name], were[name].to(torch.float16)) for name in kept)
    loaded = Model.load(tmp_path / "model").state_dict()
    assert all(loaded[name].dtype == torch.float32 and torch.equal(loaded[name], kept[name].float()) for name in kept)
    assert size == (tmp_path / "model" / WEIGHTS).stat().st_size
    assert 0.5 < size / (run / "end_to_end" / WEIGHTS).stat().st_size < 0.55  # the names stay as long
    export(run, tmp_path / "whole", float32=True)
    assert weights_sha256(tmp_path / "whole") == weights_sha256(run / "end_to_end")


def test_how_it_was_made_goes_with_it(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "model")
    training = json.loads((tmp_path / "model" / TRAINING).read_text())
    assert load_recipe(tmp_path / "model" / RECIPE) == TINY == trains(training)
    assert has_codes(tmp_path / "model")
    assert {stage: each["minutes"] for stage, each in training["stages"].items()} == MINUTES
    assert {stage: each["steps"] for stage, each in training["stages"].items()} == {
        stage: getattr(TINY, stage).steps for stage in MINUTES
    }
    assert (training["steps"], training["minutes"]) == (sum(getattr(TINY, stage).steps for stage in MINUTES), 7.0)
    assert (training["processor"], training["threads"]) == ("Abacus", 2)
    assert training["weights_sha256"] == weights_sha256(tmp_path / "model")
    assert training["run_weights_sha256"] == weights_sha256(run / "end_to_end")


@pytest.mark.parametrize(("stage", "codes"), [("separation", False), ("vaes", True)])
def test_an_earlier_stage_has_a_recipe_that_ends_there(stage: str, codes: bool, run: Path, tmp_path: Path) -> None:
    write_progress(run / "end_to_end", [{"step": 1, "seconds": 1}])  # goes on meanwhile
    export(run / stage, tmp_path / "model")
    training = json.loads((tmp_path / "model" / TRAINING).read_text())
    assert list(training["stages"])[-1] == stage and training["run_weights_sha256"] == weights_sha256(run / stage)
    recipe = load_recipe(tmp_path / "model" / RECIPE)
    assert recipe == trains(training)
    assert (recipe.vaes.steps > 0, has_codes(tmp_path / "model")) == (codes, codes)
    assert recipe.separation == TINY.separation and (recipe == TINY) is False


def test_what_can_not_be_exported_is_refused_and_nothing_written(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    for folder in (tmp_path / "full", tmp_path / "full" / "mine"):
        with pytest.raises(InputError, match="exists; give a new or empty folder"):
            export(run, folder)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]
    Model(TINY).save(tmp_path / "model")
    with pytest.raises(InputError, match="model is not a run nor a stage of one"):
        export(tmp_path / "model", out)
    write_progress(run / "end_to_end", [{"step": 3, "seconds": 1}])
    with pytest.raises(InputError, match="run is unfinished: end_to_end is at step 3 of 5"):
        export(run, out)
    large = Model(TINY)
    with torch.no_grad():
        next(large.parameters()).flatten()[0] = 7e4
    large.save(run / "vaes")
    with pytest.raises(InputError, match="more than the 65504 that float16 can hold; give --float32"):
        export(run / "vaes", out)
    assert not out.exists()
    export(run / "vaes", out, float32=True)


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_an_export_that_was_killed_is_no_model_and_is_made_again(
    moment: int, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the record, the recipe or the weights get their name."""
    real, calls = Path.replace, list[Path]()

    def stop(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == moment:
            os._exit(9)
        return real(self, target)

    out = tmp_path / "model"
    if not (child := os.fork()):
        monkeypatch.setattr(Path, "replace", stop)
        export(run, out)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    with pytest.raises(InputError, match="is neither a run nor a model"):
        latest(out)
    export(run, out)
    assert {path.name for path in out.iterdir()} == {RECIPE, WEIGHTS, TRAINING}
    assert json.loads((out / TRAINING).read_text())["weights_sha256"] == weights_sha256(out)


def test_a_log_that_runs_ahead_is_not_believed(run: Path, tmp_path: Path) -> None:
    content = (run / "end_to_end" / "log.jsonl").read_bytes()
    write_progress(run / "end_to_end", [{"step": 1, "seconds": 0.5}])  # killed, long after the last checkpoint
    (run / "end_to_end" / "log.jsonl").write_bytes(content)
    with pytest.raises(InputError, match="run is unfinished: end_to_end is at step 1 of 5"):
        export(run, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_export_from_the_command_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "model"
    assert cli.main(["export", str(run), str(out)]) == 0
    megabytes = (out / WEIGHTS).stat().st_size / 1e6
    assert capsys.readouterr().out == f"Wrote {out}: {megabytes:.1f} MB. Next, for its scores: intarsia evaluate {out}\n"
