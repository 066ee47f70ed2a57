// The net, layer by layer: every layer's maps as pictures, and the branches between the layers as arcs.

import { drawMap } from "./colours.js";
import { make, places, short } from "./words.js";

const MAX_COLUMNS = 64; // numbers of a vector in a row

/** The layers of a net. `chosen` is called with a layer's index and a unit's place in it. */
export class Layers {
  constructor(list, net, chosen, wantsAll) {
    Object.assign(this, { list, net, chosen, wantsAll });
    this.inFull = new Set();
    this.look = null;
    this.drawn = new WeakMap(); // of each row, which look it shows
    this.watcher = new IntersectionObserver((seen) => seen.forEach((it) => this.seen(it)), { rootMargin: "300px" });
    this.near = new Set();
    this.rows = net.layers.map((layer, index) => this.row(layer, index));
    this.wires = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.wires.setAttribute("class", "wires");
    this.wires.setAttribute("aria-hidden", "true");
    list.append(this.wires, ...this.rows);
    list.classList.toggle("branched", this.hasBranches());
    this.rows.forEach((row) => this.watcher.observe(row));
    new ResizeObserver(() => this.wire()).observe(list);
  }

  hasBranches() {
    return this.net.layers.some((layer, index) => index && !(layer.sources.length === 1 && layer.sources[0] === index - 1));
  }

  row(layer, index) {
    const shape = layer.shape.map((side) => side.toLocaleString("en")).join("×");
    const head = make("div", { class: "layer-head" }, [
      make("h3", {}, [layer.name]),
      make("span", { class: "about" }, [index ? [layer.type, layer.about].filter(Boolean).join(": ") : layer.about]),
      make("span", { class: "shape" }, [shape]),
    ]);
    const row = make("li", { class: "layer", "data-index": index }, [head]);
    const joined = layer.sources.length > 1;
    if (index && (joined || layer.sources[0] !== index - 1)) {
      const names = layer.sources.map((source) => this.net.layers[source].name);
      const how = { "+": "the sum of", "×": "the product of", joined: "joined from" }[layer.join] ?? "made of";
      const said = joined ? `takes ${how} ${names.join(" and ")}` : `takes ${names[0]}`;
      head.append(make("span", { class: "takes" }, [said]));
    }
    if (layer.hands_on) {
      row.classList.add("hands-on");
      head.append(make("span", { class: "takes" }, ["changes no number"]));
      return row;
    }
    head.append(make("span", { class: "range" }));
    row.maps = make("div", { class: layer.maps ? "maps" : "maps vector", role: "group", "aria-label": layer.name });
    row.maps.addEventListener("keydown", (event) => this.key(event, row));
    row.append(row.maps);
    return row;
  }

  /** Show what the net has made of a picture. */
  show(header, bytes, off) {
    let offset = header.seen.reduce((a, b) => a * b);
    const layers = header.layers.map((layer) => {
      if (!layer) return null;
      const [height, width] = layer.size;
      const start = offset;
      offset += layer.num * height * width;
      return { ...layer, height, width, bytes: bytes.subarray(start, offset) };
    });
    this.look = { layers, off };
    this.near.forEach((row) => this.draw(row));
  }

  seen({ target, isIntersecting }) {
    this.near[isIntersecting ? "add" : "delete"](target);
    if (isIntersecting) this.draw(target);
  }

  draw(row) {
    const index = Number(row.dataset.index);
    const it = this.look?.layers[index];
    if (!it || this.drawn.get(row) === this.look) return;
    this.drawn.set(row, this.look);
    row.querySelector(".range").textContent = `${short(it.low)} to ${short(it.high)}`;
    const layer = this.net.layers[index];
    const tiles = this.tiles(row, layer, index, it.num);
    const size = it.height * it.width;
    tiles.forEach((tile, map) => {
      const bytes = it.bytes.subarray(map * size, (map + 1) * size);
      if (layer.maps || it.height > 1) {
        drawMap(tile.firstChild, bytes, it.width, it.height);
      } else {
        const { columns, rows, zoom } = grid(size);
        const padded = new Uint8Array(columns * rows);
        padded.set(bytes);
        drawMap(tile.firstChild, padded, columns, rows);
        tile.firstChild.style.width = `min(100%, ${columns * zoom}px)`;
        tile.firstChild.style.aspectRatio = `${columns} / ${rows}`;
      }
      const isOff = this.look.off.some((unit) => unit[0] === index && unit.length === 2 && unit[1] === map && layer.maps);
      tile.classList.toggle("off", isOff);
      tile.setAttribute("aria-label", this.says(layer, map, isOff));
    });
    this.wire();
  }

  says(layer, map, isOff) {
    const off = isOff ? ", switched off" : "";
    return layer.maps ? `${layer.name}, map ${map}${off}` : `${layer.name}, ${layer.shape.join("×")} numbers`;
  }

