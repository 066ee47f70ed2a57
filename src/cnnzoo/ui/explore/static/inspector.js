// One unit: where it is, what it sees, how its number came about, and how to switch it off.

import { drawMap, drawPixels, signed } from "./colours.js";
import { grid } from "./layers.js";
import { coordinates, make, places, short, told } from "./words.js";

const MAX_TEXT = 7; // a kernel of more numbers a side is shown in colours alone

/** What is said of one unit. `chosen` is called where another one is meant, `switched` to switch something. */
export class Inspector {
  constructor(root, net, chosen, switched, closed) {
    Object.assign(this, { root, net, chosen, switched });
    this.find = (name) => root.querySelector(`[data-part="${name}"]`);
    this.find("close").addEventListener("click", () => closed());
    this.map = this.find("map");
    this.map.addEventListener("click", (event) => this.click(event));
    this.map.addEventListener("keydown", (event) => this.key(event));
    this.index = null;
  }

  /** Show another unit's place; its arithmetic follows when it is known. */
  open(index, unit) {
    const isNew = this.index !== index;
    Object.assign(this, { index, unit });
    this.layer = this.net.layers[index];
    this.root.hidden = false;
    this.find("title").textContent = this.layer.name;
    this.find("place").textContent = told(this.layer, unit);
    this.find("whose").textContent = this.layer.maps ? "its map" : "its layer";
    if (isNew) this.makeInputs();
    this.inputs.forEach((input, i) => (input.value = unit[i]));
    this.drawSwitches();
  }

  makeInputs() {
    this.inputs = coordinates(this.layer).map((name, i) => {
      const input = make("input", { type: "number", min: 0, max: this.layer.shape[i] - 1, inputmode: "numeric" });
      input.addEventListener("change", () => {
        const unit = [...this.unit];
        unit[i] = Math.max(0, Math.min(this.layer.shape[i] - 1, Math.round(Number(input.value)) || 0));
        this.chosen(this.index, unit);
      });
      return input;
    });
    const labels = this.inputs.map((input, i) => make("label", {}, [coordinates(this.layer)[i], input]));
    this.find("inputs").replaceChildren(...labels);
  }

  drawSwitches() {
    const off = this.off ?? [];
    const same = (a, b) => a.length === b.length && a.every((value, i) => value === b[i]);
    const parts = this.index === 0 ? [] : [[this.index, ...this.unit]];
    if (this.layer.maps && this.index) parts.unshift([this.index, this.unit[0]]);
    const buttons = parts.map((part) => {
      const isOff = off.some((it) => same(it, part));
      const what = part.length === 2 && this.layer.maps ? `map ${part[1]}` : "this unit";
      const button = make("button", { type: "button", "aria-pressed": isOff }, [`Switch ${what} ${isOff ? "on" : "off"}`]);
      button.addEventListener("click", () => this.switched(part, !isOff));
      return button;
    });
    this.find("switches").replaceChildren(...buttons);
  }

  /** Draw the map that the unit is in, large, with the unit marked. */
  draw(look, off) {
    if (this.index === null || this.root.hidden) return;
    this.off = off;
    this.drawSwitches();
    const it = look.layers[this.index];
    if (!it) return;
    const size = it.height * it.width;
    const isGrid = !this.layer.maps && it.height === 1;
    const number = this.layer.maps ? this.unit[0] : 0;
    this.map.parentElement.hidden = number >= it.num;
    if (number >= it.num) return;
    const bytes = it.bytes.subarray(number * size, (number + 1) * size);
    const { columns, rows } = isGrid ? grid(size) : { columns: it.width, rows: it.height };
    const padded = new Uint8Array(columns * rows);
    padded.set(bytes);
    drawMap(this.map, padded, columns, rows);
    this.shape = { columns, rows, isGrid };
    const [row, column] = this.at();
    place(this.find("mark"), row, column, row + 1, column + 1, rows, columns);
    this.map.setAttribute("aria-label", `${this.layer.name}, ${told(this.layer, this.unit)}. Arrow keys choose another unit.`);
    this.map.style.aspectRatio = `${columns} / ${rows}`;
  }

  at() {
    const { columns, isGrid } = this.shape;
    if (!isGrid) return this.unit.slice(-2);
    return [Math.floor(this.unit[0] / columns), this.unit[0] % columns];
  }

