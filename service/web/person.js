// A person's card: opened, it shows every walk to look at, some at a time, and ways to erase.

import * as api from "./api.js";
import { counted, element, hideElement, named, removeElement } from "./elements.js";
import { Walk } from "./walk.js";

// What a store that is damaged may not know any more, in words.
const LOST = { created_at: "date of enrolment", captured_at: "date of the walk", metadata: "metadata" };

const inWords = (value) => (typeof value === "string" ? value : JSON.stringify(value));

function described({ frames, metadata, created_at: createdAt }) {
  const day = createdAt ? [new Date(createdAt).toLocaleDateString()] : [];
  const said = Object.entries(metadata).map(([key, value]) => `${key} ${inWords(value)}`);
  return [`${frames} frames`, ...said, ...day].join(" · ");
}

const lost = ({ damaged = [] }) =>
  damaged.length ? `cannot be read any more: ${damaged.map((one) => LOST[one] ?? one).join(", ")}` : "";

export class Person {
  #rows = new Map(); // by sample id, oldest first
  #isWhole = false;

  constructor(subject, samples, { run, onShow, onErased, confirm }) {
    Object.assign(this, { subject, samples, run, onShow, onErased, confirm });
    this.walks = element("div", { className: "walks" });
    this.count = element("span", { className: "quiet" });
    this.summary = element("summary", {},
      element("span", { className: "who", textContent: subject }), this.count);
    this.details = element("details", {}, this.summary, this.walks);
    this.root = element("li", { className: "person" }, this.details);
    this.more = this.#button("More walks", "", () => this.#read());
    this.last = element("div", { className: "row last" }, this.more,
      this.#button("Erase person", "danger", () => this.#eraseAll()));
    this.details.addEventListener("toggle", () => {
      if (this.details.open && !this.#rows.size) this.run(() => this.#open());
    });
    this.#tell();
  }

  // One more walk was enrolled; it is the newest.
  async grow() {
    this.samples++;
    this.#tell();
    if (this.#isWhole) await this.#read();
  }

  #tell() {
    this.count.textContent = counted(this.samples, "walk", "walks");
  }

  // What keeps the walks from being read stands in their place; opened again, it tries again.
  async #open() {
    const place = element("p", { className: "row quiet", role: "status", textContent: "loading …" });
    this.walks.replaceChildren(place);
    try {
      await this.#read();
    } catch (error) {
      if (!this.root.isConnected) throw error;
      place.textContent = error.message;
    }
  }

  async #read() {
    const after = [...this.#rows.keys()].at(-1) ?? null;
    const { samples, next } = await this.#unlessGone(() => api.subject(this.subject, after));
    const isNew = ({ sample_id: id }) => !this.#rows.has(id);
    const read = samples.filter(isNew).map((sample) => [sample.sample_id, this.#row(sample)]);
    for (const [id, row] of read) this.#rows.set(id, row);
    if (!this.last.isConnected) this.walks.replaceChildren(this.last);
    this.last.before(...read.map(([, row]) => row));
    this.#isWhole = next === null;
    if (this.#isWhole) hideElement(this.more, read[0]?.[1].querySelector("button"));
  }

  #row(sample) {
    const words = described(sample);
    const play = this.#button("Play", "", () => this.onShow(sample.sample_id, this.subject));
    const erase = this.#button("Erase", "danger", () => this.#eraseOne(sample.sample_id));
    for (const button of [play, erase]) button.ariaDescription = `${this.subject}, ${words}`;
    return element("div", { className: "row" }, this.#picture(sample),
      element("span", { className: "words" }, words,
        element("span", { className: "lost", textContent: lost(sample) })),
      element("span", { className: "buttons" }, play, erase));
  }

  // A walk that was enrolled without silhouettes has no picture.
  #picture({ sample_id: id }) {
    const place = element("div", { className: "thumb" });
    const draw = async () => {
      const walk = await Walk.of(await api.sampleWalk(id));
      const canvas = walk.canvas(`average picture of a walk of ${this.subject}`);
      walk.drawEnergy(canvas);
      place.append(canvas);
    };
    draw().catch(() => place.classList.add("none"));
    return place;
  }

  // Who clicks again while it is at work means the same.
  #button(textContent, kind, act) {
    const button = element("button", { type: "button", className: `small ${kind}`, textContent });
    let isWorking = false;
    button.addEventListener("click", async () => {
      if (isWorking) return;
      isWorking = true;
      await this.run(act);
      isWorking = false;
    });
    return button;
  }

  async #eraseOne(id) {
    const question = ["Erase this walk of ", named(this.subject), "? This cannot be undone."];
    if (!(await this.confirm(question))) return;
    const erased = await this.#unlessGone(() => api.eraseSample(id), id);
    await this.#without(id, erased);
  }

  async #without(id, erased) {
    const row = this.#rows.get(id);
    const beside = row.nextElementSibling !== this.last ? row.nextElementSibling : row.previousElementSibling;
    removeElement(row, beside?.querySelector(".danger") ?? this.summary);
    this.#rows.delete(id);
    this.samples--;
    this.#tell();
    await this.onErased(erased, this.samples === 0);
    if (this.samples > 0 && !this.#rows.size) await this.#read();
  }

  async #eraseAll() {
    const question = ["Erase ", named(this.subject), " with all walks? This cannot be undone."];
    if (!(await this.confirm(question))) return;
    await this.onErased(await this.#unlessGone(() => api.eraseSubject(this.subject)), true);
  }

  // What somebody else erased meanwhile is not shown any longer.
  async #unlessGone(act, sample = null) {
    try {
      return await act();
    } catch (error) {
      if (error.code === "subject_not_found") await this.onErased(null, true);
      else if (error.code === "sample_not_found" && sample) await this.#without(sample, null);
      throw error;
    }
  }
}
