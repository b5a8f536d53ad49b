import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest

from intarsia.errors import InputError
from intarsia.evaluation.formats import as_csv, as_latex, as_markdown
from intarsia.evaluation.results import gathered, results
from intarsia.recipes import RECIPES, command_line
from intarsia.recipes.file import save_recipe
from intarsia.recipes.settings import Epsilon, Recipe, planned
from intarsia.records import record_machine
from intarsia.weights import WEIGHTS, shipped, weights_sha256
from tests.trained import write_progress

DATASET = "multi_dsprites"
RECIPE = RECIPES[DATASET]["pixels"]
FIGURES = {"iou": {"mean": 0.9, "std": 0.01}, "miou": 0.8, "miou_objects": 0.7}
FIGURES |= {"mbo": 0.6, "mbo_objects": 0.5, "ari": 0.4, "fg_ari": 0.3}


def make_run(folder: Path, recipe: Recipe = RECIPE, **scores: Any) -> Path:
    """The folder of a trained and evaluated run, with any bytes as weights. The stages took 60, 120, 180 and 240 seconds."""
    for i, stage in enumerate(planned(recipe)):
        (folder / stage).mkdir(parents=True)
        steps = getattr(recipe, stage).steps
        log = [{"step": 1, "seconds": 0.1}, {"step": steps, "seconds": 60.0 * (i + 1)}]
        write_progress(folder / stage, log)
        (folder / stage / WEIGHTS).write_bytes(f"{stage} {recipe.seed}".encode())
        save_recipe(recipe, folder / stage / "recipe.json")
    save_recipe(recipe, folder / "recipe.json")
    content = {
        "dataset": recipe.dataset,
        "source": "generated",
        "seed": recipe.seed,
        "test_seed": 0,
        "test_images": 2000,
        "weights_sha256": weights_sha256(folder / planned(recipe)[-1]),
        "figures": FIGURES,
        "examples": {"best": [0], "median": [1], "worst": [2]},
        "codes": None,
        "recipe": {},
    }
    (folder / "scores.json").write_text(json.dumps(content | scores))
    (folder / "machine.json").write_text(json.dumps({"processor": "Abacus", "threads": 2}))
    return folder


def test_runs_become_lists_by_seed(tmp_path: Path) -> None:
    late = make_run(tmp_path / "a", dataclasses.replace(RECIPE, seed=1), figures=FIGURES | {"miou": 0.1})
    early = make_run(tmp_path / "b")
    out = tmp_path / "docs" / "results.json"
    results([late, early], out)
    assert json.loads(out.read_text()) == {
        "multi_dsprites": {
            "seeds": [0, 1],
            "recipe": "pixels",
            "test_images": 2000,
            "iou": [0.9, 0.9],
            "iou_std": [0.01, 0.01],
            "miou": [0.8, 0.1],
            "miou_objects": [0.7, 0.7],
            "mbo": [0.6, 0.6],
            "mbo_objects": [0.5, 0.5],
            "ari": [0.4, 0.4],
            "fg_ari": [0.3, 0.3],
            "steps": [sum(getattr(RECIPE, stage).steps for stage in planned(RECIPE))] * 2,
            "minutes": [10.0, 10.0],
            "processor": ["Abacus", "Abacus"],
            "threads": [2, 2],
            "weights_sha256": [weights_sha256(run / planned(RECIPE)[-1]) for run in (early, late)],
        }
    }


def test_the_baseline_beside_a_model_and_figures_that_one_run_lacks(tmp_path: Path) -> None:
    one = make_run(tmp_path / "a", figures=FIGURES | {"psnr": 20.5, "locality": 0.8})
    other = make_run(tmp_path / "b", dataclasses.replace(RECIPE, seed=1))
    baseline = {"weights_sha256": weights_sha256(one / planned(RECIPE)[-1]), "figures": {"locality": 0.3}}
    baseline |= {"code_length": 25, "steps": 100, "test_images": 200}
    (one / "whole_image_vae.json").write_text(json.dumps(baseline))
    entry = results([other, one], tmp_path / "results.json")["multi_dsprites"]
    assert entry["psnr"] == [20.5, None] and entry["locality"] == [0.8, None]
    assert entry["locality_whole_image_vae"] == [0.3, None] and entry["ari"] == [0.4, 0.4]
    (one / "whole_image_vae.json").write_text(json.dumps(baseline | {"weights_sha256": "other"}))
    with pytest.raises(InputError, match=r"whole_image_vae\.json is of other weights"):
        results([one], tmp_path / "results.json")


