"""Power of devices from what they do."""

import numpy as np
import pytest

from moecap.projection.coefficients import PowerShares, calibrated
from moecap.projection.power import Activity, activity, power_watts
from moecap.projection.steady import Load, steady_plan, steady_state
from moecap.projection.work import WorkModel


def test_power_by_hand(on_a100):
    shares = PowerShares(idle=0.4, memory=0.5, compute=0.8)
    busy = Activity(np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.1, 1.0]))
    # 400 W each of two devices, never more than their design power
    np.testing.assert_allclose(power_watts(busy, on_a100(2), shares), [320.0, 800 * (0.4 + 0.25 + 0.08), 800.0])


def test_a_single_stream_is_busy_with_its_bytes(on_a100):
    plan = steady_plan(WorkModel(on_a100(2)), Load.of(1, 1, 10_000))
    state = steady_state(plan, calibrated(), "vllm")
    busy = activity(plan, state)
    read = sum(b[0] for b in plan.steps.bytes.values()) + plan.steps.activation_bytes[0]
    assert busy.memory[0] == pytest.approx(read / 2039e9 / state.decode_step[0], rel=1e-3)
    assert 0 < busy.compute[0] < busy.memory[0] < 1


def test_devices_draw_more_the_more_they_do(on_a100):
    plan = steady_plan(WorkModel(on_a100(4)), Load.of([1, 8, 64], 500, 500))
    state = steady_state(plan, calibrated(), "vllm")
    watts = power_watts(activity(plan, state), on_a100(4), calibrated().power)
    assert np.all(np.diff(watts) > 0)
    assert watts.max() <= 4 * 400
