// A walk that came as one picture (frames row by row, `columns` in a row), and what to draw of it.

export class Walk {
  constructor(sheet, { frames, width, height, columns }) {
    Object.assign(this, { sheet, frames, width, height, columns });
  }

  static async of(picture) {
    const sheet = new Image();
    sheet.src = `data:image/png;base64,${picture.png}`;
    await sheet.decode();
    return new Walk(sheet, picture);
  }

  canvas(label) {
    const made = document.createElement("canvas");
    [made.width, made.height] = [this.width, this.height];
    made.setAttribute("role", "img");
    made.setAttribute("aria-label", label);
    return made;
  }

  draw(context, position) {
    const frame = position % this.frames;
    const x = (frame % this.columns) * this.width;
    const y = Math.floor(frame / this.columns) * this.height;
    context.drawImage(this.sheet, x, y, this.width, this.height, 0, 0, this.width, this.height);
  }

  // The gait energy image: the mean of the frames (Han and Bhanu, 2006).
  drawEnergy(canvas) {
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const sums = new Float64Array(this.width * this.height);
    for (let position = 0; position < this.frames; position++) {
      this.draw(context, position);
      const pixels = context.getImageData(0, 0, this.width, this.height).data;
      for (let i = 0; i < sums.length; i++) sums[i] += pixels[4 * i];
    }
    const mean = context.createImageData(this.width, this.height);
    sums.forEach((sum, i) => mean.data.set([...Array(3).fill(sum / this.frames), 255], 4 * i));
    context.putImageData(mean, 0, 0);
  }
}
