// The conversation as it comes: server-sent events, kept open and resumed after the last one seen.

const LONGEST_WAIT_MS = 15_000;
const STALE_MS = 20_000;

// `onItem(kind, item)` gets "person", "agent" and "typing"; `onState("live" | "lost")` tells how the connection is.
export function openFeed({ onItem, onState }) {
  let source = null;
  let after = 0;
  let tries = 0;
  let timer = 0;
  let hiddenSince = 0;

  function close() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  function open() {
    close();
    source = new EventSource(`/chat/events?after=${after}`);
    source.onopen = () => {
      tries = 0;
      onState("live");
    };
    source.onerror = failed;
    for (const kind of ["person", "agent", "typing"]) {
      source.addEventListener(kind, (event) => take(kind, JSON.parse(event.data)));
    }
  }

  function take(kind, item) {
    if (kind !== "typing") {
      if (item.seq <= after) return;
      after = item.seq;
    }
    onItem(kind, item);
  }

  // The browser tries again by itself, with Last-Event-ID, unless it was answered with an error.
  function failed() {
    onState("lost");
    if (source.readyState !== EventSource.CLOSED) return;
    const wait = Math.min(LONGEST_WAIT_MS, 500 * 2 ** tries++);
    timer = setTimeout(open, wait * (0.75 + Math.random() / 2));
  }

  function reopen() {
    tries = 0;
    open();
  }

  // A page that was put away for a while may hold a connection that is dead and does not say so.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) hiddenSince = Date.now();
    else if (Date.now() - hiddenSince > STALE_MS) reopen();
  });
  window.addEventListener("online", reopen);
  window.addEventListener("offline", () => onState("lost"));
  // An open connection would keep the page out of the back/forward cache.
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => event.persisted && reopen());
  open();
  return { reopen };
}
