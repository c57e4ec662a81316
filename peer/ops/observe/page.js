"use strict";
// Updates the page once a second and at every event. Only what changed is replaced, so that focus, scrolling
// and selection stay.
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
    tell("No answer from this peer since " + lost.toLocaleTimeString() + ". The data below is old.");
  }
  busy = false;
  if (again) { again = false; refresh(); }
}

function show(next) {
  document.title = next.title;
  for (const part of document.querySelectorAll("[data-live]")) {
    const now = next.getElementById(part.id);
    if (now) update(part, now);
  }
  say(next.getElementById("state").textContent.trim());
}

// say has a screen reader say the state when it has changed: not for a number of seconds that goes on, and at most
// once in five seconds. What was said is taken away again, so that nobody reads the state twice.
const pause = 5000;
let said = null, at = -pause, waits = 0;

function say(text) {
  const key = text.replace(/\b(\d+h)?(\d+m)?[\d.]+ ?m?s\b/g, "");
  said ??= key; // at first, the reader reads the page
  clearTimeout(waits);
  if (key === said) return;
  const left = at + pause - performance.now();
  if (left > 0) { waits = setTimeout(say, left, text); return; }
  at = performance.now();
  said = key;
  const spoken = document.getElementById("spoken");
  spoken.textContent = text;
  setTimeout(() => { if (spoken.textContent === text) spoken.textContent = ""; }, pause - 1000);
}

// update makes an element like another. Children that are on both sides, by data-key or else by their place,
// are updated in turn; an element with text of its own is replaced.
function update(old, now) {
  if (old.isEqualNode(now)) return;
  if (old.nodeName !== now.nodeName || !hasElementsOnly(old) || !hasElementsOnly(now)) {
    old.replaceWith(now);
    return;
  }
  if (old.className !== now.className) old.className = now.className;
  const before = within(old), after = within(now);
  for (const [key, element] of before) if (!after.has(key)) element.remove();
  let at = old.firstElementChild;
  for (const [key, element] of after) {
    const same = before.get(key);
    if (same) {
      if (same === at) at = at.nextElementSibling;
      else old.insertBefore(same, at);
      update(same, element);
    } else {
      old.insertBefore(element, at);
    }
  }
}

// hasElementsOnly reports whether an element has child elements, and no text beside them.
function hasElementsOnly(element) {
  return element.childElementCount > 0 &&
    ![...element.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim());
}

// within returns the child elements of an element, in order, by key.
function within(element) {
  return new Map([...element.children].map((e, i) => [e.dataset.key ?? i, e]));
}

function tell(text) {
  const link = document.getElementById("link");
  if (link.textContent !== text) link.textContent = text;
}

new EventSource("events").onmessage = refresh;
setInterval(() => { if (!document.hidden) refresh(); }, 1000);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
