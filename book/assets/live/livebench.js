// Between a model and its number: memory (chapters/livebench/demo.py) and the rule that finds an answer in free text, official beside
// strict (language_models/{answer_extraction,grading_reasoning}.py).
workingsLive.add("livebench", ({ range, fixed }) => {
  const WORDS = ["yes", "no", "unknown"], TRIPLES = WORDS.flatMap((a) => WORDS.flatMap((b) => WORDS.map((c) => [a, b, c].join(", "))));
  const NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty".split(" ");
  const matches = (text, pattern) => [...text.matchAll(pattern)].map((found) => found[1]);
  const last = (list) => list[list.length - 1], without = (text, ...parts) => parts.reduce((left, part) => left.split(part).join(""), text);
  const share = (right, total) => (Number(right === total) + right / total) / 2; // half for all, half for the share

  // Where an answer may stand.
  const thought = (text, unclosed) => { const left = text.replace(/<think>[^]*?<\/think>/g, ""); return unclosed ? left.split("<think>")[0] : left; };
  const officialTags = (text) => [/<solution>([^\n]*?)<\/solution>/g, /<\/solution>([^\n]*?)<\/solution>/g].map((one) => matches(text, one)).find((found) => found.length) || [];
  const closing = (text) => { // where the first brace that opens is closed
    let depth = 0;
    for (const brace of text.matchAll(/[{}]/g)) if (!(depth += brace[0] === "{" ? 1 : -1) && brace[0] === "}") return brace.index;
    return -1;
  };
  const afterBox = (text) => ["\\boxed", "\\fbox"].filter((name) => text.includes(name)).map((name) => text.slice(text.lastIndexOf(name) + name.length))[0];
  const lastBoxed = (text) => {
    if (text.includes("\\boxed ")) return last(text.split("\\boxed ")).split("$")[0];
    const rest = afterBox(text), end = rest && rest.startsWith("{") ? closing(rest) : -1;
    return end < 0 ? null : without(rest.slice(1, end), "$");
  };
  const FAILS = "official program fails: no brace follows \\boxed at once";
  const officialBox = (text) => {
    const found = lastBoxed(text);
    if (found === null && afterBox(text) !== undefined && !afterBox(text).startsWith("{") && closing(afterBox(text)) >= 0) throw FAILS;
    return found;
  };
  const unwrapped = (text) => without(text, "**", "$").replace(/\\text(?:bf|it|rm)?\{([^{}]*)\}/g, "$1").trim().replace(/\.$/, "").trim();
  const finalAnswer = (text) => { // ours: the last tag, else the last box, else the last bold span, else the last line
    const tags = matches(text, /<solution>([^]*?)<\/solution>/gi), boxed = lastBoxed(text);
    if (tags.length) return [unwrapped(last(tags)), "tag"];
    if (boxed !== null) return [unwrapped(boxed), "box"];
    const bold = matches(text, /\*{2,3}([^*\n]+)\*{2,3}/g).map((span) => span.trim()).filter((span) => span && !span.endsWith(":"));
    if (bold.length) return [unwrapped(last(bold)), "bold"];
    const line = last(text.trim().split(/[\n\r\v\f\u2028\u2029]/)).trim(), found = line.match(/\banswer\s*(?:is)?\s*[:=]?\s*(.*)$/i);
    return line ? [unwrapped((found && found[1]) || line), "last line"] : ["", "text"];
  };
  const canonical = (text) => text.normalize("NFKC").toLowerCase().replace(/-/g, " ").split(/\s+/).filter(Boolean).join(" ").replace(/^[ .,;:!"']+|[ .,;:!"']+$/g, "");
  const normalised = (item) => { const text = canonical(item.split("position").join(" ")), at = NUMBERS.indexOf(text); return at < 0 ? text : String(at); };

  // Frame around a rule: think blocks go, an empty answer and an official program that fails score 0. Gives [score, rule, what it looked at].
  const graded = (rule) => (truth, answer, rules, strict) => {
    const text = thought(answer, strict);
    if (!text.trim()) return [0, "empty answer", ""];
    try { return rule(truth, text, rules, strict); } catch (error) { if (error !== FAILS) throw error; return [0, error, ""]; }
  };
  const lies = graded((truth, answer, rules, strict) => {
    const wanted = truth.toLowerCase(), parts = wanted.split(",").map((part) => part.trim()), later = rules >= "2025-04-02";
    if (strict) {
      const [found, place] = finalAnswer(answer), said = matches(found.toLowerCase(), /(?<![\p{L}\p{N}_])(yes|no|unknown)(?![\p{L}\p{N}_])/gu);
      return [Number(said.join() === parts.join()), `strict: words of the ${place}`, found];
    }
    let parsed = null, rule = "nothing found";
    const tags = later ? matches(answer, /<solution>([^\n]*?)<\/solution>/g) : officialTags(answer);
    if (tags.length) [parsed, rule] = [last(tags), "tag"];
    const bold = parsed === null && !later ? matches(answer, /\*\*([^\n]*?)\*\*/g).flatMap((span) => span.split(/\s+/)) : [];
    const words = bold.map((word) => without(word.toLowerCase(), ",", ".")).filter((word) => WORDS.includes(word));
    if (words.length) [parsed, rule] = [words.slice(-3).join(", "), "bold words"];
    const boxed = parsed === null || !parsed.trim() ? officialBox(answer.split("\\textbf{").join("\\boxed{")) : null;
    if (boxed !== null) [parsed, rule] = [later ? without(boxed, "\\text{", "}") : boxed, "box"];
    const ends = TRIPLES.map((triple) => (parsed === null ? answer.toLowerCase().indexOf(triple) : -1)), place = Math.max(...ends);
    if (place >= 0) [parsed, rule] = [TRIPLES[ends.indexOf(place)], "latest triple in the text"];
    if (!parsed) return [0, rule, ""];
    if (later) {
      const said = parsed.split(","), right = wanted.split(",").filter((one, i) => one === said[i]).length;
      return [share(right, parts.length), `${rule}, split at commas`, parsed];
    }
    if (parsed === wanted) return [1, `${rule}, equal`, parsed];
    const held = WORDS.reduce((sum, word) => sum + parsed.split(word).length - 1, 0) === 3 && parsed.includes(wanted);
    return [Number(held), `${rule}, ${held ? "holds the truth" : "another text"}`, parsed];
  });
  const zebra = graded((truth, answer, rules, strict) => {
    const wanted = truth.split(",");
    if (strict) {
      const [found, place] = finalAnswer(answer), said = found.split(",").map(normalised), ours = wanted.map(normalised);
      const right = said.length === ours.length ? ours.filter((one, i) => one === said[i]).length : 0;
      return [ours.length > 1 ? share(right, ours.length) : Number(right === 1), `strict: items of the ${place}`, found];
    }
    if (rules < "2024-11-25") {
      const spans = matches(answer, /\*\*\*([\p{L}\p{N}_]+)\*\*\*/gu), word = last(spans.length ? spans : matches(answer, /([\p{L}\p{N}_]+)/gu));
      if (word === undefined) return [0, "no word", ""];
      const said = word.toLowerCase(), target = truth.toLowerCase(), spelled = /^[1-9]$/.test(word) ? NUMBERS[word] : null;
      return [Number(said === target || spelled === target || `${said} movies` === target), spans.length ? "bold word" : "last word", word];
    }
    let found = officialTags(answer), rule = "tag";
    const boxed = found.length ? null : officialBox(answer);
    if (boxed !== null) [found, rule] = [[without(boxed, "\\text{", "}", "\\")], "box"];
    const line = last(answer.trim().split("\n"));
    if (!found.length && line.split(",").length === wanted.length) [found, rule] = [[line], "last line"];
    if (!found.length) return [0, "nothing found", ""];
    let said = found.join(",").split(",");
    if (found.length > 1) [said, rule] = [said.slice(-wanted.length), "last items of several tags"];
    const clean = (item) => item.trim().toLowerCase().replace(/-/g, " ");
    const right = wanted.filter((gold, i) => i < said.length && without(clean(said[i]), "position").includes(clean(gold))).length;
    return [share(right, wanted.length), rule, said.join(",")];
  });

  // Expected score of a memoriser at releases 0 to 12: each month every public question leaks with one chance, and the oldest share is replaced.
  const history = (refresh, leak, skill) => {
    let ages = range(120).map(() => 0);
    return range(13).map((month) => {
      if (month) ages = ages.map((age) => age + 1).sort((a, b) => b - a).map((age, i) => (i < Math.round(refresh * 120) ? 0 : age));
      return ages.reduce((sum, age) => sum + skill + (1 - skill) * (1 - (1 - leak) ** age), 0) / 120;
    });
  };

  const TASKS = { lies24: ["lies, 2024", lies, "2024-08-31", "yes, no, yes"], lies25: ["lies, 2025", lies, "2025-05-30", "yes, no, yes"], zebra24: ["zebra, 2024", zebra, "2024-08-31", "cross-stitch"], zebra25: ["zebra, 2025", zebra, "2025-05-30", "1, cat"] };
  const FORMS = (truth) => [...new Set([truth, `The answer is **${truth}**.`, `***${truth}***`, truth.replace(/\b\w/g, (one) => one.toUpperCase()), truth.replace(/, /g, ","), truth.replace(",", ",\n"),
    truth.replace("1", "one"), truth.replace("1", "12"), `\\boxed{${truth}}`, `**${truth}**, so **no** doubt.`, `<think>Say ${truth}? No: `].map((form) => (/[*<\\]/.test(form) ? form : `<solution>${form}</solution>`)))];
  const percent = (v) => `${Math.round(100 * v)}%`, monthly = (v) => `${percent(v)}/month`, SKILL = 0.5;
  const draw = ({ task, text, replaced, leak, slip }) => {
    const [, rule, rules, truth] = TASKS[task], answer = text.slice(0, 5000), official = rule(truth, answer, rules, false), strict = rule(truth, answer, rules, true);
    const months = range(13), tidy = history(replaced, leak, SKILL), [a, b] = [official, strict].map(([score]) => tidy.map((one) => one * (1 - slip + slip * score)));
    const told = ([score, why, seen]) => `${score.toFixed(2)}: ${without(why, "strict: ")}${seen ? `: \u201c${seen.replace(/\s+/g, " ").slice(0, 30)}\u201d` : ""}`, end = (list) => fixed(list[12], 2);
    const beside = (y, below) => (below ? Math.max(y - 0.09, 0.02) : y + 0.03), refused = official[0] + strict[0] === 0;
    return {
      x: { min: 0, max: 12, label: "months after the first release", ticks: range(7).map((i) => [2 * i, String(2 * i)]) }, y: { min: 0, max: 1.02, label: "expected score", ticks: range(5).map((i) => [i / 4, fixed(i / 4, 2)]) },
      marks: [
        { kind: "area", x: [...months, ...[...months].reverse()], y: [...tidy, ...months.map(() => SKILL)], look: "wk-a", name: "memory" },
        { kind: "rule", y: SKILL, look: "wk-ink wk-dots", name: "true skill" },
        { kind: "line", x: months, y: b, look: "wk-a" }, { kind: "text", x: 12, y: beside(b[12], a[12] > b[12]), text: `strict ${end(b)}`, anchor: "end" },
        { kind: "line", x: months, y: a, look: "wk-b wk-dash" }, { kind: "text", x: 12, y: beside(a[12], a[12] <= b[12]), text: `official ${end(a)}`, anchor: "end" },
      ],
      values: [["truth", truth], ["official", told(official)], ["strict", told(strict)]],
      says: (refused ? "Both rules refuse this text; Next form writes another. " : "") + `With this text for ${percent(slip)} of its right answers, a memoriser of skill ${fixed(SKILL, 2)} scores ${end(a)} officially and ${end(b)} strictly after twelve months.`,
    };
  };

  return {
    pure: { lies, zebra, history },
    figure: {
      start: { task: "lies24", text: "<solution>Yes, No, Yes</solution>", replaced: 0.17, leak: 0.15, slip: 0.3 },
      kept: ["text"],
      knobs: [
        { key: "task", label: "Question, rules", options: Object.entries(TASKS).map(([key, [name]]) => [key, name]) },
        { key: "slip", label: "Written so", min: 0, max: 1, step: 0.01, text: percent },
        { key: "replaced", label: "Refresh", min: 0, max: 0.5, step: 0.01, text: monthly },
        { key: "leak", label: "Leak", min: 0.01, max: 0.5, step: 0.01, text: monthly },
        { key: "text", label: "The answer, as the model writes it", rows: 2 },
      ],
      buttons: [{ label: "Next form", press: (state) => { const forms = FORMS(TASKS[state.task][3]); state.text = forms[(forms.indexOf(state.text) + 1) % forms.length]; } }],
      play: { key: "replaced", label: "Replace more" },
      caption: "Both rules grade your text in this page. The curves: a memoriser who writes it in place of a share of its right answers.",
      draw,
    },
  };
});
