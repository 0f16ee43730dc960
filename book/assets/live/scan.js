// Concepts as Gaussians, put together by a trained network and drawn by the vision model: lib/workings/disentangling/{scan,recombination,concepts}.py.
workingsLive.add("scan", ({ range, fixed, random, gauss, weights }) => {
  const SIZES = [4, 4, 3], COLOURS = ["red", "yellow", "green", "cyan"], VALUES = [COLOURS, COLOURS, ["pillar", "box", "beam"]], OPERATORS = ["AND", "IN COMMON", "IGNORE"];
  const M = 6, SIDE = 10, SHOWN = 7, stored = weights("scan"), LOOKS = ["wk-a", "wk-b", "wk-ink"];

  const networks = Object.fromEntries(["symbol", "decoder", "operator"].map((name) => [name, range(3).filter((i) => stored[`${name} ${i} weight`])
    .map((i) => ({ weight: stored[`${name} ${i} weight`].data, bias: stored[`${name} ${i} bias`].data }))]));
  const through = (name, input) => [...networks[name].reduce((h, { weight, bias }, i) => {
    if (i) h = h.map((one) => Math.max(one, 0));
    const made = Float64Array.from(bias), n = h.length;
    for (let r = 0; r < made.length; r++) {
      let sum = made[r];
      for (let c = 0; c < n; c++) sum += weight[r * n + c] * h[c];
      made[r] = sum;
    }
    return made;
  }, Float64Array.from(input))];
  // A concept is a label for each attribute, -1 where nothing is said.
  const khot = (labels) => SIZES.flatMap((size, a) => range(size).map((value) => Number(labels[a] === value)));
  const encode = (labels) => through("symbol", khot(labels)); // six means, then six log-variances
  const decode = (z) => through("decoder", z); // log-odds: red, green and blue of 10 x 10 pixels
  const combine = (a, b, operator) => a.map((x, i) => (operator === 0 ? (x < 0 ? b[i] : x) : operator === 1 ? (x === b[i] ? x : -1) : b[i] < 0 ? x : -1));
  // The operators' network looks at one latent at a time.
  const recombine = (a, b, operator) => {
    const made = range(M).map((j) => through("operator", [a[j], a[j + M], b[j], b[j + M]]));
    return [0, 1].flatMap((part) => made.map((one) => one[2 * operator + part]));
  };

  const words = (labels) => {
    const [wall, object, shape] = labels.map((value, a) => (value < 0 ? "" : VALUES[a][value]));
    const thing = [object, shape || (object && "object")].filter(Boolean).join(" ");
    return [wall && `a ${wall} wall`, thing && `a ${thing}`].filter(Boolean).join(" and ") || "anything";
  };
  // One row of pictures for each Gaussian. The noise is the same in every row, so that only what the words fix differs.
  const drawn = (gaussians, sample) => {
    const uniform = random(sample);
    const noise = range(SHOWN).map(() => range(M).map(() => gauss(uniform))), step = SIDE + 1, width = SHOWN * step - 1, height = 3 * step - 1, data = Array(3 * width * height).fill(1);
    gaussians.forEach((q, row) => noise.forEach((eps, column) => decode(eps.map((one, j) => q[j] + Math.exp(q[j + M] / 2) * one)).forEach((logit, k) => {
      const colour = Math.floor(k / 100), y = row * step + Math.floor((k % 100) / SIDE), x = column * step + (k % SIDE);
      data[3 * (y * width + x) + colour] = 1 / (1 + Math.exp(-logit));
    })));
    return { width, height, data, rgb: true };
  };

  const draw = ({ op, ...state }, size) => {
    const operator = Number(op);
    const [width, height] = [size[0] - 20, size[1] - 20], beside = width > 520;
    const [a, b] = ["a", "b"].map((who) => range(3).map((i) => state[who + i] - 1)), name = OPERATORS[operator], result = combine(a, b, operator);
    const clash = operator === 0 && a.some((x, i) => x >= 0 && b[i] >= 0 && x !== b[i]), foreign = operator === 2 && b.some((x, i) => x >= 0 && x !== a[i]);
    const q = [encode(a), encode(b)];
    q.push(recombine(...q, operator));
    const pictures = drawn(q, state.sample), ratio = pictures.height / pictures.width, wide = Math.min(beside ? width * 0.6 : width - 24, (beside ? height : height * 0.56) / ratio), tall = wide * ratio;
    const left = beside ? wide + 70 : 40, low = beside ? 20 : 18, high = beside ? height : height - tall - 12, step = (width - left) / M;
    const up = (v) => low + ((Math.min(Math.max(v, -3), 3) + 3) / 6) * (high - low), text = (x, y, said, anchor = "middle") => ({ kind: "text", x, y, text: said, anchor });
    const marks = [
      { kind: "cells", x: [24, 24 + wide], y: [height - tall, height], ...pictures }, ...["A", "B", "="].map((said, row) => text(10, height - ((row + 0.5) * tall) / 3 - 4, said)),
      ...[-2, 0, 2].flatMap((v) => [{ kind: "line", x: [left, width], y: [up(v), up(v)], look: "wk-c wk-dots" }, text(left - 8, up(v) - 4, fixed(v, 0), "end")]),
      ...range(M).map((j) => text(left + (j + 0.5) * step, 0, String(j + 1))), text(left - 8, 0, "latent", "end"),
      ...q.flatMap((one, row) => range(M).map((j) => {
        const x = left + (j + 0.26 + 0.24 * row) * step, spread = Math.exp(one[j + M] / 2);
        return { kind: "line", x: [x, x], y: [up(one[j] - spread), up(one[j] + spread)], look: LOOKS[row], name: j ? undefined : ["A", "B", `A ${name} B`][row] };
      })),
    ];
    const narrowest = (one) => { const wide = range(M).map((j) => Math.exp(one[j + M] / 2)), least = Math.min(...wide); return `${wide.indexOf(least) + 1} (\u00b1${least.toFixed(1)})`; };
    const said = `The last row ${result.every((x) => x < 0) ? "may" : "should"} show ${words(result)}.`;
    return {
      x: { min: 0, max: width, hide: true }, y: { min: 0, max: height, hide: true }, marks,
      values: [["narrowest latent: A", narrowest(q[0])], ["B", narrowest(q[1])], ["result", narrowest(q[2])]],
      says: `A is ${words(a)}, B ${words(b)}. ` + (clash ? "They contradict each other: AND means nothing here, but the network answers." : foreign ? `B says more than A. ${said}` : said),
    };
  };

  const about = ["wall", "object", "shape"];
  return {
    pure: { khot, encode, decode, combine, recombine },
    figure: {
      start: { a0: 1, a1: 0, a2: 0, b0: 0, b1: 0, b2: 3, op: "0", sample: 1 },
      knobs: [
        ...["a", "b"].flatMap((who) => about.map((name, i) => ({ key: who + i, label: `${who.toUpperCase()}: ${name}`, min: 0, max: SIZES[i], step: 1, text: (v) => (v ? VALUES[i][v - 1] : "any") }))),
        { key: "op", label: "Operator", options: OPERATORS.map((name, i) => [String(i), name]) }, { key: "sample", label: "Draw", min: 1, max: 40, step: 1, text: String },
      ],
      play: { key: "sample", label: "Keep drawing" },
      caption: "Networks of seed 0 run in this page. Rows: rooms drawn for A, B and the result, each column with the same noise; some miss their words. Lines: mean \u00b1 deviation.",
      draw,
    },
  };
});
