// Numbers as people read them.
export function number(value: number | null | undefined, digits = 4): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(Math.min(2, digits - 1)).replace("e+", "e");
  return Number(value.toPrecision(digits)).toString();
}

export const whole = (value: number) => value.toLocaleString("en-US");

export function score(value: number | null, low: number | null, high: number | null): string {
  if (value === null) return "–";
  const interval = low !== null && high !== null ? ` [${low.toFixed(3)}, ${high.toFixed(3)}]` : "";
  return value.toFixed(4) + interval;
}

export function time(seconds: number | null): string {
  if (seconds === null || !Number.isFinite(seconds)) return "–";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

export const shown = (value: unknown): string =>
  value === null || value === undefined
    ? "none"
    : Array.isArray(value)
      ? value.map(shown).join(", ") || "none"
      : typeof value === "number"
        ? number(value, 6)
        : String(value);

// The last part of a path, and an image's name inside its archive or folder.
export const last = (path: string) => path.replace(/[/\\]+$/, "").split(/[/\\]/).at(-1) ?? path;
export const inside = (name: string) =>
  name.includes("#") ? name.slice(name.indexOf("#") + 1) : name.split("/").slice(-3).join("/");