def test_other_formats_by_hand(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "a", figures=FIGURES | {"psnr": 20.51}),
        make_run(tmp_path / "b", dataclasses.replace(RECIPE, seed=1), figures=FIGURES | {"iou": {"mean": 0.7, "std": None}}),
    ]
    entries = gathered(runs)
    one, other = csv.DictReader(io.StringIO(as_csv(entries)))
    assert (one["dataset"], one["seeds"], one["iou"], one["psnr"], one["test_images"]) == (DATASET, "0", "0.9", "20.51", "2000")
    assert (other["seeds"], other["iou"], other["iou_std"], other["psnr"]) == ("1", "0.7", "", "")
    head, line, row = as_markdown(entries).splitlines()
    assert head.startswith("| dataset | recipe | IoU, original's protocol | mIoU, one-to-one |")
    assert set(line) == set("| -")
    assert row.startswith(
        f"| `{DATASET}` | pixels | 0.800 ± 0.141 | 0.800 | 0.600 | 0.400 | 0.300 | 20.5 | 10,500 | 10.0 | 2 |"
    )
    latex = as_latex(entries).splitlines()
    assert latex[0] == r"\begin{tabular}{llrrrrrrrrrr}" and latex[-1] == r"\end{tabular}"
    assert latex[4].startswith(r"multi\_dsprites & pixels & $0.800 \pm 0.141$ & 0.800 &") and latex[4].endswith(r"& 2,000 \\")
    assert latex[4].count("&") == latex[2].count("&") == head.count("|") - 2


def test_figures_of_a_shipped_model_are_those_of_its_files() -> None:
    entry = gathered([Path("multi_texture_pair")])["multi_texture_pair"]
    scores = json.loads((shipped()["multi_texture_pair"] / "scores.json").read_text())
    trained = json.loads((shipped()["multi_texture_pair"] / "training.json").read_text())
    assert entry["fg_ari"] == [scores["figures"]["fg_ari"]] and entry["weights_sha256"] == [scores["weights_sha256"]]
    assert entry["steps"] == [trained["steps"]] and entry["processor"] == [trained["processor"]]
    assert entry["recipe"] == "pixels --start multi_texture_pixels"
    assert "0.002439" in as_csv({"multi_texture_pair": entry})  # nested figures are there too


def test_other_datasets_stay(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    out.write_text(json.dumps({"multi_texture": {"seeds": [7]}, "multi_dsprites": {"seeds": [8, 9]}}))
    results([make_run(tmp_path / "a")], out)
    entries = json.loads(out.read_text())
    assert entries["multi_texture"] == {"seeds": [7]}
    assert entries["multi_dsprites"]["seeds"] == [0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "pixels"),
        ({"seed": 5}, "pixels"),
        ({"segments": 7, "seed": 5}, "pixels --segments 7"),
        (
            {"separation": dataclasses.replace(RECIPE.separation, epsilon=Epsilon(start=5.0))},
            "pixels --separation.epsilon.start 5.0",
        ),
    ],
)
def test_recipe_in_the_words_of_the_command_line(changes: dict[str, Any], words: str) -> None:
    assert command_line(dataclasses.replace(RECIPE, **changes)) == words


def test_machine_is_recorded_once(tmp_path: Path) -> None:
    record_machine(tmp_path, threads=3)
    first = json.loads((tmp_path / "machine.json").read_text())
    assert first["threads"] == 3
    assert first["processor"]
    record_machine(tmp_path, threads=4)
    assert json.loads((tmp_path / "machine.json").read_text()) == first


