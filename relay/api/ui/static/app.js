// What only a script can do, and no page needs: hold still while nobody looks, say when the relay is away, tick all.
(() => {
  "use strict";
  const by = (id) => document.getElementById(id);
  const offline = (away) => {
    const note = by("offline");
    if (note) note.hidden = !away;
  };
  const verdict = () => by("verdict")?.textContent ?? "";
  let known = verdict();

  document.documentElement.classList.add("scripted");
  for (const each of document.querySelectorAll(".needs-script")) each.hidden = false;

  // What is being read, or copied, is not replaced; nor is anything while the page is not seen.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden || document.getSelection()?.toString()) event.preventDefault();
  });
  document.addEventListener("htmx:sendError", () => offline(true));
  document.addEventListener("htmx:timeout", () => offline(true));
  document.addEventListener("htmx:responseError", (event) => {
    const { status } = event.detail.xhr;
    if (status >= 500) offline(true);
    else if (status !== 401) location.reload(); // gone, or not for this visitor any more: the page says so
  });
  document.addEventListener("htmx:afterOnLoad", (event) => {
    if (event.detail.successful) offline(false);
  });
  document.addEventListener("htmx:afterSwap", () => {
    if (verdict() !== known) by("said").textContent = known = verdict();
  });

  by("tick-all")?.addEventListener("change", (event) => {
    for (const box of document.querySelectorAll('input[name="id"]')) box.checked = event.target.checked;
  });
  by("secret")?.addEventListener("focus", (event) => event.target.select());
  document.querySelector(".top [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  by("notice")?.focus({ preventScroll: true });
})();
