// The frame of every page: the menu, and the page that the address names.
import { type ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ask } from "./parts/api";
import { here, useAddress } from "./parts/address";
import { type Page, PAGES, type PageProps } from "./pages";
import { Failure } from "./parts/failure";
import { ThemeButton } from "./parts/theme";
import { SessionContext } from "./parts/session";
import type { Session } from "./messages";

interface Found {
  page: Page;
  id: string;
}

function pageAt(path: string): Found | undefined {
  for (const page of PAGES) {
    const start = page.path.replace(":id", "");
    if (page.path === path) return { page, id: "" };
    if (page.path.endsWith(":id") && path.startsWith(start) && path.length > start.length)
      return { page, id: decodeURIComponent(path.slice(start.length)) };
  }
  return undefined;
}

export function App() {
  const path = useAddress();
  const found = pageAt(path);
  const [Shown, setShown] = useState<{ of: Page; view: ComponentType<PageProps> }>();
  const [session, setSession] = useState<Session>();
  const [error, setError] = useState<unknown>();

  useEffect(() => {
    ask<Session>("session").then(setSession, setError);
  }, []);
  useEffect(() => {
    if (!found) return;
    found.page.load().then((m) => setShown({ of: found.page, view: m.default }), setError);
    document.title = `${found.page.name || "Run"} – Striate studio`;
  }, [found?.page]);

  const View = Shown && found && Shown.of === found.page ? Shown.view : undefined;
  return (
    <>
      <a class="skip" href="#content">
        To the content
      </a>
      <header class="top">
        <a class="brand" href="/">
          <img src="/assets/striate.svg" alt="" width="24" height="24" /> Striate
        </a>
        <nav aria-label="Pages">
          {PAGES.filter((page) => page.name).map((page) => (
            <a href={page.path} aria-current={here(path, page.path) ? "page" : undefined}>
              {page.name}
            </a>
          ))}
        </nav>
        {session?.read_only && <span class="badge">shows only</span>}
        <ThemeButton />
      </header>
      <main id="content" tabIndex={-1}>
        <Failure error={error} />
        {!found && (
          <p>
            There is no page at this address. <a href="/">To the runs</a>
          </p>
        )}
        {View && session && (
          <SessionContext.Provider value={session}>
            <View id={found!.id} key={path} />
          </SessionContext.Provider>
        )}
      </main>
    </>
  );
}
