import { useEffect, useRef, useState } from "preact/hooks";
import { ask } from "./api";

export interface Asked<T> {
  value?: T;
  error?: unknown;
  again: () => void;
}

// What the server says at an address, asked anew when the address changes.
export function useAsk<T>(path: string, query: Record<string, string | number> = {}): Asked<T> {
  const [found, setFound] = useState<{ value?: T; error?: unknown }>({});
  const [turn, setTurn] = useState(0);
  const key = path + JSON.stringify(query);
  const last = useRef(key);
  useEffect(() => {
    if (!path) return;
    const control = new AbortController();
    if (last.current !== key) setFound({}); // what was asked before is no answer to this
    last.current = key;
    ask<T>(path, query, control.signal).then(
      (value) => setFound({ value }),
      (error) => control.signal.aborted || setFound((was) => ({ value: was.value, error })),
    );
    return () => control.abort();
  }, [key, turn]);
  return { ...found, again: () => setTurn((n) => n + 1) };
}

// Asks again and again, as long as the page is seen; the answer says when the next may come.
export function useRepeated<T extends { wait: number }>(
  path: string,
  query: Record<string, string | number>,
  active: boolean,
): Asked<T> {
  const [found, setFound] = useState<{ value?: T; error?: unknown }>({});
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const control = new AbortController();
    let timer = 0;
    const next = async () => {
      let wait = 2000;
      try {
        if (!document.hidden) {
          const value = await ask<T>(path, query, control.signal);
          setFound({ value });
          wait = value.wait;
        }
      } catch (error) {
        if (control.signal.aborted) return;
        setFound((was) => ({ value: was.value, error }));
      }
      if (active && !control.signal.aborted) timer = window.setTimeout(next, wait);
    };
    void next();
    const seen = () => {
      if (document.hidden) return;
      clearTimeout(timer);
      void next();
    };
    document.addEventListener("visibilitychange", seen);
    return () => {
      document.removeEventListener("visibilitychange", seen);
      control.abort();
      clearTimeout(timer);
    };
  }, [path, JSON.stringify(query), active, turn]);
  return { ...found, again: () => setTurn((n) => n + 1) };
}

// The width of an element, followed as it changes.
export function useWidth(): [{ current: HTMLDivElement | null }, number] {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    if (!box.current) return;
    const watch = new ResizeObserver((entries) => setWidth(entries[0]!.contentRect.width));
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  return [box, width];
}
