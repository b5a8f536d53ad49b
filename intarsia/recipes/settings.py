"""The settings of a recipe, with their meaning, unit and range.

A recipe is frozen. It is saved in every run and model folder as `recipe.json`, and the command line changes its settings
(`--separation.epsilon.highest 50`). It says what is computed, never where or how fast.
"""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Interval
from tyro.conf import Fixed, Suppress

from intarsia.recipes.networks import (
    Amount,
    Content,
    Count,
    Fraction,
    Fusion,
    Inpainter,
    Pixels,
    Segmenter,
    Size,
    Vae,
    Width,
)  # fmt: skip

__all__ = [
    "STAGES", "Consistency", "Content", "Distillation", "EndToEnd", "Epsilon", "Fusion", "Inpainter", "Inpainting", "Recipe",
    "Regions", "Regrouping", "Schedule", "Segmenter", "Separation", "Vae", "Vaes", "flatten", "planned",
]  # fmt: skip

STAGES = (
    "inpainting",
    "separation",
    "distillation",
    "vaes",
    "end_to_end",
    "consistency",
)  # in order; a recipe has settings of each name, and 0 steps skip a stage


@dataclass(frozen=True)
class Schedule:
    """The learning rate of Adam: a linear warm-up, then a cosine from the highest rate to the final one."""

    highest: Amount
    """Reached after the warm-up."""
    final: Amount = 0.0
    """Reached at the last step. The same as the highest one keeps the learning rate constant."""
    warmup_steps: Count = 100
    """Steps over which the learning rate rises."""


@dataclass(frozen=True)
class Regions:
    """How often each kind of random region is hidden: relative weights."""

    shared_box: Amount = 0.0
    """The original's: one box for the whole batch, and its complement."""
    boxes: Amount = 0.3
    """A box per image, and its complement."""
    fields: Amount = 0.3
    """Soft random partitions into 2 or 3 segments."""
    slivers: Amount = 0.3
    """A box or the whole image without thin lines, and the lines."""
    everything: Amount = 0.1
    """All of the image, and nothing: teaches the unconditional guess."""
    ellipses: Amount = 0.0
    """Two ellipses of about an object's size per image."""
    partitions: Amount = 0.0
    """Two segments of a random hard partition into 6."""
    clusters: Amount = 0.0
    """Two clusters of the image's own content, or one side of each."""


@dataclass(frozen=True)
class Inpainting:
    """Stage 1: the inpainter learns to guess random regions, before there is a segmenter to play against."""

    steps: Count = 2000
    """Optimizer steps; 0 skips the stage."""
    batch: Size = 16
    """Images per step, over all devices."""
    learning_rate: Schedule = Schedule(1e-3)
    """The inpainter's learning rate."""
    beta2: Fraction = 0.99
    """Adam's second decay. It is below the usual 0.999 because the stage is short."""
    regions: Regions = Regions()
    propagation_fraction: Fraction = 1.0
    """Fraction of the steps in which visible colours propagate over patches. Below 1 the inpainter learns to guess with and
    without."""


@dataclass(frozen=True)
class Epsilon:
    """Epsilon of the separation loss. A larger one makes small segments count less.

    It is added to the unconditional error, a sum of absolute intensities. It is held at first, rises linearly to its highest
    value, and falls linearly to its final one.
    """

    start: Amount = 30.0
    """Its first value."""
    highest: Amount = 300.0
    """Its highest value."""
    final: Amount = 300.0
    """Its value at the last step."""
    hold_steps: Count = 500
    """Steps at the first value."""
    ramp_steps: Count = 500
    """Steps from the first value to the highest."""


@dataclass(frozen=True)
class Regrouping:
    """Proposals that give each connected piece a channel of its own; the separation loss decides which are accepted."""

    weight: Amount = 0.6
    """Weight of the cross-entropy towards an accepted proposal; 0 switches regrouping off."""
    from_step: Count = 150
    """First step with proposals: background and objects should be apart by then."""


