// What all live figures share: sliders and choices, a chart in plain SVG, values as text, the state in the page's address.
// A chapter's module (live/<slug>.js) says what is computed and what is drawn; book/assets/controls.js loads both when
// the figure comes near. Pages are opened from disk, where a browser refuses modules and fetch: so these are plain scripts.
window.workingsLive = (() => {
  "use strict";
  const STYLE = `
.wk-live { display: flex; flex-direction: column; flex: 1; gap: 0.5rem; contain: layout; --wk-a: #005a8c; --wk-b: #b02a1a; --wk-c: #7a8591; }
html[data-theme="dark"] .wk-live { --wk-a: #7cc4f0; --wk-b: #ff9a85; --wk-c: #8b97a5; }
.wk-knobs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 9.5rem), 1fr)); gap: 0 1.2rem; }
.wk-knob[hidden] { display: none; }
.wk-knob label { display: block; font-weight: 600; font-size: 0.92em; line-height: 1.35; }
.wk-knob output { font-weight: 400; font-variant-numeric: tabular-nums; }
.wk-knob input, .wk-knob select, .wk-live textarea, .wk-buttons button { box-sizing: border-box; min-height: 44px; color: inherit; accent-color: var(--wk-accent); }
.wk-knob :is(input, select), .wk-live textarea { width: 100%; margin: 0; cursor: pointer; }
.wk-knob select, .wk-live textarea, .wk-buttons button { padding: 0.2em 0.6em; border: 1px solid var(--pst-color-text-muted); border-radius: 6px; background: var(--pst-color-background); }
.wk-live :is(input, select, textarea):focus-visible { outline: 3px solid var(--wk-accent); outline-offset: 1px; border-radius: 6px; }
.wk-knob.wk-wide { grid-column: 1 / -1; }
.wk-chart { position: relative; flex: 1; min-height: 14rem; contain: strict; }
.wk-chart svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: hidden; }
.wk-chart text { fill: currentColor; stroke: none; font-size: 13px; }
.wk-chart .wk-axis { stroke: currentColor; stroke-width: 1; fill: none; }
.wk-a { stroke: var(--wk-a); --wk-fill: var(--wk-a); } .wk-b { stroke: var(--wk-b); --wk-fill: var(--wk-b); } .wk-c { stroke: var(--wk-c); --wk-fill: var(--wk-c); }
.wk-ink { stroke: currentColor; --wk-fill: currentColor; }
.wk-line { fill: none; stroke-width: 2; } .wk-bars, .wk-points { stroke: none; fill: var(--wk-fill); } .wk-cells { image-rendering: pixelated; } .wk-touched { touch-action: none; cursor: crosshair; } .wk-area { stroke: none; fill: var(--wk-fill); opacity: 0.22; }
.wk-dash { stroke-dasharray: 7 4; } .wk-dots { stroke-dasharray: 2 4; }
.wk-legend, .wk-values { display: flex; flex-wrap: wrap; gap: 0 1.2rem; margin: 0 !important; padding: 0 !important; list-style: none; font-size: 0.9em; }
.wk-legend li { margin: 0; } .wk-legend svg { width: 26px; height: 12px; margin-right: 0.4em; }
.wk-values > div { display: flex; gap: 0.4em; } .wk-values dt { font-weight: 400; margin: 0; } .wk-values dd { margin: 0 !important; font-weight: 600; font-variant-numeric: tabular-nums; }
.wk-live p { margin: 0; font-size: 0.95em; line-height: 1.5; } .wk-live .wk-wrong { color: var(--wk-b); font-weight: 600; } .wk-wrong:empty { display: none; }
.wk-buttons { display: flex; flex-wrap: wrap; gap: 0.6rem; align-items: center; font-size: 0.9em; } .wk-buttons span { flex: 1 1 14rem; color: var(--pst-color-text-muted); }
.wk-heard { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
@media screen { .wk-is-live { display: flex; flex-direction: column; } .wk-is-live > :is(.wk-bar, .wk-frames, .wk-paper), .wk-is-live .wk-on-paper { display: none !important; } }
@media print { .wk-live, .wk-on-screen { display: none !important; } }`;

  const html = (tag, properties = {}, ...inside) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...inside);
    return made;
  };
  const svg = (tag, attributes = {}, ...inside) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...inside);
    return made;
  };

  // Make `old` say what `fresh` says, changing as little as possible: a node that comes or goes has the browser look at the whole page.
  const update = (old, fresh) => {
    const [here, there] = [[...old.childNodes], [...fresh.childNodes]];
    if (old.nodeName !== fresh.nodeName || here.length !== there.length) return old.replaceWith(fresh);
    if (old.nodeType === Node.TEXT_NODE) { if (old.data !== fresh.data) old.data = fresh.data; return; }
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    there.forEach((one, i) => update(here[i], one));
  };
  const fill = (node, nodes) => {
    const here = [...node.childNodes];
    if (here.length === nodes.length) here.forEach((one, i) => update(one, nodes[i])); else node.replaceChildren(...nodes);
  };

  // ln n! for whole n: the sum where it is short, Stirling's series beyond.
  const lnFactorial = (n) => {
    if (n >= 32) return (n + 0.5) * Math.log(n) - n + 0.5 * Math.log(2 * Math.PI) + 1 / (12 * n) - 1 / (360 * n ** 3) + 1 / (1260 * n ** 5);
    let product = 1;
    for (let i = 2; i <= n; i++) product *= i;
    return Math.log(product);
  };
  const range = (count) => Array.from({ length: count }, (_, i) => i);
  const minus = (text) => text.replace("-", "\u2212");
  const fixed = (value, digits) => minus(value.toFixed(digits));

  // Round numbers between low and high, about as many as asked.
  const ticks = (low, high, wanted) => {
    const raw = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= raw * 0.999);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    return range(Math.floor(high / step + 1e-9) - Math.ceil(low / step - 1e-9) + 1)
      .map((i) => (Math.ceil(low / step - 1e-9) + i) * step).map((at) => [at, fixed(at, digits)]);
  };

  // Where a chart's numbers stand on the screen, and back again; an axis with `log` counts in powers of ten.
  const EDGES = { left: 62, right: 10, top: 10, bottom: 44 };
  const scales = ({ x, y }, width, height) => {
    const along = (axis, from, to) => {
      const at = axis.log ? Math.log10 : (v) => v, [low, high] = [at(axis.min), at(axis.max)];
      return {
        to: (v) => from + ((at(Math.min(Math.max(v, axis.min), axis.max)) - low) / (high - low)) * (to - from),
        back: (pixel) => { const v = low + ((pixel - from) / (to - from)) * (high - low); return axis.log ? 10 ** v : v; },
      };
    };
    return {
      across: along(x, y.hide ? 10 : EDGES.left, width - EDGES.right), up: along(y, height - (x.hide ? 10 : EDGES.bottom), EDGES.top),
    };
  };
  // A picture of numbers between 0 and 1, row by row from the top, as the address of an image: a plain bitmap (rows upwards,
  // blue first), made many times faster than by a canvas.
  const pictured = ({ width, height, data, rgb }) => {
    const row = (3 * width + 3) & ~3, bytes = new Uint8Array(54 + row * height), head = new DataView(bytes.buffer);
    bytes.set([66, 77]);
    for (const [at, number] of [[2, bytes.length], [10, 54], [14, 40], [18, width], [22, height], [26, 1 + (24 << 16)]]) head.setUint32(at, number, true);
    for (let i = 0; i < width * height; i++) {
      const at = 54 + row * (height - 1 - Math.floor(i / width)) + 3 * (i % width);
      for (let c = 0; c < 3; c++) bytes[at + 2 - c] = Math.round(255 * Math.min(Math.max(data[rgb ? 3 * i + c : i], 0), 1));
    }
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    return `data:image/bmp;base64,${btoa(text)}`;
  };
  const tickMarks = (axis, wanted) => {
    if (axis.hide) return [];
    if (axis.ticks) return axis.ticks;
    if (!axis.log) return ticks(axis.min, axis.max, wanted);
    const from = Math.ceil(Math.log10(axis.min) - 1e-9), to = Math.floor(Math.log10(axis.max) + 1e-9), step = Math.ceil((to - from + 1) / wanted);
    return range(Math.floor((to - from) / step) + 1).map((i) => from + i * step)
      .map((power) => [10 ** power, power >= -3 && power <= 4 ? String(Number((10 ** power).toPrecision(1))) : minus(`1e${power}`)]);
  };

  // One chart: {x, y: {min, max, label, log, ticks, hide}, marks: [{kind, x, y, look, name}]}. Kinds: bars, line, area; rule, with an x or
  // a y alone; points, with a size; arrow, from x[0], y[0] to x[1], y[1]; text; cells, a picture from x[0], y[0] to x[1], y[1].
  const chart = (spec, width, height) => {
    const { x, y } = spec, { across: { to: across }, up: { to: up } } = scales(spec, width, height);
    const left = across(x.min), right = width - EDGES.right, top = EDGES.top, bottom = up(y.min);
    const point = (a, b) => `${across(a).toFixed(1)} ${up(b).toFixed(1)}`;
    const paths = {
      line: (mark) => "M" + mark.x.map((at, i) => point(at, mark.y[i])).join("L"),
      area: (mark) => `M${point(mark.x[0], y.min)}L${mark.x.map((at, i) => point(at, mark.y[i])).join("L")}L${point(mark.x[mark.x.length - 1], y.min)}Z`,
      bars: (mark) => mark.x.map((at, i) => `M${point(at - 0.4, y.min)}L${point(at - 0.4, mark.y[i])}L${point(at + 0.4, mark.y[i])}L${point(at + 0.4, y.min)}Z`).join(""),
      rule: (mark) => (mark.x === undefined ? `M${left} ${up(mark.y)}H${right}` : `M${across(mark.x).toFixed(1)} ${bottom}V${top}`),
      points: (mark) => mark.x.map((at, i) => { // circles, all in one path
        const r = mark.size || 4;
        return `M${(across(at) - r).toFixed(1)} ${up(mark.y[i]).toFixed(1)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`;
      }).join(""),
      arrow: (mark) => {
        const [a, b] = [0, 1].map((i) => [across(mark.x[i]), up(mark.y[i])]), turn = Math.atan2(b[1] - a[1], b[0] - a[0]);
        const barb = (by) => `${(b[0] - 9 * Math.cos(turn + by)).toFixed(1)} ${(b[1] - 9 * Math.sin(turn + by)).toFixed(1)}`;
        const line = `M${a.map((v) => v.toFixed(1)).join(" ")}L${b.map((v) => v.toFixed(1)).join(" ")}`;
        return Math.hypot(b[0] - a[0], b[1] - a[1]) < 1 ? line : `${line}M${barb(0.45)}L${b.map((v) => v.toFixed(1)).join(" ")}L${barb(-0.45)}`;
      },
    };
    const classes = { rule: "wk-line", arrow: "wk-line", points: "wk-points" };
    const drawn = svg("svg", { role: "img", viewBox: `0 0 ${width} ${height}`, "aria-label": spec.says });
    for (const mark of spec.marks) {
      if (mark.kind === "text") {
        drawn.append(svg("text", { x: across(mark.x).toFixed(1), y: up(mark.y).toFixed(1), "text-anchor": mark.anchor || "start", class: mark.look || "" }, mark.text));
      } else if (mark.kind === "cells") {
        const [x0, x1] = mark.x.map(across), [y1, y0] = mark.y.map(up);
        drawn.append(svg("image", { x: x0, y: y0, width: x1 - x0, height: y1 - y0, href: pictured(mark), preserveAspectRatio: mark.square ? "xMidYMid" : "none", class: "wk-cells" }));
      } else drawn.append(svg("path", { d: paths[mark.kind](mark), class: `${classes[mark.kind] || "wk-" + mark.kind} ${mark.look}` }));
    }
    const lines = `${y.hide ? "" : `M${left} ${top}V${bottom}`}${x.hide ? "" : `M${left} ${bottom}H${right}`}`;
    const axis = svg("g", {}, ...(lines ? [svg("path", { class: "wk-axis", d: lines })] : []));
    for (const [at, text] of tickMarks(x, Math.max(2, width / 90))) {
      axis.append(svg("text", { x: across(at), y: bottom + 17, "text-anchor": "middle" }, text));
    }
    for (const [at, text] of tickMarks(y, Math.max(2, height / 60))) {
      axis.append(svg("text", { x: left - 7, y: up(at) + 4, "text-anchor": "end" }, text));
    }
    if (!x.hide) axis.append(svg("text", { x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, x.label));
    const middle = (top + bottom) / 2;
    if (!y.hide) axis.append(svg("text", { x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` }, y.label));
    drawn.append(axis);
    return drawn;
  };
  const swatch = ({ kind, look, name }) =>
    html("li", {}, svg("svg", { viewBox: "0 0 26 12", "aria-hidden": "true" }, svg("path", {
      d: { bars: "M2 1H24V11H2Z", area: "M2 1H24V11H2Z", points: "M9 6a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z", arrow: "M0 6H25M18 2L25 6L18 10" }[kind] || "M0 6H26",
      class: `${kind === "rule" || kind === "arrow" ? "wk-line" : "wk-" + kind} ${look}` })), name);

  // A figure's sliders, choices and boxes for text. Each gives {node, show(state)} and calls moved(value).
  const knob = (spec, id, moved) => {
    const name = `${id}-live-${spec.key}`, told = html("output");
    told.htmlFor = name;
    const label = html("label", { htmlFor: name }, spec.label, " ", told);
    let input;
    if (spec.options) input = html("select", { id: name }, ...spec.options.map(([value, text]) => new Option(text, value)));
    else if (spec.rows) input = html("textarea", { id: name, rows: spec.rows, spellcheck: false });
    else input = html("input", { id: name, type: "range", step: spec.step });
    input.addEventListener("input", () => moved(spec.options || spec.rows ? input.value : Number(input.value)));
    const node = html("div", { className: spec.rows ? "wk-knob wk-wide" : "wk-knob" }, label, input);
    const show = (state) => {
      node.hidden = spec.when ? !spec.when(state) : false;
      if (input.type === "range") {
        const [low, high] = limits(spec, state);
        Object.assign(input, { min: low, max: high });
        const text = spec.text(state[spec.key], state);
        fill(told, [document.createTextNode(text)]);
        input.setAttribute("aria-valuetext", text);
      }
      if (input.value !== String(state[spec.key])) input.value = state[spec.key];
    };
    return { node, show };
  };
  const limits = (spec, state) => [spec.min, spec.max].map((one) => (typeof one === "function" ? one(state) : one));
  const held = (spec, state) => { // the value that a knob may have, nearest to the one it has
    const value = state[spec.key];
    if (spec.options) return spec.options.some(([one]) => one === value) ? value : spec.options[0][0];
    if (spec.rows) return String(value);
    const [low, high] = limits(spec, state);
    const stepped = low + Math.round((Math.min(Math.max(Number(value) || 0, low), high) - low) / spec.step) * spec.step;
    return Number(Math.min(stepped, high).toFixed(6));
  };

  const mount = (box, { figure }) => {
    const state = { ...figure.start }, knobs = [], played = figure.knobs.find(({ key }) => key === figure.play?.key), kept = [...figure.knobs.filter((spec) => !spec.rows).map(({ key }) => key), ...(figure.kept || [])];
    const area = html("div", { className: "wk-chart" }), legend = html("ul", { className: "wk-legend" });
    const values = html("dl", { className: "wk-values" }), says = html("p", { className: "wk-says" }), wrong = html("p", { className: "wk-wrong" });
    const heard = html("p", { className: "wk-heard" });
    wrong.setAttribute("role", "alert");
    heard.setAttribute("role", "status");
    let settled, playing, room, shown; // room: how large the chart may be, as far as measured; shown: the chart that is drawn

    const size = () => [Math.max(room[0], 200), Math.max(room[1], 160)];
    const draw = () => {
      for (const spec of figure.knobs) state[spec.key] = held(spec, state);
      for (const one of knobs) one.show(state);
      play.disabled = Boolean(played?.when && !played.when(state)); // nothing to see where its slider is hidden
      if (!room) { // words first: the chart gets what they leave
        words(figure.draw(state, [640, 300]));
        room = [area.clientWidth, area.clientHeight];
      }
      shown = figure.draw(state, size());
      words(shown);
      fill(area, [chart(shown, ...size())]);
    };
    const words = (seen) => {
      const fault = seen.wrong || "";
      if (wrong.textContent !== fault) wrong.textContent = fault;
      fill(says, [document.createTextNode(seen.says)]);
      fill(legend, seen.marks.filter((mark) => mark.name).map(swatch));
      fill(values, seen.values.map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value))));
    };
    const settle = () => { // said aloud and written into the address once the reader has stopped moving
      heard.textContent = says.textContent;
      const asked = new URLSearchParams({ live: box.id });
      for (const key of kept) asked.set(key, state[key]);
      history.replaceState(null, "", `#${asked}`);
    };
    const move = (key, value) => {
      if (key !== undefined) state[key] = value;
      draw();
      clearTimeout(settled);
      settled = setTimeout(settle, 300);
    };
    const read = () => {
      const asked = new URLSearchParams(location.hash.slice(1));
      if (asked.get("live") !== box.id) return;
      for (const key of kept) if (asked.has(key)) state[key] = asked.get(key);
      draw();
    };
    const still = () => { clearInterval(playing); playing = undefined; play.textContent = figure.play.label; };
    const play = html("button", { type: "button" });
    play.addEventListener("click", () => {
      if (playing) return still();
      const [low, high] = limits(played, state), step = figure.play.back ? -played.step : played.step;
      const { key } = played, [from, to] = step < 0 ? [high, low] : [low, high];
      play.textContent = "Stop";
      move(key, from);
      playing = setInterval(() => (state[key] === to ? still() : move(key, state[key] + step)), 150);
    });
    const again = html("button", { type: "button" }, "Start again");
    again.addEventListener("click", () => { if (playing) still(); Object.assign(state, figure.start); move(figure.knobs[0].key, figure.start[figure.knobs[0].key]); });
    const presses = (figure.buttons || []).map(({ label, press }) => {
      const button = html("button", { type: "button" }, label);
      button.addEventListener("click", () => { if (playing) still(); press(state); move(); });
      return button;
    });
    const buttons = html("div", { className: "wk-buttons" }, ...presses, again, html("span", {}, "The page\u2019s address holds what you set."));
    if (figure.play && !matchMedia("(prefers-reduced-motion: reduce)").matches) { still(); buttons.prepend(play); }

    for (const spec of figure.knobs) knobs.push(knob(spec, box.id, (value) => { if (playing) still(); move(spec.key, value); }));
    const live = html("div", { className: "wk-live" }, html("div", { className: "wk-knobs" }, ...knobs.map(({ node }) => node)), wrong, legend, area, values, says, buttons, heard);
    if (figure.point) { // a finger or a mouse on the chart
      area.classList.add("wk-touched");
      const touched = (event, phase) => {
        const { left, top } = area.getBoundingClientRect(), { across, up } = scales(shown, ...size());
        if (figure.point(state, across.back(event.clientX - left), up.back(event.clientY - top), phase)) { if (playing) still(); move(); }
      };
      area.addEventListener("pointerdown", (event) => { area.setPointerCapture(event.pointerId); touched(event, "down"); });
      area.addEventListener("pointermove", (event) => { if (event.buttons) touched(event, "move"); });
    }
    const caption = box.querySelector("figcaption");
    caption.replaceChildren(html("span", { className: "wk-on-paper" }, ...caption.childNodes), html("span", { className: "wk-on-screen" }, figure.caption));
    box.classList.add("wk-is-live");
    box.prepend(live);
    draw();
    read();
    addEventListener("hashchange", read);
    new ResizeObserver(() => {
      const now = [area.clientWidth, area.clientHeight];
      if (now[0] && now.join() !== room.join()) { room = now; draw(); }
    }).observe(area);
    if (new URLSearchParams(location.hash.slice(1)).get("live") === box.id) box.scrollIntoView();
    return { state, draw };
  };

  document.head.append(html("style", {}, STYLE));
  // Uniform numbers in [0, 1), the same for a seed, so that a link shows the same draw: splitmix64.
  const random = (seed) => {
    let at = BigInt(Math.floor(seed));
    const mixed = (v, by, times) => BigInt.asUintN(64, (v ^ (v >> by)) * times);
    const next = () => {
      at = BigInt.asUintN(64, at + 0x9e3779b97f4a7c15n);
      const z = mixed(mixed(at, 30n, 0xbf58476d1ce4e5b9n), 27n, 0x94d049bb133111ebn);
      return Number((z ^ (z >> 31n)) >> 11n) / 2 ** 53;
    };
    return next;
  };
  // The same, faster, with 32 bits: mulberry32.
  const quick = (state) => () => {
    state = (state + 0x6d2b79f5) | 0;
    const a = Math.imul(state ^ (state >>> 15), 1 | state), b = (a + Math.imul(a ^ (a >>> 7), 61 | a)) ^ a;
    return ((b ^ (b >>> 14)) >>> 0) / 2 ** 32;
  };
  const gauss = (uniform) => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  // Stored networks, put before a script by tools/live_weights.py: whole numbers as letters, others in half precision.
  const half = (bits) => {
    const sign = bits & 0x8000 ? -1 : 1, power = (bits >> 10) & 31, part = bits & 1023;
    return sign * (power ? 2 ** (power - 15) * (1 + part / 1024) : part * 2 ** -24);
  };
  const networks = {};
  const weights = (slug) => Object.fromEntries(Object.entries(networks[slug] || {}).map(([name, { shape, half: text, letters }]) => {
    const bytes = Int8Array.from(letters || atob(text), (one) => one.charCodeAt(0) - (letters ? 80 : 0)), pairs = new DataView(bytes.buffer);
    return [name, { shape, data: Float32Array.from(letters ? bytes : range(bytes.length / 2).map((i) => half(pairs.getUint16(2 * i, true)))) }];
  }));

  const shared = { lnFactorial, range, fixed, minus, random, quick, gauss, weights }, modules = {}, figures = {};
  return {
    modules, figures, networks,
    add: (slug, make) => {
      modules[slug] = make(shared);
      for (const box of document.querySelectorAll(`[data-live="${slug}"]`)) figures[box.id] = mount(box, modules[slug]);
    },
  };
})();
