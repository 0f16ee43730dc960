// Nine trained beta-VAEs: a square's code and the picture drawn from it. lib/workings/disentangling/{networks,sprites16,objectives}.py.
workingsLive.add("early_visual_concepts", ({ range, fixed, weights }) => {
  const BETAS = ["0.05", "1", "4"], SEEDS = 3, SIDE = 16, M = 8, WIDTHS = [[256, 64, 64, 16], [8, 64, 64, 256]];
  const FACTORS = [["x", 16, "wk-a"], ["y", 16, "wk-b"], ["size", 6, "wk-c"]], stored = weights("early_visual_concepts"), networks = {};

  // Encoder and decoder of one price and seed. A row has a scale, a power of the eighth root of 2: its weights are whole multiples of
  // it, of which two share a stored number (9 times the first plus the second), its bias is one of a sixth. Weights are kept column
  // by column, so that inputs of 0 (paper, units that are off) cost nothing.
  const network = (name) => networks[name] ||= (() => {
    const [codes, scales, biases] = ["codes", "scales", "biases"].map((part) => stored[`${name} ${part}`].data);
    let k = 0, row = 0;
    return WIDTHS.map((widths) => widths.slice(1).map((rows, i) => {
      const columns = range(widths[i]).map(() => new Float64Array(rows)), bias = new Float64Array(rows);
      for (let r = 0; r < rows; r++, row++) {
        const scale = 2 ** (scales[row] / 8);
        bias[r] = (biases[row] * scale) / 6;
        for (let c = 0; c < widths[i]; c++, k++) {
          const both = codes[k >> 1], first = Math.round(both / 9);
          columns[c][r] = scale * (k % 2 ? both - 9 * first : first);
        }
      }
      return { columns, bias };
    }));
  })();
  const through = (layers, input) => [...layers.reduce((h, { columns, bias }, i) => {
    const sum = Float64Array.from(bias);
    for (let c = 0; c < h.length; c++) {
      const one = i ? Math.max(h[c], 0) : h[c], column = columns[c];
      if (one !== 0) for (let r = 0; r < sum.length; r++) sum[r] += one * column[r];
    }
    return sum;
  }, input)];
  const encode = (name, pixels) => through(network(name)[0], pixels); // eight means, then eight log-variances
  const decode = (name, z) => through(network(name)[1], z); // log-odds of 256 pixels
  const nats = (mu, logvar) => mu.map((m, j) => 0.5 * (m * m + Math.exp(logvar[j]) - logvar[j] - 1));
  const entropy = (p) => (p > 0 && p < 1 ? -p * Math.log(p) - (1 - p) * Math.log(1 - p) : 0);
  const softplus = (l) => Math.max(l, 0) + Math.log1p(Math.exp(-Math.abs(l)));
  const lost = (logits, pixels) => logits.reduce((sum, l, i) => sum + softplus(l) - pixels[i] * l - entropy(pixels[i]), 0);

  // An upright square of dSprites, averaged down to 16 x 16: which of 64 rows and columns it covers, four to a pixel.
  const square = (size, x, y) => {
    const half = 9.6 * (0.5 + 0.1 * size), cover = (at, first) => {
      const centre = 16 + 32 * ((2 * at) / 31), [from, to] = [centre - half, centre + half].map((end) => first(Math.floor(256 * end + 0.5) / 256 - 0.5));
      return range(SIDE).map((i) => Math.max(0, Math.min(to, 4 * i + 4) - Math.max(from, 4 * i)) / 4);
    };
    const columns = cover(x, Math.ceil), rows = cover(y, (v) => Math.floor(v) + 1);
    return rows.flatMap((r) => columns.map((c) => r * c));
  };

  // A drawing in the address: 256 digits from 0 (paper) to g (ink).
  const drawing = (ink) => (/^[0-9a-g]{256}$/.test(ink) ? [...ink].map((one) => parseInt(one, 17) / 16) : Array(256).fill(0));
  const written = (pixels) => pixels.map((one) => Math.round(16 * one).toString(17)).join("");
  const pen = ({ size, x, y }) => square(size, x, y);
  const known = {}, codeOf = (name, { size, x, y }) => known[[name, size, x, y]] ||= encode(name, square(size, x, y));
  const given = (state) => (state.kind === "own" ? drawing(state.ink) : pen(state));
  const named = ({ beta, seed }) => `${BETAS[beta]} ${seed}`;

  // Where things stand, in pixels of the chart: two pictures, beside or above one another, and a column for each latent.
  let room = [660, 300]; // what the chart has, as it was last drawn
  const plan = () => {
    const [width, height] = [room[0] - 20, room[1] - 20], beside = width > 520;
    const side = beside ? Math.min((width * 0.5) / 2, height - 20) : Math.min(width * 0.3, (height - 44) / 2);
    const top = height - 18, pictures = beside ? [[0, top], [side + 12, top]] : [[0, top], [0, top - side - 22]];
    const left = (beside ? 2 * side + 12 : side) + 52, low = 40, step = (width - left) / M;
    return { width, height, side, pictures, left, low, top, step, across: (j) => left + (j + 0.5) * step, up: (v) => low + ((v + 3.4) / 6.8) * (top - low), back: (at) => ((at - low) / (top - low)) * 6.8 - 3.4 };
  };

  const draw = (state, size) => {
    room = size;
    const name = named(state), picture = given(state), { width, height, side, pictures, left, step, across, up } = plan();
    const coded = encode(name, picture), mu = coded.slice(0, M), logvar = coded.slice(M), z = mu.map((m, j) => m + state[`m${j}`]);
    const logits = decode(name, z), cost = nats(mu, logvar), total = cost.reduce((sum, one) => sum + one, 0), loss = lost(logits, picture);
    // Where the means go as one factor of the square takes all its values and the others stay.
    const sweeps = FACTORS.map(([factor, count]) => range(count).map((at) => codeOf(name, { ...state, [factor]: at })));
    const found = sweeps.map((sweep) => {
      const spans = range(M).map((j) => Math.max(...sweep.map((one) => one[j])) - Math.min(...sweep.map((one) => one[j]))), span = Math.max(...spans), j = spans.indexOf(span);
      const width = Math.sqrt(sweep.reduce((sum, one) => sum + Math.exp(one[M + j]), 0) / sweep.length);
      return span > width ? [j + 1, `${Math.round((100 * span) / spans.reduce((a, b) => a + b))}%`] : [];
    });
    const told = found.map(([j, share], f) => (f ? `as ${FACTORS[f][0]} does ${j ? `latent ${j} (${share})` : "none by more than its noise"}`
      : `As x changes ${j ? `latent ${j} moves most (${share} of all movement)` : "no latent moves by more than its noise"}`));
    const shade = state.kind === "own" ? pen(state).map((one, i) => [0.35 * one, 0.12 * one, 0].map((tint) => Math.max(0, 1 - picture[i] - tint * (1 - picture[i])))).flat() : picture.flatMap((one) => Array(3).fill(1 - one));
    const cells = (data, [x, y]) => ({ kind: "cells", x: [x, x + side], y: [y - side, y], width: SIDE, height: SIDE, data, rgb: true });
    const frame = ([x, y]) => ({ kind: "line", x: [x, x + side, x + side, x, x], y: [y, y, y - side, y - side, y], look: "wk-c" });
    const text = (x, y, words, anchor = "middle") => ({ kind: "text", x, y, text: words, anchor });
    const marks = [
      cells(shade, pictures[0]), cells(logits.flatMap((l) => Array(3).fill(1 / (1 + Math.exp(l)))), pictures[1]), ...pictures.map(frame),
      text(pictures[0][0], pictures[0][1] + 6, state.kind === "own" ? "your drawing" : "given", "start"), text(pictures[1][0], pictures[1][1] + 6, "redrawn", "start"),
      ...[-3, 0, 3].map((v) => ({ kind: "line", x: [left, width], y: [up(v), up(v)], look: "wk-c wk-dots" })), ...[-3, 0, 3].map((v) => text(left - 6, up(v) - 4, fixed(v, 0), "end")),
      ...range(M).flatMap((j) => [text(across(j), 20, String(j + 1)), text(across(j), 2, cost[j] < 0.05 ? "0" : cost[j].toFixed(1))]), text(left - 6, 20, "latent", "end"), text(left - 6, 2, "nats", "end"),
      { kind: "area", x: [-0.5, 0.5].map((s) => across(state.j - 1 + s)), y: [height, height], look: "wk-c" },
      ...range(M).map((j) => ({ kind: "line", x: [across(j) + 0.28 * step, across(j) + 0.28 * step], y: [-1, 1].map((s) => up(mu[j] + s * Math.exp(logvar[j] / 2))), look: "wk-ink" })),
      ...FACTORS.map(([factor, , look], f) => ({ kind: "points", x: sweeps[f].flatMap(() => range(M).map((j) => across(j) + (0.2 * f - 0.38) * step)), y: sweeps[f].flatMap((one) => one.slice(0, M).map(up)), look, size: 2.2, name: factor })),
      { kind: "points", x: range(M).map((j) => across(j) + 0.28 * step), y: z.map(up), look: "wk-ink", size: 4.5, name: "code" },
    ];
    return {
      x: { min: 0, max: width, hide: true }, y: { min: 0, max: height, hide: true }, marks,
      values: FACTORS.map(([factor], f) => [f ? factor : `${factor} moves latent`, found[f][0] ? `${found[f][0]} (${found[f][1]})` : "none"]),
      says: `At \u03b2 = ${BETAS[state.beta]}, seed ${state.seed}, this code costs ${total.toFixed(1)} nats, and what is redrawn loses ${fixed(loss, 1)}. ${told.join(", ")}.`,
    };
  };

  // A finger in the first picture moves the square, or draws; on the code's dots it moves a latent.
  let inking = 1;
  const point = (state, x, y, phase) => {
    const { side, pictures, left, step, back } = plan(), [column, row] = [x - pictures[0][0], pictures[0][1] - y].map((at) => Math.floor((at / side) * SIDE));
    if (Math.min(column, row) >= 0 && Math.max(column, row) < SIDE) {
      const place = (at) => Math.min(15, Math.max(0, Math.round((((at + 0.5) * 4 - 16) / 32) * 15.5)));
      if (state.kind === "own") {
        const pixels = drawing(state.ink);
        if (phase === "down") inking = pixels[row * SIDE + column] > 0.5 ? 0 : 1;
        pixels[row * SIDE + column] = inking;
        state.ink = written(pixels);
      } else Object.assign(state, { x: place(column), y: place(row) });
      return true;
    }
    const j = Math.floor((x - left) / step);
    if (!(x >= left) || j >= M) return false;
    Object.assign(state, { j: j + 1, [`m${j}`]: back(y) - encode(named(state), given(state))[j] });
    return true;
  };

  const stamp = (state) => { // the keyboard's pen: a second stamp at the same place takes the ink away
    const old = drawing(state.kind === "own" ? state.ink : ""), ink = pen(state), there = ink.every((one, i) => one <= old[i]);
    Object.assign(state, { kind: "own", ink: written(ink.map((one, i) => (there && one ? 0 : Math.max(one, old[i])))) });
  };

  range(BETAS.length * SEEDS).forEach((i) => setTimeout(() => network(named({ beta: i % 3, seed: Math.floor(i / 3) })), 100 * i)); // ready before the reader asks

  const place = (v) => `${v + 1} of 16`;
  return {
    pure: { square, encode, decode, nats, lost },
    figure: {
      start: { beta: 2, seed: 0, kind: "square", x: 4, y: 9, size: 3, j: 3, ...Object.fromEntries(range(M).map((j) => [`m${j}`, 0])), ink: "" },
      kept: ["kind", "ink"],
      knobs: [
        { key: "beta", label: "Price \u03b2", min: 0, max: 2, step: 1, text: (v) => BETAS[v] }, { key: "seed", label: "Seed", min: 0, max: SEEDS - 1, step: 1, text: String },
        { key: "j", label: "Which latent", min: 1, max: M, step: 1, text: String },
        ...range(M).map((j) => ({ key: `m${j}`, label: "Move it by", when: (state) => state.j === j + 1, min: -4, max: 4, step: 0.1, text: (v) => (v > 0 ? "+" : "") + fixed(v, 1) })),
        { key: "x", label: "x", min: 0, max: 15, step: 1, text: place }, { key: "y", label: "y", min: 0, max: 15, step: 1, text: place },
        { key: "size", label: "Size", min: 0, max: 5, step: 1, text: (v) => `${v + 1} of 6` },
      ],
      play: { key: "x", label: "Move x" },
      buttons: [{ label: "Stamp", press: stamp }],
      caption: "Nine of the notebook\u2019s networks (three prices, seeds 0 to 2; weights rounded to 9 steps) run in this page, latents by falling nats. Beads: where a latent goes as x, y or size alone changes. Drag the square or a dot; \u201cStamp\u201d begins a drawing.",
      draw, point,
    },
  };
});
