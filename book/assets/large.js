// A figure opens large: by a tap or a click on it, or by the button in its corner. Escape, the button or a tap closes it.
// On a narrow screen the large picture is wider than the window and is moved with a finger.
(() => {
  "use strict";
  const pictures = document.querySelectorAll(".bd-article .cell_output figure img, .bd-article .wk-control .wk-frames");
  if (!pictures.length || !window.HTMLDialogElement) return;
  let dialog;

  const open = (picture) => {
    if (!dialog) {
      dialog = document.createElement("dialog");
      dialog.className = "wk-large";
      dialog.ariaLabel = "The figure, large";
      dialog.innerHTML = '<button type="button" aria-label="Close">\u00d7</button><div tabindex="0"></div>';
      dialog.addEventListener("click", (event) => event.target.closest("button, img") && dialog.close());
      document.querySelector("main, body").append(dialog);
    }
    const copy = picture.cloneNode();
    copy.removeAttribute("id");
    const whole = Number(picture.getAttribute("width")) || picture.naturalWidth;
    // As large as the window allows and the dots suffice; on a phone at least twice as wide as it stands in the text.
    const fits = Math.min(innerWidth - 24, ((innerHeight - 80) * picture.naturalWidth) / picture.naturalHeight, 2 * whole);
    copy.style.cssText = `width: ${Math.round(Math.max(fits, Math.min(1.2 * whole, 2.2 * picture.clientWidth)))}px; max-width: none`;
    dialog.lastChild.replaceChildren(copy);
    dialog.showModal();
  };

  for (const at of pictures) {
    const box = at.closest("figure").matches(".wk-control") ? at : at.closest("figure");
    const picture = () => [...box.querySelectorAll("img")].find((one) => one.offsetParent) || box.querySelector("img");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "wk-enlarge";
    button.ariaLabel = "Show this figure large";
    button.textContent = "\u2922";
    button.addEventListener("click", () => open(picture()));
    box.classList.add("wk-opens");
    box.append(button);
    box.addEventListener("click", (event) => event.target.matches("img") && open(event.target));
  }
})();
