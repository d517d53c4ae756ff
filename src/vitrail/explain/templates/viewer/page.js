// The page itself.

const data = JSON.parse(document.getElementById("data").textContent);
const get = id => document.getElementById(id);
const make = (tag, content = "", name = "") => Object.assign(document.createElement(tag), { textContent: content, className: name });
const percent = part => `${(100 * part).toFixed(part < 0.0995 ? 1 : 0)}%`;
const painter = new Painter(bytesOf(data.palette));
let state = null, waiting = false;

function later() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}

// ------------------------------------------------------------------------------------------------------------ drawing

function draw() {
  const map = state.map(), { shown, image } = state;
  get("heat").hidden = !map;
  if (map) painter.lay(get("heat"), map, state.opacity);
  get("photo").style.filter = `grayscale(${Math.min(1, 2 * state.opacity)})`;
  get("caption").textContent = words(shown);
  get("readout").textContent = readout(map);
  get("low").textContent = state.live ? "0%" : "least in this image";
  get("high").textContent = state.live && map ? percent(map.high) : "most";
  drawMark();
  drawControls();
  drawGrid();
  get("stage").setAttribute("aria-label", `${image.source}, ${get("caption").textContent}.${image.attends ? " Arrow keys move from patch to patch." : ""}`);
}

function words(shown) {
  const { at, number, layers, head, heads, asked, image } = state;
  const heard = head < 0 || !heads ? "mean of heads" : `head ${Math.min(head, heads - 1)}`;
  if (!state.live) {
    if (!at || (number === asked.number && head === asked.head)) return shown.caption;
    return `${shown.label}: layer ${Math.min(number, layers.length - 1)} (of 0 to ${layers.length - 1}), ${heard}${image.part}`;
  }
  const count = state.gaze.blocks.length;
  if (state.way === "rollout") {
    const some = number ? `layers 0 to ${number}` : "layer 0";
    const through = number < count - 1 ? some : count > 1 ? `all ${count} layers` : "the one layer";
    return `rollout: ${through}, mean of heads${image.part}`;
  }
  if (at.pools) return `raw attention: ${at.name}, ${heard}${image.part}`;
  const cells = state.model.grids.length > 1 ? ` on ${at.grid[0]} x ${at.grid[1]} cells` : "";
  return `raw attention: ${at.name} (of 0 to ${count - 1})${cells}, ${heard}${image.part}`;
}

function whose(query) {
  if (query.kind === "prefix") return `The ${bracketed(query.place)} token`;
  if (query.kind === "point") {
    const cell = state.gaze.cell(state.at, query), width = state.at.grid[1];
    return `The patch in row ${Math.floor(cell / width)}, column ${cell % width}`;
  }
  if (state.at.pools) return "The pooling head";
  const readers = state.model.readers.filter(place => place < state.at.prefix[0]);
  return readers.length ? `The ${readers.map(bracketed).join(" and ")} token` : "The mean of all patches";
}

const bracketed = place => `[${state.model.names[place].toUpperCase()}]`;

function readout(map) {
  if (!state.live) {
    if (!state.image.attends) return "This model has no attention that can be seen: hovering shows nothing.";
    if (state.image.carries === "none") return "This image carries no attention: the page is full.";
    const what = state.image.regional ? "Of the answer in the region asked for" : "Of the answer as a whole";
    return state.gaze ? `${what}. Point at a patch to see where it looks.` : "";
  }
  if (!map) return "This layer has no such token.";
  const [, width] = map.grid, best = map.values.indexOf(map.high), kept = map.prefix.reduce((sum, part) => sum + part, 0);
  const where = `row ${Math.floor(best / width)}, column ${best % width}`;
  const rest = kept > 0.0005 ? `; ${percent(kept)} goes to tokens that are no patches` : "";
  return `${whose(state.query)} takes most, ${percent(map.high)}, from ${where}${rest}.`;
}

function drawMark() {
  const mark = get("mark"), { query } = state;
  mark.hidden = !(state.live && query.kind === "point");
  if (mark.hidden) return;
  const [height, width] = state.at.grid, [down, across] = state.model.spans[state.at.stage], cell = state.gaze.cell(state.at, query);
  mark.style.left = `${100 * across * (cell % width) / width}%`;
  mark.style.top = `${100 * down * Math.floor(cell / width) / height}%`;
  mark.style.width = `${100 * across / width}%`;
  mark.style.height = `${100 * down / height}%`;
}

