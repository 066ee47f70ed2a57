// The page: what the person shows the net, what it answers, and what is asked next.

import { drawPixels } from "./colours.js";
import { Inspector, place } from "./inspector.js";
import { Layers } from "./layers.js";
import { Pad } from "./pad.js";
import { ask, Gone, net as askNet, tests as askTests } from "./server.js";
import { make, percent, short } from "./words.js";

const PAGE_OF_TESTS = 24;
const MAX_BARS = 12;
const RETRY = 1000; // milliseconds until a server that is gone is asked again

const find = (id) => document.getElementById(id);
const net = await askNet();

// What is shown, and how. `source` is what the net sees: the drawing, a test image or a file.
const state = { source: null, picture: null, epoch: net.epoch, off: [], unit: null };
let answer = null; // the last look: its header and bytes

const pad = new Pad(find("pad"), find("pen"), find("pad-says"), () => show({ kind: "drawing" }), net.light_on_dark);
const layers = new Layers(find("layers"), net, choose, () => askLook());
const inspector = new Inspector(find("inspector"), net, choose, switchPart, closeInspector);

// Asking: one request of a kind is on its way, and the newest wish waits.

const waiting = { look: null, unit: null, field: null };
const running = new Set();

function wish(kind, makeAsked, take) {
  waiting[kind] = { makeAsked, take };
  if (!running.has(kind)) run(kind);
}

async function run(kind) {
  running.add(kind);
  find("answer").setAttribute("aria-busy", true);
  while (waiting[kind]) {
    const { makeAsked, take } = waiting[kind];
    waiting[kind] = null;
    try {
      const { asked, content } = await makeAsked();
      const found = await ask(kind, asked, content);
      if (waiting[kind] === null || kind === "look") take(found);
      fault("");
      gone(false);
    } catch (error) {
      await fail(kind, error, { makeAsked, take });
    }
  }
  running.delete(kind);
  find("answer").setAttribute("aria-busy", running.size > 0);
}

async function fail(kind, error, again) {
  if (error instanceof Gone) {
    gone(true);
    await new Promise((resolve) => setTimeout(resolve, RETRY));
    waiting[kind] ??= again;
  } else if (error.status === 410 && state.picture !== null) {
    state.picture = null; // sent again, with what is asked
    waiting[kind] ??= again;
  } else if (error.status === 403) {
    gone(false);
    fault("Another explorer runs at this address now. Open the address that it printed.");
  } else if (error.status !== 409) {
    gone(false);
    if (error.status === undefined) throw error;
    fault(error.message);
  }
}

function fault(line) {
  find("fault").textContent = line;
  find("fault").hidden = !line;
}

function gone(is) {
  find("gone").hidden = !is;
}

/** What is asked, with the picture's number if cnnzoo has it, else with the picture itself. */
async function asked(more = {}) {
  const { source, picture, epoch, off } = state;
  const base = { epoch, off, in_full: [...layers.inFull], ...more };
  if (source.kind === "test") return { asked: { ...base, test: source.index } };
  if (picture !== null) return { asked: { ...base, picture } };
  const isDrawn = source.kind === "drawing";
  const content = isDrawn ? await pad.content() : source.file;
  const crop = find(isDrawn ? "crop-drawing" : "crop-file")?.checked ?? false;
  const invert = isDrawn ? (net.light_on_dark ? "no" : "auto") : find("invert").value;
  return { asked: { ...base, name: isDrawn ? "the drawing" : source.file.name.slice(-200), crop, invert }, content };
}

/** Show the net something. */
function show(source) {
  state.source = source;
  state.picture = null;
  askLook();
}

function askLook() {
  if (!state.source) return;
  const { source } = state;
  wish(
    "look",
    () => asked(),
    ({ header, bytes }) => {
      // Strokes of one drawing may be shown late; another picture may not.
      if (state.source !== source && !(source.kind === "drawing" && state.source.kind === "drawing")) return;
      if (state.source.kind !== "drawing") state.picture = header.picture;
      took(header, bytes);
    },
  );
}

