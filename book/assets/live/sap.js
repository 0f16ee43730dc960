// One small layer, pruned again and again by SAP or by a program that looks like it: lib/workings/chapters/sap/programs.py.
workingsLive.add("sap", ({ range, fixed, quick }) => {
  const sum = (list) => list.reduce((total, one) => total + one, 0);
  const halves = (list) => [list.slice(0, list.length / 2), list.slice(list.length / 2)]; // the two channels

  // q = 1 - (1 - p)^r for every neuron; `draws` of a whole map, which the two channels share evenly where they matter.
  const survival = (h, draws, program) => {
    if (program === "channels") return halves(h).flatMap((part) => survival(part, Math.floor(draws / 2), "sap"));
    const total = sum(h.map(Math.abs));
    return h.map((one) => (total ? -Math.expm1(draws * Math.log1p(-Math.abs(one) / total)) : 0));
  };
  // The set that is drawn, one number of `dice` a draw: the first neuron whose cumulated weight is above the number times the sum.
  const drawnSet = (weights, dice, distinct) => {
    const left = [...weights], drawn = weights.map(() => false);
    for (const number of dice) {
      let height = 0;
      for (const one of left) height += one;
      height *= number;
      let j = 0;
      for (let reached = left[0]; reached <= height && j < left.length - 1; reached += left[j]) j++;
      if (left[j] > 0) drawn[j] = true;
      if (distinct && drawn[j]) left[j] = 0;
    }
    return drawn;
  };
  const prune = (h, q, dice, program) => {
    const size = h.map(Math.abs), each = Math.floor(dice.length / 2);
    const kept = program === "channels"
      ? halves(size).flatMap((part, i) => drawnSet(part, dice.slice(i * each, (i + 1) * each), false))
      : drawnSet(size, dice, program === "distinct");
    return h.map((one, j) => (kept[j] ? (program === "undivided" ? one : one / q[j]) : 0));
  };
  const prunings = (h, dice, program) => dice.flatMap((row) => prune(h, survival(h, row.length, program), row, program));
  const variance = (h, draws, program) => { // equation (2)
    const q = survival(h, draws, program);
    return h.map((one, j) => (q[j] > 0 ? one * one * (1 / q[j] - 1) : 0));
  };

  const LAYERS = { page: [6, 4, 3, 3, 2, 2, 1, 1, 1, 1, 0, 0], flat: range(12).map(() => 2), peak: [13, ...range(11).map(() => 1)] };
  const MOST = 500, DRAWS = 36, CHANCE = 3.5, SURE = 5, all = range(12);
  // Deviations in standard errors, where five cases or more are expected on either side; 0 elsewhere.
  const deviations = (found, wanted, spread, q, n) =>
    found.map((one, j) => (n * Math.min(q[j], 1 - q[j]) >= 5 ? (one - wanted[j]) / Math.sqrt(spread[j] / n) : 0));
  const farthest = (list) => list.reduce((best, one, j) => (Math.abs(one) > Math.abs(list[best]) ? j : best), 0);
  const steps = (list, half) => ({ x: all.flatMap((j) => [j + 1 - half, j + 1 - half, j + 1 + half, j + 1 + half]), y: list.flatMap((one) => [0, one, one, 0]) });

  let thrown = {}; // the numbers of one throw of the dice, as far as they were needed
  const numbers = (dice, n) => { // each pruning has 36 of its own, so that more draws go on where fewer stopped
    if (thrown.dice !== dice) thrown = { dice, uniform: quick(7919 * dice), rows: [] };
    while (thrown.rows.length < n) thrown.rows.push(range(DRAWS).map(thrown.uniform));
    return thrown.rows;
  };

  const draw = ({ layer, f, n, program, dice }) => {
    const h = LAYERS[layer], r = Math.floor(12 * f), rows = numbers(dice, n), q = survival(h, r, "sap"), own = survival(h, r, program);
    const mean = h.map(() => 0), share = h.map(() => 0);
    let last;
    for (const row of rows.slice(0, n)) {
      last = prune(h, own, row.slice(0, r), program);
      last.forEach((one, j) => { mean[j] += one / n; share[j] += (one > 0) / n; });
    }
    const off = deviations(mean, h, variance(h, r, program), own, n), odd = deviations(share, q, q.map((one) => one * (1 - one)), q, n);
    const worst = farthest(off), oddest = farthest(odd), alive = h.filter(Boolean).length, kept = last.filter(Boolean).length;
    const far = Math.abs(off[worst]), strange = Math.abs(odd[oddest]), told = off.some(Boolean) || odd.some(Boolean);
    const percent = (one) => `${fixed(100 * one, 0)}%`;
    const verdict = !told ? "That is too few prunings to compare their mean with the layer before."
      : far > SURE ? `The mean of all ${n} is ${fixed(far, 1)} standard errors off at neuron ${worst + 1}: this program is biased.`
      : strange > SURE ? `No mean is far off, and yet this is not SAP: neuron ${oddest + 1} survived in ${percent(share[oddest])}, where (1) says ${percent(q[oddest])}.`
      : Math.max(far, strange) > CHANCE ? `One neuron is farther off than chance would often have it, and not far enough to be sure: ${n < MOST ? "prune on" : "throw the dice again"}.`
      : `The mean of all ${n} is at no neuron more than ${fixed(far, 1)} standard errors off: no sign of a bias.`;
    return {
      x: { min: 0.3, max: 12.7, label: "neuron" }, y: { min: 0, max: Math.max(10, 1.06 * Math.max(...h.map((one, j) => (own[j] ? one / own[j] : 0)))), label: "activation" },
      marks: [
        { kind: "bars", x: all.map((j) => j + 1), y: last, look: "wk-a wk-soft", name: "after this pruning" },
        { kind: "line", ...steps(h, 0.44), look: "wk-ink", name: "before" },
        { kind: "points", x: all.map((j) => j + 1), y: mean, look: "wk-b", size: 5, name: n === 1 ? "mean (of one)" : `mean of ${n} prunings` },
      ],
      values: [["survivors", `${kept} of ${alive}`], ["expected under (1)", fixed(sum(q), 1)],
        ["means off", told ? `${fixed(far, 1)} s.e.` : "\u2013"], ["survival off", told ? `${fixed(strange, 1)} s.e.` : "\u2013"]],
      says: `Pruning ${n} kept ${kept} of the ${alive} live neurons. ${verdict}`,
    };
  };

  document.head.append(Object.assign(document.createElement("style"), { textContent: ".wk-soft { opacity: 0.5; }" }));
  const more = (count) => (state) => { state.n = Math.min(state.n + count, MOST); };
  return {
    pure: { survival, prunings, variance },
    figure: {
      start: { program: "sap", layer: "page", n: 1, f: 1, dice: 1 },
      knobs: [
        { key: "n", label: "Prunings", min: 1, max: MOST, step: 1, text: String },
        { key: "f", label: "Draws", min: 0.25, max: 3, step: 0.25, text: (v) => `${12 * v} (f = ${v})` },
        { key: "dice", label: "Dice", min: 1, max: 20, step: 1, text: (v) => `throw ${v}` },
        { key: "program", label: "Program", options: [["sap", "SAP, as in (1)"], ["distinct", "no replacement"], ["channels", "by channel"], ["undivided", "not divided by q"]] },
        { key: "layer", label: "Layer", options: [["page", "the twelve above"], ["flat", "all equal"], ["peak", "one peak"]] },
      ],
      buttons: [{ label: "Prune once", press: more(1) }, { label: "50 more", press: more(50) }],
      play: { key: "n", label: "Keep pruning" },
      caption: "Pruned in this page. By channel: neurons 1 to 6 and 7 to 12 get half of the draws each. Off: the worst neuron, in standard errors (s.e.); above 5 is called biased.",
      draw,
    },
  };
});
