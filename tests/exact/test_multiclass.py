"""Closed networks of several classes against published values, one-class results, and the product form summed state
by state."""

from fractions import Fraction
from itertools import product
from math import factorial, prod

import numpy as np
import pytest

from mmmodel.exact.multiclass import solve_multiclass
from mmmodel.exact.network import buzen, solve

# Sources as in test_network.py; Schwetman 1982 is Technical Report CSD-TR-355, Purdue University.


def test_lazowska_page_142():
    """Lazowska et al., p. 142 (queueing: qncmmva.m), in fractions: queue lengths 4/19, 15/19; 5/19, 14/19."""
    got = solve_multiclass([[1, 3], [2, 4]], [1, 1], exact=True)
    assert got.queue_lengths.tolist() == [[Fraction(4, 19), Fraction(15, 19)], [Fraction(5, 19), Fraction(14, 19)]]
    assert got.residence_times.tolist() == [[Fraction(4, 3), 5], [Fraction(5, 2), 7]]
    assert got.throughputs.tolist() == [Fraction(3, 19), Fraction(2, 19)]


def test_lazowska_page_131():
    """Lazowska et al., p. 131: batch 10, interactive 25 with 30 s of thinking; exact column of libmva: test2.cc, four
    digits."""
    got = solve_multiclass([[1, 0.09], [0.1, 0.9]], [10, 25], think=[0, 30])
    assert got.queue_lengths == pytest.approx(np.array([[9.717, 0.2827], [0.8496, 2.0900]]), abs=5e-4)


def test_chandy_and_neuse():
    """Chandy & Neuse, CACM 25(2), 1982, exact column of libmva: test1.cc: 8 requests with a delay of 8 and 1 without,
    on one server."""
    got = solve_multiclass([[8, 1], [0, 1]], [8, 1], servers=[None, 1])
    assert got.queue_lengths == pytest.approx(np.array([[5.227, 2.773], [0, 1]]), abs=5e-4)


def test_bolch_example_9_5():
    """Bolch et al., example 9.5, p. 337 (queueing: qncmmva.m): two servers, one server, a delay."""
    got = solve_multiclass([[0.2, 0.24, 0.4], [0.2, 0.18, 1.4]], [2, 1], servers=[2, 1, None])
    expected = [[0.428, 0.726, 0.845], [0.108, 0.158, 0.734]]
    assert got.queue_lengths == pytest.approx(np.array(expected), abs=1e-3)
    assert got.throughputs == pytest.approx([2.113, 0.524], abs=1e-3)


def test_schwetman_tables_3_and_5():
    """Schwetman 1982, tables 3 (p. 22) and 5 (p. 23), as quoted in queueing: qncmmva.m."""
    small = solve_multiclass([[1, 0, 0.025], [0, 15, 0.5]], [2, 1], servers=[None, None, 1])
    assert small.residence_times[:, 2] == pytest.approx([0.027, 0.525], abs=1e-3)
    assert small.queue_lengths.sum(axis=0) == pytest.approx([1.949, 0.966, 0.085], abs=1e-3)
    assert small.throughputs == pytest.approx([1.949, 0.064], abs=1e-3)
    large = solve_multiclass([[1, 0, 0.025], [0, 15, 0.5]], [15, 5], servers=[None, None, 1])
    assert large.throughputs == pytest.approx([14.323, 0.314], abs=1e-3)
    assert large.utilisations[:, 2] == pytest.approx([0.358, 0.157], abs=1e-3)
    assert large.queue_lengths == pytest.approx(np.array([[14.323, 0, 0.677], [0, 4.707, 0.293]]), abs=1e-3)
    assert large.residence_times[:, 2] == pytest.approx([0.047, 0.934], abs=1e-3)


def test_schwetman_figure_6_as_corrected():
    """Purdue CSD-TR-330, figure 6, p. 9: 40 and 4 requests, a CPU and four disks. The report's numbers are wrong
    (queueing: qncmmva.m says so and gives those of JMVA)."""
    cpu, disk = (0.01 / 0.9, 0.1 / 0.05), (0.035 / 0.9 / 4, 0.035 / 0.05 / 4)
    got = solve_multiclass([[5, cpu[0]] + [disk[0]] * 4, [10, cpu[1]] + [disk[1]] * 4], [40, 4], servers=[None] + [1] * 5)
    assert got.throughputs == pytest.approx([7.891588, 0.277270], abs=1e-6)
    assert got.queue_lengths[:, :3] == pytest.approx(
        np.array([[39.457941, 0.192262, 0.087449], [2.772704, 1.008198, 0.054775]]), abs=1e-6
    )
    assert got.residence_times[:, 1] == pytest.approx([0.024363, 3.636155], abs=1e-6)
    assert got.utilisations[:, 1] == pytest.approx([0.087684, 0.554541], abs=1e-6)


