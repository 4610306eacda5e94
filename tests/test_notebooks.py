"""Notebooks are as PyMC's example gallery has them; .ci/run executes them."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells_of(path, kind):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [c | {"source": "".join(c["source"])} for c in cells if c["cell_type"] == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_what_the_gallery_asks_for(path):
    texts, codes = ([c["source"] for c in cells_of(path, kind)] for kind in ("markdown", "code"))
    assert re.match(r"# .+\n\n\*\*Authors:\*\* .+\n", texts[0])
    assert any(re.search(r"^## References$", x, re.M) for x in texts)
    assert codes[0].count("import ") > 3
    assert re.search(r"^RANDOM_SEED = \d+$", codes[1], re.M)
    assert "az.style.use(" in codes[1]
    assert "version(package)" in codes[-1]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_as_it_ran(path):
    """In order, without errors, and without a word on stderr."""
    codes = cells_of(path, "code")
    assert [c["execution_count"] for c in codes] == list(range(1, len(codes) + 1))
    outputs = [o for c in codes for o in c["outputs"]]
    assert any("image/png" in o.get("data", {}) for o in outputs)
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"\b0\d_\w+(?:\.ipynb)", text))
    assert named <= {x.name for x in NOTEBOOKS}
    assert str(ROOT) + "/" not in text
    assert str(Path.home()) + "/" not in text


def test_readme_names_no_notebook_that_is_not_there():
    named = re.findall(r"\b0\d_\w+\.ipynb", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert named
    assert set(named) <= {x.name for x in NOTEBOOKS}
