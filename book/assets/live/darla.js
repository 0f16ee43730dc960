// A room that can be repainted, two encoders and four agents: lib/workings/disentangling/{worlds,ensembles}.py, with the networks of the notebook.
workingsLive.add("darla", ({ range, fixed, weights }) => {
  const NET = weights("darla"), SIZE = 8, EDGE = 5, OBJECT = 4;
  const MOVES = ["left", "wait", "right"], DOES = ["moves left", "waits", "moves right"], AGENTS = [["pixels", "pixels", "wk-b"], ["penalised", "pixels, penalised", "wk-b wk-dash"], ["entangled", "entangled code", "wk-violet"], ["chosen", "chosen code", "wk-a"]];
  // Red, green and blue of a hue from 1 (red) to 8 (blue), of saturation 0.8 and value 0.9.
  const paint = (hue) => {
    const turn = (0.66 * (hue - 1)) / 7, part = (turn * 6) % 1, [p, q, t, v] = [0.9 * (1 - 0.8), 0.9 * (1 - 0.8 * part), 0.9 * (1 - 0.8 * (1 - part)), 0.9];
    return [[v, t, p], [q, v, p], [p, v, t], [p, q, v]][Math.floor(turn * 6)];
  };
  const covered = (row, column, place) => row >= EDGE - OBJECT / 2 && row < EDGE + OBJECT / 2 && column >= (SIZE - OBJECT) / 2 + place && column < (SIZE + OBJECT) / 2 + place;
  // The picture, colour by colour, row by row.
  const picture = (wall, floor, kind, place) => {
    const paints = [paint(wall), paint(floor)];
    return range(3 * SIZE * SIZE).map((i) => {
      const colour = Math.floor(i / SIZE ** 2), row = Math.floor(i / SIZE) % SIZE;
      return Math.fround(covered(row, i % SIZE, place) ? kind : paints[row < EDGE ? 0 : 1][colour]);
    });
  };
  const run = (name, input) => { // linear layers, with ReLUs between them
    let h = input;
    for (let layer = 0; NET[`${name} ${layer} weight`]; layer++) {
      const { shape: [rows, columns], data } = NET[`${name} ${layer} weight`], bias = NET[`${name} ${layer} bias`].data, out = new Float64Array(rows), last = !NET[`${name} ${layer + 1} weight`];
      for (let i = 0; i < rows; i++) {
        let total = bias[i];
        for (let j = 0; j < columns; j++) total += data[i * columns + j] * h[j];
        out[i] = last ? total : Math.max(0, total);
      }
      h = out;
    }
    return [...h];
  };
  const codeOf = (name, seen) => { const { data } = NET[`${name} scale`], width = data.length / 2; return run(`${name} code`, seen).map((one, j) => (one - data[j]) / data[width + j]); };
  const valuesOf = (name, seen) => {
    const [centre, spread] = NET["pixels scale"].data;
    return run(`${name} act`, NET[`${name} code 0 weight`] ? codeOf(name, seen) : seen.map((one) => (one - centre) / spread));
  };
  const code = (name, ...scene) => codeOf(name, picture(...scene)), values = (name, ...scene) => valuesOf(name, picture(...scene));
  // What a step to the left, waiting and a step to the right pay: an object's worth for each step that it comes nearer.
  const reward = (kind, place) => [-1, 0, 1].map((move) => (kind ? 1 : -0.5) * (Math.abs(place) - Math.abs(place - move)));

  document.head.append(Object.assign(document.createElement("style"), { textContent: ".wk-violet { stroke: #7a3fa0; --wk-fill: #7a3fa0; } html[data-theme=dark] .wk-violet { stroke: #d3a4f0; --wk-fill: #d3a4f0; }" }));
  const best = (list) => list.indexOf(Math.max(...list)), WALLS = range(29).map((i) => 1 + i / 4), known = {};
  // How far the best-paid move is ahead of the others in each agent's eyes, for every wall.
  const leads = (floor, kind, place) => {
    const key = [floor, kind, place].join();
    if (known.key !== key) Object.assign(known, { key, lines: AGENTS.map(() => []) });
    const right = best(reward(kind, place));
    if (!known.lines[0].length) {
      for (const wall of WALLS) {
        const seen = picture(wall, floor, kind, place);
        AGENTS.forEach(([name], i) => { const found = valuesOf(name, seen); known.lines[i].push(found[right] - Math.max(...found.filter((_, move) => move !== right))); });
      }
    }
    return known.lines;
  };
  const TARGET = [6, 7, 8].flatMap((wall) => [6, 7, 8].map((floor) => [wall, floor])), passed = {};
  const inTarget = (kind, place) => { // in how many of the target's nine rooms each agent chooses right
    const key = [kind, place].join(), right = best(reward(kind, place));
    return (passed[key] ||= AGENTS.map(([name]) => TARGET.filter((paints) => best(values(name, ...paints, kind, place)) === right).length));
  };
  const room = (wall, floor, kind, place, x, y) => {
    const seen = picture(wall, floor, kind, place), fine = 3, side = SIZE * fine + 2; // with a frame, so that a white object has an edge on white paper
    const cell = (at) => (at < 1 || at > SIZE * fine ? -1 : Math.floor((at - 1) / fine));
    const data = range(side * side).flatMap((i) => { const row = cell(Math.floor(i / side)), column = cell(i % side); return [0, 1, 2].map((colour) => (row < 0 || column < 0 ? 0.45 : seen[(colour * SIZE + row) * SIZE + column])); });
    return { kind: "cells", x, y, width: side, height: side, data, rgb: true, square: true };
  };

  const draw = ({ wall, floor, scene, view }) => {
    const [kind, place] = scene.split(" ").map(Number), pays = reward(kind, place), right = best(pays);
    const found = AGENTS.map(([name]) => values(name, wall, floor, kind, place)), chosen = found.map(best);
    const wrong = AGENTS.filter((_, i) => chosen[i] !== right).map(([, name]) => name);
    const where = [wall, floor].every((hue) => hue <= 3) ? "like the source" : wall >= 6 && floor >= 6 ? "like the target" : "like neither";
    const words = `A ${kind ? "good" : "bad"} object to the ${place < 0 ? "left" : "right"}, painted ${where}: ${MOVES[right]} pays ${pays[right]}. ` +
      (wrong.length ? `Wrong: the agent${wrong.length > 1 ? "s" : ""} on ${wrong.join("; ")}.` : "All four choose it.");
    const rooms = inTarget(kind, place), values_ = AGENTS.map(([, name], i) => [name, `${DOES[chosen[i]]}${chosen[i] === right ? "" : " (wrong)"}; ${rooms[i]} of 9`]);
    if (view === "codes") {
      const at = range(8), low = -4, high = 4, looks = [["chosen", "wk-a", 0.85], ["entangled", "wk-violet", 1.15]];
      const moved = looks.flatMap(([name, look, shift]) => {
        const from = code(name, 1, floor, kind, place), to = code(name, wall, floor, kind, place);
        return at.map((i) => ({ kind: "arrow", x: [i + shift, i + shift], y: [from[i], to[i]], look, name: i ? "" : `${name} code, from wall 1 to this one` }));
      });
      const most = (name) => { // the latent that moves most, and its share of all movement
        const from = code(name, 1, floor, kind, place), moves = code(name, wall, floor, kind, place).map((one, i) => Math.abs(one - from[i])), first = best(moves);
        return [`${Math.round((100 * moves[first]) / moves.reduce((sum, one) => sum + one))}%`, `in latent ${first + 1}`];
      };
      const [[some, where_], [others, there]] = looks.map(([name]) => (wall === 1 ? [] : most(name)));
      return {
        x: { min: -2.6, max: 8.6, label: "latent", ticks: at.map((i) => [i + 1, String(i + 1)]) }, y: { min: low, max: high, label: "code (standard deviations)" },
        marks: [room(wall, floor, kind, place, [-2.5, 0.2], [low * 0.7, high * 0.7]), { kind: "line", x: [0.5, 8.6], y: [0, 0], look: "wk-ink wk-dots" }, ...moved],
        values: values_, says: wall === 1 ? "The arrows begin at this wall, 1: repaint it." : `From wall 1 to here ${some} of the chosen code\u2019s movement is ${where_}, ${others} of the entangled code\u2019s ${there}.`,
      };
    }
    const lines = leads(floor, kind, place), low = -1.6, high = 2, strip = WALLS.flatMap(paint);
    return {
      x: { min: -2.3, max: 8.3, label: "hue of the wall", ticks: range(8).map((i) => [i + 1, String(i + 1)]) }, y: { min: low, max: high, label: "lead of the best-paid move" },
      marks: [room(wall, floor, kind, place, [-2.2, 0.5], [-1, 1]), { kind: "cells", x: [0.875, 8.125], y: [low, low + 0.16], width: WALLS.length, height: 1, data: strip, rgb: true },
        { kind: "text", x: 2, y: high - 0.2, text: "source", anchor: "middle" }, { kind: "text", x: 7, y: high - 0.2, text: "target", anchor: "middle" },
        { kind: "line", x: [1, 3], y: [high - 0.3, high - 0.3], look: "wk-ink" }, { kind: "line", x: [6, 8], y: [high - 0.3, high - 0.3], look: "wk-ink" },
        { kind: "line", x: [0.8, 8.3], y: [0, 0], look: "wk-ink wk-dots" }, { kind: "line", x: [wall, wall], y: [low, high - 0.3], look: "wk-c" },
        ...AGENTS.map(([, name, look], i) => ({ kind: "line", x: WALLS, y: lines[i], look, name })),
        ...AGENTS.map(([, , look], i) => ({ kind: "points", x: [wall], y: [found[i][right] - Math.max(...found[i].filter((_, move) => move !== right))], size: 5, look: look.split(" ")[0] }))],
      values: values_, says: words,
    };
  };

  const hue = { min: 1, max: 8, step: 0.25, text: (one) => `${one}${one <= 3 ? ", source" : one >= 6 ? ", target" : ""}` };
  return {
    pure: { picture, code, values, reward },
    figure: {
      start: { wall: 2, floor: 2, scene: "1 1", view: "agents" },
      knobs: [
        { key: "wall", label: "Wall", ...hue }, { key: "floor", label: "Floor", ...hue },
        { key: "scene", label: "Object", options: [["1 2", "good, far right"], ["1 1", "good, right"], ["1 -1", "good, left"], ["1 -2", "good, far left"], ["0 2", "bad, far right"], ["0 1", "bad, right"], ["0 -1", "bad, left"], ["0 -2", "bad, far left"]] },
        { key: "view", label: "Show", options: [["agents", "the agents"], ["codes", "the two codes"]] },
      ],
      buttons: [{ label: "Repaint as the target", press: (state) => { Object.assign(state, { wall: 7, floor: 7 }); } }],
      play: { key: "wall", label: "Paint the wall" },
      point: (state, x) => { if (state.view !== "agents" || x < 0.7) return false; state.wall = x; return true; },
      caption: "Two encoders, four agents, one seed. Lead: reward expected of the best-paid move, less the best other\u2019s; below 0 the move is wrong. \u201c3 of 9\u201d: well chosen in three of the target\u2019s nine rooms. No hue between two numbers was ever seen.",
      draw,
    },
  };
});