def test_a_single_class_is_the_single_class_network():
    demands, servers = [1.0, 0.4, 0.7, 2.0], [1, 3, 2, None]
    alone, together = solve(demands, 12, 1.5, servers), solve_multiclass([demands], [12], [1.5], servers)
    assert together.throughputs[0] == pytest.approx(alone.throughput, rel=1e-13)
    assert together.queue_lengths[0] == pytest.approx(alone.queue_lengths, rel=1e-13)
    assert together.utilisations[0] == pytest.approx(alone.utilisations, rel=1e-13)
    idle = solve_multiclass([demands, [3.0, 1, 1, 1]], [12, 0], [1.5, 0], servers)
    assert idle.throughputs == pytest.approx([alone.throughput, 0], rel=1e-13)
    assert idle.queue_lengths[1].tolist() == [0, 0, 0, 0]


def test_classes_that_differ_in_name_only():
    """Two classes with the same demands are one class split in proportion to its populations."""
    demands, servers = [1.0, 0.4, 0.7], [1, 3, 2]
    got = solve_multiclass([demands, demands], [6, 3], servers=servers)
    assert got.throughputs == pytest.approx(buzen(demands, 9, 0, servers).X[-1] * np.array([2 / 3, 1 / 3]), rel=1e-13)


def by_states(demands, populations, think, servers):
    """Throughputs and mean queue lengths from the product form, every state written out, in Fractions."""
    classes, columns = range(len(populations)), [*zip(*demands), tuple(think)]
    counts = [*servers, None]

    def weight(i, n):
        total = sum(n)
        rates = prod(k if counts[i] is None else min(k, counts[i]) for k in range(1, total + 1))
        return (
            Fraction(factorial(total), prod(map(factorial, n))) * prod(Fraction(columns[i][r]) ** n[r] for r in classes) / rates
        )

    def normalizer(target, station=None, r=None):
        splits = [[s for s in product(range(n + 1), repeat=len(columns)) if sum(s) == n] for n in target]
        total = Fraction(0)
        for state in product(*splits):
            factor = 1 if station is None else state[r][station]
            total += factor * prod(weight(i, [state[c][i] for c in classes]) for i in range(len(columns)))
        return total

    whole = normalizer(populations)
    less = [[n - (c == r) for c, n in enumerate(populations)] for r in classes]
    queues = [[normalizer(populations, i, r) / whole for i in range(len(servers))] for r in classes]
    return [normalizer(less[r]) / whole for r in classes], queues


@pytest.mark.parametrize("servers", [[1, 1], [2, 1], [None, 2], [3, 2]])
@pytest.mark.parametrize("think", [[0, 0], [2, Fraction(1, 3)]])
def test_against_the_states(servers, think):
    demands, populations = [[1, Fraction(1, 2)], [Fraction(2, 3), 2]], [2, 3]
    throughputs, queues = by_states(demands, populations, think, servers)
    exact = solve_multiclass(demands, populations, think, servers, exact=True)
    assert exact.throughputs.tolist() == throughputs
    assert exact.queue_lengths.tolist() == queues
    floating = solve_multiclass(demands, populations, think, servers)
    assert floating.throughputs == pytest.approx([float(x) for x in throughputs], rel=1e-14)
    assert floating.queue_lengths == pytest.approx(np.array(queues, dtype=float), rel=1e-14)


def test_requests_are_conserved_in_three_classes():
    random = np.random.default_rng(3)
    demands, think, populations = random.exponential(size=(3, 4)), [0.0, 1.0, 5.0], [9, 14, 6]
    got = solve_multiclass(demands.tolist(), populations, think, [1, 4, None, 2])
    assert got.queue_lengths.sum(axis=1) + got.throughputs * think == pytest.approx(populations, rel=1e-12)
    assert np.all(got.utilisations.sum(axis=0) < 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"demands": [[1, 1]], "populations": [1, 1]},
            ValueError,
            "one entry per class: 1 rows of demands, 2 populations",
        ),
        ({"demands": [[1, 1], [1]], "populations": [1, 1]}, ValueError, "one row of equal length per class"),
        ({"demands": [[1, 1]], "populations": [-1]}, ValueError, r"populations\[0\] must be a whole number"),
        ({"demands": [[1, -1]], "populations": [1]}, ValueError, r"demands\[1\] must be a finite time"),
        ({"demands": [[1, 1]], "populations": [0]}, ValueError, "at least one class must have a request"),
        (
            {"demands": [[1.0, 1], [1, 1]], "populations": [1500, 1], "think": [3000.0, 0]},
            OverflowError,
            "leaves the range",
        ),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        solve_multiclass(**arguments)
