// Walkers who never lived, to try the page with: one button a walk, a group a person.

import * as api from "./api.js";
import { element } from "./elements.js";

function group({ person, walks }, onChoose) {
  const buttons = walks.map(({ file, words }) => {
    const button = element("button", { type: "button", className: "chip", textContent: words });
    button.addEventListener("click", () => onChoose(file, person, words));
    return button;
  });
  const name = element("span", { className: "name", textContent: person });
  return element("div", { className: "sample", role: "group", ariaLabel: person }, name, ...buttons);
}

export async function showSamples(root, onChoose) {
  const { people } = await api.samples();
  root.replaceChildren(...people.map((one) => group(one, onChoose)));
}
