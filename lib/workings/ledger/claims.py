"""What a chapter's paper claims and what counts as reproduced: ``claims/<part>/<slug>.yml``.

The criteria are written before a run and compared by machine. The validator reads a file as YAML nodes,
so that each complaint names its line, and it reports every complaint of a file at once.

```yaml
chapter: conformal_set_size        # the file's name
part: uncertainty                  # the file's folder
title: "On the Expected Size of Conformal Prediction Sets"
paper: {authors: "...", year: 2024, venue: "AISTATS", arxiv: "2306.07254", key: dhillon2024expected}
claims:
  - id: css-1
    claim: "The expected size has an exact formula."
    where: "main theorem"
    paper: {value: null, unit: null, note: "identity"}
    demo: {compare: at_most, target: 1.0e-10, unit: "relative error", indicative: null}
    full: {not_planned: "the demo is already the whole claim"}
```
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import yaml

from workings import PARTS, paths
from workings.ledger.criteria import COMPARISONS, TIERS, Chapter, Claim, Criterion, NotPlanned, PaperNumber, Reference
from workings.ledger.rounding import plain

_OTHER_WORDS = {"less": "at_most", "max": "at_most", "<=": "at_most", "more": "at_least", "min": "at_least"}
_OTHER_WORDS |= {">=": "at_least", "close": "within", "approx": "within", "range": "between", "==": "equals"}
_OTHER_WORDS |= {"equal": "equals", "true": "holds", "boolean": "holds"}

ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")


class ClaimsError(ValueError):
    """Everything that is wrong with the claims files; ``problems`` holds one line of text each."""

    def __init__(self, problems: list[str]):
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


def load_chapter(slug: str, claims: Path | None = None) -> Chapter:
    """The claims of chapter ``slug``. Raises ``ValueError`` (unknown slug) or :class:`ClaimsError`."""
    folder = paths.claims_root() if claims is None else Path(claims)
    part = paths.find_part(slug, folder)
    return parse_chapter((folder / part / f"{slug}.yml").read_bytes(), f"claims/{part}/{slug}.yml")


def load_all(claims: Path | None = None) -> list[Chapter]:
    """Every chapter; the complaints of all files are raised together, ids are unique in the whole book."""
    chapters, problems, owner = [], [], {}
    for part, slug in paths.list_chapters(claims):
        try:
            chapters.append(load_chapter(slug, claims))
        except ClaimsError as error:
            problems += error.problems
        except ValueError as error:
            problems.append(f"claims/{part}/{slug}.yml: {error}")
    for chapter in chapters:
        for claim_id in chapter.ids():
            first = owner.setdefault(claim_id, chapter.slug)
            if first != chapter.slug:
                problems.append(f"claims/{chapter.part}/{chapter.slug}.yml: id {claim_id} is already used by {first}")
    if problems:
        raise ClaimsError(problems)
    return chapters


def parse_chapter(text: str | bytes, name: str) -> Chapter:
    """Validate one claims file. ``name`` is ``claims/<part>/<slug>.yml``; it stands before each complaint."""
    reader = _Reader(name)
    root = reader.compose(text)
    chapter = None if root is None else _chapter(reader, root)
    if reader.problems:
        raise ClaimsError([f"{name}:{line}: {what}" for line, what in sorted(reader.problems)])
    return chapter


class _Loader(yaml.SafeLoader):
    """YAML without aliases: a claims file says everything where it stands."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not allowed; write the value out", mark)
        return super().compose_node(parent, index)


