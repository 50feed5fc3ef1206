"""Products of a matrix with many vectors: both forms against dense matrices, entry by entry."""

import numpy as np
import pytest
from scipy import sparse

from mmmodel.exact import products
from mmmodel.exact.chain import explore_box
from mmmodel.exact.products import BLOCK, WIDE, Product, flow, sweep, unsigned, walk


def loss(units):
    """Rates of two classes on one pool, by target: rows with all sorts of ends."""
    jumps = [((1, 0), 1.5), ((-1, 0), lambda i, j: i), ((0, 1), 0.7), ((0, -1), lambda i, j: 2.0 * j)]
    return sparse.csr_array(explore_box((units + 1,) * 2, jumps, (0, 0), lambda i, j: i + j <= units).rates.T)


def scattered(n, seed):
    made = sparse.random_array((n, n), density=0.05, rng=np.random.default_rng(seed), format="csr")
    made.setdiag(0)
    made.eliminate_zeros()
    return made


def banded(n, *distances):
    """Bands at these distances, each broken here and there."""
    rng, rows = np.random.default_rng(1), np.zeros((n, n))
    for distance in distances:
        for i in range(n):
            if 0 <= i + distance < n and rng.random() < 0.98:
                rows[i, i + distance] = rng.random() + 0.1
    return sparse.csr_array(rows)


def crossed(n):
    """A row that is wider than any run may be, in the middle of a band."""
    rows = np.eye(n, k=1)
    rows[n // 2] = np.arange(1.0, n + 1)
    rows[n // 2, n // 2] = 0
    return sparse.csr_array(rows)


MATRICES = {
    "a pool of 40": (loss(40), True),
    "a pool of 3": (loss(3), False),
    "scattered": (scattered(60, 3), False),
    "bands": (banded(300, -17, -1, 1, 17), True),
    "seven bands": (banded(300, -40, -17, -1, 1, 2, 3, 60), True),
    "one band": (banded(100, 1), True),
    "a wide row": (crossed(3 * WIDE), True),
    "one state": (sparse.csr_array((1, 1)), True),
}


@pytest.fixture(params=[(name, sparing) for name in MATRICES for sparing in (False, True)], ids=str)
def matrix(request, monkeypatch):
    name, sparing = request.param
    made, runs = MATRICES[name]
    made.sort_indices()
    monkeypatch.setattr(products, "LARGE", -1 if sparing else 2**21)
    product = Product(made.indptr, made.indices, made.data)
    assert (len(product.form.start) > 0) == runs
    assert (len(product.form.at) > 0) == (runs and sparing and made.nnz > 0)
    return made, product


def test_product_is_the_dense_one(matrix):
    made, product = matrix
    rng, n = np.random.default_rng(2), made.shape[0]
    for _ in range(3):
        scale, v = rng.standard_normal(n), rng.standard_normal(n)
        right = scale * v + made.toarray() @ v
        size = np.abs(scale * v) + made.toarray() @ np.abs(v)
        assert (np.abs(product(scale, v) - right) <= 1e-13 * size).all()


def test_runs_are_in_reach_and_hold_every_entry(matrix):
    """What is filled up is zero and lies inside the vector: else a product would read beyond its end."""
    made, product = matrix
    form, n = product.form, made.shape[0]
    if not len(form.start):
        return
    dense, read, sparing = np.zeros((n, n)), 0, len(form.at) > 0
    for r, begin in enumerate(form.start[:-1]):
        for q in range(form.base[r], form.base[r + 1]):
            low, high = (form.low[q], form.high[q]) if sparing else (0, form.start[r + 1] - begin)
            rows = np.arange(begin + low, begin + high)
            assert begin <= rows[0]
            assert rows[-1] < form.start[r + 1]
            assert 0 <= rows[0] + form.distance[q]
            assert rows[-1] + form.distance[q] < n
            if sparing and form.at[q] < 0:
                dense[rows, rows + form.distance[q]] += form.constant[q]
            else:
                dense[rows, rows + form.distance[q]] += form.values[read : read + len(rows)]
                assert not sparing or form.at[q] == read
                read += len(rows)
    assert read == len(form.values)
    np.testing.assert_array_equal(dense, made.toarray())


def test_rates_that_do_not_change_along_a_run_are_spared(monkeypatch):
    """Of the four of a state only the deaths of the inner class change."""
    monkeypatch.setattr(products, "LARGE", 0)
    made, _ = MATRICES["a pool of 40"]
    assert 0 < len(Product(made.indptr, made.indices, made.data).form.values) <= made.shape[0]


@pytest.mark.parametrize("terms", [0, 1, 2, 5])
def test_series_is_a_recurrence_of_three_terms(matrix, terms):
    made, product = matrix
    rng, n = np.random.default_rng(3), made.shape[0]
    scale, before, here, total, c = *rng.random((4, n)), rng.random(terms)
    a, b, sum_ = before.copy(), here.copy(), total.copy()
    for k in range(terms):
        a, b = b, scale * b + made.toarray() @ b - 0.5 * a
        sum_ += c[k] * b
    product.series(scale, -0.5, before, here, total, c)
    np.testing.assert_allclose(total, sum_, rtol=1e-11, atol=1e-12 * np.abs(sum_).max())


def test_walk_notes_the_flow_before_each_step(matrix):
    made, product = matrix
    rng, n = np.random.default_rng(4), made.shape[0]
    stay, v, total, weights = *rng.random((3, n)), np.array([0.5, 0.0, 0.25])
    gates = np.unique(rng.integers(0, n, 5))
    rates, flows, new = rng.random(len(gates)), np.zeros(3), np.zeros(n)
    x, sum_, flowed = v.copy(), total.copy(), []
    for w in weights:
        sum_ += w * x
        flowed.append(rates @ x[gates])
        x = stay * x + made.toarray() @ x
    walk(product.form, stay, v, new, total, weights, gates, rates, flows)
    np.testing.assert_allclose(flows, flowed, rtol=1e-13)
    np.testing.assert_allclose(total, sum_, rtol=1e-13)
    np.testing.assert_allclose(new, x, rtol=1e-13)  # three steps: the last went to `new`


def test_flow_is_summed_in_blocks():
    """A large first term would swallow all of the small ones if they were added to it one by one."""
    gates = np.arange(100 * BLOCK)
    v = np.full(len(gates), 2.0**-53)
    v[0] = 1.0
    assert flow(gates, np.ones(len(gates)), v) == pytest.approx(1 + (len(gates) - 1) * 2.0**-53, rel=BLOCK * 2.0**-53)


@pytest.mark.parametrize("backward", [False, True])
def test_sweeps_converge_to_the_solution(backward):
    made = loss(6)
    n = made.shape[0]
    out, a, x = np.asarray(made.sum(axis=1)).ravel() + 1.0, np.linspace(1, 2, n), np.ones(n)
    for _ in range(400):
        sweep(unsigned(made.indptr), unsigned(made.indices), made.data, out, a, x, backward)
    np.testing.assert_allclose(x, np.linalg.solve(np.diag(out) - made.toarray(), a), rtol=1e-12)
