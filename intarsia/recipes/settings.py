"""What a recipe consists of: the settings of the networks and stages, their meaning and units.

A recipe is frozen, travels inside every run and model folder as `recipe.json`, and is what the command line's settings
change (`--separation.epsilon 50`). It says what is computed, never where or how fast.
"""

from dataclasses import dataclass, field
from typing import Literal

from tyro.conf import Fixed, Suppress

STAGES = (
    "inpainting",
    "separation",
    "vaes",
    "end_to_end",
    "consistency",
)  # in order; a recipe has settings of each name, and 0 steps skip a stage


@dataclass(frozen=True)
class Inpainter:
    """The network that guesses what is hidden."""

    network: Literal["compact", "reference"] = "compact"
    """Ours, or the original's, which has no sizes to set."""
    channels: int = 16
    """Channels at half size; deeper levels have up to 8 times as many. Compact."""
    patches: int = 96
    """Soft patches over which visible colours spread; 0 for none. Compact."""


@dataclass(frozen=True)
class Segmenter:
    """The network that splits an image into segments."""

    network: Literal["compact", "segnet", "resnet50"] = "compact"
    """Ours, or one of the original's two."""
    channels: int = 32
    """Channels at half size; deeper levels have 2 and 4 times as many. Compact."""
    dimension: int = 16
    """Length of a pixel's embedding. Compact."""
    span: float = 0.0
    """What the longer side of the image measures in the space of embeddings, 8 for segments that stay in one place; 0 leaves
    places out of them. Compact."""
    smoothing: float = 0.0
    """How often what neighbours say counts, 3 for borders soft over a pixel; 0 leaves them out. Compact."""
    learn_channels: bool = False
    """Which channel an object gets is learned, from what it looks like: for scenes of the same few objects. Compact."""
    upsampling: int = 2
    """The image is made so many times as high and wide first. ResNet-50."""
    dilation: int = 2
    """Smallest dilation of the last four convolutions. ResNet-50."""


@dataclass(frozen=True)
class Vae:
    """The networks that turn objects and background into codes and back."""

    texture_dimension: int = 5
    """Length of an object's texture code."""
    shape_dimension: int = 10
    """Length of an object's shape code."""
    background_dimension: int = 5
    """Length of the background's code."""
    channels: int = 32
    """Of every convolution."""
    hidden: int = 256
    """Width of the dense layers."""
    fill_with_mean: bool = True
    """Show textures and background on their own mean colour instead of on black, the original's way."""
    window: int = 64
    """Side, in pixels, of a window that follows each object, through which its shape is seen and drawn; with 0 it is the
    whole image, the original's way."""
    sharpness: float = 8.0
    """How many times steeper the borders of the shapes in a rendered scene are than the shape VAE's doubt makes them; with 1
    they show it, as they do in training: the original's way."""
    downsampling: int = 1
    """They and the fusion networks see one in so many rows and columns; what they draw is enlarged again."""
    normalise_contrast: bool = False
    """Learn images whose colours are stretched, each of them, to [0, 1]."""
    glorot: bool = False
    """Start these and the fusion networks from Glorot's rule, as the original does, instead of from He's."""


@dataclass(frozen=True)
class Fusion:
    """The networks that put textures, shapes and background together."""

    channels: int = 16
    """Of every convolution; 32 in the original."""
    residual: bool = True
    """Start from the plain composition and learn what to add, instead of making every pixel anew, the original's way."""


@dataclass(frozen=True)
class Regions:
    """How often each kind of random region is hidden: relative weights."""

    shared_box: float = 0.0
    """The original's: one box for the whole batch, and its complement."""
    boxes: float = 0.3
    """A box per image, and its complement."""
    fields: float = 0.3
    """Soft random partitions into 2 or 3 segments."""
    slivers: float = 0.3
    """All of a box or of the image but for thin lines, and the lines."""
    everything: float = 0.1
    """All of the image, and nothing: teaches the unconditional guess."""


@dataclass(frozen=True)
class Inpainting:
    """Stage 1: the inpainter learns to guess random regions, before there is a segmenter to play against."""

    steps: int = 2000
    """Optimizer steps; 0 skips the stage."""
    batch: int = 16
    """Images per step, over all devices."""
    learning_rate: float = 1e-3
    """Of Adam: highest; reached after the warm-up, then falling along a cosine."""
    final_learning_rate: float = 0.0
    """At the end of the cosine; the same as the highest for a constant one."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises."""
    beta2: float = 0.99
    """Adam's second decay; below its default, since the schedule is short."""
    regions: Regions = field(default_factory=Regions)
    propagation_fraction: float = 1.0
    """Share of the steps in which visible colours spread over patches: with less than 1, the inpainter learns to guess
    with and without."""


