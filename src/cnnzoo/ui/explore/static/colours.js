// Colours of numbers: viridis for what layers put out, blue to orange for what has a sign.

// Viridis (Smith and van der Walt 2015) at 17 places; between them straight lines.
const VIRIDIS = [
  [68, 1, 84], [72, 20, 103], [72, 38, 119], [69, 55, 129], [63, 71, 136], [57, 85, 140], [50, 100, 142],
  [45, 113, 142], [40, 125, 142], [35, 138, 141], [31, 150, 139], [32, 163, 134], [53, 183, 121], [82, 197, 105],
  [116, 208, 85], [165, 219, 54], [253, 231, 37],
];

/** 256 colours as one number each, as ImageData has them on a little-endian machine. */
export const LOOKUP = new Uint32Array(256);
for (let value = 0; value < 256; value++) {
  const place = (value / 255) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(place), VIRIDIS.length - 2);
  const [r, g, b] = [0, 1, 2].map((i) =>
    Math.round(VIRIDIS[low][i] + (place - low) * (VIRIDIS[low + 1][i] - VIRIDIS[low][i])),
  );
  LOOKUP[value] = (255 << 24) | (b << 16) | (g << 8) | r;
}

/** Draw bytes as a picture of `width` by `height` pixels. */
export function drawMap(canvas, bytes, width, height) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const pixels = new Uint32Array(picture.data.buffer);
  for (let i = 0; i < bytes.length; i++) pixels[i] = LOOKUP[bytes[i]];
  context.putImageData(picture, 0, 0);
}

/** Draw grey or RGB bytes as a picture. */
export function drawPixels(canvas, bytes, width, height, channels) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) picture.data[4 * i + c] = bytes[channels === 3 ? 3 * i + c : i];
    picture.data[4 * i + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

/** The colour of a number from -1 (blue) over 0 (white) to 1 (orange), and that of what is written on it. */
export function signed(share) {
  const s = Math.max(-1, Math.min(1, share));
  const end = s < 0 ? [0, 114, 178] : [213, 94, 0]; // Okabe and Ito's
  const mix = end.map((c) => Math.round(255 + (c - 255) * Math.abs(s)));
  return { background: `rgb(${mix.join(",")})`, ink: Math.abs(s) > 0.65 ? "#fff" : "#111" };
}
