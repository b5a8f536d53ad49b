"""Models on the Hugging Face Hub: loaded by the name of their repository, and pushed with a card made from their scores."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intarsia.errors import InputError
from intarsia.model import Model
from intarsia.recipes.file import load_recipe
from intarsia.recipes.settings import Recipe
from intarsia.records import PICTURE, SCORES, TRAINING, Scores, read_as
from intarsia.weights import NOVELTY, RECIPE, WEIGHTS, latest

CARD = "README.md"
GENERATED = "generated"  # the source of scenes that the package draws; they have its licence
METRICS = {
    "iou": "IoU, the original's protocol",
    "miou": "mIoU, matched one-to-one",
    "mbo": "mBO, best overlap",
    "ari": "ARI",
    "fg_ari": "FG-ARI",
    "psnr": "PSNR of the rendered images, dB",
    "ssim": "SSIM of the rendered images",
    "locality": "locality of a change of one number, bare fusion output",
    "locality_composited": "locality of a change of one number, composited",
}
BODY = """
# {name}

Finds the objects in images of {dataset} without ever having seen a label{codes}: a model of Intarsia, a PyTorch
implementation of *Learning to Manipulate Individual Objects in an Image* (Yang, Chen, Soatto, CVPR 2020).
{picture}
```python
import intarsia

model = intarsia.from_pretrained("{repo_id}")
masks = model.segment(images)  # b 3 {height} {width} in [0, 1] -> b {segments} {height} {width}, summing to 1 over the segments
```

## Scores

On {count:,} test scenes of {dataset} ({source}), weights with SHA-256 `{sha256}`; `scores.json` holds all figures.

{table}
"""


@dataclass(frozen=True)
class Trained:
    """How a model was trained, as `intarsia export` writes it into `training.json`."""

    command: str
    steps: int
    minutes: float
    processor: str
    threads: int
    intarsia: str


def from_pretrained(repo_id: str, revision: str | None = None) -> Model:
    """Load the model in a repository of the hub; if the hub can't be reached, the copy that was downloaded before.

    Args:
        repo_id: `owner/name`.
        revision: A branch, a tag or a commit's hash; None for the newest commit.

    Raises:
        InputError: if the extra `hub` is not installed, the repository can't be downloaded, or it holds no model.
    """
    hub = _library()
    with _named(repo_id):
        folder = hub.snapshot_download(repo_id, revision=revision, allow_patterns=[RECIPE, WEIGHTS, NOVELTY])
    return Model.load(Path(folder))


def push_to_hub(folder: str | Path, repo_id: str, private: bool = False, licence: str | None = None) -> str:
    """Push an evaluated model folder and its card to the hub, in one commit; the repository is created if it does not exist.

    Args:
        folder: The folder of a model, such as `intarsia export` writes, after `intarsia evaluate`.
        repo_id: `owner/name`. The token comes from `hf auth login`, or from HF_TOKEN.
        private: Whether only the owner can see a new repository.
        licence: The hub's name of the weights' licence, such as "cc-by-4.0"; None for the package's, "mit", if the package
            drew the scenes.

    Returns:
        The address of the commit.

    Raises:
        InputError: if the extra `hub` is not installed, there is no model, its scores are missing or of other weights, its
            licence is not known, or the hub refuses.
    """
    hub = _library()
    source = latest(Path(folder))
    scores = Scores.load(source)
    licence = licence or ("mit" if scores.source == GENERATED else None)
    if licence is None:
        raise InputError(f"The scenes come from {scores.source}, so the licence of the weights is yours to say: licence=...")
    path = source / TRAINING
    training = read_as(Trained, path, "export the model again") if path.is_file() else None
    names = [name for name in (RECIPE, WEIGHTS, NOVELTY, SCORES, TRAINING, PICTURE) if (source / name).is_file()]
    contents: dict[str, Path | bytes] = {name: source / name for name in names}
    card = model_card(repo_id, load_recipe(source / RECIPE), scores, training, licence, PICTURE in names)
    contents[CARD] = card.encode()
    with _named(repo_id):
        api = hub.HfApi()
        api.create_repo(repo_id, private=private, exist_ok=True)
        operations = [hub.CommitOperationAdd(name, content) for name, content in contents.items()]
        return str(api.create_commit(repo_id, operations, commit_message="Push an Intarsia model").commit_url)


def model_card(
    repo_id: str, recipe: Recipe, scores: Scores, training: Trained | None, licence: str, pictured: bool = False
) -> str:
    """The page of a model on the hub: Markdown, with its metadata in front.

    Args:
        repo_id: `owner/name`.
        recipe: Of the model.
        scores: Of the model.
        training: None where it is not known how the model was trained.
        licence: The hub's name of it.
        pictured: Whether the repository holds `segments.png`.
    """
    hub, name, dataset = _library(), repo_id.rpartition("/")[2], scores.dataset
    values = {"iou": scores.figures.iou.mean} | {metric: getattr(scores.figures, metric) for metric in list(METRICS)[1:]}
    figures = {metric: value for metric, value in values.items() if value is not None}
    results = [
        hub.EvalResult(
            task_type="image-segmentation",
            dataset_type=dataset,
            dataset_name=f"{dataset} ({scores.source})",
            dataset_split="test",
            metric_type=metric,
            metric_name=METRICS[metric],
            metric_value=value,
        )
        for metric, value in figures.items()
    ]
    metadata = hub.ModelCardData(
        license=licence,
        library_name="intarsia",
        pipeline_tag="image-segmentation",
        tags=["object-centric-learning", "unsupervised-segmentation", "pytorch"],
        datasets=[dataset],
        model_name=name,
        eval_results=results,
    )
    body = BODY.format(
        name=name,
        repo_id=repo_id,
        dataset=dataset,
        codes=", and changes each on its own" if scores.codes else "",
        picture="\n![Test scenes: image, true segments, found segments](segments.png)\n" if pictured else "",
        height=recipe.height,
        width=recipe.width,
        segments=recipe.segments,
        count=scores.test_images,
        source=scores.source,
        sha256=scores.weights_sha256,
        table="\n".join(["| metric | value |", "|---|---|", *(f"| {METRICS[m]} | {v:.3f} |" for m, v in figures.items())]),
    )
    return f"---\n{metadata.to_yaml().strip()}\n---\n{body}{_training_section(training)}"


def _training_section(training: Trained | None) -> str:
    if training is None:
        return ""
    threads = f"{training.threads} thread{'' if training.threads == 1 else 's'}"
    return (
        f"\n## Training\n\n```\n{training.command}\n```\n\n{training.steps:,} steps in {training.minutes:.1f} minutes "
        f"on {threads} of {training.processor}, with Intarsia {training.intarsia}.\n"
    )


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise InputError("The hub needs a package that is not installed: pip install 'intarsia[hub]'.") from None
    return huggingface_hub


@contextmanager
def _named(repo_id: str) -> Iterator[None]:
    """Turn every error of the hub's library into an `InputError` of one line that begins with the repository's name."""
    try:
        yield
    except Exception as error:
        raise InputError(f"{repo_id}: {' '.join(str(error).split()) or type(error).__name__}") from error