  tiles(row, layer, index, num) {
    const tiles = row.tiles ?? [];
    while (tiles.length > num) tiles.pop().remove();
    while (tiles.length < num) {
      const map = tiles.length;
      const tile = make("button", { type: "button", class: "map", tabindex: map ? -1 : 0 }, [make("canvas")]);
      tile.addEventListener("click", (event) => this.click(event, index, map));
      tiles.push(tile);
      row.maps.append(tile);
    }
    row.tiles = tiles;
    const all = layer.maps ? layer.shape[0] : 1;
    if (all > num && !row.more) {
      const said = `all ${all.toLocaleString("en")}`;
      row.more = make("button", { type: "button", class: "more", "aria-label": `${said} maps of ${layer.name}` }, [said]);
      row.more.addEventListener("click", () => this.expand(row, index));
      row.maps.append(row.more);
    }
    return tiles;
  }

  expand(row, index) {
    this.inFull.add(index);
    row.more.remove();
    row.tiles[0].focus();
    this.wantsAll();
  }

  click(event, index, map) {
    const layer = this.net.layers[index];
    const it = this.look?.layers[index];
    if (!it) return;
    const box = event.currentTarget.firstChild.getBoundingClientRect();
    const byMouse = event.detail > 0; // else by Enter: there the strongest unit is meant
    const x = (event.clientX - box.left) / box.width;
    const y = (event.clientY - box.top) / box.height;
    let column, row;
    if (layer.maps || it.height > 1) {
      [row, column] = [Math.floor(y * it.height), Math.floor(x * it.width)];
      if (!byMouse) [row, column] = strongest(it, map);
    } else {
      const { columns } = grid(it.width);
      const rows = Math.ceil(it.width / columns);
      const at = Math.floor(y * rows) * columns + Math.floor(x * columns);
      [row, column] = byMouse ? [0, at] : strongest(it, map);
    }
    row = Math.max(0, Math.min(it.height - 1, row));
    column = Math.max(0, Math.min(it.width - 1, column));
    this.chosen(index, places(layer, map, row, column));
  }

  key(event, row) {
    const tiles = row.tiles ?? [];
    const at = tiles.indexOf(document.activeElement);
    const across = Math.max(1, tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop).length);
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across }[event.key];
    const next = { Home: 0, End: tiles.length - 1 }[event.key] ?? (step ? at + step : -1);
    if (at < 0 || !tiles[next]) return;
    event.preventDefault();
    tiles.forEach((tile, index) => (tile.tabIndex = index === next ? 0 : -1));
    tiles[next].focus();
  }

  /** Mark the map that a chosen unit is in. */
  mark(index, map) {
    this.list.querySelector(".map.chosen")?.classList.remove("chosen");
    this.rows[index]?.tiles?.[this.net.layers[index].maps ? map : 0]?.classList.add("chosen");
  }

  /** Draw what hands its numbers to what. */
  wire() {
    const top = this.list.getBoundingClientRect().top;
    const middles = this.rows.map((row) => {
      const box = row.querySelector("h3").getBoundingClientRect();
      return (box.top + box.bottom) / 2 - top;
    });
    const width = parseFloat(getComputedStyle(this.list).paddingLeft);
    const x = width - 7;
    const shapes = [];
    this.net.layers.forEach((layer, index) => {
      for (const source of layer.sources) {
        const [from, to] = [middles[source], middles[index]];
        if (source === index - 1) {
          shapes.push(line("path", { d: `M${x} ${from + 5}V${to - 5}`, class: "wire" }));
        } else {
          const bulge = Math.min(width - 10, 8 + 3 * Math.sqrt(index - source));
          const d = `M${x - 4} ${from}C${x - bulge * 1.33} ${from + 14},${x - bulge * 1.33} ${to - 14},${x - 6} ${to}`;
          shapes.push(line("path", { d, class: "wire skip" }));
        }
      }
      shapes.push(line("circle", { cx: x, cy: middles[index], r: layer.join ? 7 : 3.5, class: layer.join ? "join" : "dot" }));
      if (layer.join) {
        const sign = line("text", { x, y: middles[index] + 4, class: "sign" });
        sign.textContent = layer.join === "joined" ? "∥" : layer.join;
        shapes.push(sign);
      }
    });
    this.wires.replaceChildren(...shapes);
  }
}

/** How a vector of so many numbers is laid out. */
export function grid(size) {
  const columns = size <= MAX_COLUMNS ? size : MAX_COLUMNS;
  return { columns, rows: Math.ceil(size / columns), zoom: size <= 20 ? 28 : size <= MAX_COLUMNS ? 12 : 9 };
}

function strongest(it, map) {
  const size = it.height * it.width;
  const bytes = it.bytes.subarray(map * size, (map + 1) * size);
  let best = 0;
  for (let i = 1; i < size; i++) if (bytes[i] > bytes[best]) best = i;
  return [Math.floor(best / it.width), best % it.width];
}

function line(kind, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}
