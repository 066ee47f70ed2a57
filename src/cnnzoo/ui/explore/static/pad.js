// The pad on which a figure is drawn: by mouse, finger, pen or keyboard.

const SIDE = 280; // pixels, ten for one of MNIST's
const WIDTH = 22; // of the pen; MNIST's strokes are about two of their pixels wide
const STEP = 10; // of an arrow key
const MAX_UNDO = 30;

/** Make a pad of a canvas; `changed` is called whenever something on it has changed. */
export class Pad {
  constructor(canvas, cursor, says, changed, lightOnDark) {
    Object.assign(this, { canvas, cursor, says, changed });
    [this.paper, this.ink] = lightOnDark ? ["#000", "#fff"] : ["#fff", "#000"];
    canvas.width = canvas.height = SIDE;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.before = [];
    this.pen = { x: SIDE / 2, y: SIDE / 2, isDown: false };
    this.isEmpty = true;
    this.fill();
    canvas.addEventListener("pointerdown", (event) => this.start(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (this.last = null));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("focus", () => this.showPen());
    canvas.addEventListener("blur", () => {
      this.pen.isDown = false;
      this.cursor.hidden = true;
    });
  }

  fill() {
    this.context.fillStyle = this.paper;
    this.context.fillRect(0, 0, SIDE, SIDE);
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  }

  start(event) {
    if (event.button > 0) return;
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    this.remember();
    this.cursor.hidden = true;
    this.last = this.place(event);
    this.line(this.last, this.last);
  }

  move(event) {
    if (!this.last) return;
    for (const each of event.getCoalescedEvents?.() ?? [event]) {
      const next = this.place(each);
      this.line(this.last, next);
      this.last = next;
    }
  }

  line([x, y], [toX, toY]) {
    const pen = this.context;
    Object.assign(pen, { lineCap: "round", lineJoin: "round", lineWidth: WIDTH, strokeStyle: this.ink });
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(toX + 0.01, toY);
    pen.stroke();
    this.isEmpty = false;
    this.changed();
  }

  key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step) {
      const from = [this.pen.x, this.pen.y];
      const kept = (value) => Math.max(STEP, Math.min(SIDE - STEP, value));
      this.pen.x = kept(this.pen.x + step[0] * STEP);
      this.pen.y = kept(this.pen.y + step[1] * STEP);
      if (this.pen.isDown || event.shiftKey) {
        if (!this.pen.isDown) this.remember();
        this.line(from, [this.pen.x, this.pen.y]);
      }
    } else if (event.key === " " || event.key === "Enter") {
      this.pen.isDown = !this.pen.isDown;
      if (this.pen.isDown) {
        this.remember();
        this.line([this.pen.x, this.pen.y], [this.pen.x, this.pen.y]);
      }
    } else if (event.key === "Backspace" || event.key === "Delete") {
      this.clear();
    } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
      this.undo();
    } else {
      return;
    }
    event.preventDefault();
    this.showPen();
  }

  showPen() {
    if (!this.canvas.matches(":focus-visible")) return;
    this.cursor.hidden = false;
    this.cursor.style.left = `${(this.pen.x / SIDE) * 100}%`;
    this.cursor.style.top = `${(this.pen.y / SIDE) * 100}%`;
    this.cursor.classList.toggle("down", this.pen.isDown);
    const place = `column ${Math.round(this.pen.x / STEP)}, row ${Math.round(this.pen.y / STEP)}`;
    this.says.textContent = `Pen ${this.pen.isDown ? "down" : "up"}, ${place} of ${SIDE / STEP}`;
  }

  remember() {
    this.before.push([this.context.getImageData(0, 0, SIDE, SIDE), this.isEmpty]);
    if (this.before.length > MAX_UNDO) this.before.shift();
  }

  undo() {
    const last = this.before.pop();
    if (!last) return;
    this.context.putImageData(last[0], 0, 0);
    this.isEmpty = last[1];
    this.changed();
  }

  clear() {
    this.remember();
    this.fill();
    this.isEmpty = true;
    this.changed();
  }

  /** The drawing as the bytes of a PNG. */
  content() {
    return new Promise((resolve) => this.canvas.toBlob(resolve, "image/png"));
  }
}
