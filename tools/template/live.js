// The mean of a sample and its standard error, one value of which the reader moves: lib/workings/{{part}}/{{slug}}.py.
workingsLive.add("{{slug}}", ({ range, fixed }) => {
  const error = (x) => {
    const n = x.length, mean = x.reduce((sum, one) => sum + one, 0) / n;
    return [mean, Math.sqrt(x.reduce((sum, one) => sum + (one - mean) ** 2, 0) / (n * (n - 1)))];
  };
  const draw = ({ n, last }) => {
    const x = [...range(n - 1).map((i) => (n === 2 ? 0 : (2 * i) / (n - 2) - 1)), last], [mean, se] = error(x);
    return {
      x: { min: -10.5, max: 10.5, label: "value" }, y: { min: 0, max: 1, label: "", hide: true },
      marks: [
        { kind: "area", x: [mean - se, mean + se], y: [1, 1], look: "wk-a", name: "mean, one standard error to each side" },
        { kind: "rule", x: mean, look: "wk-a", name: "mean" },
        { kind: "points", x, y: x.map(() => 0.5), look: "wk-ink", name: "the sample" },
        { kind: "points", x: [last], y: [0.5], look: "wk-b", size: 6, name: "the value that you move" },
      ],
      values: [["mean", fixed(mean, 2)], ["standard error", fixed(se, 2)]],
      says: `The mean of ${n} values is ${fixed(mean, 2)}, with a standard error of ${fixed(se, 2)}.`,
    };
  };
  return {
    pure: { error },
    figure: {
      start: { n: 5, last: 2 },
      knobs: [
        { key: "last", label: "One value", min: -10, max: 10, step: 0.5, text: (v) => fixed(v, 1) },
        { key: "n", label: "Sample size n", min: 2, max: 21, step: 1, text: String },
      ],
      play: { key: "last", label: "Move one value" },
      caption: "Mean and standard error, computed in this page: one value that lies far off moves the mean a little and widens the error a lot.",
      draw,
    },
  };
});
