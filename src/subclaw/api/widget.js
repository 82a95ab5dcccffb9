// The chat widget. A shop pastes in one line:
//
//   <script src="https://agents.example.com/widget.js" data-token="sct_…" data-title="Support" async></script>
//
// The token is made by the shop's server for the session of the customer who looks at the page. Where it ends before the
// page does, data-token-url names an address of the shop's own that answers {"token": "sct_…"} (it is sent cookies).
// Everything is in a shadow root. The page's content security policy has to allow this host in script-src and in
// connect-src, and nothing else: there are no inline styles, no markup from strings, no frames.
(() => {
  "use strict";

  const script = document.currentScript;
  if (!script || document.querySelector("subclaw-chat")) return;
  const origin = new URL(script.src).origin;
  const options = script.dataset;
  const words = {
    title: options.title || "Chat",
    open: options.open || "Open chat",
    close: options.close || "Close chat",
    label: options.label || "Your message",
    send: options.send || "Send",
    busy: options.busy || "Writing…",
    lost: options.lost || "The chat cannot be reached. It is tried again.",
    over: options.over || "This chat has ended. Reload the page to begin another.",
    failed: options.failed || "That was not sent. Please try again.",
  };

  const STYLE = `
    :host { all: initial; position: fixed; right: 1rem; bottom: 1rem; z-index: 2147483000; color-scheme: light dark;
      font: 16px/1.4 system-ui, sans-serif; --accent: var(--subclaw-accent, #1d4ed8); }
    * { box-sizing: border-box; font: inherit; }
    button { cursor: pointer; border: 0; border-radius: 999px; padding: .7rem 1.1rem; background: var(--accent);
      color: #fff; }
    button:disabled { opacity: .6; cursor: default; }
    :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
    section { display: flex; flex-direction: column; width: min(24rem, calc(100vw - 2rem));
      height: min(34rem, calc(100vh - 2rem)); border: 1px solid #8886; border-radius: 1rem; overflow: hidden;
      background: Canvas; color: CanvasText; box-shadow: 0 .5rem 2rem #0004; }
    [hidden] { display: none !important; }
    header { display: flex; align-items: center; justify-content: space-between; padding: .6rem .6rem .6rem 1rem;
      border-bottom: 1px solid #8886; }
    h2 { margin: 0; font-weight: 600; }
    header button { background: none; color: inherit; padding: .4rem .7rem; }
    .log { flex: 1; overflow-y: auto; padding: 1rem; display: flex; flex-direction: column; gap: .6rem; }
    .log p { margin: 0; padding: .5rem .8rem; border-radius: 1rem; max-width: 85%; white-space: pre-wrap;
      overflow-wrap: anywhere; }
    .reply { align-self: flex-start; background: #8882; }
    .message { align-self: flex-end; background: var(--accent); color: #fff; }
    .reply a { color: inherit; }
    .state { min-height: 1.4em; margin: 0; padding: 0 1rem; font-size: .85rem; }
    form { display: flex; gap: .5rem; padding: .6rem; border-top: 1px solid #8886; }
    textarea { flex: 1; resize: none; height: 2.9rem; padding: .6rem .8rem; border: 1px solid #888;
      border-radius: 1rem; background: Field; color: FieldText; }
    @media (prefers-reduced-motion: no-preference) { .log { scroll-behavior: smooth; } }
  `;

  let token = options.token || "";
  let last = 0;
  let isFollowing = false;
  let retryMs = 2000;

  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };

  const host = make("subclaw-chat");
  const root = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  root.adoptedStyleSheets = [sheet];

  const opener = make("button", { type: "button", "aria-expanded": "false" }, words.open);
  const closer = make("button", { type: "button", "aria-label": words.close }, "✕");
  const log = make("div", { class: "log", role: "log", "aria-live": "polite", "aria-label": words.title, tabindex: "0" });
  const state = make("p", { class: "state", role: "status" });
  const field = make("textarea", { "aria-label": words.label, placeholder: words.label, maxlength: "10000" });
  const sender = make("button", { type: "submit" }, words.send);
  const form = make("form", {}, field, sender);
  const heading = make("h2", { id: "title" }, words.title);
  const panel = make("section", { role: "dialog", "aria-labelledby": "title" });
  panel.append(make("header", {}, heading, closer), log, state, form);
  panel.hidden = true;
  root.append(opener, panel);

  const show = (isOpen) => {
    panel.hidden = !isOpen;
    opener.hidden = isOpen;
    opener.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) {
      field.focus();
      if (!isFollowing) follow();
    } else {
      opener.focus();
    }
  };

  const add = (kind, text, files = []) => {
    const line = make("p", { class: kind }, text);
    for (const file of files) {
      const link = make("a", { href: new URL(file.path, origin).href, target: "_blank", rel: "noopener" }, file.title);
      line.append(text ? "\n" : "", link);
    }
    log.append(line);
    log.scrollTop = log.scrollHeight;
  };

  // What is being said: hidden from screen readers, to which the log reads each reply once, when it is there.
  let said = null;

  const hear = (text) => {
    if (!said) {
      said = make("p", { class: "reply said", "aria-hidden": "true" });
      log.append(said);
    }
    said.textContent += text;
    log.scrollTop = log.scrollHeight;
  };

  const unhear = () => {
    if (said) said.remove();
    said = null;
  };

  // Returns the session that the token is for; what decides is the host, which checks the signature.
  const sessionOf = () => {
    const said = token.slice(4).split(".")[0].replace(/-/g, "+").replace(/_/g, "/");
    return JSON.parse(atob(said)).s;
  };

  const ask = async () => {
    if (!options.tokenUrl) return false;
    const response = await fetch(options.tokenUrl, { method: "POST", credentials: "same-origin" });
    if (!response.ok) return false;
    token = (await response.json()).token;
    return true;
  };

  let asking = null;

  // Asks for another token; once, whoever wants one meanwhile: two might be for two sessions.
  const renew = () => {
    asking ??= ask().finally(() => {
      asking = null;
    });
    return asking;
  };

  // Makes a call with the token, and once more with another one if that has ended.
  const call = async (init) => {
    if (!token && !(await renew())) throw new Ended();
    const send = () =>
      fetch(`${origin}/v1/sessions/${encodeURIComponent(sessionOf())}/events`, {
        ...init,
        credentials: "omit",
        headers: { ...init.headers, Authorization: `Bearer ${token}` },
      });
    let response = await send();
    if (response.status === 401 && (await renew())) response = await send();
    if (response.status === 401 || response.status === 404) throw new Ended();
    return response;
  };

  class Ended extends Error {}

  const happened = (kind, data) => {
    if (kind === "working") {
      state.textContent = data.on ? words.busy : "";
      return;
    }
    if (kind === "reply.delta") return hear(data.text);
    if (kind === "reply.reset") return unhear();
    if (data.id <= last) return;
    last = data.id;
    if (kind === "reply" || kind === "turn.finished") unhear();
    if (kind === "message" || kind === "reply") add(kind, data.text || "", data.files);
  };

  const read = async (body) => {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const fields = new Map(block.split("\n").map((line) => [line.split(": ")[0], line.slice(line.indexOf(": ") + 2)]));
        if (fields.has("retry")) retryMs = Number(fields.get("retry")) || retryMs;
        if (fields.has("data")) happened(fields.get("event"), JSON.parse(fields.get("data")));
      }
    }
  };

  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  const follow = async () => {
    isFollowing = true;
    for (;;) {
      try {
        const response = await call({ headers: { Accept: "text/event-stream", "Last-Event-ID": String(last) } });
        if (response.ok) {
          state.textContent = "";
          await read(response.body);
        } else {
          await pause(1000 * (Number(response.headers.get("Retry-After")) || 2));
        }
      } catch (error) {
        unhear();
        if (error instanceof Ended) {
          state.textContent = words.over;
          field.disabled = sender.disabled = true;
          return;
        }
        state.textContent = words.lost;
      }
      await pause(retryMs);
    }
  };

  let waiting = null; // what is being sent, with its id: sent again, it is taken once

  const say = async () => {
    const text = field.value.trim();
    if (!text || sender.disabled) return;
    if (!waiting || waiting.text !== text) waiting = { text, id: crypto.randomUUID() };
    sender.disabled = true;
    try {
      const headers = { "Content-Type": "application/json" };
      const response = await call({ method: "POST", headers, body: JSON.stringify(waiting) });
      if (response.ok) {
        field.value = "";
        waiting = null;
      } else {
        const problem = await response.json().catch(() => ({}));
        state.textContent = problem.detail || words.failed;
      }
    } catch (error) {
      state.textContent = error instanceof Ended ? words.over : words.failed;
    } finally {
      sender.disabled = false;
      field.focus();
    }
  };

  opener.addEventListener("click", () => show(true));
  closer.addEventListener("click", () => show(false));
  panel.addEventListener("keydown", (event) => {
    if (event.key === "Escape") show(false);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    say();
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      say();
    }
  });

  const mount = () => document.body.append(host);
  if (document.body) mount();
  else addEventListener("DOMContentLoaded", mount);
})();
