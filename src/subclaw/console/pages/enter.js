// The link's key is in the fragment, which no server sees: take it out of the address and hand it in by the form.

const key = location.hash.slice(1);

if (key) {
  history.replaceState(null, "", location.pathname);
  document.getElementById("key").value = key;
  document.getElementById("enter").requestSubmit();
} else {
  document.getElementById("key").focus();
}
