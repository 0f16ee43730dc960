// Rotary clocks and the small decoder read with them: lib/workings/language_models/{rotary,rope_scaling,truncated_basis,decoder}.py.
workingsLive.add("giraffe", ({ range, fixed, random, weights }) => {
  const PAIRS = 16, TRAINED = 64, BASE = 100, KEYS = 288, TURN = 2 * Math.PI, EPSILON = 1e-6;
  const limit = (v) => Math.min(Math.max(v, 0), 1), frequencies = (d, base) => range(d / 2).map((i) => base ** ((-2 * i) / d));
  // New frequencies of each kind, and the number that multiplies turned queries and keys; s is the scale, length the trained one.
  const changed = (theta, kind, s, length) => {
    const n = theta.length, cut = TURN / length, slow = theta.map((one) => one / s), parts = () => theta.map((one, i) => { const keep = limit(((length * one) / TURN - 1) / 3); return (1 - keep) * slow[i] + keep * one; });
    const kinds = {
      default: () => theta, linear: () => slow, power: () => slow.map((one, i) => one * (1 - i / n) ** 0.5), ntk_by_parts: parts, yarn: parts,
      truncated: () => slow.map((one) => (one >= cut ? one : one >= cut / 8 ? cut / 16 : 0)), ntk: () => theta.map((one, i) => one * s ** (-i / (n - 1))),
    };
    return { theta: kinds[kind](), factor: kind === "yarn" ? 0.1 * Math.log(s) + 1 : 1 };
  };
  const scaled = (theta, kind, s, length) => { const now = changed(theta, kind, s, length); return [...now.theta, now.factor]; };

  // The decoder: one block, two heads. A token's input holds the one before it as well, so query, key and value depend on this pair alone.
  const net = Object.fromEntries(Object.entries(weights("giraffe")).map(([name, { data }]) => [name, data])), WIDTH = 64, HEAD = 32;
  const times = (matrix, x) => {
    const n = x.length, y = new Float64Array(matrix.length / n);
    for (let o = 0, at = 0; o < y.length; o++) { let total = 0; for (let i = 0; i < n; i++) total += matrix[at++] * x[i]; y[o] = total; }
    return y;
  };
  const plus = (x, y) => x.map((one, i) => one + y[i]), best = (chances) => chances.indexOf(Math.max(...chances));
  const norm = (x, gain) => { const by = 1 / Math.sqrt(x.reduce((sum, one) => sum + one * one, 0) / x.length + EPSILON); return x.map((one, i) => one * by * gain[i]); };
  const erf = (x) => { const t = 1 / (1 + 0.3275911 * Math.abs(x)); return Math.sign(x) * (1 - t * Math.exp(-x * x) * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))); };
  const softmax = (x) => {
    const top = x.reduce((one, other) => Math.max(one, other)), e = x.map((one) => Math.exp(one - top)), all = e.reduce((sum, one) => sum + one);
    return e.map((one) => one / all);
  };
  const pairs = new Map();
  const pair = (before, token) => {
    const key = 1000 * before + token, row = (at) => Float64Array.from(net.embed.subarray(WIDTH * at, WIDTH * (at + 1)));
    if (!pairs.has(key)) {
      const x = before < 0 ? row(token) : plus(row(token), times(net.shift, row(before))), h = norm(x, net.attention_norm);
      pairs.set(key, { x, q: times(net.q_proj, h), k: times(net.k_proj, h), v: times(net.v_proj, h) });
    }
    return pairs.get(key);
  };
  const turned = (x, t, { theta, factor }) => {
    const y = new Float64Array(WIDTH);
    for (let i = 0; i < PAIRS; i++) {
      const c = factor * Math.cos(t * theta[i]), s = factor * Math.sin(t * theta[i]);
      for (let a = i; a < WIDTH; a += HEAD) { const b = a + PAIRS; y[a] = x[a] * c - x[b] * s; y[b] = x[b] * c + x[a] * s; }
    }
    return y;
  };
  // A text under given clocks, with room for one more token; then the answer to that, a key: attention, and chances of the 16 values.
  const read = (tokens, clocks) => {
    const [keys, values] = [0, 0].map(() => new Float64Array(WIDTH * (tokens.length + 1)));
    tokens.forEach((token, t) => { const { k, v } = pair(t ? tokens[t - 1] : -1, token); keys.set(turned(k, t, clocks), WIDTH * t); values.set(v, WIDTH * t); });
    return { tokens, clocks, keys, values };
  };
  const answer = ({ tokens, clocks, keys, values }, key) => {
    const here = tokens.length, { x, q, k, v } = pair(here ? tokens[here - 1] : -1, key), ask = turned(q, here, clocks), mixed = new Float64Array(WIDTH), attention = [];
    keys.set(turned(k, here, clocks), WIDTH * here); values.set(v, WIDTH * here);
    for (let from = 0; from < WIDTH; from += HEAD) {
      const part = new Float64Array(here + 1);
      for (let t = 0; t <= here; t++) { let total = 0; for (let i = from, at = WIDTH * t + from; i < from + HEAD; i++, at++) total += ask[i] * keys[at]; part[t] = total / Math.sqrt(HEAD); }
      const share = softmax(part);
      for (let t = 0; t <= here; t++) { const one = share[t]; for (let i = from, at = WIDTH * t + from; i < from + HEAD; i++, at++) mixed[i] += one * values[at]; }
      attention.push(share);
    }
    const y = plus(x, times(net.o_proj, mixed)), up = times(net.up_proj, norm(y, net.mlp_norm)).map((one) => (one / 2) * (1 + erf(one / Math.SQRT2)));
    return { attention, chances: softmax(times(net.lm_head, norm(plus(y, times(net.down_proj, up)), net.norm))) };
  };
  const clocksOf = (kind, s) => changed(frequencies(2 * PAIRS, BASE), kind, s, TRAINED), asked = (tokens, key, kind, s) => { const { attention, chances } = answer(read(tokens, clocksOf(kind, s)), key); return [...chances, ...attention[0], ...attention[1]]; };
  // Lines key=value, drawn or the reader's own: {lines: [[key, value]], key asked}, or what is wrong.
  const drawn = (n, sample) => {
    const uniform = random(sample), keys = range(KEYS);
    return range(n).map((i) => { const j = i + Math.floor(uniform() * (KEYS - i)); [keys[i], keys[j]] = [keys[j], keys[i]]; return [keys[i], Math.floor(uniform() * 16)]; });
  };
  const written = (text) => {
    const words = text.trim().replace(/\s*=\s*/g, "=").replace(/\s+\?/g, "?").split(/[\s,;]+/), question = /^(\d+)\?$/.exec(words.pop()), lines = words.map((word) => /^(\d+)=(\d+)$/.exec(word)).map((found) => found && [Number(found[1]), Number(found[2])]);
    if (!question) return "End with a question, such as 40?";
    if (lines.some((one) => !one || one[0] >= KEYS || one[1] > 15)) return "Write lines such as 40=7: a key from 0 to 287, = and a value from 0 to 15.";
    const at = new Set(lines.map(([key]) => key)).size < lines.length ? -1 : lines.findIndex(([key]) => key === Number(question[1]));
    return at < 0 || lines.length > 128 ? "Ask for a key that has a line, after at most 128 lines with a key each." : { lines, at };
  };
  const METHODS = { default: "unchanged", linear: "linear", ntk: "NTK-aware", ntk_by_parts: "by-parts", yarn: "YaRN", power: "power 0.5", truncated: "truncated" };
  const scalable = ({ kind }) => !["default", "power", "truncated"].includes(kind), hide = true;
  const clockFaces = ({ kind, s, b, l, t }, room) => {
    const length = Math.round(2 ** l), at = Math.round(t * length), theta = frequencies(2 * PAIRS, 10 ** b), { theta: now, factor } = changed(theta, kind, scalable({ kind }) ? s : 1, length);
    const [w, h] = [room[0] - 20, room[1] - 20];
    const across = [4, 6, 8].reduce((one, other) => (Math.min(w / other, h / Math.ceil(PAIRS / other)) > Math.min(w / one, h / Math.ceil(PAIRS / one)) ? other : one));
    const cell = [w / across, h / Math.ceil(PAIRS / across)], r = Math.min(cell[0], cell[1] - 18) / 2 - 2, marks = [], centres = range(PAIRS).map((i) => [((i % across) + 0.5) * cell[0], h - (Math.floor(i / across) + 0.5) * cell[1] + 8]);
    const place = (i, angle, far) => [centres[i][0] + far * r * Math.sin(angle), centres[i][1] + far * r * Math.cos(angle)], mark = (kindOf, points, rest) => marks.push({ kind: kindOf, x: points.map(([x]) => x), y: points.map(([, y]) => y), ...rest });
    const sector = (i, from, to, look, name) => {
      const n = Math.ceil((28 * (to - from)) / TURN), along = range(n + 1).map((k) => from + (k / n) * (to - from));
      if (to > from) mark("line", [...along.map((angle) => place(i, angle, 0.97)), ...along.reverse().map((angle) => place(i, angle, 0.6))], { look, name });
    };
    const known = theta.map((one) => Math.min(length * one, TURN)), reached = now.map((one) => Math.min(at * one, TURN)), fresh = now.map((one, i) => reached[i] > known[i] + 1e-9 && known[i] < TURN);
    mark("points", centres, { look: "wk-c wk-face", size: r, name: "never seen" });
    range(PAIRS).forEach((i) => sector(i, 0, known[i], "wk-a wk-arc", i ? undefined : "seen in training"));
    range(PAIRS).forEach((i) => fresh[i] && sector(i, known[i], reached[i], "wk-b wk-arc", i === fresh.indexOf(true) ? "new" : undefined));
    mark("points", centres, { look: "wk-hole", size: 0.6 * r }); mark("points", centres.map((_, i) => place(i, at * now[i], 0.78)), { look: "wk-ink", size: Math.max(3, 0.13 * r), name: "now" });
    now.forEach((one, i) => marks.push({ kind: "text", x: centres[i][0], y: centres[i][1] - r - 13, text: one ? (TURN / one < 99500 ? String(Math.round(TURN / one)) : (TURN / one).toLocaleString("en", { notation: "compact" })) : "stopped", anchor: "middle", look: "wk-ink" }));
    const count = fresh.filter(Boolean).length, whole = known.filter((one) => one >= TURN).length;
    return {
      x: { min: 0, max: w, hide }, y: { min: 0, max: h, hide }, marks,
      values: [["new", `${count} of ${PAIRS}`], ["full turn in training", `${whole} of ${PAIRS}`], ["fastest", `${fixed((360 * now[0]) / TURN, 1)}\u00b0 per token`], ...(factor > 1 ? [["q and k", `\u00d7 ${fixed(factor, 2)}`]] : []), ["slowest", now[PAIRS - 1] ? `${Math.round(TURN / now[PAIRS - 1]).toLocaleString("en")} tokens a turn` : "stopped"]],
      says: `By position ${at.toLocaleString("en")}, ${Number(t.toFixed(2))} times the trained length, ${count ? `${count} of ${PAIRS} clocks have` : "no clock has"} shown an angle that training never showed.`,
    };
  };

  const kept = {}; // what was read and answered last, with changed clocks and without
  const answered = (place, tokens, kind, s, key) => {
    const name = [kind, s, tokens].join();
    if (!kept[place] || kept[place].name !== name) kept[place] = { name, text: read(tokens, clocksOf(kind, s)), found: new Map() };
    const { text, found } = kept[place];
    return found.get(key) || found.set(key, answer(text, key)).get(key);
  };
  const answers = (state) => {
    const { view, kind, n, line, sample, own } = state, s = scalable(state) ? state.s : 1, mine = view === "own" ? written(own) : null, wrong = typeof mine === "string" ? mine : "";
    const { lines, at } = mine && !wrong ? mine : { lines: drawn(n, Number(sample) % 100 || 1), at: Math.min(line, n) - 1 }, tokens = lines.flatMap(([key, value]) => [key, KEYS + value]);
    const some = range(lines.length).filter((i) => i === at || i % Math.ceil(lines.length / 40) === 0), test = (place, how, by) => some.map((i) => answered(place, tokens, how, by, lines[i][0])), plain = test(0, "default", 1);
    const now = kind === "default" ? plain : test(1, kind, s), own_ = some.indexOf(at), right = (of) => some.filter((i, k) => best(of[k].chances) === lines[i][1]).length;
    const back = (i) => 2 * (lines.length - i) - 1, far = Math.max(2 * lines.length, 8), { chances } = now[own_], said = best(chances), before = best(plain[own_].chances);
    const dots = (good) => { const those = some.map((i, k) => [back(i), now[k].chances[lines[i][1]], best(now[k].chances) === lines[i][1]]).filter((one) => one[2] === good); return { kind: "points", x: those.map((one) => one[0]), y: those.map((one) => one[1]), size: 3.5 }; };
    // attention that each line gets, both its tokens together, from the head that gives it more
    const looks = ({ attention }) => ({ kind: "line", x: lines.map((_, i) => back(i)), y: lines.map((_, i) => Math.max(...attention.map((head) => head[2 * i] + head[2 * i + 1]))) });
    const marks = [{ ...looks(plain[own_]), look: "wk-c wk-dash", name: "attention, unchanged" }, { ...looks(now[own_]), look: "wk-a", name: "attention" }];
    marks.push(...(far > TRAINED ? [{ kind: "rule", x: TRAINED, look: "wk-ink wk-dash", name: "trained length" }] : []), { ...dots(true), look: "wk-a", name: "right" }, { ...dots(false), look: "wk-b", name: "wrong" }, { kind: "arrow", x: [back(at), back(at)], y: [1.16, 1.04], look: "wk-ink", name: "asked" });
    return {
      x: { min: 0, max: far, label: "tokens back from the question" }, y: { min: 0, max: 1.18, label: "probability or attention", ticks: [[0, "0.0"], [0.5, "0.5"], [1, "1.0"]] }, marks, wrong,
      values: [["right", `${right(now)} of ${some.length}`], ["unchanged", `${right(plain)} of ${some.length}`], [`${lines[at][0]}=?`, `${said} with ${fixed(chances[said], 2)}`]],
      says: `${wrong ? "Drawn lines, in place of yours. " : ""}Line ${lines[at][0]}=${lines[at][1]}, ${back(at)} token${back(at) > 1 ? "s" : ""} back: the model says ${said}, with unchanged clocks ${before}. Of ${some.length} line${some.length > 1 ? "s" : ""} asked it finds ${right(now)}, unchanged ${right(plain)}.${mine && !wrong && far <= TRAINED ? " From 33 lines on they reach beyond the trained 64 tokens." : ""}`,
    };
  };
  document.head.append(Object.assign(document.createElement("style"), { textContent: `.wk-chart .wk-arc { fill: var(--wk-fill); stroke: none; } .wk-chart .wk-hole { fill: var(--pst-color-background); } .wk-chart .wk-face { opacity: 0.25; }` }));
  const [clocks, drawing, own] = ["clocks", "drawn", "own"].map((one) => ({ view }) => view === one);
  return {
    pure: { frequencies, scaled, asked }, figure: {
      start: { view: "clocks", kind: "linear", s: 1, b: 2, l: 6, t: 4, n: 56, line: 8, sample: "1", own: "17=3 205=9 40=7 96=12 8=0 40?" },
      knobs: [
        { key: "view", label: "Look at", options: [["clocks", "clocks"], ["drawn", "answers"], ["own", "my own lines"]] },
        { key: "kind", label: "Change", options: Object.entries(METHODS) },
        { key: "s", label: "Scale s", min: 1, max: 16, step: 0.5, text: (v) => v.toFixed(1), when: scalable },
        { key: "t", label: "Position", min: 0, max: 16, step: 0.125, text: (v, { l }) => Math.round(v * 2 ** l).toLocaleString("en"), when: clocks },
        { key: "b", label: "Base b", min: 1, max: 6, step: 0.1, text: (v) => Number((10 ** v).toPrecision(2)).toLocaleString("en"), when: clocks },
        { key: "l", label: "Trained L", min: 4, max: 13, step: 1, text: (v) => (2 ** v).toLocaleString("en"), when: clocks },
        { key: "n", label: "Lines", min: 4, max: 128, step: 1, text: String, when: drawing },
        { key: "line", label: "Ask for line", min: 1, max: ({ n }) => n, step: 1, text: String, when: drawing },
        { key: "own", label: "Lines 40=7, then 40? (not in the link)", rows: 2, when: own },
      ],
      kept: ["sample"], buttons: [{ label: "Other lines", press: (state) => { Object.assign(state, { view: "drawn", sample: String(((Number(state.sample) || 0) % 99) + 1) }); } }],
      play: { key: "s", label: "Scale" }, caption: "Below each clock: tokens for one turn. The chapter\u2019s first model answers, each line asked alone (of over 40, some). Dot: probability of its value. Curve: the question\u2019s attention, in the head that gives more.",
      draw: (state, room) => (clocks(state) ? clockFaces(state, room) : answers(state)),
    },
  };
});