@dataclass(frozen=True)
class Separation:
    """Stage 2: segmenter against inpainter."""

    steps: Count = 4500
    """Optimizer steps of both players together; 0 skips the stage."""
    batch: Size = 8
    """Images per step, over all devices."""
    segmenter_turns: Size = 2
    """Turns of the segmenter after each turn of the inpainter."""
    learning_rate: Schedule = Schedule(1e-3)
    """The segmenter's learning rate; the inpainter's is 1e-4 in all stages of the game."""
    epsilon: Epsilon = Epsilon()
    empty: Fraction = 1.0
    """What an empty segment adds to the separation loss. 1 is the original's; with less, an image of few objects can leave
    segments empty instead of cutting its background."""
    empty_from_step: Count = 0
    """First step in which `empty` applies. Before that an empty segment adds 1; otherwise one segment could take everything."""
    hard_from_step: Count | None = None
    """First step from which the inpainter sees hard masks in the segmenter's turns; None keeps them soft."""
    propagation_from_step: Count = 0
    """First step from which visible colours propagate over patches. Before it the inpainter is weaker."""
    propagation_practice: Fraction = 0.0
    """Fraction of the inpainter's turns before that step in which colours propagate already, as practice."""
    sampled_segments: Size = 3
    """Segments sampled in each of the inpainter's turns. Fewer are faster; the original takes all."""
    random_region_fraction: Fraction = 0.5
    """Fraction of the inpainter's turns on random regions, so that it does not forget them."""
    split_fraction: Fraction = 0.0
    """Fraction of the inpainter's turns on segments in which each segment is cut in two and one side of it is hidden."""
    margin: Count = 0
    """Pixels around a segment that are hidden too, before `propagation_from_step`: their colours reveal the segment."""
    ema_decay: Fraction = 0.99
    """Decay, per segmenter turn, of the running average of its weights. The average is evaluated and kept. 0 keeps
    the last weights instead."""
    regrouping: Regrouping = Regrouping()


@dataclass(frozen=True)
class Distillation:
    """After stage 2: the segmenter learns segmentations found by search.

    They are proposed by clusters of an image's own content and by the segmenter, and chosen by the separation loss alone.
    """

    steps: Count = 0
    """Steps in all: one for each batch of scenes that are searched, then optimizer steps; 0 skips the stage."""
    batch: Size = 12
    """Images per step, over all devices."""
    scenes: Size = 1536
    """Training scenes that are searched and then learned, a multiple of the batch."""
    rounds: Count = 2
    """Clusterings of each scene, with a candidate for each number of segments; 0 leaves the proposals to the segmenter."""
    epsilon: Amount = 10.0
    """Epsilon of the separation loss."""
    margin: Count = 1
    """Cells of the fine content around a segment that are hidden too."""
    border_radius: Count = 0
    """Pixels by which the borders of what is found may move to where the colours change; 0 leaves them where they are."""
    border_colours: Width = 12
    """Colours that are told apart in an image when borders move."""
    border_window: Count = 0
    """Pixels to each side of a pixel within which a segment's colours count when borders move; 0 counts the whole image's."""
    balance: Fraction = 0.5
    """Power of a segment's area by which its pixels count less. 0 counts all pixels alike; 1 counts all segments alike."""
    upside_down: bool = True
    """Learn scenes that are mirrored top to bottom too, not only left to right."""
    recolour: bool = False
    """Learn scenes in other colours: red, green and blue times random factors, in half of the scenes in a random order."""
    learning_rate: Schedule = Schedule(1e-3, warmup_steps=60)
    ema_decay: Fraction = 0.99
    """Decay of the running average of the segmenter's weights that is kept."""


@dataclass(frozen=True)
class Vaes:
    """Stage 3: objects and background become codes and back; segmenter and inpainter are not trained."""

    steps: Count = 3000
    """Optimizer steps. 0 skips this stage and, if an earlier one is trained, the later ones, which need its networks."""
    batch: Size = 8
    """Images per step, over all devices."""
    scenes: Count = 0
    """Training scenes that come again and again, segmented once; a multiple of the batch. 0 takes new ones in every step."""
    learning_rate: Schedule = Schedule(1e-3)
    """The learning rate of VAEs and fusion networks."""
    texture_beta: Amount = 4.0
    """Weight of the texture codes' divergence; the errors beside it are summed absolute intensities."""
    background_beta: Amount = 6.0
    """Weight of the background code's divergence."""
    beta_hold_steps: Count = 0
    """First steps, in which both betas and shape_gamma are 0: the codes learn before their divergence has a price."""
    beta_ramp_steps: Count = 1000
    """Steps after those over which they rise linearly from 0."""
    shape_gamma: Amount = 1.0
    """Weight of the distance between the shape codes' divergence and the capacity; the error beside it is in nats."""
    capacity: Amount = 0.0
    """Nats that an object's shape code should carry at the end; with 0 the divergence alone is minimised."""
    capacity_ramp_steps: Count = 0
    """Steps over which the capacity rises linearly from 0."""
    background_per_batch: bool = False
    """Choose the background's channel for the whole batch, as the original does, instead of for each image."""
    max_shift: Amount = 0.0
    """Pixels by which the masks that the shape VAE learns are moved at most; 30 in the original's experiment with pairs."""


