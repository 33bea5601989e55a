// The address of the page: links inside the studio change it without loading anything anew.
import { useEffect, useState } from "preact/hooks";

const CHANGED = "striate-address";

export function go(path: string): void {
  history.pushState(null, "", path);
  dispatchEvent(new Event(CHANGED));
  scrollTo(0, 0);
}

// What a page wants to be found in its address again, without a step back in the history.
export function keep(query: string): void {
  history.replaceState(null, "", location.pathname + query);
}

export const here = (path: string, page: string) =>
  page === "/" ? path === "/" || path.startsWith("/run/") : path.startsWith(page);

export function useAddress(): string {
  const [path, setPath] = useState(location.pathname);
  useEffect(() => {
    const changed = () => setPath(location.pathname);
    const follow = (event: MouseEvent) => {
      const link = (event.target as Element | null)?.closest?.("a");
      const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey;
      if (!link || !plain || link.target || link.origin !== location.origin || link.hash) return;
      event.preventDefault();
      go(link.pathname + link.search);
    };
    addEventListener(CHANGED, changed);
    addEventListener("popstate", changed);
    document.addEventListener("click", follow);
    return () => {
      removeEventListener(CHANGED, changed);
      removeEventListener("popstate", changed);
      document.removeEventListener("click", follow);
    };
  }, []);
  return path;
}
