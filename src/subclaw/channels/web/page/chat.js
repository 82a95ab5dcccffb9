// The chat page: what is said goes to the outbox and the log, what comes in goes to the log.

import { openFeed } from "./feed.js";
import { openLink } from "./link.js";
import { newId, openOutbox } from "./outbox.js";
import { openComposer, openConnectionNotice, openLog, showGreeting, showTyping } from "./view.js";

const ECHO_MS = 10_000;
const { chat, title } = document.body.dataset;

const log = openLog();
const composer = openComposer({ draftKey: `subclaw-draft-${chat}`, onSend: say });
const outbox = openOutbox({ chat, onState: progressed });
const connection = openConnectionNotice();
let unread = 0;

function say(text) {
  const item = { id: newId(), text, at: Date.now() };
  showOwn(item);
  outbox.send(item);
}

function showOwn(item) {
  showGreeting(false);
  log.said({ who: "person", text: item.text, at: new Date(item.at), id: item.id });
  log.mark(item.id, "sending");
}

function progressed(item, state, words) {
  if (!outbox.pending().some(({ id }) => id === item.id)) return; // The conversation has shown it meanwhile.
  if (state === "sent") {
    log.mark(item.id, "sent");
    setTimeout(() => missed(item.id), ECHO_MS);
  } else if (state === "waiting") {
    log.mark(item.id, "waiting", "Waiting for a connection…");
  } else if (state === "refused") {
    outbox.forget(item.id);
    log.mark(item.id, "failed", words, [["Edit", () => takeBack(item)]]);
  } else {
    log.mark(item.id, "failed", words, [["Try again", () => again(item)]]);
  }
}

// The message was taken, and the conversation has not shown it: the connection may be dead without knowing.
function missed(id) {
  if (outbox.pending().some((item) => item.id === id)) feed.reopen();
}

function again(item) {
  log.mark(item.id, "sending");
  outbox.again(item);
}

function takeBack(item) {
  log.remove(item.id);
  composer.edit(item.text);
}

function received(kind, item) {
  if (kind === "typing") {
    begun();
    showTyping(item.on, log.scroll);
    return;
  }
  if (kind === "person" && log.has(item.id)) {
    log.mark(item.id, "sent");
    log.reword(item.id, item.text); // Keys were taken out of it before it was stored.
  } else {
    showGreeting(false);
    log.said({ who: kind, text: item.text, at: new Date(item.at), id: item.id, files: item.files });
  }
  if (kind === "person") outbox.forget(item.id);
  else if (document.hidden) document.title = `(${++unread}) ${title}`;
}

// The backlog is complete: what this tab has still to send comes after it.
let isBegun = false;
function begun() {
  if (isBegun) return;
  isBegun = true;
  for (const item of outbox.pending()) {
    if (log.has(item.id)) continue;
    showOwn(item);
    outbox.again(item);
  }
  log.ready();
  showGreeting(log.isEmpty());
}

function connected(state) {
  connection(state);
  if (state === "lost") showTyping(false, log.scroll);
}

const feed = openFeed({ onItem: received, onState: connected });

for (const button of document.querySelectorAll(".suggestions button")) {
  button.addEventListener("click", () => say(button.textContent));
}
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  unread = 0;
  document.title = title;
});
// The keyboard of iOS covers the page instead of making it smaller.
window.visualViewport?.addEventListener("resize", () => {
  if (window.visualViewport.scale !== 1) return;
  document.documentElement.style.setProperty("--height", `${window.visualViewport.height}px`);
  window.scrollTo(0, 0);
});
openLink();
