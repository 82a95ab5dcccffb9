// Text as pieces: plain words and links. Pure; nothing here touches the page.

// A link ends at white space, quotes, angle brackets and control or bidirectional characters (an override in the
// middle of an address would show another one than it leads to).
const LINK = /\bhttps?:\/\/[^\s<>"'`\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]+/giu;
const TRAILING = /[.,;:!?*_~’”»)\]}…]$/u;
const OPENING = { ")": "(", "]": "[", "}": "{" };

function count(text, character) {
  return text.split(character).length - 1;
}

// Punctuation at the end belongs to the sentence, but a closing bracket that was opened within the link belongs to it.
function trimmed(link) {
  while (TRAILING.test(link)) {
    const last = link.at(-1);
    const opening = OPENING[last];
    if (opening && count(link, opening) >= count(link, last)) break;
    link = link.slice(0, -1);
  }
  return link;
}

function address(link) {
  try {
    const url = new URL(link);
    return ["http:", "https:"].includes(url.protocol) && url.hostname ? url.href : null;
  } catch {
    return null;
  }
}

// "See https://a.example." -> [{text: "See "}, {text: "https://a.example", href: "https://a.example/"}, {text: "."}]
export function pieces(text) {
  const found = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    const link = trimmed(match[0]);
    const href = address(link);
    if (!href) continue;
    if (match.index > end) found.push({ text: text.slice(end, match.index) });
    found.push({ text: link, href });
    end = match.index + link.length;
  }
  if (end < text.length) found.push({ text: text.slice(end) });
  return found;
}
