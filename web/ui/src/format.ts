// The one place where numbers become text. Everything shown goes through `format`.

/** How a number is written: what it counts. */
export type As =
  | "time" // nanoseconds
  | "seconds"
  | "bytes"
  | "bytes-exact"
  | "share"
  | "points" // a difference of shares: percentage points
  | "count"
  | "tokens-per-s"
  | "bytes-per-s"
  | "real" // of no unit, or of one that is named beside it
  | "factor"
  | "date"; // milliseconds since 1970

/** Units of raw values; the others are plain numbers. */
export const UNITS: Partial<Record<As, string>> = {
  time: "ns", seconds: "s", bytes: "B", "bytes-exact": "B", share: "of 1", points: "of 1", "tokens-per-s": "tokens/s", "bytes-per-s": "B/s", date: "ms since 1970",
};

const TIMES: [number, string][] = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]];
const SIZES: [number, string][] = [
  [2 ** 50, "PiB"], [2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"], [1, "B"],
];
const RATES: [number, string][] = [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];

/** Four significant digits, thousands set apart. */
function digits(value: number): string {
  const size = Math.abs(value);
  const places = size >= 1000 || size === 0 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : 3;
  return grouped(value.toFixed(places));
}

function grouped(text: string): string {
  const [whole, part] = text.split(".") as [string, string?];
  const set = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return (part === undefined ? set : `${set}.${part}`).replace("-", "−");
}

/** A place after the point; what is not 0 has as many as it takes to say so. */
function percent(value: number): string {
  const size = Math.abs(value * 100);
  const places = size === 0 || size >= 0.05 ? 1 : Math.min(12, 1 - Math.floor(Math.log10(size)));
  return grouped((value * 100).toFixed(places));
}

/** The largest unit of which there is at least one, once the number is rounded. */
function scaled(value: number, units: [number, string][]): [string, string] {
  const size = Math.abs(value);
  const at = units.findIndex(([unit]) => size / unit >= 0.99995);
  const [unit, name] = units[at < 0 ? units.length - 1 : at]!;
  const is_whole = unit === 1 && Number.isInteger(value);
  return [is_whole ? grouped(String(value)) : digits(value / unit), name];
}

/** Number and unit. */
export function parts(as: As, value: number): [string, string] {
  if (!Number.isFinite(value)) return ["none", ""];
  switch (as) {
    case "time": return scaled(value, TIMES);
    case "seconds": return scaled(Math.round(value * 1e9), TIMES);
    case "bytes": return scaled(value, SIZES);
    case "bytes-exact": return [grouped(String(value)), "B"];
    case "share": return [percent(value), "%"];
    case "points": return [percent(value), "pp"];
    case "count": return [grouped(Number.isInteger(value) ? String(value) : value.toFixed(3)), ""];
    case "tokens-per-s": {
      const [number, unit] = scaled(value, RATES);
      return [number, `${unit} tokens/s`.trim()];
    }
    case "bytes-per-s": {
      const [number, unit] = scaled(value, RATES);
      return [number, `${unit}B/s`];
    }
    case "real": {
      const size = Math.abs(value);
      return [size !== 0 && (size < 0.001 || size >= 1e7) ? value.toExponential(3).replace("-", "−") : digits(value), ""];
    }
    case "factor": return [digits(value), "×"];
    case "date": return [date(value), ""];
  }
}

/** Number and unit in one. */
export function format(as: As, value: number): string {
  const [number, unit] = parts(as, value);
  return unit === "" ? number : `${number} ${unit}`;
}

/** The same without zeros at its end: for the marks of an axis. */
export function axis(as: As, value: number): string {
  const [number, unit] = parts(as, value);
  const bare = number.includes(".") ? number.replace(/\.?0+$/, "") : number;
  return value === 0 ? "0" : `${bare} ${unit}`.trim();
}

/** A difference, with its sign. */
export function signed(as: As, value: number): string {
  const text = format(as, Math.abs(value));
  return value > 0 ? `+${text}` : value < 0 ? `−${text}` : `±${text}`;
}

function date(ms: number): string {
  const at = new Date(ms);
  const two = (n: number) => String(n).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** How long ago, for people. */
export function ago(ms: number, now: number): string {
  const s = Math.max(0, Math.round((now - ms) / 1000));
  if (s < 60) return "just now";
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ago`;
  return date(ms).slice(0, 10);
}

/** Round numbers for an axis from `least` to `most`. */
export function ticks(most: number, n: number, least = 0): number[] {
  if (!(most > least)) return [least];
  const raw = (most - least) / n;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((f) => f * power).find((own) => own >= raw * 0.999)!;
  const first = Math.ceil(least / step - 1e-9);
  return Array.from({ length: Math.floor(most / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}
