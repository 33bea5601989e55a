"""The cost model: the ring's bytes, what bounds a step, where scaling stops being linear."""

import math

import pytest

from striate.core.cost import Machine, all_reduce_seconds, cost

JOB = {"images": 1_000_000, "parameters": 25_000_000}


@pytest.mark.parametrize("ranks", [1, 2, 4, 7])
def test_the_ring_by_simulation(ranks):
    """Count what one rank sends: in each of 2 (R − 1) rounds one of the R pieces."""
    size, latency, bandwidth = 1e6, 1e-4, 1e8
    seconds = 0.0
    for _ in range(2 * (ranks - 1)):
        seconds += latency + size / ranks / bandwidth
    machine = Machine(0, 1e-3, latency=latency, bandwidth=bandwidth)
    assert all_reduce_seconds(machine, size, ranks) == pytest.approx(seconds)


def test_one_rank_computes_only():
    found = cost(Machine(0.01, 0.001), **JOB, ranks=1, batch=100)
    assert found.step == pytest.approx(0.11)
    assert found.epoch == pytest.approx(0.11 * 10_000)
    assert (found.efficiency, found.bound) == (pytest.approx(1), "compute")


def test_what_bounds_a_step():
    starved = Machine(0, 1e-3, input_rate=500)
    assert cost(starved, **JOB, ranks=4, batch=400).bound == "input"
    assert cost(starved, **JOB, ranks=4, batch=400).efficiency == pytest.approx(0.5)
    thin = Machine(0, 1e-3, bandwidth=1e8)
    assert cost(thin, **JOB, ranks=4, batch=400).bound == "all-reduce"


def test_hiding_and_bandwidth_help():
    times = [
        cost(Machine(0, 1e-3, bandwidth=band, hidden=hidden), **JOB, ranks=8, batch=800).step
        for band, hidden in ((1e9, 0.0), (1e9, 1.0), (1e10, 1.0), (math.inf, 0.0))
    ]
    assert times == sorted(times, reverse=True)
    assert times[-1] == pytest.approx(0.1)


def test_more_ranks_than_images():
    with pytest.raises(ValueError, match="cannot be shared"):
        cost(Machine(0, 1), **JOB, ranks=9, batch=8)
