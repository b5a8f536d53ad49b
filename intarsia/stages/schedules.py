"""Every value that depends on the step: learning rates, the rules of the game, the prices of the codes."""

import math
from dataclasses import dataclass, replace

import numpy as np
from torch.optim import Optimizer

from intarsia.recipes.settings import Epsilon, Schedule, Separation, Vaes


@dataclass(frozen=True)
class StepRules:
    """The rules of the game in one step.

    epsilon, empty: Of the separation loss.
    propagate: Whether visible colours propagate over patches.
    practice: Fraction of the inpainter's turns in which they propagate all the same.
    margin: Pixels around each segment that are hidden too.
    hard: Whether the inpainter sees hard masks in the segmenter's turns.
    regrouping: Weight of regrouping.
    """

    epsilon: float
    empty: float = 1.0
    propagate: bool = True
    practice: float = 0.0
    margin: int = 0
    hard: bool = False
    regrouping: float = 0.0


def rules_at(step: int, settings: Separation) -> StepRules:
    """The rules of a step of stage 2."""
    propagate = step >= settings.propagation_from_step
    return StepRules(
        epsilon=epsilon_at(step, settings.epsilon, settings.steps),
        empty=settings.empty if step >= settings.empty_from_step else 1.0,
        propagate=propagate,
        practice=settings.propagation_practice,
        margin=0 if propagate else settings.margin,
        hard=settings.hard_from_step is not None and step >= settings.hard_from_step,
        regrouping=settings.regrouping.weight if step >= settings.regrouping.from_step else 0.0,
    )


def final_rules(settings: Separation) -> StepRules:
    """The rules of the game in later stages: those of the last step of stage 2, without practice."""
    return replace(rules_at(last_step(settings.steps), settings), practice=0.0)


def last_step(steps: int) -> int:
    """The last of so many steps, counted from 0."""
    return max(0, steps - 1)


def is_inpainters_turn(step: int, segmenter_turns: int) -> bool:
    """Whether a step is the inpainter's turn. The turns of the segmenter follow."""
    return step % (1 + segmenter_turns) == 0


def epsilon_at(step: int, epsilon: Epsilon, steps: int) -> float:
    """Epsilon in a step of so many: held at its first value, then rising to its highest, then falling to its final one."""
    hold, ramp = epsilon.hold_steps, epsilon.ramp_steps
    values = (epsilon.start, epsilon.start, epsilon.highest, epsilon.final)
    return float(np.interp(step, (0, hold, hold + ramp, max(hold + ramp, steps)), values))


def set_learning_rate(optimizer: Optimizer, schedule: Schedule, step: int, steps: int) -> None:
    """Set the learning rate of a step of so many."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate_at(step, schedule, steps)


def learning_rate_at(step: int, schedule: Schedule, steps: int) -> float:
    """The learning rate in a step of so many: a linear warm-up times a cosine from the highest rate to the final one."""
    warm = min(1.0, (step + 1) / max(1, schedule.warmup_steps))
    fall = 0.5 * (1 + math.cos(math.pi * step / steps))
    return warm * (schedule.final + (schedule.highest - schedule.final) * fall)


def capacity_at(step: int, settings: Vaes) -> float:
    """The nats that a shape code should carry: a linear rise from 0 to the capacity."""
    return settings.capacity * ramp_at(step, settings.capacity_ramp_steps)


def price_at(step: int, settings: Vaes) -> float:
    """The fraction of both betas and of shape_gamma that counts: 0 at first, then a linear rise to 1."""
    held = settings.beta_hold_steps
    return ramp_at(step - held, settings.beta_ramp_steps) if step >= held else 0.0


def ramp_at(step: int, steps: int) -> float:
    """A linear rise from 0 to 1 over so many steps."""
    return min(1.0, step / steps) if steps else 1.0
