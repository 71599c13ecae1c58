// The gallery: a card a person, page by page, all or those that are searched for. What is erased or
// enrolled changes its card alone, so that whoever works down a long list keeps the place.

import * as api from "./api.js";
import { counted, element, hideElement, removeElement } from "./elements.js";
import { Person } from "./person.js";

const SEARCHED_AFTER_MS = 250; // without another letter

// As the service compares ids, nearly: without case, accents and compatibility forms.
const folded = (text) => text.normalize("NFKD").toLowerCase().normalize("NFKD").replace(/\p{Mn}/gu, "");

export class People {
  #search = "";
  #timer = null;
  #cards = new Map(); // by subject, in the order of the list
  #next = null;
  #turn = 0; // of the list: a page that was asked for before it was read anew is not for it
  #isRead = false;

  constructor({ root, run, ...hands }) {
    Object.assign(this, { root, run, hands });
    this.list = root.querySelector("#people");
    this.more = root.querySelector("#more");
    this.more.addEventListener("click", () => this.run(() => this.#readPage()));
    this.field = root.querySelector("#search");
    this.field.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#find(), SEARCHED_AFTER_MS);
    });
    root.querySelector("#find").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#find();
    });
  }

  #find() {
    clearTimeout(this.#timer);
    const wanted = this.field.value.trim();
    if (wanted === this.#search) return;
    this.#search = wanted;
    // Who is found again stays as opened as before.
    this.run(() => this.refresh(new Map(this.#cards)));
  }

  // Reads the list from its start; what keeps it from being read stands in its place.
  async refresh(known = new Map()) {
    const turn = ++this.#turn;
    this.#isRead = false;
    if (!this.#cards.size) this.#say("loading …");
    try {
      await this.#readPage(known);
      if (turn === this.#turn) this.#isRead = true;
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

  // The next page, or the first, of which some cards may be known.
  async #readPage(known = null) {
    const turn = this.#turn;
    const after = known ? null : this.#next;
    const [page, { gallery }] = await Promise.all([this.#sought(after, turn), api.info()]);
    // Nor the page of a second click.
    if (turn !== this.#turn || (!known && after !== this.#next)) return;
    this.#next = page.next;
    if (known) this.#startOver(page, known);
    else for (const { subject, samples } of page.subjects) this.#append(this.#card(subject, samples));
    this.more.hidden = false;
    const first = this.#cards.get(page.subjects[0]?.subject);
    if (page.next === null) hideElement(this.more, first?.summary);
    this.#showNobody();
    this.#tell(gallery);
  }

  // In a large gallery, a page of a search may hold nobody and yet not be the last.
  async #sought(after, turn) {
    const search = this.#search;
    let page = await api.subjects(after, search);
    while (!page.subjects.length && page.next !== null && turn === this.#turn) {
      page = await api.subjects(page.next, search);
    }
    return page;
  }

  #startOver({ subjects }, known) {
    const focused = this.list.contains(document.activeElement) ? document.activeElement : null;
    this.#clear();
    for (const { subject, samples } of subjects) {
      const card = known.get(subject);
      this.#append(card?.samples === samples ? card : this.#card(subject, samples));
    }
    if (focused) (focused.isConnected ? focused : this.field).focus({ preventScroll: true });
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
    this.root.querySelector("#found").textContent = "";
  }

  #append(card) {
    if (this.#cards.has(card.subject)) return;
    this.#cards.set(card.subject, card);
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
    if (!folded(subject).includes(folded(this.#search))) return;
    if (this.#next !== null && subject > this.#next) return;
    this.list.querySelector(".nobody")?.remove();
    const card = this.#card(subject, 1);
    const later = [...this.#cards.keys()].find((other) => other > subject);
    this.list.insertBefore(card.root, this.#cards.get(later)?.root ?? null);
    const cards = [...this.#cards, [subject, card]];
    this.#cards = new Map(cards.sort(([one], [other]) => (one < other ? -1 : 1)));
    this.#showNobody();
  }

  #remove(subject) {
    const { root } = this.#cards.get(subject);
    const beside = root.nextElementSibling ?? root.previousElementSibling;
    removeElement(root, beside?.querySelector("summary") ?? this.root.querySelector("h2"));
    this.#cards.delete(subject);
    this.#showNobody();
  }

  #showNobody() {
    this.#tellFound();
    if (this.#cards.size || this.#next !== null || this.#search) return;
    this.#say("Nobody yet. Choose a walk above and enrol it under a name.");
  }

  #tellFound() {
    const { size } = this.#cards;
    const many = `${counted(size, "person", "people")} found`;
    const words = size ? `${many}${this.#next === null ? "" : " so far"}.` : "Nobody found.";
    this.root.querySelector("#found").textContent = this.#search ? words : "";
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
