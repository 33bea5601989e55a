// Every image of a set in a grid that scrolls through all of them, filtered, opened, marked.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { ImageFacts, MapFacts, Selection, SetFacts } from "../messages";
import { address, ask, tell } from "../parts/api";
import { Failure } from "../parts/failure";
import { useAsk, useWidth } from "../parts/hooks";
import { useRuns } from "../parts/live";
import { Bars, Choice, RunHead } from "../parts/pieces";
import { Scatter } from "../parts/scatter";
import { useSession } from "../parts/session";
import { inside, whole } from "../parts/words";

const SIDE = 56;
const PER_SHEET = 10; // rows of one picture
const HEIGHT = 560;

interface Filter {
  split: string;
  label: string;
  finding: string;
  judged: string;
}

const ALL: Filter = { split: "", label: "", finding: "", judged: "" };

export default function DataPage({ id }: { id: string }) {
  const { runs } = useRuns();
  const row = runs.find((one) => one.id === id);
  const asked = useAsk<SetFacts>(`sets/${id}`);
  const [facts, setFacts] = useState<SetFacts>();
  const [filter, setFilter] = useState<Filter>(ALL);
  const [opened, setOpened] = useState<number>();
  const [only, setOnly] = useState<number[]>();
  const [view, setView] = useState<"grid" | "map">("grid");
  const set = facts ?? asked.value;
  const { read_only } = useSession();
  // What the grid shows changes with marks and checks: its pictures are then asked for anew.
  const version = set ? `${set.marked}-${Object.values(set.findings).join("-")}` : "";
  return (
    <>
      {row ? <RunHead row={row} page="data" /> : set && <h1>{set.name}</h1>}
      <Failure error={asked.error} />
      {!set && !asked.error && <p>Opening the data …</p>}
      {set && (
        <>
          <div class="row wrap">
            <div class="switch" role="group" aria-label="View">
              <button aria-pressed={view === "grid"} onClick={() => setView("grid")}>
                Grid
              </button>
              <button aria-pressed={view === "map"} onClick={() => setView("map")}>
                Map
              </button>
            </div>
            <Filters set={set} filter={filter} change={(next) => { setFilter(next); setOnly(undefined); }} />
            {!read_only && <Checking id={id} done={setFacts} />}
          </div>
          {set.marked > 0 && (
            <p class="hint">
              {set.marked} images are marked. Train without them: <code>--exclude {set.doubtful}</code>
            </p>
          )}
          {view === "map" ? (
            <MapView id={id} choose={(numbers) => { setOnly(numbers); setView("grid"); }} />
          ) : only ? (
            <Few id={id} numbers={only} open={setOpened} back={() => setOnly(undefined)} marked={setFacts} />
          ) : (
            <Grid id={id} filter={filter} version={version} open={setOpened}
              key={JSON.stringify(filter) + (filter.finding && version)} />
          )}
          {opened !== undefined && (
            <Opened id={id} number={opened} open={setOpened} marked={setFacts} />
          )}
        </>
      )}
    </>
  );
}

function Filters({ set, filter, change }: { set: SetFacts; filter: Filter; change: (f: Filter) => void }) {
  const splits = Object.fromEntries([
    ["", "all splits"],
    ...Object.entries(set.splits).map(([name, count]) => [name, `${name} (${whole(count)})`]),
  ]);
  const findings = Object.fromEntries([
    ["", "any"],
    ["marked", `marked (${set.marked})`],
    ...Object.entries(set.findings).map(([name, count]) => [name, `${name} (${whole(count)})`]),
  ]);
  return (
    <>
      <Choice label="split" value={filter.split} options={splits} set={(split) => change({ ...filter, split })} />
      <Choice
        label="class"
        value={filter.label}
        options={Object.fromEntries([["", "all classes"], ...set.classes.map((name) => [name, name])])}
        set={(label) => change({ ...filter, label })}
      />
      <Choice label="finding" value={filter.finding} options={findings} set={(finding) => change({ ...filter, finding })} />
      {set.judged && (
        <Choice
          label={`answered (${set.judged})`}
          value={filter.judged}
          options={{ "": "either way", right: "rightly", wrong: "wrongly" }}
          set={(judged) => change({ ...filter, judged })}
        />
      )}
    </>
  );
}

