// The table of all runs, live, and several of them side by side.
import { useState } from "preact/hooks";
import type { Difference, RunRow } from "../messages";
import { drop } from "../parts/api";
import { Chart } from "../parts/chart";
import { Failure } from "../parts/failure";
import { useAsk } from "../parts/hooks";
import { useCurves, useRuns } from "../parts/live";
import { Progress, State } from "../parts/pieces";
import { useSession } from "../parts/session";
import { number, score, shown, time } from "../parts/words";

const MOST = 8;

export default function RunsPage() {
  const { runs, waiting, connected, loaded } = useRuns();
  const [chosen, setChosen] = useState<string[]>([]);
  const [text, setText] = useState("");
  const { read_only } = useSession();
  const found = runs.filter((row) =>
    `${row.name} ${row.model} ${row.source} ${row.state} ${row.finding}`.includes(text),
  );
  const names = new Map(runs.map((row) => [row.id, row.name]));
  const choose = (id: string) =>
    setChosen((was) =>
      was.includes(id) ? was.filter((one) => one !== id) : [...was, id].slice(-MOST),
    );
  return (
    <>
      <div class="headline">
        <h1>Runs</h1>
        <input
          type="search"
          aria-label="Find runs by name, model, data or finding"
          placeholder="find"
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
        />
        {!read_only && (
          <a class="button" href="/train">
            Train a network
          </a>
        )}
        <span class="link" role="status">
          {connected ? "live" : loaded ? "not connected" : "…"}
        </span>
      </div>
      {waiting.map((row) => (
        <Waiting row={row} />
      ))}
      {loaded && !runs.length && !waiting.length && <Nothing read_only={read_only} />}
      {runs.length > 0 && (
        <table class="runs">
          <thead>
            <tr>
              <th scope="col">
                <span class="unseen">compare</span>
              </th>
              <th scope="col">run</th>
              <th scope="col">state</th>
              <th scope="col">model</th>
              <th scope="col">epoch</th>
              <th scope="col">score, 95 % interval</th>
              <th scope="col">time left</th>
              <th scope="col">the doctor</th>
            </tr>
          </thead>
          <tbody>
            {found.map((row) => (
              <Row
                row={row}
                parent={names.get(row.parent)}
                chosen={chosen.includes(row.id)}
                choose={() => choose(row.id)}
                key={row.id}
              />
            ))}
          </tbody>
        </table>
      )}
      {runs.length > 1 && !chosen.length && (
        <p class="hint">Tick runs to lay their curves over each other; two to compare them.</p>
      )}
      {chosen.length > 0 && <Overlay ids={chosen} names={names} />}
      {chosen.length === 2 && <Compared one={chosen[0]!} other={chosen[1]!} names={names} />}
    </>
  );
}

function Row({ row, parent, chosen, choose }: {
  row: RunRow;
  parent?: string;
  chosen: boolean;
  choose: () => void;
}) {
  return (
    <tr>
      <td>
        <input
          type="checkbox"
          checked={chosen}
          onChange={choose}
          aria-label={`Compare ${row.name}`}
        />
      </td>
      <th scope="row">
        <a href={`/run/${row.id}`}>{row.name}</a>
        {parent && (
          <small>
            branch of {parent} at step {row.parent_step}
          </small>
        )}
      </th>
      <td>
        <State state={row.state} />
        {row.fault && <small class="bad">{row.fault}</small>}
      </td>
      <td>{row.model || "–"}</td>
      <td>{row.epochs ? <Progress row={row} /> : "–"}</td>
      <td class="figure">
        {score(row.score, row.low, row.high)}
        {row.score !== null && (
          <small>
            {row.score_name.replaceAll("_", " ")} on {row.split}
          </small>
        )}
      </td>
      <td class="figure">
        {row.state === "running" ? time(row.seconds_left) : row.state === "finished" ? `took ${time(row.seconds)}` : "–"}
      </td>
      <td>{row.finding || "–"}</td>
    </tr>
  );
}

function Waiting({ row }: { row: RunRow }) {
  const [error, setError] = useState<unknown>();
  if (row.state === "preparing")
    return (
      <p class="card" role="status">
        <State state="preparing" /> {row.name}: reading its data
      </p>
    );
  return (
    <div class="card">
      <State state="failed" /> {row.name} ended before its first step:
      <pre>{row.fault || "it said nothing"}</pre>
      <button onClick={() => drop(`waiting/${row.id}`).catch(setError)}>Take it off the list</button>
      <Failure error={error} />
    </div>
  );
}

function Nothing({ read_only }: { read_only: boolean }) {
  return (
    <div class="card empty">
      <p>There is no run here yet.</p>
      {read_only ? (
        <p>Runs appear as soon as somebody trains in this folder.</p>
      ) : (
        <p>
          <a href="/train">Train a network</a> on the built-in digits: it takes a minute. Or play:{" "}
          <a href="/playground">the playground</a> learns points in a plane at once.
        </p>
      )}
    </div>
  );
}

function Overlay({ ids, names }: { ids: string[]; names: Map<string, string> }) {
  const curves = useCurves(ids);
  const named = (id: string) => names.get(id) ?? id;
  return (
    <section aria-label="Curves of the chosen runs" class="charts">
      <Chart
        title="Validation score by epoch's last step"
        lines={curves.map((c) => ({ name: named(c.id), x: c.epoch_step, y: c.val_score, points: true }))}
      />
      <Chart
        title="Validation loss"
        lines={curves.map((c) => ({ name: named(c.id), x: c.epoch_step, y: c.val_loss, points: true }))}
      />
      <Chart
        title="Loss of each step"
        lines={curves.map((c) => ({ name: named(c.id), x: c.step, y: c.loss, faint: true }))}
      />
    </section>
  );
}

function Compared({ one, other, names }: { one: string; other: string; names: Map<string, string> }) {
  const { value, error } = useAsk<Difference>("compare", { one, other });
  return (
    <section aria-label="Comparison">
      <Failure error={error} />
      {value && (
        <>
          <h2>What differs</h2>
          {value.difference !== null ? (
            <p>
              Of the same {value.images} images, {names.get(one)} answers a share of{" "}
              <strong>{number(Math.abs(value.difference))}</strong>{" "}
              {value.difference >= 0 ? "more" : "fewer"} rightly than {names.get(other)}{" "}
              (95 % interval of the difference {number(value.low)} to {number(value.high)}):{" "}
              {value.low! > 0 || value.high! < 0
                ? "the difference is real."
                : "that may be chance."}
            </p>
          ) : null}
          {value.note && <p class="hint">{value.note}</p>}
          {value.knobs.length > 0 ? (
            <table>
              <thead>
                <tr>
                  <th scope="col">knob</th>
                  <th scope="col">{names.get(one)}</th>
                  <th scope="col">{names.get(other)}</th>
                </tr>
              </thead>
              <tbody>
                {value.knobs.map(([knob, a, b]) => (
                  <tr>
                    <th scope="row">
                      <code>{String(knob)}</code>
                    </th>
                    <td>{shown(a)}</td>
                    <td>{shown(b)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          ) : (
            <p>{value.known ? "Their recipes are equal." : "A recipe of theirs cannot be read."}</p>
          )}
        </>
      )}
    </section>
  );
}
