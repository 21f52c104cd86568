// Names come from files that others made: they are shown as text, whatever they hold.

const CONTROL = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/gu;

/** Control characters and marks of direction as what they are. */
export function plain(text: string): string {
  return text.replace(CONTROL, (one) => {
    const code = one.codePointAt(0)!;
    return code < 0x20 ? String.fromCodePoint(0x2400 + code) : `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}

/** At most `most` characters, cut in the middle. */
export function short(text: string, most = 48): string {
  // No name is longer than what is shown of it in full.
  const shown = [...plain(text.length > 4096 ? text.slice(0, 2048) + "…" + text.slice(-2047) : text)];
  if (shown.length <= most) return shown.join("");
  const head = Math.ceil((most - 1) / 2);
  return `${shown.slice(0, head).join("")}…${shown.slice(shown.length - (most - 1 - head)).join("")}`;
}

/** The first of a digest. */
export const digest = (text: string): string => plain(text).replace(/^sha256:/, "").slice(0, 12);