@dataclass(frozen=True)
class Regrouping:
    """Proposals to spread connected pieces over the channels, taken only where the separation loss does not object."""

    weight: float = 0.6
    """Weight of the cross-entropy towards an accepted proposal; 0 switches regrouping off."""
    from_step: int = 150
    """First step with proposals: background and objects should be apart by then."""
    tolerance: float = 0.01
    """How much worse than the present masks' a proposal's separation loss may be."""
    smallest: int = 12
    """Pieces of fewer pixels stay with the background."""


@dataclass(frozen=True)
class Separation:
    """Stage 2: segmenter against inpainter."""

    steps: int = 4500
    """Optimizer steps of both players together; 0 skips the stage."""
    batch: int = 8
    """Images per step, over all devices."""
    inpainter_turns: int = 1
    """The inpainter's turns in each period."""
    segmenter_turns: int = 2
    """The segmenter's turns that follow."""
    inpainter_learning_rate: float = 1e-4
    """Of Adam, constant."""
    segmenter_learning_rate: float = 1e-3
    """Of Adam: highest; reached after the warm-up, then falling along a cosine."""
    segmenter_final_learning_rate: float = 0.0
    """At the end of the cosine; the same as the highest for a constant one."""
    warmup_steps: int = 100
    """Steps over which the segmenter's learning rate rises."""
    epsilon_start: float = 30.0
    """Epsilon at first. It is added to the unconditional error: how much error a segment must hide to count; in summed
    absolute intensities."""
    epsilon: float = 300.0
    """Epsilon at its highest."""
    epsilon_end: float = 300.0
    """Epsilon at the last step; it falls there linearly."""
    epsilon_hold_steps: int = 500
    """Steps at the first value."""
    epsilon_ramp_steps: int = 500
    """Steps from the first value to the highest."""
    hard_from_step: int | None = None
    """From this step on the inpainter sees hard masks in the segmenter's turns; never unless given."""
    propagation_from_step: int = 0
    """From this step on visible colours spread over patches: before it, the inpainter is weaker."""
    propagation_practice: float = 0.0
    """Share of the inpainter's turns before that step in which they spread all the same, so that it knows how by then."""
    sampled_segments: int = 3
    """Segments sampled in each of the inpainter's turns: fewer are faster, all are the original's way."""
    random_region_fraction: float = 0.5
    """Share of the inpainter's turns on random regions, so that it does not forget."""
    split_fraction: float = 0.0
    """Share of the inpainter's turns on segments in which each is cut in two, and one side of it hidden."""
    margin: int = 0
    """The inpainter doesn't see so many pixels around a segment either, before `propagation_from_step`: they tell too much."""
    ema_decay: float = 0.99
    """Decay per segmenter turn of the running average of its weights that is evaluated and kept; 0 keeps the weights."""
    regrouping: Regrouping = field(default_factory=Regrouping)


@dataclass(frozen=True)
class Vaes:
    """Stage 3: objects and background become codes and back; segmenter and inpainter stand still."""

    steps: int = 3000
    """Optimizer steps; 0 skips the stage, and those after it, which need its networks, unless all before it are skipped too."""
    batch: int = 8
    """Images per step, over all devices."""
    learning_rate: float = 1e-3
    """Of Adam: highest; reached after the warm-up, then falling along a cosine."""
    final_learning_rate: float = 0.0
    """At the end of the cosine; the same as the highest for a constant one."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises."""
    texture_beta: float = 4.0
    """Weight of the texture codes' divergence; the errors beside it are summed absolute intensities."""
    background_beta: float = 6.0
    """Weight of the background code's divergence."""
    beta_hold_steps: int = 0
    """Steps in which both betas, and shape_gamma, are 0: every number may tell something before what it tells has a price."""
    beta_ramp_steps: int = 1000
    """Steps after those over which they rise from 0, linearly."""
    shape_gamma: float = 1.0
    """Weight of the distance between the shape codes' divergence and the capacity; the error beside it is in nats."""
    capacity: float = 0.0
    """Nats that an object's shape code is to carry at the end; with 0, it carries what pays."""
    capacity_ramp_steps: int = 0
    """Steps over which the capacity rises from 0, linearly."""
    background_per_batch: bool = False
    """Choose the background's channel for the whole batch, as the original does, instead of for each image."""
    max_shift: float = 0.0
    """The shape VAE learns masks that are moved by up to so many pixels; 30 in the original's experiment with pairs."""


