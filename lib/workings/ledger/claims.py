"""What a chapter's paper claims and what counts as reproduced: ``claims/<part>/<slug>.yml``.

The criteria are written before a run and compared by machine. A file is composed as YAML nodes and checked by the
models of :mod:`workings.ledger.criteria`; every complaint names its line, and all complaints of a file come at once.

```yaml
chapter: conformal_set_size        # the file's name
part: uncertainty                  # the file's folder
title: "On the Expected Size of Conformal Prediction Sets"
paper: {authors: "...", year: 2024, venue: "AISTATS", arxiv: "2306.07254", key: dhillon2024expected}
source: "Of the paper we read the abstract, not the tables; numbers come from our runs of the authors' code."
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

from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from workings import PARTS, paths
from workings.ledger.criteria import TIERS, Chapter, Claim, Criterion, PaperNumber, Reference

_CHAPTER = TypeAdapter(Chapter)
_KINDS = {"str": "text", "int": "number", "float": "number", "bool": "true/false", "timestamp": "a date"}
Loc = tuple[str | int, ...]


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
    file, chapter = _File(), None
    data = file.read(text)
    if not file.problems or data is not None:
        file.check_whole(data, Path(name))
        try:
            chapter = _CHAPTER.validate_python(data)
        except ValidationError as error:
            file.explain(error)
    if file.problems:
        raise ClaimsError([f"{name}:{line}: {what}" for line, what in sorted(file.problems)])
    return chapter


class _Loader(yaml.SafeLoader):
    """YAML without aliases: a claims file says everything where it stands."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not allowed; write the value out", mark)
        return super().compose_node(parent, index)


