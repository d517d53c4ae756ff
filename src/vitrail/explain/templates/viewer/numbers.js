// Packed numbers, as viewer/pack.py writes them.

const bytesOf = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));

async function inflated(text) {
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// A map in 256 steps -> its values.
async function unpackMap(packed) {
  const steps = await inflated(packed.data), values = new Float32Array(steps.length);
  for (let i = 0; i < steps.length; i++) values[i] = packed.low + (packed.high - packed.low) * steps[i] / 255;
  return { grid: packed.grid, span: [1, 1], values, low: packed.low, high: packed.high };
}

// A layer's heads -> a map for each, and the mean of all.
async function unpackHeads(packed, span) {
  const steps = await inflated(packed.data), cells = packed.grid[0] * packed.grid[1], mean = new Float32Array(cells);
  const heads = packed.low.map((low, head) => {
    const high = packed.high[head], values = new Float32Array(cells);
    for (let i = 0; i < cells; i++) {
      values[i] = low + (high - low) * steps[head * cells + i] / 255;
      mean[i] += values[i] / packed.low.length;
    }
    return { grid: packed.grid, span, values, low, high };
  });
  return { heads, mean: { grid: packed.grid, span, values: mean, low: Math.min(...mean), high: Math.max(...mean) } };
}

// Tokens over cells: windows x tokens x width places (-1 for none) and as many shares. `of` is the way back: the tokens
// that stand for a cell, each with its part of the cell.
async function unpackCells(packed) {
  const [windows, tokens, width] = packed.shape, count = windows * tokens * width;
  const bytes = await inflated(packed.data);
  const cells = new Int32Array(bytes.buffer, 0, count), shares = new Float32Array(bytes.buffer, 4 * count, count);
  const of = new Map();
  for (let token = 0; token < windows * tokens; token++) {
    for (let i = token * width; i < (token + 1) * width; i++) {
      if (cells[i] < 0 || !shares[i]) continue;
      if (!of.has(cells[i])) of.set(cells[i], []);
      of.get(cells[i]).push([token, shares[i]]);
    }
  }
  for (const stands of of.values()) {
    const whole = stands.reduce((sum, [, share]) => sum + share, 0);
    for (const pair of stands) pair[1] /= whole;
  }
  return { windows, tokens, width, cells, shares, of };
}
