"use strict";
// Replaces the sections that changed; without it the page stays as it was at load.
(() => {
  const QUIET_MS = 20000; // two heartbeats
  const AGAIN_MS = 5000;
  const REACHED = "summary, .scroll"; // what a keyboard stops at
  const state = document.getElementById("state");
  const shown = {};
  let heard = Date.now();
  let since = "";
  let source = null;

  const clock = () => new Date().toISOString().slice(11, 19);

  function say(kind, text) {
    if (state.className !== "state " + kind) state.className = "state " + kind;
    if (state.textContent !== text) state.textContent = text;
    document.body.classList.toggle("lost", kind === "lost");
  }

  function replace(name, html) {
    const section = document.getElementById("in-" + name);
    if (!section || shown[name] === html) return;
    const open = [...section.querySelectorAll("details")].map((one) => one.open);
    const left = [...section.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
    const reached = [...section.querySelectorAll(REACHED)].indexOf(document.activeElement);
    shown[name] = html;
    section.innerHTML = html;
    section.querySelectorAll("details").forEach((one, i) => { one.open = Boolean(open[i]); });
    section.querySelectorAll(".scroll").forEach((one, i) => { one.scrollLeft = left[i] || 0; });
    if (reached >= 0) section.querySelectorAll(REACHED)[reached]?.focus({ preventScroll: true });
  }

  function hear(event) {
    heard = Date.now();
    since = "";
    say("live", "live");
    if (event.type !== "sections") return;
    for (const [name, html] of Object.entries(JSON.parse(event.data))) replace(name, html);
  }

  function lose() {
    since = since || clock() + " UTC";
    say("lost", "not live since " + since + ", tries again");
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, AGAIN_MS);
  }

  function listen() {
    source = new EventSource("events");
    source.addEventListener("sections", hear);
    source.addEventListener("beat", hear);
    source.onerror = lose;
  }

  setInterval(() => { if (Date.now() - heard > QUIET_MS) lose(); }, 1000);
  listen();
})();
