// Small pieces that several pages use.
import type { ComponentChildren } from "preact";
import type { Guess, RunRow } from "../messages";
import { last } from "./words";

export function Progress({ row }: { row: RunRow }) {
  const share = row.steps ? row.step / row.steps : 0;
  return (
    <span class="progress">
      <progress max={1} value={share} aria-label={`${Math.round(100 * share)} % done`} />
      <span>
        {row.epoch}/{row.epochs || "?"}
      </span>
    </span>
  );
}

const MARKS: Record<RunRow["state"], string> = {
  running: "●",
  preparing: "◌",
  finished: "✓",
  "can be resumed": "Ⅱ",
  "not begun": "○",
  failed: "✗",
  damaged: "✗",
};

export function State({ state }: { state: RunRow["state"] }) {
  return (
    <span class={`state ${state.replaceAll(" ", "-")}`}>
      <span aria-hidden="true">{MARKS[state]}</span> {state}
    </span>
  );
}

export function Bars({ guesses, truth }: { guesses: Guess[]; truth?: string[] }) {
  return (
    <ul class="bars">
      {guesses.map((guess) => {
        const right = truth === undefined ? "" : truth.includes(guess.name);
        return (
          <li class={right === "" ? "" : right ? "right" : "wrong"}>
            <span class="bar" style={{ width: `${100 * guess.probability}%` }} />
            <span class="name" title={guess.name}>
              {guess.name}
            </span>
            <span class="figure">{(100 * guess.probability).toFixed(0)} %</span>
          </li>
        );
      })}
    </ul>
  );
}

export function RunHead({ row, page, children }: { row: RunRow; page: string; children?: ComponentChildren }) {
  const pages = [
    ["run", "Curves"],
    ["watch", "Watch it see"],
    ["data", "Its data"],
    ["draw", "Ask it"],
  ];
  return (
    <div class="runhead">
      <h1>{row.name}</h1>
      <p class="facts">
        <State state={row.state} /> {row.model && <span>{row.model}</span>}
        {row.source && <span title={row.source}>{last(row.source)}</span>} {children}
      </p>
      <nav class="tabs" aria-label="Pages of this run">
        {pages.map(([path, name]) => (
          <a href={`/${path}/${row.id}`} aria-current={path === page ? "page" : undefined}>
            {name}
          </a>
        ))}
      </nav>
    </div>
  );
}

export function Field({ label, hint, children }: { label: string; hint?: string; children: ComponentChildren }) {
  return (
    <label class="field">
      <span class="label">{label}</span>
      {children}
      {hint && <span class="hint">{hint}</span>}
    </label>
  );
}

interface SliderProps {
  label: string;
  value: number;
  low: number;
  high: number;
  step?: number;
  log?: boolean;
  shown?: string;
  set: (value: number) => void;
}

// A slider; with log its steps are equal factors.
export function Slider({ label, value, low, high, step, log, shown, set }: SliderProps) {
  const [from, to] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
  const at = log ? Math.log10(Math.max(value, low)) : value;
  const size = step ?? (to - from) / 100;
  const told = shown ?? String(Number(value.toPrecision(3)));
  return (
    <label class="slider">
      <span class="label">
        {label} <b>{told}</b>
      </span>
      <input
        type="range"
        min={from}
        max={to}
        step={size}
        value={at}
        aria-label={label}
        aria-valuetext={told}
        onInput={(event) => {
          const found = Number(event.currentTarget.value);
          set(log ? Number((10 ** found).toPrecision(2)) : found);
        }}
      />
    </label>
  );
}

export function Choice({ label, value, options, set }: {
  label: string;
  value: string;
  options: readonly string[] | Record<string, string>;
  set: (value: string) => void;
}) {
  const pairs = Array.isArray(options)
    ? options.map((o) => [o, String(o).replaceAll("_", " ")] as const)
    : Object.entries(options as Record<string, string>);
  return (
    <Field label={label}>
      <select value={value} onChange={(event) => set(event.currentTarget.value)}>
        {pairs.map(([key, name]) => (
          <option value={key}>{name}</option>
        ))}
      </select>
    </Field>
  );
}
