"""Fixtures every test file shares."""

import os
from pathlib import Path

import hypothesis
import pytest

import fastsoftmax
from fastsoftmax import _core, _layout

hypothesis.settings.register_profile(
    "fastsoftmax", deadline=None, derandomize=True, max_examples=60
)
hypothesis.settings.load_profile("fastsoftmax")
if "FASTSOFTMAX_EXAMPLES" in os.environ:  # of `make fuzz-python`: so many, and others every time
    hypothesis.settings.register_profile(
        "fuzz",
        deadline=None,
        max_examples=int(os.environ["FASTSOFTMAX_EXAMPLES"]),
        print_blob=True,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("fuzz")


@pytest.fixture(params=_core._isa_available())
def isa(request):
    """Each instruction-set target of this CPU in turn."""
    former = _core._use_isa(request.param)
    yield request.param
    _core._use_isa(former)


@pytest.fixture(scope="module", params=["at once", "as large ones"])
def small(request):
    """Small arrays as `_core` and `_layout` take them, and then as if they were large."""
    most = _core._SMALL if request.param == "at once" else 0
    former = _core._use_few(most), _layout.SMALL
    _layout.SMALL = most
    yield
    _core._use_few(former[0])
    _layout.SMALL = former[1]


@pytest.fixture
def one_thread():
    with fastsoftmax.num_threads(1):
        yield


@pytest.fixture
def tests_folder():
    """For the PYTHONPATH of scripts that use its modules: this folder, before what is there."""
    here = str(Path(__file__).parent)
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