def spoil(run: Path, how: str) -> None:
    if how == "not a run":
        (run / "recipe.json").unlink()
    elif how == "not evaluated":
        (run / "scores.json").unlink()
    elif how == "unfinished":
        write_progress(run / planned(RECIPE)[-1], [{"step": 5, "seconds": 1}])
    elif how == "unfinished, with a log that runs ahead":
        log = run / planned(RECIPE)[-1] / "log.jsonl"
        content = log.read_bytes()
        write_progress(log.parent, [{"step": 1, "seconds": 1}])
        log.write_bytes(content)
    elif how == "no checkpoint":
        (run / planned(RECIPE)[0] / "checkpoint.pt").unlink()
    elif how == "no log":
        (run / planned(RECIPE)[0] / "log.jsonl").unlink()
    elif how == "short log":
        (run / planned(RECIPE)[0] / "log.jsonl").write_text('{"step": 1, "seconds": 1}\n')
    elif how == "log that is no text":
        (run / planned(RECIPE)[0] / "log.jsonl").write_bytes(b"\x00\xff" * 20)
    elif how == "checkpoint of nothing":
        (run / planned(RECIPE)[0] / "checkpoint.pt").write_bytes(b"")
    elif how == "machine of nothing":
        (run / "machine.json").write_text("[]")
    elif how == "cut log":
        (run / planned(RECIPE)[0] / "log.jsonl").write_text('{"step": 5, "sec')
    elif how == "foreign log":
        (run / planned(RECIPE)[0] / "log.jsonl").write_text('{"step": 1, "seconds": 1}\n{"step": 2}\n')
    elif how == "log of nothing":
        (run / planned(RECIPE)[0] / "log.jsonl").write_text("null")
    elif how == "other weights":
        (run / planned(RECIPE)[-1] / WEIGHTS).write_bytes(b"other")
    elif how == "no figures":
        scores = json.loads((run / "scores.json").read_text())
        (run / "scores.json").write_text(json.dumps(scores | {"figures": {}}))
    elif how == "text for a number":
        scores = json.loads((run / "scores.json").read_text())
        (run / "scores.json").write_text(json.dumps(scores | {"figures": FIGURES | {"psnr": "high"}}))
    elif how == "foreign baseline":
        (run / "whole_image_vae.json").write_text("{}")
    elif how == "foreign machine":
        (run / "machine.json").write_text('{"threads": 2}')
    elif how == "not JSON":
        (run / "scores.json").write_text("{")
    elif how == "endless JSON":
        (run / "scores.json").write_text("[" * 100_000)


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ("not a run", "is not a run"),
        ("not evaluated", "has not been evaluated"),
        ("unfinished", "end_to_end is at step 5 of"),
        ("unfinished, with a log that runs ahead", "end_to_end is at step 1 of"),
        ("no checkpoint", "inpainting is at step 0 of"),
        ("no log", r"log\.jsonl can't be read: No such file"),
        ("short log", r"log\.jsonl ends at step 1, but checkpoint\.pt beside it is of step \d+: a part is missing"),
        ("log that is no text", r"log\.jsonl can't be read: line 1 is no record"),
        ("checkpoint of nothing", r"checkpoint\.pt is corrupt"),
        ("machine of nothing", r"machine\.json should hold a JSON object, but holds a list"),
        ("cut log", r"log\.jsonl can't be read"),
        ("foreign log", r"log\.jsonl can't be read: line 2 is no record with a step and seconds"),
        ("log of nothing", r"log\.jsonl can't be read: line 1 is no record"),
        ("other weights", "is of other weights"),
        ("no figures", r"scores\.json is incomplete \(figures\.iou: Field required\); run `intarsia evaluate .*` again\.$"),
        ("text for a number", r"scores\.json is incomplete \(figures\.psnr: "),
        ("foreign baseline", r"whole_image_vae\.json is incomplete"),
        ("foreign machine", r"machine\.json is incomplete"),
        ("not JSON", r"scores\.json can't be read"),
        ("endless JSON", r"scores\.json can't be read"),
    ],
)
def test_bad_run_is_refused_and_nothing_written(how: str, complaint: str, tmp_path: Path) -> None:
    good, bad = make_run(tmp_path / "good"), make_run(tmp_path / "bad", dataclasses.replace(RECIPE, seed=1))
    spoil(bad, how)
    out = tmp_path / "results.json"
    out.write_text('{"multi_dsprites": 1}')
    with pytest.raises(InputError, match=complaint):
        results([good, bad], out)
    assert out.read_text() == '{"multi_dsprites": 1}'


def test_runs_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    one = make_run(tmp_path / "one")
    with pytest.raises(InputError, match="have the same seed"):
        results([one, make_run(tmp_path / "two")], tmp_path / "out.json")
    other = dataclasses.replace(RECIPE, seed=1, edge_threshold=0.3)
    with pytest.raises(InputError, match=r"differ in recipe.*--edge-threshold 0\.3"):
        results([one, make_run(tmp_path / "three", other)], tmp_path / "out.json")
    with pytest.raises(InputError, match="differ in test_images"):
        results([one, make_run(tmp_path / "four", dataclasses.replace(RECIPE, seed=1), test_images=10)], tmp_path / "out.json")
    with pytest.raises(InputError, match="No run is given"):
        results([], tmp_path / "out.json")


def test_results_that_are_none_are_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    out.write_text("[1]")
    with pytest.raises(InputError, match="should hold a JSON object"):
        results([make_run(tmp_path / "a")], out)
    assert out.read_text() == "[1]"
