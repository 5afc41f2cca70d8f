"""A dask cluster of two worker processes, on data larger than the memory of a worker.

`cluster.py` has the same in large, `make dask-cluster`.
"""

import pytest

import cluster

LIMIT = 300 * cluster.MIB
SIZE = 400 * cluster.MIB


@pytest.fixture(scope="module")
def client():
    with cluster.cluster(LIMIT) as client:
        yield client


@pytest.mark.parametrize("name", ["whole rows", "rows in chunks", "losses, classes in chunks"])
def test_data_larger_than_the_memory_of_a_worker(client, name):
    error, allowed, fine = cluster.run(name, SIZE)
    assert error <= allowed
    assert fine
    peaks = client.run(cluster.peak)
    assert len(peaks) == cluster.WORKERS
    assert all(used <= LIMIT < SIZE for used in peaks.values())