class _Reader:
    """Typed access to YAML nodes that collects complaints instead of stopping at the first."""

    def __init__(self, name: str):
        self.name = name
        self.problems: list[tuple[int, str]] = []

    def complain(self, node: yaml.Node | None, what: str) -> None:
        self.problems.append((1 if node is None else node.start_mark.line + 1, what))

    def compose(self, text: str | bytes) -> yaml.Node | None:
        loader = None
        try:
            text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
            loader = _Loader(text)
            root = loader.get_single_node()
        except UnicodeDecodeError as error:
            line = text[: error.start].count(b"\n") + 1
            self.problems.append((line, "not UTF-8 text; save the file as UTF-8"))
        except yaml.reader.ReaderError as error:
            line = text[: error.position].count("\n") + 1
            self.problems.append((line, f"character U+{ord(text[error.position]):04X} is not allowed in YAML"))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = " ".join(filter(None, (error.problem, error.context)))
            self.problems.append((1 if mark is None else mark.line + 1, f"not valid YAML: {what}"))
        except RecursionError:
            self.problems.append((1, "nested too deeply for a claims file"))
        else:
            if root is None:
                self.problems.append((1, "the file is empty"))
            return root
        finally:
            if loader is not None:
                loader.dispose()
        return None

    def mapping(self, node, where: str, required=(), optional=()) -> dict[str, yaml.Node] | None:
        if not isinstance(node, yaml.MappingNode):
            self.complain(node, f"{where}: expected `key: value` lines, found {_kind(node)}")
            return None
        known, fields, meant = (*required, *optional), {}, set()
        for key, value in node.value:
            word = key.value if isinstance(key, yaml.ScalarNode) else _kind(key)
            if word in fields:
                self.complain(key, f"{where}: key {word!r} stands twice")
            elif word not in known:
                hint = paths.did_you_mean(word, known).rstrip(".")
                meant |= {one for one in known if repr(one) in hint}
                self.complain(key, f"{where}: unknown key {word!r}; allowed: {', '.join(known)}{hint}")
            else:
                fields[word] = value
        for word in required:
            if word not in fields and word not in meant:  # a misspelt key is one mistake, not two
                self.complain(node, f"{where}: key {word!r} is missing")
        return fields

    def text(self, fields, key: str, where: str, *, optional: bool = False) -> str | None:
        node = fields.get(key)
        if node is None or (optional and _kind(node) == "null"):
            return None
        if _kind(node) != "text":
            remedy = f'; put it in quotes: "{node.value}"' if isinstance(node, yaml.ScalarNode) and node.value else ""
            self.complain(node, f"{where}: {key!r} must be text, found {_kind(node)}{remedy}")
            return None
        words = " ".join(node.value.split())
        if not words:
            self.complain(node, f"{where}: {key!r} is empty")
        return words

    def number(self, fields, key: str, where: str) -> float | int | None:
        node = fields.get(key)
        if node is None:
            return None
        kind = _kind(node)
        try:
            value = float(node.value) if kind in ("number", "text") else math.nan
        except ValueError:
            value = math.nan
        if kind == "text" and math.isfinite(value):
            mantissa, _, power = node.value.lower().partition("e")
            better = f"{float(mantissa)!r}e{int(power):+d}" if power else node.value.strip()
            self.complain(node, f"{where}: {key!r}: YAML reads {node.value!r} as text; write {better}")
            return None
        if not math.isfinite(value):
            self.complain(node, f"{where}: {key!r} must be a finite decimal number, found {_value(node)}")
            return None
        return int(value) if value.is_integer() and "e" not in node.value.lower() else value


def _chapter(reader: _Reader, root: yaml.Node) -> Chapter | None:
    fields = reader.mapping(root, "file", ("chapter", "part", "title", "paper", "claims"))
    if fields is None:
        return None
    folder, stem = Path(reader.name).parent.name, Path(reader.name).stem
    slug, part = reader.text(fields, "chapter", "file"), reader.text(fields, "part", "file")
    if slug is not None and slug != stem:
        reader.complain(fields["chapter"], f"chapter {slug!r} stands in a file called {stem}.yml; make them the same")
    if part is not None and part not in PARTS:
        hint = paths.did_you_mean(part, PARTS).rstrip(".")
        reader.complain(fields["part"], f"unknown part {part!r}; allowed: {', '.join(PARTS)}{hint}")
    elif part is not None and part != folder:
        reader.complain(fields["part"], f"part {part!r} stands in the folder {folder}; make them the same")
    title = reader.text(fields, "title", "file")
    paper = _reference(reader, fields["paper"]) if "paper" in fields else None
    claims = _claims(reader, fields["claims"]) if "claims" in fields else ()
    return None if reader.problems else Chapter(slug, part, title, paper, claims)


def _reference(reader: _Reader, node: yaml.Node) -> Reference | None:
    fields = reader.mapping(node, "paper", ("authors", "year", "key"), ("venue", "arxiv", "doi"))
    if fields is None:
        return None
    year = reader.number(fields, "year", "paper")
    if year is not None and not (isinstance(year, int) and 1900 <= year <= 2100):
        reader.complain(fields["year"], f"paper: 'year' must be a year such as 2024, found {plain(year)}")
    texts = {key: reader.text(fields, key, "paper") for key in ("authors", "key")}
    texts |= {key: reader.text(fields, key, "paper", optional=True) for key in ("venue", "arxiv", "doi")}
    return None if reader.problems else Reference(year=year, **texts)


def _claims(reader: _Reader, node: yaml.Node) -> tuple[Claim, ...]:
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        reader.complain(node, f"'claims' must be a list with at least one claim, found {_kind(node)}")
        return ()
    seen: dict[str, int] = {}
    return tuple(_claim(reader, item, number, seen) for number, item in enumerate(node.value, start=1))


