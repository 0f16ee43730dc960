// A temperature on stored log-odds: ranking and calibration by lib/workings/calibration.py, anew at every touch.
workingsLive.add("taught_to_know", ({ range, fixed, weights }) => {
  const mean = (list) => list.reduce((sum, one) => sum + one, 0) / list.length;
  const probability = (z) => z.map((one) => 1 / (1 + Math.exp(-one)));
  // The confidence of the decision "right" or "wrong", and whether the decision is true.
  const topLabel = (p, y) => [p.map((one) => Math.max(one, 1 - one)), p.map((one, i) => Number(Number(one >= 0.5) === y[i]))];

  // Edges of bins: even widths, or even shares of the answers (quantiles between neighbours, as numpy has them).
  const edges = (conf, bins, even) => {
    if (even) return range(bins + 1).map((i) => i / bins);
    const sorted = Float64Array.from(conf).sort(), last = sorted.length - 1;
    return range(bins + 1).map((i) => {
      const at = (i / bins) * last, low = Math.min(Math.floor(at), last), t = at - low, a = sorted[low], b = sorted[Math.min(low + 1, last)];
      return t >= 0.5 ? b - (b - a) * (1 - t) : a + (b - a) * t;
    });
  };
  // What stands in each bin [low, high), the last one closed: mean confidence, share right, share of all answers; 0, 0, 0 if it is empty.
  const binned = (conf, right, bins, even) => {
    const cuts = edges(conf, bins, even), sums = range(bins).map(() => [0, 0, 0]);
    conf.forEach((one, i) => {
      let low = 0, high = bins; // the number of inner edges at or below `one`
      while (low < high) { const at = (low + high + 1) >> 1; if (at < bins && cuts[at] <= one) low = at; else high = at - 1; }
      const sum = sums[low];
      sum[0] += one; sum[1] += right[i]; sum[2] += 1;
    });
    return { cuts, rows: sums.map(([c, r, n]) => (n ? [c / n, r / n, n / conf.length] : [0, 0, 0])) };
  };
  const curve = (...given) => binned(...given).rows.filter((row) => row[2]).flat();
  const errors = ({ rows }) => [rows.reduce((sum, [c, r, share]) => sum + share * Math.abs(c - r), 0), Math.max(...rows.map(([c, r]) => Math.abs(c - r)))];
  const ece = (...given) => errors(binned(...given)); // the mean gap and the largest

  // The share of (right, wrong) pairs in the right order, ties one half.
  const auroc = (scores, y) => {
    const zeros = Float64Array.from(scores.filter((_, i) => !y[i])).sort(), ones = scores.filter((_, i) => y[i]);
    const under = (value, tied) => { // how many wrong answers stand below `value`, or also level with it
      let low = 0, high = zeros.length;
      while (low < high) { const at = (low + high) >> 1; if (zeros[at] < value || (tied && zeros[at] === value)) low = at + 1; else high = at; }
      return low;
    };
    return ones.reduce((sum, one) => sum + under(one, false) + under(one, true), 0) / (2 * ones.length * zeros.length);
  };

  const nll = (z, y) => mean(z.map((one, i) => { const m = y[i] ? -one : one; return Math.max(m, 0) + Math.log1p(Math.exp(-Math.abs(m))); }));
  // 1 / T that minimises the loss, by halving where its slope has its zero; 0 where no finite T is best.
  const inverseTemperature = (z, y) => {
    const slope = (beta) => mean(z.map((one, i) => one * (1 / (1 + Math.exp(-beta * one)) - y[i])));
    if (slope(0) >= 0) return 0;
    let low = 0, high = 1;
    while (slope(high) < 0) high *= 2;
    for (let i = 0; i < 100; i++) { const at = (low + high) / 2; if (at === low || at === high) break; if (slope(at) < 0) low = at; else high = at; }
    return high;
  };

  const METHODS = [["prompt", "LoRA + Prompt"], ["probe", "Probe"], ["asked", "asked, untaught"], ["likelihood", "likelihood"], ["posterior", "exact posterior"]];
  const stored = weights("taught_to_know"), grades = Array.from(stored.right.data), half = grades.length / 2, fits = {};
  const scores = Object.fromEntries(METHODS.map(([key]) => [key, Array.from(stored[key].data)]));
  const fit = (of) => (fits[of] ??= 1 / inverseTemperature(scores[of].slice(0, half), grades.slice(0, half))); // on the other half of the answers
  const temperature = (lt) => Number((10 ** lt).toPrecision(3));

  const draw = ({ of, read, sort, lt, n, bins }) => {
    const T = temperature(lt), y = grades.slice(half, half + n), z = scores[of].slice(half, half + n).map((one) => one / T), p = probability(z);
    const both = { correct: binned(p, y, bins, sort === "width"), decision: binned(...topLabel(p, y), bins, sort === "width") };
    const { cuts, rows } = both[read], full = rows.filter((row) => row[2]), steps = { x: [], y: [] }, gap = { x: [0], y: [0] };
    rows.forEach((row, i) => { steps.x.push(cuts[i], cuts[i], cuts[i + 1], cuts[i + 1]); steps.y.push(0, row[2], row[2], 0); });
    for (const [c, r] of full) { gap.x.push(c, c, c); gap.y.push(c, r, c); }
    gap.x.push(1); gap.y.push(1);
    const [error, largest] = errors(both[read]), rank = fixed(auroc(z, y), 3), what = read === "correct" ? "P(correct)" : "the decision", best = fit(of);
    return {
      x: { min: 0, max: 1, label: `confidence, ${what}` }, y: { min: 0, max: 1.03, label: "share", ticks: range(6).map((i) => [i / 5, fixed(i / 5, 1)]) },
      marks: [
        { kind: "area", ...steps, look: "wk-c" }, { kind: "line", ...steps, look: "wk-c", name: "share of all" },
        { kind: "line", ...gap, look: "wk-b", name: "gap" }, { kind: "line", x: [0, 1], y: [0, 1], look: "wk-ink" },
        { kind: "points", x: full.map((row) => row[0]), y: full.map((row) => row[1]), look: "wk-a", size: 5, name: "share right" },
      ],
      values: [["AUROC", rank], ["share right", fixed(mean(y), 3)], ["ECE, P(correct)", fixed(errors(both.correct)[0], 3)], ["ECE, decision", fixed(errors(both.decision)[0], 3)], ["largest gap", fixed(largest, 3)],
        ["mean confidence", fixed(mean(p), 3)], ["loss (nats)", fixed(nll(z, y), 3)]],
      says: `At T = ${T.toPrecision(3)}: ECE ${fixed(error, 3)} on ${n} answers, AUROC ${rank} as at every T. ` +
        (best === Infinity ? `On ${half} others the loss falls as long as T grows.` : `On ${half} others the loss is least at T = ${best.toPrecision(3)}.`),
    };
  };

  return {
    pure: { probability, topLabel, curve, ece, auroc, nll, inverseTemperature },
    figure: {
      start: { of: "prompt", read: "correct", sort: "width", lt: 0, n: 600, bins: 10 },
      knobs: [
        { key: "lt", label: "Temperature", min: -1, max: 1, step: 0.02, text: (v) => temperature(v).toPrecision(3) },
        { key: "of", label: "Confidence", options: METHODS },
        { key: "read", label: "ECE of", options: [["correct", "P(correct)"], ["decision", "the decision"]] },
        { key: "sort", label: "Bins of equal", options: [["width", "width"], ["count", "count"]] },
        { key: "bins", label: "Bins", min: 1, max: 30, step: 1, text: String },
        { key: "n", label: "Answers", min: 20, max: 600, step: 10, text: String },
      ],
      buttons: [{ label: "Fit T", press: (state) => { state.lt = Math.log10(Math.min(fit(state.of), 10)); } }],
      play: { key: "lt", label: "Heat up" },
      caption: "Log-odds of one seed (half precision), divided by T in this page. ECE: the mean red gap, weighted by the grey shares. Fit T goes to the stop nearest to the best T of other answers.",
      draw,
    },
  };
});
