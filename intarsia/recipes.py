"""Every number of the method: one recipe per dataset and variant, side by side; what is not named here is the default of
`intarsia.settings`.
"""

import dataclasses

from intarsia.settings import (
    Fusion,
    Inpainter,
    Inpainting,
    Recipe,
    Regions,
    Regrouping,
    Segmenter,
    Separation,
    Vae,
    Vaes,
)

_MULTI_TEXTURE = Recipe(
    dataset="multi_texture",
    edge_threshold=0.5,
    inpainting=Inpainting(steps=3500, spread=0.5),
    separation=Separation(
        steps=5500, epsilon_end=100.0, epsilon_hold_steps=300, epsilon_ramp_steps=300, hard_from_step=300, spread_from_step=2500
    ),
)

# The published procedure with the original's networks; what differs between datasets is given where they are listed.
_REFERENCE = Recipe(
    dataset="multi_texture",
    inpainter=Inpainter(network="reference"),
    segmenter=Segmenter(network="resnet50"),
    vae=Vae(glorot=True),
    fusion=Fusion(channels=32),
    inpainting=Inpainting(
        steps=50_000,
        batch=16,
        learning_rate=1e-4,
        final_learning_rate=1e-4,
        warmup_steps=0,
        beta2=0.999,
        regions=Regions(shared_box=1.0, boxes=0.0, fields=0.0, slivers=0.0, everything=0.0),
    ),
    separation=Separation(
        steps=100_000,
        inpainter_turns=1,
        segmenter_turns=3,
        inpainter_learning_rate=1e-4,
        segmenter_learning_rate=3e-5,
        segmenter_final_learning_rate=3e-5,
        warmup_steps=0,
        epsilon_start=30.0,
        epsilon=30.0,
        epsilon_end=30.0,
        branches=5,
        random_regions=0.0,
        averaging=0.0,
        regrouping=Regrouping(weight=0.0),
    ),
    vaes=Vaes(
        steps=100_000,
        learning_rate=1e-4,
        final_learning_rate=1e-4,
        warmup_steps=0,
        texture_beta=4.0,
        background_beta=6.0,
        shape_gamma=500.0,
        capacity=20.0,
        capacity_ramp_steps=1_000_000,  # 2e-5 nats a step; the original has no end, and trains by the clock
        background_per_batch=True,
    ),
)

RECIPES: dict[str, dict[str, Recipe]] = {
    "multi_texture": {
        "compact": _MULTI_TEXTURE,
        "demo": dataclasses.replace(  # the shortest training that shows separate objects
            _MULTI_TEXTURE,
            inpainting=Inpainting(steps=1800, spread=0.5),
            separation=Separation(
                steps=1150,
                epsilon_end=100.0,
                epsilon_hold_steps=200,
                epsilon_ramp_steps=200,
                hard_from_step=200,
                spread_from_step=1150,
            ),
            vaes=Vaes(steps=0),
        ),
        "reference": _REFERENCE,
    },
    "multi_dsprites": {
        "compact": Recipe(dataset="multi_dsprites", edge_threshold=1e-4),
        "reference": dataclasses.replace(
            _REFERENCE,
            dataset="multi_dsprites",
            edge_threshold=1e-4,
            vaes=dataclasses.replace(_REFERENCE.vaes, texture_beta=6.0),
        ),
    },
}
