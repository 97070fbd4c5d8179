// How long something took, in the unit that a person would choose. Pure.

const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1_000],
] as const;

/** The largest unit that it fills, and how many of it; below a second `ms`. */
export function inUnit(ms: number): { readonly unit: "d" | "h" | "min" | "s" | "ms"; readonly count: number } {
  const [unit, size] = UNITS.find(([, one]) => ms >= one) ?? (["ms", 1] as const);
  return { unit, count: ms / size };
}
