// Documents that a page holds which is one file: the one that answers a path best.

/** Whether this is the page that is one file (`plan --html`). */
export const IS_ALONE = import.meta.env.MODE === "sheet";

function asks(path: string): { at: string; device: string | null; from: number; to: number } {
  const [at = "", text = ""] = path.split("?", 2);
  const query = new URLSearchParams(text);
  return { at, device: query.get("device"), from: Number(query.get("from_ns") ?? 0), to: Number(query.get("to_ns") ?? Infinity) };
}

/** The document itself; else, whatever its detail, that of the shortest window which holds the one that is asked for. */
export function nearest(paths: string[], path: string): string | undefined {
  if (paths.includes(path)) return path;
  const wanted = asks(path);
  const fits = paths.map((own) => ({ own, ...asks(own) }))
    .filter((own) => own.at === wanted.at && own.device === wanted.device && own.from <= wanted.from && own.to >= wanted.to);
  return fits.sort((a, b) => (a.to - a.from) - (b.to - b.from))[0]?.own;
}
