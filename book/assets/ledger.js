// The ledger page (not the ledger at a chapter's end) can be filtered by part, kind and verdict. The choice stands in the address, so
// that it can be sent; an address that ends in a claim's id opens that claim.
(() => {
  "use strict";
  const claims = [...document.querySelectorAll("#the-ledger details.wk-claim")];
  if (!claims.length) return;
  const named = { part: "Part", kind: "Kind", verdict: "Verdict" };
  const heads = new Map([...document.querySelectorAll("#the-ledger > section[id]")].map((one) => [one.id, one]));
  const words = (key, value) => {
    const head = key === "part" && heads.get(value.replace(/_/g, "-"))?.querySelector("h2");
    return head ? head.firstChild.textContent.trim() : value.replace(/-/g, " ");
  };

  const form = document.createElement("form");
  form.className = "wk-filter";
  const lists = Object.entries(named).map(([key, label]) => {
    const count = claims.reduce((sum, one) => sum.set(one.dataset[key], (sum.get(one.dataset[key]) || 0) + 1), new Map());
    const box = document.createElement("label");
    const list = document.createElement("select");
    list.name = key;
    list.append(new Option(`all (${claims.length})`, ""));
    for (const [value, number] of count) list.append(new Option(`${words(key, value)} (${number})`, value));
    box.append(`${label} `, list);
    form.append(box);
    return list;
  });
  const said = document.createElement("output");
  said.setAttribute("aria-live", "polite");
  form.append(said);
  claims[0].closest("#the-ledger > section").before(form);

  const show = () => {
    for (const one of claims) one.hidden = lists.some((list) => list.value && one.dataset[list.name] !== list.value);
    for (const section of document.querySelectorAll("#the-ledger section:has(details.wk-claim)")) {
      section.hidden = !section.querySelector("details.wk-claim:not([hidden])");
    }
    said.textContent = `${claims.filter((one) => !one.hidden).length} of ${claims.length} claims`;
  };
  const read = () => {
    const hash = location.hash.slice(1);
    const asked = new URLSearchParams(hash);
    for (const list of lists) {
      const value = asked.get(list.name) || "";
      list.value = [...list.options].some((option) => option.value === value) ? value : "";
    }
    show();
    const goal = claims.find((one) => one.id === hash);
    if (goal) {
      goal.open = true;
      goal.scrollIntoView();
    }
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    const asked = new URLSearchParams();
    for (const list of lists) if (list.value) asked.set(list.name, list.value);
    history.replaceState(null, "", `#${asked}`);
    show();
  });
  addEventListener("hashchange", read);
  read();
})();
