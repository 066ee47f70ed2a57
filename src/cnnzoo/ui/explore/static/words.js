// Elements, and numbers and places as a person reads them.

/** Make an element. What it holds are elements and plain text: nothing is ever read as HTML. */
export function make(kind, attributes = {}, inside = []) {
  const element = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...inside);
  return element;
}

/** A number in three digits. */
export function short(value) {
  const size = Math.abs(value);
  const text = size && (size < 0.001 || size >= 1e5) ? value.toExponential(1) : String(Number(value.toPrecision(3)));
  return text.replace("-", "−");
}

/** A share in percent; what is more than none is never 0%, and what is not all never 100%. */
export function percent(share) {
  if (share > 0 && share < 0.0005) return "<0.1%";
  if (share < 1 && share > 0.9995) return ">99.9%";
  return `${(100 * share).toFixed(1)}%`;
}

/** The place of a unit in a layer's output, from its map, row and column as they are drawn. */
export function places(layer, map, row, column) {
  if (layer.shape.length === 3) return layer.maps ? [map, row, column] : [column, 0, 0];
  return layer.shape.length === 2 ? [row, column] : [column];
}

/** The names of a unit's coordinates. */
export function coordinates(layer) {
  if (layer.maps) return ["map", "row", "column"];
  return layer.shape.length === 2 ? ["token", "number"] : ["unit"];
}

/** A unit's place in words. */
export function told(layer, unit) {
  return coordinates(layer)
    .map((name, index) => `${name} ${unit[index]}`)
    .join(", ");
}
