// What is being looked at, and what there is to look at.

const LIVE = { raw_attention: "raw attention", rollout: "rollout" };  // what the page computes itself, from any patch
const ANSWER = { kind: "answer" };

class State {
  constructor(data) {
    this.data = data;
    this.sources = [...new Set(data.images.map(image => image.source))];
    this.gazes = new Map();
    this.cells = null;
    this.image = data.images[0];
    this.method = 0;
    this.opacity = 0.8;
    this.pinned = ANSWER;
    this.over = null;
    for (const image of data.images) image.methods.push(...this.added(image));
    this.start();
    this.pinned = this.asks;
  }

  get query() { return this.over || this.pinned; }
  get model() { return this.data.models[this.image.model]; }
  get gaze() { return this.gazes.get(this.image) || null; }
  get shown() { return this.image.methods[this.method]; }
  // What the page computes of the attention it carries: the method that is shown, or where a patch looks while one is
  // asked under a method that knows nothing of single patches. Null where a method's own map is shown: of an answer read
  // in a region too, which the page does not carry.
  get way() {
    if (this.gaze === null) return null;
    if (this.image.regional && this.shown.map && this.query.kind === "answer") return null;
    return this.shown.name in LIVE ? this.shown.name : this.query.kind === "answer" ? null : "raw_attention";
  }

  get live() { return this.way !== null; }
  get layers() { return this.live ? this.gaze.layers : this.shown.stills || []; }
  // The layer: of a pooling head, which asks for all patches at once, the one before it where a patch is asked.
  get number() {
    const number = this.numbers[this.way || this.shown.name] ?? this.numbers.raw_attention;
    return this.live && this.query.kind !== "answer" && this.gaze.layers[number].pools ? number - 1 : number;
  }

  get at() { return this.layers[Math.min(this.number, this.layers.length - 1)]; }
  get heads() {
    if (!this.live) return this.at ? this.at.heads.length : 0;
    return this.way === "raw_attention" && !this.gaze.mean ? this.at.heads : 0;
  }

  // From whom the explanation that is shown was asked for: a token, a patch, or the answer.
  get asks() { return (this.shown.name in LIVE && this.shown.map && this.image.query) || ANSWER; }

  added(image) {
    if (image.carries === "none") return [];
    const there = image.methods.map(method => method.name);
    return Object.keys(LIVE).filter(name => !there.includes(name)).map(name => ({ name, label: LIVE[name], map: null, layers: [] }));
  }

  // Where the sliders of a new model stand: as its explanations were asked for, else nearest to the answer. A layer of
  // one cell tells no places apart.
  start() {
    const { layers = [], grids } = this.model, last = layers.length - 1;
    const told = layers.findLastIndex(({ stage, name }) => name === "pooling head" || grids[stage].some(side => side > 1));
    this.numbers = { raw_attention: this.image.layer ?? told, rollout: this.image.layer ?? last };
    this.asked = { number: this.numbers.raw_attention, head: this.image.head ?? -1 };
    this.head = this.image.head ?? -1;
  }

  // The method slider. A method that knows nothing of single patches shows the answer.
  choose(place) {
    const before = this.shown && this.shown.name in LIVE;
    this.method = place;
    this.over = null;
    if (!before || !(this.shown.name in LIVE)) this.pinned = this.asks;
  }

  // The layer slider, in the method that is shown.
  go(number) { this.numbers[this.way === "rollout" ? "rollout" : "raw_attention"] = number; }

  show(image, name = this.shown.name) {
    const other = image.model !== this.image.model;
    this.image = image;
    this.choose(Math.max(0, image.methods.findIndex(method => method.name === name)));
    if (other) {
      this.start();
      if (this.pinned.kind === "prefix") this.pinned = this.asks;
    }
  }

  async loadMaps(image) {
    const { layers, spans } = this.data.models[image.model];
    for (const method of image.methods) {
      if (method.map && !method.values) method.values = await unpackMap(method.map);
      if (!method.layers.length || method.stills || method.name in LIVE) continue;
      method.stills = await Promise.all(method.layers.map((heads, number) => unpackHeads(heads, layers ? spans[layers[number].stage] : [1, 1])));
    }
  }

  // Unpacks where an image's tokens look; a few images' are kept.
  async loadGaze(image, blob) {
    if (image.carries === "none" || this.gazes.has(image)) return;
    this.cells = this.cells || await Promise.all(this.data.maps.map(unpackCells));
    const gaze = new Gaze(this.data.models[image.model], this.cells, await inflated(blob), image.carries === "mean");
    this.gazes.set(image, gaze);
    if (this.gazes.size > 4) this.gazes.delete(this.gazes.keys().next().value);
  }

  // A method's own map of the answer, or what one of its layers and heads says.
  still() {
    const { number, head, asked, at } = this;
    if (!at || (number === asked.number && head === asked.head)) return this.shown.values || null;
    return head < 0 ? at.mean : at.heads[Math.min(head, at.heads.length - 1)];
  }

  // The map that is wanted now; null where the layer has nothing to ask there.
  map() {
    if (!this.live) return this.still();
    if (this.way === "rollout") return this.gaze.roll(this.number, this.query);
    return this.gaze.look(this.number, this.head, this.query);
  }
}