function took(header, bytes) {
  answer = { header, bytes };
  const [height, width, channels] = header.seen;
  drawPixels(find("seen"), bytes.subarray(0, height * width * channels), width, height, channels);
  layers.show(header, bytes, state.off);
  drawBars(header);
  const notes = [state.source.index === undefined ? "" : `test image ${state.source.index}`].filter(Boolean);
  if (header.inverted) notes.push("the negative is shown to the net, which was trained on light figures on dark");
  if (header.truth !== null) notes.push(`its class is ${net.classes[header.truth]}`);
  find("seen-note").textContent = notes.length ? `${notes.join("; ")}.` : "";
  document.body.classList.add("has-answer");
  askUnit();
}

// The answer: a bar for each class, or for the likeliest.

let saying;
function drawBars({ probabilities, before }) {
  const order = probabilities.map((_, index) => index);
  const byShare = [...order].sort((a, b) => probabilities[b] - probabilities[a]);
  const shown = order.length <= MAX_BARS ? order : byShare.slice(0, MAX_BARS - 2);
  const bars = shown.map((label) => {
    const [bar, ghost] = [make("span", { class: "bar" }), make("span", { class: "ghost" })];
    bar.style.width = `${100 * probabilities[label]}%`;
    ghost.hidden = !before || before[label] < 0.02;
    if (before) ghost.style.width = `${100 * before[label]}%`;
    const share = before && percent(before[label]) !== percent(probabilities[label])
      ? [make("s", {}, [percent(before[label])]), ` ${percent(probabilities[label])}`]
      : [percent(probabilities[label])];
    const row = make("li", { class: label === byShare[0] ? "class best" : "class" }, [
      make("span", { class: "name", title: net.classes[label] }, [net.short[label]]),
      make("span", { class: "track", "aria-hidden": "true" }, [ghost, bar]),
      make("span", { class: "share" }, share),
    ]);
    return row;
  });
  find("bars").replaceChildren(...bars);
  const more = order.length - shown.length;
  find("bars-more").textContent = more ? `and ${more.toLocaleString("en")} classes less likely` : "";
  clearTimeout(saying); // said once the pen rests, and not at each stroke
  saying = setTimeout(() => {
    const best = byShare[0];
    find("says").textContent = `${net.classes[best]}, ${percent(probabilities[best])}`;
  }, 700);
}

// One unit.

function choose(index, unit) {
  state.unit = { index, unit };
  document.body.classList.add("inspecting");
  inspector.open(index, unit);
  layers.mark(index, unit[0]);
  askUnit();
}

function askUnit() {
  if (!state.unit || !answer) return;
  const { index, unit } = state.unit;
  const isMeant = () => state.unit?.index === index && state.unit.unit === unit;
  inspector.draw(layers.look, state.off);
  wish("unit", () => asked({ layer: index, unit }), ({ header }) => isMeant() && inspector.tell(header));
  const key = `${index}/${unit}`;
  if (fields.has(key)) seesField(fields.get(key));
  else {
    wish("field", () => asked({ layer: index, unit }), ({ header }) => {
      fields.set(key, header.box);
      if (isMeant()) seesField(header.box);
    });
  }
}

const fields = new Map(); // what a unit sees does not depend on the picture

function seesField(box) {
  inspector.sees(box, answer.header.seen, answer.bytes);
  find("seen-box").hidden = !box;
  if (box) place(find("seen-box"), ...box, ...answer.header.seen.slice(0, 2));
}

function closeInspector() {
  const { index } = state.unit ?? {};
  state.unit = null;
  document.body.classList.remove("inspecting");
  find("inspector").hidden = true;
  find("seen-box").hidden = true;
  layers.list.querySelector(".map.chosen")?.focus();
  layers.mark(index, -1);
}

// What is switched off.

function switchPart(part, isOff) {
  const same = (other) => other.length === part.length && other.every((value, i) => value === part[i]);
  state.off = state.off.filter((other) => !same(other));
  if (isOff) state.off.push(part);
  drawOff();
  askLook();
}

function drawOff() {
  find("off").hidden = !state.off.length;
  const chips = state.off.map((part) => {
    const [index, ...unit] = part;
    const layer = net.layers[index];
    const where = unit.length === 1 && layer.maps ? `map ${unit[0]}` : `unit ${unit.join(", ")}`;
    const chip = make("button", { type: "button", "aria-label": `Switch ${layer.name}, ${where}, on again` }, [`${layer.name}, ${where} ✕`]);
    chip.addEventListener("click", () => switchPart(part, false));
    return make("li", {}, [chip]);
  });
  find("off-list").replaceChildren(...chips);
}

find("all-on").addEventListener("click", () => {
  state.off = [];
  drawOff();
  askLook();
});