@dataclass(frozen=True)
class EndToEnd:
    """Stage 4: all networks together, with the settings that stages 2 and 3 ended with."""

    steps: Count = 1000
    """Optimizer steps of all players together; 0 skips the stage."""
    batch: Size = 8
    """Images per step, over all devices."""
    learning_rate: Schedule = Schedule(3e-4)
    """The learning rate of segmenter, VAEs and fusion networks."""


@dataclass(frozen=True)
class Consistency:
    """Stage 5: the segmenter has to find an object of changed shape in its own segment. The game continues as stage 2 ended."""

    steps: Count = 0
    """Optimizer steps of both players together; 0 skips the stage."""
    batch: Size = 4
    """Images per step, over all devices."""
    learning_rate: Schedule = Schedule(3e-5, final=3e-5, warmup_steps=0)
    """The segmenter's learning rate."""
    separation_weight: Amount = 1.0
    """Weight of the separation loss and regrouping in the segmenter's turns. With 0 the inpainter has no turns."""
    weight: Amount = 1e-3
    """Weight of the consistency error, in nats per image, in the segmenter's turns."""
    variations: Size = 6
    """Changed images for each image."""
    overlap_fraction: Fraction = 0.0
    """Fraction of the variations in which the changed object is moved onto another one, so that one lies behind the other. Such
    scenes are rare otherwise."""
    canonical: bool = False
    """Expect the changed object in the channel that it had, fuse the layers in their order, and take the mean over the batch.
    Otherwise the stage is the original's: channels in the order of objects and background, the changed object fused first,
    and the error divided by the batch once more."""


@dataclass(frozen=True)
class Recipe:
    """Every number of one dataset and its stages."""

    __pydantic_config__: ClassVar = {"extra": "forbid", "strict": True, "allow_inf_nan": False}

    dataset: Suppress[Fixed[str]]  # no option of the command line: it takes a recipe by name
    """Name of the dataset."""
    data_root: str | None = None
    """Folder of the dataset's own files; None takes the pictures of the package."""
    seed: Annotated[int, Interval(ge=0, le=2**63 - 1)] = 0
    """Seed of the training scenes, the initial weights and all random draws. The test scenes do not depend on it."""
    void: Annotated[int, Interval(ge=0, le=65535)] | None = None
    """Value that marks pixels of unknown segment in your own masks; they count in no score. None if there are none."""
    height: Pixels = 64
    """Rows of an image, in pixels."""
    width: Pixels = 64
    """Columns of an image, in pixels."""
    segments: Annotated[int, Interval(ge=2, le=256)] = 5
    """Number of segments k, background included."""
    backgrounds: Annotated[int, Interval(ge=1, le=255)] = 1
    """Number of segments that are background in the stages with codes: the largest ones."""
    edge_threshold: Amount = 0.5
    """Fraction of the strongest gradient above which a pixel is an edge."""
    signed_edges: bool = False
    """Sum the gradients of the colours with their signs, so that opposite ones cancel, and take the threshold of the gradient
    itself."""
    inpainting: Inpainting = Inpainting()
    separation: Separation = Separation()
    distillation: Distillation = Distillation()
    vaes: Vaes = Vaes()
    end_to_end: EndToEnd = EndToEnd()
    consistency: Consistency = Consistency()
    content: Content = Content()
    inpainter: Inpainter = Inpainter()
    segmenter: Segmenter = Segmenter()
    vae: Vae = Vae()
    fusion: Fusion = Fusion()

    @property
    def objects(self) -> int:
        """Number of objects n that a scene can hold: all segments but the background's."""
        return self.segments - self.backgrounds


def flatten(settings: Any, name: str = "") -> dict[str, Any]:
    """Every single setting under its dotted name, such as `separation.epsilon.highest`.

    Args:
        settings: A recipe, a part of one, or nested dictionaries.
        name: What the names start with, with its dot.
    """
    groups = dataclasses.asdict(settings) if dataclasses.is_dataclass(settings) else settings  # type: ignore[arg-type]
    found: dict[str, Any] = {}
    for key, value in groups.items():
        found |= flatten(value, f"{name}{key}.") if isinstance(value, dict) else {f"{name}{key}": value}
    return found


def planned(recipe: Recipe) -> list[str]:
    """The stages that are trained, in order: those of more than 0 steps.

    Later stages need the networks of `vaes`: without it they are left out, unless all earlier stages are skipped too. Then they
    build on the model that the run starts from.
    """
    names = [name for name in STAGES if getattr(recipe, name).steps]
    before, after = STAGES[: STAGES.index("vaes")], STAGES[STAGES.index("vaes") + 1 :]
    if not recipe.vaes.steps and any(name in before for name in names):
        return [name for name in names if name not in after]
    return names