function Checking({ id, done }: { id: string; done: (facts: SetFacts) => void }) {
  const [state, setState] = useState("");
  const [error, setError] = useState<unknown>();
  const check = async () => {
    setState("checking …");
    setError(undefined);
    try {
      const said = await tell<string[]>(`sets/${id}/check`, {});
      done(await ask<SetFacts>(`sets/${id}`));
      setState(said.length ? said.map((text) => text.split("\n")[0]).join("; ") : "nothing found");
    } catch (problem) {
      setState("");
      setError(problem);
    }
  };
  return (
    <>
      <button onClick={check} disabled={state === "checking …"}>
        Check
      </button>
      <span class="hint" role="status">
        {state}
      </span>
      <Failure error={error} />
    </>
  );
}

function Grid({ id, filter, version, open }: {
  id: string;
  filter: Filter;
  version: string;
  open: (number: number) => void;
}) {
  const [box, width] = useWidth();
  const [top, setTop] = useState(0);
  const columns = Math.max(3, Math.min(40, Math.floor((width - 16) / SIDE)));
  const query = { ...filter, count: 0 };
  const { value, error } = useAsk<Selection>(`sets/${id}/images`, query);
  const count = value?.count ?? 0;
  const sheetHeight = PER_SHEET * SIDE;
  const sheets = Math.ceil(count / (columns * PER_SHEET));
  const first = Math.max(0, Math.floor(top / sheetHeight) - 1);
  const last = Math.min(sheets - 1, Math.floor((top + HEIGHT) / sheetHeight) + 1);
  const [at, setAt] = useState(0);
  const [problem, setProblem] = useState<unknown>();
  const rows = Math.ceil(count / columns);
  const pick = async (place: number) => {
    if (place < 0 || place >= count) return;
    setAt(place);
    try {
      const found = await ask<Selection>(`sets/${id}/images`, { ...filter, start: place, count: 1 });
      if (found.first.length) open(found.first[0]!);
    } catch (error) {
      setProblem(error);
    }
  };
  const keys = (event: KeyboardEvent) => {
    const moves: Record<string, number> = {
      ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns,
      PageDown: columns * PER_SHEET, PageUp: -columns * PER_SHEET,
    };
    const move = moves[event.key];
    if (event.key === "Enter") void pick(at);
    else if (event.key === "Home") setAt(0);
    else if (event.key === "End") setAt(count - 1);
    else if (move) setAt(Math.min(count - 1, Math.max(0, at + move)));
    else return;
    event.preventDefault();
  };
  useEffect(() => {
    const y = Math.floor(at / columns) * SIDE;
    const element = box.current;
    if (element && (y < element.scrollTop || y + SIDE > element.scrollTop + HEIGHT))
      element.scrollTop = y - HEIGHT / 2;
  }, [at]);
  return (
    <>
      <Failure error={error ?? problem} />
      <p class="hint">
        {whole(count)} images. Click one, or move with the arrow keys and press Enter.
      </p>
      <div
        ref={box}
        class="grid"
        tabIndex={0}
        role="listbox"
        aria-label={`${count} images`}
        aria-activedescendant={count ? "grid-at" : undefined}
        style={{ height: `${Math.min(HEIGHT, Math.max(1, rows) * SIDE + 4)}px` }}
        onScroll={(event) => setTop(event.currentTarget.scrollTop)}
        onKeyDown={keys}
      >
        <div
          class="canvas"
          style={{ height: `${rows * SIDE}px`, width: `${columns * SIDE}px` }}
          onClick={(event) => {
            const place = event.currentTarget.getBoundingClientRect();
            const column = Math.floor((event.clientX - place.left) / SIDE);
            if (column < columns) void pick(Math.floor((event.clientY - place.top) / SIDE) * columns + column);
          }}
        >
          {width > 0 &&
            count > 0 &&
            Array.from({ length: last - first + 1 }, (_, i) => first + i).map((sheet) => (
              <img
                key={`${sheet}-${columns}`}
                alt=""
                loading="eager"
                decoding="async"
                style={{ top: `${sheet * sheetHeight}px` }}
                src={address(`sets/${id}/sheet`, {
                  ...filter, start: sheet * columns * PER_SHEET, columns, side: SIDE,
                  version: filter.finding && version,
                  count: Math.min(columns * PER_SHEET, count - sheet * columns * PER_SHEET),
                })}
              />
            ))}
          {count > 0 && (
            <span
              id="grid-at"
              role="option"
              aria-selected="true"
              aria-label={`image ${at + 1} of ${count}`}
              class="cursor"
              style={{ top: `${Math.floor(at / columns) * SIDE}px`, left: `${(at % columns) * SIDE}px` }}
            />
          )}
        </div>
      </div>
    </>
  );
}