class _File:
    """One file: where each value stands (``lines`` and ``nodes``, by pydantic's ``loc``) and what is wrong with it."""

    def __init__(self) -> None:
        self.problems: list[tuple[int, str]] = []
        self.lines: dict[Loc, int] = {(): 1}
        self.nodes: dict[Loc, yaml.Node] = {}
        self.names: dict[Loc, str] = {}

    def read(self, text: str | bytes) -> Any:
        """The file as Python values, each with its place noted; ``None`` and a complaint when it is no YAML."""
        loader = None
        try:
            text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
            loader = _Loader(text)
            root = loader.get_single_node()
            if root is None:
                self.problems.append((1, "the file is empty"))
            return None if root is None else self._value(root, ())
        except UnicodeDecodeError as error:
            self.problems.append((text[: error.start].count(b"\n") + 1, "not UTF-8 text; save the file as UTF-8"))
        except yaml.reader.ReaderError as error:
            what = f"character U+{ord(text[error.position]):04X} is not allowed in YAML"
            self.problems.append((text[: error.position].count("\n") + 1, what))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = " ".join(filter(None, (error.problem, error.context)))
            self.problems.append((1 if mark is None else mark.line + 1, f"not valid YAML: {what}"))
        except RecursionError:
            self.problems.append((1, "nested too deeply for a claims file"))
        finally:
            if loader is not None:
                loader.dispose()
        return None

    def _value(self, node: yaml.Node, loc: Loc) -> Any:
        """Lists, dicts, text, numbers, true/false and null; what is none of these stays a node, and no model takes it."""
        self.nodes[loc] = node
        self.lines.setdefault(loc, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*loc, number)) for number, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            found = {}
            for key, value in node.value:
                word = key.value if isinstance(key, yaml.ScalarNode) else _kind(key)
                line = key.start_mark.line + 1
                if word in found:
                    self.problems.append((line, f"{self.where(loc)}: key {word!r} stands twice"))
                    continue
                self.lines[*loc, word] = line
                if word == "id" and len(loc) == 2 and isinstance(value, yaml.ScalarNode) and value.value:
                    self.names[loc] = f"claim {value.value}"
                found[word] = self._value(value, (*loc, word))
            return found
        kind = _kind(node)
        if kind == "number":
            try:
                return int(node.value) if node.tag.endswith(":int") else float(node.value)
            except ValueError:  # 1:30 and 0x1F are numbers to YAML
                return node
        return {"text": node.value, "null": None, "true/false": node.value.lower() in ("yes", "true", "on")}.get(
            kind, node
        )

    def where(self, loc: Loc) -> str:
        """``claim css-2: tier 'full'`` for the mapping at ``loc``."""
        if loc[:1] != ("claims",) or len(loc) < 2:
            return "paper" if loc[:1] == ("paper",) else "file"
        claim = self.names.get(loc[:2], f"claim {loc[1] + 1}")
        inside = {tier: f": tier {tier!r}" for tier in TIERS} | {"paper": ": paper"}
        return claim + (inside.get(loc[2], "") if len(loc) > 2 else "")

    def check_whole(self, data: Any, file: Path) -> None:
        """What no single value shows: the file's name and folder, and ids used twice."""
        data = data if isinstance(data, dict) else {}
        part, slug, claims = data.get("part"), data.get("chapter"), data.get("claims")
        if isinstance(slug, str) and slug != file.stem:
            what = f"chapter {slug!r} stands in a file called {file.stem}.yml; make them the same"
            self.problems.append((self.lines["chapter",], what))
        if isinstance(part, str) and part != file.parent.name:
            hint = paths.did_you_mean(part, PARTS).rstrip(".")
            what = f"part {part!r} stands in the folder {file.parent.name}; make them the same"
            if part not in PARTS:
                what = f"unknown part {part!r}; allowed: {', '.join(PARTS)}{hint}"
            self.problems.append((self.lines["part",], what))
        seen: dict[str, int] = {}
        for number, claim in enumerate(claims if isinstance(claims, list) else []):
            claim_id = claim.get("id") if isinstance(claim, dict) else None
            if isinstance(claim_id, str):
                line = self.lines["claims", number, "id"]
                if seen.setdefault(claim_id, line) != line:
                    what = f"claim {claim_id}: id {claim_id} was already used on line {seen[claim_id]}"
                    self.problems.append((line, what))

    def explain(self, error: ValidationError) -> None:
        """Pydantic's errors in words, each at its line; a misspelt key is one mistake, not two."""
        errors = [(one, self._place(one["loc"]), one["loc"][-1] if one["loc"] else "") for one in error.errors()]
        meant = set()
        for one, place, key in errors:
            if one["type"] == "unexpected_keyword_argument":
                known = _known(place[:-1])
                hint = paths.did_you_mean(str(key), known).rstrip(".")
                meant |= {(*place[:-1], word) for word in known if repr(word) in hint}
        for one, place, key in errors:
            if not (one["type"] == "missing" and (*place, key) in meant):
                self.problems.append((self.lines[place], self._words(one, place, key)))

    def _place(self, loc: Loc) -> Loc:
        """``loc`` without what the file does not hold: a missing key, pydantic's name for a kind."""
        place: Loc = ()
        for piece in loc:
            place = (*place, piece) if (*place, piece) in self.lines else place
        return place

    def _words(self, one: dict[str, Any], place: Loc, key: str | int) -> str:
        kind, node, where = one["type"], self.nodes.get(place), self.where(place)
        if kind == "missing" and key == "compare":
            return f"{where}: give 'compare' with its numbers, or 'not_planned' with the reason"
        if kind == "missing":
            return f"{where}: key {key!r} is missing"
        if kind == "unexpected_keyword_argument":
            known = _known(place[:-1])
            if key in known:
                return f"{where}: {key!r} makes no sense beside 'not_planned'; keep one of the two"
            hint = paths.did_you_mean(str(key), known).rstrip(".")
            return f"{where}: unknown key {key!r}; allowed: {', '.join(known)}{hint}"
        if kind == "string_type":
            remedy = f'; put it in quotes: "{node.value}"' if isinstance(node, yaml.ScalarNode) and node.value else ""
            return f"{where}: {key!r} must be text, found {_kind(node)}{remedy}"
        if kind == "dataclass_type":
            return f"{where}: expected `key: value` lines, found {_kind(node)}"
        if kind == "tuple_type":
            return f"'claims' must be a list with at least one claim, found {_kind(node)}"
        if kind == "dict_type":
            return f"{where}: {key!r} must be `run: reason` lines, found {_kind(node)}"
        if kind == "misfit":
            return f"{where}: {one['msg']}"
        return f"{where}: {key!r} {one['msg'].removeprefix('Value error, ')}"


def _known(place: Loc) -> list[str]:
    """The keys that may stand in the mapping at ``place``."""
    if place[:1] != ("claims",):
        return [one.name for one in fields(Reference if place else Chapter)]
    model = {2: Claim, 3: PaperNumber if place[-1] == "paper" else Criterion}[len(place)]
    return [one.name for one in fields(model)] + (["not_planned"] if model is Criterion else [])


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    tag = node.tag.removeprefix("tag:yaml.org,2002:")
    return "null" if tag == "null" else _KINDS.get(tag, f"the tag {tag!r}")