function drawControls() {
  const set = (id, low, high, value, words, off = high <= low) => {
    const slider = get(id);
    Object.assign(slider, { min: low, max: Math.max(high, low), value, disabled: off });
    slider.setAttribute("aria-valuetext", words);
    get(`${id}-words`).textContent = words;
  };
  const { methods } = state.image, { at, layers } = state, place = Math.min(state.number, layers.length - 1);
  set("method", 0, methods.length - 1, state.method, state.shown.label);
  set("layer", 0, Math.max(0, layers.length - 1), Math.max(0, place), at ? (at.name || String(place)).replace("layer ", "") : "–");
  const head = Math.min(state.head, state.heads - 1);
  set("head", -1, state.heads - 1, Math.max(-1, head), state.heads ? (head < 0 ? "mean" : String(head)) : at ? "mean" : "–", !state.heads);
  set("opacity", 0, 100, Math.round(100 * state.opacity), `${Math.round(100 * state.opacity)}%`, false);
  for (const button of get("from").children) {
    const { kind, place } = button.dataset, { pinned } = state;
    button.setAttribute("aria-pressed", pinned.kind === kind && (kind !== "prefix" || pinned.place === Number(place)));
    button.disabled = !state.gaze;
  }
}

// Every layer and head at once, from the same query.
const EDGE = { left: 26, top: 18 };

function drawGrid() {
  const { gaze } = state;
  get("every").hidden = !gaze;
  if (!gaze) return;
  const columns = gaze.mean ? 1 : 1 + Math.max(...gaze.layers.map(layer => layer.heads));
  const room = Math.max(200, get("grid-box").clientWidth - EDGE.left);
  const step = Math.max(12, Math.min(58, Math.floor(room / columns))), side = step - 2;
  const rows = gaze.layers.map((layer, number) => {
    const heads = gaze.mean ? [] : Array.from({ length: layer.heads }, (_, head) => head);
    return [-1, ...heads].map(head => gaze.look(number, head, state.query));
  });
  const { color, fontFamily } = getComputedStyle(get("source"));
  painter.tile(get("grid"), rows, columns, { ...EDGE, side, step, colour: color, font: `11px ${fontFamily}` }, devicePixelRatio || 1);
  get("grid").dataset.step = step;
  const chosen = get("chosen");
  chosen.hidden = state.way !== "raw_attention";
  if (chosen.hidden) return;
  const column = state.heads ? Math.min(state.head, state.heads - 1) + 1 : 0, row = state.number;
  chosen.style.transform = `translate(${EDGE.left + column * step}px, ${EDGE.top + row * step}px)`;
  chosen.style.width = chosen.style.height = `${side}px`;
}

// ------------------------------------------------------------------------------------------------- choosing an image

async function show(image, name) {
  state.show(image, name);
  get("photo").src = image.photo;
  get("photo").alt = image.source;
  get("photo").classList.toggle("tiny", image.tiny);
  get("answer").textContent = image.answer;
  get("source").textContent = data.models.length > 1 ? `${image.source} · ${state.model.name}` : image.source;
  for (const button of get("pictures").children) button.setAttribute("aria-pressed", button.dataset.source === image.source);
  drawFrom();
  await Promise.all(data.images.filter(other => other.source === image.source).map(other => state.loadMaps(other)));
  await state.loadGaze(image, blob(image));
  if (state.image !== image) return;
  drawFrom();
  drawBeside();
  draw();
}

const blob = image => image.carries === "none" ? "" : get(`gaze-${data.images.indexOf(image)}`).textContent;

// Where to look from besides patches: what the answer is read from, and each prefix token.
function drawFrom() {
  const button = (label, kind, place) => {
    const made = make("button", label);
    Object.assign(made, { type: "button", onclick: () => pin(kind === "answer" ? ANSWER : { kind, place }) });
    Object.assign(made.dataset, { kind, place });
    return made;
  };
  const names = state.model.names || [];
  get("from").replaceChildren(button("the answer", "answer", 0), ...names.map((_, place) => button(bracketed(place), "prefix", place)));
  get("from-box").hidden = !state.image.attends;
}

// What each method, and each model, says of the same picture.
function drawBeside() {
  const figures = data.images.filter(image => image.source === state.image.source).flatMap(image =>
    image.methods.filter(method => method.values).map(method => {
      const figure = make("button", "", "side"), canvas = make("canvas"), photo = make("img"), frame = make("span", "", "frame");
      painter.lay(canvas, method.values, 0.8);
      Object.assign(photo, { src: image.photo, alt: "", className: image.tiny ? "tiny" : "" });
      frame.append(photo, canvas);
      const model = data.models.length > 1 ? `${data.models[image.model].name}: ${image.answer}` : "";
      figure.append(frame, make("b", method.label), make("span", model, "note"));
      figure.type = "button";
      figure.onclick = () => show(image, method.name);
      return figure;
    }));
  get("beside").hidden = figures.length < 2;
  get("beside-figures").replaceChildren(...figures);
}

