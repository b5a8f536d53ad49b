"""Every number of the method: one recipe per dataset and variant, side by side; what is not named here is the default of
`intarsia.settings`.
"""

import dataclasses

from intarsia.settings import EndToEnd, Inpainting, Recipe, Separation, Vaes

_MULTI_TEXTURE = Recipe(
    dataset="multi_texture",
    edge_threshold=0.5,
    inpainting=Inpainting(steps=3500, spread=0.5),
    separation=Separation(
        steps=5500, epsilon_end=100.0, epsilon_hold_steps=300, epsilon_ramp_steps=300, hard_from_step=300, spread_from_step=2500
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
            end_to_end=EndToEnd(steps=0),
        ),
    },
    "multi_dsprites": {"compact": Recipe(dataset="multi_dsprites", edge_threshold=1e-4)},
}
