"use strict";
// Keeps the page as it would be if it were loaded now: once a second, and at every event.
// Only what changed is replaced, so that focus and scrolling stay.
let busy = false, again = false, lost = null;

async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const reply = await fetch("./", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!reply.ok) throw new Error(reply.statusText);
    show(new DOMParser().parseFromString(await reply.text(), "text/html"));
    lost = null;
    tell("");
  } catch {
    lost ??= new Date();
    tell("No answer from this peer since " + lost.toLocaleTimeString() + ". What is below is old.");
  }
  busy = false;
  if (again) { again = false; refresh(); }
}

function show(next) {
  document.title = next.title;
  for (const part of document.querySelectorAll("[data-live]")) {
    const now = next.getElementById(part.id);
    if (!now) continue;
    if (part.className !== now.className) part.className = now.className;
    if (part.innerHTML !== now.innerHTML) part.innerHTML = now.innerHTML;
  }
}

function tell(text) {
  const link = document.getElementById("link");
  if (link.textContent !== text) link.textContent = text;
}

new EventSource("events").onmessage = refresh;
setInterval(() => { if (!document.hidden) refresh(); }, 1000);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
