// The expected width of a conformal interval from one sample of scores: lib/workings/uncertainty/{conformal,set_size}.py.
workingsLive.add("conformal_set_size", ({ lnFactorial, range, fixed, quick }) => {
  // k = ceil((1 - alpha)(n + 1)), on the decimal value of alpha.
  const rank = (n, alpha) => Math.ceil(((1e9 - Math.round(alpha * 1e9)) * (n + 1)) / 1e9);

  // I_x(a, b) for whole a, b >= 1, by the continued fraction of the incomplete beta function (Lentz's method).
  const beta = (x, a, b) => {
    if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
    if (x > (a + 1) / (a + b + 2)) return 1 - beta(1 - x, b, a);
    const front = Math.exp(lnFactorial(a + b - 1) - lnFactorial(a - 1) - lnFactorial(b - 1) + a * Math.log(x) + b * Math.log1p(-x)) / a;
    if (front < 1e-20) return 0;
    let c = 1, d = 1 / (1 - ((a + b) * x) / (a + 1)), whole = d;
    for (let m = 1; m <= 2000; m++) {
      const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)), odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
      d = 1 / (1 + even * d); c = 1 + even / c; whole *= d * c;
      d = 1 / (1 + odd * d); c = 1 + odd / c; whole *= d * c;
      if (Math.abs(d * c - 1) < 1e-15) break;
    }
    return front * whole;
  };
  // B(p): the chance that the k-th smallest of n scores reaches a level below which a share p of scores lies.
  const exceedance = (p, n, k) => (k > n ? 1 : beta(1 - p, n + 1 - k, k));
  const radius = (m, gamma) => Math.sqrt(Math.log(2 / gamma) / (2 * m));
  const wall = (alpha, gamma) => Math.floor(Math.log(2 / gamma) / (2 * alpha ** 2)) + 1;

  // Heights of the three staircases between 0, the sorted scores and rMax; label space at level r is 2r.
  const staircase = (scores, n, alpha, rMax, gamma) => {
    const sorted = [...scores].sort((a, b) => a - b), m = sorted.length, k = rank(n, alpha), delta = radius(m, gamma);
    const edges = [0, ...sorted, rMax], below = []; // scores strictly below each cell's right end
    for (let j = 1; j <= m + 1; j++) below.push(j > 1 && edges[j] === edges[j - 1] && j - 1 <= m ? below[j - 2] : j - 1);
    const heights = (shift) => { // they fall: after a zero come zeros
      let last = 1;
      return below.map((j) => (last = last && exceedance(Math.min(Math.max(j / m + shift, 0), 1), n, k)));
    };
    return { edges, point: heights(0), lower: heights(delta), upper: heights(-delta) };
  };
  const area = (edges, heights) => heights.reduce((sum, one, j) => sum + 2 * one * (edges[j + 1] - edges[j]), 0);
  const estimate = (...given) => {
    const steps = staircase(...given);
    return [steps.point, steps.lower, steps.upper].map((heights) => area(steps.edges, heights));
  };

  // The true expected width for three laws of scores (normal: k of at least 2); Infinity where the threshold is.
  const truth = (law, n, alpha) => {
    const k = rank(n, alpha);
    if (law === "uniform") return k > n ? 2 : (2 * k) / (n + 1);
    if (k > n) return Infinity;
    if (law === "exponential") return 2 * range(k).reduce((sum, i) => sum + 1 / (n - i), 0);
    const density = (r) => Math.sqrt(2 / Math.PI) * Math.exp((-r * r) / 2), h = k > 4 ? 0.01 : 0.001;
    let below = 0, sum = 0.5;
    for (let i = 0; i < 9.5 / h; i++) { // the distribution function by Simpson's rule, the integral by trapezia
      below += (h / 6) * (density(i * h) + 4 * density((i + 0.5) * h) + density((i + 1) * h));
      const reached = exceedance(Math.min(below, 1), n, k);
      sum += reached;
      if (reached < 1e-18) break;
    }
    return 2 * h * sum;
  };

  const kept = {}; // it does not depend on the sample, which is what most moves change
  const keptTruth = (...given) => {
    if (kept.name !== given.join()) Object.assign(kept, { name: given.join(), value: truth(...given) });
    return kept.value;
  };

  const LAWS = { normal: ["half-normal", 8], exponential: ["exponential", 30], uniform: ["uniform", 1], own: ["my own scores", 0] };
  const drawn = (law, m, seed) => { // the first m of an endless sample; never 0, never 1
    const next = quick(7919 * seed), uniform = () => next() + 0.5 / 2 ** 32;
    const one = { uniform, exponential: () => -Math.log(uniform()), normal: () => Math.abs(Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform())) }[law];
    return range(m).map(one);
  };
  const read = (text) => {
    const found = text.split(/[\s,;]+/).filter(Boolean).map(Number);
    if (found.length < 2) return "Paste at least two scores, with spaces, commas or line ends between them.";
    if (found.length > 5000) return `Paste at most 5,000 scores; these are ${found.length}.`;
    const parts = text.split(/[\s;]+/).filter(Boolean); // a comma between digits may be a point, where spaces or line ends separate as well
    if (parts.length > 1 && parts.some((one) => /^\d+,\d+$/.test(one)) && !parts.some((one) => /\.|,.*,/.test(one))) {
      return "A comma separates scores: write 1.5 for one and a half, or put a space after each comma.";
    }
    return found.every((one) => one >= 0 && one <= 1e9) ? found : "Every score must be a number of 0 or more (and at most a thousand million), such as 0.35 or 12.";
  };

  const count = (v) => Number((10 ** v).toPrecision(2)), whole = (v) => v.toLocaleString("en"); // 250, not 251
  const draw = ({ law, n, m, alpha, gamma, sample, own, cap }) => {
    const size = count(n), mine = law === "own" ? read(own) : null, wrong = typeof mine === "string" ? mine : "";
    const scores = Array.isArray(mine) ? mine : drawn(mine ? "normal" : law, count(m), sample);
    const rMax = Array.isArray(mine) ? cap * Math.max(...mine, 1e-9) : LAWS[mine ? "normal" : law][1];
    const steps = staircase(scores, size, alpha, rMax, gamma), [point, lower, upper] = ["point", "lower", "upper"].map((name) => area(steps.edges, steps[name]));
    const known = mine ? undefined : keptTruth(law, size, alpha), needed = wall(alpha, gamma), k = rank(size, alpha);
    const far = Math.min(2 * rMax, Math.max(4 * steps.edges[scores.length], 1.3 * Math.min(upper, 2 * rMax)));
    const outline = (heights) => {
      const x = [], y = [];
      heights.forEach((one, j) => { x.push(2 * steps.edges[j], 2 * steps.edges[j + 1]); y.push(one, one); });
      return { x: x.map((at) => Math.min(at, far)), y };
    };
    const marks = [
      { kind: "area", ...outline(steps.point), look: "wk-a" }, { kind: "line", ...outline(steps.point), look: "wk-a", name: "point" },
      { kind: "line", ...outline(steps.lower), look: "wk-c wk-dash", name: "lower end" }, { kind: "line", ...outline(steps.upper), look: "wk-b wk-dots", name: "upper end" },
    ];
    if (known <= far) marks.push({ kind: "rule", x: known, look: "wk-ink", name: "truth" });
    const show = (value) => (value === Infinity ? "infinite" : value >= 1000 ? whole(Number(value.toPrecision(3))) : value.toPrecision(3));
    return {
      x: { min: 0, max: far, label: "width of label space, 2r (scores\u2019 unit)" }, y: { min: 0, max: 1, label: "P(threshold \u2265 r)" }, marks, wrong,
      values: [["estimate", show(point)], ["interval", `${show(lower)} to ${show(upper)}`], ...(mine ? [] : [["truth", show(known)]]),
        ["rank k", `${k} of ${size}`], ["band", `\u00b1 ${fixed(radius(scores.length, gamma), 3)}`], ["upper end needs", `${whole(needed)} scores`]],
      says: `${whole(scores.length)} scores${wrong ? " from the half-normal law, in place of yours," : ""} say: intervals calibrated on ${whole(size)} points will be ${show(point)} wide on average; at this risk \u03b3 between ${show(lower)} and ${show(upper)}.` +
        (scores.length < needed ? ` Below ${whole(needed)} the upper end says more of the largest possible width (${show(2 * rMax)}) than of the data.` : "") + (k > size ? " So few points give no finite threshold." : ""),
    };
  };

  const tenth = { min: 1, max: 3.3, step: 0.05, text: (v) => whole(count(v)) };
  return {
    pure: { rank, exceedance, radius, wall, estimate, truth },
    figure: {
      start: { law: "normal", n: 2.3, m: 2.4, alpha: 0.1, gamma: 0.1, sample: 1, own: "", cap: 2 },
      knobs: [
        { key: "law", label: "Law of the scores", options: Object.entries(LAWS).map(([key, [name]]) => [key, name]) },
        { key: "m", label: "Scores m", ...tenth, when: ({ law }) => law !== "own" },
        { key: "cap", label: "Largest possible score", min: 1, max: 5, step: 0.1, text: (v) => `${v.toFixed(1)} \u00d7 the largest pasted`, when: ({ law }) => law === "own" },
        { key: "n", label: "Calibration n", ...tenth },
        { key: "alpha", label: "Missed \u03b1", min: 0.01, max: 0.5, step: 0.01, text: (v) => v.toFixed(2) },
        { key: "gamma", label: "Band\u2019s risk \u03b3", min: 0.01, max: 0.5, step: 0.01, text: (v) => v.toFixed(2) },
        { key: "sample", label: "Sample", min: 1, max: 20, step: 1, text: (v) => `${v} of 20`, when: ({ law }) => law !== "own" },
        { key: "own", label: "Your scores (they stay in your browser, and out of the address)", rows: 3, when: ({ law }) => law === "own" },
      ],
      play: { key: "m", label: "Add scores" },
      caption: "Computed in this page. The shaded area is the estimate; a full-height rectangle that ends at the vertical line has the true area.",
      draw,
    },
  };
});
