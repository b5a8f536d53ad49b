import dataclasses
import math

import pytest
import torch

from intarsia.recipes.settings import Epsilon, Regrouping, Schedule, Separation, Vaes
from intarsia.stages.schedules import (
    StepRules,
    capacity_at,
    epsilon_at,
    final_rules,
    is_inpainters_turn,
    learning_rate_at,
    price_at,
    ramp_at,
    rules_at,
    set_learning_rate,
)


def test_learning_rate_rises_and_falls():
    rates = [learning_rate_at(step, Schedule(1.0, warmup_steps=100), 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[49] == pytest.approx(0.5 * 0.5 * (1 + math.cos(math.pi * 0.049)))
    assert rates[500] == pytest.approx(0.5)
    assert rates[999] < 1e-5
    assert max(rates) <= 1 and rates.index(max(rates)) in (98, 99)


def test_learning_rate_falls_to_the_final_one():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))])
    for final, rates in ((0.2, [1.0, 0.6, 0.2]), (1.0, [1.0, 1.0, 1.0])):
        for step, rate in zip((0, 50, 100), rates, strict=True):
            set_learning_rate(optimizer, Schedule(1.0, final, warmup_steps=0), step, 100)
            assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_epsilon_is_held_then_rises_then_falls():
    epsilon = Epsilon(start=30.0, highest=330.0, final=130.0, hold_steps=100, ramp_steps=200)
    assert [epsilon_at(step, epsilon, 1100) for step in (0, 100, 200, 300, 700, 1100)] == [30, 30, 180, 330, 230, 130]
    at_once = dataclasses.replace(epsilon, hold_steps=0, ramp_steps=0)
    assert [epsilon_at(step, at_once, 1100) for step in (0, 550)] == [330, 230]
    assert epsilon_at(199, epsilon, 200) == pytest.approx(178.5)  # over before its highest value


def test_each_rule_changes_at_its_step():
    game = Separation(
        steps=100, hard_from_step=2, propagation_from_step=3, propagation_practice=0.4, margin=1, regrouping=Regrouping(0.5, 1)
    )
    early = StepRules(epsilon=30.0, propagate=False, practice=0.4, margin=1, hard=False, regrouping=0.0)
    regrouped = dataclasses.replace(early, regrouping=0.5)
    hard = dataclasses.replace(regrouped, hard=True)
    late = dataclasses.replace(hard, propagate=True, margin=0)
    assert [rules_at(step, game) for step in range(5)] == [early, regrouped, hard, late, late]
    assert not any(rules_at(step, dataclasses.replace(game, hard_from_step=None)).hard for step in (0, 99))


def test_an_empty_segment_costs_one_before_its_price_falls():
    game = Separation(steps=100, empty=0.4, empty_from_step=2)
    assert [rules_at(step, game).empty for step in (0, 1, 2, 99)] == [1.0, 1.0, 0.4, 0.4]
    assert final_rules(game).empty == 0.4


def test_later_stages_go_on_by_the_rules_of_the_last_step():
    game = Separation(steps=100, epsilon=Epsilon(hold_steps=0, ramp_steps=0), propagation_from_step=200, margin=1)
    last = rules_at(99, game)
    assert (last.propagate, last.margin) == (False, 1)
    assert final_rules(game) == dataclasses.replace(last, practice=0.0)
    assert final_rules(dataclasses.replace(game, steps=0)) == final_rules(dataclasses.replace(game, steps=1))


def test_the_segmenters_turns_follow_the_inpainters():
    assert [is_inpainters_turn(step, 2) for step in range(7)] == [True, False, False, True, False, False, True]


def test_capacity_rises_and_stays():
    settings = Vaes(capacity=20.0, capacity_ramp_steps=100)
    assert [capacity_at(step, settings) for step in (0, 50, 100, 9999)] == [0, 10, 20, 20]
    assert capacity_at(1, dataclasses.replace(settings, capacity_ramp_steps=0)) == 20


def test_ramps_rise_from_zero_and_stay():
    assert [ramp_at(step, 100) for step in (0, 50, 100, 9999)] == [0, 0.5, 1, 1]
    assert ramp_at(0, 0) == 1


def test_codes_are_free_at_first():
    settings = Vaes(beta_hold_steps=100, beta_ramp_steps=50)
    assert [price_at(step, settings) for step in (1, 100, 125, 150, 999)] == [0, 0, 0.5, 1, 1]
    assert [price_at(step, dataclasses.replace(settings, beta_ramp_steps=0)) for step in (99, 100)] == [0, 1]
    assert price_at(0, Vaes(beta_ramp_steps=0)) == 1  # the original: in full from the first step on
