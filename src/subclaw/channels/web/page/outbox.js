// What the person says, on its way out: one at a time, in order, each tried again under the same id until it is taken.

const TRIES = 7;
const LONGEST_WAIT_MS = 15_000;
const ANSWER_MS = 20_000;
const AGAIN = { error: "Not sent." };

// A random UUID. crypto.randomUUID would do, but is missing where the page came by plain http.
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

// Messages that are not yet seen in the conversation are kept for this tab, so that a reload loses none.
function store(key) {
  return {
    load() {
      try {
        return JSON.parse(sessionStorage.getItem(key)) ?? [];
      } catch {
        return [];
      }
    },
    save(items) {
      try {
        sessionStorage.setItem(key, JSON.stringify(items));
      } catch {
        // Full or forbidden: then a reload forgets, and nothing else changes.
      }
    },
  };
}

async function post({ id, text }) {
  const response = await fetch("/chat/messages", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ id, text }),
    signal: AbortSignal.timeout(ANSWER_MS),
  });
  if (response.ok) return { state: "sent" };
  if (response.status >= 500 || response.status === 429) {
    return { state: "later", wait: 1000 * (Number(response.headers.get("Retry-After")) || 0) };
  }
  const { error } = await response.json().catch(() => AGAIN);
  return { state: "refused", words: error };
}

// Ends after the time, or as soon as the browser is online again.
function pause(milliseconds) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      window.removeEventListener("online", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    window.addEventListener("online", end);
  });
}

// `onState(item, state, words)` gets "waiting" (will be tried again), "sent", "refused" (with words) and "failed".
export function openOutbox({ chat, onState }) {
  const kept = store(`subclaw-outbox-${chat}`);
  let items = kept.load();
  const queue = [];
  let running = false;

  async function deliver(item) {
    for (let tries = 0; tries < TRIES; tries++) {
      const outcome = await post(item).catch(() => ({ state: "later" }));
      if (outcome.state !== "later") return outcome;
      onState(item, "waiting");
      await pause(Math.min(LONGEST_WAIT_MS, Math.max(outcome.wait ?? 0, 1000 * 2 ** tries)));
    }
    return { state: "failed", words: "Not sent." };
  }

  async function run() {
    if (running) return;
    running = true;
    for (let item = queue.shift(); item; item = queue.shift()) {
      const { state, words } = await deliver(item);
      onState(item, state, words);
      // Whoever waits behind one that could not go out would not come through either.
      if (state === "failed") for (const other of queue.splice(0)) onState(other, state, words);
    }
    running = false;
  }

  function queueUp(item) {
    queue.push(item);
    run();
  }

  return {
    pending: () => [...items],
    send(item) {
      items.push(item);
      kept.save(items);
      queueUp(item);
    },
    again: queueUp,
    // The conversation has it, or the person took it back.
    forget(id) {
      items = items.filter((item) => item.id !== id);
      kept.save(items);
    },
  };
}
