// The gallery: a card a person, page by page. What is erased or enrolled changes its card alone, so
// that whoever works down a long list keeps the place.

import * as api from "./api.js";
import { counted, element, hideElement, removeElement } from "./elements.js";
import { Person } from "./person.js";

export class People {
  #cards = new Map(); // by subject, in the order of the list
  #next = null;
  #turn = 0; // of the list: a page that was asked for before it was read anew is not for it
  #isRead = false;

  constructor({ root, run, ...hands }) {
    Object.assign(this, { root, run, hands });
    this.list = root.querySelector("#people");
    this.more = root.querySelector("#more");
    this.more.addEventListener("click", () => this.run(() => this.#readPage()));
  }

  // Reads the list from its start; what keeps it from being read stands in its place.
  async refresh() {
    const turn = ++this.#turn;
    this.#isRead = false;
    if (!this.#cards.size) this.#say("loading …");
    try {
      await this.#readPage(true);
      this.#isRead = true;
    } catch (error) {
      if (turn !== this.#turn) return;
      this.#clear();
      this.#say(error.message, ...(error.status === 403 ? [] : [this.#again()]));
    }
  }

  // After the service was away: there is a list, or there was none yet.
  async reconnect() {
    await (this.#isRead ? this.#recount() : this.refresh());
  }

  // Makes room for one more walk of somebody.
  async enrolled({ subject, duplicate, gallery }) {
    this.#tell(gallery);
    if (!this.#isRead) return;
    const card = this.#cards.get(subject);
    if (!card) this.#insert(subject);
    else if (!duplicate) await card.grow();
  }

  async #readPage(isFirst = false) {
    const turn = this.#turn;
    const after = isFirst ? null : this.#next;
    const [page, { gallery }] = await Promise.all([api.subjects(after), api.info()]);
    // Nor the page of a second click.
    if (turn !== this.#turn || (!isFirst && after !== this.#next)) return;
    if (isFirst) this.#clear();
    this.#next = page.next;
    for (const { subject, samples } of page.subjects) this.#append(subject, samples);
    this.more.hidden = false;
    const first = this.#cards.get(page.subjects[0]?.subject);
    if (page.next === null) hideElement(this.more, first?.summary);
    this.#showNobody();
    this.#tell(gallery);
  }

  async #recount() {
    this.#tell((await api.info()).gallery);
  }

  #tell({ subjects, samples }) {
    this.root.querySelector("#count").textContent =
      `${counted(subjects, "person", "people")}, ${counted(samples, "walk", "walks")}`;
  }

  #clear() {
    this.#cards.clear();
    this.list.replaceChildren();
    this.more.hidden = true;
  }

  #append(subject, samples) {
    if (this.#cards.has(subject)) return;
    const card = this.#card(subject, samples);
    this.#cards.set(subject, card);
    this.list.append(card.root);
  }

  #card(subject, samples) {
    return new Person(subject, samples, {
      ...this.hands,
      run: this.run,
      onErased: async (erased, isLast) => {
        if (isLast) this.#remove(subject);
        if (erased) this.hands.onErased(erased);
        await this.#recount();
      },
    });
  }

  // Who comes after the pages that are shown will be found there.
  #insert(subject) {
    if (this.#next !== null && subject > this.#next) return;
    this.list.querySelector(".nobody")?.remove();
    const card = this.#card(subject, 1);
    const later = [...this.#cards.keys()].find((other) => other > subject);
    this.list.insertBefore(card.root, this.#cards.get(later)?.root ?? null);
    const cards = [...this.#cards, [subject, card]];
    this.#cards = new Map(cards.sort(([one], [other]) => (one < other ? -1 : 1)));
  }

  #remove(subject) {
    const { root } = this.#cards.get(subject);
    const beside = root.nextElementSibling ?? root.previousElementSibling;
    removeElement(root, beside?.querySelector("summary") ?? this.root.querySelector("h2"));
    this.#cards.delete(subject);
    this.#showNobody();
  }

  #showNobody() {
    if (this.#cards.size || this.#next !== null) return;
    this.#say("Nobody yet. Choose a walk above and enrol it under a name.");
  }

  #say(words, ...children) {
    this.list.replaceChildren(element("li", { className: "nobody quiet" },
      element("span", { textContent: words }), ...children));
  }

  #again() {
    const button = element("button", { type: "button", className: "small", textContent: "Try again" });
    button.addEventListener("click", () => this.run(() => this.refresh()));
    return button;
  }
}
