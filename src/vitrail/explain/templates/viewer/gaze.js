// Where the tokens of one image look. A row over cells is { grid, prefix, values }: what goes to the prefix tokens, and
// what goes to each cell of the grid; together they sum to 1.

// A row's places with something at them, each with its part.
const filled = row => Array.from(row, (part, place) => [place, part]).filter(([, part]) => part > 0);

class Gaze {
  // bytes: the weights q of all layers, (windows, heads, queries, keys) each, with w = q^2 / sum of q^2 over the keys.
  // mean: whether they are the mean of the heads.  maps: tokens over cells, unpacked.
  constructor(model, maps, bytes, mean) {
    this.model = model;
    this.bytes = bytes;
    this.mean = mean;
    this.entries = model.entries.map(place => place === null ? null : maps[place]);
    this.known = new Map();
    let start = 0;
    this.layers = model.layers.map(layer => {
      const [windows, heads, queries, keys] = layer.shape, grid = model.grids[layer.stage];
      const made = {
        name: layer.name, stage: layer.stage, windows, heads: mean ? 1 : heads, queries, keys, grid, start,
        cells: grid[0] * grid[1], prefix: layer.prefix,
        asks: layer.queries === null ? null : maps[layer.queries], answers: layer.keys === null ? null : maps[layer.keys],
        pools: queries === layer.prefix[0],
      };
      start += windows * made.heads * queries * keys;
      return made;
    });
    if (start !== bytes.length) throw new Error(`${bytes.length} weights for ${start} places`);
    this.blocks = this.layers.filter(layer => !layer.pools);
  }

  // Token (window * tokens + place) and part of each query that stands for a place of a row: a cell or a prefix token.
  tokens(layer, place) {
    const cell = place - layer.prefix[0];
    if (cell < 0 || !layer.asks) return [[place, 1]];
    const inWindow = layer.queries - layer.prefix[0];
    return (layer.asks.of.get(cell) || []).map(([token, part]) => {
      const window = Math.floor(token / inWindow);
      return [window * layer.queries + layer.prefix[0] + token % inWindow, part];
    });
  }

  // What stands at a query: places of a layer's row with the part of each, or null for what the layer does not have.
  places(layer, query) {
    const [first] = layer.prefix;
    if (layer.pools) return query.kind === "answer" ? [[0, 1]] : null;
    if (query.kind === "prefix") return query.place < first ? [[query.place, 1]] : null;
    if (query.kind === "point") return [[first + this.cell(layer, query), 1]];
    return filled(this.answer(layer.stage));
  }

  // Whom the answer is read from, as shares of the tokens of a stage: the readers of the last stage, or all its patches,
  // and in earlier stages what those are made of; where that is nobody, all patches.
  answer(stage) {
    const { grids, prefixes, readers } = this.model, size = number => grids[number][0] * grids[number][1];
    let at = grids.length - 1, shares = new Float32Array(prefixes[at] + size(at));
    if (readers.length) for (const place of readers) shares[place] = 1 / readers.length;
    else shares.fill(1 / size(at), prefixes[at]);
    for (; at > stage; at--) shares = this.enter(at, shares);
    if (!shares.some(part => part > 0)) shares.fill(1 / size(stage), prefixes[stage]);
    return shares;
  }

  cell(layer, { x, y }) {
    const [height, width] = layer.grid, [down, across] = this.model.spans[layer.stage];
    const row = Math.min(height - 1, Math.floor(y / down * height)), column = Math.floor(x / across * width);
    return row * width + Math.min(width - 1, column);
  }

  // Adds what one query token of one head gives away, times `factor`, to its keys.
  give(layer, head, token, factor, keys) {
    const { bytes } = this, window = Math.floor(token / layer.queries), place = token % layer.queries;
    const start = layer.start + ((window * layer.heads + head) * layer.queries + place) * layer.keys;
    let sum = 0;
    for (let k = 0; k < layer.keys; k++) sum += bytes[start + k] * bytes[start + k];
    const scale = factor / sum;
    for (let k = 0; k < layer.keys; k++) keys[k] += bytes[start + k] * bytes[start + k] * scale;
  }

