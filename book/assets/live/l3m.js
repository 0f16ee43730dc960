// A law close to p whose mean obeys a bound, with a wall of strength mu: lib/workings/language_models/constrained_categorical.py.
workingsLive.add("l3m", ({ range, fixed }) => {
  // Minimise -sum p log(pi) - mu log(bound - mean); with mu = 0 the bound itself is kept. Halving of u = 1 - weight (centre - least).
  const solve = (p, values, bound, mu) => {
    const least = Math.min(...values), dot = (a, b) => a.reduce((sum, one, i) => sum + one * b[i], 0);
    const weight = (u) => (1 - u + mu) / (bound - least);
    const centre = (u) => (mu ? bound - (mu * (bound - least)) / (1 - u + mu) : bound);
    const shape = (u) => values.map((v, i) => p[i] / (u + weight(u) * (v - least)));
    const gap = (u) => dot(shape(u), values.map((v) => v - centre(u)));
    let low = dot(p, values.map((v) => Number(v === least))), high = 1;
    if (mu === 0 && dot(p, values) <= bound) low = 1;
    const rises = gap(high) > 0;
    for (let i = 0; i < 200 && low < high; i++) {
      const at = (low + high) / 2;
      if (at === low || at === high) break;
      if (gap(at) > 0 === rises) high = at; else low = at;
    }
    const found = shape(high), total = found.reduce((sum, one) => sum + one, 0), pi = found.map((one) => one / total);
    return { pi, mean: dot(pi, values), multiplier: weight(high), excess: -dot(p, pi.map((one, i) => Math.log(one / p[i]))) };
  };
  const numbers = (p, values, bound, mu) => { const { pi, mean, multiplier, excess } = solve(p, values, bound, mu); return [mean, multiplier, excess, ...pi]; };

  const lengths = range(12).map((i) => i + 3), law = lengths.map(() => 1 / 12); // as in the chapter: 3 to 14 tokens, evenly
  const few = (nats) => (nats < 1e-6 ? "under 0.000001" : nats < 5e-4 ? String(Number(nats.toPrecision(1))) : fixed(nats, 3)), strength = (lm) => String(Number((10 ** lm).toPrecision(2)));
  const four = (nats) => (nats < 5e-5 ? "under 0.0001" : fixed(nats, 4));
  const draw = ({ lm, b }) => {
    const mu = 10 ** lm, now = solve(law, lengths, b, mu), best = solve(law, lengths, b, 0), above = now.excess - best.excess;
    return {
      x: { min: 2.3, max: 14.7, label: "length of a response (tokens)" }, y: { min: 0, max: Math.max(0.6, 1.1 * Math.max(...now.pi, ...best.pi)), label: "share" },
      marks: [
        { kind: "bars", x: lengths, y: now.pi, look: "wk-c", name: "with this wall" },
        { kind: "line", x: lengths, y: best.pi, look: "wk-a", name: "the best law within the bound" },
        { kind: "line", x: lengths, y: law, look: "wk-ink wk-dots", name: "the data\u2019s law" },
        { kind: "rule", x: b, look: "wk-ink", name: "bound b" },
        { kind: "rule", x: now.mean, look: "wk-b wk-dash", name: "mean with this wall" },
      ],
      values: [["mean", fixed(now.mean, 3)], ["weight \u03bb", fixed(now.multiplier, 3)], ["multiplier of the best law", fixed(best.multiplier, 3)],
        ["excess (nats)", four(now.excess)], ["of it the wall\u2019s", four(above)]],
      says: `The mean length is ${fixed(now.mean, 2)} tokens, ${Number((b - now.mean).toPrecision(2))} below the bound of ${b.toFixed(1)}. It fits the data ${few(now.excess)} nats worse than their own law does. ` +
        (best.excess > 1e-9 ? `Within the bound ${few(best.excess)} is the least; ` : "The bound alone asks for no loss, as their mean is 8.5; ") + `the wall adds ${few(above)}, never more than \u03bc = ${strength(lm)}.`,
    };
  };

  return {
    pure: { solve: numbers },
    figure: {
      start: { lm: -1, b: 5 },
      knobs: [
        { key: "lm", label: "Strength \u03bc", min: -4, max: 0, step: 0.05, text: strength },
        { key: "b", label: "Bound b", min: 3.2, max: 12, step: 0.1, text: (v) => `${v.toFixed(1)} tokens` },
      ],
      play: { key: "lm", label: "Harden the wall", back: true },
      caption: "The law of lengths behind the wall (the barrier), computed in this page. Excess: how much worse than their own law it fits the data. As \u03bc falls the mean comes up to the bound, where the bound matters, and the weight settles at the multiplier.",
      draw,
    },
  };
});