@dataclass(frozen=True)
class EndToEnd:
    """Stage 4: all networks together. The game goes on as stage 2 ended, with its settings; the VAEs' losses are stage 3's."""

    steps: int = 1000
    """Optimizer steps of all players together; 0 skips the stage."""
    batch: int = 8
    """Images per step, over all devices."""
    inpainter_learning_rate: float = 1e-4
    """Of Adam, constant."""
    segmenter_learning_rate: float = 3e-4
    """Of Adam: highest; reached after the warm-up, then falling along a cosine to 0."""
    vae_learning_rate: float = 3e-4
    """Of Adam, for VAEs and fusion networks: highest, as above."""
    warmup_steps: int = 100
    """Steps over which both learning rates rise."""
    separation_weight: float = 1.0
    """Weight of the game's loss in the segmenter's turns."""
    description_weight: float = 0.3
    """Weight of the nats per pixel that it takes to tell an image once its codes are known, in the segmenter's turns."""


@dataclass(frozen=True)
class Consistency:
    """Stage 5: an object whose shape changes has to be found in its own segment. The game goes on as stage 2 ended."""

    steps: int = 0
    """Optimizer steps of both players together; 0 skips the stage."""
    batch: int = 4
    """Images per step, over all devices."""
    inpainter_learning_rate: float = 1e-4
    """Of Adam, constant."""
    segmenter_learning_rate: float = 3e-5
    """Of Adam: highest; falling along a cosine."""
    segmenter_final_learning_rate: float = 3e-5
    """At the end of the cosine; the same as the highest for a constant one, the original's way."""
    separation_weight: float = 1.0
    """Weight of the game's loss in the segmenter's turns."""
    weight: float = 1e-3
    """Weight of the consistency error, in nats per image, in the segmenter's turns."""
    variations: int = 6
    """Changed images for each image."""
    dimensions: int = 2
    """How many numbers of a shape code change: those that tell the most."""
    reach: float = 1.0
    """They are drawn uniformly, from minus this to this."""
    overlap_fraction: float = 0.0
    """Share of the variations in which they are those of another object, and what is drawn, halved, is added: with numbers that
    say where an object is, one comes to lie behind the other. Scenes in which it does are rare otherwise."""
    canonical: bool = False
    """Demand the very channel the object had, fuse the layers in their order, and take the mean over the batch. Without it, as
    in the original: channels in the order of objects and background, the changed object fused first, one more division by
    the batch."""


@dataclass(frozen=True)
class Recipe:
    """Every number of one dataset and its stages."""

    dataset: Suppress[Fixed[str]]  # no option of the command line: it takes a recipe by name
    """Name of the dataset."""
    data_root: str | None = None
    """Folder of the dataset's own files; the pictures of the package where there is none."""
    seed: int = 0
    """Of the training scenes, the initial weights and all random draws. The test scenes do not depend on it."""
    height: int = 64
    """Rows of an image, in pixels."""
    width: int = 64
    """Columns of an image, in pixels."""
    segments: int = 5
    """Number of segments k, background included."""
    backgrounds: int = 1
    """How many of them are background, for the stages with codes: the largest ones."""
    edge_threshold: float = 0.5
    """Share of the strongest gradient from which on a pixel is an edge."""
    signed_edges: bool = False
    """Where colours change in opposite directions there is no edge, and the threshold is one of the gradient itself."""
    inpainter: Inpainter = field(default_factory=Inpainter)
    segmenter: Segmenter = field(default_factory=Segmenter)
    vae: Vae = field(default_factory=Vae)
    fusion: Fusion = field(default_factory=Fusion)
    inpainting: Inpainting = field(default_factory=Inpainting)
    separation: Separation = field(default_factory=Separation)
    vaes: Vaes = field(default_factory=Vaes)
    end_to_end: EndToEnd = field(default_factory=EndToEnd)
    consistency: Consistency = field(default_factory=Consistency)

    @property
    def objects(self) -> int:
        """Number of objects n that a scene can hold: all segments but the background's."""
        return self.segments - self.backgrounds


def planned(recipe: Recipe) -> list[str]:
    """The stages that training goes through, in order: those of more than 0 steps, and without vaes none that builds on it.

    Where all up to vaes are skipped, the others build on the model that the run starts from.
    """
    names = [name for name in STAGES if getattr(recipe, name).steps]
    before, after = STAGES[: STAGES.index("vaes")], STAGES[STAGES.index("vaes") + 1 :]
    if not recipe.vaes.steps and any(name in before for name in names):
        return [name for name in names if name not in after]
    return names
