// What is drawn on a canvas, as an SVG file.

import type { Pen } from "./graph-draw";

const escape = (text: string): string => text.replace(/[&<>"']/g, (one) => `&#${one.charCodeAt(0)};`);
const round = (own: number): string => String(Math.round(own * 10) / 10);

/** Takes a canvas's words and writes them down. */
export class SvgPen implements Pen {
  fillStyle: Pen["fillStyle"] = "#000";
  strokeStyle: Pen["strokeStyle"] = "#000";
  lineWidth = 1;
  globalAlpha = 1;
  font = "11px sans-serif";
  textAlign: CanvasTextAlign = "left";
  private readonly parts: string[] = [];
  private readonly patterns: string[] = [];
  private path = "";
  private dash = "";
  private readonly ruler = document.createElement("canvas").getContext("2d")!;

  beginPath(): void { this.path = ""; }
  moveTo(x: number, y: number): void { this.path += `M${round(x)} ${round(y)}`; }
  lineTo(x: number, y: number): void { this.path += `L${round(x)} ${round(y)}`; }
  setLineDash(dash: Iterable<number>): void { this.dash = [...dash].join(" "); }
  stroke(): void { this.parts.push(`<path d="${this.path}" fill="none"${this.line()}/>`); }
  fill(): void { this.parts.push(`<path d="${this.path}"${this.paint()}/>`); }
  fillRect(x: number, y: number, width: number, height: number): void { this.parts.push(`<rect${this.box(x, y, width, height)}${this.paint()}/>`); }
  strokeRect(x: number, y: number, width: number, height: number): void { this.parts.push(`<rect${this.box(x, y, width, height)} fill="none"${this.line()}/>`); }

  fillText(text: string, x: number, y: number): void {
    const anchor = { center: "middle", right: "end" }[this.textAlign as string] ?? "start";
    this.parts.push(`<text x="${round(x)}" y="${round(y)}" text-anchor="${anchor}" style="font:${escape(this.font)}"${this.paint()}>${escape(text)}</text>`);
  }

  measureText(text: string): TextMetrics {
    this.ruler.font = this.font;
    return this.ruler.measureText(text);
  }

  createPattern(tile: CanvasImageSource): CanvasPattern {
    const own = tile as HTMLCanvasElement;
    const id = `p${this.patterns.length}`;
    this.patterns.push(`<pattern id="${id}" width="${own.width}" height="${own.height}" patternUnits="userSpaceOnUse"><image href="${own.toDataURL()}" width="${own.width}" height="${own.height}"/></pattern>`);
    return { id } as unknown as CanvasPattern;
  }

  /** The file. */
  written(width: number, height: number): string {
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"><defs>${this.patterns.join("")}</defs>${this.parts.join("\n")}</svg>\n`;
  }

  private box(x: number, y: number, width: number, height: number): string {
    return ` x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}"`;
  }

  private colour(own: Pen["fillStyle"]): string {
    return typeof own === "string" ? own : `url(#${(own as unknown as { id: string }).id})`;
  }

  private paint(): string { return ` fill="${this.colour(this.fillStyle)}"${this.alpha()}`; }
  private line(): string { return ` stroke="${this.colour(this.strokeStyle)}" stroke-width="${this.lineWidth}"${this.dash === "" ? "" : ` stroke-dasharray="${this.dash}"`}${this.alpha()}`; }
  private alpha(): string { return this.globalAlpha === 1 ? "" : ` opacity="${this.globalAlpha}"`; }
}
