// Reverse water-filling over the sprites' factors: lib/workings/disentangling/rate_distortion.py. Beside it, what the trained channel did.
workingsLive.add("beta_vae_capacity", ({ range, fixed, weights }) => {
  const FACTORS = ["x", "y", "scale", "shape", "angle"], K = FACTORS.length, SIDE = 16, SHOWN = 4, LOW = -5, HIGH = 2;
  const stored = weights("beta_vae_capacity"), of = (name) => stored[name].data;

  // The level at which what stands above it, half the logarithm of variance over level, sums to the capacity; then the rates.
  const water = (variances, capacity) => {
    const logs = variances.map(Math.log), falling = [...logs].sort((a, b) => b - a);
    let sum = 0, level = -Infinity;
    falling.forEach((one, k) => { sum += one; level = Math.max(level, (sum - 2 * capacity) / (k + 1)); });
    return [Math.exp(level), ...logs.map((one) => Math.max(0, 0.5 * (one - level)))];
  };
  // Nats that a linear beta-VAE pays for each variance at a fixed price.
  const price = (variances, beta) => variances.map((v) => Math.max(0, 0.5 * Math.log(v / beta)));
  // What the trained channel paid when its capacity was this: stored at every half nat, with straight lines between.
  const measured = (capacity) => {
    const rates = of("rates"), before = Math.min(Math.floor(2 * capacity), rates.length / K - 2), part = 2 * capacity - before;
    return range(K).map((k) => (1 - part) * rates[before * K + k] + part * rates[(before + 1) * K + k]);
  };

  // Four pictures and what one noisy message made of each, at the notebook's stop nearest to this capacity: two columns with a gap.
  const sheet = (capacity) => {
    const stops = [...of("stops")], near = stops.reduce((best, one, i) => (Math.abs(one - capacity) < Math.abs(stops[best] - capacity) ? i : best), 0);
    const width = 2 * SIDE + 2, height = SHOWN * (SIDE + 1) - 1, data = Array(width * height).fill(0.55), size = SIDE * SIDE;
    const put = (from, start, top, left) => range(size).forEach((i) => { data[(top + Math.floor(i / SIDE)) * width + left + (i % SIDE)] = from[start + i]; });
    for (let i = 0; i < SHOWN; i++) {
      put(of("pictures"), i * size, i * (SIDE + 1), 0);
      put(of("received"), (near * SHOWN + i) * size, i * (SIDE + 1), SIDE + 2);
    }
    return { stop: stops[near], mark: { kind: "cells", x: [5.55, 6.85], y: [10 ** LOW, 10 ** HIGH], width, height, data, square: true } };
  };

  const begin = Object.fromEntries([...of("variances")].map((v, k) => [`v${k}`, Number((Math.round(Math.log10(v) * 20) / 20).toFixed(2))]));
  const draw = (state) => {
    const variances = range(K).map((k) => 10 ** state[`v${k}`]), [level, ...rates] = water(variances, state.c), ours = state.c >= 0.5 && range(K).every((k) => state[`v${k}`] === begin[`v${k}`]); // below half a nat, means of the first steps
    const found = measured(state.c), { stop, mark } = sheet(state.c), at = range(K).map((k) => k + 1);
    const gets = rates.map((r, k) => [FACTORS[k], r]).sort((a, b) => b[1] - a[1]), served = gets.filter(([, r]) => r > 0.005), dry = gets.filter(([, r]) => r <= 0.005);
    const marks = [
      { kind: "bars", x: at, y: variances, look: "wk-a", name: "nats paid" },
      { kind: "bars", x: at, y: variances.map((v) => Math.min(v, level)), look: "wk-c", name: "error left" },
      { kind: "line", x: [0.4, 5.45], y: [level, level], look: "wk-b wk-dash", name: "water level" }, mark,
    ];
    if (ours) marks.push({ kind: "points", x: at, y: found.map((r) => level * Math.exp(2 * r)), look: "wk-ink", size: 5, name: "measured" });
    return {
      x: { min: 0.4, max: 6.9, label: `factor, and pictures at ${stop} nats`, ticks: FACTORS.map((name, k) => [k + 1, name]) },
      y: { min: 10 ** LOW, max: 10 ** HIGH, log: true, label: "variance (log scale)", ticks: [[1e-5, "10\u207b\u2075"], [1e-3, "0.001"], [0.1, "0.1"], [10, "10"]] }, marks,
      values: FACTORS.map((name, k) => [name, fixed(rates[k], 1) + (ours ? ` (${fixed(found[k], 1)})` : "")]),
      says: served.length
        ? `${state.c.toFixed(1)} nats bring the level down to ${Number(level.toPrecision(2))}: ${served.map(([name, r], i) => `${name}${i ? "" : " gets"} ${fixed(r, 1)}`).join(", ")}${dry.length ? `, nothing for ${dry.map(([name]) => name).join(", ").replace(/, (?=\w+$)/, " and ")}` : ""}. A linear beta-VAE with \u03b2 = ${Number(level.toPrecision(2))} pays the same.`
        : `Without nats nothing stands above the level, which is the largest variance, ${Number(level.toPrecision(2))}.`,
    };
  };

  return {
    pure: { water, price, measured },
    figure: {
      start: { c: 3, ...begin },
      knobs: [
        { key: "c", label: "Capacity", min: 0, max: 20, step: 0.2, text: (v) => `${v.toFixed(1)} nats` },
        ...FACTORS.map((name, k) => ({ key: `v${k}`, label: `v of ${name}`, min: -4, max: HIGH, step: 0.05, text: (v) => String(Number((10 ** v).toPrecision(2))) })),
      ],
      play: { key: "c", label: "Add nats" },
      caption: "Formula (2), computed here; v: variance. A power of ten above the level costs 1.15 nats. Drag a bar\u2019s top. Points, brackets: what the trained channel paid. Right: sprites and what it received, at the nearest stop.",
      draw,
      point: (state, x, y) => {
        const k = Math.round(x) - 1;
        if (k < 0 || k >= K) return false;
        state[`v${k}`] = Math.log10(y);
        return true;
      },
    },
  };
});
