// Lines that fill what is no work, by its cause: paths in a square of 8. Unused devices are empty.

export const HATCHES: Record<string, string> = {
  "idle-fill": "M0 4H8",
  "idle-input": "M-2 2L2 -2M0 8L8 0M6 10L10 6",
  "idle-link": "M-2 6L2 10M0 0L8 8M6 -2L10 2",
  "idle-wait": "M0 8L8 0M0 0L8 8",
  "idle-drain": "M1 2H3M5 6H7",
};
