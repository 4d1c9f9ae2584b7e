"""Learning rates of LED's published trainings."""

from __future__ import annotations

import numpy as np
import pytest

from restore_cli.training import led_schedules as schedules


def _rates(schedule, count=60):
    return [schedule(step) for step in range(count)]


def test_against_upstream(golden):
    case = golden("lr_schedules", "led")
    for name, schedule in (
            ("handie_eld", schedules.milestones(2e-4, [20, 45], [5e-5, 1e-5])),
            ("handie_never", schedules.milestones(2e-4, [999999], [0])),
            ("cosine_pmn", schedules.cosine_restarts(2e-4, [15, 30, 45], [1, 0.5, 0.25], 1e-5)),
            ("cosine_ft", schedules.cosine_restarts(2e-4, [60], [1], 0.0))):
        np.testing.assert_allclose(_rates(schedule), case[f"{name}_f64"], rtol=1e-9, err_msg=name)


def test_settings_at_their_published_length():
    rate = schedules.published("cvpr20", 1e-4, 257_600)
    assert [rate(step) for step in (0, 128_799, 128_800, 231_839, 231_840, 257_599)] == [
        1e-4, 1e-4, 5e-5, 5e-5, 1e-5, 1e-5]
    rate = schedules.published("mm22", 2e-4, 289_800)
    assert rate(0) == 2e-4 and rate(96_600) == pytest.approx(1e-5)
    assert rate(96_601) == pytest.approx(1e-5 + 0.5 * 1.9e-4, rel=1e-6)
    assert rate(96_600 + 193_200 // 2) == pytest.approx(1e-5 + 0.25 * 1.9e-4)
    assert rate(289_800) == pytest.approx(1e-5)


def test_shorter_runs_keep_the_shape_and_never_rise_above_the_start():
    rate = schedules.published("cvpr20", 1e-4, 100)
    assert (rate(49), rate(50), rate(89), rate(90)) == (1e-4, 5e-5, 5e-5, 1e-5)
    assert max(_rates(schedules.published("cvpr20", 1e-6, 60))) == 1e-6
    assert max(_rates(schedules.published("mm22", 1e-6, 60))) == 1e-6
