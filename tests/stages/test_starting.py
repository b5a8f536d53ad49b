"""Runs that start from the weights of another model."""

import dataclasses
import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch

from intarsia import commands as cli
from intarsia.commands.export import export
from intarsia.commands.train import Train
from intarsia.errors import InputError
from intarsia.model import Model
from intarsia.recipes.options import Options
from intarsia.recipes.settings import (
    Consistency,
    EndToEnd,
    Fusion,
    Inpainter,
    Inpainting,
    Recipe,
    Regrouping,
    Segmenter,
    Separation,
    Vae,
    Vaes,
    planned,
)
from intarsia.records import TRAINING, record_machine
from intarsia.stages import train
from intarsia.stages.starting import started_from
from intarsia.weights import START, has_codes, weights_sha256

ONE_THREAD = Options(precision="32-true", accelerator="cpu", threads=1, show_every=1000)
TINY = Recipe(
    "multi_dsprites",
    segments=3,
    inpainter=Inpainter(channels=2, patches=8),
    segmenter=Segmenter(channels=8, dimension=4),
    vae=Vae(texture_dimension=2, shape_dimension=4, background_dimension=2, channels=2, hidden=4),
    fusion=Fusion(channels=2),
    inpainting=Inpainting(steps=2, batch=2),
    separation=Separation(steps=2, batch=2, regrouping=Regrouping(weight=0.0)),
    vaes=Vaes(steps=2, batch=2),
    end_to_end=EndToEnd(steps=0),
    consistency=Consistency(steps=2, batch=2, variations=1),
)


ALL = {"inpainter", "segmenter", "autoencoder"}


def without(recipe: Recipe, *stages: str) -> Recipe:
    """The recipe with 0 steps of some stages."""
    return dataclasses.replace(recipe, **{stage: dataclasses.replace(getattr(recipe, stage), steps=0) for stage in stages})


