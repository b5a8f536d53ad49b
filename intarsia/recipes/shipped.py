"""The shipped recipes side by side: one per dataset and variant. What is not named here is a default of `recipes.settings`."""

import dataclasses

from intarsia.recipes.settings import (
    Consistency,
    Content,
    Distillation,
    EndToEnd,
    Epsilon,
    Fusion,
    Inpainter,
    Inpainting,
    Recipe,
    Regions,
    Regrouping,
    Schedule,
    Segmenter,
    Separation,
    Vae,
    Vaes,
)


def _constant(value: float) -> Schedule:
    return Schedule(value, final=value, warmup_steps=0)


def _constant_epsilon(value: float) -> Epsilon:
    return Epsilon(start=value, highest=value, final=value)


# `pixels`: small networks, and the paper's game over pixels.
_PIXELS_TEXTURE = Recipe(
    dataset="multi_texture",
    edge_threshold=0.5,
    segmenter=Segmenter(span=8.0, smoothing=3.0),
    inpainting=Inpainting(steps=5000, propagation_fraction=0.5),
    separation=Separation(
        steps=3000,
        epsilon=Epsilon(highest=100.0, final=50.0, hold_steps=300, ramp_steps=300),
        hard_from_step=300,
        propagation_from_step=1500,
        propagation_practice=0.5,
        split_fraction=0.5,
        margin=1,
    ),
    vaes=Vaes(steps=4000, beta_hold_steps=500),
)

_PIXELS_ROOM = Recipe(
    dataset="objects_room",
    segments=6,
    backgrounds=3,  # sky, floor and walls
    edge_threshold=0.2,
    vae=Vae(background_dimension=16),  # sky, floor and walls
    separation=Separation(steps=3000, epsilon=Epsilon(highest=30.0, final=30.0)),
)

_PIXELS_ANIMALS = Recipe(dataset="flying_animals", height=96, width=128, segments=6, edge_threshold=0.2)

# `compact`: the inpainter guesses content, and the segmenter may learn what a search finds (docs/notes/008-content.md).
_COMPACT = Recipe(
    dataset="multi_dsprites",
    edge_threshold=1e-4,
    content=Content(kind="means", strides=(1, 4), factors=(3, 3)),
    inpainter=Inpainter(channels=32),
    segmenter=Segmenter(votes=3, one_piece=True),
    inpainting=Inpainting(
        steps=1000,
        beta2=0.98,
        regions=Regions(boxes=0.18, fields=0.0, slivers=0.0, everything=0.06, ellipses=0.18, partitions=0.18, clusters=0.4),
    ),
    separation=Separation(steps=0),
    distillation=Distillation(steps=1925, scenes=1500),
    vae=Vae(thumbnail=4),
    vaes=Vaes(
        steps=3000,
        learning_rate=Schedule(2e-3, warmup_steps=200),
        texture_beta=2.0,
        background_beta=2.0,
        beta_hold_steps=1000,
    ),
    end_to_end=EndToEnd(steps=0),
)

_LONGER_VAES = dataclasses.replace(
    _COMPACT.vaes, steps=6000, scenes=8000, learning_rate=Schedule(3e-3, warmup_steps=200), background_beta=1.0
)

_COMPACT_ROOM = dataclasses.replace(
    _COMPACT,
    dataset="objects_room",
    segments=6,
    backgrounds=3,  # sky, floor and walls
    edge_threshold=0.1,  # a bright sky has the strongest edges
    content=Content(kind="chromaticity", strides=(1, 4), factors=(2, 2)),
    vae=Vae(hidden=512, thumbnail=4, shape_dimension=5, background_dimension=16, mattes=True),  # sky, floor and walls
    vaes=dataclasses.replace(
        _LONGER_VAES, steps=8000, learning_rate=Schedule(2e-3, warmup_steps=500), texture_beta=1.0, shape_gamma=0.2
    ),
    segmenter=Segmenter(background_first=False, votes=5, mixed_borders=True, one_piece=True),
    distillation=Distillation(steps=3166, scenes=1992, border_radius=3, upside_down=False),
)

_COMPACT_PHOTOGRAPHS = dataclasses.replace(
    _COMPACT,
    dataset="folder",
    height=192,
    width=256,
    segments=6,
    edge_threshold=0.2,
    content=Content(kind="features", strides=(4, 8), factors=(8, 12), grid=8),
    vae=Vae(texture_dimension=20, shape_dimension=20, background_dimension=30, thumbnail=4, downsampling=2),
    vaes=Vaes(steps=2000, scenes=2000, beta_hold_steps=500, beta_ramp_steps=500),
    segmenter=Segmenter(backbone=True, span=8.0, border_radius=4, border_window=16),
    inpainter=Inpainter(channels=32, propagation=0),
    inpainting=dataclasses.replace(
        _COMPACT.inpainting,
        regions=Regions(boxes=0.3, fields=0.0, slivers=0.0, everything=0.1, ellipses=0.3, partitions=0.3),
    ),
    separation=Separation(
        steps=480,
        epsilon=_constant_epsilon(50.0),
        empty=0.4,
        empty_from_step=150,
        hard_from_step=50,
        propagation_from_step=480,
        margin=1,
        regrouping=Regrouping(weight=1.0, from_step=200),
    ),
    distillation=Distillation(
        steps=560, scenes=960, rounds=0, epsilon=50.0, border_radius=4, border_colours=48, border_window=16, balance=0.0
    ),
)

