// Importance weights for episodes of a wanted difficulty: lib/workings/few_shot/difficulty_sampling.py.
workingsLive.add("episode_difficulty", ({ range, fixed, random, gauss, weights }) => {
  const A = 2.58, COUNT = 1000; // half-width of the interval in standard deviations; how many difficulties there are
  const sum = (list) => list.reduce((total, one) => total + one, 0), mean = (list) => sum(list) / list.length;

  // erf and erfi by series whose terms are all positive: no digits are lost.
  const series = (x, next) => { let term = x, total = x; for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(total); n++) total += term = next(term, n); return total; };
  const erf = (x) => (Math.abs(x) > 6 ? Math.sign(x) : (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * series(x, (term, n) => (term * 2 * x * x) / (2 * n + 1)));
  const erfi = (x) => (2 / Math.sqrt(Math.PI)) * series(x, (term, n) => (term * x * x * (2 * n - 1)) / (n * (2 * n + 1)));
  const mass = (loc) => (erf((A - Math.abs(loc)) / Math.SQRT2) + erf((A + Math.abs(loc)) / Math.SQRT2)) / 2;

  // Densities at the values of z: the proposal, a normal cut off at -A and A, and the five targets.
  const normal = (z, loc) => { const all = Math.sqrt(2 * Math.PI) * mass(loc); return z.map((one) => (Math.abs(one) <= A ? Math.exp(-((one - loc) ** 2) / 2) / all : 0)); };
  const FLAT = { uniform: [-A, A], easy: [-A, 0], hard: [0, A] };
  const target = (z, name, progress) => {
    if (!FLAT[name]) return normal(z, name === "regular" ? 0 : (2 * progress - 1) * A);
    const [low, high] = FLAT[name];
    return z.map((one) => (one >= low && one <= high ? 1 / (high - low) : 0));
  };
  const weigh = (z, name, progress, outside) => {
    const p = target(z, name, progress), q = normal(z, 0), beyond = outside === "one" ? 1 : 0;
    return p.map((one, i) => (q[i] ? one / q[i] : beyond));
  };
  // How many equally weighted episodes these are worth; and the share of a large batch, if difficulties are normal.
  const size = (w) => { const squares = sum(w.map((one) => one * one)); return squares ? sum(w) ** 2 / squares : 0; };
  const fraction = (name, progress) => {
    if (FLAT[name]) return (4 * A * A) / (2 * Math.PI * mass(0) * erfi(A / Math.SQRT2)) / (name === "uniform" ? 1 : 2);
    const m = name === "regular" ? 0 : (2 * progress - 1) * A;
    return (mass(m) ** 2 * Math.exp(-m * m)) / (mass(0) * mass(2 * m));
  };
  const standardise = (x) => { const middle = mean(x), sd = Math.sqrt(sum(x.map((one) => (one - middle) ** 2)) / (x.length - 1)); return x.map((one) => (one - middle) / sd); };

  // A thousand difficulties: those of the chapter's first network, or a normal bent to the right (a log-normal law of this skewness).
  const normals = (() => { const u = random(1); return range(COUNT).map(() => gauss(u)); })();
  const skewness = (s) => (Math.exp(s * s) + 2) * Math.sqrt(Math.expm1(s * s));
  const bent = (skew) => {
    let [low, high] = [0, 1];
    for (let i = 0; i < 40; i++) { const s = (low + high) / 2; if (skewness(s) < skew) low = s; else high = s; }
    return standardise(normals.map((x) => (skew ? Math.expm1(high * x) / high : x)));
  };
  const WIDTH = A / 10, FIRST = -3 * WIDTH - A, BINS = 34, LAST = FIRST + BINS * WIDTH; // bins of the histogram: ten on either side of 0 up to A, and more beyond
  const outline = (z, w) => {
    const total = sum(w), heights = range(BINS).map(() => 0);
    z.forEach((one, i) => { const bin = Math.floor((one - FIRST) / WIDTH); if (bin >= 0 && bin < BINS) heights[bin] += w[i] / total / WIDTH; });
    return { x: heights.flatMap((_, i) => [FIRST + i * WIDTH, FIRST + (i + 1) * WIDTH]), y: heights.flatMap((one) => [one, one]) };
  };

  const LAWS = { cosine: "cosine head", sqeuclidean: "squared distance", own: "made up" };
  let made = {}; // the difficulties of the law last asked for
  const difficulties = (law, skew) => {
    const key = law === "own" ? String(skew) : law;
    if (made.key !== key) made = { key, z: law === "own" ? bent(skew) : [...weights("episode_difficulty")[law].data] };
    return made.z;
  };

  const draw = ({ name, progress, law, skew, outside, count, batch }) => {
    const z = difficulties(law, skew), w = weigh(z, name, progress, outside), picked = random(Number(batch) % 100 || 1);
    const some = range(count).map(() => Math.floor(picked() * COUNT)), mine = some.map((i) => w[i]), all = sum(mine) || 1;
    const grid = range(201).map((i) => (i / 100 - 1) * A), shape = target(grid, name, progress), asked = sum(grid.map((one, i) => one * shape[i])) / sum(shape);
    const got = sum(z.map((one, i) => one * w[i])) / sum(w), share = size(w) / COUNT, ideal = fraction(name, progress), worth = size(mine);
    const marks = [
      { kind: "area", ...outline(z, z.map(() => 1)), look: "wk-c", name: "as they come" },
      { kind: "line", ...outline(z, w), look: "wk-a", name: "weighed" },
      { kind: "line", x: [FIRST, -A, ...grid, A, LAST], y: [0, 0, ...shape, 0, 0], look: "wk-b wk-dash", name: "target" },
    ];
    some.forEach((i, k) => marks.push({ kind: "points", x: [Math.min(z[i], LAST)], y: [1.12], look: "wk-a wk-dot", size: 1.5 + 20 * Math.sqrt(mine[k] / all), ...(k ? {} : { name: "a batch" }) }));
    const percent = (part) => `${Math.round(100 * part)}%`, done = name === "curriculum" ? ` at ${percent(progress)}` : "";
    return {
      x: { min: FIRST, max: LAST, label: "standardised difficulty z" },
      y: { min: 0, max: 1.25, label: "density", ticks: [[0, "0.0"], [0.5, "0.5"], [1, "1.0"]] }, marks,
      values: [["effective sample size", `${percent(share)} (if normal: ${percent(ideal)})`], ["mean z", `${fixed(got, 2)}, asked ${fixed(asked, 2)}`], ["largest weight", fixed(Math.max(...w), 1)]],
      says: `Target ${name}${done}: these ${count} episodes are worth ${fixed(worth, 1)} equal ones. A mean z of ${fixed(asked, 2)} is asked for, and ${fixed(got, 2)} reached.`,
    };
  };

  document.head.append(Object.assign(document.createElement("style"), { textContent: ".wk-chart .wk-dot { stroke: var(--pst-color-background); stroke-width: 1; }" }));
  return {
    pure: { normal, target, weigh, size, fraction, standardise },
    figure: {
      start: { name: "curriculum", progress: 0.2, law: "cosine", skew: 1, outside: "one", count: 16, batch: "1" },
      knobs: [
        { key: "progress", label: "Progress \u03bb", min: 0, max: 1, step: 0.02, text: (v) => `${Math.round(100 * v)}%`, when: ({ name }) => name === "curriculum" },
        { key: "count", label: "Batch", min: 2, max: 32, step: 1, text: (v) => `${v} episodes` },
        { key: "name", label: "Target", options: ["curriculum", "easy", "uniform", "hard", "regular"].map((one) => [one, one]) },
        { key: "law", label: "Difficulties", options: Object.entries(LAWS) },
        { key: "skew", label: "Skewness", min: 0, max: 3, step: 0.1, text: (v) => v.toFixed(1), when: ({ law }) => law === "own" },
        { key: "outside", label: "Beyond \u00b12.58", options: [["one", "weight 1 (code)"], ["zero", "weight 0 (theory)"]] },
      ],
      kept: ["batch"],
      buttons: [{ label: "Draw another batch", press: (state) => { state.batch = String(((Number(state.batch) || 0) % 99) + 1); } }],
      play: { key: "progress", label: "Train" },
      caption: "Weights, computed in this page from the difficulties of the chapter\u2019s first network, rounded to half precision, or from a log-normal law. Dots: a random batch, each as large as its share of the weight.",
      draw,
    },
  };
});
