// A network with two inputs and SAP after both layers: exact gradient, and three backward rules: lib/workings/chapters/sap_erratum/plane.py.
workingsLive.add("sap_erratum", ({ range, fixed, quick, weights }) => {
  const A = 8, { W1, b1, W2, b2, v, c } = Object.fromEntries(Object.entries(weights("sap_erratum")).map(([name, { data }]) => [name, data]));
  const sum = (list) => { let total = 0; for (const one of list) total += one; return total; }, fill = () => new Float64Array(A);
  const first = (x) => range(A).map((j) => Math.max(0, W1[2 * j] * x[0] + W1[2 * j + 1] * x[1] + b1[j]));
  const toInputs = (g) => [0, 1].map((i) => g.reduce((total, one, j) => total + one * W1[2 * j + i], 0)); // from the first layer's activations
  // p, q (1 for a silent neuron) and w = P(N = 1 | N >= 1) of a map.
  const chances = (h, r) => {
    const p = fill(), q = fill(), w = fill(), total = sum(h);
    for (let j = 0; j < A; j++) {
      p[j] = h[j] > 0 ? h[j] / total : 0;
      const missed = (1 - p[j]) ** (r - 1);
      [q[j], w[j]] = p[j] ? [1 - missed * (1 - p[j]), (r * p[j] * missed) / (1 - missed * (1 - p[j]))] : [1, 1];
    }
    return { p, q, w, total };
  };
  // How a rule passes on the gradient g of a pruned map's output; `through` is g / q where a neuron is kept, and 0 elsewhere.
  const passed = (g, through, h, { p, w }, rule) => {
    if (rule !== "pathwise") return rule === "identity" ? g : through;
    let common = 0;
    for (let j = 0; j < A; j++) common += through[j] * p[j] * w[j];
    return through.map((one, j) => one * (1 - w[j]) + (h[j] > 0 ? common : 0));
  };
  const back = (g2, h2, g = fill()) => { // through the second layer's ReLUs and weights
    for (let k = 0; k < A; k++) if (h2[k] > 0) for (let j = 0; j < A; j++) g[j] += g2[k] * W2[A * k + j];
    return g;
  };
  // Everything about the 2^a sets of live neurons that may be kept: what the second layer sees (u), the output (z), the sums of p (t).
  const sets = (x, r) => {
    const h = first(x), live = range(A).filter((j) => h[j] > 0), many = 2 ** live.length, one = chances(h, r);
    const z = new Float64Array(many).fill(c[0]), t = new Float64Array(many), u = new Float64Array(many * A);
    u.set(b2);
    live.forEach((j, i) => { for (let s = 0, more = 1 << i; s < 1 << i; s++, more++) {
      t[more] = t[s] + one.p[j];
      for (let k = 0; k < A; k++) u[more * A + k] = u[s * A + k] + (W2[A * k + j] * h[j]) / one.q[j];
    } });
    for (let s = 0; s < many; s++) for (let k = 0; k < A; k++) if (u[s * A + k] > 0) z[s] += v[k] * u[s * A + k];
    return { h, live, many, one, u, z, t };
  };
  // Inclusion and exclusion, from the set down to its parts or up: the mean is the sum of alternating(z) t^r, a set's chance alternating(t^r).
  const alternating = (values, bits, up, found = values.slice()) => {
    for (let i = 0; i < bits; i++) for (let s = 0; s < found.length; s++) if (s & (1 << i)) found[up ? s : s ^ (1 << i)] -= found[up ? s ^ (1 << i) : s];
    return found;
  };
  const mean = (x1, x2, r) => {
    const { live, z, t } = sets([x1, x2], r);
    return live.length ? alternating(z, live.length, false).reduce((total, one, s) => total + one * t[s] ** r, 0) : z[0];
  };
  const limit = (x1, x2, r, rule) => {
    const { h, live, many, one, u, z, t } = sets([x1, x2], r), chance = alternating(t.map((at) => at ** r), live.length, true), g = fill();
    for (let s = 0; s < many && live.length; s++) {
      const h2 = u.subarray(s * A, s * A + A).map((at) => Math.max(0, at)), through = fill(), gm = back(rule === "pathwise" ? passed(v, Float64Array.from(v), h2, chances(h2, r), rule) : v, h2);
      live.forEach((j, i) => { through[j] = s & (1 << i) ? gm[j] / one.q[j] : 0; });
      passed(gm, through, h, one, rule === "true" ? "pathwise" : rule).forEach((at, j) => { if (h[j] > 0) g[j] += chance[s] * at; });
    }
    if (rule === "true" && live.length) { // the chances of the sets depend on x as well
      const signed = alternating(z, live.length, false), by = live.map((_, i) => signed.reduce((total, at, s) => total + (s & (1 << i) ? at * r * t[s] ** (r - 1) : 0), 0));
      live.forEach((j, i) => { g[j] += (by[i] - sum(live.map((k, at) => one.p[k] * by[at]))) / one.total; });
    }
    return toInputs(g);
  };
  const drawn = (h, total, row, from, r) => { // whether each neuron is drawn by the numbers row[from], ..., row[from + r - 1]
    const kept = fill();
    for (let i = from, j = 0; i < from + r; i++, j = 0) {
      for (let reached = h[0]; reached <= row[i] * total && j < A - 1; reached += h[j]) j++;
      if (h[j] > 0) kept[j] = 1;
    }
    return kept;
  };
  const sampled = (x1, x2, dice, rule) => {
    const r = dice[0].length / 2, h = first([x1, x2]), one = chances(h, r), g = fill(), h2 = fill();
    for (const row of dice) {
      const kept = drawn(h, one.total, row, 0, r);
      h2.set(b2);
      for (let k = 0; k < A; k++) { for (let j = 0; j < A; j++) if (kept[j]) h2[k] += (W2[A * k + j] * h[j]) / one.q[j]; h2[k] = Math.max(0, h2[k]); }
      const two = chances(h2, r), kept2 = drawn(h2, two.total, row, r, r), gm = back(passed(v, kept2.map((yes, k) => (yes ? v[k] / two.q[k] : 0)), h2, two, rule), h2);
      passed(gm, kept.map((yes, j) => (yes ? gm[j] / one.q[j] : 0)), h, one, rule).forEach((at, j) => { if (h[j] > 0) g[j] += at / dice.length; });
    }
    return toInputs(g);
  };
  const walk = (x1, x2, dice, r, rule, length, sign) => dice.reduce((path, rows) => {
    const here = path[path.length - 1], g = rule === "true" ? limit(...here, r, rule) : sampled(...here, rows, rule), size = Math.hypot(...g);
    path.push(here.map((one, i) => one + (size ? (sign * length * g[i]) / size : 0)));
    return path;
  }, [[x1, x2]]).flat();
  const masks = (dice, step, count, r, uniform = quick(7919 * (1000 * dice + step))) => range(count).map(() => Float64Array.from({ length: 2 * r }, uniform));
  const END = 1.4, CELLS = 14, STEP = 0.1, RULES = [["identity", "wk-a"], ["mask", "wk-green"], ["pathwise", "wk-b"]];
  let wide = 0, ground = {}; // the plane's width over its height on the screen, and its picture
  const watch = () => { // the page's light
    document.head.append(Object.assign(document.createElement("style"), { textContent: "[data-live=sap_erratum] .wk-cells { image-rendering: auto; } .wk-green { stroke: #00704d; --wk-fill: #00704d; } html[data-theme=dark] .wk-green { stroke: #6fd6ad; --wk-fill: #6fd6ad; }" }));
    new MutationObserver(() => Object.values(workingsLive.figures).forEach((one) => one.draw())).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  };
  const surface = (r) => { // the exact mean on a grid; the browser smooths it
    const dark = document.documentElement.dataset.theme === "dark", key = [r, wide, dark].join(), right = END * wide, width = Math.max(2, Math.round(CELLS * wide));
    if (ground.key === key) return ground;
    const paper = dark ? [0.09, 0.11, 0.14] : [1, 1, 1], paints = dark ? [[0.1, 0.36, 0.55], [0.5, 0.3, 0.08]] : [[0.5, 0.74, 0.93], [0.98, 0.8, 0.5]];
    const across = (j) => -right + (2 * right * (j + 0.5)) / width, up = (i) => END - (2 * END * (i + 0.5)) / CELLS, data = [], border = { x: [], y: [] };
    const rows = range(CELLS).map((i) => range(width).map((j) => mean(across(j), up(i), r)));
    rows.forEach((row, i) => row.forEach((one, j) => {
      for (let part = 0; part < 3; part++) data.push(paper[part] + Math.min(1, Math.abs(one) / 8) ** 0.6 * (paints[one > 0 ? 0 : 1][part] - paper[part]));
      for (const [di, dj] of [[0, 1], [1, 0]]) { // the border passes between two neighbours that differ
        const last = (rows[i - di] || [])[j - dj], part = one / (one - last);
        if (last !== undefined && one > 0 !== last > 0) { border.x.push(across(j - part * dj)); border.y.push(up(i - part * di)); }
      }
    }));
    return (ground = { key, border, cells: { kind: "cells", x: [-right, right], y: [-END, END], width, height: CELLS, data, rgb: true } });
  };
  const draw = (state, [across, up]) => {
    if (!wide) watch(); wide = (across - 72) / (up - 54);
    state.dice = Math.min(Math.max(Math.floor(state.dice) || 1, 1), 20); // no knob: an address may hold anything
    const { x, y, r, k, t, dice } = state;
    const K = 2 ** k, here = mean(x, y, r), sign = here > 0 ? -1 : 1, exact = limit(x, y, r, "true"), long = Math.hypot(...exact) || 1, rows = masks(dice, 0, K, r);
    const throws = range(t).map((i) => masks(dice, i + 1, K, r)), { cells, border } = surface(r), tip = (g) => { const scale = sign * Math.min(0.55 / long, 1.2 / (Math.hypot(...g) || 1)); return [x + scale * g[0], y + scale * g[1]]; };
    const turned = (g) => (g[0] * exact[0] + g[1] * exact[1]) / (Math.hypot(...g) * long || 1), cosine = (g) => fixed(turned(g), 2);
    const from = (kind, g, look, name) => ({ kind, x: [x, tip(g)[0]], y: [y, tip(g)[1]], look, name });
    const found = RULES.map(([rule, look]) => {
      const path = walk(x, y, throws, r, rule, STEP, sign), end = path.slice(-2);
      return { rule, look, now: sampled(x, y, rows, rule), ever: limit(x, y, r, rule), trail: [0, 1].map((i) => path.filter((_, j) => j % 2 === i)), over: mean(...end, r) > 0 !== here > 0 };
    });
    const list = (some) => some.map(({ rule }) => rule).join(", ").replace(/, (\w+)$/, " and $1"), over = found.filter((one) => one.over), stuck = found.filter((one) => !one.over);
    return {
      x: { min: -END * wide, max: END * wide, label: "input x1" }, y: { min: -END, max: END, label: "input x2" },
      marks: [cells, { kind: "points", ...border, size: 1.2, look: "wk-ink" }, { kind: "text", x: 0, y: -0.7, text: "disc", anchor: "middle" }, { kind: "text", x: -1.25, y: 1.1, text: "ring" },
        ...(t ? found.flatMap(({ trail: [a, b], look }) => [{ kind: "points", x: a, y: b, size: 2.5, look }, { kind: "points", x: a.slice(-1), y: b.slice(-1), size: 5, look }]) : []),
        from("arrow", exact, "wk-ink", "true gradient"), ...found.map(({ now, look, rule }) => from("arrow", now, look, rule)),
        ...found.map(({ ever, look }) => from("line", ever, `${look} wk-dots`)), { kind: "line", x: [x, x], y: [y, y], look: "wk-ink wk-dots", name: "endless masks" },
        { kind: "points", x: [x], y: [y], size: 5, look: "wk-ink" }],
      values: found.map(({ rule, now, ever }) => [`cos ${rule}`, `${cosine(now)} (endless ${cosine(ever)})`]),
      says: `Over ${K} mask${K > 1 ? "s" : ""}, pathwise has cosine ${cosine(found[2].now)} with the true gradient (endless: ${cosine(found[2].ever)})${Math.max(turned(found[2].now), turned(found[2].ever)) < 0 ? ": more masks do not turn it round" : ""}.` +
        (t ? ` After ${t} step${t > 1 ? "s" : ""} ${over.length ? `${list(over)} ${over.length > 1 ? "are" : "is"}` : "none is"} across the border${over.length && stuck.length ? `, ${list(stuck)} ${stuck.length > 1 ? "are" : "is"} not` : ""}.` : ""),
    };
  };
  const place = { min: -1.4, max: 1.4, step: 0.01, text: (one) => fixed(one, 2) };
  return { pure: { mean, limit, sampled, walk },
    figure: {
      start: { k: 2, r: 2, t: 0, x: 0.4, y: 0.25, dice: 1 },
      knobs: [{ key: "k", label: "Masks", min: 0, max: 5, step: 1, text: (one) => String(2 ** one) },
        { key: "r", label: "Draws", min: 2, max: 16, step: 1, text: (one) => `${one} (f = ${one / A})` }, { key: "t", label: "Steps", min: 0, max: 15, step: 1, text: String },
        { key: "x", label: "Input x1", ...place }, { key: "y", label: "Input x2", ...place }],
      kept: ["dice"], buttons: [{ label: "Other masks", press: (state) => { state.dice = (state.dice % 20) + 1; } }],
      play: { key: "t", label: "Climb" }, point: (state, x, y) => { Object.assign(state, { x, y }); return true; },
      caption: "Run in this page in half precision. Blue and orange: the classes; small dots: their border. Touch the plane to move the input.",
      draw,
    } };
});
