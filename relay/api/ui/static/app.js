// What only a script can do, and no page needs: hold still while nobody looks, say when the relay is away, tick all.
(() => {
  "use strict";
  const offline = (away) => {
    const note = document.getElementById("offline");
    if (note) note.hidden = !away;
  };
  document.addEventListener("htmx:beforeRequest", (event) => {
    const busy = document.getSelection()?.toString();
    if (document.hidden || busy) event.preventDefault();
  });
  for (const name of ["htmx:sendError", "htmx:timeout", "htmx:responseError"]) {
    document.addEventListener(name, () => offline(true));
  }
  document.addEventListener("htmx:afterOnLoad", (event) => {
    if (event.detail.successful) offline(false);
  });
  for (const each of document.querySelectorAll(".needs-script")) each.hidden = false;
  document.documentElement.classList.add("scripted");
  document.getElementById("tick-all")?.addEventListener("change", (event) => {
    for (const box of document.querySelectorAll('input[name="id"]')) box.checked = event.target.checked;
  });
  document.getElementById("secret")?.addEventListener("focus", (event) => event.target.select());
  document.querySelector(".top [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  document.getElementById("notice")?.focus({ preventScroll: true });
})();
