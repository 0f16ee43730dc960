"""Controls that work on paper: a slider over pictures, with or without a kernel.

A control is a set of frames, one for each value (or pair of values) of what it moves. In a live kernel it is an ipywidgets
slider; in the built book, which has no kernel, it is a plain HTML range input over the same frames, with twelve lines of
script and no library, or a live figure (see ``show.live``). Without script, and in print, the starting frame is shown with
its value written beneath it. A frame may be a function that draws it, and is then drawn when it is first asked for.
"""

from __future__ import annotations

import base64
import html
import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SCRIPT = """
(function () {
  const box = document.getElementById(%r);
  if (!box || box.dataset.ready) return;
  box.dataset.ready = "1";
  const inputs = [...box.querySelectorAll("input")], frames = [...box.querySelectorAll("img")];
  function show() {
    let at = 0;
    inputs.forEach((input) => {
      const names = JSON.parse(input.dataset.names);
      at = at * names.length + Number(input.value);
      input.setAttribute("aria-valuetext", names[input.value]);
      input.nextElementSibling.textContent = names[input.value];
    });
    frames.forEach((frame, i) => { frame.style.display = i === at ? "block" : "none"; });
  }
  box.querySelector(".wk-bar").hidden = false;
  box.querySelector(".wk-paper").hidden = true;
  inputs.forEach((input) => input.addEventListener("input", show));
  show();
})();
"""


@dataclass(frozen=True)
class Axis:
    """One thing a control moves: its ``label`` (with unit) and the text of each of its ``values``."""

    label: str
    values: tuple[str, ...]
    start: int = 0

    def __post_init__(self) -> None:
        if len(self.values) < 2:
            raise ValueError(f"axis {self.label!r} has {len(self.values)} value(s); a control needs at least 2.")
        if not 0 <= self.start < len(self.values):
            raise ValueError(f"axis {self.label!r} starts at {self.start}, outside 0..{len(self.values) - 1}.")


