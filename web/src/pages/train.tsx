// Choose data, see what the check found, change knobs, start.
import { useMemo, useState } from "preact/hooks";
import type { Knob, SourceRow } from "../messages";
import { go } from "../parts/address";
import { tell } from "../parts/api";
import { Failure } from "../parts/failure";
import { useAsk } from "../parts/hooks";
import { KnobField, typed } from "../parts/knobs";
import { useSession } from "../parts/session";
import { entriesOf, zipped } from "../parts/zip";

export default function TrainPage() {
  const { folder, read_only } = useSession();
  const sources = useAsk<SourceRow[]>("sources");
  const knobs = useAsk<Knob[]>("knobs");
  const [source, setSource] = useState("digits");
  const [given, setGiven] = useState<Record<string, string>>({});
  const [find, setFind] = useState("");
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const set = (name: string, value: string) => setGiven((was) => ({ ...was, [name]: value }));
  const changed = Object.entries(given).filter(([, value]) => value !== "");
  const start = (event: Event) => {
    event.preventDefault();
    setError(undefined);
    setBusy(true);
    const byName = new Map(knobs.value?.map((knob) => [knob.name, knob]));
    const values = Object.fromEntries(changed.map(([name, text]) => [name, typed(byName.get(name)!, text)]));
    tell<{ id: string }>("trainings", { source, knobs: values }).then(
      () => go("/"),
      (problem) => {
        setBusy(false);
        setError(problem);
      },
    );
  };
  if (read_only) return <p>This studio only shows: nothing can be started from here.</p>;
  return (
    <form onSubmit={start}>
      <h1>Train a network</h1>
      <section>
        <h2>1. Data</h2>
        <div class="choices" role="radiogroup" aria-label="Data">
          {sources.value?.map((one) => (
            <label class="choice">
              <input
                type="radio"
                name="source"
                checked={source === one.id}
                onChange={() => setSource(one.id)}
              />{" "}
              {one.name} <small>{one.kind}</small>
            </label>
          ))}
        </div>
        {folder ? (
          <Drop folder={folder} done={sources.again} />
        ) : (
          <p class="hint">
            To train on your own pictures, start the studio with <code>--data DIR</code>: its folders and
            archives appear here, and more can be dropped.
          </p>
        )}
        <Check source={source} />
      </section>
      <section>
        <h2>2. Recipe</h2>
        <p class="hint">
          Every knob has a default that works; what is “auto” is decided from the data, with a reason.
        </p>
        <Everyday knobs={knobs.value ?? []} given={given} set={set} />
        <details>
          <summary>All {knobs.value?.length} knobs</summary>
          <input
            type="search"
            placeholder="find a knob"
            aria-label="Find a knob"
            value={find}
            onInput={(event) => setFind(event.currentTarget.value)}
          />
          <All knobs={knobs.value ?? []} given={given} set={set} find={find} />
        </details>
      </section>
      <section class="row wrap">
        <button type="submit" class="main" disabled={busy}>
          {busy ? "Starting …" : "Start"}
        </button>
        <span class="hint">
          {changed.length
            ? changed.map(([name, value]) => `${name} = ${value}`).join(", ")
            : "with all defaults"}
        </span>
      </section>
      <Failure error={error} />
      <p class="hint">
        The training is a process of its own: it goes on when this page or the studio is closed.
      </p>
    </form>
  );
}

interface Form {
  knobs: Knob[];
  given: Record<string, string>;
  set: (name: string, value: string) => void;
}

function Everyday({ knobs, given, set }: Form) {
  return (
    <div class="form">
      {knobs
        .filter((knob) => knob.everyday)
        .map((knob) => (
          <Documented knob={knob} value={given[knob.name] ?? ""} set={(value) => set(knob.name, value)} />
        ))}
    </div>
  );
}

function All({ knobs, given, set, find }: Form & { find: string }) {
  const groups = useMemo(() => {
    const found = new Map<string, Knob[]>();
    for (const knob of knobs) found.set(knob.group, [...(found.get(knob.group) ?? []), knob]);
    return found;
  }, [knobs]);
  return (
    <>
      {[...groups].map(([group, inside]) => {
        const seen = inside.filter((knob) => `${knob.name} ${knob.doc}`.includes(find));
        return (
          seen.length > 0 && (
            <fieldset>
              <legend>{group || "all"}</legend>
              <div class="form">
                {seen.map((knob) => (
                  <Documented knob={knob} value={given[knob.name] ?? ""} set={(value) => set(knob.name, value)} />
                ))}
              </div>
            </fieldset>
          )
        );
      })}
    </>
  );
}

function Documented({ knob, value, set }: { knob: Knob; value: string; set: (value: string) => void }) {
  return (
    <div class="documented">
      <KnobField knob={knob} value={value} set={set} />
      <details class="hint">
        <summary aria-label={`What ${knob.name} does`}>?</summary>
        {knob.doc}
      </details>
    </div>
  );
}

function Drop({ folder, done }: { folder: string; done: () => void }) {
  const [error, setError] = useState<unknown>();
  const [state, setState] = useState("");
  const [over, setOver] = useState(false);
  const send = async (name: string, body: Blob) => {
    setState(`sending ${name} …`);
    await tell("sources", body, { name });
    setState(`${name} is here`);
    done();
  };
  const take = async (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    setError(undefined);
    try {
      const { name, entries } = await entriesOf(event.dataTransfer!.items);
      if (!entries.length) return;
      const single = entries.length === 1 && /\.(zip|tar|tgz|gz|csv)$/i.test(entries[0]!.path);
      if (single) await send(entries[0]!.file.name, entries[0]!.file);
      else {
        setState(`reading ${entries.length} files …`);
        await send(`${name}.zip`, await zipped(entries));
      }
    } catch (problem) {
      setState("");
      setError(problem);
    }
  };
  const picked = (event: { currentTarget: HTMLInputElement }) => {
    const file = event.currentTarget.files?.[0];
    if (file) send(file.name, file).catch(setError);
  };
  return (
    <div
      class={`drop ${over ? "over" : ""}`}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={take}
    >
      <p>
        Drop a folder with a sub-folder for each class, or an archive of one. It goes to <b>{folder}</b>.
      </p>
      <input type="file" accept=".zip,.tar,.tgz,.gz,.csv" aria-label="Choose an archive" onChange={picked} />
      <p role="status">{state}</p>
      <Failure error={error} />
    </div>
  );
}

function Check({ source }: { source: string }) {
  const [found, setFound] = useState<{ of: string; said: string[] }>();
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const check = () => {
    setBusy(true);
    setError(undefined);
    tell<string[]>(`sets/${source}/check`, {})
      .then((said) => setFound({ of: source, said }), setError)
      .finally(() => setBusy(false));
  };
  return (
    <div>
      <div class="row">
        <button type="button" onClick={check} disabled={busy}>
          {busy ? "Checking …" : "Check the data"}
        </button>
        <a href={`/data/${source}`}>Look at the data</a>
      </div>
      <Failure error={error} />
      {found?.of === source && (
        <ul class="card" role="status">
          {found.said.length === 0 && <li>Nothing was found: the images decode and none is a copy.</li>}
          {found.said.map((text) => (
            <li class="text">{text}</li>
          ))}
        </ul>
      )}
    </div>
  );
}