// The images of a lasso: few enough to be shown one by one.
function Few({ id, numbers, open, back, marked }: {
  id: string;
  numbers: number[];
  open: (number: number) => void;
  back: () => void;
  marked: (facts: SetFacts) => void;
}) {
  const { read_only } = useSession();
  const [error, setError] = useState<unknown>();
  const some = numbers.slice(0, 400);
  return (
    <section>
      <p class="row wrap">
        <strong>{whole(numbers.length)} images of the map.</strong>
        <button onClick={back}>All images</button>
        {!read_only && (
          <button
            onClick={() =>
              tell<SetFacts>(`sets/${id}/doubt`, { numbers, doubtful: true }).then(marked, setError)
            }
          >
            Mark all as doubtful
          </button>
        )}
      </p>
      <Failure error={error} />
      <ul class="thumbs">
        {some.map((number) => (
          <li>
            <button onClick={() => open(number)} aria-label={`image ${number}`}>
              <img
                loading="lazy"
                alt=""
                width={SIDE}
                height={SIDE}
                src={address(`sets/${id}/sheet`, { start: number, count: 1, columns: 1, side: SIDE })}
              />
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Opened({ id, number, open, marked }: {
  id: string;
  number: number;
  open: (number: number | undefined) => void;
  marked: (facts: SetFacts) => void;
}) {
  const { value, error, again } = useAsk<ImageFacts>(`sets/${id}/images/${number}`);
  const [problem, setProblem] = useState<unknown>();
  const { read_only } = useSession();
  const box = useRef<HTMLElement>(null);
  useEffect(() => box.current?.focus(), [number]);
  const found = value?.number === number ? value : undefined;
  const mark = () =>
    tell<SetFacts>(`sets/${id}/doubt`, { numbers: [number], doubtful: !found?.doubtful }).then((facts) => {
      marked(facts);
      again();
    }, setProblem);
  return (
    <section
      class="card opened"
      ref={box}
      tabIndex={-1}
      aria-label="One image"
      onKeyDown={(event) => event.key === "Escape" && open(undefined)}
    >
      <button class="quiet close" aria-label="Close" onClick={() => open(undefined)}>
        ✕
      </button>
      <Failure error={error ?? problem} />
      {!found && !error && <p>Opening …</p>}
      {found && (
        <>
          <div class="looks">
            <figure>
              <img src={found.picture} alt={`${found.labels.join(", ")}: ${found.name}`} class="pixels" />
              <figcaption title={found.name}>
                {inside(found.name)}
                <br />
                {found.width}×{found.height} pixels, {found.split}
              </figcaption>
            </figure>
            {found.saliency && (
              <figure>
                <img src={found.saliency} alt="what the answer hangs on" class="pixels" />
                <figcaption>What the answer hangs on</figcaption>
              </figure>
            )}
            <div>
              <p>
                Labelled <strong>{found.labels.join(", ") || "nothing"}</strong>
              </p>
              {found.guesses.length > 0 && <Bars guesses={found.guesses} truth={found.labels} />}
              {found.findings.map((text) => (
                <p class="bad">{text}</p>
              ))}
              {!read_only && (
                <button aria-pressed={found.doubtful} onClick={mark}>
                  {found.doubtful ? "Not doubtful after all" : "Mark as doubtful"}
                </button>
              )}
            </div>
          </div>
          {found.neighbours.length > 0 && (
            <>
              <h3>Training images that the network finds most alike</h3>
              <ul class="thumbs">
                {found.neighbours.map((one) => (
                  <li>
                    <button onClick={() => open(one.number)}>
                      <img
                        alt={one.name}
                        width={SIDE}
                        height={SIDE}
                        src={address(`sets/${id}/sheet`, { start: one.number, count: 1, columns: 1, side: SIDE })}
                      />
                      <small>
                        {one.label} {one.likeness.toFixed(2)}
                      </small>
                    </button>
                  </li>
                ))}
              </ul>
            </>
          )}
        </>
      )}
    </section>
  );
}

function MapView({ id, choose }: { id: string; choose: (numbers: number[]) => void }) {
  const [method, setMethod] = useState("pca");
  const { value, error } = useAsk<MapFacts>(`sets/${id}/map`, { method });
  const groups = useMemo(() => value?.classes ?? [], [value]);
  return (
    <section>
      <div class="row wrap">
        <Choice label="method" value={method} options={{ pca: "PCA", tsne: "t-SNE (slower)" }} set={setMethod} />
        <p class="hint">Draw around points to see their images.</p>
      </div>
      <Failure error={error} />
      {!value && !error && <p role="status">Drawing the map …</p>}
      {value && (
        <>
          <Scatter map={value} names={groups} choose={choose} />
          {value.notes.map((note) => (
            <p class="hint">{note}</p>
          ))}
        </>
      )}
    </section>
  );
}
