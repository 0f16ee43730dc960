// How surprising are k hits in n queries? The exact binomial tail in log10, as lib/workings/language_models/binomial_tests.py has it.
workingsLive.add("vtune", ({ lnFactorial, range, fixed }) => {
  const LINE = -6; // log10 of the level of the test
  const GUESS = -5 * Math.log10(26); // log10 of the chance to guess the page's signature, five letters

  // log10 P(Bin(n, p0) = j) for every j from 0 to n, 0 < p0 < 1.
  const pmf = (n, p0) => range(n + 1).map((j) =>
    (lnFactorial(n) - lnFactorial(j) - lnFactorial(n - j) + j * Math.log(p0) + (n - j) * Math.log1p(-p0)) / Math.LN10);
  // log10 P(Bin(n, p0) >= k): terms are added relative to the largest, so that none is lost below 1e-308.
  const tail = (k, n, p0) => {
    if (k === 0) return 0;
    const logs = pmf(n, p0).slice(k), top = Math.max(...logs);
    return Math.min(0, top + Math.log10(logs.reduce((sum, one) => sum + 10 ** (one - top), 0)));
  };
  // The fewest hits that reject at level alpha; n + 1 where not even n hits do.
  const critical = (n, p0, alpha) => range(n + 2).find((k) => k > n || tail(k, n, p0) <= Math.log10(alpha));

  // log10 of the bound for one signature and greedy answers: floor(n / k) guesses, each as likely as 10 ** guess.
  const shared = (guess, k, n) => (k === 0 ? 0 : Math.min(0, guess + Math.log10(Math.floor(n / k))));

  // 10 ** log as people write it: 0.0060, or 1.2 x 10 to a raised power.
  const raised = (power) => `10${[...String(power)].map((one) => (one === "-" ? "\u207b" : "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"[one])).join("")}`;
  const written = (log) => {
    if (log === 0) return "1";
    if (log > -4) return 10 ** log > 0.9999 ? "over 0.9999" : fixed(10 ** log, 4);
    const power = Math.floor(log + Math.log10(10 / 9.95)), digits = (10 ** (log - power)).toFixed(1);
    return digits === "1.0" ? raised(power) : `${digits} \u00d7 ${raised(power)}`;
  };

  // Hits that the reader asked for. Fewer are shown while there are fewer queries; they come back with them. An address (text) and the start ask anew.
  let asked, shown = {};
  const most = (state) => {
    const n = Math.min(Math.max(Number(state.n) || 1, 1), 60), k = Number(state.k);
    if (typeof state.k === "string" || k !== shown.k) asked = k;
    else if (n !== shown.n) state.k = Math.min(asked, n);
    shown = { n, k: Math.min(Number(state.k), n) };
    return 60;
  };

  const draw = ({ k, n, lp }) => {
    const p0 = 10 ** lp, logs = pmf(n, p0), p = tail(k, n, p0), needed = critical(n, p0, 10 ** LINE), all = range(n + 1);
    const part = (from, to) => ({ kind: "bars", x: all.slice(from, to), y: logs.slice(from, to) });
    const reject = p <= LINE;
    const marks = [{ ...part(0, k), look: "wk-c", name: "fewer hits" }, { ...part(k), look: "wk-b", name: "k hits or more" }];
    if (needed <= n) marks.push({ kind: "rule", x: needed - 0.5, look: "wk-ink wk-dash", name: "from here on the test rejects" });
    const words = written(p), hits = `${k}${k < n ? " or more" : ""} hit${k === n && n === 1 ? "" : "s"}`, queries = `${n} independent quer${n === 1 ? "y" : "ies"}`;
    return {
      x: { min: -0.7, max: n + 0.7, label: "hits" },
      y: { min: Math.floor(Math.min(-1, logs[n], logs[0]) * 1.08), max: 0, label: "log10 probability" },
      marks,
      values: [["log10 p, formula 3", fixed(p > -0.005 ? 0 : p, 2)], ["log10 p, bound 5", fixed(shared(GUESS, k, n), 2)], ["fewest hits that reject", needed > n ? "none" : String(needed)]],
      says: `If the model never saw the signature, ${hits} in ${queries} ${k === n && n === 1 ? "has" : "have"} probability ${words}: at level ${raised(LINE)} the test ${reject ? "rejects" : "does not reject"}.` +
        (needed > n ? ` No number of hits in ${n === 1 ? "one query" : `${n} queries`} would be enough.` : ` It rejects from ${needed} hit${needed === 1 ? "" : "s"} on.`),
    };
  };

  return {
    pure: { pmf, tail, critical, shared },
    figure: {
      start: { n: 10, get k() { return (asked = 3); }, lp: -4 },
      knobs: [
        { key: "n", label: "Queries n", min: 1, max: most, step: 1, text: String },
        { key: "k", label: "Hits k", min: 0, max: ({ n }) => n, step: 1, text: String },
        { key: "lp", label: "p\u2080", min: -12, max: -0.1, step: 0.1, text: (v) => (v > -3 ? (10 ** v).toPrecision(2) : written(v)) },
      ],
      caption: "The distribution of hits under the null hypothesis, on a log scale, if hits are independent; computed in this page. Red: k hits or more, whose sum is the p-value of formula 3. Bound 5 holds without independence, for one signature of five letters.",
      draw,
    },
  };
});
