// Figures that renew themselves: the page is asked for again, and what is new takes the place of what is old.
// XMLHttpRequest parses the answer as a document whose scripts do not run, so no text is ever made into HTML here.

const EVERY_MS = 5_000;
const TIME_LIMIT_MS = 10_000;

const lost = document.getElementById("lost");

function ask() {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.timeout = TIME_LIMIT_MS;
    request.onload = () => resolve(request);
    request.onerror = request.ontimeout = () => reject(new Error("no answer"));
    request.send();
  });
}

// Somebody who is about to press a button or has selected a text keeps what they see.
function inUse(live) {
  return live.contains(document.activeElement) || !document.getSelection().isCollapsed;
}

async function renew() {
  const live = document.querySelector("[data-live]");
  if (document.hidden || inUse(live)) return;
  try {
    const { status, response } = await ask();
    if (status === 401) return location.reload();
    const fresh = response?.querySelector("[data-live]");
    lost.hidden = status === 200 && Boolean(fresh);
    if (lost.hidden && !inUse(live)) live.replaceWith(document.adoptNode(fresh));
  } catch {
    lost.hidden = false;
  }
}

async function keepRenewing() {
  await renew();
  setTimeout(keepRenewing, EVERY_MS);
}

if (document.querySelector("[data-live]")) {
  setTimeout(keepRenewing, EVERY_MS);
  document.addEventListener("visibilitychange", renew);
}
