// Light or dark: as the system has it, or as was chosen here.
import { useEffect, useState } from "preact/hooks";

const KEY = "striate-theme";

export function ThemeButton() {
  const [dark, setDark] = useState(() => {
    const chosen = localStorage.getItem(KEY);
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  });
  useEffect(() => {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    dispatchEvent(new Event("striate-theme"));
  }, [dark]);
  return (
    <button
      class="quiet theme"
      aria-label={dark ? "Change to light colours" : "Change to dark colours"}
      onClick={() => {
        localStorage.setItem(KEY, dark ? "light" : "dark");
        setDark(!dark);
      }}
    >
      <span aria-hidden="true">{dark ? "☀" : "☾"}</span>
    </button>
  );
}

export const colour = (name: string) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// Counts up when the colours change, for what is drawn on a canvas.
export function useTheme(): number {
  const [count, setCount] = useState(0);
  useEffect(() => {
    const changed = () => setCount((n) => n + 1);
    addEventListener("striate-theme", changed);
    return () => removeEventListener("striate-theme", changed);
  }, []);
  return count;
}