@dataclass(frozen=True)
class Frame:
    """One picture: PNG bytes and the text a blind reader gets instead."""

    png: bytes
    alt: str

    def __post_init__(self) -> None:
        if not self.png.startswith(b"\x89PNG"):
            raise ValueError("frame is not a PNG; make it with workings.figures.png_bytes(figure).")
        if len(self.alt.strip()) < 20:
            raise ValueError(f"alt text {self.alt!r} is too short to replace a picture; describe what it shows.")

    @property
    def src(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


class Control:
    """A picture with one or two sliders.

    ``axes`` are the sliders, slowest first; ``frames`` maps the tuple of indices to a :class:`Frame`, or to a function without
    arguments that draws one (or is a flat sequence in that order). ``name`` becomes the element's id.
    ``live`` names the script ``book/assets/live/<live>.js`` that computes the figure in the book's page, on the screen: the HTML
    then holds the starting frame only, for paper and for readers without scripts; Jupyter has them all.
    Raises ``ValueError`` when a frame is missing. The HTML raises it when its frames weigh more than ``budget`` bytes, and,
    where a page is recorded (``WORKINGS_RECORD``), draws every frame, so that none waits for a reader to fail.
    """

    def __init__(
        self,
        name: str,
        axes: Sequence[Axis],
        frames: Mapping[tuple[int, ...], Frame | Callable[[], Frame]] | Sequence[Frame | Callable[[], Frame]],
        *,
        caption: str,
        budget: int = 600_000,
        live: str | None = None,
    ) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
            raise ValueError(f"name {name!r} must be lower-case letters, digits and hyphens, starting with a letter.")
        if not axes:
            raise ValueError("a control needs at least one Axis.")
        if live is not None and not re.fullmatch(r"[a-z][a-z0-9_]*", live):
            raise ValueError(f"live must be the name of a script in book/assets/live without its .js, got {live!r}.")
        places = list(itertools.product(*(range(len(axis.values)) for axis in axes)))
        flat = dict(frames) if isinstance(frames, Mapping) else dict(zip(places, frames, strict=False))
        missing = [place for place in places if place not in flat]
        extra = len(frames) - (len(places) - len(missing))
        if missing or extra:
            raise ValueError(
                f"{len(places)} frames are needed for these axes; missing {missing[:3]}, {extra} too many."
            )
        self.name, self.axes, self.caption, self.live = name, tuple(axes), caption, live
        self._frames, self._budget = [flat[place] for place in places], budget
        if all(isinstance(frame, Frame) for frame in self._frames):
            self._weigh()

    def frame(self, at: int) -> Frame:
        """Frame number ``at``, drawn now if it was not drawn before."""
        drawn = self._frames[at]
        if not isinstance(drawn, Frame):
            drawn = drawn()
            if not isinstance(drawn, Frame):
                raise ValueError(
                    f"frame {at} of control {self.name!r} must be drawn as a Frame, got {type(drawn).__name__}."
                )
            self._frames[at] = drawn
        return drawn

    @property
    def frames(self) -> tuple[Frame, ...]:
        """All frames; those that were not drawn yet are drawn now."""
        return tuple(self.frame(at) for at in range(len(self._frames)))

    @property
    def weight(self) -> int:
        """Bytes of all frames as the HTML has them."""
        return sum(len(frame.src) for frame in self.frames)

    def _weigh(self) -> None:
        if self.weight > self._budget:
            raise ValueError(
                f"frames weigh {self.weight:,} bytes, over the budget of {self._budget:,}: fewer, or smaller ones."
            )

    @property
    def start(self) -> int:
        """Index of the frame shown first, in print, and without script."""
        at = 0
        for axis in self.axes:
            at = at * len(axis.values) + axis.start
        return at

    def __repr__(self) -> str:
        sizes = " x ".join(f"{axis.label} ({len(axis.values)})" for axis in self.axes)
        return f"Control {self.name}: {sizes}, {len(self._frames)} frames"

    def _sliders_html(self) -> str:
        import json

        rows = []
        for i, axis in enumerate(self.axes):
            key = f"{self.name}-{i}"
            names = html.escape(json.dumps(list(axis.values)), quote=True)
            now = html.escape(axis.values[axis.start])
            rows.append(
                f'<div class="wk-row"><label for="{key}">{html.escape(axis.label)}</label>'
                f'<input type="range" id="{key}" min="0" max="{len(axis.values) - 1}" step="1" value="{axis.start}" '
                f'aria-valuetext="{now}" data-names="{names}"><output for="{key}" aria-live="polite">{now}</output></div>'
            )
        return "".join(rows)

    def to_html(self) -> str:
        """The control as one self-contained HTML element; the script only reveals what is there."""
        if self.live is None or os.environ.get("WORKINGS_RECORD") == "1":
            self._weigh()
        kept = [self.start] if self.live else range(len(self._frames))
        pictures = "".join(
            f'<img src="{self.frame(at).src}" alt="{html.escape(self.frame(at).alt, quote=True)}" '
            f'style="display:{"block" if at == self.start else "none"}">'
            for at in kept
        )
        shown = "; ".join(f"{axis.label}: {axis.values[axis.start]}" for axis in self.axes)
        computes = f' data-live="{self.live}"' if self.live else ""
        bar = "" if self.live else f'<div class="wk-bar" hidden>{self._sliders_html()}</div>'
        script = "" if self.live else f"<script>{_SCRIPT % self.name}</script>"
        return (
            f'<figure class="wk-control" id="{self.name}"{computes}>{bar}'
            f'<div class="wk-frames">{pictures}</div>'
            f'<p class="wk-paper">Shown here: {html.escape(shown)}.</p>'
            f"<figcaption>{html.escape(self.caption)}</figcaption></figure>{script}"
        )

    def to_widget(self) -> Any:
        """The same control as ipywidgets, for a live kernel."""
        import ipywidgets as widgets

        picture = widgets.HTML()
        sliders = [
            widgets.SelectionSlider(
                options=[(text, i) for i, text in enumerate(axis.values)],
                value=axis.start,
                description=axis.label,
                style={"description_width": "initial"},
                layout={"width": "95%"},
            )
            for axis in self.axes
        ]

        def show(_: object = None) -> None:
            at = 0
            for axis, slider in zip(self.axes, sliders, strict=True):
                at = at * len(axis.values) + slider.index
            frame = self.frame(at)
            alt = html.escape(frame.alt, quote=True)
            picture.value = f'<img alt="{alt}" style="max-width:100%" src="{frame.src}">'

        for slider in sliders:
            slider.observe(show, "index")
        show()
        return widgets.VBox([*sliders, picture, widgets.HTML(f"<p>{html.escape(self.caption)}</p>")])

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """HTML for the book and for front ends without widgets; the widget view for a live kernel."""
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self.to_html()}
        try:
            from IPython import get_ipython

            live = getattr(get_ipython(), "kernel", None) is not None
        except ImportError:
            live = False
        if live:
            view = self.to_widget()._repr_mimebundle_() or {}
            kind = "application/vnd.jupyter.widget-view+json"
            if kind in view:
                bundle[kind] = view[kind]
        return bundle
