// A cosine classifier in the plane, tuned with unlabelled points: lib/workings/few_shot/{prototypes,entropies,finetuning}.py, without ReLU.
workingsLive.add("few_shot_baseline", ({ range, fixed, random, gauss }) => {
  const RATE = 0.05, LAST = 50, EACH = 20, RARE = 3, SPREAD = 15; // Adam's rate and steps; points of a class, and their spread in degrees
  const CENTRES = [60, 110, 240, 310, 175], NAMES = "ABCDE", LOOKS = ["wk-a", "wk-b", "wk-d", "wk-c", "wk-e"];

  const sum = (list) => list.reduce((total, one) => total + one, 0), dot = (a, b) => sum(a.map((one, i) => one * b[i]));
  const unit = (v) => { const size = Math.sqrt(dot(v, v)); return size ? v.map((one) => one / size) : v; };
  const softmax = (row) => { const top = Math.max(...row), e = row.map((one) => Math.exp(one - top)), all = sum(e); return e.map((one) => one / all); };
  const entropyOf = (p) => -sum(p.map((one) => (one > 0 ? one * Math.log(one) : 0)));
  const average = (rows) => rows[0].map((_, k) => sum(rows.map((row) => row[k])) / rows.length);

  // Each class's mean feature at length 1; then logits, and the two entropies (mean of the predictions', and that of their mean).
  const init = (features, labels, way) => range(way).map((k) => unit(average(features.filter((_, i) => labels[i] === k))));
  const logits = (features, weight, bias) => features.map((x) => { const z = unit(x); return weight.map((w, k) => dot(w, z) + bias[k]); });
  const entropy = (rows) => sum(rows.map((row) => entropyOf(softmax(row)))) / rows.length;
  const marginal = (rows) => entropyOf(average(rows.map(softmax)));

  // Weight and bias after each step of Adam on: fit of the labelled + alpha x entropy of the others - beta x entropy of their average.
  const history = (support, labels, query, steps, lr, alpha, beta) => {
    const way = Math.max(...labels) + 1, known = support.length, features = [...support, ...query].map(unit), size = 3 * way;
    const now = new Float64Array(init(support, labels, way).flatMap((w) => [...w, 0])); // of each class two weights and the bias
    const [first, second, gradient] = [0, 0, 0].map(() => new Float64Array(size)), [p, logs] = [0, 0].map(() => new Float64Array(features.length * way));
    const keep = () => ({ weight: range(way).map((k) => [now[3 * k], now[3 * k + 1]]), bias: range(way).map((k) => now[3 * k + 2]) }), kept = [keep()];
    for (let step = 1; step <= steps; step++) {
      const mean = new Float64Array(way), slope = new Float64Array(way);
      features.forEach(([x, y], i) => {
        let all = 0;
        for (let k = 0; k < way; k++) all += p[i * way + k] = Math.exp(logs[i * way + k] = now[3 * k] * x + now[3 * k + 1] * y + now[3 * k + 2]);
        const ln = Math.log(all);
        for (let k = 0; k < way; k++) { p[i * way + k] /= all; logs[i * way + k] -= ln; if (i >= known) mean[k] += p[i * way + k] / query.length; }
      });
      for (let k = 0; k < way; k++) slope[k] = 1 + Math.log(mean[k]);
      gradient.fill(0);
      features.forEach(([x, y], i) => {
        let h = 0, s = 0;
        for (let k = 0; k < way && i >= known; k++) { const one = p[i * way + k]; h -= one * logs[i * way + k]; s += one * slope[k]; }
        for (let k = 0; k < way; k++) {
          const one = p[i * way + k], g = i < known ? (one - (labels[i] === k ? 1 : 0)) / known
            : (beta * one * (slope[k] - s) - alpha * one * (logs[i * way + k] + h)) / query.length;
          gradient[3 * k] += g * x; gradient[3 * k + 1] += g * y; gradient[3 * k + 2] += g;
        }
      });
      for (let d = 0; d < size; d++) {
        first[d] = 0.9 * first[d] + 0.1 * gradient[d];
        second[d] = 0.999 * second[d] + 0.001 * gradient[d] ** 2;
        now[d] -= (lr / (1 - 0.9 ** step)) * (first[d] / (Math.sqrt(second[d] / (1 - 0.999 ** step)) + 1e-8));
      }
      kept.push(keep());
    }
    return kept;
  };
  const tune = (...given) => { const { weight, bias } = history(...given).pop(); return [...weight.flat(), ...bias]; };

  const turn = (degrees, r = 1) => [r * Math.cos((degrees * Math.PI) / 180), r * Math.sin((degrees * Math.PI) / 180)];
  let made = {}; // what was last computed: moving the step alone computes nothing
  const EPISODES = { 2: "2 ways", 3: "3 ways", 4: "4 ways", 5: "5 ways", rare: "3 ways, B is rare" };
  const ways = ({ classes }) => (classes === "rare" ? 3 : Number(classes));
  const guesses = (rows) => rows.map((row) => row.indexOf(Math.max(...row))), rightOf = (guess, truth) => guess.filter((one, i) => one === truth[i]).length / truth.length;
  const episode = (state) => {
    const { classes, shot, off, sample, alpha, beta } = state, way = ways(state), key = JSON.stringify([classes, shot, off, sample, alpha, beta]);
    if (made.key === key) return made;
    const support = [], labels = [], query = [], truth = [];
    for (const k of range(way)) {
      const uniform = random(1000 * k + (Number(sample) % 100 || 1)), place = () => CENTRES[k] + SPREAD * gauss(uniform);
      const [others, more] = [range(EACH).map(() => turn(place(), 0.55 + 0.33 * uniform())), range(4).map(place)];
      const moved = [off, -5, 0, 0, 0][k]; // the first labelled point stands where the reader puts it, further ones come as they come
      for (const at of [CENTRES[k] + moved, ...more].slice(0, shot)) { support.push(turn(at)); labels.push(k); }
      for (const one of others.slice(0, k === 1 && classes === "rare" ? RARE : EACH)) { query.push(one); truth.push(k); }
    }
    const steps = history(support, labels, query, LAST, RATE, alpha, beta), right = steps.map(({ weight, bias }) => rightOf(guesses(logits(query, weight, bias)), truth));
    return (made = { key, support, labels, query, truth, steps, right, worst: right.indexOf(Math.min(...right)) });
  };

  const draw = (state, size) => { // a circle must be round on every screen
    const { step } = state, way = ways(state), { support, labels, query, truth, steps, right, worst } = episode(state), classes = range(way);
    const { weight, bias } = steps[step], rows = logits(query, weight, bias), guess = guesses(rows), given = classes.map((k) => guess.filter((one) => one === k).length), own = classes.map((k) => truth.filter((one) => one === k).length);
    const ratio = (size[0] - 20) / (size[1] - 20), high = Math.max(1.88, 2.8 / ratio), wide = 2 * high * ratio;
    const around = range(121).map((i) => turn(3 * i)), p = logits(around, weight, bias).map(softmax), room = (wide - high - 2.15) / way, marks = [];
    const pick = (points, of, k) => { const mine = points.filter((_, i) => of[i] === k); return { x: mine.map(([x]) => x), y: mine.map(([, y]) => y) }; };
    const top = (count) => -1.5 + (2.6 * count) / Math.max(45, ...given), text = (x, y, words) => marks.push({ kind: "text", x, y, text: words, look: "wk-ink", anchor: "middle" });
    const reach = around.map(() => 1.05), rim = around.map(([x, y]) => [1.6 * x, 1.6 * y]), owner = p.map((row) => row.indexOf(Math.max(...row)));
    let inner = around.map(([x, y]) => [1.05 * x, 1.05 * y]).reverse();
    for (const k of classes) { // the ring shares out each direction by probability, its rim shows the likeliest class
      const outer = around.map(([x, y], i) => { reach[i] += 0.5 * p[i][k]; return [x * reach[i], y * reach[i]]; }), look = LOOKS[k], band = [...outer, ...inner];
      inner = outer.reverse();
      marks.push({ kind: "line", x: band.map(([x]) => x), y: band.map(([, y]) => y), look: `${look} wk-band` }, { kind: "points", ...pick(rim, owner, k), look, size: 3 });
      marks.push({ kind: "points", ...pick(query, truth, k), look, size: 3 }, { kind: "points", ...pick(support, labels, k), look: `${look} wk-known`, size: 7 });
      marks.push({ kind: "arrow", x: [0, weight[k][0] / 4], y: [0, weight[k][1] / 4], look });
      const left = 2.15 + k * room, right = left + 0.8 * room, middle = (left + right) / 2, [tx, ty] = turn(CENTRES[k], 1.77);
      text(tx, ty - 0.08, NAMES[k]);
      text(middle, -1.8, NAMES[k]);
      text(middle, top(Math.max(given[k], own[k])) + 0.1, String(given[k]));
      marks.push({ kind: "line", x: [left, left, right, right], y: [-1.5, top(given[k]), top(given[k]), -1.5], look: `${look} wk-band` });
      marks.push({ kind: "line", x: [left, right], y: [top(own[k]), top(own[k])], look: "wk-ink", ...(k ? {} : { name: "true number of points; bars: number given" }) });
    }
    const percent = (share) => `${Math.round(100 * share)}%`, lost = classes.filter((k) => given[k] <= own[k] / 4).map((k) => NAMES[k]).join(" and ");
    const most = classes.reduce((best, k) => (given[k] - own[k] > given[best] - own[best] ? k : best), 0);
    return {
      x: { min: -high, max: wide - high, hide: true }, y: { min: -high, max: high, hide: true }, marks,
      values: [["right", `${percent(right[0])} \u2192 ${percent(right[step])}`], ["mean entropy", `${fixed(entropy(rows), 2)} nats`],
        ["entropy of the mean", `${fixed(marginal(rows), 2)} of ${fixed(Math.log(way), 2)}`]],
      says: `Step ${step}: ${classes.map((k) => NAMES[k]).join(", ")} are given ${given.join(", ")} points. In truth each has ${EACH}${own[1] < EACH ? `, B ${own[1]}` : ""}.` +
        (lost ? ` ${NAMES[most]} has swallowed ${lost}.` : "") + (step > worst && right[worst] < Math.min(right[0], right[step]) ? ` At step ${worst} only ${percent(right[worst])} were right.` : ""),
    };
  };

  document.head.append(Object.assign(document.createElement("style"), { textContent: `.wk-d { stroke: var(--wk-d); --wk-fill: var(--wk-d); } .wk-e { stroke: var(--wk-e); --wk-fill: var(--wk-e); }
.wk-live { --wk-d: #19703a; --wk-e: #7a3e9d; } html[data-theme="dark"] .wk-live { --wk-d: #7fd79a; --wk-e: #d0a2f0; }
.wk-chart .wk-band { fill: var(--wk-fill); fill-opacity: 0.4; stroke: none; } .wk-chart .wk-known { stroke: currentColor; stroke-width: 1.5; }` }));
  const weightOf = (key, label) => ({ key, label, min: 0, max: 3, step: 0.1, text: (v) => v.toFixed(1) });
  return {
    pure: { init: (...given) => init(...given).flat(), logits: (...given) => logits(...given).flat(), entropy, marginal, tune },
    figure: {
      start: { step: 0, alpha: 1, beta: 0, classes: "3", shot: 1, off: 28, sample: "1" },
      knobs: [
        { key: "step", label: "Step", min: 0, max: LAST, step: 1, text: String },
        weightOf("alpha", "Be sure, \u03b1"), weightOf("beta", "Use all, \u03b2"),
        { key: "classes", label: "Classes", options: Object.entries(EPISODES) },
        { key: "shot", label: "Shots", min: 1, max: 5, step: 1, text: String },
        { key: "off", label: "A\u2019s label", min: -60, max: 60, step: 1, text: (v) => `${fixed(v, 0)}\u00b0 off` },
      ],
      kept: ["sample"],
      buttons: [{ label: "Other points", press: (state) => { state.sample = String(((Number(state.sample) || 0) % 99) + 1); } }],
      play: { key: "step", label: "Tune" },
      point: (state, x, y) => {
        if (Math.hypot(x, y) > 1.9) return false; // only near the circle
        const off = Math.round(Math.max(-60, Math.min(60, ((Math.atan2(y, x) * 180) / Math.PI - CENTRES[0] + 540) % 360 - 180)));
        const moved = off !== state.off;
        state.off = off;
        return moved;
      },
      caption: "Steps of Adam on (5), in this page, on other points than the printed ones. Small dots: unlabelled points, in the colour of their true class. Large dots are labelled; A\u2019s can be dragged. The ring shares out each direction by probability, and its rim is the class given. Arrows: a quarter of the classifier\u2019s rows.",
      draw,
    },
  };
});
