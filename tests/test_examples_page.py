"""docs/examples.md shows code of the scripts only; `make examples` runs those."""

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
SECTIONS = {
    re.search(r"\(\.\./examples/(\w+\.py)\)", section)[1]: section
    for section in PAGE.split("\n## ")[1:]
}


def squeezed(text: str) -> str:
    """Without indentation in common and blank lines."""
    lines = textwrap.dedent(text).splitlines()
    return "\n".join(line for line in lines if line.strip())


def passages(script: Path, length: int) -> set[str]:
    """Every run of so many lines of the script, blank lines not counted."""
    lines = [line for line in script.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {squeezed("\n".join(lines[i : i + length])) for i in range(len(lines) - length + 1)}


def test_every_script_has_a_section():
    assert sorted(SECTIONS) == sorted(path.name for path in (ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_section_shows_what_its_script_runs(name):
    section = SECTIONS[name]
    assert f"\n    python examples/{name}\n" in section
    for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        code = squeezed(block)
        assert code in passages(ROOT / "examples" / name, len(code.splitlines())), code
