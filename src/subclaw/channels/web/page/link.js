// "Continue on your phone": a dialog with the person's own link, which is asked for only when it is wanted.

const byId = (id) => document.getElementById(id);

function isLocal(url) {
  const { hostname } = new URL(url);
  return hostname === "localhost" || hostname.endsWith(".localhost") || hostname === "[::1]" || hostname.startsWith("127.");
}

async function ask() {
  const headers = { "Content-Type": "application/json" };
  const response = await fetch("/chat/link", { method: "POST", headers, body: "{}", signal: AbortSignal.timeout(10_000) });
  if (!response.ok) throw new Error(`status ${response.status}`);
  return (await response.json()).url;
}

async function copy(box, button) {
  box.select();
  try {
    await navigator.clipboard.writeText(box.value);
  } catch {
    // Without https there is no clipboard; the link is selected, and can be copied by hand.
    button.textContent = "Press Ctrl+C";
    return;
  }
  button.textContent = "Copied";
}

export function openLink() {
  const dialog = byId("link");
  const box = byId("link-url");
  const share = byId("link-share");
  const copying = byId("link-copy");

  byId("phone").addEventListener("click", async () => {
    copying.textContent = "Copy link";
    box.value = "";
    dialog.showModal();
    try {
      box.value = await ask();
      byId("link-local").hidden = !isLocal(box.value);
      share.hidden = !navigator.share;
    } catch {
      box.value = "No connection just now. Please try again.";
    }
  });
  copying.addEventListener("click", () => copy(box, copying));
  share.addEventListener("click", () => navigator.share({ url: box.value }).catch(() => {}));
  // A click beside the dialog closes it.
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}
