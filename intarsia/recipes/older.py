"""Recipe files of earlier versions: their settings in today's terms."""

from typing import Any

from intarsia.errors import InputError

# Old name and today's name
RENAMED = {
    "segmenter.names": "segmenter.learn_channels",
    "segmenter.enlargement": "segmenter.upsampling",
    "vae.filled": "vae.fill_with_mean",
    "vae.reduction": "vae.downsampling",
    "vae.stretched": "vae.normalise_contrast",
    "fusion.corrective": "fusion.residual",
    "inpainting.spread": "inpainting.propagation_fraction",
    "inpainting.learning_rate": "inpainting.learning_rate.highest",
    "inpainting.final_learning_rate": "inpainting.learning_rate.final",
    "inpainting.warmup_steps": "inpainting.learning_rate.warmup_steps",
    "separation.segmenter_learning_rate": "separation.learning_rate.highest",
    "separation.segmenter_final_learning_rate": "separation.learning_rate.final",
    "separation.warmup_steps": "separation.learning_rate.warmup_steps",
    "separation.epsilon_start": "separation.epsilon.start",
    "separation.epsilon": "separation.epsilon.highest",
    "separation.epsilon_end": "separation.epsilon.final",
    "separation.epsilon_hold_steps": "separation.epsilon.hold_steps",
    "separation.epsilon_ramp_steps": "separation.epsilon.ramp_steps",
    "separation.spread_from_step": "separation.propagation_from_step",
    "separation.spread_practice": "separation.propagation_practice",
    "separation.branches": "separation.sampled_segments",
    "separation.random_regions": "separation.random_region_fraction",
    "separation.halved": "separation.split_fraction",
    "separation.averaging": "separation.ema_decay",
    "vaes.learning_rate": "vaes.learning_rate.highest",
    "vaes.final_learning_rate": "vaes.learning_rate.final",
    "vaes.warmup_steps": "vaes.learning_rate.warmup_steps",
    "vaes.moves": "vaes.max_shift",
    "end_to_end.segmenter_learning_rate": "end_to_end.learning_rate.highest",
    "end_to_end.vae_learning_rate": "end_to_end.learning_rate.highest",
    "end_to_end.warmup_steps": "end_to_end.learning_rate.warmup_steps",
    "consistency.segmenter_learning_rate": "consistency.learning_rate.highest",
    "consistency.segmenter_final_learning_rate": "consistency.learning_rate.final",
    "consistency.meetings": "consistency.overlap_fraction",
}
# Younger settings, with the values that older recipes stand for
ADDED = {
    "void": None,
    "signed_edges": False,
    "content.kind": "pixels",
    "content.strides": [1, 4],
    "content.factors": [3, 3],
    "content.grid": 4,
    "inpainter.propagation": 12,
    "segmenter.span": 0.0,
    "segmenter.smoothing": 0.0,
    "segmenter.learn_channels": False,
    "segmenter.backbone": False,
    "segmenter.background_first": True,
    "segmenter.object_weight": 1.0,
    "segmenter.votes": 0,
    "segmenter.clusters": 8,
    "segmenter.mixed_borders": False,
    "segmenter.border_radius": 0,
    "segmenter.border_colours": 48,
    "segmenter.border_window": 0,
    "segmenter.one_piece": False,
    "inpainting.regions.ellipses": 0.0,
    "inpainting.regions.partitions": 0.0,
    "inpainting.regions.clusters": 0.0,
    "separation.empty": 1.0,
    "separation.empty_from_step": 0,
    "distillation.steps": 0,
    "distillation.batch": 12,
    "distillation.scenes": 1536,
    "distillation.rounds": 2,
    "distillation.epsilon": 10.0,
    "distillation.margin": 1,
    "distillation.border_radius": 0,
    "distillation.border_colours": 12,
    "distillation.border_window": 0,
    "distillation.balance": 0.5,
    "distillation.upside_down": True,
    "distillation.recolour": False,
    "distillation.learning_rate.highest": 1e-3,
    "distillation.learning_rate.final": 0.0,
    "distillation.learning_rate.warmup_steps": 60,
    "distillation.ema_decay": 0.99,
    "vae.mattes": False,
    "vae.window": 0,
    "vae.sharpness": 1.0,
    "vae.thumbnail": 0,
    "vae.downsampling": 1,
    "vae.normalise_contrast": False,
    "separation.split_fraction": 0.0,
    "separation.margin": 0,
    "vaes.beta_hold_steps": 0,
    "vaes.scenes": 0,
    "end_to_end.learning_rate.final": 0.0,
    "consistency.learning_rate.final": 3e-5,
    "consistency.learning_rate.warmup_steps": 0,
    "consistency.separation_weight": 1.0,
    "consistency.overlap_fraction": 0.0,
}
# Settings that are constants today, with their values
CONSTANT = {
    "separation.inpainter_turns": 1,
    "separation.inpainter_learning_rate": 1e-4,
    "separation.regrouping.tolerance": 0.01,
    "separation.regrouping.smallest": 12,
    "end_to_end.inpainter_learning_rate": 1e-4,
    "end_to_end.separation_weight": 1.0,
    "end_to_end.description_weight": 0.3,
    "consistency.inpainter_learning_rate": 1e-4,
    "consistency.dimensions": 2,
    "consistency.reach": 1.0,
}


def updated(values: dict[str, Any], to_train: bool) -> dict[str, Any]:
    """The settings of a file of any version, by dotted name, as they are called today.

    Settings that are constants today matter in training alone. Elsewhere they are left out, whatever their value was.

    Raises:
        InputError: if such a setting had another value, or two had different ones that are one today, and it is to be trained.
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name in CONSTANT:
            if to_train and value != CONSTANT[name]:
                raise InputError(f"{name} is {value!r}; this version has no such setting, and always takes {CONSTANT[name]}.")
            continue
        today = RENAMED.get(name, name)
        if to_train and today in found and found[today] != value:
            raise InputError(f"{name} is {value!r}, but {today} is {found[today]!r}; this version has one setting for both.")
        found.setdefault(today, value)
    return ADDED | found
