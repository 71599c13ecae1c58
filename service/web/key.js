// The API key: entered once, kept for this tab only (sessionStorage), sent in a header only.

import { asked, find } from "./elements.js";

const PLACE = "metagait-key";

export const headers = () => {
  const key = sessionStorage.getItem(PLACE);
  return key ? { Authorization: `Bearer ${key}` } : {};
};

export const hasKey = () => sessionStorage.getItem(PLACE) !== null;

let asking = null;

// Asks for a key, once however many calls want one; answers whether there is a new one to try.
export function askForKey() {
  asking ??= ask().finally(() => (asking = null));
  return asking;
}

async function ask() {
  const field = find("key-field");
  field.value = sessionStorage.getItem(PLACE) ?? "";
  const answer = await asked(find("key-dialog"));
  const key = field.value.trim();
  field.value = "";
  if (answer === "forget") sessionStorage.removeItem(PLACE);
  if (answer !== "use" || !key) return false;
  sessionStorage.setItem(PLACE, key);
  return true;
}

// Enter in the field means "use", not the first button.
export function wireKey(onChange) {
  find("key-field").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    find("key-dialog").close("use");
  });
  find("key").addEventListener("click", async () => {
    await askForKey();
    onChange();
  });
}
