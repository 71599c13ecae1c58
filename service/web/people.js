// The gallery: a card a person, page by page, with every walk to look at and a way to erase it.

import * as api from "./api.js";
import { counted, element } from "./elements.js";
import { Walk } from "./walk.js";

export class People {
  #next = null;

  constructor({ list, more, count, onShow, onErased, onError, confirm }) {
    Object.assign(this, { list, more, count, onShow, onErased, onError, confirm });
    more.addEventListener("click", this.#oneAtATime(() => this.#loadPage()));
  }

  async refresh() {
    this.#next = null;
    await this.#loadPage(true);
  }

  async #loadPage(fresh = false) {
    const [page, { gallery }] = await Promise.all([api.subjects(this.#next), api.info()]);
    this.#next = page.next;
    this.more.hidden = page.next === null;
    if (fresh) this.list.replaceChildren();
    this.list.append(...page.subjects.map((subject) => this.#item(subject)));
    if (!this.list.children.length) this.list.append(this.#nobody());
    this.count.textContent = `${counted(gallery.subjects, "person", "people")}, ${counted(gallery.samples, "walk", "walks")}`;
  }

  #nobody() {
    const words = "Nobody yet. Choose a walk above and enrol it under a name.";
    return element("li", { className: "nobody quiet", textContent: words });
  }

  #item({ subject, samples }) {
    const walks = counted(samples, "walk", "walks");
    const rows = element("div", { className: "walks" });
    const summary = element("summary", {},
      element("span", { className: "who", textContent: subject }),
      element("span", { className: "quiet", textContent: walks }));
    const details = element("details", {}, summary, rows);
    const fill = this.#oneAtATime(() => this.#fill(rows, subject));
    details.addEventListener("toggle", () => {
      if (details.open && !rows.children.length) fill();
    });
    return element("li", { className: "person" }, details);
  }

  async #fill(rows, subject, after = null) {
    const { samples, next } = await api.subject(subject, after);
    const more = this.#button("More walks", "", () => this.#fill(rows, subject, next));
    more.hidden = next === null;
    const erase = this.#button("Erase person", "danger", () => this.#erase(
      `Erase ${subject} with all walks? This cannot be undone.`, () => api.eraseSubject(subject)));
    rows.querySelector(".last")?.remove();
    rows.append(
      ...samples.map((sample) => this.#sample(subject, sample)),
      element("div", { className: "row last" }, more, erase),
    );
  }

  #sample(subject, sample) {
    const metadata = Object.entries(sample.metadata).map(([key, value]) => `${key} ${value}`);
    // A store that is damaged may not know it any more.
    const day = sample.created_at ? [new Date(sample.created_at).toLocaleDateString()] : [];
    const words = [`${sample.frames} frames`, ...metadata, ...day].join(" · ");
    const picture = element("div", { className: "thumb" });
    // A walk that was enrolled without silhouettes has no picture.
    this.#picture(picture, sample, subject).catch(() => picture.classList.add("none"));
    return element("div", { className: "row" }, picture,
      element("span", { className: "words", textContent: words }),
      element("span", { className: "buttons" },
        this.#button("Play", "", () => this.onShow(sample.sample_id, subject)),
        this.#button("Erase", "danger", () => this.#erase(
          `Erase this walk of ${subject}? This cannot be undone.`,
          () => api.eraseSample(sample.sample_id)))));
  }

  async #picture(place, sample, subject) {
    const walk = await Walk.of(await api.sampleWalk(sample.sample_id));
    const canvas = walk.canvas(`mean of a walk of ${subject}`);
    walk.drawEnergy(canvas);
    place.append(canvas);
  }

  #button(textContent, kind, act) {
    const button = element("button", { type: "button", className: `small ${kind}`, textContent });
    button.addEventListener("click", this.#oneAtATime(act));
    return button;
  }

  async #erase(question, act) {
    if (!(await this.confirm(question))) return;
    this.onErased(await act());
    await this.refresh();
  }

  // Who clicks again while it is at work means the same.
  #oneAtATime(act) {
    let working = false;
    return async () => {
      if (working) return;
      working = true;
      this.onError(null);
      try {
        await act();
      } catch (error) {
        this.onError(error);
      } finally {
        working = false;
      }
    };
  }
}
