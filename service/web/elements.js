// Builds elements. Text is always set as text, so that a subject id can never become markup.

export const find = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// A name within a sentence: one that runs from right to left must not turn the sentence round.
export const named = (name) => element("bdi", { textContent: name });

// Opens a dialog and waits for the value of the button that closes it; "" when it was dismissed.
export function asked(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}

// Whoever had the focus in what goes away finds it at what is there instead.
function withFocus(gone, instead, act) {
  const hadFocus = gone.contains(document.activeElement);
  act();
  if (hadFocus) instead?.focus({ preventScroll: true });
}

export const removeElement = (gone, instead) => withFocus(gone, instead, () => gone.remove());
export const hideElement = (gone, instead) => withFocus(gone, instead, () => (gone.hidden = true));

export const counted = (count, one, many) => `${count} ${count === 1 ? one : many}`;