def _claim(reader: _Reader, node: yaml.Node, number: int, seen: dict[str, int]) -> Claim | None:
    where = f"claim {number}"
    if isinstance(node, yaml.MappingNode):  # name the claim in every complaint about it
        where = next((f"claim {value.value}" for key, value in node.value if key.value == "id" and value.value), where)
    fields = reader.mapping(node, where, ("id", "claim", "where", "paper", "demo", "full"))
    if fields is None:
        return None
    claim_id = reader.text(fields, "id", where)
    if claim_id is not None and not ID.fullmatch(claim_id):
        reader.complain(fields["id"], f"{where}: id {claim_id!r} must look like css-1: small letters, digits, hyphens")
    elif claim_id is not None:
        line = fields["id"].start_mark.line + 1
        if seen.setdefault(claim_id, line) != line:
            reader.complain(fields["id"], f"{where}: id {claim_id} was already used on line {seen[claim_id]}")
    words, place = reader.text(fields, "claim", where), reader.text(fields, "where", where)
    paper = _paper_number(reader, fields["paper"], where) if "paper" in fields else None
    plans = {tier: _plan(reader, fields[tier], f"{where}: tier {tier!r}") for tier in TIERS if tier in fields}
    if len(plans) == 2 and all(isinstance(plan, NotPlanned) for plan in plans.values()):
        reader.complain(node, f"{where}: no tier is planned, so the claim can never be tested; give one a criterion")
    return None if reader.problems else Claim(claim_id, words, place, paper, **plans)


def _paper_number(reader: _Reader, node: yaml.Node, where: str) -> PaperNumber | None:
    where = f"{where}: paper"
    fields = reader.mapping(node, where, ("value",), ("unit", "note"))
    if fields is None:
        return None
    kind = _kind(fields["value"]) if "value" in fields else "null"
    value = None
    if kind == "text":
        value = reader.text(fields, "value", where)
    elif kind != "null":
        value = reader.number(fields, "value", where)
    unit, note = (reader.text(fields, key, where, optional=True) for key in ("unit", "note"))
    return PaperNumber(value, unit, note)


def _plan(reader: _Reader, node: yaml.Node, where: str) -> Criterion | NotPlanned | None:
    numbers = ("target", "tolerance", "low", "high")
    fields = reader.mapping(node, where, (), ("compare", *numbers, "unit", "indicative", "not_planned"))
    if fields is None:
        return None
    if "not_planned" in fields:
        for key in fields.keys() - {"not_planned"}:
            reader.complain(fields[key], f"{where}: {key!r} makes no sense beside 'not_planned'; keep one of the two")
        return NotPlanned(reader.text(fields, "not_planned", where) or "")
    if "compare" not in fields:
        reader.complain(node, f"{where}: give 'compare' with its numbers, or 'not_planned' with the reason")
        return None
    unit, indicative = (reader.text(fields, key, where, optional=True) for key in ("unit", "indicative"))
    compare = reader.text(fields, "compare", where)
    values = {key: reader.number(fields, key, where) for key in numbers if key in fields}
    if compare is None:
        return None
    if compare not in COMPARISONS:
        words = [*COMPARISONS, *_OTHER_WORDS]
        hint = paths.did_you_mean(compare, words).rstrip(".")
        hint = re.sub(r"'([^']+)'", lambda word: repr(_OTHER_WORDS.get(word[1], word[1])), hint)
        allowed = ", ".join(COMPARISONS)
        reader.complain(fields["compare"], f"{where}: unknown comparison {compare!r}; allowed: {allowed}{hint}")
        return None
    needed = COMPARISONS[compare]
    for key in needed:
        if key not in values:
            reader.complain(fields["compare"], f"{where}: comparison {compare!r} needs {key!r}")
    for key in values.keys() - set(needed):
        reader.complain(fields[key], f"{where}: comparison {compare!r} does not use {key!r}; remove it")
    if (values.get("tolerance") or 0) < 0:
        reader.complain(fields["tolerance"], f"{where}: 'tolerance' must be zero or more, found {values['tolerance']}")
    low, high = values.get("low"), values.get("high")
    if low is not None and high is not None and low > high:
        reader.complain(fields["low"], f"{where}: 'low' ({plain(low)}) is above 'high' ({plain(high)})")
    return None if reader.problems else Criterion(compare, unit=unit, indicative=indicative, **values)


def _kind(node: yaml.Node | None) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    names = {"str": "text", "int": "number", "float": "number", "bool": "true/false", "null": "null"}
    kind = "" if node is None else node.tag.removeprefix("tag:yaml.org,2002:")
    return names.get(kind, {"timestamp": "a date"}.get(kind, f"the tag {kind!r}"))


def _value(node: yaml.Node) -> str:
    return repr(node.value) if isinstance(node, yaml.ScalarNode) else _kind(node)
