"""Locality of changes in a run's model and in a whole-image beta-VAE: does a change of one number change only one object?

`python benchmarks/locality.py runs/d0` trains the whole-image VAE (`intarsia.baselines.whole_image_vae`) on scenes of the
same seed, for as many steps as all stages of the run. Its code is as long as all codes of the run's model together. Then
every informative number of both models is changed by one unit on the same 200 test scenes. The run's model finds the objects
before and after. The results, `whole_image_vae.json`, and the weights go into the run folder, where `intarsia results` reads
them. The last line is a JSON object.
"""

import json
import sys
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import tyro
from lightning_fabric import Fabric
from rich.console import Console
from rich.table import Table

from intarsia.baselines import whole_image_vae
from intarsia.data import open_dataset
from intarsia.engine import start_fabric
from intarsia.errors import InputError
from intarsia.evaluation.batches import batches
from intarsia.evaluation.codes import AT_ONCE, LOCALITY_SCENES, changes, find, inspect, reconstruction, summary_of
from intarsia.evaluation.means import mean as mean_score
from intarsia.evaluation.segments import TEST_SEED
from intarsia.files import make_folder, replacing
from intarsia.metrics.disentanglement import dimensions_in_use
from intarsia.metrics.locality import measure
from intarsia.model import Model
from intarsia.objectives import divergence
from intarsia.recipes.options import Options, Precision, check_options
from intarsia.recipes.settings import STAGES, Recipe
from intarsia.records import WHOLE_IMAGE_VAE
from intarsia.weights import WEIGHTS, has_codes, latest

Figures = dict[str, Any]


def code_length(recipe: Recipe) -> int:
    """The length of the codes of all objects and the background together."""
    sizes = recipe.vae
    return recipe.objects * (sizes.shape_dimension + sizes.texture_dimension) + sizes.background_dimension


def figures_of(model: Model, baseline: whole_image_vae.WholeImageVae, count: int) -> tuple[Figures, Figures]:
    """The figures of the model and of the baseline on the first `count` test scenes: locality and reconstruction.

    The model's segments are used for both.
    """
    recipe = model.recipe
    test = open_dataset(recipe.dataset, TEST_SEED, "test", recipe.data_root).with_one_background()
    per_image, objects = inspect(model, test, batches(count, AT_ONCE, "Reconstruction"))
    images = test(range(count)).images
    posterior = whole_image_vae.encode(baseline, images)
    rendered = whole_image_vae.decode(baseline, posterior.mean)
    own, baselines = dimensions_in_use(objects.kl), dimensions_in_use(divergence(*posterior))
    movements: list[Figures] = []
    for numbers, change in (
        (own, partial(changes, model, own)),
        (baselines, partial(whole_image_vae.changes, baseline, dimensions=baselines)),
    ):
        indices = batches(count, AT_ONCE, "Locality")
        movements.append(summary_of(measure(test, indices, change, partial(find, model)) if numbers else None))
    close = [
        {name: mean_score(values) for name, values in found.items()} for found in (per_image, reconstruction(images, rendered))
    ]
    return {**movements[0], **close[0], "informative": len(own)}, {**movements[1], **close[1], "informative": len(baselines)}


def compare(run: Path, steps: int, fabric: Fabric) -> dict[str, Any]:
    """Train the baseline of a run, measure both, and write the figures into the run folder."""
    source = latest(run)
    if not has_codes(source):
        raise InputError(f"{run} has no codes to compare with: stage 'vaes' is not trained.")
    model = Model.load(source)
    recipe = model.recipe
    steps = steps or sum(getattr(recipe, stage).steps for stage in STAGES)
    make_folder(run)
    train = open_dataset(recipe.dataset, recipe.seed, "train", recipe.data_root)
    trained = whole_image_vae.train(
        train, code_length(recipe), steps=steps, batch=recipe.vaes.batch, seed=recipe.seed, fabric=fabric
    )
    baseline = trained.model.cpu()
    own, baselines = figures_of(model, baseline, LOCALITY_SCENES)
    record = {
        "dataset": recipe.dataset, "seed": recipe.seed, "test_seed": TEST_SEED, "test_images": LOCALITY_SCENES,
        "weights_sha256": model.weights_sha256, "code_length": code_length(recipe), "steps": steps,
        "batch": recipe.vaes.batch, "train_minutes": round(trained.seconds / 60, 2),
        "last_loss": round(mean(trained.losses[-100:]), 3), "figures": baselines, "model_figures": own,
    }  # fmt: skip
    whole_image_vae.save(baseline, (run / WHOLE_IMAGE_VAE).with_suffix(".safetensors"))
    with replacing(run / WHOLE_IMAGE_VAE) as path:
        path.write_text(json.dumps(record, indent=2) + "\n")
    return record


def table(run: Path, record: dict[str, Any]) -> Table:
    title = f"{run}: {record['dataset']}, seed {record['seed']}, {record['test_images']} test scenes"
    rows = Table("", "this model", "whole-image VAE", title=title, title_justify="left")
    for name, own in record["model_figures"].items():
        other = record["figures"].get(name)
        rows.add_row(name, *("–" if value is None else f"{value:.4g}" for value in (own, other)))
    return rows


def main(
    runs: tyro.conf.Positional[tuple[Path, ...]] = (), steps: int = 0, threads: int = 0, precision: Precision = "32-true"
) -> None:
    """Compare the models of runs with a whole-image VAE each.

    Args:
        runs: Run folders with a trained stage vaes; by default all of these in runs/.
        steps: Optimizer steps of the whole-image VAE; 0 for as many as all stages of the run. Fewer only for a quick test.
        threads: The number of threads; 0 for PyTorch's default.
        precision: Of the training of the whole-image VAE.
    """
    if steps < 0:
        raise InputError(f"--steps is {steps}; it must be at least 0.")
    options = Options(precision=precision, threads=threads)
    check_options(options)
    named = runs or tuple(path.parent for path in sorted(Path("runs").glob("*/vaes")) if (path / WEIGHTS).is_file())
    fabric = start_fabric(options)
    records = {str(run): compare(run, steps, fabric) for run in named}
    for run, record in records.items():
        Console().print(table(Path(run), record))
    print(json.dumps(records))


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except InputError as error:
        sys.exit(str(error))
