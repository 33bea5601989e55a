// Every page: its address (:id is a run or a data set), its name in the menu ("" for pages that are
// reached from a run), and the file that shows it. A new page is one file and one line here.
import type { ComponentType } from "preact";

export interface PageProps {
  id: string;
}

export interface Page {
  path: string;
  name: string;
  load: () => Promise<{ default: ComponentType<PageProps> }>;
}

export const PAGES: Page[] = [
  { path: "/", name: "Runs", load: () => import("./pages/runs") },
  { path: "/train", name: "Train", load: () => import("./pages/train") },
  { path: "/playground", name: "Playground", load: () => import("./pages/playground") },
  { path: "/descend", name: "Descend", load: () => import("./pages/descend") },
  { path: "/graph", name: "Graph", load: () => import("./pages/graph") },
  { path: "/convolution", name: "Convolution", load: () => import("./pages/convolution") },
  { path: "/run/:id", name: "", load: () => import("./pages/run") },
  { path: "/watch/:id", name: "", load: () => import("./pages/watch") },
  { path: "/data/:id", name: "", load: () => import("./pages/data") },
  { path: "/draw/:id", name: "", load: () => import("./pages/draw") },
];