  choose(row, column) {
    const { columns, rows, isGrid } = this.shape;
    if (row < 0 || column < 0 || row >= rows || column >= columns) return;
    const at = row * columns + column;
    if (isGrid && at >= this.layer.shape[0]) return;
    this.chosen(this.index, isGrid ? places(this.layer, 0, 0, at) : places(this.layer, this.unit[0], row, column));
  }

  click(event) {
    const box = this.map.getBoundingClientRect();
    const share = (from, length) => Math.min(0.9999, Math.max(0, from / length));
    this.choose(
      Math.floor(share(event.clientY - box.top, box.height) * this.shape.rows),
      Math.floor(share(event.clientX - box.left, box.width) * this.shape.columns),
    );
  }

  key(event) {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step || !this.shape) return;
    event.preventDefault();
    const [row, column] = this.at();
    this.choose(row + step[0], column + step[1]);
  }

  /** Show the arithmetic of the unit's number. */
  tell(answer) {
    this.find("value").textContent = short(answer.value);
    this.find("rule").textContent = answer.rule;
    this.find("parts").replaceChildren(...answer.parts.map((part) => product(part)));
    this.find("lines").replaceChildren(...answer.lines.map((text) => make("li", {}, [text])));
    const last = answer.lines.length ? `That is the number that the net computed: ${short(answer.value)}.` : "";
    this.find("check").textContent = last;
  }

  /** Show what part of the picture the unit sees. */
  sees(box, seen, bytes) {
    const [height, width, channels] = seen;
    drawPixels(this.find("picture"), bytes, width, height, channels);
    const frame = this.find("box");
    frame.hidden = !box;
    if (box) place(frame, ...box, height, width);
    this.find("sees").textContent = describe(box, height, width);
  }
}

/** Put a frame over some rows and columns of a picture. */
export function place(frame, top, left, bottom, right, rows, columns) {
  frame.style.top = `${(100 * top) / rows}%`;
  frame.style.left = `${(100 * left) / columns}%`;
  frame.style.height = `${(100 * (bottom - top)) / rows}%`;
  frame.style.width = `${(100 * (right - left)) / columns}%`;
}

function describe(box, height, width) {
  if (!box) return "It sees nothing of the picture.";
  const [top, left, bottom, right] = box;
  if (bottom - top === height && right - left === width) return "It sees the whole picture.";
  if (bottom - top === 1 && right - left === 1) return `It is the pixel in row ${top}, column ${left}.`;
  return `It sees ${bottom - top}×${right - left} pixels: rows ${top} to ${bottom - 1}, columns ${left} to ${right - 1}.`;
}

/** A window, and the kernel that it is multiplied by. */
function product(part) {
  const largest = (rows) => Math.max(1e-12, ...rows.flat().map(Math.abs));
  const inside = [table(part.inputs, largest(part.inputs), "taken")];
  if (part.weights) inside.push(make("span", { class: "sign" }, [part.sign]), table(part.weights, largest(part.weights), "kernel"));
  const arrow = part.weights && part.sign === "×" ? "=" : "→";
  inside.push(make("span", { class: "sign" }, [`${arrow} ${short(part.total)}`]));
  return make("figure", { class: "product" }, [make("figcaption", {}, [part.name]), make("div", { class: "grids" }, inside)]);
}

function table(rows, largest, kind) {
  const hasText = rows[0].length <= MAX_TEXT && rows.length <= MAX_TEXT;
  const cells = rows.flat().map((value) => {
    const cell = make("span", {}, [hasText ? tiny(value) : ""]);
    const { background, ink } = signed(value / largest);
    cell.style.background = background;
    cell.style.color = ink;
    cell.title = short(value);
    return cell;
  });
  const name = kind === "kernel" ? "weights" : "numbers taken";
  const grid = make("div", { class: hasText ? "grid" : "grid plain", role: "img", "aria-label": `${rows.length}×${rows[0].length} ${name}` }, cells);
  grid.style.gridTemplateColumns = `repeat(${rows[0].length}, auto)`;
  return grid;
}

function tiny(value) {
  const text = Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
  return text.replace("-", "−").replace(/^(−?)0\./, "$1.");
}
