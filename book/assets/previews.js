// Previews of terms, symbols, equations, figures and citations: rest the pointer on such a link, or
// reach it by keyboard. What is on this page is copied; the rest comes from previews-data.js, which
// is loaded at the first need. A touch opens the same as a note at the foot of the window, with a link to go on.
// Without this script links are plain links.
(() => {
  "use strict";
  const home = document.documentElement.dataset.content_root;
  const LINKS = "article a[href]:not(.headerlink)";
  const SAID = ".wk-term, .wk-sym, .wk-cite";
  let tip, owner, timer, wanted, data;

  const load = () => (data ??= new Promise((done) => {
    const script = document.createElement("script");
    script.src = home + "_static/previews-data.js";
    script.onload = script.onerror = () => done(window.workingsPreviews || {});
    document.head.append(script);
  }));

  const make = (name, text, kind) => {
    const node = document.createElement(name);
    node.textContent = text;
    if (kind) node.className = kind;
    return node;
  };

  const said = async (link) => {
    const key = link.matches(".wk-cite")
      ? link.href.replace(/^https?:\/\/(dx\.)?(doi\.org|arxiv\.org\/abs)\//, "")
      : link.hash.slice(1);
    const text = (await load())[key];
    if (!text) return null;
    const [title, rest] = text.split("\n");
    const body = make("p", rest);
    if (title) body.prepend(make("strong", title), document.createElement("br"));
    return body;
  };

  const copied = (link) => {
    if (link.pathname !== location.pathname || !link.hash) return null;
    const goal = document.getElementById(decodeURIComponent(link.hash.slice(1)));
    const part = goal && goal.closest("figure, div.math");
    if (!part) return null;
    const copy = part.cloneNode(true);
    copy.querySelectorAll(".headerlink, .wk-enlarge").forEach((node) => node.remove());
    for (const node of [copy, ...copy.querySelectorAll("*")])
      for (const name of ["id", "tabindex", "href", "loading"]) node.removeAttribute(name);
    return copy;
  };

  const hide = () => {
    clearTimeout(timer);
    wanted = null;
    if (!owner) return;
    owner.removeAttribute("aria-describedby");
    owner = null;
    tip.remove();
    tip.classList.remove("wk-note");
  };

  const place = (link) => {
    const box = link.getClientRects()[0], frame = tip.offsetParent.getBoundingClientRect();
    const size = tip.getBoundingClientRect(), edge = document.documentElement.clientWidth - size.width - 12;
    // Below the link, or above it, or wherever it fits into the window.
    const above = box.bottom + size.height + 8 > innerHeight && box.top > size.height + 8;
    const top = above ? box.top - size.height - 6 : Math.min(box.bottom + 6, innerHeight - size.height - 8);
    tip.style.left = Math.max(12, Math.min(box.left, edge)) - frame.left + "px";
    tip.style.top = Math.max(8, top) - frame.top + "px";
  };

  const show = async (link, touched) => {
    if (owner === link) return;
    hide();
    wanted = link;
    const content = link.matches(SAID) ? await said(link) : copied(link);
    if (!content || wanted !== link) return;
    if (!tip) {
      tip = make("div", "", "wk-tip");
      tip.id = "wk-tip";
      tip.setAttribute("role", "tooltip");
    }
    tip.replaceChildren(content);
    link.closest("main, article").append(tip);
    owner = link;
    link.setAttribute("aria-describedby", "wk-tip");
    if (!touched) return place(link);
    tip.removeAttribute("style");
    tip.classList.add("wk-note");
    const places = { "wk-cite": "Open the paper", "wk-term": "Open the glossary", "wk-sym": "Open the notation" };
    const on = make("a", places[[...link.classList].find((name) => name in places)] || "Go there");
    on.href = link.href;
    tip.append(on);
  };

  const soon = (job, delay) => {
    clearTimeout(timer);
    timer = setTimeout(job, delay);
  };

  addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return;
    const link = event.target.closest(LINKS);
    if (link) soon(() => show(link), 200);
    else if (tip?.contains(event.target)) clearTimeout(timer);
    else if (owner && owner !== document.activeElement) soon(hide, 250);
    else clearTimeout(timer);
  });
  let finger = false;
  addEventListener("pointerdown", (event) => (finger = event.pointerType === "touch"), true);
  addEventListener("click", (event) => {
    const link = event.target.closest(LINKS);
    if (!finger || (tip && tip.contains(event.target))) return;
    if (!link || link === owner) return void (link || hide()); // a second touch of the same link follows it
    if (link.matches(SAID) || copied(link)) {
      event.preventDefault();
      show(link, true);
    } else hide();
  });
  addEventListener("focusin", (event) => {
    if (finger) return;
    if (event.target.matches(LINKS) && event.target.matches(":focus-visible")) show(event.target);
    else hide();
  });
  addEventListener("focusout", () => finger || hide());
  addEventListener("keydown", (event) => event.key === "Escape" && hide());

  // Formulas far from the window would ask for their letters when they are drawn: on paper that is too late.
  addEventListener("load", () => {
    const kinds = new Set([...document.querySelectorAll("[class*='TEX-']")].flatMap((node) => [...node.classList]));
    for (const kind of kinds) if (kind.startsWith("TEX-")) document.fonts.load(`1em MJX${kind}`);
  });

  // Paper is white and cannot be unfolded: light colours and open answers while printing.
  let opened = [], theme;
  addEventListener("beforeprint", () => {
    const page = document.documentElement.dataset;
    hide();
    [theme, page.theme] = [page.theme, "light"];
    opened = [...document.querySelectorAll("details:not([open]):not(.hide)")];
    opened.forEach((fold) => (fold.open = true));
  });
  addEventListener("afterprint", () => {
    document.documentElement.dataset.theme = theme;
    opened.forEach((fold) => (fold.open = false));
  });
})();
