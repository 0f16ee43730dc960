// A network with two inputs and SAP after both layers: exact gradient, and three backward rules: lib/workings/chapters/sap_erratum/plane.py.
workingsLive.add("sap_erratum", ({ range, fixed, weights }) => {
  const NET = weights("sap_erratum"), A = 8, { W1, b1, W2, b2, v, c } = Object.fromEntries(Object.entries(NET).map(([name, { data }]) => [name, data]));
  const sum = (list) => list.reduce((total, one) => total + one, 0), power = (base, r) => (r ? base ** r : 1);
  const first = (x) => range(A).map((j) => Math.max(0, W1[2 * j] * x[0] + W1[2 * j + 1] * x[1] + b1[j]));
  const toInputs = (g) => [0, 1].map((i) => sum(g.map((one, j) => one * W1[2 * j + i]))); // from the first layer's activations
  const chances = (h, r) => {
    const total = sum(h), p = h.map((one) => (total ? one / total : 0));
    return { p, q: p.map((one) => (one ? 1 - (1 - one) ** r : 1)) };
  };
  // How a rule passes on the gradient g of a pruned map's output; `through` is g / q where a neuron is kept, and 0 elsewhere.
  const passed = (g, through, h, p, q, r, rule) => {
    if (rule === "identity") return g;
    if (rule === "mask") return through;
    const w = p.map((one, j) => (one ? (r * one * power(1 - one, r - 1)) / q[j] : 1));
    const common = sum(through.map((one, j) => one * p[j] * w[j]));
    return through.map((one, j) => one * (1 - w[j]) + (h[j] > 0 ? common : 0));
  };
  const back = (g2) => range(A).map((j) => { let total = 0; for (let k = 0; k < A; k++) total += g2[k] * W2[A * k + j]; return total; });

  // Everything about the 2^a sets of live neurons that may be kept: what the second layer sees (u), the output (z), the sums of p (t).
  const sets = (x, r) => {
    const h = first(x), live = range(A).filter((j) => h[j] > 0), many = 2 ** live.length, { p, q } = chances(h, r);
    const u = new Float64Array(many * A), z = new Float64Array(many), t = new Float64Array(many);
    u.set(b2);
    live.forEach((j, i) => {
      for (let s = 0; s < 1 << i; s++) {
        const more = s | (1 << i);
        t[more] = t[s] + p[j];
        for (let k = 0; k < A; k++) u[more * A + k] = u[s * A + k] + (W2[A * k + j] * h[j]) / q[j];
      }
    });
    for (let s = 0; s < many; s++) { z[s] = c[0]; for (let k = 0; k < A; k++) if (u[s * A + k] > 0) z[s] += v[k] * u[s * A + k]; }
    return { h, live, many, p, q, u, z, t };
  };
  // Inclusion and exclusion: the mean is the sum of alternating(z) t^r, and the chance of a set comes from t^r the other way round.
  const alternating = (z, bits) => { const found = z.slice(); for (let i = 0; i < bits; i++) for (let s = 0; s < found.length; s++) if (!(s & (1 << i))) found[s] -= found[s | (1 << i)]; return found; };
  const chanceOf = (t, bits, r) => { const found = t.map((one) => one ** r); for (let i = 0; i < bits; i++) for (let s = 0; s < found.length; s++) if (s & (1 << i)) found[s] -= found[s ^ (1 << i)]; return found; };
  const mean = (x1, x2, r) => {
    const { live, z, t } = sets([x1, x2], r);
    return live.length ? sum(alternating(z, live.length).map((one, s) => one * t[s] ** r)) : z[0];
  };
  const limit = (x1, x2, r, rule) => {
    const { h, live, many, p, q, u, z, t } = sets([x1, x2], r), chance = chanceOf(t, live.length, r), g = range(A).map(() => 0);
    for (let s = 0; s < many && live.length; s++) {
      const h2 = range(A).map((k) => Math.max(0, u[s * A + k])), two = chances(h2, r);
      const g2 = (rule === "pathwise" ? passed(v, [...v], h2, two.p, two.q, r, rule) : [...v]).map((one, k) => (h2[k] > 0 ? one : 0)), gm = back(g2);
      const through = gm.map((one, j) => { const i = live.indexOf(j); return i >= 0 && s & (1 << i) ? one / q[j] : 0; });
      passed(gm, through, h, p, q, r, rule === "true" ? "pathwise" : rule).forEach((one, j) => { if (h[j] > 0) g[j] += chance[s] * one; });
    }
    if (rule === "true") { // the chances of the sets depend on x as well
      const signed = alternating(z, live.length), by = live.map((_, i) => sum(range(many).map((s) => (s & (1 << i) ? signed[s] * r * t[s] ** (r - 1) : 0))));
      const level = sum(live.map((j, i) => p[j] * by[i])), total = sum(h);
      live.forEach((j, i) => { g[j] += (by[i] - level) / total; });
    }
    return toInputs(g);
  };

  const drawnSet = (h, dice) => {
    const total = sum(h), drawn = h.map(() => false);
    for (const number of dice) {
      let j = 0;
      for (let reached = h[0]; reached <= number * total && j < A - 1; reached += h[j]) j++;
      if (h[j] > 0) drawn[j] = true;
    }
    return drawn;
  };
  const sampled = (x1, x2, dice, rule) => {
    const r = dice[0].length / 2, h = first([x1, x2]), { p, q } = chances(h, r), g = range(A).map(() => 0);
    for (const row of dice) {
      const kept = drawnSet(h, row.slice(0, r)), h2 = range(A).map((k) => { let at = b2[k]; for (let j = 0; j < A; j++) if (kept[j]) at += (W2[A * k + j] * h[j]) / q[j]; return Math.max(0, at); });
      const two = chances(h2, r), kept2 = drawnSet(h2, row.slice(r)), through2 = range(A).map((k) => (kept2[k] ? v[k] / two.q[k] : 0));
      const gm = back([...passed(v, through2, h2, two.p, two.q, r, rule)].map((one, k) => (h2[k] > 0 ? one : 0)));
      passed(gm, gm.map((one, j) => (kept[j] ? one / q[j] : 0)), h, p, q, r, rule).forEach((one, j) => { if (h[j] > 0) g[j] += one / dice.length; });
    }
    return toInputs(g);
  };
  const walk = (x1, x2, dice, r, rule, length, sign) => dice.reduce((path, rows) => {
    const here = path[path.length - 1], g = rule === "true" ? limit(...here, r, rule) : sampled(...here, rows, rule), size = Math.hypot(...g);
    path.push(here.map((one, i) => one + (size ? (sign * length * g[i]) / size : 0)));
    return path;
  }, [[x1, x2]]).flat();

  const generator = (seed) => { // mulberry32: a frame may need some 40,000 numbers
    let state = seed * 7919;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  };
  const masks = (dice, step, count, r) => { const uniform = generator(1000 * dice + step); return range(count).map(() => range(2 * r).map(uniform)); };

  const END = 1.8, CELLS = 36, STEP = 0.1, RULES = [["identity", "wk-a"], ["mask", "wk-c"], ["pathwise", "wk-b"]];
  let wide = 0, ground = {}; // the plane's width over its height on the screen, and its picture
  const measure = () => { const area = document.querySelector('[data-live="sap_erratum"] .wk-chart'); if (area && area.clientHeight) wide = (area.clientWidth - 72) / (area.clientHeight - 54); return area; };
  const surface = (r) => {
    const dark = document.documentElement.dataset.theme === "dark", key = [r, wide, dark].join();
    if (ground.key === key) return ground;
    const width = Math.round(CELLS * wide), at = (i, count, end) => -end + ((i + 0.5) / count) * 2 * end, data = [], border = { x: [], y: [] }, rows = [];
    const paper = dark ? [0.09, 0.11, 0.14] : [1, 1, 1], paints = dark ? [[0.1, 0.36, 0.55], [0.55, 0.33, 0.08]] : [[0.5, 0.74, 0.93], [0.98, 0.8, 0.5]];
    for (let i = 0; i < CELLS; i++) rows.push(range(width).map((j) => mean(at(j, width, END * wide), -at(i, CELLS, END), r)));
    rows.forEach((row, i) => row.forEach((one, j) => {
      const much = Math.min(1, Math.abs(one) / 8) ** 0.6, paint = paints[one > 0 ? 0 : 1];
      paper.forEach((shade, part) => data.push(shade + much * (paint[part] - shade)));
      for (const [di, dj] of [[0, 1], [1, 0]]) { // the border goes through, where two neighbours disagree
        const next = (rows[i + di] || [])[j + dj];
        if (next !== undefined && next > 0 !== one > 0) { const part = one / (one - next); border.x.push(at(j + part * dj, width, END * wide)); border.y.push(-at(i + part * di, CELLS, END)); }
      }
    }));
    return (ground = { key, border, cells: { kind: "cells", x: [-END * wide, END * wide], y: [-END, END], width, height: CELLS, data, rgb: true } });
  };

  const draw = ({ x, y, r, k, t, dice }) => {
    if (!wide) { // once: watch the chart's shape and the page's light
      const area = measure();
      if (area) { new ResizeObserver(measure).observe(area); new MutationObserver(() => Object.values(workingsLive.figures).forEach((one) => one.draw())).observe(document.documentElement, { attributeFilter: ["data-theme"] }); } else wide = 1.5;
    }
    const K = 2 ** k, here = mean(x, y, r), sign = here > 0 ? -1 : 1, exact = limit(x, y, r, "true"), long = Math.hypot(...exact) || 1, rows = masks(dice, 0, K, r);
    const { cells, border } = surface(r), tip = (g) => { const scale = sign * Math.min(0.55 / long, 1.5 / (Math.hypot(...g) || 1)); return [x + scale * g[0], y + scale * g[1]]; };
    const cosine = (g) => { const size = Math.hypot(...g); return size ? (g[0] * exact[0] + g[1] * exact[1]) / (size * long) : 0; };
    const arrow = (g, look, name) => { const end = tip(g); return { kind: "arrow", x: [x, end[0]], y: [y, end[1]], look, name }; };
    const found = RULES.map(([rule, look]) => ({ rule, look, now: sampled(x, y, rows, rule), ever: limit(x, y, r, rule), path: walk(x, y, range(t).map((i) => masks(dice, i + 1, K, r)), r, rule, STEP, sign) }));
    const ends = found.map(({ path }) => path.slice(-2)), over = ends.map((end) => mean(...end, r) > 0 !== here > 0), names = RULES.map(([rule]) => rule);
    const list = (some) => some.join(" and "), crossed = names.filter((_, i) => over[i]), stuck = names.filter((_, i) => !over[i]);
    const cosines = found.map(({ now, ever }) => [fixed(cosine(now), 2), fixed(cosine(ever), 2)]);
    return {
      x: { min: -END * wide, max: END * wide, label: "input x1" }, y: { min: -END, max: END, label: "input x2" },
      marks: [cells, { kind: "points", ...border, size: 1.3, look: "wk-ink", name: "border of the mean output" },
        ...found.flatMap(({ path, look }) => (t ? [{ kind: "line", x: path.filter((_, i) => i % 2 === 0), y: path.filter((_, i) => i % 2), look: `${look} wk-dots` }] : [])),
        ...(t ? found.map(({ look }, i) => ({ kind: "points", x: [ends[i][0]], y: [ends[i][1]], size: 5, look })) : []),
        arrow(exact, "wk-ink", "true gradient"), ...found.map(({ now, look, rule }) => arrow(now, look, rule)),
        { kind: "points", x: found.map(({ ever }) => tip(ever)[0]), y: found.map(({ ever }) => tip(ever)[1]), size: 3, look: "wk-ink", name: "endless masks" },
        { kind: "points", x: [x], y: [y], size: 5, look: "wk-ink" }],
      values: found.map(({ rule }, i) => [`cosine, ${rule}`, `${cosines[i][0]}; endless masks ${cosines[i][1]}`]),
      says: `With ${K} mask${K > 1 ? "s" : ""} the arrows have cosines ${cosines.map(([now], i) => `${now} (${names[i]})`).join(", ")} with the true gradient.` +
        (t ? ` After ${t} step${t > 1 ? "s" : ""} ${crossed.length ? `${list(crossed)} ${crossed.length > 1 ? "have" : "has"} crossed the border` : "none has crossed the border"}${crossed.length && stuck.length ? `, ${list(stuck)} ${stuck.length > 1 ? "have" : "has"} not` : ""}.` : " Arrows point where the attacker is told to go."),
    };
  };

  const place = { min: -1.75, max: 1.75, step: 0.01, text: (one) => fixed(one, 2) };
  return {
    pure: { mean, limit, sampled, walk },
    figure: {
      start: { k: 2, r: 2, t: 0, x: 1.15, y: 0.35, dice: 1 },
      knobs: [
        { key: "k", label: "Masks averaged", min: 0, max: 6, step: 1, text: (one) => String(2 ** one) },
        { key: "r", label: "Draws r", min: 2, max: 16, step: 1, text: (one) => `${one} (f = ${one / A})` },
        { key: "t", label: "Steps", min: 0, max: 20, step: 1, text: String },
        { key: "x", label: "Input x1", ...place }, { key: "y", label: "Input x2", ...place },
        { key: "dice", label: "Dice", min: 1, max: 20, step: 1, text: (one) => `throw ${one}` },
      ],
      buttons: [{ label: "Other masks", press: (state) => { state.dice = (state.dice % 20) + 1; } }],
      play: { key: "t", label: "Let them climb" },
      point: (state, x, y) => { Object.assign(state, { x, y }); return true; },
      caption: "The mean output of a network with two inputs and eight neurons in each of two layers, both under SAP, computed in this page from the notebook\u2019s weights, rounded to half precision. Blue: the disc\u2019s class, orange: the ring\u2019s. Touch the plane to move the input.",
      draw,
    },
  };
});
