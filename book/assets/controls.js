// All pictures of a control are fetched when the control comes near, so that its slider answers at once.
for (const box of document.querySelectorAll(".wk-control")) {
  new IntersectionObserver((seen, watch) => {
    if (!seen.some((entry) => entry.isIntersecting)) return;
    watch.disconnect();
    for (const frame of box.querySelectorAll("img")) frame.loading = "eager";
  }, { rootMargin: "1000px" }).observe(box);
}

// Buttons that copy a cell have a picture only; here is their name.
addEventListener("load", () => {
  for (const button of document.querySelectorAll(".copybtn")) button.ariaLabel = "Copy this code";
});
