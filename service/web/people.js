// The list of the enrolled, page by page, with their samples and a way to erase them.

import * as api from "./api.js";
import { element } from "./elements.js";

export class People {
  #next = null;

  constructor({ list, more, count, onShow, onError, confirm }) {
    Object.assign(this, { list, more, count, onShow, onError, confirm });
    more.addEventListener("click", () => this.#guard(() => this.#loadPage()));
  }

  async refresh() {
    this.#next = null;
    this.list.replaceChildren();
    await this.#loadPage();
  }

  async #loadPage() {
    const page = await api.subjects(this.#next);
    this.#next = page.next;
    this.more.hidden = page.next === null;
    this.list.append(...page.subjects.map((subject) => this.#item(subject)));
    const { gallery } = await api.info();
    this.count.textContent = `${gallery.subjects} people, ${gallery.samples} walks`;
  }

  #item({ subject, samples }) {
    const walks = `${samples} ${samples === 1 ? "walk" : "walks"}`;
    const rows = element("div");
    const summary = element("summary", {}, subject, element("span", { className: "quiet" }, ` · ${walks}`));
    const details = element("details", {}, summary, rows);
    details.addEventListener("toggle", () => {
      if (details.open) this.#guard(() => this.#fill(rows, subject));
    });
    return element("li", {}, details);
  }

  async #fill(rows, subject) {
    const detail = await api.subject(subject);
    const all = this.#row("everything", [
      this.#button("Erase person", "danger", () => this.#erase(
        `Erase ${subject} with all walks?`, () => api.eraseSubject(subject))),
    ]);
    rows.replaceChildren(...detail.samples.map((sample) => this.#sample(subject, sample)), all);
  }

  #sample(subject, sample) {
    const metadata = Object.entries(sample.metadata).map(([key, value]) => `${key} ${value}`);
    return this.#row([`${sample.frames} frames`, ...metadata].join(", "), [
      this.#button("Show", "", () => this.onShow(sample.sample_id, subject)),
      this.#button("Erase", "danger", () => this.#erase(
        `Erase this walk of ${subject}?`, () => api.eraseSample(sample.sample_id))),
    ]);
  }

  #row(text, buttons) {
    return element("div", { className: "row" }, element("span", {}, text), element("span", {}, ...buttons));
  }

  #button(textContent, kind, act) {
    const button = element("button", { type: "button", className: `small ${kind}`, textContent });
    button.addEventListener("click", () => this.#guard(act));
    return button;
  }

  async #erase(question, act) {
    if (!(await this.confirm(question))) return;
    await act();
    await this.refresh();
  }

  async #guard(act) {
    try {
      await act();
    } catch (error) {
      this.onError(error);
    }
  }
}
