// The search page: sections of pages, best first. A word in a page's title counts most, then one in a section's heading, then
// how often it stands in the text. Words are compared by their stems, so "prune" finds "pruning". Works from disk.
(() => {
  "use strict";
  const box = document.getElementById("search-results");
  const asked = new URLSearchParams(location.search).get("q") || "";
  for (const input of document.querySelectorAll("input[name=q]")) input.value = asked;
  const stem = (word) => word.length > 4 ? word.replace(/(?:ations?|ing|ies|ed|es|e|s)$/, "") : word;
  const terms = [...new Set((asked.toLowerCase().match(/[\p{L}\p{N}]+/gu) || []).map(stem))];
  const make = (name, text, kind) => Object.assign(document.createElement(name), { textContent: text || "", className: kind || "" });
  if (!terms.length) return void box.replaceChildren(make("p", "Type a word above: titles, sections and kernels are searched."));

  const at = terms.map((term) => new RegExp(`(?<![\\p{L}\\p{N}])${term}`, "giu"));
  const count = (text) => at.map((one) => (text.match(one) || []).length);
  const found = [];
  for (const [page, title, sections] of window.workingsSections) {
    const inTitle = count(title);
    sections.forEach(([id, heading, text], place) => {
      const inHeading = count(heading), inText = count(text);
      const all = terms.every((_, i) => inTitle[i] + inHeading[i] + inText[i]);
      if (!all || (place > 0 && !terms.some((_, i) => inHeading[i] + inText[i]))) return;
      const exact = heading.toLowerCase() === asked.trim().toLowerCase();
      const score = terms.reduce((sum, _, i) =>
        sum + 12 * Math.min(1, inHeading[i]) + (place ? 2 : 12) * Math.min(1, inTitle[i]) + (6 * inText[i]) / (inText[i] + 3), exact ? 20 : 0)
        // a chapter teaches what a list or a table only names
        + (page.startsWith("notebooks/") ? 3 : 0) - (/bibliography|benchmarks|ledger/.test(page) ? 4 : 0);
      found.push({ page, title, id: place ? id : "", heading, text, score });
    });
  }
  found.sort((a, b) => b.score - a.score);

  const marked = (text) => {
    const node = document.createElement("span"), any = new RegExp(at.map((one) => `${one.source}[\\p{L}\\p{N}]*`).join("|"), "giu");
    let from = 0;
    for (const hit of text.matchAll(any)) {
      node.append(text.slice(from, hit.index), make("mark", hit[0]));
      from = hit.index + hit[0].length;
    }
    node.append(text.slice(from));
    return node;
  };
  const excerpt = (text) => {
    const first = Math.min(...at.map((one) => { const i = text.search(one); return i < 0 ? Infinity : i; }));
    if (first === Infinity) return text.slice(0, 160) + (text.length > 160 ? " …" : "");
    const from = first < 80 ? 0 : text.indexOf(" ", first - 80) + 1;
    return (from ? "… " : "") + text.slice(from, text.indexOf(" ", from + 180) < 0 ? undefined : text.indexOf(" ", from + 180)) + (text.length > from + 180 ? " …" : "");
  };

  const list = make("ul", "", "wk-found");
  let shown = 0;
  const more = make("button", "Show more", "wk-more");
  more.type = "button";
  const show = () => {
    for (const one of found.slice(shown, shown + 20)) {
      const item = make("li"), link = make("a");
      link.href = one.page + (one.id ? `#${one.id}` : "");
      link.append(marked(one.id ? one.heading : one.title));
      item.append(link);
      if (one.id) item.append(make("div", one.title, "wk-of"));
      const text = make("p");
      text.append(marked(excerpt(one.text)));
      item.append(text);
      list.append(item);
    }
    shown += 20;
    more.hidden = shown >= found.length;
  };
  more.addEventListener("click", show);
  show();
  const said = make("p", found.length ? `${found.length} section${found.length > 1 ? "s" : ""} with “${asked}”` : `Nothing is called “${asked}”. Try a shorter word, or one of the chapter titles at the side.`);
  said.setAttribute("role", "status");
  box.replaceChildren(said, list, more);
})();