_COMPACT_ANIMALS = dataclasses.replace(
    _COMPACT_PHOTOGRAPHS,
    dataset="flying_animals",
    segmenter=dataclasses.replace(_COMPACT_PHOTOGRAPHS.segmenter, object_weight=2.0),
    distillation=dataclasses.replace(
        _COMPACT_PHOTOGRAPHS.distillation, recolour=True, learning_rate=Schedule(5e-4, warmup_steps=60)
    ),
)

# `reference`: the published procedure with the original's networks; what differs between datasets is given below.
_REFERENCE = Recipe(
    dataset="multi_texture",
    inpainter=Inpainter(network="reference"),
    segmenter=Segmenter(network="resnet50"),
    vae=Vae(fill_with_mean=False, window=0, sharpness=1.0, glorot=True),
    fusion=Fusion(channels=32, residual=False),
    inpainting=Inpainting(
        steps=50_000,
        batch=16,
        learning_rate=_constant(1e-4),
        beta2=0.999,
        regions=Regions(shared_box=1.0, boxes=0.0, fields=0.0, slivers=0.0, everything=0.0),
    ),
    separation=Separation(
        steps=100_000,
        segmenter_turns=3,
        learning_rate=_constant(3e-5),
        epsilon=Epsilon(30.0, 30.0, 30.0),
        sampled_segments=5,
        random_region_fraction=0.0,
        ema_decay=0.0,
        regrouping=Regrouping(weight=0.0),
    ),
    vaes=Vaes(
        steps=100_000,
        batch=16,
        learning_rate=_constant(1e-4),
        texture_beta=4.0,
        background_beta=6.0,
        beta_ramp_steps=0,
        shape_gamma=500.0,
        capacity=20.0,
        capacity_ramp_steps=1_000_000,  # 2e-5 nats a step; the original has no end, and trains by the clock
        background_per_batch=True,
    ),
    end_to_end=EndToEnd(steps=0),  # the published code of this stage does not run
)

_REFERENCE_ANIMALS = dataclasses.replace(  # the original starts its segmenter from ImageNet: --start
    _REFERENCE,
    dataset="flying_animals",
    height=192,
    width=256,
    segments=6,
    edge_threshold=0.04,
    signed_edges=True,
    segmenter=Segmenter(network="resnet50", upsampling=1, dilation=6),
    vae=dataclasses.replace(
        _REFERENCE.vae,
        texture_dimension=20,
        shape_dimension=20,
        background_dimension=30,
        downsampling=2,
        normalise_contrast=True,
    ),
    inpainting=dataclasses.replace(_REFERENCE.inpainting, steps=100_000, batch=4),
    separation=dataclasses.replace(
        _REFERENCE.separation,
        batch=4,
        segmenter_turns=2,
        learning_rate=_constant(1e-4),
        epsilon=Epsilon(100.0, 100.0, 100.0),
        sampled_segments=6,
    ),
    vaes=dataclasses.replace(_REFERENCE.vaes, batch=4, background_beta=4.0, capacity_ramp_steps=400_000),
)