// The ways in which a picture comes.

const tabs = [...document.querySelectorAll('[role="tab"]')];
function open(tab) {
  for (const each of tabs) {
    const isOpen = each === tab;
    each.setAttribute("aria-selected", isOpen);
    each.tabIndex = isOpen ? 0 : -1;
    find(each.getAttribute("aria-controls")).hidden = !isOpen;
  }
}
tabs.forEach((tab, index) => {
  tab.addEventListener("click", () => open(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = tabs[(index + step + tabs.length) % tabs.length];
    open(next);
    next.focus();
  });
});

find("clear").addEventListener("click", () => pad.clear());
find("undo").addEventListener("click", () => pad.undo());
find("crop-drawing")?.addEventListener("change", () => pad.changed());
for (const id of ["crop-file", "invert"]) {
  find(id)?.addEventListener("change", () => state.source?.kind === "file" && show({ ...state.source }));
}
find("ink")?.addEventListener("input", (event) => (pad.ink = event.target.value));

let firstTest = 0;
let numTests = 0;
async function showTests(start) {
  let found;
  try {
    found = await askTests(start, PAGE_OF_TESTS);
  } catch (error) {
    if (error instanceof Gone) gone(true);
    else if (error.status !== 409) find("tests-note").textContent = error.message;
    return;
  }
  const { num, labels, size } = found.header;
  [firstTest, numTests] = [start, num];
  const [height, width, channels] = size;
  const length = height * width * channels;
  const buttons = labels.map((label, i) => {
    const canvas = make("canvas");
    drawPixels(canvas, found.bytes.subarray(i * length, (i + 1) * length), width, height, channels);
    const name = `test image ${start + i}, ${net.classes[label]}`;
    const button = make("button", { type: "button", title: name, "aria-label": name, "aria-pressed": false }, [canvas]);
    button.addEventListener("click", () => {
      find("tests").querySelector('[aria-pressed="true"]')?.setAttribute("aria-pressed", false);
      button.setAttribute("aria-pressed", true);
      show({ kind: "test", index: start + i });
    });
    return button;
  });
  find("tests").replaceChildren(...buttons);
  find("tests-note").textContent = `${start} to ${start + labels.length - 1} of ${num.toLocaleString("en")}`;
  find("tests-back").disabled = start === 0;
  find("tests-on").disabled = start + PAGE_OF_TESTS >= num;
}
find("tests-back").addEventListener("click", () => showTests(Math.max(0, firstTest - PAGE_OF_TESTS)));
find("tests-on").addEventListener("click", () => showTests(firstTest + PAGE_OF_TESTS));
find("tests-any").addEventListener("click", () => showTests(Math.floor(Math.random() * Math.max(1, numTests - PAGE_OF_TESTS))));

find("file").addEventListener("change", (event) => take(event.target.files[0]));
function take(file) {
  if (!file) return;
  if (!file.size) return fault(`${file.name} is empty. Choose another.`);
  open(find("tab-file"));
  find("file-name").textContent = file.name;
  show({ kind: "file", file });
}
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  take(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => take(event.clipboardData?.files[0]));

// Epochs.

const slider = find("epoch");
if (net.epochs.length > 1) {
  find("epochs").hidden = false;
  slider.max = net.epochs.length - 1;
  slider.value = net.epochs.indexOf(net.epoch);
  const tell = () => {
    state.epoch = net.epochs[slider.value];
    find("epoch-says").textContent = `epoch ${state.epoch}`;
    slider.setAttribute("aria-valuetext", `epoch ${state.epoch}`);
  };
  slider.addEventListener("input", () => {
    tell();
    askLook();
  });
  tell();
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && state.unit) closeInspector();
});

// Nobody has to ask for it to be seen that the server is gone, or is back.
setInterval(async () => {
  if (running.size || document.hidden) return;
  try {
    await askNet();
    gone(false);
  } catch (error) {
    if (error instanceof Gone) gone(true);
    else await fail("look", error, null);
  }
}, 3000);

open(find("tab-tests").dataset.first === "true" ? find("tab-tests") : find("tab-draw"));
// Something to look at until the person chooses: the first test image, where there are test images.
showTests(0).then(() => numTests && (state.source ?? show({ kind: "test", index: 0 })));
document.body.classList.add("ready");
if (!net.wired) find("wiring-note").hidden = false;
