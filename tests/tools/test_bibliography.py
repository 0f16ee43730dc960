"""The bibliography's file can be read to its end: one entry that is not closed swallows the next without a warning."""

import re
from collections import Counter

from workings.runs import checkout

TEXT = (checkout.root() / "book" / "references.bib").read_text(encoding="utf-8")


def test_every_entry_is_closed_before_the_next_begins_and_has_a_key_of_its_own():
    begun = re.findall(r"(?m)^@\w+\{([^,\s]+),", TEXT)
    assert begun == re.findall(r"(?ms)^@\w+\{([^,\s]+),(?:(?!^@).)*?^\}$", TEXT)
    assert [key for key, times in Counter(begun).items() if times > 1] == []
    assert TEXT.count("{") == TEXT.count("}")


def test_every_entry_says_who_what_where_and_when():
    for entry in re.split(r"(?m)^@", TEXT)[1:]:
        fields = set(re.findall(r"(\w+) = \{", entry))
        place = fields & {"journal", "booktitle", "publisher", "howpublished", "note"}
        assert {"author", "title", "year"} <= fields and place, entry[:80]
