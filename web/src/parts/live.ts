// One socket for the whole page: rows of runs as they change, and the curves that are shown.
import { useEffect, useState } from "preact/hooks";
import type { Curves, RunRow } from "../messages";
import { ask, socket } from "./api";

interface Told {
  rows?: RunRow[];
  waiting?: RunRow[];
  all?: string[];
  curves?: Curves;
}

const MOST_POINTS = 4000;
const BEAT = 50; // milliseconds
const SHARE = 0.02; // of a core, for drawing
const BESIDE = 0.005; // the same while a training is at work
const rows = new Map<string, RunRow>();
let waiting: RunRow[] = [];
let connected = false;
const listeners = new Set<() => void>();
const curves = new Map<string, Curves>();
const wanted = new Set<string>();
let link: WebSocket | undefined;
let pause = 500;
let waits = false;
let next = 0;

// Draws at most twenty times a second, and so seldom that drawing stays a small part of a core: a
// training may need it.
function changed(): void {
  if (waits) return;
  waits = true;
  setTimeout(
    () =>
      requestAnimationFrame(() => {
        waits = false;
        const began = performance.now();
        listeners.forEach((listener) => listener());
        setTimeout(() => {
          const took = performance.now() - began;
          const busy = [...rows.values()].some((row) => row.state === "running");
          next = performance.now() + Math.max(BEAT, took / (busy ? BESIDE : SHARE));
        });
      }),
    Math.max(0, next - performance.now()),
  );
}

function hear(event: MessageEvent<string>): void {
  const told = JSON.parse(event.data) as Told;
  if (told.curves) extend(told.curves);
  if (told.rows) told.rows.forEach((row) => rows.set(row.id, row));
  if (told.waiting) waiting = told.waiting;
  if (told.all) {
    const known = new Set(told.all);
    for (const id of rows.keys()) if (!known.has(id)) rows.delete(id);
  }
  changed();
}

function extend(more: Curves): void {
  const known = curves.get(more.id);
  if (!known) return;
  if (more.generation !== known.generation) {
    curves.set(more.id, more); // the training was resumed at a checkpoint: these are all of them
    return;
  }
  if (known.step.length > MOST_POINTS) {
    void load(more.id);
    return;
  }
  const joined = { ...more };
  for (const key of ["step", "loss", "lr", "gradient", "epoch_step", "train_loss", "val_loss",
    "val_score", "measured"] as const)
    (joined[key] as unknown[]) = [...known[key], ...more[key]];
  joined.dead = { ...known.dead };
  for (const [layer, values] of Object.entries(more.dead))
    joined.dead[layer] = [...(known.dead[layer] ?? []), ...values];
  curves.set(more.id, joined);
}

async function load(id: string): Promise<void> {
  const found = await ask<Curves>(`runs/${id}/curves`);
  if (!wanted.has(id)) return;
  curves.set(id, found);
  say();
  changed();
}

// What this page has of the curves that it shows: the server tells what is new beyond it.
function say(): void {
  if (link?.readyState !== WebSocket.OPEN) return;
  const has = [...curves].map(([id, c]) => [id, [c.generation, c.step.at(-1) ?? 0, c.epochs, c.measurements]]);
  link.send(JSON.stringify({ runs: Object.fromEntries(has) }));
}

function connect(): void {
  link = socket("live");
  link.onmessage = hear;
  link.onopen = () => {
    connected = true;
    pause = 500;
    for (const id of wanted) void load(id).catch(() => undefined);
    changed();
  };
  link.onclose = () => {
    connected = false;
    changed();
    setTimeout(connect, (pause = Math.min(pause * 2, 10_000)));
  };
}

function listen(listener: () => void): () => void {
  if (!link) connect();
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export interface Runs {
  runs: RunRow[];
  waiting: RunRow[];
  connected: boolean;
  loaded: boolean;
}

let asked = false;

export function useRuns(): Runs {
  const [, setTurn] = useState(0);
  const [loaded, setLoaded] = useState(asked);
  useEffect(() => {
    if (!asked)
      ask<RunRow[]>("runs").then((found) => {
        asked = true;
        found.forEach((row) => row.steps || row.state !== "preparing" ? rows.set(row.id, row) : 0);
        setLoaded(true);
      }, () => setLoaded(true));
    return listen(() => setTurn((n) => n + 1));
  }, []);
  const others = waiting.filter((row) => !rows.get(row.id)?.steps);
  others.forEach((row) => rows.delete(row.id));
  const sorted = [...rows.values()].sort((a, b) => (a.name < b.name ? 1 : -1));
  return { runs: sorted, waiting: others, connected, loaded };
}

export function useCurves(ids: string[]): Curves[] {
  const [, setTurn] = useState(0);
  useEffect(() => {
    const stop = listen(() => setTurn((n) => n + 1));
    for (const id of ids) {
      wanted.add(id);
      if (!curves.has(id)) void load(id).catch(() => undefined);
    }
    // A run that is not there yet, as a branch that reads its data first, is asked for again.
    const again = setInterval(() => {
      for (const id of ids) if (!curves.has(id)) void load(id).catch(() => undefined);
    }, 3000);
    return () => {
      stop();
      clearInterval(again);
      for (const id of ids) {
        wanted.delete(id);
        curves.delete(id);
      }
      say();
    };
  }, [ids.join()]);
  return ids.flatMap((id) => curves.get(id) ?? []);
}
