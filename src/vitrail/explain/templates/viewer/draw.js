// Heat in colours.

class Painter {
  constructor(palette) { this.palette = palette; }

  // Heat in [0, 1] at a place of a map -> its step in the palette.
  step(map, place) {
    const span = map.high - map.low;
    return span > 0 ? 3 * Math.round(255 * Math.min(1, Math.max(0, (map.values[place] - map.low) / span))) : 0;
  }

  // A map onto a canvas of as many pixels as it has cells, to lie over a photograph in grey: the weaker the heat, the
  // more of the photograph is seen.
  lay(canvas, map, opacity) {
    const [height, width] = map.grid;
    canvas.width = width;
    canvas.height = height;
    [canvas.style.height, canvas.style.width] = map.span.map(part => `${100 * part}%`);
    const pen = canvas.getContext("2d"), image = pen.createImageData(width, height);
    for (let place = 0; place < height * width; place++) {
      const step = this.step(map, place), heat = step / 765;
      for (let c = 0; c < 3; c++) image.data[4 * place + c] = this.palette[step + c];
      image.data[4 * place + 3] = Math.round(255 * opacity * (0.5 + 0.5 * heat * heat));
    }
    pen.putImageData(image, 0, 0);
  }

  // Many maps on one canvas, a row a layer, a column a head, each from 0 to its own largest, with numbers at both edges;
  // places without a map stay clear. scale: of the screen's pixels to the page's.
  tile(canvas, rows, columns, { side, step, left, top, colour, font }, scale) {
    const width = left + columns * step, height = top + rows.length * step, pen = canvas.getContext("2d");
    canvas.width = Math.ceil(width * scale);
    canvas.height = Math.ceil(height * scale);
    canvas.style.width = `${width}px`;
    const image = pen.createImageData(canvas.width, canvas.height), at = place => Math.round(place * scale);
    rows.forEach((maps, down) => maps.forEach((map, across) => {
      if (map) this.tileOne(image, map, at(top + down * step), at(left + across * step), at(side));
    }));
    pen.putImageData(image, 0, 0);
    pen.scale(scale, scale);
    Object.assign(pen, { fillStyle: colour, font, textBaseline: "middle", textAlign: "right" });
    rows.forEach((_, down) => pen.fillText(String(down), left - 6, top + down * step + side / 2));
    pen.textAlign = "center";
    for (let across = 0; across < columns; across++) {
      const words = across ? String(across - 1) : side > 24 ? "mean" : "m";
      pen.fillText(words, left + across * step + side / 2, top / 2);
    }
  }

  tileOne(image, map, top, left, side) {
    const [height, width] = map.grid;
    for (let y = 0; y < side; y++) {
      const line = Math.floor(y * height / side) * width;
      for (let x = 0; x < side; x++) {
        const step = this.step(map, line + Math.floor(x * width / side)), at = 4 * ((top + y) * image.width + left + x);
        for (let c = 0; c < 3; c++) image.data[at + c] = this.palette[step + c];
        image.data[at + 3] = 255;
      }
    }
  }
}
