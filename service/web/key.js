// The API key: entered once, kept for this tab only (sessionStorage), sent in a header only.

import { asked, find } from "./elements.js";

const PLACE = "metagait-key";

const stored = () => sessionStorage.getItem(PLACE);
let dismissed = 0;
let asking = null;
let onChange = () => {};

export const headers = () => {
  const key = stored();
  return key ? { Authorization: `Bearer ${key}` } : {};
};

// With what key a call is made, and how often nobody wanted to give another by then.
export const moment = () => ({ key: stored(), dismissed });

// Asks for a key after a call of `since` was refused, once however many calls want one; answers
// whether there is a new one to try.
export function askForKey(since, why) {
  if (stored() !== since.key) return true;
  if (dismissed !== since.dismissed) return false;
  asking ??= ask(why).finally(() => (asking = null));
  return asking;
}

async function ask(why = "") {
  const field = find("key-field");
  find("key-why").textContent = why;
  field.value = stored() ?? "";
  const answering = asked(find("key-dialog"));
  field.select();
  const answer = await answering;
  const key = field.value.trim();
  field.value = "";
  if (answer === "forget") forget();
  if (answer === "use" && key) return use(key);
  dismissed++;
  return false;
}

function use(key) {
  const isNew = key !== stored();
  sessionStorage.setItem(PLACE, key);
  mark();
  if (isNew) onChange();
  return true;
}

// What was seen with a key goes with it.
function forget() {
  sessionStorage.removeItem(PLACE);
  location.reload();
}

const mark = () => find("key").classList.toggle("set", stored() !== null);

export function wireKey(changed) {
  onChange = changed;
  mark();
  find("key").addEventListener("click", () => askForKey(moment()));
  // Enter in the field means "use", not the first button.
  find("key-field").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    event.target.form.requestSubmit(find("key-use"));
  });
}
