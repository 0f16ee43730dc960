// The ledger page (not the ledger at a chapter's end) can be filtered by part and by verdict. The choice stands in the address, so that it can be sent.
(() => {
  "use strict";
  const tables = [...document.querySelectorAll("#the-ledger section table")].map((table) => {
    const section = table.closest("section");
    return { section, part: section.id, name: section.querySelector("h2").firstChild.textContent.trim() };
  });
  if (!tables.length) return;
  const rows = tables.flatMap(({ section, part }) =>
    [...section.querySelectorAll("tbody tr")].map((row) => ({
      row, part, verdict: row.cells[1].textContent.trim().replace(/^\W+/, ""),
    })));
  const tally = (key) => rows.reduce((sum, row) => sum.set(row[key], (sum.get(row[key]) || 0) + 1), new Map());
  const names = new Map(tables.map(({ part, name }) => [part, name]));

  const form = document.createElement("form");
  form.className = "wk-filter";
  const select = (key, label, all) => {
    const box = document.createElement("label");
    const list = document.createElement("select");
    list.name = key;
    list.append(new Option(`${all} (${rows.length})`, ""));
    for (const [value, count] of tally(key)) list.append(new Option(`${names.get(value) || value} (${count})`, value));
    box.append(`${label} `, list);
    form.append(box);
    return list;
  };
  const part = select("part", "Part", "all");
  const verdict = select("verdict", "Verdict", "all");
  const said = document.createElement("output");
  said.setAttribute("aria-live", "polite");
  form.append(said);
  tables[0].section.before(form);

  const show = () => {
    let left = 0;
    for (const one of rows) {
      one.row.hidden = (part.value && one.part !== part.value) || (verdict.value && one.verdict !== verdict.value);
      left += !one.row.hidden;
    }
    for (const { section } of tables) section.hidden = !section.querySelector("tbody tr:not([hidden])");
    said.textContent = `${left} of ${rows.length} claims`;
  };
  const read = () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    for (const list of [part, verdict]) {
      const value = asked.get(list.name) || "";
      list.value = [...list.options].some((option) => option.value === value) ? value : "";
    }
    show();
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    const asked = new URLSearchParams();
    for (const list of [part, verdict]) if (list.value) asked.set(list.name, list.value);
    history.replaceState(null, "", `#${asked}`);
    show();
  });
  addEventListener("hashchange", read);
  read();
})();
