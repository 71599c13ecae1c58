// Plays a walk, and beside it another one in step: one clock moves both.

import { element, find, named } from "./elements.js";

const FRAMES_A_SECOND = 25;

export class Player {
  #walks = [];
  #position = 0;
  #playing = false;
  #last = 0;

  constructor() {
    this.slider = find("position");
    find("play").addEventListener("click", () => this.toggle());
    find("back").addEventListener("click", () => this.step(-1));
    find("ahead").addEventListener("click", () => this.step(1));
    this.slider.addEventListener("input", () => {
      this.#setPlaying(false);
      this.#show(Number(this.slider.value));
    });
    requestAnimationFrame((now) => this.#tick(now));
  }

  get loaded() {
    return this.#walks.length > 0;
  }

  // Shows a walk alone.
  load(walk, name) {
    this.#walks = [{ walk, name, kind: "probe" }];
    this.#build();
    this.#show(0);
    this.#setPlaying(!matchMedia("(prefers-reduced-motion: reduce)").matches);
  }

  // Shows another walk beside the first; takes the place of the one that was there.
  beside(walk, name) {
    this.#walks = [...this.#walks.slice(0, 1), { walk, name, kind: "enrolled" }];
    this.#build();
    this.#show(this.#position);
  }

  alone() {
    this.#walks = this.#walks.slice(0, 1);
    this.#build();
    if (this.loaded) this.#show(this.#position);
  }

  // Shows nothing any more.
  clear() {
    this.#walks = [];
    this.#build();
  }

  toggle() {
    if (this.loaded) this.#setPlaying(!this.#playing);
  }

  step(count) {
    if (!this.loaded) return;
    this.#setPlaying(false);
    const { frames } = this.#walks[0].walk;
    this.#show((Math.floor(this.#position) + count + frames) % frames);
  }

  #build() {
    const tiles = this.#walks.map((shown) => {
      const moving = shown.walk.canvas(`${shown.name}, walking`);
      const energy = shown.walk.canvas(`${shown.name}, average of all frames`);
      shown.walk.drawEnergy(energy);
      shown.context = moving.getContext("2d");
      const words = `${shown.kind === "enrolled" ? ", enrolled" : ""} · ${shown.walk.frames} frames`;
      return element(
        "div",
        { className: `tile ${shown.kind}` },
        element("div", { className: "screens" }, moving, energy),
        element("p", { className: "caption" }, named(shown.name), words),
      );
    });
    find("stage").replaceChildren(...tiles);
    find("stage").className = `tiles-${tiles.length}`;
    find("player").hidden = tiles.length === 0;
    if (this.loaded) this.slider.max = this.#walks[0].walk.frames - 1;
  }

  #setPlaying(playing) {
    this.#playing = playing;
    find("play").classList.toggle("playing", playing);
    find("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  }

  #tick(now) {
    const passed = Math.min(0.25, (now - this.#last) / 1000);
    this.#last = now;
    if (this.loaded && this.#playing) {
      const { frames } = this.#walks[0].walk;
      const ahead = passed * FRAMES_A_SECOND * Number(find("speed").value);
      this.#show((this.#position + ahead) % frames);
    }
    requestAnimationFrame((next) => this.#tick(next));
  }

  #show(position) {
    this.#position = position;
    const frame = Math.floor(position);
    for (const { walk, context } of this.#walks) walk.draw(context, frame);
    this.slider.value = frame;
    const words = `${frame + 1} / ${this.#walks[0].walk.frames}`;
    this.slider.ariaValueText = words;
    find("frame-number").textContent = words;
  }
}
