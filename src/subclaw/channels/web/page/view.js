// The page's elements. Everything that people or agents say gets in as text nodes, never as markup.

import { pieces } from "./text.js";

const NEAR_END_PX = 80;
const SAME_TIME_MS = 5 * 60_000;
const PICTURES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);
const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const byId = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function words(text) {
  return pieces(text).map(({ text, href }) =>
    href ? element("a", { href, target: "_blank", rel: "noopener", dir: "ltr", textContent: text }) : text,
  );
}

// A file that the agent sends: a picture, or its name and size. Both lead to the file; `onload` hears that one is there.
function fileLink({ title, url, type, size_bytes }, onload) {
  const link = element("a", { className: "file", href: url, target: "_blank", rel: "noopener", dir: "auto" });
  const name = () => link.replaceChildren(title, element("span", { textContent: size(size_bytes) }));
  if (!PICTURES.has(type)) name();
  else link.append(element("img", { alt: title, onload, onerror: name, src: url }));
  return link;
}

function size(bytes) {
  if (bytes < 1_000) return `${bytes} bytes`;
  return bytes < 1_000_000 ? `${Math.round(bytes / 1_000)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}

function dayName(date) {
  const today = new Date();
  const yesterday = new Date(today.getFullYear(), today.getMonth(), today.getDate() - 1);
  if (date.toDateString() === today.toDateString()) return "Today";
  return date.toDateString() === yesterday.toDateString() ? "Yesterday" : calendar.format(date);
}

// The list of messages. `said` adds one; `mark` changes the state of one of the person's own.
export function openLog() {
  const log = byId("log");
  const scroll = followEnd();
  let day = "";

  // While the backlog comes in, what waits to be sent stays behind it.
  function place(node) {
    const unsent = log.ariaBusy === "true" ? log.querySelector('[data-state]:not([data-state="sent"])') : null;
    log.insertBefore(node, unsent);
  }

  function separate(at) {
    if (at.toDateString() === day) return;
    day = at.toDateString();
    place(element("div", { className: "day", textContent: dayName(at) }));
  }

  // One time for messages that follow closely is enough.
  function follow(message, at) {
    const before = message.previousElementSibling;
    if (before?.matches(".message") && at - new Date(before.querySelector("time").dateTime) < SAME_TIME_MS) {
      before.classList.add("followed");
    }
  }

  function said({ who, text, at, id, files = [] }) {
    separate(at);
    const bubbles = text ? [element("div", { className: "bubble", dir: "auto" }, ...words(text))] : [];
    const message = element(
      "article",
      { className: `message ${who}` },
      element("span", { className: "unseen", textContent: who === "person" ? "You said: " : "Agent said: " }),
      ...bubbles,
      ...files.map((file) => fileLink(file, () => scroll.added(false))),
      element("time", { dateTime: at.toISOString(), textContent: clock.format(at) }),
    );
    if (id) message.dataset.id = id;
    place(message);
    follow(message, at);
    scroll.added(who === "person" && log.ariaBusy !== "true");
    return message;
  }

  const find = (id) => [...log.querySelectorAll(".message.person")].findLast((message) => message.dataset.id === id);

  function mark(id, state, note = "", actions = []) {
    const message = find(id);
    if (!message) return;
    message.dataset.state = state;
    message.querySelector(".note")?.remove();
    if (!note) return;
    const buttons = actions.map(([label, act]) => element("button", { type: "button", textContent: label, onclick: act }));
    message.append(element("p", { className: "note", role: "status" }, note, ...buttons));
    scroll.added(false);
  }

  function reword(id, text) {
    const bubble = find(id)?.querySelector(".bubble");
    if (bubble && bubble.textContent !== text) bubble.replaceChildren(...words(text));
  }

  function remove(id) {
    find(id)?.remove();
  }

  const ready = () => (log.ariaBusy = "false");
  return { said, mark, reword, remove, ready, has: (id) => Boolean(find(id)), isEmpty: () => !log.querySelector(".message"), scroll };
}

// Keeps the end in view, unless the reader has scrolled away from it; then a button leads back.
function followEnd() {
  const scroller = byId("scroller");
  const latest = byId("latest");
  let atEnd = true;

  function toEnd() {
    if (!byId("greeting").hidden) return; // What this is begins at its beginning.
    scroller.scrollTop = scroller.scrollHeight;
    atEnd = true;
    latest.hidden = true;
  }

  function added(always) {
    if (always || atEnd) toEnd();
    else latest.hidden = false;
  }

  scroller.addEventListener("scroll", () => {
    atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END_PX;
    if (atEnd) latest.hidden = true;
  });
  latest.addEventListener("click", toEnd);
  // The keyboard, a rotation and a growing message box change what is visible.
  new ResizeObserver(() => atEnd && toEnd()).observe(scroller);
  return { added };
}

export function showTyping(on, scroll) {
  byId("typing").hidden = !on;
  byId("activity").textContent = on ? "The agent is working." : "";
  if (on) scroll.added(false);
}

export function showGreeting(on) {
  byId("greeting").hidden = !on;
}

// A short interruption is not worth a word.
export function openConnectionNotice() {
  const notice = byId("connection");
  let timer = 0;
  return (state) => {
    if (state === "live") {
      clearTimeout(timer);
      timer = 0;
      notice.textContent = "";
      return;
    }
    const say = () => {
      notice.textContent = navigator.onLine ? "Connection lost. Reconnecting…" : "You’re offline. I’ll go on when you’re back.";
    };
    timer ||= setTimeout(say, 1500);
  };
}

// The message box: grows with its text; Enter sends, Shift+Enter breaks the line.
export function openComposer({ draftKey, onSend }) {
  const form = byId("composer");
  const box = byId("text");
  const send = byId("send");

  function changed() {
    send.disabled = !box.value.trim();
    box.style.height = "auto";
    box.style.height = `${box.scrollHeight}px`;
    try {
      sessionStorage.setItem(draftKey, box.value);
    } catch {
      // The draft is then not kept over a reload.
    }
  }

  function put(text) {
    box.value = text;
    changed();
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = box.value.trim();
    if (!text) return;
    put("");
    onSend(text);
  });
  box.addEventListener("input", changed);
  box.addEventListener("keydown", (event) => {
    // While an input method composes, Enter chooses a word.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    form.requestSubmit();
  });
  put(sessionStorage.getItem(draftKey) ?? "");
  return {
    edit(text) {
      put(box.value.trim() ? `${text}\n${box.value}` : text);
      box.focus();
    },
  };
}