SHIPPED: dict[str, dict[str, Recipe]] = {
    "multi_texture": {
        "compact": dataclasses.replace(
            _COMPACT,
            dataset="multi_texture",
            edge_threshold=0.5,
            content=Content(kind="statistics", strides=(2, 4), factors=(6, 6)),
            segmenter=Segmenter(span=8.0, smoothing=3.0, votes=5, clusters=9),
            inpainter=Inpainter(channels=32, propagation=0),
            inpainting=dataclasses.replace(
                _COMPACT.inpainting, steps=900, regions=dataclasses.replace(_COMPACT.inpainting.regions, clusters=0.15)
            ),
            separation=Separation(
                steps=540,
                epsilon=Epsilon(start=10.0, highest=30.0, final=30.0, hold_steps=200, ramp_steps=200),
                hard_from_step=50,
                propagation_from_step=540,
                split_fraction=0.3,
                margin=1,
                regrouping=Regrouping(weight=0.0),  # it gave nothing here (docs/results.md)
            ),
            distillation=Distillation(steps=0),
            vae=Vae(thumbnail=4, sharpness=3.0),  # the true borders are soft
            vaes=dataclasses.replace(_LONGER_VAES, texture_beta=1.0),
            end_to_end=EndToEnd(),
        ),
        "pixels": _PIXELS_TEXTURE,
        "demo": dataclasses.replace(  # the shortest game over pixels that shows separate objects
            _PIXELS_TEXTURE,
            segmenter=Segmenter(),
            inpainting=Inpainting(steps=1800, propagation_fraction=0.5),
            separation=Separation(
                steps=1520,
                epsilon=Epsilon(final=100.0, hold_steps=200, ramp_steps=200),
                hard_from_step=200,
                propagation_from_step=1520,
            ),
            vaes=Vaes(steps=0),
            end_to_end=EndToEnd(steps=0),
        ),
        "reference": _REFERENCE,
    },
    "multi_dsprites": {
        "compact": _COMPACT,
        "pixels": Recipe(dataset="multi_dsprites", edge_threshold=1e-4),
        "reference": dataclasses.replace(
            _REFERENCE,
            dataset="multi_dsprites",
            edge_threshold=1e-4,
            vaes=dataclasses.replace(_REFERENCE.vaes, texture_beta=6.0),
        ),
    },
    "multi_texture_pair": {
        "pixels": dataclasses.replace(  # from a model that has learned on more varied scenes: see STARTS
            _PIXELS_TEXTURE,
            dataset="multi_texture_pair",
            segments=3,
            segmenter=dataclasses.replace(_PIXELS_TEXTURE.segmenter, learn_channels=True),
            inpainting=dataclasses.replace(_PIXELS_TEXTURE.inpainting, steps=0),
            separation=dataclasses.replace(_PIXELS_TEXTURE.separation, steps=0),
            vaes=dataclasses.replace(_PIXELS_TEXTURE.vaes, steps=2000),
            end_to_end=EndToEnd(steps=0),
            consistency=Consistency(
                steps=800,
                batch=8,
                learning_rate=Schedule(1e-4, warmup_steps=0),
                separation_weight=0.0,
                weight=2.5e-4,
                overlap_fraction=0.5,
                canonical=True,
            ),
        ),
        "reference": dataclasses.replace(
            _REFERENCE,
            dataset="multi_texture_pair",
            segments=3,
            segmenter=Segmenter(network="segnet"),
            separation=dataclasses.replace(_REFERENCE.separation, sampled_segments=3, epsilon=Epsilon(50.0, 50.0, 50.0)),
            vaes=dataclasses.replace(_REFERENCE.vaes, max_shift=30.0),
            consistency=Consistency(steps=10_000),
        ),
    },
    "folder": {  # own images
        "photos": dataclasses.replace(_COMPACT_PHOTOGRAPHS, vaes=Vaes(steps=0)),  # edits need no codes
        "pixels": Recipe(dataset="folder", edge_threshold=0.5),
    },
    "objects_room": {
        "compact": _COMPACT_ROOM,
        "pixels": _PIXELS_ROOM,
        "reference": dataclasses.replace(
            _REFERENCE,
            dataset="objects_room",
            segments=6,
            backgrounds=3,
            edge_threshold=0.2,
            inpainting=dataclasses.replace(_REFERENCE.inpainting, learning_rate=_constant(3e-5)),
            separation=dataclasses.replace(_REFERENCE.separation, sampled_segments=6),
            vaes=dataclasses.replace(_REFERENCE.vaes, batch=8, texture_beta=6.0, capacity_ramp_steps=100_000),
        ),
    },
    "objects_room_mujoco": {
        "compact": dataclasses.replace(_COMPACT_ROOM, dataset="objects_room_mujoco"),
        "pixels": dataclasses.replace(_PIXELS_ROOM, dataset="objects_room_mujoco"),
    },
    "composed_photographs": {
        "compact": dataclasses.replace(
            _COMPACT_PHOTOGRAPHS,
            dataset="composed_photographs",
            vae=Vae(thumbnail=4, downsampling=4),  # small in the model's file, as it is not trained
            vaes=Vaes(steps=0),
            separation=dataclasses.replace(_COMPACT_PHOTOGRAPHS.separation, steps=700, propagation_from_step=700, empty=0.15),
            distillation=Distillation(steps=0),
        ),
    },
    "flying_animals": {"compact": _COMPACT_ANIMALS, "pixels": _PIXELS_ANIMALS, "reference": _REFERENCE_ANIMALS},
    "flying_animals_debian": {
        "compact": dataclasses.replace(_COMPACT_ANIMALS, dataset="flying_animals_debian"),
        "pixels": dataclasses.replace(_PIXELS_ANIMALS, dataset="flying_animals_debian"),
        "reference": dataclasses.replace(_REFERENCE_ANIMALS, dataset="flying_animals_debian"),
    },
}
"""The recipes that come with the package: dataset, then name, to recipe."""

# Recipes without the first two stages start from these shipped models, unless another model is named.
STARTS = {("multi_texture_pair", "pixels"): "multi_texture_pixels"}
