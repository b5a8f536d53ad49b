"""The page of a report, from the template `page.html`."""

import dataclasses
import json

from jinja2 import Environment, PackageLoader, StrictUndefined

from intarsia.evaluation.curves import HEIGHT, WIDTH, curves
from intarsia.evaluation.means import number
from intarsia.evaluation.scenes import Example, Traversals
from intarsia.recipes import train_command
from intarsia.recipes.settings import Recipe, flatten
from intarsia.records import Records, Training

TEMPLATES = Environment(
    loader=PackageLoader("intarsia.evaluation", ""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters |= {"number": number, "thousands": "{:,}".format}
TEMPLATES.globals |= {"curve_width": WIDTH, "curve_height": HEIGHT}


def page(
    name: str,
    training: Training,
    records: Records | None,
    segments: dict[str, list[Example]],
    moves: dict[int, Traversals],
) -> str:
    """The HTML of a run's report.

    Args:
        name: Of the run.
        training: The records of its training.
        records: Those of its evaluation; None where the true segments are not known.
        segments: Scenes by title.
        moves: The traversals of scenes by their index; empty where the codes are not trained.
    """
    recipe, scores = training.recipe, records and records.scores
    return TEMPLATES.get_template("page.html").render(
        title=f"{recipe.dataset}, seed {recipe.seed}",
        name=name,
        command=train_command(recipe) + training.starting,
        training=training,
        scores=scores,
        figures=scores and scores.figures,
        codes=scores and scores.codes,
        baseline=records and records.whole_image_vae,
        segments=segments,
        moves=moves,
        stages={stage: (log, curves(log)) for stage, log in training.logs.items() if log},
        settings=_settings(recipe),
    )


def _settings(recipe: Recipe) -> dict[str, list[tuple[str, str]]]:
    """All settings of a recipe as texts, in the groups that the command line has."""
    settings = dataclasses.asdict(recipe)
    groups = {"all": {key: value for key, value in settings.items() if not isinstance(value, dict)}}
    groups |= {key: value for key, value in settings.items() if isinstance(value, dict)}
    return {
        group: [(key, value if isinstance(value, str) else json.dumps(value)) for key, value in flatten(values).items()]
        for group, values in groups.items()
    }
