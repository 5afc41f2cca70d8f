"""Fixtures every test file shares."""

import hypothesis
import pytest

import fastsoftmax
from fastsoftmax import _core

hypothesis.settings.register_profile(
    "fastsoftmax", deadline=None, derandomize=True, max_examples=60
)
hypothesis.settings.load_profile("fastsoftmax")


@pytest.fixture(params=_core._isa_available())
def isa(request):
    """Each instruction-set target of this CPU in turn."""
    former = _core._use_isa(request.param)
    yield request.param
    _core._use_isa(former)


@pytest.fixture
def one_thread():
    with fastsoftmax.num_threads(1):
        yield
