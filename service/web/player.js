// Plays a walk that came as one picture: frames row by row, `columns` in a row.

const FRAMES_A_SECOND = 25;

export class Player {
  #sheet = null;
  #walk = null;
  #position = 0;
  #playing = true;

  constructor(root) {
    this.root = root;
    this.frame = root.querySelector("#frame");
    this.energy = root.querySelector("#energy");
    this.button = root.querySelector("#play");
    this.slider = root.querySelector("#position");
    this.caption = root.querySelector("#caption");
    this.button.addEventListener("click", () => this.#setPlaying(!this.#playing));
    this.slider.addEventListener("input", () => {
      this.#setPlaying(false);
      this.#show(Number(this.slider.value));
    });
    setInterval(() => this.#tick(), 1000 / FRAMES_A_SECOND);
  }

  async load(walk, caption) {
    const sheet = new Image();
    sheet.src = `data:image/png;base64,${walk.png}`;
    await sheet.decode();
    [this.#sheet, this.#walk] = [sheet, walk];
    for (const canvas of [this.frame, this.energy]) {
      [canvas.width, canvas.height] = [walk.width, walk.height];
    }
    this.slider.max = walk.frames - 1;
    this.caption.textContent = `${caption}: ${walk.frames} frames, and their mean`;
    this.root.hidden = false;
    this.#drawEnergy();
    this.#show(0);
    this.#setPlaying(!matchMedia("(prefers-reduced-motion: reduce)").matches);
  }

  #setPlaying(playing) {
    this.#playing = playing;
    this.button.textContent = playing ? "Pause" : "Play";
    this.button.setAttribute("aria-pressed", String(playing));
  }

  #tick() {
    if (this.#walk && this.#playing && !document.hidden) {
      this.#show((this.#position + 1) % this.#walk.frames);
    }
  }

  #show(position) {
    this.#position = position;
    this.slider.value = position;
    this.#draw(this.frame.getContext("2d"), position);
  }

  #draw(context, position) {
    const { width, height, columns } = this.#walk;
    const [x, y] = [(position % columns) * width, Math.floor(position / columns) * height];
    context.drawImage(this.#sheet, x, y, width, height, 0, 0, width, height);
  }

  // The gait energy image: the mean of the frames.
  #drawEnergy() {
    const { frames, width, height } = this.#walk;
    const context = this.energy.getContext("2d", { willReadFrequently: true });
    const sums = new Float64Array(width * height);
    for (let position = 0; position < frames; position++) {
      this.#draw(context, position);
      const pixels = context.getImageData(0, 0, width, height).data;
      for (let i = 0; i < sums.length; i++) sums[i] += pixels[4 * i];
    }
    const mean = context.createImageData(width, height);
    sums.forEach((sum, i) => mean.data.set([sum / frames, sum / frames, sum / frames, 255], 4 * i));
    context.putImageData(mean, 0, 0);
  }
}