def learn(model: Model, *parts: str) -> Model:
    """The model with other weights in some of its networks."""
    with torch.no_grad():
        for part in parts:
            for value in model.get_submodule(part).parameters():
                value.add_(0.01)
    return model


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A model whose inpainter and segmenter have learned, with its own seed."""
    learn(Model(dataclasses.replace(TINY, seed=7)), "inpainter", "segmenter").save(tmp_path / "source")
    return tmp_path / "source"


def same(first: Model, second: Model) -> set[str]:
    """The networks that are alike to the last bit."""
    one, other = first.state_dict(), second.state_dict()
    odd = {name.split(".")[0] for name in one if not torch.equal(one[name], other[name])}
    return ALL - odd


def test_what_has_learned_is_taken_and_the_rest_is_as_always(source: Path) -> None:
    model, names = started_from(source, TINY)
    assert names == ["inpainter", "segmenter"]
    assert same(model, Model.load(source)) == {"inpainter", "segmenter"}
    assert same(model, Model(TINY)) == {"autoencoder"}
    assert model.recipe == TINY


def test_single_weights_that_have_not_learned_are_as_always(tmp_path: Path) -> None:
    """As in a segmenter of which ImageNet has the trunk alone."""
    given = Model(dataclasses.replace(TINY, seed=7))
    name, value = next(iter(given.segmenter.named_parameters()))
    with torch.no_grad():
        value.fill_(3.0)
    given.save(tmp_path / "source")
    found = started_from(tmp_path / "source", TINY)[0].segmenter.state_dict()
    assert (found.pop(name) == 3.0).all()
    initial = Model(TINY).segmenter.state_dict()
    assert all(torch.equal(kept, initial[name]) for name, kept in found.items())


def test_float16_is_not_taken_for_learning(tmp_path: Path) -> None:
    learn(Model(dataclasses.replace(TINY, seed=7)), "inpainter").save(tmp_path / "source", torch.float16)
    assert started_from(tmp_path / "source", TINY)[1] == ["inpainter"]


def test_a_shipped_model_and_a_run_can_be_started_from(source: Path, tmp_path: Path) -> None:
    Model.load(source).save(tmp_path / "run" / "separation")
    assert same(started_from(tmp_path / "run", TINY)[0], Model.load(source)) == {"inpainter", "segmenter"}
    recipe = Model.load(Path(cli.__file__).parents[1] / "weights" / "multi_texture_pixels").recipe
    assert started_from(Path("multi_texture_pixels"), recipe)[1] == ["inpainter", "segmenter", "autoencoder"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("object_weight", 2.0),
        ("votes", 12),
        ("clusters", 12),
        ("border_radius", 12),
        ("border_colours", 12),
        ("border_window", 12),
        ("one_piece", True),
    ],
)
def test_what_follows_the_network_may_differ(name: str, value: int | bool, source: Path) -> None:
    """The final masks are made otherwise; the network is the same."""
    recipe = dataclasses.replace(TINY, segmenter=dataclasses.replace(TINY.segmenter, **{name: value}))
    assert started_from(source, recipe)[1] == ["inpainter", "segmenter"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"segments": 4}, r"its autoencoder is another network \(segments is 4 here, 3 there\)"),
        (
            {"vae": dataclasses.replace(TINY.vae, fill_with_mean=False)},
            r"autoencoder .* \(vae\.fill_with_mean is False here, True there\)",
        ),
        ({"inpainter": Inpainter(channels=4, patches=8)}, r"inpainter .*\(inpainter\.channels is 4 here, 2 there\)"),
        ({"inpainter": Inpainter("reference")}, r"inpainter\.network is reference here, compact there"),
        ({"segmenter": Segmenter("segnet")}, r"segmenter\.network is segnet here, compact there"),
        ({"segmenter": dataclasses.replace(TINY.segmenter, span=8.0)}, r"\(segmenter\.span is 8\.0 here, 0\.0 there\)"),
        ({"height": 96}, r"its inpainter is another network \(height is 96 here, 64 there\)"),
    ],
)
def test_another_architecture_is_refused_with_its_settings(source: Path, tmp_path: Path, changes: dict, complaint: str) -> None:
    learn(Model.load(source), "autoencoder").save(tmp_path / "whole")
    recipe = dataclasses.replace(without(TINY, "inpainting", "vaes"), **changes)
    with pytest.raises(InputError, match=complaint) as caught:
        started_from(tmp_path / "whole", recipe)
    assert "\n" not in str(caught.value)


def test_a_network_of_another_size_that_is_trained_anew_starts_as_always(source: Path, tmp_path: Path) -> None:
    learn(Model.load(source), "autoencoder").save(tmp_path / "whole")
    recipe = dataclasses.replace(TINY, segments=4)
    model, names = started_from(tmp_path / "whole", recipe)
    assert names == ["inpainter", "segmenter"]
    assert same(model, Model(recipe)) == {"autoencoder"}
    with pytest.raises(InputError, match="each of its networks has another size here, and is trained anew"):
        started_from(tmp_path / "whole", dataclasses.replace(TINY, height=96))


def test_a_segmenter_that_names_objects_starts_from_one_that_does_not(source: Path) -> None:
    recipe = dataclasses.replace(TINY, segmenter=dataclasses.replace(TINY.segmenter, learn_channels=True))
    model, names = started_from(source, recipe)
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert names == ["inpainter", "segmenter"]
    assert torch.equal(
        model.segmenter(images), Model.load(source).segmenter(images)
    )  # named in the order of the scopes at first


def test_what_has_not_learned_may_be_another_network(source: Path) -> None:
    other = dataclasses.replace(TINY, vae=Vae(shape_dimension=7), dataset="multi_texture", seed=3)
    assert same(started_from(source, other)[0], Model(other)) == {"autoencoder"}


def test_a_model_that_has_learned_nothing_is_refused(tmp_path: Path) -> None:
    Model(TINY).save(tmp_path / "source")
    with pytest.raises(InputError, match="source has learned nothing: all its weights are initial ones"):
        started_from(tmp_path / "source", TINY)


def test_a_run_starts_from_it_and_resumes_without_it(source: Path, tmp_path: Path) -> None:
    recipe = without(TINY, "inpainting", "vaes")
    expected = started_from(source, recipe)[0]
    train(recipe, tmp_path / "run", ONE_THREAD, start=source)
    assert same(Model.load(tmp_path / "run" / START), expected) == ALL
    trained = Model.load(tmp_path / "run" / "separation")
    shutil.rmtree(tmp_path / "run" / "separation")  # as if it had been killed before its first checkpoint
    train(recipe, tmp_path / "run", ONE_THREAD)
    assert same(Model.load(tmp_path / "run" / "separation"), trained) == ALL
    train(recipe, tmp_path / "plain", ONE_THREAD)
    assert same(trained, Model.load(tmp_path / "plain" / "separation")) == {"autoencoder"}
    assert not (tmp_path / "plain" / START).exists()


def test_a_run_keeps_its_start(source: Path, tmp_path: Path) -> None:
    recipe, run = without(TINY, "inpainting", "separation"), tmp_path / "run"
    train(recipe, run, ONE_THREAD, start=source)
    train(recipe, run, ONE_THREAD, start=source)  # the same command
    before = weights_sha256(run / START)
    learn(Model.load(source), "segmenter").save(tmp_path / "other")
    with pytest.raises(InputError, match=r"run holds a run that did not start from .*other\. Give another folder"):
        train(recipe, run, ONE_THREAD, start=tmp_path / "other")
    assert weights_sha256(run / START) == before
    recipe = without(TINY, "vaes")
    train(recipe, tmp_path / "plain", ONE_THREAD)
    with pytest.raises(InputError, match="plain holds a run that did not start from"):
        train(recipe, tmp_path / "plain", ONE_THREAD, start=source)
    assert not (tmp_path / "plain" / START).exists()


def test_the_command_names_a_shipped_start(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia.weights.SHIPPED", source.parent)
    recipe = without(TINY, "inpainting", "separation", "consistency")
    train(recipe, tmp_path / "run", ONE_THREAD, start=Path(source.name))
    record_machine(tmp_path / "run", 1)
    export(tmp_path / "run", tmp_path / "model")
    command = json.loads((tmp_path / "model" / TRAINING).read_text())["command"]
    assert command.endswith(f" --start {source.name}")


def test_codes_need_segments(source: Path, tmp_path: Path) -> None:
    recipe = without(TINY, "inpainting", "separation")
    with pytest.raises(InputError, match=r"'vaes' builds on 'separation', which is skipped .*start from a model with segments"):
        train(recipe, tmp_path / "run", ONE_THREAD)
    assert not (tmp_path / "run").exists()


def test_killed_before_the_recipe_had_its_name(source: Path, tmp_path: Path) -> None:
    Model(TINY).save(tmp_path / "run" / START)
    recipe = without(TINY, "inpainting", "separation", "consistency")
    with pytest.raises(InputError, match="run exists and is not a run"):
        train(recipe, tmp_path / "run", ONE_THREAD)
    train(recipe, tmp_path / "run", ONE_THREAD, start=source)
    assert same(Model.load(tmp_path / "run" / "vaes"), Model.load(source)) == {"inpainter", "segmenter"}


def test_the_last_stage_alone_of_a_whole_model(source: Path, tmp_path: Path) -> None:
    recipe = without(TINY, "inpainting", "separation", "vaes")
    assert planned(recipe) == ["consistency"]
    for start in (None, source):
        with pytest.raises(
            InputError, match=r"'consistency' builds on 'vaes', which is skipped .*start from a model with codes"
        ):
            train(recipe, tmp_path / "run", ONE_THREAD, start=start)
    assert not (tmp_path / "run").exists()
    learn(Model.load(source), "autoencoder").save(tmp_path / "whole")
    train(recipe, tmp_path / "run", ONE_THREAD, start=tmp_path / "whole")
    assert same(Model.load(tmp_path / "run" / "consistency"), Model.load(tmp_path / "whole")) == {"autoencoder"}
    record_machine(tmp_path / "run", 1)
    export(tmp_path / "run", tmp_path / "model")
    record = json.loads((tmp_path / "model" / TRAINING).read_text())
    assert record["command"].endswith(" --start MODEL") and record["start_weights_sha256"] == weights_sha256(
        tmp_path / "run" / START
    )
    command = cli.parse(shlex.split(record["command"])[1:])
    assert isinstance(command, Train) and command.recipe == recipe and command.start == Path("MODEL")
    assert has_codes(tmp_path / "model")


def test_from_the_command_line(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the recipe's networks but for their sizes, which the command changes."""
    small = "--segments 3 --inpainter.channels 2 --inpainter.patches 8 --segmenter.channels 8 --segmenter.dimension 4"
    steps = "--inpainting.steps 0 --separation.steps 1 --separation.batch 2 --vaes.steps 0 --threads 1 --precision 32-true"
    command = f"train multi_dsprites/pixels {small} {steps} --run {tmp_path / 'run'}".split()
    assert cli.main([*command, "--start", str(tmp_path / "none")]) == 2
    assert "is neither a run nor a model" in capsys.readouterr().err
    assert cli.main([*command, "--start", str(source), "--segmenter.channels", "16"]) == 2
    assert "segmenter.channels is 16 here, 8 there" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert cli.main([*command, "--start", str(source)]) == 0
    assert f"Starts from {source}: inpainter, segmenter." in capsys.readouterr().out
    assert cli.main(command) == 0
