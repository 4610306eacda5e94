"""The documentation: its code runs, its messages are those of the package, and it leaves no public name out."""

import doctest
import importlib.util
import inspect
import re
import warnings
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

import pymc_rbm as pmr

DOCS = Path(__file__).resolve().parents[1] / "docs"
FILES = [*DOCS.glob("how_to/*.md"), *DOCS.glob("explanation/*.md"), DOCS / "index.md", DOCS / "tutorial.md"]
PAGES = {
    path.relative_to(DOCS).with_suffix("").as_posix(): path
    for path in FILES
    if "```python" in path.read_text(encoding="utf-8")
}
QUICK = {"explanation/energies", "how_to/gpu"}
"""Pages that take a few seconds where nothing is compiled; all others are slow."""


def blocks(page, language="python"):
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.S | re.M)


def run(code, namespace, page):
    exec(compile(code, str(page), "exec"), namespace)


def everything(name):
    """The page ``name`` and all that is below it in the folder of the documentation, in one text."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted((DOCS / name).glob("*.md")))


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning:arviz_stats")  # of units never on
@pytest.mark.parametrize("name", [x if x in QUICK else pytest.param(x, marks=pytest.mark.slow) for x in sorted(PAGES)])
def test_pages_run(name, tmp_path, monkeypatch):
    """Every python block of a page, in order, in one namespace."""
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for block in blocks(PAGES[name].read_text(encoding="utf-8")):
        run(block, namespace, PAGES[name])


MESSAGES = (DOCS / "messages.md").read_text(encoding="utf-8")
BEGINNING = blocks(MESSAGES)[0]
SAID = {
    title: (blocks(section)[0], blocks(section, "text")[0])
    for title, section in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", MESSAGES, flags=re.S | re.M)
}


@pytest.mark.slow
@pytest.mark.parametrize("title", SAID)
def test_messages_are_what_the_package_says(title):
    code, text = SAID[title]
    kind, words = text.split(":", 1)
    pattern = ".*".join(re.escape(x.strip()) for x in words.split("…"))
    namespace = {}
    run(BEGINNING, namespace, "messages.md")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            run(code, namespace, "messages.md")
            heard = [f"{x.category.__name__}: {x.message}" for x in caught]
        except Exception as error:
            heard = [f"{type(error).__name__}: {error}"]
    assert [x for x in heard if re.match(rf"{kind}: {pattern}", x, flags=re.S)], heard


def test_reference_has_every_public_name_with_an_example():
    listed = everything("api")
    names = [getattr(pmr, name) for name in pmr.__all__ if not inspect.ismodule(getattr(pmr, name))]
    for module in (pmr.estimators, pmr.schedules, pmr.datasets):
        names += [getattr(module, name) for name in module.__all__]
    for x in names:
        assert re.search(rf"^   {x.__name__}$", listed, flags=re.M), x.__name__
        assert ">>>" in (inspect.getdoc(x) or "") or f"pmr.{x.__name__}(" in "".join(blocks(listed, "pycon")), x


@pytest.mark.slow
def test_examples_of_figures_run():
    assert matplotlib.get_backend().lower() == "agg"
    found = doctest.testfile(str(DOCS / "api" / "plots.md"), module_relative=False, encoding="utf-8")
    assert found.attempted >= 7
    assert not found.failed


def test_figures_are_those_of_the_numbers(tmp_path):
    """Drawn anew from the tables of BENCHMARKS.md they are what is in docs/figures."""
    spec = importlib.util.spec_from_file_location("figures", DOCS / "figures.py")
    figures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(figures)
    figures.main(tmp_path)
    drawn = {path.name: plt.imread(path) for path in tmp_path.iterdir()}
    assert set(drawn) == {path.name for path in (DOCS / "figures").iterdir()}
    for name, pixels in drawn.items():
        known = plt.imread(DOCS / "figures" / name)
        assert known.shape == pixels.shape, f"{name}: run python docs/figures.py"
        assert np.abs(known - pixels).mean() < 0.02, f"{name}: run python docs/figures.py"
    with pytest.raises(ValueError, match="no table with the first column 'nothing'"):
        figures.table("", "nothing")


def test_links_between_pages_lead_somewhere():
    found = 0
    for page in [DOCS.parent / "README.md", *DOCS.rglob("*.md")]:
        if {"_build", "notebooks", "generated"} & set(page.parts):
            continue
        for link in re.findall(r"\]\(([^)#:]+?\.(?:md|ipynb|png))[)#]", page.read_text(encoding="utf-8")):
            places = (page.parent / link, DOCS.parent / "notebooks" / Path(link).name)  # notebooks are brought to docs/
            assert any(place.exists() for place in places), f"{page.name}: {link}"
            found += 1
    assert found >= 20
