// Work that a page's scripts would do for the whole page at once is done for what comes near the window, and for all
// of it when the first key is pressed: who walks by keyboard must find every stop. What a reader has folded has no size
// and cannot be asked: it goes on waiting until it is opened.
window.wkNear = (() => {
  const waiting = new Map();
  let keyed = false;
  const folded = (element) => element.checkVisibility?.() === false;
  const ask = (element) => { watch.unobserve(element); waiting.get(element)?.(); waiting.delete(element); };
  // A section that was left out of the layout has the sizes of its stand-in until it is drawn, on a slow machine for more
  // than a frame. One that was scrolled past before it was drawn waits for the next time that it comes near.
  const now = (element, patience = 30) => {
    if (element.checkVisibility?.({ contentVisibilityAuto: true }) !== false) ask(element);
    else if (patience) setTimeout(now, 50, element, patience - 1);
  };
  const watch = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) if (isIntersecting) setTimeout(now, 0, target);
  }, { rootMargin: "1000px" });
  addEventListener("keydown", () => {
    keyed = true;
    for (const element of [...waiting.keys()]) if (!folded(element)) ask(element);
  }, { once: true });
  return (element, work) => {
    if (keyed && !folded(element)) work(); else { waiting.set(element, work); watch.observe(element); }
  };
})();

// All pictures of a control are fetched when the control comes near, so that its slider answers at once. A live figure has
// scripts in their place (live/live.js, and one of the chapter), fetched then, or at once where the address holds its state.
{
  const here = document.currentScript.src, asked = new Set();
  const compute = (slug) => {
    for (const name of ["live", slug]) {
      if (asked.has(name)) continue;
      asked.add(name);
      document.head.append(Object.assign(document.createElement("script"), { src: new URL(`live/${name}.js`, here).href, async: false }));
    }
  };
  for (const box of document.querySelectorAll(".wk-control")) {
    const { live } = box.dataset;
    wkNear(box, live ? () => compute(live) : () => { for (const frame of box.querySelectorAll("img")) frame.loading = "eager"; });
    if (live && new URLSearchParams(location.hash.slice(1)).get("live") === box.id) {
      for (const section of document.querySelectorAll(".bd-article > section > section")) section.style.contentVisibility = "visible";
      compute(live);
    }
  }
}

// The list of a page's sections follows the reader from the first scroll on, where there is room for it.
addEventListener("scroll", () => {
  if (matchMedia("(min-width: 992px)").matches) bootstrap.ScrollSpy.getOrCreateInstance(document.body);
}, { once: true, passive: true });

// Buttons that copy a cell have a picture only; here is their name.
addEventListener("load", () => {
  for (const button of document.querySelectorAll(".copybtn")) button.ariaLabel = "Copy this code";
});

// Sections that were left out of the first layout follow long before they come into sight, so that who scrolls fast meets
// no empty place and nothing moves when it fills.
addEventListener("load", () => {
  const ahead = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      if (isIntersecting) { ahead.unobserve(target); target.style.contentVisibility = "visible"; }
    }
  }, { rootMargin: "4000px" });
  for (const section of document.querySelectorAll(".bd-article > section > section")) ahead.observe(section);
});
