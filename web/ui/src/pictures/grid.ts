// Filled boxes, as pixels: a canvas without a GPU takes many times as long for the same ones.

import type { Pen } from "./graph-draw";

/** What boxes are drawn with, of a canvas's words. */
export type Filler = Pick<Pen, "fillStyle" | "fillRect" | "createPattern">;

/** Colours as a picture's pixels hold them, whatever CSS calls them. */
function pixel(style: string, ground: string): number {
  const one = new OffscreenCanvas(1, 1).getContext("2d")!;
  for (const own of [ground, style]) { one.fillStyle = own; one.fillRect(0, 0, 1, 1); }
  return new Uint32Array(one.getImageData(0, 0, 1, 1).data.buffer)[0]!;
}

/** Boxes snap to pixels and are a pixel wide and high at least. */
export class Grid implements Filler {
  private image = new ImageData(1, 1);
  private pixels = new Uint32Array(1);
  private scale = 1;
  private ground = "";
  /** A colour, or lines of a pattern as long as the picture is wide. */
  private own: number | Uint32Array[] = 0;
  private style: Pen["fillStyle"] = "";
  private readonly known = new Map<Pen["fillStyle"], number | Uint32Array[]>();

  /** A picture of so many pixels, of one colour. */
  begin(width: number, height: number, scale: number, ground: string): void {
    if (this.image.width !== width || this.image.height !== height || this.scale !== scale || this.ground !== ground) { this.known.clear(); this.style = ""; }
    if (this.image.width !== width || this.image.height !== height) {
      this.image = new ImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    this.scale = scale;
    this.ground = ground;
    this.fillStyle = ground;
    this.pixels.fill(this.own as number);
  }

  /** Puts it on a canvas. */
  end(canvas: CanvasRenderingContext2D): void { canvas.putImageData(this.image, 0, 0); }

  get fillStyle(): Pen["fillStyle"] { return this.style; }
  set fillStyle(style: Pen["fillStyle"]) {
    if (style === this.style) return;
    let own = this.known.get(style);
    if (own === undefined) this.known.set(style, own = pixel(style as string, this.ground));
    [this.style, this.own] = [style, own];
  }

  createPattern(tile: CanvasImageSource): CanvasPattern {
    const key = tile as unknown as CanvasPattern;
    if (this.known.has(key)) return key;
    const { width } = this.image;
    const size = Math.max(1, Math.round((tile as HTMLCanvasElement).width * this.scale));
    const one = new OffscreenCanvas(size, size).getContext("2d")!;
    one.drawImage(tile, 0, 0, size, size);
    const from = new Uint32Array(one.getImageData(0, 0, size, size).data.buffer);
    const lines = Array.from({ length: size }, (_, y) => Uint32Array.from({ length: width }, (_, x) => from[y * size + (x % size)]!));
    this.known.set(key, lines);
    return key;
  }

  fillRect(x: number, y: number, width: number, height: number): void {
    const { image: { width: wide, height: high }, pixels, own, scale } = this;
    const left = Math.max(0, Math.round(x * scale)), right = Math.min(wide, Math.max(left + 1, Math.round((x + width) * scale)));
    const top = Math.max(0, Math.round(y * scale)), bottom = Math.min(high, Math.max(top + 1, Math.round((y + height) * scale)));
    if (right <= left) return;
    for (let line = top; line < bottom; line += 1) {
      const at = line * wide;
      if (typeof own !== "number") pixels.set(own[line % own.length]!.subarray(left, right), at + left);
      else if (right - left > 16) pixels.fill(own, at + left, at + right);
      else for (let own_at = at + left; own_at < at + right; own_at += 1) pixels[own_at] = own;
    }
  }
}
