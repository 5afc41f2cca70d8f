"""The API pages name everything that is public."""

from pathlib import Path

import pytest

import fastsoftmax
from fastsoftmax import functional, nn

PAGES = Path(__file__).parents[1] / "docs" / "api"
ELSEWHERE = sorted(set(fastsoftmax.__all__) - set(functional.__all__))


@pytest.mark.parametrize(
    ("page", "names"),
    [("functional", functional.__all__), ("nn", nn.__all__), ("config", ELSEWHERE)],
)
def test_every_public_name_is_on_its_page(page, names):
    lines = (PAGES / f"{page}.rst").read_text(encoding="utf-8").splitlines()
    shown = [line.split(":: ")[1] for line in lines if line.startswith(".. auto") and ":: " in line]
    assert sorted(name for name in shown if "." not in name) == sorted(names)