  // Lays the keys of one window over the row: prefix tokens first, then cells.
  lay(layer, window, keys, row) {
    const [, first] = layer.prefix, map = layer.answers;
    for (let k = 0; k < first; k++) row[k] += keys[k];
    for (let k = first; k < layer.keys; k++) {
      if (!map) { row[k] += keys[k]; continue; }
      const start = (window * map.tokens + k - first) * map.width;
      for (let i = start; i < start + map.width; i++) {
        if (map.cells[i] >= 0) row[first + map.cells[i]] += keys[k] * map.shares[i];
      }
    }
  }

  // What goes where from places [[place, part]...] of a row, by one head or, for -1, by the mean of all.
  spread(layer, head, places) {
    const row = new Float32Array(layer.prefix[1] + layer.cells), parts = new Map();
    for (const [place, part] of places) {
      for (const [token, share] of this.tokens(layer, place)) {
        const window = Math.floor(token / layer.queries);
        if (!parts.has(window)) parts.set(window, []);
        parts.get(window).push([token, part * share]);
      }
    }
    const heads = head < 0 ? Array.from({ length: layer.heads }, (_, i) => i) : [Math.min(head, layer.heads - 1)];
    for (const [window, tokens] of parts) {
      const keys = new Float32Array(layer.keys);
      for (const [token, part] of tokens) for (const one of heads) this.give(layer, one, token, part / heads.length, keys);
      this.lay(layer, window, keys, row);
    }
    return row;
  }

  // One layer's attention from a query, or null where the layer has no such query.
  look(number, head, query) {
    const layer = this.layers[number], key = query.kind === "answer" && `${number}/${head}`;
    if (key && this.known.has(key)) return this.known.get(key);
    const places = this.places(layer, query);
    const looked = places && this.row(layer.stage, this.spread(layer, head, places), layer.prefix[1]);
    if (key) this.known.set(key, looked);
    return looked;
  }

  // Rollout: from a query in one layer back through all before it, half of everything along the residual connection of
  // each, and from stage to stage by the cells that tokens were made of. Of the answer, a pooling head is the last layer.
  roll(number, query) {
    let layer = this.layers[number], row = null;
    if (layer.pools) {
      const { prefix, cells } = this.blocks[this.blocks.length - 1];
      if (query.kind === "answer") {
        row = new Float32Array(prefix[0] + cells);
        row.set(this.spread(layer, -1, [[0, 1]]), prefix[0]);
      }
      layer = this.blocks[this.blocks.length - 1];
    }
    if (!row) {
      const places = this.places(layer, query);
      if (!places) return null;
      row = new Float32Array(layer.prefix[0] + layer.cells);
      for (const [place, part] of places) row[place] += part;
    }
    let stage = layer.stage;
    for (let at = this.blocks.indexOf(layer); at >= 0; at--) {
      layer = this.blocks[at];
      for (; stage > layer.stage; stage--) row = this.enter(stage, row);
      const mixed = this.spread(layer, -1, filled(row));
      row = row.map((kept, place) => (kept + mixed[place]) / 2);
    }
    for (; stage > 0; stage--) row = this.enter(stage, row);
    return this.row(0, row, this.model.prefixes[0]);
  }

  // Shares of the tokens of a stage as shares of those of the stage before.
  enter(stage, row) {
    const { grids, prefixes } = this.model, map = this.entries[stage], [height, width] = grids[stage - 1];
    const here = prefixes[stage], before = prefixes[stage - 1], into = new Float32Array(before + height * width);
    for (let place = 0; place < Math.min(here, before); place++) into[place] = row[place];
    for (let token = 0; token < map.tokens; token++) {
      if (!row[here + token]) continue;
      for (let i = token * map.width; i < (token + 1) * map.width; i++) {
        if (map.cells[i] >= 0) into[before + map.cells[i]] += row[here + token] * map.shares[i];
      }
    }
    return into;
  }

  row(stage, row, first) {
    const grid = this.model.grids[stage], span = this.model.spans[stage], values = row.subarray(first);
    let high = 0;
    for (const value of values) high = Math.max(high, value);
    return { grid, span, values, prefix: row.subarray(0, first), low: 0, high };
  }
}
