// The playground's socket: settings and commands out, pictures of the whole in.
import { useEffect, useRef, useState } from "preact/hooks";
import type { FindingRow } from "../messages";
import { socket } from "./api";

export interface Settings {
  data: string;
  points: [number, number, number][];
  count: number;
  noise: number;
  test_share: number;
  features: string[];
  layers: number[];
  activation: string;
  rule: string;
  lr: number;
  momentum: number;
  schedule: string;
  batch_size: number;
  l1: number;
  l2: number;
  dropout: number;
  epochs: number;
  seed: number;
}

export interface Picture {
  settings: Settings;
  step: number;
  epoch: number;
  per_epoch: number;
  train: number | null;
  test: number | null;
  done: boolean;
  failed: boolean;
  weights: number[][][];
  biases: number[][];
  units: number[];
  side: number;
  small: number;
  findings: FindingRow[];
  problem: string;
  points?: { train: number[][]; test: number[][]; heights: boolean };
  whole: Uint8Array;
  maps: Uint8Array[][]; // features, each layer's units, output
}

export function decoded(data: ArrayBuffer): Picture {
  const size = new DataView(data).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, size))) as Picture;
  let at = 4 + size;
  const take = (count: number) => {
    const found = new Uint8Array(data, at, count);
    at += count;
    return found;
  };
  head.whole = take(head.side ** 2);
  head.maps = head.units.map((units) => Array.from({ length: units }, () => take(head.small ** 2)));
  return head;
}

export interface Game {
  picture?: Picture;
  history: { step: number[]; train: (number | null)[]; test: (number | null)[] };
  points?: Picture["points"];
  connected: boolean;
  say: (command: object) => void;
}

const MOST = 2000;

export function useGame(first: Partial<Settings>): Game {
  const [picture, setPicture] = useState<Picture>();
  const [connected, setConnected] = useState(false);
  const history = useRef<Game["history"]>({ step: [], train: [], test: [] });
  const points = useRef<Picture["points"]>();
  const link = useRef<WebSocket>();
  const now = useRef(first);
  useEffect(() => {
    let gone = false;
    let timer = 0;
    const open = () => {
      const made = socket("play");
      made.binaryType = "arraybuffer";
      made.onopen = () => {
        setConnected(true);
        made.send(JSON.stringify({ settings: now.current }));
      };
      made.onclose = () => {
        setConnected(false);
        if (!gone) timer = window.setTimeout(open, 2000);
      };
      made.onmessage = (event: MessageEvent<ArrayBuffer>) => hear(made, decoded(event.data));
      link.current = made;
    };
    open();
    return () => {
      gone = true;
      clearTimeout(timer);
      link.current?.close();
    };
  }, []);
  const hear = (made: WebSocket, found: Picture) => {
    if (found.points) points.current = found.points;
    const known = history.current;
    if (found.points || found.step < (known.step.at(-1) ?? 0))
      history.current = { step: [], train: [], test: [] };
    if (found.step !== history.current.step.at(-1)) {
      const h = history.current;
      history.current = {
        step: [...h.step, found.step],
        train: [...h.train, found.train],
        test: [...h.test, found.test],
      };
      if (h.step.length > MOST)
        for (const key of ["step", "train", "test"] as const)
          (history.current[key] as unknown[]) = history.current[key].filter((_, i) => i % 2 === 0);
    }
    // The next picture is asked for when this one is on the screen: nothing piles up.
    requestAnimationFrame(() => {
      setPicture(found);
      if (made.readyState === WebSocket.OPEN && playing.current && !found.done)
        made.send('{"ready":true}');
    });
  };
  const playing = useRef(false);
  const say = (command: object) => {
    if ("settings" in command) now.current = (command as { settings: Settings }).settings;
    if ("play" in command) playing.current = Number((command as { play: number }).play) > 0;
    if (link.current?.readyState === WebSocket.OPEN) link.current.send(JSON.stringify(command));
  };
  return { picture, history: history.current, points: points.current, connected, say };
}