// ------------------------------------------------------------------------------------------------------------- hands

function pin(query) {
  state.pinned = query;
  state.over = null;
  later();
}

function point(event) {
  const box = get("stage").getBoundingClientRect();
  const inside = (value, side) => Math.min(0.999999, Math.max(0, value / side));
  return { kind: "point", x: inside(event.clientX - box.left, box.width), y: inside(event.clientY - box.top, box.height) };
}

function listen() {
  const stage = get("stage");
  stage.onpointermove = event => {
    if (event.pointerType !== "mouse" || !state.gaze) return;
    state.over = point(event);
    later();
  };
  stage.onpointerleave = () => { if (state.over) { state.over = null; later(); } };
  stage.onclick = event => {
    if (!state.gaze) return;
    state.over = point(event);  // a finger has not pointed before
    const here = point(event), { gaze, at, pinned } = state;
    const again = pinned.kind === "point" && gaze.cell(at, pinned) === gaze.cell(at, here);
    pin(again ? ANSWER : here);
  };
  const moved = (id, change) => { get(id).oninput = event => { change(Number(event.target.value)); later(); }; };
  moved("method", value => { state.choose(value); });
  moved("layer", value => { state.go(value); });
  moved("head", value => { state.head = value; });
  moved("opacity", value => { state.opacity = value / 100; });
  get("grid").onclick = event => {
    const { step } = get("grid").dataset, { gaze } = state;
    const row = Math.floor((event.offsetY - EDGE.top) / step), column = Math.floor((event.offsetX - EDGE.left) / step);
    const layer = gaze.layers[row];
    if (!layer || column < 0 || column > (gaze.mean ? 0 : layer.heads)) return;
    state.choose(state.image.methods.findIndex(method => method.name === "raw_attention"));
    state.go(row);
    state.head = column - 1;
    later();
  };
  document.onkeydown = press;
  addEventListener("resize", later);
}

// Where the arrow keys begin.
const MIDDLE = { kind: "point", x: 0.5, y: 0.5 };

const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

function press(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const onStage = document.activeElement === get("stage");
  if (event.key in ARROWS && onStage && state.gaze) {
    state.over = state.over || (state.pinned.kind === "point" ? null : MIDDLE);
    const [height, width] = state.at.grid, [down, right] = ARROWS[event.key], { gaze, at, query } = state;
    const cell = gaze.cell(at, query), still = query === MIDDLE;
    const row = Math.min(height - 1, Math.max(0, Math.floor(cell / width) + (still ? 0 : down)));
    const column = Math.min(width - 1, Math.max(0, cell % width + (still ? 0 : right)));
    pin({ kind: "point", x: (column + 0.5) / width, y: (row + 0.5) / height });
  } else if (event.key === "Escape") {
    pin(ANSWER);
  } else if ("lhm".includes(event.key.toLowerCase()) && event.key.length === 1) {
    const slider = get({ l: "layer", h: "head", m: "method" }[event.key.toLowerCase()]);
    if (slider.disabled) return;
    slider.value = Number(slider.value) + (event.key === event.key.toLowerCase() ? 1 : -1);
    slider.dispatchEvent(new Event("input"));
  } else {
    return;
  }
  event.preventDefault();
}

// -------------------------------------------------------------------------------------------------------------- begin

async function begin() {
  if (!data.images.length) return;
  if (!("DecompressionStream" in globalThis)) throw new Error("this browser is too old for this page: it needs DecompressionStream (2023)");
  state = new State(data);
  get("pictures").replaceChildren(...state.sources.map(source => {
    const image = data.images.find(one => one.source === source), button = make("button", "", "thumb");
    Object.assign(button, { type: "button", title: source, onclick: () => show(data.images.find(one => one.source === source && one.model === state.image.model) || image) });
    button.dataset.source = source;
    button.append(Object.assign(make("img"), { src: image.photo, alt: source, className: image.tiny ? "tiny" : "" }));
    return button;
  }));
  get("pictures").hidden = state.sources.length < 2;
  listen();
  await show(data.images[0]);
  get("view").hidden = false;
  draw();
  document.documentElement.dataset.ready = "true";
}

begin().catch(error => {
  get("trouble").hidden = false;
  get("trouble").textContent = String(error.message || error);
  throw error;
});
